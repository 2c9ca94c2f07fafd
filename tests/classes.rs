//! What a network's classes are and what its checkpoint says about itself, from training to injection.

use std::collections::BTreeMap;
use std::fs;

use flipside::checkpoint::{Checkpoint, TensorView, write_safetensors};
use serde_json::Value;

use crate::program::{Folder, MODEL, write_square};

/// Eleven colours in folders 0 to 10, whose order by name isn't that of their numbers.
const COLOURS: [(&str, [u8; 3]); 11] = [
    ("red", [220, 20, 20]),
    ("green", [20, 200, 20]),
    ("blue", [20, 20, 220]),
    ("yellow", [220, 220, 20]),
    ("cyan", [20, 220, 220]),
    ("magenta", [220, 20, 220]),
    ("white", [245, 245, 245]),
    ("black", [8, 8, 8]),
    ("orange", [250, 140, 10]),
    ("grey", [128, 128, 128]),
    ("brown", [110, 60, 20]),
];

const TRAINED: &str = "--checkpoint run/model.safetensors";

/// The colours, a class list, and a network that was trained on them with text features.
fn colours() -> Folder {
    let place = Folder::new();
    let wide = MODEL.replace("widths = [4, 8]", "widths = [16, 16]");
    fs::write(place.at("tiny.toml"), wide).unwrap();
    let line = |(i, (name, _)): (usize, &(&str, [u8; 3]))| format!("{i}\t{i}\t{name}\n");
    let list: String = COLOURS.iter().enumerate().map(line).collect();
    // As Windows writes it.
    fs::write(place.at("classes.tsv"), format!("\u{feff}{list}").replace('\n', "\r\n")).unwrap();
    for (split, images) in [("train", 8), ("val", 3)] {
        for (class, (_, colour)) in COLOURS.iter().enumerate() {
            let folder = place.at("data").join(split).join(class.to_string());
            fs::create_dir_all(&folder).unwrap();
            for number in 0..images {
                let grain = |x: usize, y: usize| ((x * 7 + y * 13 + number * 5) % 8) as i32 - 4;
                let shade = |x, y| colour.map(|c| (i32::from(c) + grain(x, y)).clamp(0, 255) as u8);
                write_square(&folder.join(format!("{number}.png")), shade);
            }
        }
    }
    let rows: Vec<f32> = (0..11 * 16).map(|i| f32::from(u8::from(i % 17 == 0))).collect();
    let tensor = TensorView::f32(&[11, 16], &rows);
    write_safetensors(&place.at("f.safetensors"), [("features", tensor)], &Default::default())
        .unwrap();
    place.done(
        "train --model tiny.toml --data data --out run --text-features f.safetensors \
         --class-list classes.tsv --epochs 25 --batch-size 44 --lr 0.02 --quiet",
    );
    place
}

/// Writes a checkpoint again, with other metadata and with rows of the head in another order.
fn rewrite(place: &Folder, from: &str, to: &str, order: [usize; 11], metadata: &[(&str, &str)]) {
    let checkpoint = Checkpoint::open(&place.at(from)).unwrap();
    let mut tensors: Vec<_> = checkpoint.iter().collect();
    for (_, tensor) in tensors.iter_mut().filter(|(name, _)| *name == "head.weight") {
        let values = tensor.to_f32();
        let rows = order.iter().flat_map(|row| &values[row * 16..][..16]).copied().collect();
        tensor.data = flipside::checkpoint::TensorData::F32(rows);
    }
    let metadata: BTreeMap<String, String> =
        metadata.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    let views = tensors.iter().map(|(name, tensor)| (name.to_string(), TensorView::from(tensor)));
    write_safetensors(&place.at(to), views, &metadata).unwrap();
}

fn top1(place: &Folder, words: &str) -> f64 {
    place.json(&format!("eval {words} --quiet"))["top1_percent"].as_f64().unwrap()
}

