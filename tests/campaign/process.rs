//! Campaigns of the program itself: killed at any moment, out of disk, in parts.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::cli::Place;

use super::*;

pub(super) const INJECT: &str = "inject --model tiny.toml --checkpoint run/model.safetensors --data data \
                      --labels golden --quiet";

/// A folder with data and a checkpoint.
pub(super) fn place() -> Place {
    let place = Place::new();
    place.done("train --model tiny.toml --data data --quiet --epochs 1 --out run");
    place
}

pub(super) fn spawn(place: &Place, words: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_flipside"))
        .args(words.split_whitespace())
        .current_dir(place.at(""))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// What the program says that the results are.
pub(super) fn results(place: &Place, words: &str) -> String {
    place.json(words)["results_sha256"].as_str().unwrap().to_string()
}

#[test]
fn killed_twenty_times_a_campaign_loses_nothing() {
    let place = place();
    let inject = format!("{INJECT} --injections 18000");
    let began = Instant::now();
    let expected = results(&place, &inject);
    let whole = began.elapsed();
    let mut draws = rng::stream(20, "kills");
    let (mut kills, mut most) = (0, 0);
    while kills < 20 {
        let mut child = spawn(&place, &format!("{inject} --out killed.sqlite --resume"));
        std::thread::sleep(whole.mul_f64(draws.unit() / 2.0));
        match child.try_wait().unwrap() {
            None => {
                child.kill().unwrap();
                kills += 1;
            }
            // It came to its end: once more from the start.
            Some(status) => {
                assert!(status.success());
                fs::remove_file(place.at("killed.sqlite")).unwrap();
            }
        }
        child.wait().unwrap();
        most = count(&place).max(most);
    }
    assert!(most > 0, "no kill came after a commit");
    let resumed = results(&place, &format!("{inject} --out killed.sqlite --resume"));
    assert_eq!(resumed, expected, "after {kills} kills");
    assert!(!place.at("killed.sqlite-journal").exists());
}

/// Layers that stop when a figure is known, killed in the middle and resumed.
#[test]
fn a_half_width_is_reached_whatever_happens() {
    let place = place();
    let inject = format!("{INJECT} --half-width 0.04 --injections 20000");
    let expected = place.json(&inject);
    let mut child = spawn(&place, &format!("{inject} --out killed.sqlite --resume"));
    // More than the campaign's description takes. The file itself is locked.
    while length(&place) < 256 << 10 && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let resumed = place.json(&format!("{inject} --out killed.sqlite --resume --threads 1"));
    assert_eq!(resumed, expected);
    let said = resumed["stopped"].as_array().unwrap();
    assert!(!said.is_empty());
    for said in said {
        let estimate = |end: &str| said["look"]["estimate"][end].as_f64().unwrap();
        assert_eq!(said["look"]["stop"], true);
        assert!(estimate("value") - estimate("low") <= 0.04, "{said}");
    }
    let text = place.done("report killed.sqlite");
    assert!(text.contains("Stopped where sdc within ±0.04 (95 % over all looks)"), "{text}");
    for wrong in ["--shard 1/2 --out part.sqlite", "--only 3", "--stop-at delta-loss"] {
        assert_eq!(place.run(&format!("{inject} {wrong}")).status.code(), Some(2), "{wrong}");
    }
    assert_eq!(place.run(&format!("{INJECT} --stop-at masked")).status.code(), Some(2));
    let few = format!("{INJECT} --half-width 0.1 --injections 9");
    place.fails(&few, 2, &["injections a layer at least"]);
}

/// Bytes of the store that is being written.
fn length(place: &Place) -> u64 {
    fs::metadata(place.at("killed.sqlite")).map_or(0, |about| about.len())
}

/// Rows of the store that was being written.
fn count(place: &Place) -> u64 {
    let path = place.at("killed.sqlite");
    let query = |connection: rusqlite::Connection| {
        connection.query_row("SELECT count(*) FROM injections", [], |row| row.get::<_, i64>(0))
    };
    // It may not be there yet, or have no tables.
    let opened = path.exists().then(|| rusqlite::Connection::open(&path).and_then(query));
    opened.and_then(|rows| rows.ok()).map_or(0, |rows| rows as u64)
}

/// Another process is refused for as long as a campaign runs, from its first transaction on; what it writes
/// is whole.
#[cfg(unix)]
#[test]
fn a_store_is_one_process_at_a_time() {
    let place = place();
    let inject = format!("{INJECT} --injections 12000");
    let expected = results(&place, &inject);
    let changed =
        || fs::metadata(place.at("killed.sqlite")).and_then(|about| about.modified()).ok();
    for resumed in [false, true] {
        let before = changed();
        let words =
            format!("{inject} --out killed.sqlite {}", if resumed { "--resume" } else { "" });
        let mut child = spawn(&place, &words);
        // Until its first transaction has ended; then it is held up, so as not to end before the others.
        let first = || changed() == before || length(&place) == 0;
        while first() && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let stop = Command::new("kill").args(["-STOP", &child.id().to_string()]).status().unwrap();
        assert!(stop.success() && child.try_wait().unwrap().is_none(), "it ended already");
        let mut others = vec![format!("{inject} --out killed.sqlite --resume")];
        if !resumed {
            others.extend(
                [
                    "report killed.sqlite",
                    "export killed.sqlite --out killed.csv",
                    "merge killed.sqlite --out merged.sqlite",
                    &format!("{INJECT} --exhaustive last-layer --out killed.sqlite"),
                ]
                .map(String::from),
            );
        }
        for words in others {
            place.fails(&words, 1, &["killed.sqlite", "is in use by another process"]);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // Readers see what the last transaction left, and take back what wasn't ended: the first, maybe.
        let said = place.run("report killed.sqlite");
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.contains("isn't finished") || said.contains("is empty"), "{said}");
    }
    assert_eq!(results(&place, &format!("{inject} --out killed.sqlite --resume")), expected);
    place.done("report killed.sqlite");
}

/// A run that was killed while its transaction was being written leaves a journal, which the next reader
/// rolls back.
#[test]
fn half_a_transaction_is_taken_back_by_whoever_reads() {
    let place = place();
    place.done(&format!("{INJECT} --injections 30 --out whole.sqlite"));
    let said = place.done("report whole.sqlite");
    let connection = rusqlite::Connection::open(place.at("whole.sqlite")).unwrap();
    // More pages than the cache holds, so that they are in the file before the transaction ends.
    let half = "PRAGMA cache_size = 2; BEGIN; UPDATE injections SET loss = 0, top1 = 0, image = 0;";
    connection.execute_batch(half).unwrap();
    for end in ["", "-journal"] {
        let copy = place.at(&format!("killed.sqlite{end}"));
        fs::copy(place.at(&format!("whole.sqlite{end}")), copy).unwrap();
    }
    let header = fs::read(place.at("killed.sqlite-journal")).unwrap();
    assert!(header.starts_with(&[0xd9, 0xd5, 0x05, 0xf9]), "no page was written yet");
    assert_eq!(place.done("report killed.sqlite"), said.replace("whole.sqlite", "killed.sqlite"));
    assert!(!place.at("killed.sqlite-journal").exists());
}

/// Two that begin at once: one may be refused, and what the other one has written stays.
#[test]
fn programs_that_begin_at_once_take_nothing_from_each_other() {
    let place = place();
    let inject = format!("{INJECT} --injections 20 --out new.sqlite");
    let census = format!("{INJECT} --exhaustive last-layer --images 3 --out new.sqlite");
    let features = format!("{INJECT} --exhaustive last-layer-features --images 3 --out new.sqlite");
    let resumed = format!("{inject} --resume");
    let report = "report new.sqlite".to_string();
    let counted = format!("{report} --exhaustive last-layer");
    let counted_features = format!("{report} --exhaustive last-layer-features");
    let pairs = [
        [(&inject, &report), (&census, &counted)],
        [(&features, &counted_features), (&census, &counted)],
        [(&inject, &report), (&resumed, &report)],
        [(&resumed, &report), (&resumed, &report)],
    ];
    for (round, pair) in (0..4).flat_map(|round| pairs.map(|pair| (round, pair))) {
        let children = pair.map(|(words, report)| {
            let child = Command::new(env!("CARGO_BIN_EXE_flipside"))
                .args(words.split_whitespace())
                .current_dir(place.at(""))
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            (child, words, report)
        });
        let mut done = 0;
        for (child, words, report) in children {
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            if output.status.success() {
                place.done(report);
                done += 1;
                continue;
            }
            let known = ["is in use by another process", "is there already", "another campaign"];
            assert!(known.iter().any(|known| said.contains(known)), "{words}: {said}");
            assert_eq!(said.trim_end().lines().count(), 1, "{words}: {said}");
        }
        assert!(done > 0, "round {round}: neither of {pair:?} was done");
        fs::remove_file(place.at("new.sqlite")).unwrap();
    }
}

/// Files that hold no campaign say so, and nothing else.
#[test]
fn a_census_alone_is_no_campaign() {
    let place = place();
    place.done(&format!("{INJECT} --exhaustive last-layer --images 3 --out census.sqlite"));
    let inject = format!("{INJECT} --injections 4 --out census.sqlite");
    let says = ["census.sqlite", "holds no campaign, only what --exhaustive counted"];
    place.fails(&format!("{inject} --resume"), 1, &says);
    place.fails("merge census.sqlite --out all.sqlite", 1, &says);
    place.fails("report census.sqlite", 1, &says);
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("nothing.sqlite", place.at("link.sqlite")).unwrap();
        let inject = format!("{INJECT} --injections 4 --out link.sqlite");
        place.fails(&inject, 1, &["link.sqlite", "symbolic link to a file that isn't there"]);
        place.fails(&format!("{INJECT} --injections 4 --out /dev/null --resume"), 1, &["device"]);
    }
}

