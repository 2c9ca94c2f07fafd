//! No flag is without effect: beside whatever others it stands, it changes something or is refused.
//!
//! `tests/flags/COMMAND.txt` has a line `base NAME: WORDS` for each way to use a command, and one for each of its
//! flags. `flag NAME: WORDS` is tried beside every base, where it must fail or change what is printed or written;
//! beside one at least it must do the latter. `refused NAME: WORDS` must fail beside all of them. `needed NAME`
//! says that every base has the flag and fails without it, `free NAME: WHY` that nothing but speed or form depends
//! on it. `OUT` in words is a name that no other run has.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use flipside::checkpoint::{Checkpoint, TensorView, write_safetensors};

use crate::cli::Place;

/// What a run shows: nothing, where it is refused.
type Seen = Option<BTreeMap<String, Vec<u8>>>;

/// The files that the bases name.
struct Bench {
    place: Place,
    runs: usize,
}

impl Bench {
    fn new() -> Bench {
        let place = Place::new();
        // Labels that only a list makes right.
        fs::write(place.at("swapped.tsv"), "0\tn1\tlight\n1\tn0\tdark\n").unwrap();
        fs::write(place.at("c.toml"), "verify = 4\n").unwrap();
        fs::write(place.at("templates.txt"), "a drawing of a {class}\n").unwrap();
        let recipe = "[recipe]\nepochs = 1\nbatch = 4\nlearning_rate = 0.02\nschedule = { kind = \"cosine\" }\n";
        fs::write(place.at("recipe.toml"), recipe).unwrap();
        place.matrix("narrow.safetensors", 2, 6);
        place.done("train --model resnet_small --data data --quiet --image-size 16 --epochs 1 --out zoo/small/resnet_small_baseline");
        let train = "train --model tiny.toml --data data --quiet";
        place.done(&format!("{train} --epochs 8 --out trained"));
        // Right about one class.
        place.done(&format!("{train} --lr 1e-3 --seed 7 --epochs 1 --out other"));
        // Images that are right only where the labels are swapped.
        for (from, to) in [("n0", "n1"), ("n1", "n0")] {
            let val = place.at("data/val");
            fs::copy(val.join(from).join("0.png"), val.join(to).join("8.png")).unwrap();
        }
        fs::write(place.at("list.csv"), "layer,image,channel,row,column,bit\nfc,7,1,0,0,30\n")
            .unwrap();
        // Of another program: no word about itself; one with a moving average.
        place.done(&format!("{train} --epochs 8 --model-ema --model-ema-decay 0.9 --model-ema-steps 1 --out averaged"));
        let rewrite = |from: &str, to: &str, rename: &dyn Fn(&str) -> Option<String>| {
            let checkpoint = Checkpoint::open(&place.at(from)).unwrap();
            let tensors = checkpoint.iter().filter_map(|(name, t)| Some((rename(name)?, t)));
            let tensors: Vec<_> = tensors.collect();
            let views = tensors.iter().map(|(name, t)| (name.clone(), TensorView::from(t)));
            write_safetensors(&place.at(to), views, &Default::default()).unwrap();
        };
        rewrite("trained/model.safetensors", "bare.safetensors", &|name| Some(name.into()));
        rewrite("averaged/last.safetensors", "both.safetensors", &|name| match name {
            name if name.starts_with("optimizer.") => None,
            name if name.starts_with("ema.") => Some(name.into()),
            name => Some(format!("model.{name}")),
        });
        let pixels: Vec<f32> = (0..3 * 256).map(|i| (i % 23) as f32 / 11.0 - 1.0).collect();
        let tensor = TensorView::f32(&[1, 3, 16, 16], &pixels);
        write_safetensors(&place.at("x.safetensors"), [("input", tensor)], &Default::default())
            .unwrap();
        let inject = "inject --model tiny.toml --data data --injections 40 --quiet";
        for (name, flags) in
            [("a", ""), ("b", "--seed 2"), ("c", ""), ("g", "--protocol goldeneye")]
        {
            let (own, other) =
                if name == "c" { ("other", "trained") } else { ("trained", "other") };
            let right_in = match name {
                "g" => String::new(),
                _ => format!("--right-in {other}/model.safetensors"),
            };
            place.done(&format!(
                "{inject} --checkpoint {own}/model.safetensors --out {name}.sqlite {flags} {right_in}"
            ));
        }
        // Enough for means, of a layer that is drawn and of one that is counted.
        let pilot = "inject --model tiny.toml --data data --injections 400 --quiet --layer fc";
        for (name, own, other, also) in [
            ("p", "trained", "averaged", "--layer conv1"),
            ("q", "averaged", "trained", "--layer conv1"),
            ("l", "trained", "averaged", ""),
        ] {
            place.done(&format!(
                "{pilot} {also} --checkpoint {own}/model.safetensors --right-in {other}/model.safetensors --out {name}.sqlite"
            ));
        }
        let seed = |ratio: f64| format!("{{\"value\": {ratio}}}");
        let contrast = |name: &str, ratios: [f64; 2]| {
            let seeds = ratios.map(seed).join(", ");
            format!(
                "{{\"contrast\": \"{name}\", \"figures\": [{{\"figure\": \"all-layers\", \"seeds\": [{seeds}]}}]}}"
            )
        };
        let contrasts = [contrast("text", [1.0, 1.2]), contrast("form", [3.0, 4.0])].join(", ");
        fs::write(place.at("study.json"), format!("{{\"contrasts\": [{contrasts}]}}")).unwrap();
        for shard in 1..=2 {
            place.done(&format!(
                "{inject} --checkpoint trained/model.safetensors --shard {shard}/2 --out s{shard}.sqlite"
            ));
        }
        let tiny = fs::read_to_string(place.at("tiny.toml")).unwrap();
        fs::create_dir(place.at("mapped")).unwrap();
        let mapped = format!("{tiny}[saliency]\nlayer = \"layer2.0.relu\"\n");
        fs::write(place.at("mapped/tiny.toml"), mapped).unwrap();
        fs::write(place.at("wide.toml"), tiny.replace("[4, 8]", "[8, 8]")).unwrap();
        let census = "inject --model tiny.toml --data data --quiet --exhaustive last-layer";
        place.done(&format!("{census} --checkpoint trained/model.safetensors --out a.sqlite"));
        let line =
            |class: &str, text: &str| format!("{{\"class\": \"{class}\", \"text\": \"{text}\"}}\n");
        let texts =
            [("n0", "a dark thing"), ("n1", "a light thing"), ("n1", "light as day, very light")];
        let lines: String = texts.iter().map(|(class, text)| line(class, text)).collect();
        fs::write(place.at("d.jsonl"), lines).unwrap();
        Bench { place, runs: 0 }
    }

