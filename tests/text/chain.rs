//! The whole way: questions, answers, features, a model that starts from them, faults in it.

use std::fs;
use std::path::Path;

use flipside::checkpoint::{Checkpoint, TensorView, write_safetensors};
use flipside::data::Dataset;
use flipside::data::builtin::{SIDE, Shapes, Split, descriptions};
use flipside::text::file;

use super::describe::server::{Reply, Server};
use super::towers::tower;
use crate::program::{Folder, MODEL, write_png};

/// The fixture's smallest text tower, its weights from the formula.
fn write_tower(path: &Path) {
    let tensors = tower("small").tensors();
    let views = tensors.iter().map(|(name, shape, v)| (name.as_str(), TensorView::f32(shape, v)));
    write_safetensors(path, views, &Default::default()).unwrap();
}

/// Dimensions of its embeddings.
const EMBEDDING: usize = 48;

/// The built-in pictures as a folder of PNGs.
fn write_pictures(folder: &Folder) {
    for (name, split, count) in [("train", Split::Train, 40), ("val", Split::Test, 40)] {
        let shapes = Shapes::new(1, split, count);
        for i in 0..count {
            let class = folder.at("data").join(name).join(&shapes.classes()[shapes.label(i)].id);
            fs::create_dir_all(&class).unwrap();
            let pixels = shapes.image(i).unwrap().pixels;
            write_png(&class.join(format!("{i}.png")), [SIDE, SIDE], &pixels);
        }
    }
}

/// What a language model might say: one of the built-in descriptions of the class in the question.
fn answer(question: &str) -> String {
    let named = descriptions().iter().filter(|class| question.contains(class.name));
    let class = named.max_by_key(|class| class.name.len()).expect("a class in the question");
    class.answers[question.len() % class.answers.len()].to_string()
}

#[test]
fn from_class_names_to_a_model_under_faults() {
    let folder = Folder::new();
    let list: String = descriptions()
        .iter()
        .enumerate()
        .map(|(i, class)| format!("{i}\t{}\t{}\n", class.name.replace(' ', "_"), class.name))
        .collect();
    fs::write(folder.at("classes.tsv"), list).unwrap();
    fs::write(folder.at("tiny.toml"), MODEL).unwrap();
    write_tower(&folder.at("tower.safetensors"));
    write_pictures(&folder);

    folder.done("prompts --classes classes.tsv --out questions.jsonl");
    let server = Server::new(|_, request| Reply::Say(answer(request.question())));
    let describe = format!(
        "describe --questions questions.jsonl --out answers.jsonl --base-url {} --model m --quiet",
        server.url()
    );
    assert_eq!(folder.done(&describe), "answers.jsonl: 100/100 answers, 100 new\n");
    assert_eq!(folder.done(&describe), "answers.jsonl: 100/100 answers, 0 new\n");
    assert_eq!(server.log().len(), 100);

    let embed =
        "embed --descriptions answers.jsonl --classes classes.tsv --encoder tower.safetensors";
    let made = folder.json(&format!("{embed} --quiet --out features.safetensors"));
    assert_eq!((&made["classes"], &made["width"]), (&10.into(), &EMBEDDING.into()));
    assert_eq!(made["made_of"]["truncated"], "0");
    let features = file::open(&folder.at("features.safetensors"), None).unwrap();
    let norm = |row: &[f32]| row.iter().map(|v| f64::from(v * v)).sum::<f64>().sqrt();
    // Rounding of 48 numbers to f32.
    assert!((0..10).all(|i| (norm(features.row(i)) - 1.0).abs() < 1e-6));
    folder.done(&format!("{embed} --quiet --threads 1 --out again.safetensors"));
    let bytes = |name: &str| fs::read(folder.at(name)).unwrap();
    assert_eq!(bytes("features.safetensors"), bytes("again.safetensors"));
    let text = folder.done("embed --describe features.safetensors");
    assert!(text.contains("10 classes × 48") && text.contains("stripes"), "{text}");

    // Answers longer than the encoder's context are cut off, and counted.
    let long = format!("{{\"class\": \"disc\", \"text\": \"{}\"}}\n", "word ".repeat(100));
    fs::write(folder.at("long.jsonl"), [bytes("answers.jsonl"), long.into_bytes()].concat())
        .unwrap();
    let embed = embed.replace("answers", "long");
    let said = folder.done(&format!("{embed} --quiet --out long.safetensors"));
    assert!(said.contains("from 101 texts, 1 of them cut off at 77 tokens"), "{said}");

    // The features know their classes: the model needs no list, and one of another order changes nothing.
    let train = "train --model tiny.toml --data data --text-features features.safetensors --quiet";
    folder.done(&format!("{train} --out run"));
    let model = Checkpoint::open(&folder.at("run/model.safetensors")).unwrap();
    assert_eq!(model.shape("head.weight").unwrap(), [10, EMBEDDING]);
    let swapped = fs::read_to_string(folder.at("classes.tsv")).unwrap();
    let swapped =
        swapped.replacen("0\t", "X\t", 1).replacen("1\t", "0\t", 1).replacen("X\t", "1\t", 1);
    fs::write(folder.at("swapped.tsv"), swapped).unwrap();
    folder.done(&format!("{train} --class-list swapped.tsv --out other"));
    assert_eq!(bytes("run/model.safetensors"), bytes("other/model.safetensors"));
    folder.done(
        "inject --model tiny.toml --checkpoint run/model.safetensors --data data --injections 20 \
         --quiet --out faults.sqlite",
    );
    let run = flipside::results::Run::open(&folder.at("faults.sqlite")).unwrap();
    assert!(run.records.len() > 100);
}