/// Every command means the same class by the same number: with all folders and with some, with the list and
/// without, trained here and elsewhere.
#[test]
fn labels_keep_their_meaning() {
    let place = colours();
    let some = place.at("some/val");
    fs::create_dir_all(&some).unwrap();
    for class in 0..11usize {
        let (from, to) = (place.at(&format!("data/val/{class}")), some.join(class.to_string()));
        if class != 9 {
            fs::create_dir(&to).unwrap();
            for image in fs::read_dir(from).unwrap() {
                let image = image.unwrap();
                fs::copy(image.path(), to.join(image.file_name())).unwrap();
            }
        }
    }
    // Trained here: the checkpoint names its classes, and no list changes that.
    for words in ["", "--class-list classes.tsv"] {
        for data in ["data/val", "some/val"] {
            assert_eq!(
                top1(&place, &format!("{TRAINED} --model tiny.toml --data {data} {words}")),
                100.0
            );
        }
    }
    let names = |words: &str| -> Vec<String> {
        let files: Vec<String> = (0..11).map(|class| format!("data/val/{class}/0.png")).collect();
        let words =
            format!("predict {words} --model tiny.toml --top 1 --quiet {}", files.join(" "));
        let answers = place.json(&words);
        let name = |row: &Value| row["top"][0]["name"].as_str().unwrap().to_string();
        answers.as_array().unwrap().iter().map(name).collect()
    };
    let truth: Vec<String> = COLOURS.iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(names(TRAINED), truth);
    assert_eq!(names(&format!("{TRAINED} --class-list classes.tsv")), truth);
    let inject = "inject --model tiny.toml --detector none --injections 2 --layer head --data some";
    let run = place.json(&format!("{inject} {TRAINED} --quiet"));
    assert_eq!(run["images"], 30, "{run}");

    // Made elsewhere, rows in the order of the list: the list numbers them, however many folders there are.
    let by_folder = [0, 1, 10, 2, 3, 4, 5, 6, 7, 8, 9];
    let place_of = |class: usize| by_folder.iter().position(|folder| *folder == class).unwrap();
    let in_list: [usize; 11] = std::array::from_fn(place_of);
    rewrite(&place, "run/model.safetensors", "foreign.safetensors", in_list, &[]);
    let foreign = "--checkpoint foreign.safetensors --class-list classes.tsv";
    for data in ["data/val", "some/val"] {
        assert_eq!(top1(&place, &format!("{foreign} --model tiny.toml --data {data}")), 100.0);
    }
    assert_eq!(names(foreign), truth);
    let unnamed = "eval --checkpoint foreign.safetensors --model tiny.toml --data";
    place.fails(&format!("{unnamed} some/val --quiet"), 2, &["some/val", "11 without naming them"]);

    // An earlier version stored no names: its rows are in the order of the folders.
    let own = std::array::from_fn(|i| i);
    rewrite(&place, "run/model.safetensors", "old.safetensors", own, &[("flipside.model", "tiny")]);
    let old = "--model tiny.toml --checkpoint old.safetensors";
    assert_eq!(top1(&place, &format!("{old} --data data/val")), 100.0);
    for words in [
        format!("eval {old} --data data/val --class-list classes.tsv"),
        format!("predict {old} data/val/3/0.png --class-list classes.tsv"),
        format!("convert {old} --out no.safetensors --class-list classes.tsv"),
    ] {
        place.fails(&words, 2, &["that didn't store its classes", "name a list in that order"]);
    }
    // Converting settles nothing: what was open stays so, what a list may number can be numbered.
    let convert = "convert --model tiny.toml --quiet --checkpoint";
    place.done(&format!("{convert} old.safetensors --out older.safetensors"));
    let older = "eval --model tiny.toml --checkpoint older.safetensors --data data/val";
    place.fails(&format!("{older} --class-list classes.tsv"), 2, &["didn't store its classes"]);
    place.done(&format!("{convert} foreign.safetensors --out still.safetensors"));
    let still = "--model tiny.toml --checkpoint still.safetensors --class-list classes.tsv";
    assert_eq!(top1(&place, &format!("{still} --data some/val")), 100.0);

    // Two networks with other numbers for the same folders are both right about the same images.
    let both = format!("{inject} --class-list classes.tsv --quiet");
    let own = format!("{both} {TRAINED} --right-in foreign.safetensors --out own.sqlite");
    assert_eq!(place.json(&own)["images"], 30);
    // Their stores show it, so that nobody takes class 2 of the one for class 2 of the other.
    let other = "--checkpoint foreign.safetensors --right-in run/model.safetensors";
    place.done(&format!("{both} {other} --out foreign.sqlite"));
    let orders = "number the classes differently: 10/0.png is of class 2 and 10";
    place.fails("compare own.sqlite foreign.sqlite", 2, &[orders]);

    // A list that is written into the file once isn't needed again.
    place.done(&format!("convert {foreign} --model tiny.toml --out named.safetensors"));
    let named = "--checkpoint named.safetensors --data some/val --model tiny.toml";
    assert_eq!(top1(&place, named), 100.0);

    // Folders by class name; then one that nobody knows.
    fs::rename(some.join("0"), some.join("red")).unwrap();
    assert_eq!(top1(&place, named), 100.0);
    fs::rename(some.join("red"), some.join("rouge")).unwrap();
    place.fails(&format!("eval {named} --quiet"), 2, &["class rouge", "names (0, 1, 2, 3, 4, …)"]);
    place.fails(
        "train --model tiny.toml --data data --out no --class-list some.tsv --quiet",
        1,
        &["some.tsv"],
    );
    fs::write(place.at("some.tsv"), "0\t0\tred\n1\t1\tgreen\n").unwrap();
    place.fails(
        "train --model tiny.toml --data data --out no --class-list some.tsv --quiet",
        2,
        &["data/train: class 10 isn't in the class list"],
    );
}

