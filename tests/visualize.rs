//! `flipside visualize` as a user runs it: strips of images and of a campaign, and each sad path's one sentence.

use std::fs;

use flipside::checkpoint::{Checkpoint, TensorView, write_safetensors};
use flipside::data::decode_file;
use flipside::results::Run;
use serde_json::Value;

use crate::cli::Place;

const FAULT: &str = "--fault layer=conv1,channel=1,row=3,column=4,bit=30";

/// Two checkpoints, a campaign on the first, and what the flags before the rest of a command are.
fn prepared() -> (Place, String) {
    let place = Place::new();
    let train = "train --model tiny.toml --data data --quiet --epochs 8";
    place.done(&format!("{train} --out plain"));
    place.done(&format!(
        "{train} --text-features features.safetensors --class-list classes.tsv --out guided"
    ));
    place.done(
        "inject --model tiny.toml --checkpoint plain/model.safetensors --data data --injections 60 --quiet --out a.sqlite",
    );
    let base = "visualize --model tiny.toml --checkpoint plain/model.safetensors --layer layer2.0.relu --quiet";
    (place, base.into())
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key} of {value}"))
}

#[test]
fn strips_are_written_and_their_numbers_printed() {
    let (place, base) = prepared();
    let both = format!("{base} --against guided/model.safetensors");
    let image = "data/val/n0/0.png data/val/n1/1.png";
    let second = "--fault layer=fc,site=weight,out=0,in=2,bit=30,image=1";
    // The weight is a class's in the one and the embedding's in the other.
    place.fails(
        &format!("{both} {image} {FAULT} {second} --out s"),
        2,
        &["fc", "isn't the same fault"],
    );
    let second =
        "--fault layer=layer2.0.conv1,site=weight,out=0,in=2,row=1,column=1,bit=30,image=1";
    let told = place.json(&format!("{both} {image} {FAULT} {second} --out s"));
    let strips = told.as_array().unwrap();
    assert_eq!(strips.len(), 2);
    for (number_of, strip) in (1..).zip(strips) {
        let networks = strip["networks"].as_array().unwrap();
        assert_eq!(networks.len(), 2);
        for network in networks {
            assert_eq!(
                (&network["layer"], &network["map"]),
                (&"layer2.0.relu".into(), &serde_json::json!([8, 8]))
            );
            let of = |when: &str| number(&network[when], "p_target");
            if network["faulty"]["p_target"].is_number() {
                assert!((of("faulty") - of("clean") - number(network, "delta_p")).abs() < 1e-12);
                // A map that is 0 everywhere has none.
                match number(&network["faulty"], "largest") > 0.0 {
                    true => assert!((-1.0..=1.0).contains(&number(network, "correlation"))),
                    false => assert!(network["correlation"].is_null(), "{network}"),
                }
                assert!((0.0..=1.0).contains(&number(network, "overlap_top20")), "{network}");
            } else {
                assert!(network["delta_p"].is_null(), "{network}");
            }
        }
        // 16 × 16 pixels, magnified 14 times; the image and three panels a network.
        let png = decode_file(&place.at(&format!("s/strip-{number_of}.png"))).unwrap();
        assert_eq!((png.height, png.width), (224, 7 * 224 + 6 * 8));
        let svg = fs::read_to_string(place.at(&format!("s/strip-{number_of}.svg"))).unwrap();
        assert_eq!(svg.matches("<image ").count(), 7, "{svg}");
        assert!(
            svg.contains("baseline: logit of") && svg.contains("text-guided: logit of"),
            "{svg}"
        );
    }
    assert_eq!(strips[1]["image"], "data/val/n1/1.png");
    let alone = place.json(&format!("{base} data/val/n0/0.png {FAULT} --out t"));
    // What stands beside it doesn't change a network's figures.
    assert_eq!(alone[0]["networks"][0], strips[0]["networks"][0]);
    let text = place.done(&format!("{base} data/val/n0/0.png {FAULT} --out t"));
    assert!(
        text.contains(
            "t/strip-1.svg: layer=conv1,channel=1,row=3,column=4,bit=30 in data/val/n0/0.png"
        ),
        "{text}"
    );
    assert!(text.contains("baseline, for n0: correlation"), "{text}");
}

