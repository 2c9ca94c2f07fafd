//! The worst faults on a campaign's page: as records have them, with commands that run them again and pictures.

use std::fs;

use serde_json::Value;

use crate::cli::Place;
use crate::program::MODEL;

#[test]
fn the_worst_faults_can_be_run_again() {
    let place = Place::new();
    let mapped = format!("{MODEL}[saliency]\nlayer = \"layer2.0.relu\"\n");
    fs::write(place.at("tiny.toml"), &mapped).unwrap();
    place.done("train --model tiny.toml --data data --quiet --epochs 8 --out trained");
    let of = "--model tiny.toml --checkpoint trained/model.safetensors";
    place.done(&format!("inject {of} --data data --injections 200 --out a.sqlite --quiet"));
    place.done("export a.sqlite --out a.csv");
    place.done("report a.sqlite --html plain.html");
    let page = fs::read_to_string(place.at("plain.html")).unwrap();
    assert_eq!(page.matches("<article class=\"fault\"").count(), 20);
    assert!(!page.contains("<img"));

    // The largest ΔLoss of the records is the first one's, and its command has the campaign's answer.
    let csv = fs::read_to_string(place.at("a.csv")).unwrap();
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let column = |name: &str| header.iter().position(|of| *of == name).unwrap();
    let [detector, delta_loss, top1] = ["detector", "delta_loss", "faulty_top1"].map(column);
    let loss = |row: &Vec<&str>| row[delta_loss].parse::<f64>().unwrap_or(f64::NAN);
    let worst = lines
        .filter(|row| row[detector] == "none" && loss(row).is_finite())
        .max_by(|a, b| loss(a).total_cmp(&loss(b)))
        .unwrap();
    let first = &page[page.find("<article").unwrap()..];
    let first = &first[..first.find("</article>").unwrap()];
    let shown = match loss(&worst) {
        value if (1e-2..1e4).contains(&value) => format!("{value:.3}"),
        value => format!("{value:.2e}"),
    };
    assert!(first.contains(&format!("ΔLoss is {shown} nats")), "{first}");
    let command = &first[first.find("<pre>").unwrap() + 5..first.find("</pre>").unwrap()];
    let words = command
        .strip_prefix("flipside ")
        .unwrap()
        .replace("CHECKPOINT", "trained/model.safetensors");
    let words = words.replace("IMAGES/", "data/val/");
    let words = words.replace("--model tiny ", "--model tiny.toml ");
    let predicted: Value = place.json(&words);
    let text = predicted.to_string();
    assert!(text.contains(&format!("\"class\":{}", worst[top1])), "{text}");

    place.done(&format!(
        "report a.sqlite --html seen.html {of} --data data --class-list classes.tsv"
    ));
    let page = fs::read_to_string(place.at("seen.html")).unwrap();
    assert_eq!(page.matches("<img alt=").count(), 60);
    assert_eq!(page.matches("src=\"data:image/png;base64,").count(), 60);

    place.done("train --model tiny.toml --data data --quiet --epochs 1 --seed 4 --out other");
    for (words, code, parts) in [
        ("--checkpoint other/model.safetensors --model tiny.toml --data data", 1, "a.sqlite"),
        ("--checkpoint trained/model.safetensors --model tiny.toml", 2, "--data"),
    ] {
        place.fails(&format!("report a.sqlite --html x.html {words}"), code, &[parts]);
        assert!(!place.at("x.html").exists());
    }
    place.fails(&format!("report a.sqlite {of} --data data"), 2, &["--html"]);
    let alone = place.run("report a.sqlite --html x.html --data data");
    assert_eq!(alone.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&alone.stderr).contains("--checkpoint"));
    fs::write(place.at("tiny.toml"), MODEL).unwrap();
    let unmapped = format!("report a.sqlite --html x.html {of} --data data");
    place.fails(&unmapped, 2, &["[saliency]"]);
}
