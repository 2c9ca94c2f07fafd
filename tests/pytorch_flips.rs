//! Single flips in three networks under both heads give the logits that PyTorch gives with the same flip
//! (tests/oracle/README.md).

use std::collections::BTreeSet;
use std::fmt::Write;

use flipside::campaign::layers::{Layer, layers};
use flipside::campaign::{Campaign, Experiment, FaultList, MemoryImages};
use flipside::detector::Detector;
use flipside::fault::FaultSpec;
use flipside::logits::hash as hash_logits;
use flipside::models::{Model, ModelFile, Network};
use flipside::nn::Head;
use flipside::plan::{Labels, Plan};
use flipside::progress::Silent;
use flipside::results::Part;
use flipside::tape::{Execution, PlanKind, Undo};
use serde_json::Value;

use crate::formula;
use crate::pytorch_networks::{formula_images, formula_weights};

/// Of the largest finite |logit| of the faulty answer.
const TOLERANCE: f32 = 1e-4;

/// How far a neuron may be from PyTorch's before and after the flip, relative: f32 sums in another order
/// are up to 1.7e-5 away, and a low bit's flip may go the other way.
const NEURON: f32 = 2.4e-5;

/// A lost flip of this share of the largest |logit| would fail the test: three times the tolerance.
const VISIBLE: f32 = 3.0 * TOLERANCE;

/// One pair of flips in so many runs whole as well, as `predict --fault` does.
const WHOLE: usize = 20;

/// A row of the fixture.
struct Flip {
    layer: String,
    image: usize,
    /// Channel, row, column.
    place: [usize; 3],
    bit: u32,
    before: u32,
    after: u32,
    logits: Vec<f32>,
}

impl Flip {
    fn read(row: &Value, layers: &[&str]) -> Flip {
        let number = |at: usize| row[at].as_u64().expect("a number") as usize;
        Flip {
            layer: layers[number(0)].into(),
            image: number(1),
            place: [number(2), number(3), number(4)],
            bit: number(5) as u32,
            before: hex(&row[6])[0],
            after: hex(&row[7])[0],
            logits: floats(&row[8]),
        }
    }

    /// What a user would write.
    fn text(&self) -> String {
        let Flip { layer, image, place: [channel, row, column], bit, .. } = self;
        format!("layer={layer},image={image},channel={channel},row={row},column={column},bit={bit}")
    }

    fn spec(&self) -> FaultSpec {
        self.text().parse().unwrap()
    }

    fn is_visible(&self, clean: &[Vec<f32>]) -> bool {
        compare(&self.logits, &clean[self.image], VISIBLE).is_err()
    }
}

/// 32-bit words of eight digits each.
fn hex(value: &Value) -> Vec<u32> {
    let (words, rest) = value.as_str().expect("hex").as_bytes().as_chunks::<8>();
    assert!(rest.is_empty(), "half a word");
    let word = |word| u32::from_str_radix(str::from_utf8(word).unwrap(), 16).expect("hex");
    words.iter().map(|bytes| word(bytes)).collect()
}

fn floats(value: &Value) -> Vec<f32> {
    hex(value).into_iter().map(f32::from_bits).collect()
}

/// Infinities and NaN at the same places, other numbers within `tolerance` of the largest finite one.
fn compare(found: &[f32], expected: &[f32], tolerance: f32) -> Result<(), String> {
    let largest = expected.iter().filter(|z| z.is_finite()).fold(0f32, |m, z| m.max(z.abs()));
    for (class, (found, expected)) in found.iter().zip(expected).enumerate() {
        let agree = match expected.is_finite() {
            true => (found - expected).abs() <= tolerance * largest,
            false => found == expected || (found.is_nan() && expected.is_nan()),
        };
        if !agree {
            return Err(format!("logit {class} is {found}, not {expected}; largest {largest}"));
        }
    }
    Ok(())
}

