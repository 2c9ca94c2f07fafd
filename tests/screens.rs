//! What a terminal shows: no line wider than it, and a way to every figure; pipes get all of it as it is.

use std::path::PathBuf;
use std::process::Command;

use flipside::analysis::Intervals;
use flipside::analysis::breakdown::{By, Figures, breakdown};
use flipside::analysis::compare::{Pairing, compare_all};
use flipside::detector::Detector;
use flipside::device::Device;
use flipside::models::{Model, ModelFile};
use flipside::nn::Head;
use flipside::progress::Silent;
use flipside::recipe::{Recipe, Schedule};
use flipside::report::{
    LayerRow, ModelRow, Summary, View, comparison_text, layers_text, models_text, run_text,
    study_text, summary_text,
};
use flipside::results::Run;
use flipside::screen::Screen;
use flipside::study::{self, Inputs, Options, Study};

use crate::program::Folder;

const WIDTHS: [usize; 5] = [60, 80, 100, 160, 300];

fn screen(width: usize) -> Screen {
    Screen { width, colour: false }
}

/// Demands that no line is wider than `width`.
fn fits(text: &str, width: usize) {
    for line in text.lines() {
        let length = line.chars().count();
        assert!(length <= width, "{length} characters for {width} columns:\n{line}\nof\n{text}");
    }
}

/// `text` without what only its form needs.
fn figures_of(text: &str) -> Vec<&str> {
    let words = text.split_whitespace();
    let is_figure = |word: &&str| word.chars().any(|c| c.is_ascii_digit());
    words.map(|word| word.trim_matches(['|', ',', '[', ']', ';', '.'])).filter(is_figure).collect()
}

/// The stores and the study of `resnet_small`, after an epoch on a few built-in images.
fn small_study(folder: &Folder) -> (Study, [Run; 2]) {
    let file = ModelFile::open("resnet_small").unwrap();
    let inputs = Inputs::builtin(&file, 1, [200, 60]).unwrap();
    let recipe = Recipe::new(1, 50, 0.1, Schedule::Cosine { minimum: 0.0 });
    let out = folder.at("study");
    let options = Options {
        file,
        recipe,
        seed: 1,
        injections: 20,
        bits: 1,
        batch: 50,
        folder: Some(out.clone()),
    };
    let (study, _) = study::run(&options, &inputs, &Device::cpu(), &Silent).unwrap();
    let run = |name: &str| Run::open(&out.join(name).join("run.sqlite")).unwrap();
    (study, [run("baseline"), run("text-rows")])
}

fn figures(run: &Run) -> Vec<Figures> {
    let detectors = [Detector::None, Detector::Range];
    breakdown(run, By::Layer, None, &detectors, &Intervals::new(1)).unwrap()
}

#[test]
fn nothing_is_wider_than_the_screen() {
    let folder = Folder::new();
    let (study, runs) = small_study(&folder);
    let how = Intervals::new(1);
    let compared = compare_all(&[[&runs[0], &runs[1]]], Pairing::Paired, &how).unwrap();
    let two =
        compare_all(&[[&runs[0], &runs[1]], [&runs[1], &runs[0]]], Pairing::Paired, &how).unwrap();
    for width in WIDTHS {
        let view = View::Screen(screen(width));
        for run in &runs {
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
            (comparison_text(&compared, View::Text), comparison_text(&compared, view)),
            (comparison_text(&two, View::Text), comparison_text(&two, view)),
        ] {
            fits(&shown, width);
            let shown = figures_of(&shown);
            for figure in figures_of(&whole) {
                assert!(shown.contains(&figure), "{figure} is missing at {width} columns");
            }
        }
    }
}

#[test]
fn a_summary_has_the_network_and_the_layers_that_are_hurt_most() {
    let folder = Folder::new();
    let (_, [run, _]) = small_study(&folder);
    let all = figures(&run);
    let how = Intervals::new(1);
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
        assert_eq!(rows.iter().filter(|row| row.starts_with("network, ")).count(), 3, "{kept}");
        let bars = |row: &&str| row.chars().filter(|c| *c == '█').count();
        let of_layers = rows
            .iter()
            .filter(|row| ["conv1", "layer", "fc"].iter().any(|name| row.starts_with(name)));
        let lengths: Vec<usize> = of_layers.map(bars).collect();
        assert_eq!(lengths.len(), 10.min(run.manifest.layers.len()), "{kept}");
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
    let model = Model::new(&file, Head::TextGuided { width: 512 }, 1000, 224, 0.0).unwrap();
    let (row, layers) = (ModelRow::of("mobilenet_v2", &model), LayerRow::of(&model));
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
    let command = format!("stty cols {columns}; {environment} '{program}' {words}");
    let mut script = Command::new("script");
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI"] {
        script.env_remove(name);
    }
    script.args(["-qec", &command, "/dev/null"]).env("TERM", "xterm");
    script.current_dir(folder.at(".")).stdin(std::process::Stdio::null());
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
