//! Pages: their numbers are those of `report --json`, whatever is in a store a page comes of it, and nothing in it runs.

use std::time::Instant;

use flipside::analysis::breakdown::{By, breakdown};
use flipside::analysis::compare::{Pairing, compare_all};
use flipside::detector::Detector;
use flipside::fault::Site;
use flipside::page::{Figure, Subject, figures, html, page};
use flipside::plan::{Flips, Protocol};
use flipside::report::run_json;
use flipside::results::LayerRow;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::*;
use crate::cli::Place;

/// A page of runs.
fn page_of(runs: &[&Run]) -> String {
    page(runs, Pairing::Paired, &Intervals::default()).unwrap()
}

/// What stands between two texts, each time.
fn between<'t>(text: &'t str, start: &str, end: &str) -> Vec<&'t str> {
    text.split(start).skip(1).map(|rest| rest.split(end).next().unwrap()).collect()
}

/// The data of a page.
fn island(page: &str) -> Value {
    serde_json::from_str(between(page, "id=\"data\">", "</script>")[0]).unwrap()
}

/// What `report RUN --json` prints.
fn report(run: &Run) -> Value {
    let how = Intervals::default();
    let figures = breakdown(run, By::Layer, None, &run.manifest.plan.detectors, &how).unwrap();
    serde_json::from_str(&run_json(run, &figures, &how).to_string()).unwrap()
}

/// The numbers of an estimate in JSON, as a page's data have them.
fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().filter_map(Value::as_f64).collect(),
        Value::Object(of) => {
            ["value", "low", "high"].iter().filter_map(|key| of[*key].as_f64()).collect()
        }
        value => value.as_f64().into_iter().collect(),
    }
}

/// The numbers in a cell's text: `1.23 [1.00, 1.50]`, `2.1e-3`.
fn shown(text: &str) -> Vec<f64> {
    let is_part = |c: char| c.is_ascii_digit() || ".-e".contains(c);
    text.split(|c| !is_part(c)).filter_map(|word| word.parse().ok()).collect()
}

/// A baseline's run and a text-guided model's, with a detector and without.
fn runs() -> [Run; 2] {
    [Head::Baseline, GUIDED].map(|head| Bench::new(head).run(Plan::new(8, 60)))
}

/// The figures of a report for a layer, or a weighting of all layers, under a detector.
fn of<'v>(
    report: &'v Value,
    detector: &str,
    layer: Option<&str>,
    weighting: Option<&str>,
) -> &'v Value {
    let rows = report["figures"].as_array().unwrap();
    let is_it = |row: &&Value| {
        row["detector"] == detector
            && row["layer"].as_str() == layer
            && row.get("weighting").and_then(Value::as_str) == weighting
    };
    rows.iter().find(is_it).unwrap()
}