fn check(fixture: &Value) {
    let file = ModelFile::open(fixture["backbone"].as_str().unwrap()).unwrap();
    let head = match fixture["head"].as_str().unwrap() {
        "baseline" => Head::Baseline,
        _ => Head::text_guided(512),
    };
    let size = |key: &str| fixture[key].as_u64().unwrap() as usize;
    let (classes, side) = (size("classes"), size("side"));
    let model = Model::new(&file, head, classes, side, 0.0).unwrap();
    let weights = formula_weights(&model, &formula::ranges(fixture), false);
    let list = |key: &str| fixture[key].as_array().unwrap();
    let names: Vec<&str> = list("layers").iter().map(|name| name.as_str().unwrap()).collect();
    let flips: Vec<Flip> = list("flips").iter().map(|row| Flip::read(row, &names)).collect();
    let clean: Vec<Vec<f32>> = list("clean").iter().map(floats).collect();

    // Nothing is left out: all layers that campaigns inject into, all bits, and flips that show.
    let mut ours = layers(&model);
    ours.retain(|layer| layer.part != Part::Shared);
    let set = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<BTreeSet<_>>();
    let ours_names: Vec<&str> = ours.iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(set(&ours_names), set(&names));
    let hit: Vec<&str> = flips.iter().map(|flip| flip.layer.as_str()).collect();
    assert_eq!(set(&hit), set(&names));
    assert_eq!(flips.iter().fold(0u32, |bits, flip| bits | 1 << flip.bit), u32::MAX);
    assert!(flips.len() >= 200);
    let nonfinite = |flip: &&Flip| flip.logits.iter().any(|z| !z.is_finite());
    assert!(flips.iter().filter(nonfinite).count() >= 2);
    let visible = flips.iter().filter(|flip| flip.is_visible(&clean)).count();
    assert!(visible >= 60, "{visible} of {} flips show", flips.len());

    let images = formula_images(clean.len(), side);
    let run = Run { network: Network { model, weights }, images: &images, count: clean.len() };
    let faulty = run.by_boxes(&flips, &ours, &clean);
    run.whole(&flips, &faulty);
    run.listed(&flips, &faulty);
}

struct Run<'a> {
    network: Network,
    images: &'a [f32],
    count: usize,
}

