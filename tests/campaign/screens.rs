//! What a terminal shows: no line wider than it, and a way to every figure; pipes get all of it as it is.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use flipside::analysis::breakdown::{By, Figures, breakdown};
use flipside::analysis::compare::{
    Pairing, PilotForecast, Wish, compare_all, compare_bits, seeds_for,
};
use flipside::number::Format;
use flipside::report::{
    FaultyAnswer, HitBy, HitValue, Injection, ModelLayer, ModelRow, Planned, Summary, Telling,
    View, compared_bits_text, compared_layers_text, comparison_text, injections_table,
    injections_text, layers_text, models_text, plan_text, run_text, study_text, summary_text,
};
use flipside::results::{Effect, FalseAlarms, FaultFree, Golden, Values};
use flipside::screen::Screen;
use flipside::statistics::{Confidence, Unit};
use flipside::study::{Contrast, ModelStart, OverSeeds, Study, StudyRow};
use strum::IntoEnumIterator;

use super::*;
use crate::program::Folder;

const WIDTHS: [usize; 5] = [60, 80, 100, 160, 300];

fn screen(width: usize) -> Screen {
    Screen { width, colour: false }
}

/// Demands that no line is wider than `width`, but a single word that is to be copied: a path, a hash.
fn fits(text: &str, width: usize) {
    for line in text.lines() {
        let is_word = !line.contains(' ');
        let length = if is_word { 0 } else { line.chars().count() };
        assert!(length <= width, "{length} characters for {width} columns:\n{line}\nof\n{text}");
    }
}

/// `text` without what only its form needs.
fn figures_of(text: &str) -> Vec<&str> {
    let words = text.split_whitespace();
    let is_figure = |word: &&str| word.chars().any(|c| c.is_ascii_digit());
    words.map(|word| word.trim_matches(['|', ',', '[', ']', ';', '.'])).filter(is_figure).collect()
}

/// A baseline's run and a text-guided model's.
fn runs() -> [Run; 2] {
    [Head::Baseline, GUIDED].map(|head| Bench::new(head).run(Plan::new(8, 60)))
}

/// A run of a network with many layers of long names: `run`'s, several times over.
fn deep(run: &Run) -> Run {
    let mut deep = run.clone();
    let layers = run.manifest.layers.len();
    for copy in 1..6 {
        for layer in &run.manifest.layers {
            let name = format!("backbone.features.{}.conv.0.0", deep.manifest.layers.len());
            deep.manifest.layers.push(flipside::results::LayerRow { name, ..layer.clone() });
        }
        let records = run.records.iter().cloned();
        deep.records
            .extend(records.map(|record| Record { layer: record.layer + copy * layers, ..record }));
    }
    deep
}

/// A study with the figures of two runs, the same for each seed.
pub(super) fn study_of(runs: &[Run; 2], seeds: &[u64]) -> Study {
    let estimate = |value: f64| Estimate { value, low: value / 2.0, high: value * 2.0 };
    let compared = compare(&runs[0], &runs[1]).unwrap();
    let row = |seed, start| StudyRow {
        seed,
        start,
        common_images: 868,
        top1_percent: estimate(43.9),
        top2diff_percent: estimate(46.47),
        sdc: estimate(0.0182),
        nonfinite: estimate(0.0069),
        delta_loss_before_scale: estimate(0.5261),
        delta_loss_after_scale: estimate(0.5262),
        delta_loss_all_layers: estimate(0.0528),
        comparison: (start != ModelStart::Baseline).then(|| compared.clone()),
        against_random_rows: (start == ModelStart::TextRows).then(|| compared.clone()),
        fault_free: Some(FaultFree {
            logit_range: Some(20.5),
            fitted_temperature: Some(1.42),
            false_alarms: Some(FalseAlarms { alarms: 3, images: 9 }),
        }),
        checkpoint: "dafa5851f02e0123".into(),
    };
    let starts = [ModelStart::Baseline, ModelStart::RandomRows, ModelStart::TextRows];
    let rows: Vec<StudyRow> =
        seeds.iter().flat_map(|seed| starts.map(|start| row(*seed, start))).collect();
    Study {
        model: "resnet_small".into(),
        image_size: 32,
        classes: 10,
        train_images: 5000,
        test_images: 1000,
        layers: 10,
        injections_per_layer: 1000,
        bits: 1,
        epochs: 6,
        seeds: seeds.to_vec(),
        data: "shapes".into(),
        synthetic: true,
        text: "hashed word and character n-grams of written descriptions, not CLIP".into(),
        contrasts: Contrast::iter().map(|contrast| OverSeeds::new(contrast, &rows)).collect(),
        rows,
    }
}

