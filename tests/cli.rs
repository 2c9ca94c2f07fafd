//! The program as a user runs it: the whole path on tiny files, and each sad path's one sentence.

use std::fs;
use std::ops::Deref;

use flipside::checkpoint::{Checkpoint, HostTensor, TensorData, TensorView, write_safetensors};
use flipside::number::Compute;
use flipside::results::Run;

use crate::program::{Folder, MODEL, write_square};

mod cite;
mod data;
mod pictures;
mod ranges;
mod reproduce;
mod rerun;
mod study;
mod training;
mod unnormalized;

pub struct Place {
    folder: Folder,
}

impl Deref for Place {
    type Target = Folder;

    fn deref(&self) -> &Folder {
        &self.folder
    }
}

impl Place {
    /// A model file, twelve training and twelve validation images of two classes, a class list and
    /// text features.
    pub fn new() -> Place {
        let place = Place { folder: Folder::new() };
        fs::write(place.at("tiny.toml"), MODEL).unwrap();
        fs::write(place.at("classes.tsv"), "0\tn0\tdark\n1\tn1\tlight\n").unwrap();
        for split in ["train", "val"] {
            for class in 0..2usize {
                let folder = place.at("data").join(split).join(format!("n{class}"));
                fs::create_dir_all(&folder).unwrap();
                for number in 0..6usize {
                    write_square(&folder.join(format!("{number}.png")), |x, y| {
                        let grain = (x * 7 + y * 13 + number * 5) % 60;
                        let level = (class * 130 + grain) as u8;
                        [level, level / 2, 255 - level]
                    });
                }
            }
        }
        place.matrix("features.safetensors", 2, 8);
        place
    }

    /// Writes a matrix of rows that are no multiples of each other.
    pub fn matrix(&self, name: &str, rows: usize, width: usize) {
        let values: Vec<f32> = (0..rows * width).map(|i| (i * i % 17) as f32 - 7.5).collect();
        let shape = [rows, width];
        let tensor = TensorView::f32(&shape, &values);
        write_safetensors(&self.at(name), [("features", tensor)], &Default::default()).unwrap();
    }
}

const TRAIN: &str = "train --model tiny.toml --data data --quiet";
const GUIDED: &str = "--model tiny.toml --checkpoint guided/model.safetensors";

/// A file that holds weights and, as their average, others: `converted` is what the former become.
fn averages(place: &Place, converted: &[u8]) {
    let plain = Checkpoint::open(&place.at("once.safetensors")).unwrap();
    let mut tensors: Vec<(String, HostTensor)> = Vec::new();
    for (name, tensor) in plain.iter() {
        tensors.push((format!("model.{name}"), tensor.clone()));
        // All biases are 1 in the average.
        let average = match name.ends_with("bias") {
            true => {
                let ones = TensorData::F32(vec![1.0; tensor.data.len()]);
                HostTensor::new(tensor.shape, ones).unwrap()
            }
            false => tensor,
        };
        tensors.push((format!("ema.module.{name}"), average));
    }
    let views = tensors.iter().map(|(name, tensor)| (name.clone(), tensor));
    write_safetensors(&place.at("both.safetensors"), views, plain.metadata()).unwrap();
    let by = |flags: &str| {
        let words = format!("convert --model tiny.toml --checkpoint both.safetensors {flags}");
        let output = place.run(&format!("{words} --out read.safetensors --json"));
        assert!(output.status.success());
        let said = String::from_utf8(output.stderr).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (fs::read(place.at("read.safetensors")).unwrap(), said, json["checkpoint_sha256"].clone())
    };
    let (bytes, said, sha256) = by("");
    assert!(bytes == converted, "other bytes");
    assert!(said.contains("plain weights") && said.contains("--weights ema"), "{said}");
    assert_eq!(by("--weights plain"), (bytes, said, sha256.clone()));
    let (_, said, ema_sha256) = by("--weights ema");
    assert!(said.contains("moving average") && said.contains("`ema.module`"), "{said}");
    // A campaign on the one isn't continued on the other.
    assert_eq!(ema_sha256, format!("{}:ema", sha256.as_str().unwrap()));
    let read = Checkpoint::open(&place.at("read.safetensors")).unwrap();
    assert!(read.f32("backbone.fc.bias", &[8]).unwrap() == [1.0; 8]);
    place.fails(
        "eval --model tiny.toml --checkpoint once.safetensors --data data/val --weights ema",
        1,
        &["once.safetensors", "averaged weights", "--weights ema"],
    );
}

