//! Stores that know their own flags: gone on with by their name alone, and grown.

use std::time::Duration;

use flipside::plan::Shard;
use flipside::results::{Config, Manifest, Store};

use super::configured::{manifest, rows};
use super::process::{INJECT, place, results, spawn};
use crate::cli::Place;

use super::*;

/// Kills a run of `words` once it has written more than the campaign's description, if it doesn't end before.
fn kill(place: &Place, words: &str, store: &str, wait: Duration) {
    let mut child = spawn(place, words);
    let length = || fs::metadata(place.at(store)).map_or(0, |about| about.len());
    while length() < 256 << 10 && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(2));
    }
    std::thread::sleep(wait);
    let _ = child.kill();
    child.wait().unwrap();
}

fn is_complete(place: &Place, store: &str) -> bool {
    Store::shards(&place.at(store)).unwrap().iter().all(|(_, is_whole)| *is_whole)
}

#[test]
fn a_store_goes_on_by_its_name_alone() {
    let place = place();
    let inject = format!("{INJECT} --injections 12000");
    let expected = results(&place, &format!("{inject} --out whole.sqlite"));
    kill(&place, &format!("{inject} --out killed.sqlite"), "killed.sqlite", Duration::ZERO);
    assert!(!is_complete(&place, "killed.sqlite"), "it ended already");
    // As a stopped one says.
    place.fails("report killed.sqlite", 1, &["flipside inject --resume killed.sqlite"]);
    let resume = "inject --resume killed.sqlite --quiet --threads 1 --batch 7";
    assert_eq!(results(&place, resume), expected);
    let [whole, killed] =
        ["whole", "killed"].map(|name| rows(&place.at(&format!("{name}.sqlite")), &[]));
    assert!(whole == killed, "other rows");
    // Nothing is left to do; --out beside it says the same.
    assert_eq!(results(&place, "inject --resume killed.sqlite --quiet"), expected);
    assert_eq!(results(&place, &format!("{inject} --out killed.sqlite --resume")), expected);
    place.fails("inject --resume gone.sqlite", 1, &["gone.sqlite", "No such file"]);
    fs::write(place.at("empty.sqlite"), "").unwrap();
    place.fails("inject --resume empty.sqlite", 1, &["empty.sqlite", "is empty"]);
    place.fails(
        "inject --resume whole.sqlite --out a.sqlite",
        2,
        &["--out has no effect beside --resume"],
    );
    place.fails(&format!("{INJECT} --resume"), 2, &["--resume has no effect without a file"]);
    // Files that have moved are asked for, and are the same ones.
    fs::rename(place.at("data"), place.at("moved")).unwrap();
    place.fails(
        "inject --resume whole.sqlite",
        2,
        &["data: there is no such", "--data comes from whole.sqlite"],
    );
    assert_eq!(results(&place, "inject --resume whole.sqlite --quiet --data moved"), expected);
}

/// In one sentence, so before the evaluation, which would say that it runs.
#[test]
fn flags_of_another_campaign_are_refused_before_anything_is_run() {
    let place = place();
    place.done("train --model tiny.toml --data data --quiet --epochs 1 --seed 2 --out other");
    place.done(&format!("{INJECT} --injections 20 --out a.sqlite"));
    fs::write(place.at("list.csv"), "layer,image,channel,row,column,bit\nconv1,3,1,2,3,30\n")
        .unwrap();
    let fewer = place.at("fewer");
    for split in ["train/n0", "train/n1", "val/n0", "val/n1"] {
        fs::create_dir_all(fewer.join(split)).unwrap();
        let from = place.at("data").join(split).join("0.png");
        fs::copy(from, fewer.join(split).join("0.png")).unwrap();
    }
    for (flags, parts) in [
        ("--seed 2", &["begun with --seed 1, not --seed 2"][..]),
        ("--seed 2 --bits 2", &["--bits 1 and --seed 1, not --bits 2 and --seed 2"]),
        ("--site input --detector none", &["--site output", "--detector none,range"]),
        ("--layer fc --layer conv1", &["no --layer, not --layer fc --layer conv1"]),
        ("--flips 2", &["--flips 1, not --flips 2"]),
        ("--ber 0.1", &["--flips 1, not --ber 0.1"]),
        ("--stratify bit", &["no --stratify, not --stratify bit"]),
        ("--labels data", &["--labels golden, not --labels data"]),
        ("--temperature 2", &["no --temperature, not --temperature 2"]),
        ("--faults list.csv", &["no --faults, not --faults (SHA-256 "]),
        ("--half-width 0.3", &["no --half-width, not --half-width 0.3 --stop-at sdc"]),
        ("--injections 19", &["a.sqlite can't grow to --injections 19", "none is taken away"]),
        ("--shard 1/2", &["a.sqlite holds shard 1/1, not 1/2"]),
        ("--checkpoint other/model.safetensors", &["--checkpoint (SHA-256 "]),
        ("--data fewer", &["--data (names and sizes of its images: "]),
        ("--device emulated", &["--device cpu, not --device emulated"]),
        ("--image-size 20", &["--image-size 16, not --image-size 20"]),
        ("--range-images 3", &["--range-images 12, not --range-images 3"]),
    ] {
        // What a network at another size is told comes before.
        let flags =
            if flags.contains("image-size") { format!("{flags} --quiet") } else { flags.into() };
        place.fails(&format!("inject --resume a.sqlite {flags}"), 2, parts);
        let long = INJECT.replace(" --quiet", "").replace("--labels golden", "");
        let labels = if flags.contains("--labels") { "" } else { "--labels golden" };
        let checkpoint = "--checkpoint run/model.safetensors";
        let long = if flags.contains("--checkpoint") { long.replace(checkpoint, "") } else { long };
        let long = if flags.contains("--data") { long.replace("--data data", "") } else { long };
        let injections = match flags.contains("--injections") || flags.contains("--faults") {
            true => "",
            false => "--injections 20",
        };
        if !flags.contains("--half-width") {
            let words = format!("{long} {labels} {injections} --out a.sqlite --resume {flags}");
            place.fails(&words, 2, parts);
        }
    }
}

