//! Class activation maps against PyTorch's (tests/oracle/saliency.py), and passes with faults.

use flipside::device::Device;
use flipside::fault::FaultSpec;
use flipside::models::{Model, ModelFile, Network, names};
use flipside::nn::Head;
use flipside::saliency::{Aim, Class, MapRequest, MapTarget, Method, Probe, layer, pair};
use flipside::tape::PlanKind;
use serde_json::Value;

use crate::formula;
use crate::pytorch_networks::{formula_images, formula_weights};

const METHODS: [Method; 4] =
    [Method::GradCam, Method::HiResCam, Method::GradCamPlusPlus, Method::LayerCam];

fn head(name: &str) -> Head {
    match name {
        "baseline" => Head::Baseline,
        _ => Head::text_guided(512),
    }
}

/// A network with formula weights.
fn network(
    backbone: &str,
    head: Head,
    classes: usize,
    side: usize,
    own: &[formula::Range],
) -> Network {
    let file = ModelFile::open(backbone).unwrap();
    let model = Model::new(&file, head, classes, side, 0.0).unwrap();
    let weights = formula_weights(&model, own, false);
    Network { model, weights }
}

/// Every held place within 1e-4 of the map's largest: f32 against f64. PyTorch's own f32 takes less than a third of that,
/// or the script stops.
fn check(case: &Value, fixture: &Value) {
    let (backbone, name) = (case["backbone"].as_str().unwrap(), case["layer"].as_str().unwrap());
    let size = |key: &str| fixture[key].as_u64().unwrap() as usize;
    let ranges = &fixture["ranges"][backbone];
    let ranges: Vec<formula::Range> = (ranges.as_array().unwrap().iter())
        .map(|e| (e[0].as_str().unwrap(), e[1].as_f64().unwrap(), e[2].as_f64().unwrap()))
        .collect();
    let network = network(
        backbone,
        head(case["head"].as_str().unwrap()),
        size("classes"),
        size("side"),
        &ranges,
    );
    let at = layer(&network.model, name).unwrap();
    let map = network.model.tape.node(at).spec.map;
    let mut probe = Probe::new(&network, at, &[]).unwrap();
    let pixels = formula_images(1, size("side"));
    let logits = probe.answer(&pixels, &[]).unwrap();
    for (target, held) in case["targets"].as_object().unwrap() {
        let aim = Aim { class: size("class"), cosine: target == "cosine" };
        let value = held["value"].as_f64().unwrap();
        let largest = logits.iter().fold(0f32, |m, z| m.max(z.abs()));
        assert!((f64::from(logits[aim.class]) - value).abs() < 1e-4 * f64::from(largest));
        for method in METHODS {
            let what = format!("{backbone} {} {name} {target} {}", case["head"], method.name());
            let rows = held["maps"][method.name()].as_array().unwrap();
            let expected: Vec<f64> = rows.iter().flat_map(formula::floats).collect();
            let largest = expected.iter().fold(0f64, |m, v| m.max(v.abs()));
            assert!(largest > 0.0 && expected.len() == map.pixels(), "{what}");
            probe.answer(&pixels, &[]).unwrap();
            let found = probe.map(method, aim).unwrap().unwrap();
            assert_eq!((found.height, found.width), (map.height, map.width), "{what}");
            for (found, expected) in found.values.iter().zip(&expected) {
                // The fixture has what the ReLU will cut off, too.
                let off = (found - expected.max(0.0)).abs();
                assert!(off <= 1e-4 * largest, "{what}: {found}, not {expected}");
            }
        }
    }
}

/// All cases of a backbone; how many.
fn check_backbone(backbone: &str) -> usize {
    let fixture = formula::fixture("saliency.json");
    let cases = fixture["cases"].as_array().unwrap().iter();
    cases.filter(|case| case["backbone"] == backbone).map(|case| check(case, &fixture)).count()
}

