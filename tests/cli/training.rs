//! `flipside train`: what it says before it begins, the table of epochs, stopping, the epoch that is kept, and starting
//! from another checkpoint's weights.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::*;

/// The rows of a run's table, cells by column.
fn history(place: &Place, out: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(place.at(&format!("{out}/summary.csv"))).unwrap();
    let mut rows = text.lines().map(|line| line.split(',').map(String::from).collect());
    let names: Vec<String> = rows.next().unwrap();
    let expected = "epoch,learning_rate,loss,train_top1_percent,validation_loss,validation_top1_percent,best,seconds";
    assert_eq!(names.join(","), expected);
    rows.collect()
}

/// The same without the seconds.
fn untimed(place: &Place, out: &str) -> Vec<Vec<String>> {
    let timed = history(place, out).into_iter();
    timed.map(|mut row| row.drain(..7).collect()).collect()
}

fn said(place: &Place, words: &str) -> String {
    let output = place.run(words);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{words}: {text}");
    text
}

#[test]
fn a_run_says_what_it_will_do() {
    let place = Place::new();
    let train = "train --model tiny.toml --data data";
    let text = said(&place, &format!("{train} --out plain"));
    for line in [
        "model: tiny, baseline, 16×16 pixels, ",
        "weights: drawn at random (seed 1)",
        "data: 2 classes, 12 training images, 12 validation images",
        "steps: 2 epochs of 2 steps, up to 8 images each\n",
        "recipe: sgd with momentum 0.9, learning rate 0.05, then a cosine to 0\n",
        "the recipe is that of the model file tiny\n",
        "hint: few steps to learn from, 4 in all; --epochs 75 makes 150\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let text =
        said(&place, &format!("{train} --batch-size 64 --epochs 150 --random-rows 4 --out capped"));
    for line in [
        "text-guided 4",
        "150 epochs of 1 step, up to 12 images each; a batch of 64 was asked for, but there are no more training images",
        "but for: batch was 8 and is 64, epochs was 2 and is 150",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(!text.contains("hint:"), "{text}");
    assert_eq!(place.run(&format!("{train} --quiet --out quiet")).stderr, b"");
    // One epoch is the best.
    let rows = history(&place, "plain");
    let top1 = |row: &Vec<String>| row[5].parse::<f64>().unwrap();
    let best: Vec<&str> = rows.iter().map(|row| row[6].as_str()).collect();
    assert_eq!(best, if top1(&rows[1]) > top1(&rows[0]) { ["", "yes"] } else { ["yes", ""] });
    assert!(rows.iter().all(|row| row[7].parse::<f64>().unwrap() > 0.0), "{rows:?}");
}

fn start(place: &Place, words: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_flipside"))
        .args(words.split_whitespace())
        .current_dir(place.at("."))
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_says_how_to_go_on_and_ends_in_the_same_bits() {
    let place = Place::new();
    // With draws for batches and for repeated images, which have to go on, too.
    let train = format!(
        "{TRAIN} --epochs 400 --mixup-alpha 0.2 --cutmix-alpha 1 --ra-reps 2 --random-erase 0.3"
    );
    let words = |out: &str| format!("{train} --keep 2 --out {out}");
    place.done(&words("whole"));
    let interrupted = |out: &str, signal: &str| {
        let began = Instant::now();
        let child = start(&place, &words(out));
        let has_begun = || place.at(&format!("{out}/summary.csv")).exists();
        while !has_begun() && began.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(2));
        }
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        child.wait_with_output().unwrap()
    };
    for signal in ["-INT", "-TERM"] {
        // Where other tests keep the processors busy, a run may be over before its signal is sent.
        let runs = (0..20).map(|attempt| {
            let out = format!("stopped{signal}{attempt}");
            (interrupted(&out, signal), out)
        });
        let mut runs = runs.skip_while(|(output, _)| output.status.success());
        let (output, out) = runs.next().expect("every run was over before its signal");
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(
            error.contains("stopped in epoch ") && error.contains("/400 after step "),
            "{error}"
        );
        let path = format!("{out}/last.safetensors");
        assert!(
            error.contains(&path) && error.contains("with --resume goes on from there"),
            "{error}"
        );
        let text = said(&place, &format!("{} --resume", words(&out).replace("--quiet", "")));
        assert!(text.contains("goes on in epoch "), "{text}");
        assert_eq!(untimed(&place, &out), untimed(&place, "whole"));
        for name in
            ["model.safetensors", "last.safetensors", "best.safetensors", "epoch-0399.safetensors"]
        {
            let bytes = |out: &str| fs::read(place.at(&format!("{out}/{name}"))).unwrap();
            assert!(bytes(&out) == bytes("whole"), "{signal}: {name} differs");
        }
    }
}

/// Two processes in one folder: the second is refused, and the first goes on.
#[cfg(unix)]
#[test]
fn a_folder_in_use_is_refused() {
    let place = Place::new();
    let words = format!("{TRAIN} --epochs 100000 --out busy");
    let mut child = start(&place, &words);
    let began = Instant::now();
    while !place.at("busy/summary.csv").exists() && began.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(2));
    }
    for resume in ["", "--resume"] {
        place.fails(&format!("{words} {resume}"), 2, &["busy: another process trains there"]);
    }
    assert!(child.try_wait().unwrap().is_none(), "the first one is over");
    child.kill().unwrap();
    child.wait().unwrap();
    // The lock went with its process.
    place.fails(&words, 2, &["busy holds a training run already", "--resume"]);
}