/// GoldenEye's protocol, on both devices and resumed, and what it refuses.
fn goldeneye(place: &Place) {
    let by = format!("inject {GUIDED} --data data --injections 20 --quiet --protocol goldeneye");
    let run = place.json(&format!("{by} --out goldeneye.sqlite"));
    let layers = run["goldeneye"].as_array().unwrap();
    let last = layers.last().unwrap();
    assert_eq!((&run["plan"]["protocol"], &last["layer"]), (&"goldeneye".into(), &"head".into()));
    for layer in layers {
        let figures = &layer["figures"];
        assert_eq!(figures["injections"], 20);
        assert!(figures["delta_loss"]["value"].as_f64().unwrap() >= 0.0, "{layer}");
        assert!(figures["mismatches"]["half_width"].as_f64().unwrap() >= 0.0, "{layer}");
    }
    let again = place.json(&format!("{by} --out goldeneye.sqlite --resume"));
    let kernels = place.json(&format!("{by} --device emulated"));
    assert_eq!([&again["results_sha256"], &kernels["results_sha256"]], [&run["results_sha256"]; 2]);
    let text = place.done(&by);
    // A fifth of twelve images, rounded up.
    assert!(text.contains("of the 3 images") && text.contains("mismatches %"), "{text}");
    place.fails(&format!("{by} --bits 2"), 2, &["goldeneye", "one value"]);
    place.fails(&format!("{by} --detector none"), 2, &["goldeneye", "range"]);
    place.fails(&format!("{by} --site weight"), 2, &["goldeneye", "output"]);
    place.fails(&format!("{by} --labels golden"), 2, &["goldeneye", "labels"]);
    place.fails(&format!("{by} --right-in guided/model.safetensors"), 2, &["--right-in"]);
}

