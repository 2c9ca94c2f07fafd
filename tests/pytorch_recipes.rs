//! Recipes against PyTorch: rates of each schedule, and twenty steps by each optimiser, schedule, average and
//! accumulation (`tests/oracle/recipes.py`).

use std::path::Path;
use std::sync::Arc;

use flipside::data::transform::{EvalTransform, Filter, Transform};
use flipside::data::{ClassEntry, Dataset, Image8};
use flipside::device::Device;
use flipside::models::ModelFile;
use flipside::nn::Head;
use flipside::progress::Silent;
use flipside::recipe::Recipe;
use flipside::tape::{ParamId, Weights};
use flipside::train::{Job, Source, Trainer};
use serde_json::Value;

use crate::formula;

const CLASSES: usize = 5;
const IMAGES: usize = 12;
const SIDE: usize = 8;

/// The oracle's network, less its recipe.
const NETWORK: &str = r#"
family = "alexnet"
[architecture]
convolutions = [{ channels = 4, kernel = 3, stride = 2, padding = 1 }]
pooled = 2
hidden = [6]
dropout = 0.0
[input]
size = 8
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]
"#;

/// The oracle's images.
struct Pictures {
    classes: Vec<ClassEntry>,
    pixels: Vec<u8>,
}

impl Pictures {
    fn new() -> Pictures {
        let entry = |i: usize| ClassEntry { id: format!("n{i}"), name: format!("class {i}") };
        let hash = formula::fnv1a64("recipes");
        let golden = 0x9E37_79B9_7F4A_7C15u64;
        let word = |i: u64| formula::splitmix64(hash.wrapping_add(i.wrapping_mul(golden)));
        let count = (IMAGES * SIDE * SIDE * 3) as u64;
        Pictures {
            classes: (0..CLASSES).map(entry).collect(),
            pixels: (0..count).map(|i| (word(i) >> 56) as u8).collect(),
        }
    }
}

impl Dataset for Pictures {
    fn len(&self) -> usize {
        IMAGES
    }

    fn classes(&self) -> &[ClassEntry] {
        &self.classes
    }

    fn label(&self, i: usize) -> usize {
        i % CLASSES
    }

    fn image(&self, i: usize) -> flipside::Result<Image8> {
        let size = SIDE * SIDE * 3;
        Image8::new(SIDE, SIDE, self.pixels[i * size..(i + 1) * size].to_vec())
    }

    fn path(&self, i: usize) -> String {
        i.to_string()
    }

    fn fingerprint(&self) -> String {
        "the oracle's".into()
    }
}

fn fixture() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pytorch/recipes.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn recipe(case: &Value) -> Recipe {
    let recipe: Recipe = serde_json::from_value(case["recipe"].clone()).unwrap();
    recipe.check().unwrap();
    recipe
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

#[test]
fn rates_are_those_of_pytorchs_schedulers() {
    let fixture = fixture();
    let cases = fixture["schedules"].as_array().unwrap();
    assert_eq!(cases.len(), 18);
    for case in cases {
        let recipe = recipe(case);
        for (epoch, rate) in numbers(&case["rates"]).into_iter().enumerate() {
            for step in [0, 6] {
                let found = recipe.learning_rate_at(epoch, step, 7);
                let apart = (found - rate).abs();
                assert!(apart <= 1e-6 * rate, "{}, epoch {epoch}: {found}", case["recipe"]);
            }
        }
    }
}

/// How far the weights are from what the oracle holds of them, as a share of their norm.
fn distance(weights: &Weights, held: &Value) -> f64 {
    let mut params: Vec<_> = weights.tape().params().iter().enumerate().collect();
    params.sort_by(|one, other| one.1.name.cmp(&other.1.name));
    let all: Vec<f32> =
        params.iter().flat_map(|(index, _)| weights.get(ParamId(*index)).unwrap()).collect();
    let held = numbers(held);
    let norm = all.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    let found = formula::projections(&all, held.len() - 1);
    let apart = found.iter().zip(&held[1..]).map(|(one, other)| (one - other).abs());
    apart.fold((norm - held[0]).abs(), f64::max) / held[0]
}

fn trained(recipe: Recipe) -> Trainer {
    let file = ModelFile::parse("oracle", NETWORK, Path::new("oracle.toml")).unwrap().smooth_twin();
    let (mean, std) = (file.input.mean, file.input.std);
    let eval = EvalTransform { resize: None, crop: SIDE, filter: Filter::Bilinear, mean, std };
    let train = Source { dataset: Arc::new(Pictures::new()), transform: Transform::Eval(eval) };
    let job = Job {
        file,
        head: Head::Baseline,
        recipe,
        seed: 1,
        start: "the oracle's".into(),
        train,
        validation: None,
        workers: 1,
        output: None,
        freeze: Vec::new(),
        faults: Vec::new(),
    };
    let mut trainer = Trainer::new(job, &Device::cpu()).unwrap();
    let tape = trainer.model().tape.clone();
    for (index, param) in tape.params().iter().enumerate() {
        let values = formula::parameter(&param.name, &param.spec.shape, &[]);
        trainer.weights_mut().set(ParamId(index), &values).unwrap();
    }
    trainer.run(&Silent).unwrap();
    trainer
}

#[test]
fn twenty_steps_are_pytorchs_for_every_recipe() {
    let fixture = fixture();
    let cases = fixture["runs"].as_array().unwrap();
    assert_eq!(cases.len(), 144);
    let mut worst = 0.0f64;
    for case in cases {
        let trainer = trained(recipe(case));
        let mut apart = distance(trainer.weights(), &case["weights"]);
        if let Some(average) = case.get("average") {
            apart = apart.max(distance(&trainer.into_network().weights, average));
        }
        worst = worst.max(apart);
        assert!(apart <= 1e-5, "{}: {apart:.1e} apart", case["recipe"]);
    }
    println!("worst distance of 144 runs: {worst:.1e}");
}
