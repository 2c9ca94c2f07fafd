//! The text-guided head without the normalisation of its feature: trained, resumed, read again, injected into and
//! compared, and never taken for the published form.

use super::*;

const ABLATED: &str = "--random-rows 6 --unnormalized";

/// Writes a checkpoint again, with this word on its head, or none.
fn renamed(place: &Place, from: &str, to: &str, head: Option<&str>) {
    let checkpoint = Checkpoint::open(&place.at(from)).unwrap();
    let mut metadata = checkpoint.metadata().clone();
    match head {
        Some(head) => metadata.insert("flipside.head".into(), head.into()),
        None => metadata.remove("flipside.head"),
    };
    let tensors: Vec<_> = checkpoint.iter().collect();
    let views = tensors.iter().map(|(name, tensor)| (name.to_string(), TensorView::from(tensor)));
    write_safetensors(&place.at(to), views, &metadata).unwrap();
}

fn head_of(place: &Place, file: &str) -> String {
    Checkpoint::open(&place.at(file)).unwrap().metadata()["flipside.head"].clone()
}

/// What a command says beside its result.
fn told(place: &Place, words: &str) -> String {
    let output = place.run(words);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{words}: {text}");
    text
}

#[test]
fn a_head_without_normalisation_is_trained_read_and_broken_as_itself() {
    let place = Place::new();
    let text = told(
        &place,
        &format!("train --model tiny.toml --data data {ABLATED} --epochs 8 --out ablated"),
    );
    assert!(text.contains("model: tiny, text-guided 6 unnormalized, 16×16 pixels"), "{text}");
    for name in ["model", "best", "last"] {
        let file = format!("ablated/{name}.safetensors");
        assert_eq!(head_of(&place, &file), "text-guided 6 unnormalized", "{name}");
    }
    place.done(&format!("{TRAIN} --random-rows 6 --epochs 8 --out guided"));
    place.done(&format!("{TRAIN} --epochs 8 --out baseline"));
    place.done(&format!(
        "{TRAIN} --text-features features.safetensors --class-list classes.tsv --unnormalized --out text"
    ));
    assert_eq!(head_of(&place, "text/model.safetensors"), "text-guided 8 unnormalized");
    place.fails(
        &format!("{TRAIN} --unnormalized --out no"),
        2,
        &["--unnormalized", "--random-rows"],
    );
    assert!(!place.at("no").exists());

    // The same weights in the other form answer otherwise.
    let of = "--checkpoint ablated/model.safetensors --model tiny.toml";
    renamed(&place, "ablated/model.safetensors", "bare.safetensors", None);
    let logits = |file: &str, fault: &str| {
        let pixels: Vec<f32> = (0..3 * 256).map(|i| (i % 23) as f32 / 11.0 - 1.0).collect();
        let tensor = TensorView::f32(&[1, 3, 16, 16], &pixels);
        write_safetensors(&place.at("x.safetensors"), [("input", tensor)], &Default::default())
            .unwrap();
        place.done(&format!(
            "predict --model tiny.toml --checkpoint {file} --input x.safetensors --logits y.safetensors {fault}"
        ));
        Checkpoint::open(&place.at("y.safetensors")).unwrap().f32("logits", &[1, 2]).unwrap()
    };
    let own = logits("ablated/model.safetensors", "");
    assert_ne!(own, logits("bare.safetensors", ""));
    assert_eq!(own, logits("ablated/model.safetensors", "--device emulated"));
    let hit = logits("ablated/model.safetensors", "--fault layer=scaled,channel=1,bit=31");
    assert_eq!(hit, [own[0], -own[1]]);

    // What is converted stays what it is.
    let converted = place.json(&format!("convert {of} --out again.safetensors"));
    assert_eq!(converted["head"], "text-guided 6 unnormalized");
    assert_eq!(head_of(&place, "again.safetensors"), "text-guided 6 unnormalized");
    assert_eq!(own, logits("again.safetensors", ""));

    // Every kind of campaign, and comparisons over the same places.
    let inject = |name: &str, other: &str, flags: &str| {
        place.json(&format!(
            "inject --checkpoint {name}/model.safetensors --model tiny.toml --data data --injections 60 --quiet \
             --right-in {other}/model.safetensors --verify 20 --out {name}.sqlite {flags}"
        ))
    };
    inject("baseline", "ablated", "");
    let run = inject("ablated", "baseline", "");
    assert_eq!(run["head"], "text-guided unnormalized");
    inject("guided", "baseline", "");
    let compared = place.json("compare baseline.sqlite ablated.sqlite");
    let row = &compared["rows"][0];
    let ratio = |figure: &str| row[figure]["ratio"]["value"].as_f64();
    assert!(ratio("last_layer").is_some_and(|ratio| ratio > 0.0), "{row}");
    assert!(ratio("last_layer_before_scale").is_some_and(|ratio| ratio > 0.0), "{row}");
    assert_eq!(row["models"][1], "tiny text-guided unnormalized");
    let text = place.done("compare baseline.sqlite ablated.sqlite guided.sqlite");
    assert!(text.contains("tiny text-guided unnormalized"), "{text}");
    let census = format!("inject {of} --data data --labels golden --quiet --images 2 --verify 50");
    for population in ["last-layer", "last-layer-weights", "last-layer-features"] {
        place.done(&format!("{census} --exhaustive {population}"));
    }
    place.done(&format!("inject {of} --data data --injections 20 --quiet --protocol goldeneye"));
    let table = place.done("report ablated.sqlite");
    assert!(table.contains("text-guided unnormalized"), "{table}");
    place.done("report ablated.sqlite baseline.sqlite --html page.html");
    place.fails(
        &format!(
            "visualize {of} data/val/n0/0.png --fault layer=conv1,channel=0,row=1,column=1,bit=30 \
             --layer layer2.0.relu --target cosine:label --out maps"
        ),
        2,
        &["cosine", "normalised"],
    );
}

