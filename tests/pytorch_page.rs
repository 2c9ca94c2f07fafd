//! The lines of Python in docs/training.md that run a text-guided model in PyTorch: against logits that they gave once
//! (tests/oracle/page.py), and run here, where there is torch.

use std::path::PathBuf;
use std::process::Command;

use flipside::checkpoint::{Checkpoint, TensorView, write_safetensors};
use flipside::device::Device;
use flipside::models::{Model, ModelFile};
use flipside::nn::Head;
use flipside::train::Evaluator;
use serde_json::Value;

use crate::cli::Place;
use crate::formula;
use crate::pytorch_networks::{formula_images, formula_weights};

/// PyTorch and this project sum in other orders: a few 1e-6 of the largest logit.
const OFF: f64 = 1e-5;

/// The page's only block of Python.
fn lines() -> String {
    let page = std::fs::read_to_string(crate::root().join("docs/training.md")).unwrap();
    let blocks: Vec<&str> = page.split("```python\n").skip(1).collect();
    let [block] = blocks[..] else { panic!("{} blocks", blocks.len()) };
    block.split("```").next().unwrap().to_string()
}

fn check(found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().map(|logit| logit.abs()).fold(0.0, f64::max);
    let pairs = found.iter().zip(expected);
    let worst = pairs.map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
    assert!(largest > 0.1 && worst <= OFF * largest, "{worst} off, the largest is {largest}");
}

#[test]
fn the_page_s_lines_gave_the_same_logits() {
    let fixture = formula::fixture("page.json");
    let kept: Vec<&str> =
        fixture["lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    let page = lines();
    assert_eq!(page.lines().collect::<Vec<_>>(), kept, "run tests/oracle/page.py again");
    let size = |key: &str| fixture[key].as_u64().unwrap() as usize;
    let file = ModelFile::open(fixture["backbone"].as_str().unwrap()).unwrap();
    let head = Head::text_guided(512);
    let model = Model::new(&file, head, size("classes"), size("side"), 0.0).unwrap();
    let weights = formula_weights(&model, &formula::ranges(&fixture), false);
    let mut evaluator = Evaluator::new(&model, &Device::cpu(), 2).unwrap();
    let images = formula_images(2, size("side"));
    let rows: Vec<f64> =
        fixture["logits"].as_array().unwrap().iter().flat_map(formula::floats).collect();
    check(&evaluator.logits(&weights, &images, 2).unwrap(), &rows);
}

/// A Python that has torch: the one that is named, else the system's.
fn python() -> Option<PathBuf> {
    let named = std::env::var_os("FLIPSIDE_TEST_PYTHON").map(PathBuf::from);
    let python = named.unwrap_or_else(|| "python3".into());
    let has = Command::new(&python).args(["-c", "import safetensors, torch, torchvision"]).output();
    has.is_ok_and(|output| output.status.success()).then_some(python)
}

#[test]
fn the_page_s_lines_run_a_trained_file() {
    let Some(python) = python() else {
        println!(
            "skipped: no Python with torch, torchvision and safetensors (FLIPSIDE_TEST_PYTHON names one)"
        );
        return;
    };
    let place = Place::new();
    place.done(
        "train --model resnet18 --data data --image-size 64 --epochs 2 --batch-size 6 --lr 0.01 --quiet \
         --text-features features.safetensors --class-list classes.tsv --out guided",
    );
    let pixels: Vec<f32> = (0..4).flat_map(|number| formula::image(number, 64)).collect();
    let tensor = TensorView::f32(&[4, 3, 64, 64], &pixels);
    write_safetensors(&place.at("x.safetensors"), [("input", tensor)], &Default::default())
        .unwrap();
    place.done(
        "predict --checkpoint guided/model.safetensors --input x.safetensors --logits ours.safetensors",
    );
    let end = r#"
import json
from safetensors import safe_open

with torch.no_grad():
    found = logits(load_file("x.safetensors")["input"])
about = safe_open("guided/model.safetensors", "pt").metadata()
about = {key: json.loads(about[f"flipside.{key}"]) for key in ("class_names", "image_size", "input")}
print(json.dumps({"logits": found.flatten().tolist(), "about": about}))
"#;
    let output = Command::new(python)
        .args(["-c", &format!("{}{end}", lines())])
        .current_dir(place.at("."))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let ours = Checkpoint::open(&place.at("ours.safetensors")).unwrap();
    check(&ours.f32("logits", &[4, 2]).unwrap(), &formula::floats(&said["logits"]));
    let about = &said["about"];
    assert_eq!(about["class_names"], serde_json::json!([["n0", "dark"], ["n1", "light"]]));
    assert_eq!((&about["image_size"], &about["input"]["size"]), (&64.into(), &224.into()));
}
