//! Folders where files are named, broken pictures among others, a data set's folder for a split or for its classes, and
//! the drawing of cosines.

use super::*;

const OF: &str = "--model tiny.toml --checkpoint run/model.safetensors";

fn broken() -> Place {
    let place = Place::new();
    place.done(&format!("{TRAIN} --out run"));
    let folder = place.at("pictures/deep");
    fs::create_dir_all(&folder).unwrap();
    for (from, to) in [("n0/0.png", "a.png"), ("n1/0.png", "deep/c.png"), ("n1/1.png", "z.png")] {
        fs::copy(place.at("data/val").join(from), place.at("pictures").join(to)).unwrap();
    }
    fs::write(place.at("pictures/b.jpg"), "no picture").unwrap();
    fs::write(place.at("pictures/deep/notes.txt"), "passed over").unwrap();
    place
}

#[test]
fn predict_goes_on_past_broken_pictures_and_fails_at_the_end() {
    let place = broken();
    let whole = ["pictures/a.png", "pictures/deep/c.png", "pictures/z.png"];
    let alone = place.done(&format!("predict {OF} {}", whole.join(" ")));
    let output = place.run(&format!("predict {OF} pictures"));
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stdout).unwrap()), (Some(1), alone));
    assert!(error.contains("passed over 1 .txt"), "{error}");
    assert!(error.contains("flipside: pictures/b.jpg: is neither a JPEG nor a PNG"), "{error}");
    assert!(error.ends_with("flipside: 1 of 4 images can't be read\n"), "{error}");
    // It is told whatever is quiet; a file that isn't there is one that can't be read.
    let output =
        place.run(&format!("predict {OF} --quiet pictures/b.jpg nowhere.png pictures/a.png"));
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("nowhere.png: ") && error.contains("2 of 3 images"), "{error}");

    // In JSON each image has its place.
    let output = place.run(&format!("predict {OF} --json pictures"));
    assert_eq!(output.status.code(), Some(1));
    let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let names: Vec<&str> =
        rows.as_array().unwrap().iter().map(|row| row["image"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        ["pictures/a.png", "pictures/b.jpg", "pictures/deep/c.png", "pictures/z.png"]
    );
    assert!(rows[1]["error"].as_str().unwrap().contains("pictures/b.jpg"), "{rows}");
    assert!(rows[1].get("top").is_none() && rows[0].get("error").is_none(), "{rows}");
    // Logits have no names.
    let words = format!("predict {OF} --quiet --logits no.safetensors");
    place.fails(&format!("{words} pictures"), 2, &["--logits", "1 of 4", "pictures/b.jpg"]);
    assert!(!place.at("no.safetensors").exists());
    place.fails(
        &format!("predict {OF} run"),
        1,
        &["run: holds no .jpg, .jpeg, .png, .webp, .bmp or .gif file"],
    );
}

/// `image` counts the pictures as they were given.
#[test]
fn a_fault_hits_the_picture_that_was_named() {
    let place = broken();
    let predict = |words: &str| {
        let output = place.run(&format!("predict {OF} --json {words}"));
        let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        rows.as_array().unwrap().iter().map(|row| row["top"].clone()).collect::<Vec<_>>()
    };
    let clean = predict("pictures");
    let hit = predict("pictures --fault layer=fc,image=2,channel=0,bit=30");
    let changed: Vec<usize> = (0..4).filter(|image| clean[*image] != hit[*image]).collect();
    assert_eq!(changed, [2]);
    let alone = predict("pictures/deep/c.png --fault layer=fc,channel=0,bit=30");
    assert_eq!(alone[0], hit[2]);
    let words = format!("predict {OF} pictures --quiet --fault layer=fc,channel=0,bit=30,image");
    place.fails(&format!("{words}=1"), 2, &["image=1 can't be read: pictures/b.jpg"]);
    place.fails(&format!("{words}=4"), 2, &["image=4", "4 images"]);
}

/// More pictures than fit a batch have the answers that each has alone.
#[test]
fn pictures_go_through_in_batches() {
    let place = broken();
    let many: Vec<String> = (0..37).map(|i| format!("data/val/n{}/{}.png", i % 2, i % 6)).collect();
    let rows = place.json(&format!("predict {OF} {}", many.join(" ")));
    for name in &many[..12] {
        let alone = place.json(&format!("predict {OF} {name}"));
        let same = rows.as_array().unwrap().iter().filter(|row| row["image"] == name.as_str());
        assert!(same.clone().count() >= 3);
        same.for_each(|row| assert_eq!(*row, alone[0]));
    }
}

#[test]
fn a_data_set_s_folder_stands_for_its_held_out_split() {
    let place = broken();
    let val = place.json(&format!("eval {OF} --data data/val --quiet"));
    let output = place.run(&format!("eval {OF} --data data --json"));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && error.contains("data: evaluating data/val\n"), "{error}");
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap(), val);
}

#[test]
fn class_folders_stand_for_a_list_of_classes() {
    let place = Place::new();
    for class in ["red_fox", "sunglass"] {
        fs::create_dir_all(place.at("animals/train").join(class)).unwrap();
    }
    fs::write(place.at("list.tsv"), "0\tred_fox\tred fox\n1\tsunglass\tsunglass\n").unwrap();
    for plain in ["", "--plain"] {
        let by_list = place.done(&format!("prompts --classes list.tsv {plain}"));
        assert!(by_list.contains("red fox"), "{by_list}");
        for folder in ["animals", "animals/train"] {
            assert_eq!(place.done(&format!("prompts --classes {folder} {plain}")), by_list);
        }
    }
    let output = place.run("prompts --classes data --plain --out sentences.jsonl");
    assert!(output.status.success() && output.stderr.is_empty());
    place.done(
        "embed --descriptions sentences.jsonl --classes data --hashing 8 --out f.safetensors",
    );
    place.done(&format!("{TRAIN} --text-features f.safetensors --out guided"));
    fs::create_dir_all(place.at("wordnet/n01440764")).unwrap();
    let output = place.run("prompts --classes wordnet");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && error.contains("n01440764 looks like a WordNet id"),
        "{error}"
    );
    place.fails("prompts --classes data/val/n0", 1, &["data/val/n0: holds no class folders"]);
}

#[test]
fn a_file_says_what_it_knows_of_its_images() {
    let place = broken();
    let text = place.done(&format!("convert {OF} --out same.safetensors"));
    for line in [
        "images: shorter side to 16 (bilinear), centre 16×16, mean [0.5, 0.5, 0.5], deviation [0.25, 0.25, 0.25]\n",
        "classes: n0, n1\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    place.done(&format!("{TRAIN} --image-size 24 --out larger"));
    let larger = "--model tiny.toml --checkpoint larger/model.safetensors";
    let json = place.json(&format!("convert {larger} --out larger.safetensors"));
    assert_eq!(json["image_size"], 24);
    assert_eq!(json["class_names"][1], serde_json::json!(["n1", "n1"]));
    assert_eq!(json["input"]["mean"], serde_json::json!([0.5, 0.5, 0.5]));
    // What the file says holds, and the flag, with a word on it.
    let eval = |flags: &str| {
        let output = place.run(&format!("eval {larger} --data data/val --json {flags}"));
        (output.stdout, String::from_utf8(output.stderr).unwrap())
    };
    let (own, error) = eval("");
    assert!(!error.contains("larger/model"), "{error}");
    assert_eq!(eval("--image-size 24").0, own);
    let (flagged, error) = eval("--image-size 16");
    assert_ne!(flagged, own);
    assert!(error.contains("made for 24×24 pixels, run at 16 (--image-size)"), "{error}");
}