    fn see(&mut self, words: &str) -> Seen {
        self.runs += 1;
        let out = format!("run{}x", self.runs);
        let output = self.place.run(&words.replace("OUT", &out));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!error.contains("panicked"), "{words}: {error}");
        if !output.status.success() {
            return None;
        }
        let plain = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&out, "OUT").into_bytes();
        let mut seen = BTreeMap::from([("printed".to_string(), plain(&output.stdout))]);
        seen.insert("said".into(), untimed(&error).into_bytes());
        for entry in fs::read_dir(self.place.at(".")).unwrap() {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            if name.starts_with(&out) {
                files(&self.place.at(&name), &name.replace(&out, "OUT"), &mut seen);
            }
        }
        Some(seen)
    }
}

/// Messages without their durations.
fn untimed(text: &str) -> String {
    let is_timed = |line: &&str| line.contains(" s") && line.chars().any(|c| c.is_ascii_digit());
    text.lines().filter(|line| !is_timed(line)).collect::<Vec<_>>().join("\n")
}

/// What files hold; of databases, whose bytes depend on when they were written, that they are there.
fn files(path: &Path, name: &str, seen: &mut BTreeMap<String, Vec<u8>>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{name}/{}", entry.file_name().to_string_lossy());
            files(&entry.path(), &name, seen);
        }
    } else if path.exists() {
        let bytes = match name {
            name if name.ends_with("sqlite") => Vec::new(),
            // Its last column is how long each epoch took.
            name if name.ends_with("summary.csv") => {
                let text = fs::read_to_string(path).unwrap();
                let rows = text.lines().map(|row| row.rsplit_once(',').unwrap().0);
                rows.collect::<Vec<_>>().join("\n").into_bytes()
            }
            // How many lines: what else they say of a run is in its other files, beside times.
            name if name.ends_with("metrics.jsonl") => {
                let lines = fs::read_to_string(path).unwrap().lines().count();
                lines.to_string().into_bytes()
            }
            // They say what the flags are, whatever those change, or what time it is.
            name if name.ends_with("/args.toml") || name.ends_with("/recipe.toml") => return,
            name if name.contains("events.out.tfevents.") => return,
            _ => fs::read(path).unwrap(),
        };
        seen.insert(name.to_string(), bytes);
    }
}