/// With a store's flags, and without writing to it.
#[test]
fn an_injection_of_a_store_is_told() {
    let place = place();
    place.done("train --model tiny.toml --data data --quiet --epochs 1 --seed 2 --out other");
    let typed = format!("{INJECT} --seed 9 --layer fc --bits 2");
    place.done(&format!("{typed} --injections 20 --out a.sqlite"));
    let before = fs::read(place.at("a.sqlite")).unwrap();
    let told = place.done("inject --resume a.sqlite --only 3 --quiet");
    assert_eq!(told, place.done(&format!("{typed} --only 3")));
    assert!(told.contains("Injection 3 into fc:"), "{told}");
    assert!(fs::read(place.at("a.sqlite")).unwrap() == before, "the store was written to");
    // Of its flags, layers and injections, and no others.
    for (flags, parts) in [
        ("--only 3 --seed 3", &["begun with --seed 9, not --seed 3"][..]),
        ("--only 3 --bits 1", &["--bits 2, not --bits 1"]),
        ("--only 3 --only-bits exponent", &["only-bits"]),
        ("--only 20", &["a.sqlite holds injections 0 to 19 of each layer, not 20"]),
        ("--only 3 --layer conv1", &["a.sqlite has no layer 'conv1'; its layers are: fc"]),
    ] {
        place.fails(&format!("inject --resume a.sqlite {flags} --quiet"), 2, parts);
    }
    let pattern = place.done("inject --resume a.sqlite --only 3 --layer * --quiet");
    assert_eq!(pattern, told);
    // Of the network that it is of.
    let other = "inject --resume a.sqlite --only 3 --checkpoint other/model.safetensors";
    place.fails(other, 2, &["--checkpoint (SHA-256 "]);
    // In the place of the campaign it is another one.
    let in_place = format!("{typed} --only 3 --out a.sqlite --resume");
    place.fails(&in_place, 2, &["--injections 20, not --only 3"]);
    // And a store of one injection goes on.
    let one = place.done(&format!("{typed} --only 3 --out one.sqlite"));
    assert_eq!(place.done("inject --resume one.sqlite --quiet"), one);
}

