//! From descriptions to features, files of features, and what is said of them.

use std::fs;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flipside::checkpoint::{Checkpoint, TensorView, write_safetensors};
use flipside::data::{ClassEntry, ClassList, Image8, decode};
use flipside::page::cosines_svg;
use flipside::text::average::{Averaging, class_features};
use flipside::text::hashing::NgramHasher;
use flipside::text::similarity::{Similarity, cosines};
use flipside::text::{TextFeatures, file};

use crate::program::Folder;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| name.to_string()).collect()
}

fn list(ids: &[&str]) -> ClassList {
    let entry = |id: &&str| ClassEntry { id: id.to_string(), name: format!("the {id}") };
    ClassList::from_entries(ids.iter().map(entry).collect())
}

/// Means of (3, 4), (0, 2) and of (−1, 0) alone, worked out by hand.
#[test]
fn the_order_of_averaging_is_what_the_flags_say() {
    let texts = [vec!["a", "b"], vec!["c"]];
    let vectors = |texts: &[&str]| {
        assert_eq!(texts, ["a", "b", "c"]);
        Ok(vec![3.0, 4.0, 0.0, 2.0, -1.0, 0.0])
    };
    let half = 0.5f32;
    let unit = |x: f64, y: f64| [(x / x.hypot(y)) as f32, (y / x.hypot(y)) as f32];
    for (unit_texts, unit_rows, row) in [
        (false, false, [1.5, 3.0]),
        (false, true, unit(1.5, 3.0)),
        (true, false, [0.6 * half, 1.8 * half]),
        (true, true, unit(0.3, 0.9)),
    ] {
        let averaging = Averaging { unit_texts, unit_rows };
        let features = class_features(names(&["x", "y"]), &texts, 2, averaging, vectors).unwrap();
        // Half an ulp of f32 for each rounding.
        let close = |a: f32, b: f32| (a - b).abs() <= 1e-7;
        assert!(
            close(features.rows[0], row[0]) && close(features.rows[1], row[1]),
            "{averaging:?}"
        );
        assert_eq!(features.row(1), [-1.0, 0.0]);
    }
    assert_eq!(Averaging::default(), Averaging { unit_texts: true, unit_rows: true });

    let refused = |texts: &[Vec<&str>], values: Vec<f32>| {
        let names = names(&["x", "y"]);
        let result = class_features(names, texts, 2, Averaging::default(), |_| Ok(values));
        result.unwrap_err().to_string()
    };
    let two = [vec!["a"], vec!["b", "c"]];
    assert!(refused(&two, vec![1.0; 5]).contains("5 values for 3 texts"));
    assert!(refused(&two, vec![1.0, 0.0, 1.0, 2.0, -1.0, -2.0]).contains("\"y\""));
    assert!(refused(&two, vec![f32::NAN, 0.0, 1.0, 2.0, 1.0, 2.0]).contains("\"x\""));
    assert!(refused(&[vec!["a"], vec![]], vec![1.0, 0.0]).contains("\"y\""));
}

#[test]
fn a_file_of_features_names_its_classes() {
    let folder = Folder::new();
    let path = folder.at("f.safetensors");
    let features =
        TextFeatures::from_rows(names(&["the b", "the a"]), vec![1.0, 2.0, 3.0, 4.0], 2).unwrap();
    file::save(&path, &features, &list(&["b", "a"]), &Default::default()).unwrap();
    assert_eq!(file::open(&path, None).unwrap(), features);
    assert_eq!(file::class_list(&path).unwrap(), Some(list(&["b", "a"])));
    assert_eq!(file::open(&path, Some(&list(&["b", "a"]))).unwrap(), features);
    // Rows are found by name, whatever the order of another list.
    let wanted = |ids: &[&str]| list(ids).entries().to_vec();
    let other = list(&["z", "a", "b"]);
    for given in [None, Some(&other)] {
        let rows = file::open_for(&path, given, &wanted(&["a", "b"])).unwrap().rows;
        assert_eq!(rows, [3.0, 4.0, 1.0, 2.0]);
        assert_eq!(file::open(&path, given).unwrap().rows, features.rows);
    }
    let error = file::open_for(&path, None, &wanted(&["a", "c"])).unwrap_err().to_string();
    assert!(error.contains("f.safetensors") && error.contains("class c isn't among"), "{error}");
    let error = file::open(&path, Some(&list(&["b"]))).unwrap_err().to_string();
    assert!(error.contains("the class list lacks the class a"), "{error}");
    assert!(file::save(&path, &features, &list(&["b"]), &Default::default()).is_err());

    // Lists that make no sense, by another writer.
    for classes in [
        "[]",
        "[[\"a\",\"x\"],[\"a\",\"y\"]]",
        "[[\"a\",\"x\"]]",
        "{}",
        "[[\"\",\"\"],[\"b\",\"\"]]",
    ] {
        let metadata = [("format", "flipside-text-features-1"), ("classes", classes)]
            .map(|(key, value)| (key.to_string(), value.to_string()));
        let tensor = TensorView::f32(&[2, 2], &features.rows);
        write_safetensors(&path, [("any", tensor)], &metadata.into()).unwrap();
        let error = file::open(&path, None).unwrap_err().to_string();
        assert!(error.contains("f.safetensors"), "{classes}: {error}");
    }
}