#[test]
fn maps_of_resnet18_equal_pytorch() {
    assert_eq!(check_backbone("resnet18"), 4);
}

#[test]
fn maps_of_mobilenet_v2_equal_pytorch() {
    assert_eq!(check_backbone("mobilenet_v2"), 2);
}

#[test]
fn maps_of_swin_v2_t_equal_pytorch() {
    assert_eq!(check_backbone("swin_v2_t"), 4);
}

#[test]
fn maps_of_focalnet_tiny_equal_pytorch() {
    assert_eq!(check_backbone("focalnet_tiny"), 4);
}

/// Each model file names a layer that is there, at the size that the network is made for.
#[test]
fn every_model_names_a_layer_for_maps() {
    for name in names() {
        let file = ModelFile::open(name).unwrap();
        let at = &file.saliency.as_ref().unwrap().layer;
        for head in [Head::Baseline, Head::text_guided(64)] {
            let model = Model::new(&file, head, 10, file.input.size, 0.0).unwrap();
            let map = model.tape.node(layer(&model, at).unwrap()).spec.map;
            let expected = match name {
                "alexnet" => 13,
                "vgg16_bn" | "vgg19_bn" => 14,
                "resnet_small" | "swin_v2_t" | "swin_v2_s" => 8,
                _ => 7,
            };
            assert_eq!([map.height, map.width], [expected; 2], "{name}");
        }
    }
}

fn small(head: Head) -> Network {
    network("resnet_small", head, 5, 32, &[])
}

fn question(network: &Network, at: &str, class: Class) -> MapRequest {
    let target = MapTarget { class, cosine: false };
    MapRequest { layer: layer(&network.model, at).unwrap(), method: Method::HiResCam, target }
}

/// A pass for a map has the logits of a campaign's, to the bit, at every site that the CPU has; and a fault leaves nothing
/// behind.
#[test]
fn a_faulty_pass_is_the_one_of_a_campaign() {
    let pixels = formula_images(1, 32);
    for head in [Head::Baseline, Head::text_guided(16)] {
        let network = small(head);
        let model = &network.model;
        let at = layer(model, "layer2.0.relu").unwrap();
        let mut changed = 0;
        for fault in [
            "layer=conv1,channel=3,row=4,column=5,bit=29",
            "layer=layer3.0.conv1,channel=3,row=4,column=5,bit=27",
            "layer=layer3.0.conv1,site=input,channel=3,row=4,column=5,bit=29",
            "layer=fc,site=input,channel=7,bit=25",
            "layer=layer1.0.conv2,site=store-astray,channel=3,row=4,column=5,offset-bit=4",
            "layer=layer2.0.conv1,site=store-lost,channel=3,row=4,column=5",
            "layer=fc,site=weight,out=2,in=9,bit=29",
            "layer=layer2.0.conv2,site=weight,out=2,in=9,row=1,column=2,bit=29",
            "layer=fc,channel=3,bit=26",
        ] {
            let fault: FaultSpec = fault.parse().unwrap();
            let faults = [fault.clone()];
            let mut plain = network.execution(PlanKind::Golden, 1, &[model.logits]).unwrap();
            plain.begin(1).unwrap();
            plain.arm_all(&network.weights, &faults).unwrap();
            plain.write(model.image, &pixels).unwrap();
            plain.forward(&network.weights).unwrap();
            let bits = |logits: Vec<f32>| logits.into_iter().map(f32::to_bits).collect::<Vec<_>>();
            let expected = bits(plain.read(model.logits).unwrap());
            let mut probe = Probe::new(&network, at, &faults).unwrap();
            let aim = Aim { class: 2, cosine: false };
            let clean = bits(probe.answer(&pixels, &[]).unwrap());
            let map = probe.map(Method::HiResCam, aim).unwrap().unwrap();
            changed += usize::from(clean != expected);
            assert_eq!(bits(probe.answer(&pixels, &faults).unwrap()), expected, "{fault}");
            // An answer that overflowed has none.
            drop(probe.map(Method::HiResCam, aim).unwrap());
            assert_eq!(bits(probe.answer(&pixels, &[]).unwrap()), clean, "{fault}");
            assert_eq!(probe.map(Method::HiResCam, aim).unwrap().unwrap(), map, "{fault}");
        }
        // A ReLU may hide one.
        assert!(changed >= 6, "{changed} of 9 faults change the answer");
    }
}