impl Run<'_> {
    fn execution(&self, plan: PlanKind) -> Execution {
        let Run { network, images, count } = self;
        let outputs = [network.model.logits];
        let mut execution = network.execution(plan, *count, &outputs).unwrap();
        network.forward(&mut execution, images).unwrap();
        execution
    }

    /// Every flip as a campaign runs it; returns the faulty logits.
    fn by_boxes(&self, flips: &[Flip], layers: &[Layer], clean: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let mut execution = self.execution(PlanKind::Golden);
        for (image, expected) in clean.iter().enumerate() {
            let logits = execution.image_values(self.network.model.logits, image);
            compare(logits, expected, TOLERANCE).unwrap_or_else(|error| panic!("clean: {error}"));
        }
        let mut undo = Undo::default();
        let mut wrong = Vec::new();
        let mut of_flip = |flip: &Flip| {
            let layer = layers.iter().find(|layer| layer.name == flip.layer).unwrap();
            let [channel, row, column] = flip.place;
            let at = layer.map.index(row, column, channel);
            let before = execution.image_values(layer.node, flip.image)[at];
            let mut check = |what: &str, result: Result<(), String>| {
                wrong.extend(result.err().map(|error| format!("{}: {what}: {error}", flip.text())));
            };
            check("before", near(before, f32::from_bits(flip.before)));
            let after = f32::from_bits(before.to_bits() ^ 1 << flip.bit);
            check("after", near(after, f32::from_bits(flip.after)));
            execution.arm_all(&self.network.weights, &[flip.spec()]).unwrap();
            let (node, outputs) = (layer.node, [self.network.model.logits]);
            execution
                .replay_image(&self.network.weights, node, flip.image, &outputs, &mut undo)
                .unwrap();
            let logits = execution.image_values(self.network.model.logits, flip.image).to_vec();
            check("faulty", compare(&logits, &flip.logits, TOLERANCE));
            execution.restore(&mut undo);
            execution.disarm();
            logits
        };
        let faulty = flips.iter().map(&mut of_flip).collect();
        assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
        faulty
    }

    /// Some flips, one in each of the two images, as `predict --fault` runs them: the same bits.
    fn whole(&self, flips: &[Flip], faulty: &[Vec<f32>]) {
        let mut execution = self.execution(PlanKind::Infer);
        let of_image =
            |image| flips.iter().zip(faulty).filter(move |(flip, _)| flip.image == image);
        for pair in of_image(0).zip(of_image(1)).step_by(WHOLE) {
            let pair = [pair.0, pair.1];
            execution.write(self.network.model.image, self.images).unwrap();
            execution.arm_all(&self.network.weights, &pair.map(|(flip, _)| flip.spec())).unwrap();
            execution.forward(&self.network.weights).unwrap();
            let logits = execution.read(self.network.model.logits).unwrap();
            execution.disarm();
            for ((flip, expected), logits) in
                pair.iter().zip(logits.chunks(self.network.model.classes))
            {
                let result = compare(logits, expected, 0.0);
                result.unwrap_or_else(|error| panic!("whole: {}: {error}", flip.text()));
            }
        }
    }

    /// Every flip from a list, as `inject --faults` runs it: the same bits.
    fn listed(&self, flips: &[Flip], faulty: &[Vec<f32>]) {
        let images = MemoryImages { pixels: self.images.to_vec(), labels: vec![0; self.count] };
        let numbers: Vec<usize> = (0..self.count).collect();
        let (network, labels) = (&self.network, Labels::Data);
        let experiment =
            Experiment::evaluate(network, &images, &numbers, labels, self.count, &Silent).unwrap();
        let mut text = String::from("layer,image,channel,row,column,bit\n");
        for Flip { layer, image, place: [channel, row, column], bit, .. } in flips {
            writeln!(text, "{layer},{image},{channel},{row},{column},{bit}").unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("faults.csv");
        std::fs::write(&path, text).unwrap();
        let list = FaultList::open(&path).unwrap();
        let plan = Plan { detectors: vec![Detector::None], ..Plan::new(1, 1) };
        let campaign = Campaign::of_list(&experiment, plan, &list).unwrap();
        let records = campaign.run(campaign.best_strategy(), &Silent).unwrap();
        assert_eq!(records.len(), flips.len());
        for record in records {
            let n = record.n as usize;
            assert_eq!(record.effect.hash, hash_logits(&faulty[n]), "listed: {}", flips[n].text());
        }
    }
}

/// Equal but for rounding, or both NaN.
fn near(found: f32, expected: f32) -> Result<(), String> {
    let bound = NEURON * expected.abs();
    let agree = (found - expected).abs() <= bound || (found.is_nan() && expected.is_nan());
    if agree { Ok(()) } else { Err(format!("{found:e}, not {expected:e}")) }
}

macro_rules! networks {
    ($($name:ident: $backbone:literal, $head:literal;)*) => {
        const FILES: &[&str] = &[$(concat!($backbone, "-", $head, ".json")),*];
        $(#[test]
        fn $name() {
            check(&formula::fixture(concat!("flips/", $backbone, "-", $head, ".json")));
        })*
    };
}

networks! {
    resnet18_baseline: "resnet18", "baseline";
    resnet18_text_guided: "resnet18", "text-guided";
    mobilenet_v2_baseline: "mobilenet_v2", "baseline";
    mobilenet_v2_text_guided: "mobilenet_v2", "text-guided";
    swin_v2_t_baseline: "swin_v2_t", "baseline";
    swin_v2_t_text_guided: "swin_v2_t", "text-guided";
}

#[test]
fn no_fixture_is_left_over() {
    let folder = crate::root().join("tests/fixtures/pytorch/flips");
    let files = std::fs::read_dir(folder).unwrap();
    let found: BTreeSet<String> =
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(found, FILES.iter().map(|name| name.to_string()).collect());
}