#[test]
fn train_evaluate_predict_inject_compare() {
    let place = Place::new();
    place.done(&format!("{TRAIN} --out baseline"));
    place.done(&format!(
        "{TRAIN} --text-features features.safetensors --class-list classes.tsv --out guided"
    ));
    place.done(&format!("{TRAIN} --out baseline --resume"));
    place.fails(&format!("{TRAIN} --out baseline"), 2, &["baseline", "--resume"]);

    let eval = place.json(&format!("eval {GUIDED} --data data/val --quiet"));
    assert_eq!(eval["images"], 12);

    // Converting a converted file changes nothing.
    let converted = place.json(&format!("convert {GUIDED} --out once.safetensors"));
    assert_eq!((&converted["head"], &converted["classes"]), (&"text-guided 8".into(), &2.into()));
    place.done("convert --model tiny.toml --checkpoint once.safetensors --out twice.safetensors");
    let bytes = |name: &str| fs::read(place.at(name)).unwrap();
    assert_eq!(bytes("once.safetensors"), bytes("twice.safetensors"));
    for (command, out) in [("convert", "--out"), ("predict --input x.safetensors", "--logits")] {
        for name in ["no.pth", "no"] {
            let words = format!("{command} {GUIDED} {out} {name}");
            place.fails(&words, 2, &[name, "should end in .safetensors"]);
        }
    }
    averages(&place, &bytes("once.safetensors"));
    place.fails(
        "convert --model resnet_small --checkpoint once.safetensors --out no.safetensors",
        1,
        &["once.safetensors", "its architecture is", "but resnet_small is"],
    );
    assert!(!place.at("no.safetensors").exists());

    // A tensor of one image, clean and with a fault in its logits.
    let pixels: Vec<f32> = (0..3 * 256).map(|i| (i % 23) as f32 / 11.0 - 1.0).collect();
    let tensor = TensorView::f32(&[1, 3, 16, 16], &pixels);
    write_safetensors(&place.at("x.safetensors"), [("input", tensor)], &Default::default())
        .unwrap();
    let logits = |name: &str, flags: &str| {
        let file = format!("{name}.safetensors");
        place.json(&format!("predict {GUIDED} --input x.safetensors --logits {file} {flags}"));
        Checkpoint::open(&place.at(&file)).unwrap().f32("logits", &[1, 2]).unwrap()
    };
    let clean = logits("clean", "");
    let faulty = logits("faulty", "--fault layer=scaled,image=0,channel=1,bit=31");
    assert_eq!(faulty, [clean[0], -clean[1]], "a flipped sign of one logit");
    let twice = logits("emulated", "--device emulated");
    assert_eq!(twice, clean, "the emulated kernels give the CPU's bits");
    let far = logits("far", "--fault layer=conv1,channel=2,row=3,column=4,bit=30");
    assert_ne!(far, clean);
    let predicted =
        place.done(&format!("predict {GUIDED} data/val/n0/0.png --class-list classes.tsv"));
    assert!(predicted.contains("dark") && predicted.contains("light"), "{predicted}");

    let inject = |out: &str, flags: &str| {
        let run = place.json(&format!(
            "inject {GUIDED} --data data --injections 40 --quiet --out {out}.sqlite {flags}"
        ));
        run["results_sha256"].as_str().unwrap().to_string()
    };
    let first = inject("first", "--verify 20");
    assert_eq!(first, inject("second", "--threads 1"), "threads change records");
    assert_eq!(first, inject("emulated", "--device emulated"), "devices change records");
    let same = place.json("compare first.sqlite second.sqlite");
    let ratio = &same["rows"][0]["last_layer"]["ratio"];
    assert_eq!([&ratio["value"], &ratio["low"], &ratio["high"]], [1.0; 3]);
    place.done("compare first.sqlite second.sqlite");

    // Injection 3 alone is row 3 of the whole.
    place.done("export first.sqlite --out first.csv");
    place.fails("export first.sqlite --out first.txt", 2, &["first.txt", ".csv or .parquet"]);
    assert!(!place.at("first.txt").exists());
    let first = fs::read_to_string(place.at("first.csv")).unwrap();
    let told = place.done("export first.sqlite --out first.Parquet");
    let records = first.lines().count() - 1;
    assert!(told.contains(&format!("first.Parquet: {records} records")), "{told}");
    assert_eq!(fs::read(place.at("first.Parquet")).unwrap()[..4], *b"PAR1");
    place.done(&format!("inject {GUIDED} --data data --only 3 --quiet --out only.sqlite"));
    place.done("export only.sqlite --out only.csv");
    let only = fs::read_to_string(place.at("only.csv")).unwrap();
    assert!(only.lines().count() > 10 && only.lines().all(|row| first.contains(row)));

    goldeneye(&place);

    place.fails("compare first.sqlite nowhere", 1, &["nowhere"]);
    fs::create_dir_all(place.at("one/n0")).unwrap();
    fs::copy(place.at("data/val/n0/0.png"), place.at("one/n0/0.png")).unwrap();
    // A checkpoint that names its classes can be run on some of them.
    assert_eq!(place.json(&format!("eval {GUIDED} --data one --quiet"))["images"], 1);
    for (flags, part) in [
        ("--bits 5", "1 to 4 bits"),
        ("--bits 0", "1 to 4 bits"),
        ("--injections 0", "at least one injection"),
        ("--injections 9223372036854775808", "numbers below 9223372036854775807"),
        ("--only 18446744073709551615", "numbers below 9223372036854775807"),
        ("--shard 1/18446744073709551615 --out part.sqlite", "parts count from 1"),
    ] {
        place.fails(&format!("inject {GUIDED} --data data {flags}"), 2, &[part]);
    }
    place.fails("study --bits 0", 2, &["1 to 4 bits"]);
    place.fails("study --injections 0", 2, &["at least one injection"]);
    place.fails("study --seeds 0", 2, &["at least one training seed"]);
    let last = format!("study --seed {} --seeds 2", u64::MAX);
    place.fails(&last, 2, &["2 seeds don't follow seed"]);
    // The same faults from their export, as a list of another tool would be.
    place.done("export first.sqlite --out first.csv");
    let again = format!("inject {GUIDED} --data data --faults first.csv --out again.sqlite");
    let output = place.run(&again);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("are passed over: layer_type"), "{said}");
    place.done("export again.sqlite --out again.csv");
    let rows = |name: &str| -> Vec<String> {
        let text = fs::read_to_string(place.at(name)).unwrap();
        text.lines().map(|row| row.splitn(4, ',').last().unwrap().to_string()).collect()
    };
    assert_eq!(rows("again.csv"), rows("first.csv"));
    fs::write(place.at("far.csv"), "layer,image,channel,bit\nhead,4000,0,4\n").unwrap();
    let far = format!("inject {GUIDED} --data data --faults far.csv --quiet --detector none");
    place.fails(&far, 1, &["far.csv: line 2: there is no image 4000"]);
    // Ranges alone ask for training images.
    fs::create_dir(place.at("held-out")).unwrap();
    fs::rename(place.at("data/val"), place.at("held-out/val")).unwrap();
    let held_out = format!("inject {GUIDED} --data held-out --injections 4 --quiet");
    place.done(&format!("{held_out} --detector none"));
    place.fails(&held_out, 2, &["held-out: has no folder named train", "--detector none"]);
    place.fails(
        &format!("inject {GUIDED} --data data --detector none"),
        1,
        &["data: has no folder named val"],
    );
    fs::rename(place.at("held-out/val"), place.at("data/val")).unwrap();
    place.fails(
        &format!("inject {GUIDED} --data data --quiet --layer nope"),
        2,
        &["'nope'", "conv1"],
    );
    let of = "--model tiny.toml --checkpoint";
    place.fails(
        &format!(
            "eval --model resnet_small --checkpoint {} --data data/val",
            "baseline/model.safetensors"
        ),
        1,
        &["baseline/model.safetensors", "its architecture is", "resnet_small"],
    );
    for (fault, parts) in [
        ("layer=conv1,channel=99,bit=3", ["outside", "conv1"]),
        ("layer=conv1,channel=0,row=16,bit=3", ["outside", "row 16"]),
        ("layer=conv1,channel=0,image=1,bit=3", ["image 1", "conv1"]),
        ("layer=nope,channel=0,bit=3", ["'nope'", "conv1"]),
    ] {
        let words = format!("predict {GUIDED} --input x.safetensors --fault {fault}");
        place.fails(&words, 2, &parts);
    }
    let tensor = TensorView::f32(&[1, 3, 2, 2], &[0.0; 12]);
    write_safetensors(&place.at("small.safetensors"), [("input", tensor)], &Default::default())
        .unwrap();
    place.fails(
        &format!("predict {GUIDED} --input small.safetensors"),
        1,
        &["small.safetensors", "2×2"],
    );
    fs::write(place.at("text.jpg"), "no picture").unwrap();
    place.fails(&format!("predict {GUIDED} text.jpg"), 1, &["text.jpg"]);
    let whole = fs::read(place.at("guided/model.safetensors")).unwrap();
    fs::write(place.at("cut.safetensors"), &whole[..whole.len() / 2]).unwrap();
    place.fails(&format!("eval {of} cut.safetensors --data data/val"), 1, &["cut.safetensors"]);
}

