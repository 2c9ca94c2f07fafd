//! `flipside reproduce`: its grid of steps, by found and by trained networks, and what is left of it resumed.

use std::path::Path;

use flipside::device::Device;
use flipside::models::{Model, ModelFile, save_state};
use flipside::nn::{HEAD_ROWS, Head};
use flipside::tape::Weights;

use super::*;
use crate::checkpoint::forge;

const SMALL: &str = "reproduce resnet_small --scale small --data data --text-features features.safetensors \
                     --template-features template.safetensors --class-list classes.tsv --image-size 16 --epochs 8 \
                     --injections 3 --quiet";

fn table(place: &Place, out: &str) -> String {
    fs::read_to_string(place.at(out).join("reproduction.md")).unwrap()
}

/// Every setting has its line, over seeds; a run that was stopped anywhere, one on a single thread and parts that are
/// copied together come to the same table.
#[test]
fn a_reproduction_goes_on_from_what_there_is() {
    let place = Place::new();
    place.matrix("template.safetensors", 2, 6);
    let reproduce = format!("{SMALL} --seeds 2");
    let printed = place.done(&format!("{reproduce} --out whole"));
    let whole = table(&place, "whole");
    assert_eq!(printed.trim_end(), whole.trim_end());
    for part in [
        "small/resnet_small, goldeneye",
        "small/resnet_small, strict",
        "rows at random",
        "rows from a template",
        "feature not normalised",
        "rows not trained",
        "no detector, NaN and Inf counted",
        "extra Linear not counted",
        "seeds 1 to 2",
        "neither confirm nor refute",
    ] {
        assert!(whole.contains(part), "{part}: {whole}");
    }
    let page = fs::read_to_string(place.at("whole/reproduction.html")).unwrap();
    for part in
        ["Last layer, network by network", "What the gain is made of", "data:image/svg+xml;base64,"]
    {
        assert!(page.contains(part), "{part}");
    }
    let at = |name: &str| place.at(&format!("whole/small/resnet_small/seed-1/{name}"));
    assert!(!at("baseline/last.safetensors").exists());
    // As after a kill in a training, in a campaign, and before the table.
    let json = fs::read(place.at("whole/reproduction.json")).unwrap();
    fs::remove_dir_all(at("frozen-rows")).unwrap();
    for gone in ["frozen-rows.ablation.sqlite", "text-guided.goldeneye.sqlite"] {
        fs::remove_file(at(gone)).unwrap();
    }
    let connection = rusqlite::Connection::open(at("baseline.strict.sqlite")).unwrap();
    let cut =
        "DELETE FROM injections WHERE n > 1; DROP TABLE counted; UPDATE shards SET complete = 0";
    connection.execute_batch(cut).unwrap();
    drop(connection);
    fs::remove_file(place.at("whole/reproduction.md")).unwrap();
    let kept = fs::read(at("baseline/model.safetensors")).unwrap();
    place.done(&format!("{reproduce} --out whole --threads 1"));
    assert_eq!(table(&place, "whole"), whole);
    assert_eq!(fs::read(place.at("whole/reproduction.json")).unwrap(), json);
    assert_eq!(fs::read(at("baseline/model.safetensors")).unwrap(), kept);
    // A step is a run like any other.
    place.done("rerun whole/small/resnet_small/seed-1/baseline.strict.sqlite --quiet");
    place.done("rerun whole/small/resnet_small/seed-2/unnormalized --quiet");
    let output = place.run("rerun whole --quiet");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("name one of its steps"), "{said}");
    // Parts on two machines, whose folders are copied into one.
    for part in ["1/2", "2/2"] {
        let out = format!("part-{}", &part[..1]);
        place.done(&format!("{reproduce} --threads 1 --out {out} --shard {part}"));
    }
    let seed = "small/resnet_small/seed-2";
    assert!(!place.at("part-1").join(seed).exists());
    copy(&place.at("part-2").join(seed), &place.at("part-1").join(seed));
    // Pictures name files.
    let plan = place.json(&format!("{reproduce} --out part-1 --plan"));
    let steps =
        plan["blocks"].as_array().unwrap().iter().flat_map(|of| of["steps"].as_array().unwrap());
    assert!(steps.clone().count() > 20 && steps.into_iter().all(|step| step["is_done"] == true));
    place.done(&format!("{reproduce} --out part-1"));
    assert_eq!(table(&place, "part-1"), whole);
    // What differs isn't mixed.
    let other = reproduce.replace("--injections 3", "--injections 4");
    place.fails(
        &format!("{other} --out whole"),
        2,
        &["--injections was 3 and is 4", "another --out"],
    );
    // While another process has a seed, the rest is done.
    fs::remove_file(at("text-guided.goldeneye.sqlite")).unwrap();
    let taken = fs::File::open(at(".lock")).unwrap();
    taken.lock().unwrap();
    place.fails(
        &format!("{reproduce} --out whole"),
        1,
        &["another process still works on small/resnet_small, seed 1"],
    );
    drop(taken);
    place.done(&format!("{reproduce} --out whole"));
    assert_eq!(table(&place, "whole"), whole);
    // Neither are stores of another seed, or on other data.
    let store = at("baseline.strict.sqlite");
    let kept = fs::read(&store).unwrap();
    fs::copy(place.at("whole/small/resnet_small/seed-2/baseline.strict.sqlite"), &store).unwrap();
    let fails = |parts: &[&str]| place.fails(&format!("{reproduce} --out whole"), 1, parts);
    fails(&[
        "seed-1/baseline.strict.sqlite: isn't this step's: its seed is 2, not 1",
        "not in the table",
    ]);
    assert!(table(&place, "whole").contains("- Left out: whole/small/resnet_small/seed-1"));
    fs::write(&store, kept).unwrap();
    fs::remove_file(at("text-guided.goldeneye.sqlite")).unwrap();
    let image = place.at("data/val/n0/0.png");
    let pixels = fs::read(&image).unwrap();
    fs::remove_file(&image).unwrap();
    fails(&[
        "seed-1/text-guided.goldeneye.sqlite: its data isn't that of whole/",
        "not in the table",
    ]);
    fs::write(&image, pixels).unwrap();
    fs::remove_file(at("text-guided.goldeneye.sqlite")).unwrap();
    place.done(&format!("{reproduce} --out whole"));
    assert_eq!(table(&place, "whole"), whole);
    // A store that is none is named.
    fs::write(at("text-guided.goldeneye.sqlite"), "no store").unwrap();
    place.fails(&format!("{reproduce} --out whole"), 1, &["text-guided.goldeneye.sqlite"]);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => fs::copy(entry.path(), to).map(|_| ()).unwrap(),
        }
    }
}