/// SQLite has other uses for some names.
#[test]
fn names_of_stores_are_paths() {
    let place = place();
    let inject = format!("{INJECT} --injections 4");
    let expected = results(&place, &inject);
    let names = [":memory:", "file:b.sqlite", "file:c.sqlite?mode=memory"];
    for name in names {
        assert_eq!(results(&place, &format!("{inject} --out {name}")), expected);
        assert!(place.at(name).is_file(), "{name}");
        place.done(&format!("report {name}"));
        place.done(&format!("export {name} --out out.csv"));
        place.fails(&format!("{inject} --out {name}"), 2, &[name, "is there already"]);
        place.done(&format!("{INJECT} --exhaustive last-layer --out {name}"));
        place.done(&format!("report {name} --exhaustive last-layer"));
        let merged = format!("{name}.merged");
        assert_eq!(results(&place, &format!("merge {name} --out {merged}")), expected);
        place.done(&format!("report {merged} --exhaustive last-layer"));
        fs::remove_file(place.at("out.csv")).unwrap();
    }
    assert!(!place.at("b.sqlite").exists() && !place.at("c.sqlite").exists());
}

/// A limit on the size of files stands for a full disk.
#[cfg(unix)]
#[test]
fn a_full_disk_ends_a_campaign_with_one_sentence() {
    let place = place();
    let inject = format!("{INJECT} --injections 400");
    let expected = results(&place, &inject);
    let words = format!("{inject} --out small.sqlite");
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 400; exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_flipside"))
        .args(words.split_whitespace())
        .current_dir(place.at(""))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("small.sqlite") && said.contains("disk"), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    place.fails("compare small.sqlite small.sqlite", 1, &["isn't finished", "--resume"]);
    place.fails(&words, 2, &["small.sqlite is there already", "--resume"]);
    assert_eq!(results(&place, &format!("{words} --resume")), expected);
}