#[test]
fn targets_and_methods_are_what_they_say() {
    let (place, base) = prepared();
    let of = |more: &str| {
        let base = if more.contains("--layer") {
            base.replace(" --layer layer2.0.relu", "")
        } else {
            base.clone()
        };
        let told = place.json(&format!("{base} data/val/n1/1.png {FAULT} --out t {more}"));
        told[0]["networks"].as_array().unwrap().clone()
    };
    let by_label = of("--target label");
    assert_eq!(by_label, of("--target 1"));
    assert_eq!(by_label[0]["target"], serde_json::json!({"class": 1, "name": "n1"}));
    assert_ne!(by_label, of("--target 0"));
    // The head is linear behind the mean of this layer, so that the two methods agree there, and elsewhere they don't.
    assert_eq!(of("")[0]["cosine"], false);
    let largest = |network: &Value| number(&network["clean"], "largest");
    // Gradients that nearly cancel are left with a thousandth of rounding.
    let close = |a: f64, b: f64| (a - b).abs() < 1e-3 * a.abs().max(1e-9);
    let of_methods =
        ["grad-cam", "hires-cam"].map(|name| largest(&of(&format!("--method {name}"))[0]));
    assert!(close(of_methods[0], of_methods[1]), "{of_methods:?}");
    let earlier = ["grad-cam", "hires-cam"]
        .map(|name| largest(&of(&format!("--method {name} --layer layer1.0.relu"))[0]));
    assert!(!close(earlier[0], earlier[1]), "{earlier:?}");
    // A text-guided network's logit is its cosine times the scale, and so is the map.
    let guided = "--against guided/model.safetensors";
    let (logit, cosine) =
        (of(&format!("{guided} --target 1")), of(&format!("{guided} --target cosine:1")));
    assert_eq!(logit[0], cosine[0]);
    assert_eq!((&logit[1]["cosine"], &cosine[1]["cosine"]), (&false.into(), &true.into()));
    let checkpoint = Checkpoint::open(&place.at("guided/model.safetensors")).unwrap();
    let scale = f64::from(checkpoint.get("logit_scale").unwrap().to_f32()[0]).exp();
    assert!(close(largest(&logit[1]), largest(&cosine[1]) * scale), "{logit:?} {cosine:?}");
    place.fails(
        &format!("{base} data/val/n1/1.png {FAULT} --out t --target cosine:1"),
        2,
        &["cosine", "text-guided"],
    );
}

#[test]
fn the_worst_faults_of_a_campaign_are_shown() {
    let (place, base) = prepared();
    let told = place.json(&format!("{base} --campaign a.sqlite --worst 3 --data data --out s"));
    let run = Run::open(&place.at("a.sqlite")).unwrap();
    let mut expected: Vec<f64> = (run.records.iter())
        .filter(|record| record.detector.name() == "none" && record.delta_loss().is_finite())
        .map(|record| record.delta_loss())
        .collect();
    expected.sort_by(|a, b| b.total_cmp(a));
    let strips = told.as_array().unwrap();
    assert_eq!(strips.len(), 3);
    for (strip, expected) in strips.iter().zip(&expected) {
        let injection = &strip["injection"];
        let record = run.records.iter().find(|record| {
            let layer = &run.manifest.layers[record.layer].name;
            injection["layer"] == **layer
                && injection["n"] == record.n
                && record.detector.name() == "none"
        });
        let record = record.unwrap();
        assert_eq!(record.delta_loss(), *expected);
        // What is printed as a fault is the one of the campaign: `predict` gives the answer of the store.
        let (fault, image) = (strip["fault"].as_str().unwrap(), strip["image"].as_str().unwrap());
        place.done(&format!(
            "predict --model tiny.toml --checkpoint plain/model.safetensors data/val/{image} --fault {fault} --logits l.safetensors"
        ));
        let logits =
            Checkpoint::open(&place.at("l.safetensors")).unwrap().get("logits").unwrap().to_f32();
        assert_eq!(flipside::logits::hash(&logits), record.effect.hash, "{fault}");
        assert_eq!(strip["networks"][0]["faulty"]["top1"]["class"], record.effect.score.top1);
    }
    // Both networks have the same of these layers but the last.
    let both = format!(
        "{base} --against guided/model.safetensors --campaign a.sqlite --worst 2 --data data --out s"
    );
    let output = place.run(&both.replace("--quiet", ""));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && said.contains("left out, as not every network has the same: fc"),
        "{said}"
    );
}

/// The images of a study without data are the program's own.
#[test]
fn campaigns_on_built_in_images_need_no_folder() {
    let place = Place::new();
    place.done("study --quick --epochs 1 --seeds 1 --injections 5 --quiet --out out");
    let of = |name: &str| format!("out/seed-1/{name}/model.safetensors");
    let (baseline, guided) = (of("baseline"), of("text-rows"));
    let base = format!(
        "visualize --checkpoint {baseline} --against {guided} --campaign out/seed-1/baseline/run.sqlite --worst 2 --out s --quiet"
    );
    let told = place.json(&base);
    assert_eq!(told.as_array().unwrap().len(), 2);
    assert!(told[0]["image"].as_str().unwrap().starts_with("shapes/test/"), "{told}");
    assert_eq!(told[0]["networks"][1]["layer"], "layer3.0.relu");
    place.fails(
        &format!("{base} --data data"),
        2,
        &["--data has no effect on out/seed-1/baseline/run.sqlite"],
    );
}

