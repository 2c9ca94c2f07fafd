//! `flipside rerun`: equal runs, and what differs first.

use super::*;

const INJECT: &str =
    "inject --model tiny.toml --checkpoint a/model.safetensors --data data --injections 30 --quiet";

/// Runs it, and gives what it printed or said, by its exit code.
fn rerun(place: &Place, words: &str, code: i32) -> String {
    let output = place.run(&format!("rerun {words}"));
    let (out, error) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{words}: {out}{error}");
    format!("{out}{error}")
}

fn sql(place: &Place, store: &str, change: &str) {
    let connection = rusqlite::Connection::open(place.at(store)).unwrap();
    assert_eq!(connection.execute(change, []).unwrap(), 1, "{change}");
}

#[test]
fn a_run_comes_out_the_same_or_what_differs_is_named() {
    let place = Place::new();
    place.done(&format!("{TRAIN} --out a"));
    place.done(&format!("{INJECT} --out run.sqlite"));
    place.done(&format!("{INJECT} --out part.sqlite --shard 2/2"));
    place.done(&format!("{INJECT} --out grown.sqlite --only 3").replace("--injections 30", ""));
    let census = "inject --model tiny.toml --checkpoint a/model.safetensors --data data --quiet --exhaustive last-layer";
    place.done(&format!("{census} --out run.sqlite"));

    let said = rerun(&place, "run.sqlite --quiet --threads 1", 0);
    for part in [
        "run.sqlite: equal in bits: 420 records, ",
        "equal in bits: the counts of last-layer over 6 images",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(rerun(&place, "part.sqlite --quiet", 0).contains("equal in bits: 210 records"));
    assert!(rerun(&place, "grown.sqlite --quiet", 0).contains("equal in bits: 14 records"));
    place.done(&format!("{TRAIN} --out kept-epochs --keep 2"));
    let said = rerun(&place, "a --quiet --out kept", 0);
    assert!(said.contains("a: equal in bits: 2 epochs, "), "{said}");
    let epochs = ["kept-epochs/epoch-0001.safetensors", "kept-epochs/epoch-0002.safetensors"];
    let [first, second] = epochs.map(|path| place.at(path));
    rerun(&place, "kept-epochs --quiet", 0);
    fs::copy(&second, &first).unwrap();
    let said = rerun(&place, "kept-epochs --quiet", 3);
    assert!(said.contains(" of epoch-0001.safetensors differs"), "{said}");
    fs::remove_file(&first).unwrap();
    let said = rerun(&place, "kept-epochs --quiet", 3);
    assert!(said.contains("the second run alone has epoch-0001.safetensors"), "{said}");
    assert!(place.at("kept/model.safetensors").exists());
    rerun(&place, "a --quiet --out kept", 2);
    let json = place.json("rerun run.sqlite --quiet --out again.sqlite");
    assert_eq!((&json["equal"], &json["difference"]), (&true.into(), &serde_json::Value::Null));
    let results = |store: &str| Run::open(&place.at(store)).unwrap().results_sha256();
    assert_eq!(results("again.sqlite"), results("run.sqlite"));

    // A record, a fault-free answer, the counts of a census, as something else left them.
    for (change, found) in [
        (
            "UPDATE injections SET top1 = 1 - top1 WHERE layer = 2 AND n = 7 AND detector = 1",
            "injection 7 of layer '",
        ),
        ("UPDATE images SET logits_hash = 1 WHERE place = 0", "their fault-free answers differ"),
        (
            "UPDATE manifest SET value = '\"0.0.9\"' WHERE key = 'version'",
            "their versions differ (0.0.9 and ",
        ),
        (
            "UPDATE exhaustive_cells SET sdc = sdc + 1, benign = benign - 1 WHERE (mode, place, unit, detector, bit) = \
             (SELECT mode, place, unit, detector, bit FROM exhaustive_cells WHERE benign > 0 LIMIT 1)",
            "the counts of '",
        ),
    ] {
        fs::copy(place.at("run.sqlite"), place.at("other.sqlite")).unwrap();
        sql(&place, "other.sqlite", change);
        let said = rerun(&place, "other.sqlite --quiet", 3);
        assert!(said.contains(&format!("other.sqlite: differs: {found}")), "{change}: {said}");
    }
    // What no bit depends on.
    fs::copy(place.at("run.sqlite"), place.at("other.sqlite")).unwrap();
    sql(&place, "other.sqlite", "UPDATE manifest SET value = '\"abc\"' WHERE key = 'commit'");
    let said = rerun(&place, "other.sqlite --quiet", 0);
    assert!(
        said.contains("equal in bits") && said.contains("by another commit: abc, now "),
        "{said}"
    );

    // Other images, and no images.
    write_square(&place.at("data/val/n0/9.png"), |x, y| [x as u8, y as u8, 0]);
    let said = rerun(&place, "run.sqlite --quiet", 3);
    assert!(said.contains("run.sqlite: differs: their data differ ("), "{said}");
    let said = rerun(&place, "a --quiet", 3);
    assert!(said.contains("a: differs: their validation data differ ("), "{said}");
    fs::rename(place.at("data"), place.at("moved")).unwrap();
    let said = rerun(&place, "run.sqlite --quiet", 2);
    assert!(
        said.contains("data: there is no such file or folder: say --data where it lies now"),
        "{said}"
    );
    fs::remove_file(place.at("moved/val/n0/9.png")).unwrap();
    assert!(rerun(&place, "run.sqlite --quiet --data moved", 0).contains("equal in bits"));
    assert!(rerun(&place, "a --quiet --data moved", 0).contains("equal in bits"));
    let other = place.at("b");
    fs::rename(place.at("a"), &other).unwrap();
    let said = rerun(&place, "run.sqlite --quiet --data moved", 2);
    assert!(said.contains("a/model.safetensors") && said.contains("say --checkpoint"), "{said}");
    let moved = "run.sqlite --quiet --data moved --checkpoint b/model.safetensors";
    assert!(rerun(&place, moved, 0).contains("equal in bits"));
}

const STUDY: &str = "study --quiet --model tiny.toml --data data --text-features features.safetensors \
                     --class-list classes.tsv --epochs 8 --batch-size 4 --injections 20 --seeds 2";

/// A study from its own flags: the same bits, or which seed's model or campaign differs first.
#[test]
fn a_study_comes_out_the_same_or_what_differs_is_named() {
    let place = Place::new();
    let first = place.json(&format!("{STUDY} --out s"));
    let args = fs::read_to_string(place.at("s/args.toml")).unwrap();
    for line in
        ["seeds = 2", "injections = 20", "out = \"s\"", "# Flags of flipside study, for --config."]
    {
        assert!(args.lines().any(|known| known.starts_with(line)), "{line}: {args}");
    }
    assert!(!args.contains("quiet") && !args.contains("json"), "{args}");
    let said = rerun(&place, "s --quiet --threads 1 --out again", 0);
    assert!(said.contains("s: equal in bits: ") && said.contains(" of 6 models, "), "{said}");
    let read = |name: &str| fs::read_to_string(place.at(name)).unwrap();
    assert_eq!(read("again/study.json"), read("s/study.json"));
    // From the file alone, into another folder; and gone on with by what the folder says.
    assert_eq!(place.json("study --quiet --config s/args.toml --out other"), first);
    assert_eq!(place.json("study --quiet --resume --out other"), first);
    // What is refused leaves the flags as they were.
    place.fails("study --quiet --config s/args.toml --injections 21", 2, &["s/", "--resume"]);
    assert_eq!(read("s/args.toml"), args);

    let change = |path: &str, from: &str, to: &str| {
        let text = read(path);
        assert!(text.contains(from), "{path}: {from}");
        fs::write(place.at(path), text.replacen(from, to, 1)).unwrap();
    };
    // A figure that something else left, a model, a record of the last campaign.
    change("other/study.json", "\"synthetic\": false", "\"synthetic\": true");
    let said = rerun(&place, "other --quiet", 3);
    assert!(said.contains("other: differs: 'synthetic' is true and false"), "{said}");
    change("other/study.json", "\"synthetic\": true", "\"synthetic\": false");
    change("other/study.json", "\"reliability\": {", "\"reliability\": {\"new\": 1,");
    let said = rerun(&place, "other --quiet", 3);
    assert!(
        said.contains("other: differs: 'study.json.") && said.contains(".new' is 1 and null"),
        "{said}"
    );
    sql(
        &place,
        "other/seed-2/text-rows/run.sqlite",
        "UPDATE injections SET top1 = 1 - top1 WHERE layer = 2 AND n = 7 AND detector = 1",
    );
    let said = rerun(&place, "other --quiet", 3);
    assert!(
        said.contains("other: differs: seed 2, text-guided, text rows: injection 7 of layer '"),
        "{said}"
    );
    let model = |seed: u64| format!("other/seed-{seed}/random-rows/model.safetensors");
    fs::copy(place.at(&model(1)), place.at(&model(2))).unwrap();
    let said = rerun(&place, "other --quiet", 3);
    assert!(said.contains("other: differs: seed 2, text-guided, random rows: tensor '"), "{said}");
    // Other images: ended as soon as the first campaign says so.
    write_square(&place.at("data/val/n0/9.png"), |x, y| [x as u8, y as u8, 0]);
    let said = rerun(&place, "s --quiet", 3);
    assert!(said.contains("s: differs: seed 1, baseline: their data differ ("), "{said}");

    // What keeps no flags, isn't over, or has no use for a flag.
    let said = rerun(&place, "s/seed-1/baseline/run.sqlite --quiet", 1);
    assert!(said.contains("`flipside rerun` of the study's folder"), "{said}");
    let said = rerun(&place, "s/seed-1/baseline --quiet", 1);
    assert!(said.contains("`flipside rerun` of the study's folder"), "{said}");
    assert!(rerun(&place, "s --checkpoint x", 2).contains("--checkpoint has no effect"));
    change("again/args.toml", "data = \"data\"\n", "");
    let said = rerun(&place, "again --quiet --data data", 2);
    assert!(
        said.contains("--data has no effect with a study of the images that are built in"),
        "{said}"
    );
    fs::remove_file(place.at("again/args.toml")).unwrap();
    let said = rerun(&place, "again --quiet", 1);
    assert!(said.contains("again/args.toml: isn't there: studies of older versions"), "{said}");
    fs::remove_file(place.at("again/study.json")).unwrap();
    let said = rerun(&place, "again --quiet", 1);
    assert!(said.contains("again: holds a study that isn't over: `study --resume`"), "{said}");
}

#[test]
fn what_is_no_run_is_named() {
    let place = Place::new();
    place.done(&format!("{TRAIN} --out a"));
    fs::remove_file(place.at("a/model.safetensors")).unwrap();
    for (words, code, part) in [
        (
            "tiny.toml",
            1,
            "tiny.toml: is neither a store of `inject` nor the folder of a training run or a study",
        ),
        ("data", 1, "data: holds no training run: there is no model.safetensors"),
        ("a", 1, "a: holds a training run that isn't over: `train --resume` goes on with it"),
        ("nowhere.sqlite", 1, "nowhere.sqlite"),
    ] {
        assert!(rerun(&place, words, code).contains(part), "{words}");
    }
}