#[test]
fn a_study_says_how_many_bits_were_flipped() {
    let study = study_of(&runs(), &[1]);
    for (bits, words) in
        [(1, "strict: one flipped bit of one"), (2, "strict: 2 flipped bits of one")]
    {
        let text = study_text(&Study { bits, ..study.clone() }, View::Markdown);
        assert!(text.contains(words), "{text}");
    }
}

fn figures(run: &Run) -> Vec<Figures> {
    let detectors = [Detector::None, Detector::Range];
    breakdown(run, By::Layer, None, &detectors, &Intervals::default()).unwrap()
}

/// A plan with all that there may be in one.
fn planned() -> Planned {
    let [a, b] = [Head::Baseline, GUIDED].map(|head| Bench::new(head).run(Plan::new(8, 400)));
    let pilot = PilotForecast::of(&a, Some(&b), Pairing::Paired, Unit::Images).unwrap();
    let wish = Wish::new(0.8, Confidence::P95).unwrap();
    let effects = [1.0001, 1.2, 3.0];
    Planned {
        asked_ratio: Some(1.2),
        ratios: effects.iter().filter_map(|ratio| pilot.for_ratio(*ratio, &wish)).collect(),
        least_ratio: pilot.least_ratio(&wish),
        asked_points: Some(1.2),
        points: effects.iter().filter_map(|points| pilot.for_points(*points, &wish)).collect(),
        least_points: pilot.least_points(&wish),
        seed_spread: Some(0.3),
        seeds: effects.iter().map(|ratio| seeds_for(*ratio, 0.3, &wish)).collect(),
        pilot,
        wish,
    }
}

#[test]
fn nothing_is_wider_than_the_screen() {
    let runs = runs();
    let (study, one_seed) = (study_of(&runs, &[1, 2, 3]), study_of(&runs, &[7]));
    let how = Intervals::default();
    let compared = compare_all(&[[&runs[0], &runs[1]]], Pairing::Paired, &how).unwrap();
    let two =
        compare_all(&[[&runs[0], &runs[1]], [&runs[1], &runs[0]]], Pairing::Paired, &how).unwrap();
    let bits: Vec<_> = [[&runs[0], &runs[1]], [&runs[1], &runs[0]]]
        .into_iter()
        .zip(&two.rows)
        .map(|(pair, row)| compare_bits(pair, Pairing::Paired, &how, row).unwrap())
        .collect();
    let planned = planned();
    for width in WIDTHS {
        let view = View::Screen(screen(width));
        for run in [&runs[0], &runs[1], &deep(&runs[1])] {
            let figures = figures(run);
            fits(&run_text(run, &figures, &how, view), width);
            for store in [None, Some(PathBuf::from("a.sqlite"))] {
                let summary = Summary { store: store.as_deref(), is_shard: false };
                fits(&summary_text(run, &figures, &how, screen(width), &summary), width);
            }
        }
        // All that a page has of these is on a screen, too, in blocks.
        for (whole, shown) in [
            (study_text(&study, View::Markdown), study_text(&study, view)),
            (study_text(&one_seed, View::Markdown), study_text(&one_seed, view)),
            (comparison_text(&compared, View::Text), comparison_text(&compared, view)),
            (comparison_text(&two, View::Text), comparison_text(&two, view)),
            (compared_layers_text(&two, View::Text), compared_layers_text(&two, view)),
            (compared_bits_text(&two, &bits, View::Text), compared_bits_text(&two, &bits, view)),
            (plan_text(&planned, View::Text), plan_text(&planned, view)),
        ] {
            fits(&shown, width);
            let shown = figures_of(&shown);
            for figure in figures_of(&whole) {
                assert!(shown.contains(&figure), "{figure} is missing at {width} columns");
            }
        }
    }
}