#[test]
fn what_can_t_be_shown_is_refused_in_a_sentence() {
    let (place, base) = prepared();
    let (image, out) = ("data/val/n0/0.png", "--out s");
    let fails =
        |words: &str, code: i32, said: &[&str]| place.fails(&format!("{base} {words}"), code, said);
    // The parser of flags takes several lines.
    let unparsed = |words: &str, part: &str| {
        let output = place.run(&format!("{base} {words}"));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && error.contains(part), "{words}: {error}");
    };
    let bare = base.replace(" --layer layer2.0.relu", "");
    place.fails(&format!("{bare} {image} {FAULT} {out}"), 2, &["tiny", "[saliency]", "--layer"]);
    let other = |layer: &str| format!("{bare} {image} {FAULT} {out} --layer {layer}");
    place.fails(&other("layer7"), 2, &["no layer 'layer7'", "layer2.0.relu (8×8)"]);
    place.fails(&other("fc"), 2, &["layer 'fc' puts out a vector", "layer2.0.relu"]);
    fs::write(place.at("no.png"), "text").unwrap();
    fails(&format!("no.png {FAULT} {out}"), 1, &["no.png", "neither a JPEG nor a PNG"]);
    fails(&format!("gone.png {FAULT} {out}"), 1, &["gone.png"]);
    fails(
        &format!("{image} {FAULT} {out} --target 2"),
        2,
        &["class 2 is out of range", "2 classes"],
    );
    unparsed(
        &format!("{image} {FAULT} {out} --target best"),
        "predicted, label or a class's number",
    );
    fs::copy(place.at(image), place.at("lone.png")).unwrap();
    fails(&format!("lone.png {FAULT} {out} --target label"), 2, &["lone.png", "--target label"]);
    fails(&format!("{image} {out}"), 2, &["--fault is needed"]);
    fails(&format!("{FAULT} {out}"), 2, &["images and --fault are needed"]);
    fails(&format!("{image} {image} {FAULT} {out}"), 2, &["has no fault", "image=1"]);
    fails(&format!("{image} {FAULT},image=1 {out}"), 2, &["there is no image 1"]);
    fails(&format!("{image} --fault layer=conv9,channel=0,bit=1 {out}"), 2, &["conv9", "conv1"]);
    fails(
        &format!("{image} --fault layer=conv1,channel=9,bit=1 {out}"),
        2,
        &["channel 9 lies outside"],
    );
    fails(
        &format!("{image} --fault layer=head,channel=0,bit=1 {out}"),
        2,
        &["plain/model.safetensors", "head"],
    );
    fails(
        &format!("{image} {FAULT} {out} --worst 2"),
        2,
        &["--worst has no effect without --campaign"],
    );
    fails(
        &format!("{image} {FAULT} {out} --data data"),
        2,
        &["--data has no effect without --campaign"],
    );
    let campaign = "--campaign a.sqlite --data data";
    unparsed(&format!("{campaign} --worst 0 {out}"), "0 is not in 1..");
    fails(&format!("{campaign} {out}"), 2, &["--campaign needs --worst"]);
    fails(&format!("--campaign a.sqlite --worst 1 {out}"), 2, &["a.sqlite: needs --data"]);
    unparsed(&format!("{campaign} --worst 1 {image} {out}"), "cannot be used with");
    let guided = base.replace("plain/", "guided/");
    place.fails(
        &format!("{guided} {campaign} --worst 1 {out}"),
        1,
        &["a.sqlite", "SHA-256", "guided/model.safetensors"],
    );
    // Other images under the same names, and then none.
    let told = place.json(&format!("{base} {campaign} --worst 1 {out}"));
    let shown = place.at("data/val").join(told[0]["image"].as_str().unwrap());
    let kept = fs::read(&shown).unwrap();
    // Its images are the same here, and would be found in their place.
    fs::rename(place.at("data/train"), place.at("train")).unwrap();
    crate::program::write_square(&shown, |x, y| [(x * y) as u8, 255 - y as u8, x as u8]);
    fails(&format!("{campaign} --worst 1 {out}"), 1, &["a.sqlite", "isn't the campaign's"]);
    fs::remove_file(&shown).unwrap();
    fails(&format!("{campaign} --worst 1 {out}"), 1, &["data: has no image", "a.sqlite"]);
    fs::write(&shown, kept).unwrap();
    fs::rename(place.at("train"), place.at("data/train")).unwrap();
    // NaN in the weights: no answer to explain.
    let weights = Checkpoint::open(&place.at("plain/model.safetensors")).unwrap();
    let tensors: Vec<_> = weights.iter().collect();
    let nan = [f32::NAN; 2];
    let views = tensors.iter().map(|(name, tensor)| match *name {
        "fc.bias" => (name.to_string(), TensorView::f32(&[2], &nan)),
        name => (name.to_string(), TensorView::from(tensor)),
    });
    write_safetensors(&place.at("nan.safetensors"), views, &Default::default()).unwrap();
    let broken = base.replace("plain/model", "nan");
    place.fails(
        &format!("{broken} {image} {FAULT} {out}"),
        2,
        &["nan.safetensors", "without the fault"],
    );
}