/// What a file says of itself holds; flags overrule it aloud; contradictions are errors.
#[test]
fn checkpoints_say_what_they_are() {
    let place = colours();
    let eval = "eval --data data/val";
    let full = place.json(&format!("{eval} {TRAINED} --model tiny.toml --quiet"));
    let said = |words: &str| {
        let output = place.run(&format!("{eval} {words}"));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words}: {error}");
        error
    };
    assert!(!said(&format!("{TRAINED} --model tiny.toml")).contains("model.safetensors"));

    // Trained at another size than the model file's: run at that size, unless a flag says otherwise.
    let train = "train --model tiny.toml --data data --epochs 1 --quiet";
    place.done(&format!("{train} --image-size 20 --out wide"));
    let wide = "--model tiny.toml --checkpoint wide/model.safetensors";
    let [own, flag] =
        ["", "--image-size 20"].map(|size| place.json(&format!("{eval} {wide} {size} --quiet")));
    assert_eq!(own, flag);
    let other = said(&format!("{wide} --image-size 16"));
    assert!(other.contains("made for 20×20 pixels, run at 16 (--image-size)"), "{other}");

    // Another network is right by its own size, too.
    place.done(&format!(
        "{} --image-size 20 --out wider",
        train.replace("--epochs 1", "--epochs 9")
    ));
    let wider = "--model tiny.toml --checkpoint wider/model.safetensors";
    let right = top1(&place, &format!("{wider} --data data/val")) * 33.0 / 100.0;
    let inject = "inject --model tiny.toml --detector none --injections 1 --layer head --data data";
    let words = format!("{inject} {TRAINED} --right-in wider/model.safetensors --quiet");
    assert!(right > 0.5, "{right}");
    assert_eq!(place.json(&words)["images"], right.round() as u64);

    // Preprocessing: a file that the user names overrules the checkpoint's own, aloud.
    let toml = fs::read_to_string(place.at("tiny.toml")).unwrap();
    fs::write(place.at("odd.toml"), toml.replace("[0.5, 0.5, 0.5]", "[0.4, 0.5, 0.5]")).unwrap();
    let odd = said(&format!("{TRAINED} --model odd.toml"));
    assert!(odd.contains("another preprocessing than odd.toml") && odd.contains("tiny"), "{odd}");

    // The model's name does where it comes with the program.
    place.fails(
        &format!("{eval} {TRAINED} --quiet"),
        1,
        &["is of tiny", "name its .toml or .onnx file with --model"],
    );
    rewrite(&place, "run/model.safetensors", "bare.safetensors", std::array::from_fn(|i| i), &[]);
    let bare = "--checkpoint bare.safetensors --quiet";
    place.fails(&format!("{eval} {bare}"), 1, &["bare.safetensors", "doesn't say which model"]);
    let small = "train --model resnet_small --data data --epochs 1 --image-size 16 --quiet --out";
    place.done(&format!("{small} small"));
    let named = place.json(&format!("{eval} --checkpoint small/model.safetensors --quiet"));
    assert_eq!(named["images"], full["images"]);

    // Contradictions and keys of another version.
    let fails = |key: &str, value: &str, parts: &[&str]| {
        let order = std::array::from_fn(|i| i);
        rewrite(&place, "run/model.safetensors", "x.safetensors", order, &[(key, value)]);
        let words = format!("{eval} --model tiny.toml --checkpoint x.safetensors --quiet");
        place.fails(&words, 1, &[&["x.safetensors"], parts].concat());
    };
    fails("flipside.classes", "10", &["says '10 classes'", "that of 11 classes"]);
    fails("flipside.head", "baseline", &["says 'baseline'", "text-guided 16"]);
    fails("flipside.image_size", "big", &["flipside.image_size = big", "makes no sense"]);
    let input = r#"{"size":16,"resize":1000000000,"mean":[0,0,0],"std":[1,1,1]}"#;
    fails("flipside.input", input, &["flipside.input", "sizes from 1 to 8192"]);
    fails("flipside.class_names", "[[\"0\",\"red\"]]", &["says '1 classes'", "11 classes"]);
    fails("flipside.colour_space", "bgr", &["flipside.colour_space", "doesn't know"]);
    // A name is never a path.
    let order = std::array::from_fn(|i| i);
    let toml = place.at("tiny.toml").display().to_string();
    let path = [("flipside.model", toml.as_str())];
    rewrite(&place, "run/model.safetensors", "x.safetensors", order, &path);
    place.fails(
        &format!("{eval} --checkpoint x.safetensors"),
        1,
        &["doesn't come with the program"],
    );
    fails("flipside.architecture", "{\"family\":\"vgg\"}", &["architecture", "vgg", "resnet"]);
}

