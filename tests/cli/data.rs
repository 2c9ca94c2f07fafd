//! `flipside data`, and what data sets in other layouts than folders do in the other commands.

use flipside::data::Dataset;
use flipside::data::builtin::{Shapes, Split};

use super::*;

/// A trained model's weights.
fn weights(place: &Place, out: &str) -> Vec<HostTensor> {
    let checkpoint = Checkpoint::open(&place.at(&format!("{out}/model.safetensors"))).unwrap();
    checkpoint.iter().map(|(_, tensor)| tensor).collect()
}

#[test]
fn a_pack_trains_evaluates_and_injects_as_the_folder_does() {
    let place = Place::new();
    place.done(&format!("{TRAIN} --out folder"));
    let of = "--model tiny.toml --checkpoint folder/model.safetensors";
    let folder = place.done(&format!("inject {of} --data data --injections 20 --quiet"));
    let whole = place.done(&format!("eval {of} --data data --quiet"));
    for form in ["", "--decoded"] {
        let said = place.done(&format!("data pack data --out set.pack --quiet {form}"));
        assert!(said.contains("set.pack: 24 images (train, val)"), "{said}");
        place.done(&format!("train --model tiny.toml --data set.pack --quiet --out packed{form}"));
        assert_eq!(weights(&place, "folder"), weights(&place, &format!("packed{form}")));
        let packed = place.done(&format!("inject {of} --data set.pack --injections 20 --quiet"));
        assert_eq!(folder, packed);
        assert_eq!(whole, place.done(&format!("eval {of} --data set.pack --quiet")));
    }
    let said = place.run(&format!("eval {of} --data set.pack"));
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.contains("set.pack: read as a pack of images"), "{said}");
    place.fails(
        &format!("eval {of} --data set.pack --split test --quiet"),
        2,
        &["it has train, val"],
    );
    let mut bytes = fs::read(place.at("set.pack")).unwrap();
    bytes[100] ^= 1;
    fs::write(place.at("set.pack"), bytes).unwrap();
    place.fails(
        "train --model tiny.toml --data set.pack --quiet --out broken",
        1,
        &["set.pack", "damaged", "n0/0.png"],
    );
}

#[test]
fn a_class_list_comes_from_any_set() {
    let place = Place::new();
    assert_eq!(place.done("data list data"), "0\tn0\tn0\n1\tn1\tn1\n");
    assert!(place.done("data list data --out list.tsv").contains("2 classes"));
    place.done("data pack data --out set.pack --quiet");
    assert_eq!(place.done("data list set.pack"), fs::read_to_string(place.at("list.tsv")).unwrap());
    let questions = place.done("prompts --classes set.pack --plain");
    assert_eq!(questions, place.done("prompts --classes list.tsv --plain"));
    place.fails("data list nowhere", 1, &["nowhere"]);
    let pack = fs::read(place.at("set.pack")).unwrap();
    fs::write(place.at("cut.pack"), &pack[..pack.len() - 9]).unwrap();
    place.fails("prompts --classes cut.pack", 1, &["cut.pack", "is truncated"]);
    for words in ["list data --out data/val/n0/0.png", "pack data --out data/train/new.pack"] {
        place.fails(&format!("data {words}"), 1, &["lies in the data set that is read"]);
    }
    place.fails("data list classes.tsv", 1, &["classes.tsv", "neither a folder"]);
}