/// Behind the layer there are a mean and a linear layer, so that HiRes-CAM is the class's weights times the output, by
/// place, and adds up to the logit less its bias: with the weights that the pass saw, a faulty one among them.
#[test]
fn the_way_back_goes_through_faulty_weights() {
    let network = small(Head::Baseline);
    let pixels = formula_images(1, 32);
    let of = |fault: &str| {
        let fault: FaultSpec = fault.parse().unwrap();
        let question = question(&network, "layer3.0.relu", Class::Row(2));
        pair(&network, &question, &pixels, None, &fault).unwrap()
    };
    let bias = network.weights.get(network.weights.find("fc.bias").unwrap()).unwrap()[2];
    let bits = network.weights.find("fc.weight").unwrap();
    let before = f32::from_bits(network.weights.bits(bits, 2 * 64 + 9).unwrap());
    let pair = of("layer=fc,site=weight,out=2,in=9,bit=31");
    let at = layer(&network.model, "layer3.0.relu").unwrap();
    let map = network.model.tape.node(at).spec.map;
    // The same by hand: Σ over places of Σₖ wₖ·Aₖ / places, the weight's sign turned.
    for (seen, sign) in [(&pair.clean, 1.0), (&pair.faulty, -1.0)] {
        let mut execution =
            network.execution(PlanKind::Golden, 1, &[network.model.logits]).unwrap();
        network.forward(&mut execution, &pixels).unwrap();
        let activations = execution.read(at).unwrap();
        let weights = network.weights.get(bits).unwrap();
        let mut total = f64::from(bias);
        for (place, values) in activations.chunks_exact(map.channels).enumerate() {
            let of = |k: usize| if k == 9 { sign * before } else { weights[2 * 64 + k] };
            let sum: f64 = (0..64).map(|k| f64::from(of(k)) * f64::from(values[k])).sum();
            let sum = sum / map.pixels() as f64;
            total += sum;
            let found = seen.map.as_ref().unwrap().values[place];
            assert!((found - sum.max(0.0)).abs() < 1e-5, "{found} {sum}");
        }
        assert!((total - f64::from(seen.logits[2])).abs() < 1e-4, "{total} {:?}", seen.logits);
    }
    assert_ne!(pair.clean.map, pair.faulty.map);
}

/// Behind an overflow there is no map but a reason, and figures have no number.
#[test]
fn an_answer_that_isn_t_finite_has_no_map() {
    let network = small(Head::Baseline);
    let fault =
        "layer=layer3.0.conv1,channel=3,row=4,column=5,model=set,value=nan".parse().unwrap();
    let question = question(&network, "layer3.0.relu", Class::Predicted);
    let pair = pair(&network, &question, &formula_images(1, 32), None, &fault).unwrap();
    let why = pair.faulty.map.as_ref().unwrap_err();
    assert!(why.contains("the output of layer3.0.relu holds"), "{why}");
    assert!(pair.figures(32, 32).is_none() && pair.delta_p().is_none());
    assert!(pair.clean.map.is_ok());
}