/// A network that answers NaN is called that, not wrong.
#[test]
fn networks_without_a_finite_answer_are_named() {
    let place = colours();
    let checkpoint = Checkpoint::open(&place.at("run/model.safetensors")).unwrap();
    let mut tensors: Vec<_> = checkpoint.iter().collect();
    for (_, tensor) in tensors.iter_mut().filter(|(name, _)| *name == "backbone.conv1.weight") {
        let values = vec![f32::NAN; tensor.to_f32().len()];
        tensor.data = flipside::checkpoint::TensorData::F32(values);
    }
    let views = tensors.iter().map(|(name, tensor)| (name.to_string(), TensorView::from(tensor)));
    write_safetensors(&place.at("nan.safetensors"), views, checkpoint.metadata()).unwrap();
    let nan = "--model tiny.toml --checkpoint nan.safetensors --quiet";
    let inject = format!("inject {nan} --data data");
    for words in [
        "--injections 2 --detector none",
        "--injections 2 --detector none --labels golden",
        "--injections 2 --protocol goldeneye",
        "--exhaustive last-layer --detector none",
    ] {
        let expected = ["nan.safetensors", "NaN or infinity among the logits of ", "any fault"];
        place.fails(&format!("{inject} {words}"), 1, &expected);
    }
    assert_eq!(place.json(&format!("eval {nan} --data data/val"))["nonfinite_images"], 33);
    let text = place.done(&format!("eval {nan} --data data/val"));
    assert!(text.contains("NaN or infinity among the logits of 33 images"), "{text}");
    let right = format!("inject --model tiny.toml {TRAINED} --data data --detector none --quiet");
    let words = format!("{right} --injections 2 --right-in nan.safetensors");
    place.fails(&words, 1, &["nan.safetensors", "of 33 of 33 images"]);
}