#[test]
fn the_built_in_images_are_written_as_files() {
    let place = Place::new();
    let said = place.done("data synthesize --train 40 --test 20 --out shapes --quiet");
    assert!(said.contains("shapes: 40 training and 20 test images of 10 classes"), "{said}");
    let classes = fs::read_to_string(place.at("shapes/classes.tsv")).unwrap();
    assert_eq!(classes.lines().count(), 10);
    place
        .done("train --model tiny.toml --data shapes --image-size 32 --epochs 1 --quiet --out run");
    place.done("prompts --classes shapes/classes.tsv --plain --out lines.jsonl");
    let lines = fs::read_to_string(place.at("shapes/descriptions.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 50);
    let first = flipside::data::decode_file(&place.at("shapes/test/disc/00000.png")).unwrap();
    let shapes = Shapes::new(1, Split::Test, 1);
    assert_eq!(first, shapes.image(0).unwrap());
    place.fails("data synthesize --out shapes", 2, &["shapes: is there already"]);
}

#[test]
fn images_that_cannot_be_read_end_a_run_or_are_left_out_and_named() {
    let place = Place::new();
    place.done(&format!("{TRAIN} --out whole"));
    fs::write(place.at("data/train/n0/3.png"), "no picture").unwrap();
    fs::write(place.at("data/val/n1/2.png"), "no picture").unwrap();
    place.fails(&format!("{TRAIN} --out ends"), 1, &["n0/3.png"]);
    place.fails(&format!("{TRAIN} --skip-bad 0 --out ends"), 1, &["allows for 0"]);

    let output = place.run("train --model tiny.toml --data data --skip-bad 1 --out less");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("left out: data/train/n0/3.png"), "{said}");
    assert!(said.contains("left out: data/val/n1/2.png"), "{said}");
    assert!(said.contains("11 training images, 11 validation images"), "{said}");
    let facts = Checkpoint::open(&place.at("less/model.safetensors")).unwrap();
    let facts = format!("{:?}", facts.metadata());
    assert!(facts.contains("n0/3.png") && facts.contains("n1/2.png"), "{facts}");

    let of = "--model tiny.toml --checkpoint whole/model.safetensors --data data";
    place.fails(&format!("eval {of} --quiet"), 1, &["n1/2.png"]);
    let printed = place.json(&format!("eval {of} --skip-bad 2"));
    assert_eq!((&printed["images"], &printed["skipped"]), (&11.into(), &["n1/2.png"][..].into()));
    place.done(&format!("inject {of} --injections 10 --skip-bad 1 --quiet --out a.sqlite"));
    let run = Run::open(&place.at("a.sqlite")).unwrap();
    assert_eq!(run.manifest.setting.provenance.skipped, ["n1/2.png"]);
    fs::write(place.at("data/val/n1/4.png"), "").unwrap();
    let words = ["data/val", "2 or more", "allows for 1", "n1/2.png, n1/4.png"];
    place.fails(&format!("eval {of} --skip-bad 1 --quiet"), 1, &words);
}

/// Of another split, of fewer images, of a layout that was named: what a campaign was begun with is enough to go on.
#[test]
fn a_campaign_goes_on_with_the_images_that_it_was_begun_on() {
    let place = Place::new();
    place.done(&format!("{TRAIN} --out run"));
    fs::write(place.at("data/train/n0/3.png"), "no picture").unwrap();
    let of = "--model tiny.toml --checkpoint run/model.safetensors --data data --detector none";
    let flags = "--split train --skip-bad 1 --dataset folders --quiet";
    place.done(&format!("inject {of} --injections 10 {flags} --out a.sqlite"));
    place.done("inject --resume a.sqlite --injections 20 --quiet");
    place.done(&format!("inject {of} --injections 20 {flags} --out b.sqlite"));
    let [a, b] = ["a", "b"].map(|name| Run::open(&place.at(&format!("{name}.sqlite"))).unwrap());
    assert_eq!(a.records, b.records);
    assert_eq!(a.manifest.setting.provenance, b.manifest.setting.provenance);
    assert!(a.manifest.images.iter().all(|image| image.path != "n0/3.png"));
    let config = place.done(&format!("inject {of} --injections 20 {flags} --print-config"));
    fs::write(place.at("c.toml"), config).unwrap();
    place.done("inject --config c.toml --out c.sqlite");
    assert_eq!(Run::open(&place.at("c.sqlite")).unwrap().records, b.records);
}

#[test]
fn a_set_is_told_with_what_is_wrong_in_it() {
    let place = Place::new();
    let said = place.done("data info data");
    for line in [
        "data: class folders\n",
        "train: 12 images of 2 classes, 6 a class; ",
        "  height 16, width 16 pixels\n  12 PNG, rgb\n",
        "val: 12 images",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert_eq!(place.done("data info data/val --quiet").lines().nth(1).unwrap()[..9], *"images: 1");
    // Cut off behind its header.
    let png = fs::read(place.at("data/val/n1/2.png")).unwrap();
    fs::write(place.at("data/val/n1/2.png"), &png[..60]).unwrap();
    fs::write(place.at("data/val/n1/notes.txt"), "").unwrap();
    let output = place.run("data info data --quiet --json");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, "flipside: data: 1 image can't be read\n");
    let info: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let val = &info["splits"][1];
    assert_eq!((&val["split"], &val["unreadable"][0]["path"]), (&"val".into(), &"n1/2.png".into()));
    assert!(val["passed_over"].as_str().unwrap().contains("1 .txt"), "{val}");
    place.done("data info data --quiet --headers");
}

#[test]
fn a_preview_shows_what_training_sees() {
    let place = Place::new();
    let preview = "data preview data --model tiny.toml --quiet";
    place.done(&format!("{preview} --out a.png --count 12"));
    place.done(&format!("{preview} --out b.png --count 12"));
    let [a, b] = ["a.png", "b.png"].map(|name| fs::read(place.at(name)).unwrap());
    assert_eq!(a, b);
    let sheet = flipside::data::decode_file(&place.at("a.png")).unwrap();
    assert_eq!((sheet.height, sheet.width), (3 * 18 + 2, 4 * 18 + 2));
    place.done(&format!("{preview} --out c.png --count 12 --epoch 2"));
    assert_ne!(a, fs::read(place.at("c.png")).unwrap());
    // With neither crop nor mirror an image is itself.
    place.done(&format!("{preview} --out d.png --count 1 --crop-padding 0 --hflip-prob 0"));
    let tile = flipside::data::decode_file(&place.at("d.png")).unwrap();
    let order = flipside::data::epoch_order(12, 1, 0);
    let first = format!("data/train/n{}/{}.png", order[0] / 6, order[0] % 6);
    let image = flipside::data::decode_file(&place.at(&first)).unwrap();
    let row = |y: usize| &tile.pixels[((y + 2) * 20 + 2) * 3..][..16 * 3];
    assert!((0..16).all(|y| row(y) == &image.pixels[y * 48..][..48]));
}

/// No number of threads changes what is learned of mixed images (that a stopped run goes on to it is `training`'s).
#[test]
fn mixing_trains_to_the_same_bits_on_any_number_of_threads() {
    let place = Place::new();
    let train = "train --model tiny.toml --data data --quiet --epochs 4 --batch 5 \
                 --mixup-alpha 0.2 --cutmix-alpha 1 --ra-reps 2 --label-smoothing 0.1";
    place.done(&format!("{train} --out a"));
    place.done(&format!("{train} --threads 1 --out b"));
    assert_eq!(weights(&place, "a"), weights(&place, "b"));
    place.done(&format!("{train} --ra-reps 1 --out c").replacen("--ra-reps 2 ", "", 1));
    assert_ne!(weights(&place, "a"), weights(&place, "c"));
    // Of another recipe.
    place.fails(
        &format!("{train} --resume --out a").replacen("--cutmix-alpha 1", "", 1),
        1,
        &["cutmix"],
    );
}