#[test]
fn data_are_what_report_prints_and_tables_are_of_them() {
    let [a, b] = runs();
    let page = page_of(&[&a, &b]);
    let data = island(&page);
    let reports = [report(&a), report(&b)];
    for (side, report) in reports.iter().enumerate() {
        assert_eq!(data["runs"][side]["report"], *report);
    }
    let compared = compare_all(&[[&a, &b]], Pairing::Paired, &Intervals::default()).unwrap();
    let compared: Value = serde_json::from_str(&serde_json::to_string(&compared).unwrap()).unwrap();
    assert_eq!(data["comparisons"], compared);

    // The numbers on top, and the sentence.
    let top = between(&page, "<dl class=\"numbers\">", "</dl>")[0];
    for (side, report) in reports.iter().enumerate() {
        let rates = &of(report, "none", None, Some("uniform"))["rates"];
        let percent = |value: &Value| format!("{:.2}", 100.0 * value.as_f64().unwrap());
        let sdc = percent(&rates["sdc"]["value"]);
        assert!(top.contains(&format!("{sdc} %")), "{top}");
        let ends = ["low", "high"].map(|end| percent(&rates["sdc"][end]));
        assert!(top.contains(&format!("[{}, {}]", ends[0], ends[1])), "{top}");
        let any = 100.0 * (1.0 - rates["masked"]["value"].as_f64().unwrap());
        assert!(top.contains(&format!("{any:.2} %")), "{top}");
        let quoted = format!("{sdc} % (95 % interval {} to {} %)", ends[0], ends[1]);
        assert!(between(&page, "<p class=\"quote\">", "</p>")[side].contains(&quoted));
    }
    // Each exact number of a table is one of the reports or of the comparison, by its column's name.
    let mut checked = 0;
    let names = [&a, &b]
        .map(|run| run.manifest.layers.iter().map(|row| row.name.clone()).collect::<Vec<_>>());
    for figure in ["outcomes", "strip", "forest", "detectors"] {
        let table = &data["figures"][figure];
        let columns: Vec<&str> =
            table["columns"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect();
        for row in table["rows"].as_array().unwrap() {
            let cell =
                |key: &str| columns.iter().position(|column| *column == key).map(|at| &row[at]);
            for (at, key) in columns.iter().enumerate() {
                let (stem, mut side) = match key.strip_suffix("_2") {
                    Some(stem) => (stem, 1),
                    None => (*key, 0),
                };
                if row[at].is_null()
                    || [
                        "layer",
                        "run",
                        "weighting",
                        "detector",
                        "shape",
                        "macs",
                        "neurons",
                        "alarms",
                        "images",
                    ]
                    .contains(&stem)
                {
                    continue;
                }
                if let Some(run) = cell("run").and_then(Value::as_str) {
                    side = usize::from(run.contains("text-guided"));
                }
                let wanted = match cell("layer").and_then(Value::as_str) {
                    Some(layer) if stem == "delta_loss_ratio" || stem == "sdc_difference" => {
                        let of_layer = compared["rows"][0]["by_layer"].as_array().unwrap();
                        let change =
                            of_layer.iter().find(|change| change["layer"] == layer).unwrap();
                        if stem == "sdc_difference" {
                            &change["sdc"]["difference"]
                        } else {
                            &change["delta_loss"]["ratio"]
                        }
                    }
                    Some(layer) => {
                        // The baseline's fc stands beside the other's last layer, after the scale.
                        let own = names[side].iter().any(|name| name == layer);
                        let layer = match own {
                            true => layer,
                            false if layer == "fc" => "scaled",
                            false => names[side].iter().find(|name| name.ends_with(layer)).unwrap(),
                        };
                        let rates = &of(&reports[side], "none", Some(layer), None)["rates"];
                        &rates[if stem == "n" { "records" } else { stem }]
                    }
                    None => {
                        let weighting = match cell("weighting").and_then(Value::as_str) {
                            None | Some("layers alike") => "uniform",
                            Some("by neurons") => "neurons",
                            Some(_) => "macs",
                        };
                        let detector = cell("detector").and_then(Value::as_str).unwrap_or("none");
                        let rates = &of(&reports[side], detector, None, Some(weighting))["rates"];
                        &rates[if stem == "n" { "records" } else { stem }]
                    }
                };
                assert_eq!(numbers(&row[at]), numbers(wanted), "{figure}, {key}: {row}");
                checked += 1;
            }
        }
    }
    assert!(checked > 60, "{checked}");
}

/// What people see of a number is the exact one, rounded where its last digit is.
#[test]
fn cells_show_the_exact_numbers_rounded() {
    let [a, b] = runs();
    let page = page_of(&[&a, &b]);
    let data = island(&page);
    let mut checked = 0;
    for part in between(&page, "<figure id=\"figure-", "</figure>") {
        let id = part.split('"').next().unwrap();
        let head = between(part, "<thead>", "</thead>")[0];
        let headings: Vec<&str> = between(head, "<th", "</th>");
        let rows = between(between(part, "<tbody>", "</tbody>")[0], "<tr", "</tr>");
        // Some figures have other data than their table.
        let Some(exact) = data["figures"][id]["rows"].as_array() else { continue };
        assert_eq!(rows.len(), exact.len(), "{id}");
        for (row, exact) in rows.iter().zip(exact) {
            for (at, cell) in between(row, "<td", "</td>").into_iter().enumerate() {
                if !cell.starts_with(" class=\"number\"") {
                    continue;
                }
                let text = cell.split_once('>').unwrap().1;
                let factor = if headings[at].ends_with(", %") { 100.0 } else { 1.0 };
                let (shown, exact) = (shown(text), numbers(&exact[at]));
                assert_eq!(shown.len(), exact.len(), "{id}: {text}");
                for (shown, exact) in shown.iter().zip(exact) {
                    let exact = factor * exact;
                    let digit = if exact.abs() < 1e-2 && exact != 0.0 || exact.abs() >= 1e6 {
                        0.006f64.max(0.01 * exact.abs())
                    } else {
                        0.005001
                    };
                    assert!((shown - exact).abs() <= digit, "{id}: {text} is {exact}");
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 100, "{checked}");
}

/// The only script that runs is the page's own, by its hash.
fn is_safe(page: &str) {
    let scripts = between(page, "<script", "</script>");
    assert_eq!(scripts.len(), 2, "scripts of another");
    let own = scripts[1].strip_prefix('>').unwrap();
    let policy = between(page, "script-src 'sha256-", "'")[0];
    let hash = Sha256::digest(own);
    let bytes: Vec<u8> = decode(policy);
    assert_eq!(bytes, hash.as_slice(), "the policy doesn't know the page's own script");
    for way in ["<script>alert", "<img", "javascript:", "onload=", "http-equiv=\"refresh", "src="] {
        assert!(!page.contains(way), "{way}");
    }
    // Addresses of names of formats aren't asked for.
    let addresses =
        page.matches("http").count() - page.matches("http://www.w3.org/2000/svg").count();
    assert_eq!(addresses, page.matches("http-equiv").count());
}

/// Base64, slowly.
fn decode(text: &str) -> Vec<u8> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let bits: Vec<u8> = text
        .trim_end_matches('=')
        .bytes()
        .flat_map(|c| (0..6).rev().map(move |bit| value(c) >> bit & 1))
        .collect();
    bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |all, bit| all << 1 | bit)).collect()
}

#[test]
fn what_files_hold_is_text() {
    let [mut a, _] = runs();
    is_safe(&page_of(&[&a]));
    let evil = [
        "<script>alert(1)</script>",
        "</script><script>alert(2)</script>",
        "\"><img src=x onerror=alert(3)>",
        "<!--<script>",
    ];
    for (layer, name) in a.manifest.layers.iter_mut().zip(evil) {
        layer.name = name.into();
        layer.pair_key = name.into();
    }
    a.manifest.setting.provenance.model = "</title><script>alert(4)</script>".into();
    a.manifest.setting.device = "'; alert(5)".into();
    a.manifest.plan.layers = Some(vec!["</pre><script>alert(6)</script>".into()]);
    let page = page_of(&[&a]);
    let scripts = between(&page, "<script", "</script>");
    assert_eq!(scripts.len(), 2);
    assert!(!page.contains("<img"));
    // All of it is there to be read.
    assert_eq!(island(&page)["layers"][0], evil[0]);
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    for figure in
        figures(&Subject::new(&[&a], Pairing::Paired, &Intervals::default()).unwrap()).unwrap()
    {
        for (name, text) in figure.files() {
            assert!(!name.ends_with("svg") || !text.contains("<script"), "{name}");
        }
    }
}

#[test]
fn whatever_ran_has_a_page() {
    let bench = Bench::new(GUIDED);
    let run = |plan: Plan| bench.run(plan);
    let mut cases: Vec<(&str, Run)> = vec![
        ("weights", run(Plan { site: Site::Weight, ..Plan::new(1, 8) })),
        (
            "inputs",
            run(Plan { site: Site::Input, detectors: vec![Detector::None], ..Plan::new(1, 8) }),
        ),
        ("several values", run(Plan { flips: Flips::Count(3), bits: 2, ..Plan::new(1, 8) })),
        ("range alone", run(Plan { detectors: vec![Detector::Range], ..Plan::new(1, 8) })),
        ("one layer", run(Plan { layers: Some(vec!["conv1".into()]), ..Plan::new(1, 8) })),
    ];
    let whole = run(Plan::new(1, 20));
    cases.push(("one record", Run { records: whole.records[..1].to_vec(), ..whole.clone() }));
    cases.push(("no record", Run { records: Vec::new(), ..whole.clone() }));
    let mut lost = whole.clone();
    for record in &mut lost.records {
        record.golden.loss = f64::NAN;
        record.golden.p_label = f64::NAN;
        record.effect.score.loss = f64::NAN;
        record.effect.outcome = Outcome::Nonfinite;
    }
    cases.push(("nothing finite", lost));
    let mut theirs = whole.clone();
    theirs.manifest.plan.protocol = Protocol::Goldeneye;
    cases.push(("goldeneye", theirs));
    let mut listed = whole.clone();
    listed.manifest.plan.list = Some("0".repeat(64));
    cases.push(("a list", listed));
    for (name, run) in &cases {
        let page = page_of(&[run]);
        is_safe(&page);
        for word in [">NaN<", "=\"NaN", ":NaN", "=\"inf", ">inf<"] {
            assert!(!page.contains(word), "{name}: {word}");
        }
        assert_eq!(island(&page)["runs"][0]["report"], report(run), "{name}");
        assert!(page.contains("flipside inject"), "{name}");
    }
    let text = page_of(&[&cases[6].1]);
    assert!(text.contains("nothing can be said"), "{text}");
}

/// Two campaigns are refused as `compare` refuses them; more than there are colours for, too.
#[test]
fn runs_that_do_not_belong_together_have_no_page() {
    let bench = Bench::new(Head::Baseline);
    let (a, b) = (bench.run(Plan::new(1, 8)), bench.run(Plan::new(2, 8)));
    let how = Intervals::default();
    let paired = page(&[&a, &b], Pairing::Paired, &how).unwrap_err();
    let compared = compare_all(&[[&a, &b]], Pairing::Paired, &how).unwrap_err();
    assert_eq!(paired.to_string(), compared.to_string());
    page(&[&a, &b], Pairing::Unpaired, &how).unwrap();
    assert!(page(&[&a; 5], Pairing::Paired, &how).is_err());
    assert!(page(&[], Pairing::Paired, &how).is_err());
    // One campaign twice has names of its own.
    let twice = island(&page_of(&[&a, &a]));
    assert_ne!(twice["runs"][0]["name"], twice["runs"][1]["name"]);
}

/// 200,000 records in 55 layers, from those of a small network over and over.
fn large() -> Run {
    let run = Bench::new(Head::Baseline).run(Plan::new(8, 40));
    let mut large = run.clone();
    large.manifest.plan.injections = 0..1819;
    let row = |at: usize| {
        let of = &run.manifest.layers[at % run.manifest.layers.len()];
        LayerRow {
            name: format!("layer{}.{}.conv{}", at / 8, at / 3, at),
            macs: of.macs * (1 + at as u64),
            ..of.clone()
        }
    };
    large.manifest.layers = (0..55).map(row).collect();
    large.records.clear();
    for layer in 0..55 {
        let own: Vec<Record> =
            run.of(layer % run.manifest.layers.len(), Detector::None).copied().collect();
        let ranged: Vec<Record> =
            run.of(layer % run.manifest.layers.len(), Detector::Range).copied().collect();
        for n in 0..1819u64 {
            let at = (n as usize * 7 + layer) % own.len();
            large.records.extend([own[at], ranged[at]].map(|record| Record { layer, n, ..record }));
        }
    }
    large
}

#[test]
fn a_large_campaign_has_a_small_page_soon() {
    let run = large();
    assert!(run.records.len() >= 200_000);
    let start = Instant::now();
    let page = page_of(&[&run]);
    let seconds = start.elapsed().as_secs_f64();
    println!("{} bytes, {seconds:.2} s", page.len());
    assert!(page.len() <= 1_000_000, "{} bytes", page.len());
    // It takes half of 5 s on an idle core; here all tests share the cores.
    assert!(seconds <= 30.0, "{seconds} s");
    let subject = Subject::new(&[&run], Pairing::Paired, &Intervals::default()).unwrap();
    let all: Vec<Figure> = figures(&subject).unwrap();
    assert_eq!(html(&subject, &all, None), page);
}

#[test]
fn report_writes_pages_and_figures() {
    let place = Place::new();
    place.done("train --model tiny.toml --data data --quiet --epochs 8 --out trained");
    let inject = "inject --model tiny.toml --data data --injections 10 --quiet --checkpoint trained/model.safetensors";
    place.done(&format!("{inject} --out a.sqlite"));
    place.done(&format!("{inject} --seed 2 --out b.sqlite"));
    place.done(&format!("{inject} --shard 1/2 --out s.sqlite"));
    let told = place.done("report a.sqlite --html a.html --figures drawn");
    assert!(told.contains("a.html: ") && told.contains("drawn: "), "{told}");
    let page = fs::read_to_string(place.at("a.html")).unwrap();
    is_safe(&page);
    assert_eq!(island(&page)["runs"][0]["report"], place.json("report a.sqlite"));
    for end in [".svg", "-print.svg", ".csv", ".tex"] {
        let text = fs::read_to_string(place.at(&format!("drawn/outcomes{end}"))).unwrap();
        assert!(!text.is_empty() && (end != "-print.svg" || !text.contains("var(")), "{end}");
    }
    // A page says what was verified, and a store's page explains it.
    assert!(page.contains("Not verified: "));
    place.done(&format!("{inject} --out a.sqlite --resume --verify 7"));
    place.done(&format!("{inject} --out a.sqlite --resume --verify 3"));
    place.done("report a.sqlite --html v.html");
    let records = Run::open(&place.at("a.sqlite")).unwrap().records.len();
    let verified = fs::read_to_string(place.at("v.html")).unwrap();
    assert!(verified.contains(&format!("Verified: 7 of {records} records of ")));
    reading::assert_explained(&place.at("a.sqlite"));
    // An existing page is replaced.
    place.done("report a.sqlite b.sqlite --unpaired --html a.html");
    assert!(fs::read_to_string(place.at("a.html")).unwrap().contains("To repeat it"));
    place.fails("report a.sqlite b.sqlite --html x.html", 2, &["seed"]);
    place.fails("report a.sqlite b.sqlite", 2, &["--html", "flipside compare"]);
    place.fails("report a.sqlite --unpaired", 2, &["--unpaired"]);
    place.fails("report a.sqlite --unpaired --html x.html", 2, &["--unpaired"]);
    place.fails("report s.sqlite --html x.html", 1, &["s.sqlite", "shard"]);
    place.fails("report a.sqlite --html nowhere/x.html", 1, &["nowhere"]);
    for beside in ["--json", "--by bit", "--layer fc", "--format text", "--detector none"] {
        let output = place.run(&format!("report a.sqlite --html x.html {beside}"));
        assert_eq!(output.status.code(), Some(2), "{beside}");
    }
    assert!(!place.at("x.html").exists());
    // What the page tells to run is what the program takes.
    let command = between(&page, "<pre id=\"command-0\">", "</pre>")[0];
    let command: String = between(&format!(">{command}"), ">", "<").concat();
    let command = command
        .replace("CHECKPOINT", "trained/model.safetensors")
        .replace("DATA", "data")
        .replace("--out run.sqlite", "--out again.sqlite --quiet");
    // The store knows the name of a model, and not that it came from a file of one's own.
    let command =
        command.strip_prefix("flipside ").unwrap().replace("--model tiny", "--model tiny.toml");
    place.done(&command);
    place.done("export a.sqlite --out a.csv");
    place.done("export again.sqlite --out again.csv");
    assert_eq!(fs::read(place.at("a.csv")).unwrap(), fs::read(place.at("again.csv")).unwrap());
}