/// An injection into a layer of a long name, of an image and of classes of long names.
fn injection() -> Injection {
    let golden = Golden::new(3, 0, vec![2.0, 1.0, 0.5]);
    let faulty = |detector, logits: Vec<f32>| {
        let effect = Effect::of(&golden, &logits);
        FaultyAnswer { detector, logits, effect }
    };
    let after = 1.5f32.to_bits() ^ 1 << 30;
    let values = Some(Values { before: 1.5f32.to_bits(), after, seen: 6.25f32.to_bits() });
    Injection {
        number: Some(7),
        layer: "backbone.features.12.conv.0.0".into(),
        image: "n04311004/ILSVRC2012_val_00005933.JPEG".into(),
        file: "imagenet/val/n04311004/ILSVRC2012_val_00005933.JPEG".into(),
        class: 0,
        is_label: true,
        hit: vec![HitBy {
            fault: "layer=features.12.conv.0.0,channel=3,row=4,column=5,bit=30".into(),
            layer: "features.12.conv.0.0".into(),
            site: "output",
            values: vec![HitValue { mask: 1 << 30, format: Format::F32, values }],
        }],
        range: Some(6.25),
        logits: golden.logits.clone(),
        loss: golden.score.loss,
        faulty: vec![
            faulty(Detector::None, vec![2.0, 1e30, f32::NAN]),
            faulty(Detector::Range, vec![2.0, 3.0, 0.5]),
        ],
    }
}

#[test]
fn an_injection_is_told_at_any_width() {
    let classes = ["steel arch bridge", "trolleybus, trolley coach, trackless trolley", "barn"];
    let classes: Vec<String> = classes.map(String::from).to_vec();
    let telling = Telling { classes: &classes, top: 5 };
    let of = |view| injections_text(&[injection()], &telling, view);
    let whole = of(View::Text);
    for part in [
        "label 0, steel arch bridge",
        "1.5 → NaN (0x3fc00000 → 0x7fc00000)",
        "bit 30 (exponent), 0 to 1",
        "from -6.25 to 6.25; the detector sets NaN to 6.25",
        "barn, logit NaN",
        "trolleybus, trolley coach, trackless trolley 68.97 %",
        "nonfinite",
        "SDC",
    ] {
        assert!(whole.contains(part), "{part} in\n{whole}");
    }
    for width in WIDTHS {
        let view = View::Screen(screen(width));
        // A fault is to be copied.
        let told = of(view);
        let others: Vec<&str> = told.lines().filter(|line| !line.starts_with("fault ")).collect();
        fits(&others.join("\n"), width);
        fits(&injections_table(&[injection(), injection()], view), width);
    }
}