const CLASSES: &str = "0\tn1\tapple\n1\tn2\tmoon\n2\tn3\tring\n";

fn described() -> Folder {
    let folder = Folder::new();
    fs::write(folder.at("classes.tsv"), CLASSES).unwrap();
    let lines = [
        r#"{"class": "n1", "text": "a red apple on a table"}"#,
        "",
        r#"{"class": "moon", "text": "the moon at night", "note": 3}"#,
        r#"{"class": "n3", "text": "a band of gold"}"#,
        r#"{"text": "a round fruit", "class": "n1"}"#,
    ];
    fs::write(folder.at("d.jsonl"), lines.join("\n")).unwrap();
    folder
}

#[test]
fn descriptions_become_features_by_hashing() {
    let folder = described();
    let embed =
        "embed --descriptions d.jsonl --classes classes.tsv --hashing 64 --out f.safetensors";
    let output = folder.run(embed);
    assert!(output.status.success());
    let warning = String::from_utf8(output.stderr).unwrap();
    assert!(warning.contains("1 to 2 texts each"), "{warning}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("f.safetensors: 3 classes × 64 from 4 texts"), "{said}");

    let features = file::open(&folder.at("f.safetensors"), None).unwrap();
    assert_eq!(
        (features.names.as_slice(), features.width),
        (&names(&["apple", "moon", "ring"])[..], 64)
    );
    let hasher = NgramHasher::new(64).unwrap();
    let texts = [
        vec!["a red apple on a table", "a round fruit"],
        vec!["the moon at night"],
        vec!["a band of gold"],
    ];
    let expected =
        class_features(features.names.clone(), &texts, 64, Averaging::default(), |texts| {
            Ok(hasher.encode_all(texts))
        });
    assert_eq!(features, expected.unwrap());
    let facts = Checkpoint::open(&folder.at("f.safetensors")).unwrap().metadata().clone();
    assert_eq!(facts["encoder"], "hashed n-grams");
    assert_eq!(facts["averaging"], "texts normalised, averaged, normalised");
    let raw = folder.json(&format!("{embed} --raw-texts --raw-rows"));
    assert_eq!(raw["made_of"]["averaging"], "averaged");
    assert_ne!(file::open(&folder.at("f.safetensors"), None).unwrap(), features);
}

#[test]
fn descriptions_that_do_not_fit_are_refused() {
    let folder = described();
    let embed =
        "embed --descriptions d.jsonl --classes classes.tsv --hashing --quiet --out f.safetensors";
    let good = fs::read_to_string(folder.at("d.jsonl")).unwrap();
    for (text, parts) in [
        (good.replace("n3", "n9"), ["d.jsonl", "nothing about n3"]),
        (good.replace("a band of gold", " "), ["line 4", "empty"]),
        (good.replace("\"class\": \"n3\"", "\"klass\": \"n3\""), ["line 4", "`class`"]),
        (good.replace("\"a band of gold\"", "3"), ["line 4", "string"]),
        (good[..good.len() - 4].to_string(), ["line 5", "EOF"]),
    ] {
        fs::write(folder.at("d.jsonl"), text).unwrap();
        folder.fails(embed, 1, &parts);
    }
    assert!(!folder.at("f.safetensors").exists());
    // What the list lacks is left out, and said to be.
    fs::write(folder.at("d.jsonl"), format!("{good}\n{{\"class\": \"zebra\", \"text\": \"x\"}}"))
        .unwrap();
    let output = folder.run(&embed.replace(" --quiet", ""));
    assert!(output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains("zebra"));
    let classes = "--classes classes.tsv --out f.safetensors";
    for words in [
        "embed".to_string(),
        "embed --descriptions d.jsonl --hashing --out f.safetensors".into(),
        format!("embed --descriptions d.jsonl {classes}"),
        format!("embed --descriptions d.jsonl {classes} --hashing --encoder x.pth"),
        format!("embed --descriptions d.jsonl --import x.npy --hashing {classes}"),
        "embed --describe f.safetensors --out g.safetensors".into(),
    ] {
        assert_eq!(folder.run(&words).status.code(), Some(2), "{words}");
    }
    fs::write(folder.at("d.jsonl"), good).unwrap();
    folder.fails(
        &format!("embed --descriptions d.jsonl {classes} --encoder f.safetensors"),
        1,
        &["f.safetensors"],
    );
}

#[test]
fn features_from_elsewhere_are_imported_as_they_are() {
    let folder = described();
    let npy = crate::root().join("tests/fixtures/npy");
    let mut expected: Vec<f32> = (0..12).map(|i| i as f32 / 4.0 - 1.0).collect();
    for name in ["little_f2", "big_f8", "fortran", "version_3"] {
        let path = npy.join(format!("{name}.npy"));
        let import =
            format!("embed --import {} --classes classes.tsv --out f.safetensors", path.display());
        assert_eq!(folder.json(&import)["width"], 4, "{name}");
        let features = file::open(&folder.at("f.safetensors"), None).unwrap();
        assert_eq!(
            (features.rows, features.names[2].as_str()),
            (expected.clone(), "ring"),
            "{name}"
        );
    }
    for (name, part) in [("objects", "never executed"), ("vector", "matrix"), ("i1", "2 classes")] {
        let path = npy.join(format!("{name}.npy"));
        let import =
            format!("embed --import {} --classes classes.tsv --out g.safetensors", path.display());
        folder.fails(&import, 1, &[&format!("{name}.npy"), part]);
    }
    expected[4..8].fill(0.0);
    let tensor = TensorView::f32(&[3, 4], &expected);
    write_safetensors(&folder.at("zero.safetensors"), [("x", tensor)], &Default::default())
        .unwrap();
    let import = "embed --import zero.safetensors --classes classes.tsv --out g.safetensors";
    folder.fails(import, 2, &["\"moon\"", "zero"]);
    assert!(!folder.at("g.safetensors").exists());
}

#[test]
fn similarities_are_counted_and_drawn() {
    // Two alike but for their length, one at a right angle to them, one at 45° to all.
    let rows = vec![2.0, 0.0, 0.0, 3.0, 5.0, 0.0, 1.0, 1.0];
    let features = TextFeatures::from_rows(names(&["a", "b", "c", "d"]), rows, 2).unwrap();
    let similarity = Similarity::of(&features);
    let diagonal = 0.5f64.sqrt();
    assert_eq!(similarity.norms, [2f64.sqrt(), (10.0 + 2f64.sqrt()) / 4.0, 5.0]);
    let mean = (1.0 + 3.0 * diagonal) / 6.0;
    assert!((similarity.mean_cosine.unwrap() - mean).abs() < 1e-15);
    let nearest: Vec<usize> = similarity.nearest.iter().map(|pair| pair.second).collect();
    assert_eq!(nearest, [2, 3, 0, 0]);
    let near: Vec<_> = similarity.near_duplicates.iter().map(|p| (p.first, p.second)).collect();
    assert_eq!(near, [(0, 2)]);
    let closest: Vec<_> = similarity.closest(9).iter().map(|p| (p.first, p.second)).collect();
    assert_eq!(closest.len(), 3);
    assert_eq!(closest[0], (0, 2));
    let all = cosines(&features);
    let expected = [1.0, 0.0, 1.0, diagonal as f32];
    let is_near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-6;
    assert!(all.len() == 16 && all[..4].iter().zip(&expected).all(is_near), "{all:?}");
    let drawn = cosines_svg(&features).unwrap();
    let [square, bar] = pictures(&drawn).try_into().unwrap();
    assert_eq!([square.height, square.width, bar.width], [4, 4, 1]);
    // The lowest cosine is the palest, 1 the darkest; the bar runs from 1 down.
    let (palest, darkest) = ([0xff, 0xf1, 0xe2], [0x7a, 0x38, 0x03]);
    let at = |place: usize| &square.pixels[3 * place..][..3];
    assert_eq!([at(0), at(1), at(2), at(5)], [darkest, palest, darkest, darkest]);
    assert!(at(3) == at(12) && at(3) != palest && at(3) != darkest);
    assert_eq!(
        (&bar.pixels[..3], &bar.pixels[3 * (bar.height - 1)..]),
        (&darkest[..], &palest[..])
    );
    for name in ["a", "b", "c", "d"] {
        // At a row and at a column.
        assert_eq!(drawn.matches(&format!(">{name}</text>")).count(), 2, "{drawn}");
    }
    for tick in ["0.00", "0.25", "0.50", "0.75", "1.00"] {
        assert!(drawn.contains(&format!(">{tick}</text>")), "{tick}: {drawn}");
    }

    let one = TextFeatures::from_rows(names(&["a"]), vec![1.0], 1).unwrap();
    assert_eq!(Similarity::of(&one).mean_cosine, None);
    assert!(Similarity::of(&one).nearest.is_empty());
    cosines_svg(&one).unwrap();
    let hostile = names(&["<script>", "&\u{1}"]);
    let hostile = TextFeatures::from_rows(hostile, vec![1.0, 2.0], 1).unwrap();
    let drawn = cosines_svg(&hostile).unwrap();
    assert!(!drawn.contains("<script") && drawn.contains("&lt;script&gt;"), "{drawn}");
}

/// The pictures inside a drawing.
fn pictures(svg: &str) -> Vec<Image8> {
    let parts = svg.split("data:image/png;base64,").skip(1);
    let data = parts.map(|part| part.split('"').next().unwrap());
    data.map(|text| decode(&STANDARD.decode(text).unwrap(), "a drawing".as_ref()).unwrap())
        .collect()
}

/// Norms and mean cosines as PyTorch and numpy give them in f64.
#[test]
fn published_features_are_what_their_authors_published() {
    let data = crate::root().join("../shared/data");
    let data = std::env::var_os("FLIPSIDE_TEST_FEATURES").map_or(data, PathBuf::from);
    let classes = data.join("imagenet_classes.tsv");
    let folder = Folder::new();
    for (name, mean, norms, nearest) in [
        (
            "gpt3",
            0.603_028_794_872_780_4,
            [0.999_999_910, 1.000_000_001, 1.000_000_100],
            0.994_387_463,
        ),
        (
            "a-photo-of-a",
            0.598_667_040_395_227_8,
            [6.544_664_887, 8.576_283_969, 11.886_858_500],
            0.971_479_336,
        ),
    ] {
        let path = data.join(format!("text-features-imagenet-{name}.pth"));
        if !path.exists() || !classes.exists() {
            println!("skipped: there is no {}", path.display());
            continue;
        }
        let describe =
            format!("embed --describe {} --classes {}", path.display(), classes.display());
        let found = folder.json(&format!("{describe} --picture p.svg"));
        let close = |value: &serde_json::Value, wanted: f64| {
            assert!((value.as_f64().unwrap() - wanted).abs() < 1e-8, "{value}, not {wanted}");
        };
        close(&found["mean_cosine"], mean);
        for (key, wanted) in ["least", "mean", "most"].iter().zip(norms) {
            close(&found["norms"][key], wanted);
        }
        let sunglass = &found["nearest"][836];
        assert_eq!(
            (&sunglass["name"], &sunglass["other_name"]),
            (&"sunglass".into(), &"sunglasses".into())
        );
        close(&sunglass["cosine"], nearest);
        let text = folder.done(&describe);
        assert!(text.contains("mean cosine over all pairs of classes: 0.60\n"), "{text}");
        assert!(text.contains("1000 classes × 512"), "{text}");
        let drawn = std::fs::read_to_string(folder.at("p.svg")).unwrap();
        let square = pictures(&drawn).remove(0);
        assert_eq!((square.height, square.width), (1000, 1000));
        assert_eq!(drawn.matches(">sunglasses</text>").count(), 2);
    }
}