/// Whatever opens a folder says what it passes over, once a folder; nothing where all is read.
#[test]
fn what_folders_hold_beside_images_is_said() {
    let place = Place::new();
    let said = |words: &str| {
        let output = place.run(words);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{words}: {text}");
        text.lines().filter(|line| line.contains("passed over 1 ")).count()
    };
    let train = "train --model tiny.toml --data data --out";
    assert_eq!(said(&format!("{train} before")), 0);
    fs::write(place.at("data/val/n0/x.avif"), "").unwrap();
    fs::create_dir(place.at("data/train/n1/more")).unwrap();
    let of = "--model tiny.toml --checkpoint before/model.safetensors";
    assert_eq!(said(&format!("{train} after")), 2);
    assert_eq!(said(&format!("eval {of} --data data/val")), 1);
    let inject = format!("inject {of} --data data --labels golden --injections 2");
    assert_eq!(said(&inject), 2);
    assert_eq!(said(&format!("{inject} --detector none")), 1);
    assert_eq!(said(&format!("{inject} --quiet")), 0);
    let study = "study --model tiny.toml --data data --text-features features.safetensors \
                 --class-list classes.tsv --epochs 1 --injections 2 --seeds 1";
    assert_eq!(said(study), 2);
    // A batch an epoch.
    let hint = "hint: few steps to learn from, 1 in all; --epochs 150 makes 150";
    let text = String::from_utf8(place.run(study).stderr).unwrap();
    assert!(text.contains(hint), "{text}");
}