/// What a job array runs, by its scheduler's variables.
#[test]
fn job_arrays_run_shards() {
    let place = place();
    let inject = format!("{INJECT} --injections 30");
    let expected = results(&place, &inject);
    for index in 0..3 {
        let status = Command::new(env!("CARGO_BIN_EXE_flipside"))
            .args(inject.split_whitespace())
            .args(["--shard", "auto/3", "--out", "part-{shard}.sqlite"])
            .env("JOB_COMPLETION_INDEX", index.to_string())
            .env_remove("SLURM_ARRAY_TASK_ID")
            .current_dir(place.at(""))
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
    }
    let parts = "part-3-of-3.sqlite part-1-of-3.sqlite part-2-of-3.sqlite";
    place.fails("compare part-1-of-3.sqlite part-1-of-3.sqlite", 1, &["lacks 2, 3", "merge"]);
    place.fails("merge part-1-of-3.sqlite part-1-of-3.sqlite --out x", 2, &["both hold shard 1/3"]);
    assert_eq!(results(&place, &format!("merge {parts} --out all.sqlite")), expected);
    place.fails(&format!("merge {parts} --out all.sqlite"), 2, &["all.sqlite is there already"]);
    // A changed checkpoint, another plan.
    let words = |flags: &str| format!("{INJECT} {flags} --out all.sqlite --resume");
    place.fails(
        &words("--injections 29"),
        2,
        &["all.sqlite can't grow to --injections 29", "none is taken away"],
    );
    place.fails(&words("--seed 2 --injections 30"), 2, &["all.sqlite", "--seed 1, not --seed 2"]);
    place.done("train --model tiny.toml --data data --quiet --epochs 1 --seed 2 --out other");
    let other = words("--injections 30").replace("run/model", "other/model");
    place.fails(&other, 2, &["all.sqlite holds another campaign", "--checkpoint (SHA-256 "]);
    place.fails(&format!("{inject} --shard 4/3 --out x"), 2, &["no part 4 of 3"]);
}