/// The file of flags that a run leaves repeats it, and what is typed beside it counts more.
#[test]
fn a_run_is_repeated_by_its_flags() {
    let place = Place::new();
    let flags =
        "--random-rows 4 --epochs 3 --lr 0.02 --momentum 0.8 --model-ema --keep 1 --log-steps 1";
    place.done(&format!("{TRAIN} {flags} --out first"));
    let args = fs::read_to_string(place.at("first/args.toml")).unwrap();
    for line in [
        "# model: tiny, text-guided 4, 16 pixels",
        "# device: cpu, exact",
        "model-ema = true",
        "keep = 1",
    ] {
        assert!(args.lines().any(|known| known == line), "{line}: {args}");
    }
    let recipe = fs::read_to_string(place.at("first/recipe.toml")).unwrap();
    for line in ["[recipe]", "epochs = 3", "momentum = 0.8"] {
        assert!(recipe.lines().any(|known| known == line), "{line}: {recipe}");
    }
    place.fails("train --config first/args.toml", 2, &["first holds a training run already"]);
    place.done("train --config first/args.toml --out second");
    for name in ["model.safetensors", "last.safetensors", "recipe.toml", "epoch-0003.safetensors"] {
        let bytes = |out: &str| fs::read(place.at(&format!("{out}/{name}"))).unwrap();
        assert!(bytes("first") == bytes("second"), "{name} differs");
    }
    let again = fs::read_to_string(place.at("second/args.toml")).unwrap();
    assert_eq!(again, args.replace("out = \"first\"", "out = \"second\""));
    // A folder says what goes on in it.
    fs::remove_file(place.at("second/model.safetensors")).unwrap();
    place.done("train --out second --resume --quiet");
    assert_eq!(fs::read_to_string(place.at("second/args.toml")).unwrap(), again);
    assert!(place.at("second/model.safetensors").exists());
    // An edited file is read as strictly as a command line.
    fs::write(place.at("bad.toml"), args.replace("keep = 1", "keep = 0")).unwrap();
    place.fails("train --config bad.toml --out third", 1, &["bad.toml: 'keep' can't be '0'"]);
    for (word, says) in [("best", "OUT/best.safetensors"), ("last", "OUT/model.safetensors")] {
        // Clap says it, in lines of its own.
        let output = place.run(&format!("{TRAIN} --out third --keep {word}"));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("is always kept") && said.contains(says), "{said}");
    }
}

/// A line of JSON for each epoch, and one for the end.
#[test]
fn epochs_are_told_as_lines_of_json() {
    let place = Place::new();
    let text = place.done(&format!("{TRAIN} --epochs 2 --json --replay-check 1 --out told"));
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&str> = lines.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["epoch", "epoch", "end"]);
    let metrics = fs::read_to_string(place.at("told/metrics.jsonl")).unwrap();
    for (epoch, line) in (1..).zip(text.lines().take(2)) {
        assert_eq!(lines[epoch - 1]["epoch"], epoch);
        assert!(metrics.lines().any(|known| known == line), "{line}: {metrics}");
    }
    assert_eq!(lines[2]["model"], "told/model.safetensors");
    assert_eq!(lines[2]["best"], "told/best.safetensors");
    let best = lines[2]["best_epoch"].as_u64().unwrap() as usize;
    assert_eq!(history(&place, "told")[best - 1][6], "yes");
    // Steps that were taken twice are steps like others.
    place.done(&format!("{TRAIN} --epochs 2 --out once"));
    for name in ["model.safetensors", "last.safetensors"] {
        let bytes = |out: &str| fs::read(place.at(&format!("{out}/{name}"))).unwrap();
        assert!(bytes("told") == bytes("once"), "{name} differs");
    }
}

/// A disk that is full, by a limit on the size of files.
#[cfg(unix)]
#[test]
fn a_full_disk_is_told_with_the_file() {
    let place = Place::new();
    let words: Vec<String> =
        format!("{TRAIN} --epochs 1 --out full").split(' ').map(String::from).collect();
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 6; exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_flipside"))
        .args(words)
        .current_dir(place.at("."))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("full/best.safetensors: can't be written, the disk is full"), "{said}");
    assert!(!place.at("full/best.safetensors").exists());
    place.done(&format!("{TRAIN} --epochs 1 --out full --resume"));
}