/// 20 a layer become 500: as if they had been from the start, but for the flags' own words.
#[test]
fn a_campaign_grows_to_the_larger_one() {
    let place = place();
    for (name, flags) in
        [("plain", ""), ("in-turn", "--stratify bit"), ("two", "--flips 2 --detector none")]
    {
        let (small, large) = (format!("{name}.sqlite"), format!("{name}-large.sqlite"));
        let expected = results(&place, &format!("{INJECT} {flags} --injections 500 --out {large}"));
        let before = results(&place, &format!("{INJECT} {flags} --injections 20 --out {small}"));
        assert_ne!(before, expected);
        assert_eq!(
            results(&place, &format!("inject --quiet --resume {small} --injections 500")),
            expected
        );
        assert!(rows(&place.at(&small), &[]) == rows(&place.at(&large), &[]), "{name}: other rows");
        let report = |store: &str| place.done(&format!("report {store}"));
        assert_eq!(report(&small), report(&large));
        // And from there on by its name.
        assert_eq!(results(&place, &format!("inject --quiet --resume {small}")), expected);
    }
    // Of one injection the last layer isn't counted, of more it is.
    let expected = results(&place, &format!("{INJECT} --injections 8 --out eight.sqlite"));
    place.done(&format!("{INJECT} --injections 1 --out one.sqlite"));
    assert_eq!(
        results(&place, &format!("{INJECT} --injections 8 --out one.sqlite --resume")),
        expected
    );
    let [one, eight] =
        ["one", "eight"].map(|name| Run::open(&place.at(&format!("{name}.sqlite"))).unwrap());
    assert!(!eight.counted.is_empty() && one.counted == eight.counted);
}

#[test]
fn what_can_t_grow_stays_as_it_is() {
    let place = place();
    for (name, flags, why) in [
        ("shard", "--injections 20 --shard 1/2", "shard 1/2 of a campaign of 20 injections"),
        ("rule", "--half-width 0.3 --injections 512 --layer fc", "stops by --half-width"),
        ("one", "--only 3", "--injections 1000"),
        (
            "allocated",
            "--injections 400 --layer fc --layer conv1 --allocate pilot",
            "an allocated campaign",
        ),
        ("smaller", "--injections 1200 --layer fc", "none is taken away"),
    ] {
        let store = format!("{name}.sqlite");
        place.done(&format!("{INJECT} {flags} --out {store}"));
        let before = fs::read(place.at(&store)).unwrap();
        place.fails(&format!("inject --resume {store} --injections 1000"), 2, &[&store, why]);
        assert!(fs::read(place.at(&store)).unwrap() == before, "{name} was changed");
    }
    fs::write(place.at("list.csv"), "layer,image,channel,row,column,bit\nconv1,3,1,2,3,30\n")
        .unwrap();
    place.done(&format!("{INJECT} --faults list.csv --out list.sqlite"));
    place.fails(
        "inject --resume list.sqlite --injections 1000",
        2,
        &["list.sqlite can't grow", "a list's faults"],
    );
    // Shards are merged, and the whole grows.
    place.done(&format!("{INJECT} --injections 20 --shard 2/2 --out other.sqlite"));
    place.done("merge shard.sqlite other.sqlite --out merged.sqlite");
    let expected = results(&place, &format!("{INJECT} --injections 90"));
    assert_eq!(results(&place, "inject --quiet --resume merged.sqlite --injections 90"), expected);
}

/// Killed between the plan's change and the first new record, and whenever.
#[test]
fn a_growing_campaign_that_is_killed_goes_on() {
    let place = place();
    let large = results(&place, &format!("{INJECT} --injections 9000 --out large.sqlite"));
    place.done(&format!("{INJECT} --injections 300 --out small.sqlite"));
    fs::copy(place.at("small.sqlite"), place.at("between.sqlite")).unwrap();
    let there = Store::manifest(&place.at("small.sqlite")).unwrap();
    let mut plan = there.plan.clone();
    plan.injections = 0..9000;
    let config = there.config.clone().unwrap();
    let flags = config.flags.replace("injections = 300", "injections = 9000");
    assert_ne!(flags, config.flags);
    let grown = Manifest { plan, config: Some(Config { flags, ..config }), ..there };
    let other = |change: &dyn Fn(&mut Manifest)| {
        let mut other = grown.clone();
        change(&mut other);
        Store::grow(&place.at("between.sqlite"), &other).unwrap_err().to_string()
    };
    assert!(other(&|manifest| manifest.plan.seed = 9).contains("'seed' (1 and 9)"));
    assert!(other(&|manifest| manifest.plan.injections = 0..7).contains("none is taken away"));
    Store::grow(&place.at("between.sqlite"), &grown).unwrap();
    let done = |store: &str| {
        let (run, shards) = Run::open_partial(&place.at(store)).unwrap();
        (run.records.len(), shards)
    };
    let layers = grown.layers.len();
    assert_eq!(done("between.sqlite"), (300 * layers * 2, vec![(Shard::WHOLE, false)]));
    assert_eq!(results(&place, "inject --quiet --resume between.sqlite"), large);
    assert!(rows(&place.at("between.sqlite"), &[]) == rows(&place.at("large.sqlite"), &[]));

    let mut kills = 0;
    let grow = "inject --quiet --resume small.sqlite --injections 9000";
    for wait in [0, 5, 20, 60, 150, 300] {
        kill(&place, grow, "small.sqlite", Duration::from_millis(wait));
        kills += usize::from(!is_complete(&place, "small.sqlite"));
        // Killed before it had grown it is the small one still.
        let kept = Store::manifest(&place.at("small.sqlite")).unwrap();
        let held = kept.plan.injections.end;
        assert!([300, 9000].contains(&held), "{held}");
        assert!(kept.config.unwrap().flags.contains(&format!("injections = {held}\n")));
    }
    assert!(kills > 0, "no kill came in between");
    assert_eq!(results(&place, grow), large);
    assert!(rows(&place.at("small.sqlite"), &[]) == rows(&place.at("large.sqlite"), &[]));
}