#[test]
fn a_summary_has_the_network_and_the_layers_that_are_hurt_most() {
    let run = deep(&runs()[1]);
    let all = figures(&run);
    let how = Intervals::default();
    let store = PathBuf::from("kept.sqlite");
    let text = |store: Option<&PathBuf>, is_shard, width| {
        let summary = Summary { store: store.map(|path| path.as_path()), is_shard };
        summary_text(&run, &all, &how, screen(width), &summary)
    };
    let kept = text(Some(&store), false, 80);
    assert!(kept.contains("All layers: flipside report kept.sqlite\n"), "{kept}");
    assert!(text(None, false, 80).contains("--out FILE"));
    assert!(text(Some(&store), true, 80).contains("flipside merge"));
    // A table a detector: three rows of the network, then layers by falling rates of SDC.
    for table in kept.split("Detector ").skip(1) {
        let rows: Vec<&str> = table.lines().skip_while(|line| !line.starts_with('─')).collect();
        let of_network =
            |row: &&&str| row.starts_with("network, ") || row.starts_with("weighted by ");
        assert_eq!(rows.iter().filter(of_network).count(), 3, "{kept}");
        let bars = |row: &&str| row.chars().filter(|c| *c == '█').count();
        let named =
            |row: &&&str| run.manifest.layers.iter().any(|layer| row.starts_with(&layer.name));
        let of_layers = rows.iter().filter(named);
        let lengths: Vec<usize> = of_layers.map(bars).collect();
        assert_eq!(lengths.len(), 10, "{kept}");
        assert!(lengths.is_sorted_by(|a, b| a >= b), "{kept}");
    }
    assert!(kept.contains("██████████"), "the longest bar fills its place:\n{kept}");
    // The whole table stays in reach: what is left out is named.
    assert!(kept.contains("Columns left out to fit the screen: ") && kept.contains("shape"));
    assert!(!text(Some(&store), false, 300).contains("left out"));
}

#[test]
fn models_fit_the_screen() {
    let file = ModelFile::open("mobilenet_v2").unwrap();
    let model = Model::new(&file, Head::text_guided(512), 1000, 224, 0.0).unwrap();
    let (row, layers) = (ModelRow::of("mobilenet_v2", &model), ModelLayer::of(&model));
    for width in WIDTHS {
        let view = View::Screen(screen(width));
        fits(&models_text(&[row.clone(), row.clone()], view), width);
        let shown = layers_text(&row, &layers, view);
        fits(&shown, width);
        assert!(layers.iter().all(|layer| shown.contains(&layer.layer)), "{shown}");
    }
    let wide = View::Screen(screen(300));
    assert!(!layers_text(&row, &layers, wide).contains("left out"));
}

/// What a command prints on a terminal of `columns`, under util-linux's `script`; `None` where that isn't there.
fn on_terminal(folder: &Folder, columns: usize, environment: &str, words: &str) -> Option<String> {
    let version = Command::new("script").arg("--version").output().ok()?;
    if !String::from_utf8_lossy(&version.stdout).contains("util-linux") {
        return None;
    }
    let program = env!("CARGO_BIN_EXE_flipside");
    let command = format!("stty cols {columns} rows 40; {environment} '{program}' {words}");
    let mut script = Command::new("script");
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI"] {
        script.env_remove(name);
    }
    script.args(["-qec", &command, "/dev/null"]).env("TERM", "xterm");
    script.current_dir(folder.at(".")).stdin(Stdio::null());
    let output = script.output().unwrap();
    assert!(output.status.success(), "{words}: {output:?}");
    Some(String::from_utf8(output.stdout).unwrap().replace("\r\n", "\n"))
}

#[test]
fn a_terminal_has_its_width_and_colours_and_a_pipe_has_neither() {
    let folder = Folder::new();
    let words = "models resnet50";
    let Some(coloured) = on_terminal(&folder, 80, "", words) else {
        eprintln!("no script program: nothing was tried on a terminal");
        return;
    };
    assert!(coloured.contains("\u{1b}[1m"), "headings are bold:\n{coloured}");
    for environment in ["NO_COLOR=1", "TERM=dumb"] {
        let plain = on_terminal(&folder, 80, environment, words).unwrap();
        assert!(!plain.contains('\u{1b}'), "{environment}:\n{plain}");
        fits(&plain, 80);
        assert!(plain.contains("Columns left out to fit the screen"), "{plain}");
    }
    let piped = folder.done(words);
    assert!(!piped.contains('\u{1b}') && piped.starts_with("| layer "), "{piped}");
    let longest = piped.lines().map(|line| line.chars().count()).max();
    assert!(longest > Some(100) && piped.contains("accumulator sites"), "{piped}");
}