#[test]
fn a_run_keeps_the_form_of_its_head() {
    let place = Place::new();
    place.done(&format!("{TRAIN} {ABLATED} --epochs 2 --seed 3 --out whole"));
    place.done(&format!("{TRAIN} {ABLATED} --epochs 2 --seed 3 --out again"));
    // A run's own folder says which form it is of, and other flags are another run's.
    place.done("train --resume --out again");
    let bytes = |out: &str| fs::read(place.at(&format!("{out}/model.safetensors"))).unwrap();
    assert!(bytes("whole") == bytes("again"));
    place.fails(
        &format!("{TRAIN} --random-rows 6 --epochs 2 --seed 3 --out again --resume"),
        1,
        &["head was \"text-guided 6 unnormalized\" and is \"text-guided 6\""],
    );
    place.done("rerun whole");
    // Another checkpoint's head is taken where it is of the same form, and left out where it isn't.
    place.done(&format!("{TRAIN} --random-rows 6 --out guided"));
    let begin = |from: &str, words: &str, out: &str| {
        let train = "train --model tiny.toml --data data --epochs 1 --lr 1e-30";
        told(&place, &format!("{train} --init {from}/model.safetensors {words} --out {out}"))
    };
    let left = "fc.bias, backbone.fc.weight, head.weight, logit_scale";
    let text = begin("guided", ABLATED, "other");
    let why = "since its head is text-guided 6, not text-guided 6 unnormalized: backbone.";
    assert!(text.contains(&format!("left out, {why}{left}")), "{text}");
    let text = begin("whole", "--random-rows 6", "published");
    let why = "since its head is text-guided 6 unnormalized, not text-guided 6: backbone.";
    assert!(text.contains(&format!("left out, {why}{left}")), "{text}");
    let text = begin("whole", ABLATED, "same");
    assert!(!text.contains("left out"), "{text}");
}

#[test]
fn a_word_on_the_head_that_isnt_so_is_refused() {
    let place = Place::new();
    place.done(&format!("{TRAIN} {ABLATED} --out ablated"));
    place.done(&format!("{TRAIN} --out baseline"));
    let from = "ablated/model.safetensors";
    for (says, of) in [
        ("baseline", from),
        ("text-guided 5 unnormalized", from),
        ("text-guided 6 denormalized", from),
        ("text-guided 6 unnormalized", "baseline/model.safetensors"),
    ] {
        renamed(&place, of, "tampered.safetensors", Some(says));
        let parts = ["tampered.safetensors", says, "its last layer is that of "];
        place.fails(
            "eval --checkpoint tampered.safetensors --model tiny.toml --data data/val",
            1,
            &parts,
        );
        let begin = format!("{TRAIN} {ABLATED} --init tampered.safetensors --out no");
        place.fails(&begin, 1, &parts);
    }
    assert!(!place.at("no/model.safetensors").exists());
}