/// Tensors of a file by name.
fn tensor(place: &Place, file: &str, name: &str) -> Vec<f32> {
    Checkpoint::open(&place.at(file)).unwrap().get(name).unwrap().to_f32()
}

/// A rate that moves no weight.
const STILL: &str = "--epochs 1 --lr 1e-30";

#[test]
fn weights_start_from_another_checkpoint_but_for_its_head() {
    let place = Place::new();
    place.done(&format!("{TRAIN} --out base"));
    place.done(&format!("{TRAIN} --random-rows 4 --out guided4"));
    let train = format!("train --model tiny.toml --data data {STILL}");
    let begin = |from: &str, words: &str, out: &str| {
        said(&place, &format!("{train} --init {from} {words} --out {out}"))
    };
    let from = "base/model.safetensors";
    let (base, guided) = ("base/model.safetensors", "guided4/model.safetensors");
    // The same head for the same classes: all of it.
    let text = begin(base, "", "same");
    assert!(
        text.contains("weights: ") && text.contains("tensors from base/model.safetensors\n"),
        "{text}"
    );
    for name in ["conv1.weight", "fc.weight", "fc.bias", "bn1.weight"] {
        assert_eq!(tensor(&place, "same/model.safetensors", name), tensor(&place, base, name));
    }
    // Another head: the backbone alone.
    let text = begin(base, "--random-rows 4", "guided");
    let left = "left out, since its head is baseline, not text-guided 4: fc.bias, fc.weight";
    assert!(text.contains(left), "{text}");
    let path = "guided/model.safetensors";
    assert_eq!(tensor(&place, path, "backbone.conv1.weight"), tensor(&place, base, "conv1.weight"));
    let text = begin(guided, "", "plain");
    let left = "backbone.fc.bias, backbone.fc.weight, head.weight, logit_scale";
    assert!(text.contains(left), "{text}");
    let text = begin(guided, "--random-rows 8", "wider");
    assert!(text.contains("since its head is text-guided 4, not text-guided 8"), "{text}");
    // The same kind for other classes: all but their rows.
    fs::rename(place.at("data/train/n1"), place.at("data/train/n2")).unwrap();
    fs::rename(place.at("data/val/n1"), place.at("data/val/n2")).unwrap();
    let text = begin(base, "", "others");
    assert!(text.contains("left out, since its classes are others: fc.bias, fc.weight"), "{text}");
    let text = begin(guided, "--random-rows 4", "other-rows");
    assert!(
        text.contains(
            "since its classes are others: head.weight; the rest drawn at random (seed 1)\n"
        ),
        "{text}"
    );
    let path = "other-rows/model.safetensors";
    for name in ["backbone.fc.weight", "logit_scale"] {
        assert_eq!(tensor(&place, path, name), tensor(&place, guided, name));
    }
    assert_ne!(tensor(&place, path, "head.weight"), tensor(&place, guided, "head.weight"));
    for split in ["train", "val"] {
        let folder = place.at("data").join(split);
        fs::create_dir(folder.join("n3")).unwrap();
        fs::copy(folder.join("n0/0.png"), folder.join("n3/0.png")).unwrap();
    }
    let text = begin(base, "", "three");
    assert!(text.contains("left out, since it has 2 classes, not 3: fc.bias, fc.weight"), "{text}");

    // A file that isn't that of the snapshot, none, and one of another network.
    let again = format!("{train} --quiet --out three --resume");
    let other = format!("{again} --init {guided}");
    place.fails(&other, 1, &["three/last.safetensors", "start was \"checkpoint "]);
    place.fails(&again, 1, &["start was \"checkpoint ", "and is \"random\""]);
    place.done(&format!("{again} --init {from}"));
    let wide = MODEL.replace("widths = [4, 8]", "widths = [4, 12]");
    fs::write(place.at("wide.toml"), wide).unwrap();
    let other = "train --model wide.toml --data data --quiet --out no --init";
    place.fails(&format!("{other} {from}"), 1, &["base/model.safetensors", "its architecture is"]);
    // One that doesn't say what it is.
    let plain = Checkpoint::open(&place.at(from)).unwrap();
    let views: Vec<_> = plain.iter().collect();
    let views = views.iter().map(|(name, tensor)| (name.to_string(), TensorView::from(tensor)));
    write_safetensors(&place.at("bare.safetensors"), views, &Default::default()).unwrap();
    let parts = [
        "bare.safetensors",
        "of another shape: ",
        "layer2.0.conv1.weight (expected [12, 4, 3, 3], found [8,",
    ];
    place.fails(&format!("{other} bare.safetensors"), 1, &parts);
    assert!(!place.at("no/model.safetensors").exists());
}
