//! Campaigns whose flags come from files.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::process::{INJECT, place};
use crate::cli::Place;

use super::*;

/// Every row of a store, but for those of the manifest's `without`.
pub(super) fn rows(path: &Path, without: &[&str]) -> Vec<String> {
    let connection = rusqlite::Connection::open(path).unwrap();
    let mut all = Vec::new();
    for table in ["manifest", "layers", "images", "shards", "injections", "counted"] {
        // Not every store has something that is counted.
        let Ok(mut query) = connection.prepare(&format!("SELECT * FROM {table}")) else { continue };
        let columns = query.column_count();
        let mut rows = query.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let cell = |column| format!("{:?}", row.get_ref_unwrap(column));
            let cells: Vec<String> = (0..columns).map(cell).collect();
            let key: String = match table {
                "manifest" => row.get(0).unwrap(),
                _ => String::new(),
            };
            if !without.contains(&key.as_str()) {
                all.push(format!("{table}: {}", cells.join(" ")));
            }
        }
    }
    all
}

/// A value of a store's manifest.
pub(super) fn manifest(place: &Place, store: &str, key: &str) -> serde_json::Value {
    let connection = rusqlite::Connection::open(place.at(store)).unwrap();
    let sql = "SELECT value FROM manifest WHERE key = ?1";
    let text: String = connection.query_row(sql, [key], |row| row.get(0)).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Printed, run from, and printed again; the stores differ in nothing but the file that one of them was told.
#[test]
fn a_file_of_flags_is_the_command_that_printed_it() {
    let place = place();
    let flags = "--injections 12 --layer conv1 --layer type:linear --detector none,range --temperature 1.5,range=9 \
                 --seed 18446744073709551615 --stratify bit --range-images 5 --image-size 16";
    let typed = format!("{INJECT} {flags}");
    let printed = place.done(&format!("{typed} --print-config --out a.sqlite"));
    assert!(!place.at("a.sqlite").exists(), "it was run");
    for line in [
        "out = \"a.sqlite\"",
        "injections = 12",
        "layer = [\"conv1\", \"type:linear\"]",
        "temperature = [1.5, \"range=9\"]",
        "quiet = true",
        "# site = \"output\"",
        "# batch = 50",
        "# half-width = WIDTH",
    ] {
        assert!(printed.lines().any(|known| known == line), "no line {line} in {printed}");
    }
    fs::write(place.at("plan.toml"), &printed).unwrap();
    let expected = place.done(&format!("{typed} --out typed.sqlite"));
    assert_eq!(place.done("inject --config plan.toml"), expected);
    let [a, b] = ["a.sqlite", "typed.sqlite"].map(|store| rows(&place.at(store), &["config"]));
    assert!(a.len() > 80, "{}", a.len());
    assert_eq!(a, b);
    let [mine, theirs] =
        ["a.sqlite", "typed.sqlite"].map(|store| manifest(&place, store, "config"));
    let hash: String =
        Sha256::digest(printed.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((&mine["file"], theirs.get("file")), (&hash.into(), None));
    assert_eq!(mine["flags"], theirs["flags"]);
    // What belongs to the run isn't kept, the rest reads as a file of flags.
    let kept = mine["flags"].as_str().unwrap();
    assert!(!kept.contains("out = ") && !kept.contains("quiet"), "{kept}");
    fs::write(place.at("kept.toml"), kept).unwrap();
    let again = place.done("inject --config kept.toml --print-config --quiet --out a.sqlite");
    assert_eq!(again, printed);
    // The store prints them itself.
    let out_of_it = place.done("inject --resume a.sqlite --print-config --quiet");
    let without_out = |text: &str| {
        text.lines().filter(|line| !line.contains("out = ")).map(String::from).collect::<Vec<_>>()
    };
    assert_eq!(without_out(&out_of_it), without_out(&printed));
    // A template, where nothing is said.
    let template = place.done("inject --print-config");
    assert!(template.contains("\n# data = DATA  # needed\n"), "{template}");
    assert!(template.lines().all(|line| line.is_empty() || line.starts_with('#')), "{template}");
}

#[test]
fn what_is_typed_takes_the_place_of_what_a_file_says() {
    let place = place();
    let text = "model = 'tiny.toml'\ncheckpoint = 'run/model.safetensors'\ndata = 'data'\nlabels = 'golden'\n\
                injections = 9\nlayer = ['fc', 'conv1']\ndetector = ['none', 'range']\nquiet = true\nseed = 4\n";
    fs::write(place.at("plan.toml"), text).unwrap();
    let plan =
        |flags: &str| place.json(&format!("inject --config plan.toml {flags}"))["plan"].clone();
    let as_it_is = plan("");
    assert_eq!(as_it_is["injections"]["end"], 9);
    assert_eq!(as_it_is["layers"], serde_json::json!(["fc", "conv1"]));
    // Repeatable flags, too; and those that exclude each other.
    let typed = plan("--layer layer1.* --detector none --only 3 --seed 5");
    assert_eq!(typed["layers"], serde_json::json!(["layer1.*"]));
    assert_eq!(typed["detectors"], serde_json::json!(["none"]));
    assert_eq!(typed["injections"], serde_json::json!({"start": 3, "end": 4}));
    assert_eq!(typed["seed"], 5);
    fs::write(place.at("list.csv"), "layer,image,channel,row,column,bit\nconv1,3,1,2,3,30\n")
        .unwrap();
    assert_eq!(plan("--faults list.csv")["injections"]["end"], 1);
    // What means nothing without a flag that gave way goes with it; a plan's store isn't that of one of its injections.
    let rule =
        text.replace("injections = 9\n", "half-width = 0.3\nstop-at = 'sdc5'\nconfidence = 0.9\n");
    fs::write(place.at("rule.toml"), format!("{rule}out = 'rule.sqlite'\n")).unwrap();
    place.done("inject --config rule.toml --only 3 --layer fc --detector none");
    assert!(!place.at("rule.sqlite").exists());
    place.fails(
        "inject --config rule.toml --only 3 --stop-at sdc",
        2,
        &["--stop-at has no effect"],
    );
    let printed = place.done("inject --config plan.toml --only 3 --print-config");
    assert!(printed.contains("\nonly = 3\n") && printed.contains("\n# injections = "), "{printed}");
}

/// Each with the file's name, and before anything is run.
#[test]
fn files_of_flags_are_refused_in_one_sentence() {
    let place = place();
    let fails = |text: &str, typed: &str, code: i32, parts: &[&str]| {
        fs::write(place.at("plan.toml"), text).unwrap();
        let mut inject = INJECT.replace(" --quiet", "");
        if typed.contains("--labels") {
            inject = inject.replace("--labels golden", "");
        }
        let typed = format!("{inject} --config plan.toml {typed}");
        place.fails(&typed, code, &[&["plan.toml"], parts].concat());
    };
    fails("sed = 1", "", 1, &["no key 'sed'", "similar one is 'seed'"]);
    fails("injections = 'many'", "", 1, &["'injections' takes a whole number, not \"many\""]);
    fails("site = 'nowhere'", "", 1, &["'site' can't be 'nowhere'"]);
    fails("only = 1\ninjections = 2", "", 1, &["exclude each other"]);
    fails("only = [", "", 1, &["line 1: isn't TOML"]);
    // What only the whole shows.
    fails(
        "stop-at = 'sdc5'",
        "",
        2,
        &["--stop-at has no effect without --half-width", "comes from"],
    );
    fails("bits = 9", "", 2, &["--bits comes from plan.toml"]);
    fails(
        "class-list = 'gone.tsv'",
        "",
        2,
        &["--class-list has no effect", "--class-list comes from"],
    );
    fails(
        "right-in = ['gone.pth']",
        "--labels data",
        2,
        &["gone.pth", "--right-in comes from plan.toml"],
    );
    place.fails("inject --config gone.toml", 1, &["gone.toml"]);
    // What is missing is nobody's.
    fs::write(place.at("plan.toml"), "data = 'data'").unwrap();
    let output = place.run("inject --config plan.toml");
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(error.contains("--checkpoint FILE") && !error.contains("--data <DATA>\n"), "{error}");
}

/// TOML has no form for them, and nothing else needs one.
#[cfg(unix)]
#[test]
fn paths_that_are_no_unicode_are_paths() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let place = place();
    let data = OsStr::from_bytes(b"data-\xff");
    fs::rename(place.at("data"), place.at("").join(data)).unwrap();
    let run = |flags: &str| {
        std::process::Command::new(env!("CARGO_BIN_EXE_flipside"))
            .args(INJECT.replace("--data data", "").split_whitespace())
            .args(flags.split_whitespace())
            .arg("--data")
            .arg(data)
            .current_dir(place.at(""))
            .output()
            .unwrap()
    };
    let output = run("--injections 4 --out a.sqlite");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(Run::open(&place.at("a.sqlite")).unwrap().manifest.config.is_none());
    assert!(run("--injections 4 --out a.sqlite --resume").status.success());
    let printed = run("--print-config");
    assert_eq!(printed.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&printed.stderr).contains("the value isn't Unicode"));
}