/// Random weights of a model, but that every image is one of class 0.
fn network(name: &str, head: Head) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let file = ModelFile::open(name).unwrap();
    let model = Model::new(&file, head, 10, file.input.size, 0.0).unwrap();
    let mut weights = Weights::new(&model.tape, &Device::cpu(), false).unwrap();
    weights.initialize(1).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    save_state(&path, &model, name, &weights).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    let mut state: Vec<(String, Vec<usize>, Vec<f32>)> = Vec::new();
    for name in checkpoint.keys() {
        let shape = checkpoint.shape(name).unwrap().to_vec();
        let values = checkpoint.f32(name, &shape).unwrap();
        state.push((name.into(), shape, values));
    }
    let last = state.iter().map(|(name, ..)| name).rev().find(|name| name.ends_with(".bias"));
    let bias = last.unwrap().clone();
    for (name, shape, values) in &mut state {
        if *name == bias {
            values.fill(0.0);
            values[0] = 50.0;
        }
        if name == HEAD_ROWS {
            (0..shape[0])
                .for_each(|row| values[row * shape[1]] = if row == 0 { 1.0 } else { -1.0 });
        }
    }
    state
}

/// Checkpoints under published names, random weights, ten classes: two rows of ImageNet from end to end.
#[test]
fn a_zoo_of_published_names_runs_the_grid() {
    let place = Place::new();
    for split in ["train", "val"] {
        for class in 0..10usize {
            let folder = place.at("ten").join(split).join(format!("n{class:02}"));
            fs::create_dir_all(&folder).unwrap();
            // Class 0 is what the networks answer: some of its images are in the protocol's fifth.
            for number in 0..if class == 0 { 12usize } else { 1 } {
                write_square(&folder.join(format!("{number}.png")), |x, y| {
                    [(x * 16) as u8, (y * 16) as u8, (class * 20 + number) as u8]
                });
            }
        }
    }
    // What is to be put where is said of each row.
    fs::create_dir(place.at("zoo")).unwrap();
    let rows = "reproduce alexnet mobilenet_v2 --checkpoints zoo --out out";
    let plan = place.done(&format!("{rows} --plan --range-images 2 --injections 1"));
    for part in [
        "imagenet/alexnet, seed 1: can't be run",
        "data: say --data imagenet=DIR",
        "alexnet-owt-7be5be79.pth",
        "mobilenet_v2-b0353104.pth",
        "mobilenet_v2_clip.pth",
        "flipside inject",
    ] {
        assert!(plan.contains(part), "{part}: {plan}");
    }
    assert!(!place.at("out").exists());
    place.fails(&format!("{rows} --quiet"), 2, &["every row lacks something", "imagenet/alexnet"]);
    let guided = Head::TextGuided { width: 16, normalized: true };
    for (model, file) in
        [("alexnet", "alexnet-owt-7be5be79.pth"), ("mobilenet_v2", "mobilenet_v2-b0353104.pth")]
    {
        let write = |path: &str, head| {
            fs::write(place.at("zoo").join(path), forge::state_dict(&network(model, head)))
                .unwrap();
        };
        write(file, Head::Baseline);
        write(&format!("{model}_clip.pth"), guided);
    }
    let run = "--data imagenet=ten --injections 2 --range-images 4 --quiet --no-html";
    let printed = place.done(&format!("{rows} {run}"));
    for part in [
        "imagenet/alexnet, goldeneye",
        "imagenet/mobilenet_v2, strict",
        "56.43 → 57.28",
        "2 of 12",
        "imagenet/mobilenet_v2, strict, seed 1",
    ] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    let found: serde_json::Value =
        serde_json::from_slice(&fs::read(place.at("out/reproduction.json")).unwrap()).unwrap();
    let lines = found["rows"][1]["lines"].as_array().unwrap();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["protocol"], "goldeneye");
    assert!(lines[0]["last_layer"].is_null() && !lines[1]["last_layer"].is_null());
    assert_eq!(found["means"].as_array().unwrap().len(), 6);
    // Nothing is done twice.
    let before =
        fs::metadata(place.at("out/imagenet/alexnet/seed-1/baseline.strict.sqlite")).unwrap();
    assert_eq!(place.done(&format!("{rows} {run}")), printed);
    let after =
        fs::metadata(place.at("out/imagenet/alexnet/seed-1/baseline.strict.sqlite")).unwrap();
    assert_eq!(before.modified().unwrap(), after.modified().unwrap());
    // A row that lacks a network is left out, and said to be.
    fs::remove_file(place.at("zoo/mobilenet_v2_clip.pth")).unwrap();
    let output = place.run(&format!(
        "{} {}",
        rows.replace("--out out", "--out fresh"),
        run.replace("--quiet", "")
    ));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success()
            && said
                .contains("imagenet/mobilenet_v2, seed 1: left out, lacks: text-guided checkpoint"),
        "{said}"
    );
    // One whose weights are damaged fails, and the others don't.
    fs::write(place.at("zoo/mobilenet_v2_clip.pth"), "no checkpoint").unwrap();
    let output = place.run(&format!("{} {run}", rows.replace("--out out", "--out fresh")));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    for part in
        ["mobilenet_v2_clip.pth", "not all steps could be taken: imagenet/mobilenet_v2, seed 1"]
    {
        assert!(output.status.code() == Some(1) && said.contains(part), "{said}");
    }
}