/// Stores of programs that kept no flags are gone on with by all of them, and keep them from then on.
#[test]
fn stores_without_flags_are_told_them() {
    let place = place();
    let inject = format!("{INJECT} --injections 20");
    let expected = results(&place, &format!("{inject} --out old.sqlite"));
    let connection = rusqlite::Connection::open(place.at("old.sqlite")).unwrap();
    connection.execute("DELETE FROM manifest WHERE key = 'config'", []).unwrap();
    drop(connection);
    place.fails(
        "inject --resume old.sqlite",
        2,
        &["old.sqlite doesn't hold the flags", "no --checkpoint, no --data"],
    );
    place.fails("inject --resume old.sqlite --print-config", 2, &["doesn't hold the flags"]);
    assert_eq!(results(&place, &format!("{inject} --resume old.sqlite")), expected);
    assert!(
        manifest(&place, "old.sqlite", "config")["flags"]
            .as_str()
            .unwrap()
            .contains("injections = 20")
    );
    assert_eq!(results(&place, "inject --quiet --resume old.sqlite"), expected);
}

/// A shard knows which one it is; what a merged store keeps are the first one's flags.
#[test]
fn shards_go_on_by_their_names_alone() {
    let place = place();
    let inject = format!("{INJECT} --injections 30");
    let expected = results(&place, &inject);
    for index in 1..=3 {
        let threads = format!("--batch {}", 10 + index);
        place.done(&format!("{inject} {threads} --shard {index}/3 --out part-{{shard}}.sqlite"));
    }
    let said = place.done("inject --quiet --resume part-2-of-3.sqlite");
    assert_eq!(
        Store::shards(&place.at("part-2-of-3.sqlite")).unwrap(),
        [(Shard { index: 2, of: 3 }, true)]
    );
    assert!(said.contains("30 injections a layer"), "{said}");
    place.done("merge part-2-of-3.sqlite part-1-of-3.sqlite --out some.sqlite");
    place.fails("inject --resume some.sqlite", 2, &["some.sqlite holds the shards 1/3, 2/3"]);
    let merged = "merge part-3-of-3.sqlite some.sqlite --out all.sqlite";
    assert_eq!(results(&place, merged), expected);
    assert!(
        manifest(&place, "all.sqlite", "config")["flags"].as_str().unwrap().contains("batch = 13")
    );
    assert_eq!(results(&place, "inject --quiet --resume all.sqlite"), expected);
}

/// A census alone goes on by its file's name; beside a campaign, by its population's, too.
#[test]
fn a_census_goes_on_by_the_name_of_its_file() {
    let place = place();
    let census = format!("{INJECT} --exhaustive last-layer --images 3");
    let expected = place.json(&format!("{census} --out census.sqlite"));
    assert_eq!(place.json("inject --quiet --resume census.sqlite"), expected);
    let printed = place.done("inject --resume census.sqlite --print-config");
    assert!(
        printed.contains("\nexhaustive = \"last-layer\"\n") && printed.contains("\nimages = 3\n")
    );
    let other = "inject --quiet --resume census.sqlite --images 4";
    place.fails(other, 2, &["holds another census", "'images' differs (3 and 4)"]);
    place.done(&format!("{INJECT} --injections 20 --out both.sqlite"));
    assert_eq!(place.json(&format!("{census} --out both.sqlite")), expected);
    let campaign = place.json("inject --quiet --resume both.sqlite");
    assert_eq!(campaign["plan"]["injections"]["end"], 20);
    assert_eq!(place.json("inject --quiet --resume both.sqlite --exhaustive last-layer"), expected);
    place.fails(
        "inject --resume both.sqlite --exhaustive last-layer-weights",
        1,
        &["holds no census of last-layer-weights"],
    );
}
