//! `flipside study`, stopped and gone on with.

use super::*;

const STUDY: &str = "study --quiet --model tiny.toml --data data --text-features features.safetensors \
                     --class-list classes.tsv --epochs 2 --injections 20 --seeds 1";

/// The study's page has the figures of its tables, and links to one of each seed's campaigns.
fn pages(place: &Place) {
    let read = |name: &str| fs::read_to_string(place.at("out").join(name)).unwrap();
    let page = read("study.html");
    let mut cells = 0;
    for line in read("study.md").lines().filter(|line| line.contains("ΔLoss ratio,")) {
        for cell in line.split('|').map(str::trim).filter(|cell| cell.contains('[')) {
            cells += 1;
            assert!(page.contains(&format!(">{cell}</td>")), "{cell}");
        }
    }
    assert!(cells >= 6, "{cells}");
    assert!(page.contains("In short: no verdict") && page.contains("href=\"seed-1/report.html\""));
    assert!(!page.contains("<script"));
    let campaign = read("seed-1/report.html");
    assert!(campaign.contains("tiny text-guided, random rows"), "runs of a study have names");
}

/// Whatever was left of a study, it goes on to the same figures, and trains nothing twice.
#[test]
fn a_study_goes_on_from_what_there_is() {
    let place = Place::new();
    let at = |name: &str| place.at(&format!("out/seed-1/{name}"));
    let whole = place.json(&format!("{STUDY} --out out"));
    assert_eq!(whole, place.json(STUDY));
    assert!(!at("baseline/last.safetensors").exists());
    pages(&place);
    // What is refused leaves no trace: the study that is there is gone on with below.
    let other = STUDY.replace("--injections 20", "--injections 21");
    place.fails(&format!("{other} --out out"), 2, &["model.safetensors", "--resume"]);
    // As after a kill in the middle of the third model, before any injection.
    let kept = |name: &str| fs::read(at(name)).unwrap();
    let baseline = kept("baseline/model.safetensors");
    for gone in ["baseline", "random-rows", "text-rows"] {
        fs::remove_file(at(&format!("{gone}/run.sqlite"))).unwrap();
    }
    fs::remove_file(at("text-rows/model.safetensors")).unwrap();
    fs::remove_file(place.at("out/study.json")).unwrap();
    let resume = format!("{STUDY} --out out --resume");
    assert_eq!(place.json(&resume), whole);
    assert_eq!(kept("baseline/model.safetensors"), baseline);
    // As after one in the middle of a campaign: some injections are there, and nothing is counted yet.
    let connection = rusqlite::Connection::open(at("text-rows/run.sqlite")).unwrap();
    let cut =
        "DELETE FROM injections WHERE n > 7; DROP TABLE counted; UPDATE shards SET complete = 0";
    connection.execute_batch(cut).unwrap();
    drop(connection);
    assert_eq!(place.json(&resume), whole);
    // What there is must be this study's.
    let other = resume.replace("--epochs 2", "--epochs 3");
    place.fails(&other, 1, &["baseline/model.safetensors", "recipe.epochs was 2 and is 3"]);
    let other = resume.replace("--injections 20", "--injections 21");
    place.fails(&other, 1, &["asked.json", "injections a layer were 20 and are 21"]);
    let other = format!("{resume} --seed 2");
    place.fails(&other, 1, &["asked.json", "it has training seed 1, which isn't asked for"]);
    // While another process has the folder.
    let taken = fs::File::open(place.at("out/asked.json")).unwrap();
    taken.lock().unwrap();
    place.fails(&resume, 2, &["another process runs a study here"]);
    drop(taken);
    place.matrix("features.safetensors", 2, 12);
    place.fails(&resume, 1, &["random-rows/model.safetensors", "head was"]);
    assert_eq!(place.run(&format!("{STUDY} --resume")).status.code(), Some(2));
}