#[test]
fn bad_input_gives_one_sentence() {
    let place = Place::new();
    let fixtures = crate::root().join("tests/fixtures/checkpoints");
    let hostile = fixtures.join("hostile_system.pth").display().to_string();
    let eval = "eval --model tiny.toml --data data/val --checkpoint";
    place.fails(&format!("{eval} {hostile}"), 1, &["hostile_system.pth", "system", "refused"]);
    let whole = fs::read(fixtures.join("state_dict.pth")).unwrap();
    fs::write(place.at("cut.pth"), &whole[..whole.len() / 2]).unwrap();
    place.fails(&format!("{eval} cut.pth"), 1, &["cut.pth"]);
    place.fails(&format!("{eval} nowhere.pth"), 1, &["nowhere.pth"]);
    assert!(!place.at("pwned").exists());

    let study = "study --quiet --model tiny.toml --data data --class-list classes.tsv";
    place.fails(&format!("{study} --text-features {hostile}"), 1, &["system", "refused"]);
    place.matrix("wide.safetensors", 3, 8);
    place.fails(
        &format!("{study} --text-features wide.safetensors"),
        1,
        &["wide.safetensors", "3 classes"],
    );
    let zero = MODEL.replace("[4, 8]", "[0, 8]");
    fs::write(place.at("zero.toml"), zero).unwrap();
    place.fails("train --model zero.toml --data data --quiet --out out", 2, &["widths"]);
    let rows = "--random-rows 99999999999999";
    place.fails(&format!("{TRAIN} --out out {rows}"), 2, &["65536"]);
    place.fails("study --model resnet19", 2, &["resnet19", "resnet18"]);
    place.fails(&format!("{TRAIN} --out out --device nonsense"), 2, &["nonsense"]);
    place.fails(&format!("{TRAIN} --out out --epochs 0"), 2, &["epochs"]);
    place.fails(&format!("{TRAIN} --out out --clip-grad-norm=-1"), 2, &["clip_grad_norm"]);
    place.fails(&format!("{TRAIN} --out out --betas 0.9,1"), 2, &["betas"]);
    place.fails(&format!("{TRAIN} --out tiny.toml/out"), 1, &["tiny.toml/out"]);
    fs::create_dir(place.at("data/train/n2")).unwrap();
    place.fails(&format!("{TRAIN} --out out"), 1, &["n2"]);
}

