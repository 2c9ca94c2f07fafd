//! `report --require`: intervals decide, exit codes and JUnit files say how.

use std::fs;

use serde_json::Value;

use crate::cli::Place;

#[test]
fn a_network_that_is_too_fragile_fails() {
    let place = Place::new();
    place.done("train --model tiny.toml --data data --quiet --epochs 8 --out trained");
    place.done(
        "inject --model tiny.toml --checkpoint trained/model.safetensors --data data --injections 400 --out a.sqlite --quiet",
    );
    // What a report says decides, whatever it is.
    let report = place.json("report a.sqlite");
    let of = |detector: &str| {
        let rows = report["figures"].as_array().unwrap();
        let row =
            rows.iter().find(|row| row["detector"] == detector && row["weighting"] == "uniform");
        let sdc = &row.unwrap()["rates"]["sdc"];
        ["value", "low", "high"].map(|end| sdc[end].as_f64().unwrap())
    };
    let [value, low, high] = of("none");
    assert!(0.0 < low && low < value && value < high, "{low} {value} {high}");

    let satisfied =
        format!("report a.sqlite --detector none --require sdc<={high} --require layers:sdc<1");
    let text = place.done(&satisfied);
    assert!(
        text.contains(&format!("- sdc<={high}: satisfied (network, layers alike, detector none"))
    );
    let layers = text.lines().filter(|line| line.starts_with("- layers:sdc<1: satisfied")).count();
    let is_layer = |row: &&Value| row["detector"] == "none" && row["layer"].is_string();
    assert_eq!(layers, report["figures"].as_array().unwrap().iter().filter(is_layer).count());

    let unknown = format!("report a.sqlite --detector none --require sdc<{value}");
    place.fails(&unknown, 3, &["of 1 figures", "0 are out of bounds", "1 not known"]);
    let violated = format!("report a.sqlite --detector none --require sdc<{low} --junit a.xml");
    place.fails(&violated, 3, &["of 1 figures", "1 are out of bounds", "0 not known"]);
    let junit = fs::read_to_string(place.at("a.xml")).unwrap();
    assert!(junit.contains(r#"tests="1" skipped="0" failures="1""#), "{junit}");
    assert!(junit.contains(&format!("sdc&lt;{low} (network, layers alike")), "{junit}");
    assert!(junit.contains(r#"type="violated""#), "{junit}");

    // A table by bit, and JSON, have the same decision.
    place.fails(&violated.replace("--junit a.xml", "--by bit"), 3, &["1 are out of bounds"]);
    let json = place.run(&violated.replace("--junit a.xml", "--json"));
    assert_eq!(json.status.code(), Some(3));
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["requirements"][0]["decision"], "violated");
    assert_eq!(json["requirements"][0]["estimate"]["low"], low);

    // ΔLoss is a mean under range alone: held against that, and refused where only the other is asked for.
    let text = place.done("report a.sqlite --require delta-loss<1e9");
    assert!(text.contains("satisfied (network, layers alike, detector range"), "{text}");
    assert!(!text.contains("satisfied (network, layers alike, detector none"), "{text}");
    for (words, parts) in [
        ("--detector none --require delta-loss<1", ["'delta-loss<1'", "range"]),
        ("--require nowhere:sdc<0.1", ["'nowhere:sdc<0.1'", "layers, conv1"]),
        ("--layer fc --require network:sdc<0.1", ["network:sdc<0.1", "--layer"]),
    ] {
        place.fails(&format!("report a.sqlite {words}"), 2, &parts);
    }
    for (words, part) in [
        ("--require speed<0.1", "known: masked"),
        ("--require sdc", "'sdc<0.02'"),
        ("--junit b.xml", "--require"),
    ] {
        let output = place.run(&format!("report a.sqlite {words}"));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && told.contains(part), "{words}: {told}");
    }
    // What is read isn't written over.
    let store = fs::read(place.at("a.sqlite")).unwrap();
    fs::copy(place.at("a.sqlite"), place.at("other.sqlite")).unwrap();
    for words in ["--junit a.sqlite --require sdc<1", "--html ./a.sqlite", "--html other.sqlite"] {
        place.fails(&format!("report a.sqlite {words}"), 1, &["would be lost"]);
        assert_eq!(fs::read(place.at("a.sqlite")).unwrap(), store);
    }
    place.done("report a.sqlite --layer fc --require sdc<1");
    place.fails(
        "report a.sqlite --require sdc<1 --junit nowhere/a.xml",
        1,
        &["nowhere/a.xml", "there is no folder"],
    );
}