/// Faults of weights, lists, rates and strata from the command line.
#[test]
fn kinds_of_campaigns_have_flags() {
    let place = place();
    let run = |flags: &str| place.json(&format!("{INJECT} --verify 5 {flags}"));
    let names = |run: &serde_json::Value| -> Vec<String> {
        let figures = run["figures"].as_array().unwrap().iter();
        // Those of the whole network are of no layer.
        figures.filter_map(|row| row["layer"].as_str()).map(str::to_string).collect()
    };
    let weights = run("--site weight --injections 5 --layer *bn*");
    assert!(names(&weights).contains(&"layer2.0.bn1.running_var".to_string()));
    run("--ber 1e-4 --injections 5 --layer type:linear");
    run("--flips 3 --injections 5 --layer layer1.*");
    run("--stratify bit --injections 32 --layer conv1 --detector range");
    fs::write(place.at("list.csv"), "layer,image,channel,row,column,bit\nconv1,3,1,2,3,30\n")
        .unwrap();
    let listed = run("--faults list.csv --detector none");
    assert!(names(&listed).iter().all(|name| name == "conv1") && !names(&listed).is_empty());
    fs::write(place.at("list.csv"), "layer,image,channel,row,column,bit\nconv1,99,1,2,3,30\n")
        .unwrap();
    place.fails(
        &format!("{INJECT} --faults list.csv"),
        1,
        &["list.csv: line 2: there is no image 99"],
    );
    place.fails(&format!("{INJECT} --ber 1.5"), 2, &["between 0 and 1"]);
    place.fails(&format!("{INJECT} --site scores"), 2, &["no layer has the site scores"]);
    place.fails(
        &format!("{INJECT} --site accumulator --injections 2"),
        1,
        &["--device cuda or emulated"],
    );
}