/// Tensor cores in every command that computes: what they are is recorded, and held to on resuming.
#[test]
fn compute_is_asked_for_and_recorded() {
    let place = Place::new();
    let emulated = "--device emulated --compute";
    place.done(&format!("{TRAIN} --out run --epochs 1 {emulated} tf32"));
    let resume = format!("{TRAIN} --out run --epochs 1 --resume");
    place.fails(&format!("{resume} --device emulated"), 1, &["compute was", "tf32", "exact"]);
    let of = "--model tiny.toml --checkpoint run/model.safetensors --quiet";
    let loss = |compute: &str| {
        let eval = place.json(&format!("eval {of} --data data/val {emulated} {compute}"));
        eval["loss"].as_f64().unwrap()
    };
    let [exact, tf32, bf16, f16] = ["exact", "tf32", "bf16", "f16"].map(loss);
    // Factors of 8 bits of precision are off by up to 2⁻⁸, and a few layers by a few of that.
    for (compute, bound) in [(tf32, 5e-3), (bf16, 4e-2), (f16, 5e-3)] {
        assert!(compute != exact && (compute - exact).abs() <= bound * exact, "{compute} {exact}");
    }
    let inject =
        format!("inject {of} --data data --injections 3 --out faults.sqlite {emulated} bf16");
    place.json(&inject);
    let run = Run::open(&place.at("faults.sqlite")).unwrap();
    assert_eq!(run.manifest.setting.compute, Compute::Bf16);
    let variant = &run.manifest.layers[0].variant;
    assert!(variant.contains("conv2d_forward_bf16"), "{variant}");
    place.fails(&format!("eval {of} --data data/val --compute f16"), 2, &["f16", "not cpu"]);
    let unknown = place.run(&format!("eval {of} --data data/val {emulated} fp8"));
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("exact, tf32, bf16, f16"));
}

#[test]
fn devices_say_what_is_here() {
    let place = Place::new();
    let devices = place.json("devices");
    let names: Vec<&str> =
        devices.as_array().unwrap().iter().filter_map(|d| d["name"].as_str()).collect();
    assert!(names.contains(&"cpu") && names.contains(&"emulated"), "{names:?}");
    assert!(place.done("devices").contains("cuda"));
}

#[test]
fn every_fault_of_the_last_layer() {
    let place = Place::new();
    place.done(&format!("{TRAIN} --out baseline"));
    let inject = "inject --model tiny.toml --checkpoint baseline/model.safetensors --data data --quiet \
                  --labels golden";
    let faults = |mode: &str, flags: &str| {
        let census = place.json(&format!(
            "{inject} --exhaustive {mode} --images 5 --verify 30 --out a.sqlite {flags}"
        ));
        assert_eq!((&census["images"], &census["verified"]["faults"]), (&5.into(), &30.into()));
        let all = &census["places"][0]["detectors"][0]["all"];
        (all["faults"].as_u64().unwrap(), all["delta_loss"].is_null())
    };
    assert_eq!(faults("last-layer", ""), (2 * 32 * 5, true));
    assert_eq!(faults("last-layer-weights", "--detector range"), (2 * 8 * 32 * 5, false));
    assert_eq!(faults("last-layer-features", "--threads 1"), (8 * 32 * 5, true));
    let again = format!("{inject} --exhaustive last-layer --images 5 --out a.sqlite");
    place.fails(&again, 2, &["a.sqlite", "already: --resume"]);
    let resumed = place.json(&format!("{again} --resume"));
    assert_eq!(resumed["places"], place.json("report a.sqlite --exhaustive last-layer")["places"]);
    let fewer = format!("{inject} --exhaustive last-layer --images 4 --out a.sqlite --resume");
    place.fails(&fewer, 2, &["another census", "'images' differs (5 and 4)"]);
    place.fails("report a.sqlite", 1, &["--exhaustive MODE"]);
    // Beside the shards of a campaign it is merged with them.
    for shard in ["1/2", "2/2"] {
        let out = "--injections 4 --out {shard}.sqlite";
        place.done(&format!("{inject} {out} --shard {shard}"));
    }
    place.done(&format!("{inject} --exhaustive last-layer --images 5 --out 1-of-2.sqlite"));
    place.done("merge 2-of-2.sqlite 1-of-2.sqlite --out all.sqlite");
    let merged = place.json("report all.sqlite --exhaustive last-layer");
    assert_eq!(merged["places"], resumed["places"]);
    let text = place.done(&format!("{inject} --exhaustive last-layer --images 2"));
    assert!(text.contains("30 (exponent)") && text.contains("on 2 images"), "{text}");
    for wrong in ["--images 2", "--exhaustive all", "--exhaustive last-layer --injections 5"] {
        assert_eq!(place.run(&format!("{inject} {wrong}")).status.code(), Some(2), "{wrong}");
    }
}