/// Kernels make the maps that the CPU makes, without a fault and with one.
#[test]
fn kernels_make_the_same_maps() {
    let cpu = small(Head::text_guided(16));
    let mut weights =
        flipside::tape::Weights::new(&cpu.model.tape, &Device::emulated(), false).unwrap();
    for index in 0..cpu.model.tape.params().len() {
        let id = flipside::tape::ParamId(index);
        weights.set(id, &cpu.weights.get(id).unwrap()).unwrap();
    }
    let kernels = Network { model: cpu.model.clone(), weights };
    let pixels = formula_images(1, 32);
    let fault = "layer=layer2.0.conv1,channel=3,row=4,column=5,bit=29".parse().unwrap();
    let [a, b] = [&cpu, &kernels].map(|network| {
        let question = question(network, "layer2.0.relu", Class::Row(1));
        pair(network, &question, &pixels, None, &fault).unwrap()
    });
    assert_eq!(a.faulty.logits, b.faulty.logits);
    for (a, b) in [(a.clean, b.clean), (a.faulty, b.faulty)] {
        let (a, b) = (a.map.unwrap(), b.map.unwrap());
        for (found, expected) in b.values.iter().zip(&a.values) {
            // Another order of sums.
            assert!((found - expected).abs() <= 1e-5 * a.largest(), "{found} {expected}");
        }
    }
}

#[test]
fn what_makes_no_map_is_refused_in_a_sentence() {
    let network = small(Head::text_guided(16));
    let model = &network.model;
    let said = |name: &str| layer(model, name).unwrap_err().to_string();
    assert!(said("layer9").contains("no layer 'layer9'; the last layers of each resolution"));
    for name in ["fc", "head", "avgpool", "normalize"] {
        assert!(said(name).contains("puts out a vector"), "{}", said(name));
    }
    assert!(
        said("image").contains("isn't a layer that the image goes through"),
        "{}",
        said("image")
    );
    assert!(said("layer9").contains("backbone.layer3.0.relu (8×8)"), "{}", said("layer9"));
    let swin = ModelFile::open("swin_v2_t").unwrap();
    let swin = Model::new(&swin, Head::Baseline, 5, 64, 0.0).unwrap();
    let shared = layer(&swin, "features.1.0.attn.cpb_mlp.2").unwrap_err().to_string();
    assert!(shared.contains("isn't a layer that the image goes through"), "{shared}");
    let pixels = formula_images(1, 32);
    let fault: FaultSpec = "layer=conv1,channel=0,bit=1".parse().unwrap();
    let of = |class| {
        let question = question(&network, "layer3.0.relu", class);
        pair(&network, &question, &pixels, None, &fault).unwrap_err().to_string()
    };
    assert!(of(Class::Row(5)).contains("class 5 is out of range: the network has 5 classes"));
    assert!(of(Class::Label).contains("label"));
    let baseline = small(Head::Baseline);
    let mut probe =
        Probe::new(&baseline, layer(&baseline.model, "layer3.0.relu").unwrap(), &[]).unwrap();
    probe.answer(&pixels, &[]).unwrap();
    let said = probe.map(Method::GradCam, Aim { class: 0, cosine: true }).unwrap_err().to_string();
    assert!(said.contains("no rows"), "{said}");
    // Nor do rows make a cosine of what isn't normalised: a pair takes the logit, as of a baseline.
    let plain = small(Head::TextGuided { width: 16, normalized: false });
    let mut whole = Probe::new(&plain, layer(&plain.model, "layer3.0.relu").unwrap(), &[]).unwrap();
    whole.answer(&pixels, &[]).unwrap();
    let said = whole.map(Method::GradCam, Aim { class: 0, cosine: true }).unwrap_err().to_string();
    assert!(said.contains("has no cosines"), "{said}");
    let request = question(&plain, "layer3.0.relu", Class::Predicted);
    let target = MapTarget { class: Class::Predicted, cosine: true };
    let found = pair(&plain, &MapRequest { target, ..request }, &pixels, None, &fault).unwrap();
    assert!(!found.aim.cosine);
    // The way back writes over what the pass left.
    let aim = Aim { class: 0, cosine: false };
    probe.map(Method::GradCam, aim).unwrap().unwrap();
    let said = probe.map(Method::GradCam, aim).unwrap_err().to_string();
    assert!(said.contains("a pass of its own"), "{said}");
}
