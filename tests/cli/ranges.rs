//! Ranges beside the store: the same records, measured once, and never those of something else.

use std::fs;
use std::path::PathBuf;

use flipside::results::Run;

use super::{Place, TRAIN};

const INJECT: &str = "inject --model tiny.toml --data data --injections 20 --labels golden";

/// Whether a campaign into `out` measures ranges, and the rest of what it says of them.
fn measures(place: &Place, flags: &str, out: &str) -> (bool, String) {
    let output = place.run(&format!("{INJECT} {flags} --out {out}"));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}");
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("ranges")).collect();
    let said = lines.join("\n");
    assert!(said.contains("ranges over 12 training images"), "{text}");
    (!said.contains("measured before"), said)
}

fn files(place: &Place, folder: &str) -> Vec<PathBuf> {
    let names = fs::read_dir(place.at(folder)).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.to_string_lossy().contains("/ranges-")).collect()
}

#[test]
fn ranges_are_measured_once() {
    let place = Place::new();
    place.done(&format!("{TRAIN} --out a"));
    let a = "--checkpoint a/model.safetensors";
    place.done(&format!("{INJECT} {a} --quiet"));
    assert_eq!(files(&place, ".").len(), 0, "without a store there is no place for them");
    assert!(measures(&place, a, "runs/one.sqlite").0);
    let kept = files(&place, "runs");
    assert_eq!(kept.len(), 1);
    assert!(!measures(&place, a, "runs/two.sqlite").0);
    assert!(!measures(&place, &format!("{a} --layer conv1"), "runs/of-one.sqlite").0);
    assert!(!measures(&place, &format!("{a} --shard 1/2"), "runs/part.sqlite").0);
    let run = |name: &str| Run::open(&place.at(name)).unwrap();
    let (one, two) = (run("runs/one.sqlite"), run("runs/two.sqlite"));
    assert_eq!(one.results_sha256(), two.results_sha256());
    assert_eq!((&one.manifest, &one.manifest.layers), (&two.manifest, &two.manifest.layers));

    // A layer's range alone doesn't serve for all of them; together they do, then.
    assert!(measures(&place, &format!("{a} --layer conv1"), "few/one.sqlite").0);
    assert!(measures(&place, a, "few/two.sqlite").0);
    assert!(!measures(&place, a, "few/three.sqlite").0);
    assert_eq!(run("few/three.sqlite").results_sha256(), one.results_sha256());
}

#[test]
fn ranges_of_something_else_are_not_taken() {
    let place = Place::new();
    place.done(&format!("{TRAIN} --out a"));
    place.done(&format!("{TRAIN} --seed 2 --out b"));
    let a = "--checkpoint a/model.safetensors";
    assert!(measures(&place, a, "one.sqlite").0);
    assert!(measures(&place, "--checkpoint b/model.safetensors", "two.sqlite").0);
    assert!(measures(&place, &format!("{a} --device emulated"), "three.sqlite").0);
    // An image that is as long as before, and another one.
    let image = place.at("data/train/n0/0.png");
    let bytes = fs::read(&image).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    fs::write(&image, bytes).unwrap();
    assert!(measures(&place, a, "four.sqlite").0);
    assert_eq!(files(&place, ".").len(), 4);
}

#[test]
fn a_damaged_file_of_ranges_is_written_anew() {
    let place = Place::new();
    place.done(&format!("{TRAIN} --out a"));
    let a = "--checkpoint a/model.safetensors";
    assert!(measures(&place, a, "one.sqlite").0);
    let [file] = &files(&place, ".")[..] else { panic!("no file, or two") };
    let text = fs::read_to_string(file).unwrap();
    let number = text.split("\"conv1\": ").nth(1).unwrap().split([',', '\n']).next().unwrap();
    let changed = text.replace(&format!("\"conv1\": {number}"), "\"conv1\": 1.5");
    assert_ne!(changed, text);
    let renamed = text.replace("\"image_size\"", "\"picture_size\"");
    for (index, damaged) in
        [&changed, &text[..text.len() / 2], "", &renamed].into_iter().enumerate()
    {
        fs::write(file, damaged).unwrap();
        let (is_measured, said) = measures(&place, a, &format!("damaged-{index}.sqlite"));
        assert!(is_measured && said.contains("is damaged"), "{said}");
        assert_eq!(fs::read_to_string(file).unwrap(), text);
    }
}