/// The flags of a command, and of the commands below it.
fn flags(command: &clap::Command, name: &str, found: &mut BTreeMap<String, BTreeSet<String>>) {
    // Topics of the help have no flags.
    let is_command = |below: &&clap::Command| below.get_name() != "help" && !below.is_hide_set();
    for below in command.get_subcommands().filter(is_command) {
        let name = format!("{name} {}", below.get_name()).trim().to_string();
        let long = below.get_arguments().filter_map(|arg| arg.get_long());
        let long = long.filter(|long| *long != "help").map(String::from).collect();
        if !below.has_subcommands() {
            found.insert(name.clone(), long);
        }
        flags(below, &name, found);
    }
}

/// `words` without `--flag` and its value.
fn without(words: &str, flag: &str) -> String {
    let mut kept: Vec<&str> = words.split_whitespace().collect();
    while let Some(at) = kept.iter().position(|word| *word == format!("--{flag}")) {
        kept.remove(at);
        if kept.get(at).is_some_and(|word| !word.starts_with("--")) {
            kept.remove(at);
        }
    }
    kept.join(" ")
}

fn check(bench: &mut Bench, command: &str, flags: &BTreeSet<String>, faults: &mut Vec<String>) {
    let path = crate::root().join("tests/flags").join(format!("{}.txt", command.replace(' ', "-")));
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut bases = Vec::new();
    let mut named = BTreeSet::new();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in lines {
        let (head, words) = line.split_once(':').unwrap_or((line, ""));
        let (kind, name) = head.split_once(' ').unwrap();
        let words = words.trim();
        if kind == "base" {
            let whole = format!("{command} {words}");
            let seen = bench.see(&whole);
            assert!(seen.is_some(), "{whole}: {:?}", bench.place.run(&whole));
            bases.push((name.to_string(), whole, seen));
            continue;
        }
        assert!(named.insert(name.to_string()), "{command}: --{name} twice");
        if !flags.contains(name) {
            faults.push(format!("{command}: there is no --{name}"));
        }
        let mut changes = 0;
        for (base, whole, seen) in &bases {
            match kind {
                "free" => break,
                "needed" => {
                    if bench.see(&without(whole, name)).is_some() {
                        faults.push(format!("{command}, {base}: goes without --{name}"));
                    }
                    changes += 1;
                }
                "refused" => {
                    if bench.see(&format!("{whole} {words}")).is_some() {
                        faults.push(format!("{command}, {base}: {words} isn't refused"));
                    }
                    changes += 1;
                }
                "flag" if format!("{whole} ").contains(&format!(" {words} ")) => changes += 1,
                "flag" => {
                    let tried = format!("{} {words}", without(whole, name));
                    let with = bench.see(&tried);
                    changes += usize::from(with.is_some());
                    if with.is_some() && with == *seen {
                        faults.push(format!("{command}, {base}: {words} changes nothing"));
                    }
                }
                _ => panic!("{line}"),
            }
        }
        if changes == 0 && kind != "free" {
            faults.push(format!("{command}: {words} is refused everywhere"));
        }
    }
    faults.extend(flags.difference(&named).map(|flag| format!("{command}: nothing of --{flag}")));
}

/// The test of some commands.
fn walk(commands: &[&str]) {
    let mut bench = Bench::new();
    let mut all = BTreeMap::new();
    flags(&flipside::cli::command(), "", &mut all);
    let mut faults = Vec::new();
    for command in commands {
        check(&mut bench, command, &all[*command], &mut faults);
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

const CAMPAIGNS: [&str; 1] = ["inject"];
const TRAINING: [&str; 2] = ["train", "study"];
const OTHERS: [&str; 26] = [
    "eval",
    "reproduce",
    "data info",
    "data list",
    "data pack",
    "data preview",
    "data synthesize",
    "predict",
    "visualize",
    "convert",
    "report",
    "cite",
    "compare",
    "plan",
    "export",
    "rerun",
    "merge",
    "embed",
    "prompts",
    "models",
    "devices",
    "bench kernels",
    "bench overhead",
    "bench inject",
    "completions",
    "man",
];
/// Its flags are fields of requests, or of how often they are sent: tests/text/describe.rs.
const DESCRIBE: &str = "describe";

#[test]
fn every_command_is_walked() {
    let mut all = BTreeMap::new();
    flags(&flipside::cli::command(), "", &mut all);
    let walked: BTreeSet<&str> =
        [&CAMPAIGNS[..], &TRAINING, &OTHERS, &[DESCRIBE]].concat().into_iter().collect();
    assert_eq!(all.keys().map(String::as_str).collect::<BTreeSet<_>>(), walked);
}

#[test]
fn flags_of_campaigns_change_something_or_are_refused() {
    walk(&CAMPAIGNS);
}

#[test]
fn flags_of_training_change_something_or_are_refused() {
    walk(&TRAINING);
}

#[test]
fn flags_of_other_commands_change_something_or_are_refused() {
    walk(&OTHERS);
}
