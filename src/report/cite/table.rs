//! Tables for LaTeX's booktabs: a row a run; of a study its contrasts over training seeds, too.

use strum::IntoEnumIterator;

use super::{CitedRun, CitedStudy};
use crate::analysis::compare::{Comparison, RateChange};
use crate::analysis::goldeneye;
use crate::analysis::{Intervals, Scope, select};
use crate::detector::Detector;
use crate::report::latex::{latex, latex_numbers};
use crate::report::study::{name as figure_name, seeds_in_words};
use crate::report::{any_size, interval, percent};
use crate::results::{Measure, Outcome, Run};
use crate::statistics::Estimate;
use crate::study::{Contrast, ContrastFigure};

/// Of more runs the hashes stand in a table.
pub(super) const MOST_HASHED: usize = 3;

/// What a cell without a figure has.
const NOTHING: &str = "–";

/// The tables, with what a reader must know of them as comments.
pub(super) fn tables(runs: &[CitedRun], study: Option<&CitedStudy>, how: &Intervals) -> String {
    let goldeneye = runs.iter().any(CitedRun::is_goldeneye);
    let is_compared = runs.iter().any(|of| of.compared.is_some());
    let mut text = String::from("% \\usepackage{booktabs}\n");
    for line in notes(runs, goldeneye, is_compared, how) {
        text.push_str(&format!("% {}\n", line.replace(char::is_control, " ")));
    }
    let mut header = vec!["run", "images", "injections a layer"];
    header.extend(match goldeneye {
        true => ["mismatches, %", "NaN losses", "mean ΔLoss, nats"],
        false => ["SDC, %", "nonfinite, %", "mean ΔLoss, nats"],
    });
    if is_compared {
        header.extend([
            "ΔLoss ratio, last layer",
            "ΔLoss ratio, all layers",
            "SDC, difference in points",
        ]);
    }
    let rows: Vec<Vec<String>> = runs
        .iter()
        .map(|of| {
            let mut cells = vec![of.name.clone(), of.run.manifest.images.len().to_string()];
            cells.push(match of.run.injections() {
                (least, most) if least == most => most.to_string(),
                (least, most) => format!("{least} to {most}"),
            });
            cells.extend(if goldeneye { goldeneye_cells(&of.run) } else { cells_of(&of.run, how) });
            if is_compared {
                let found = of.compared.as_ref().and_then(|(_, found)| found.as_ref().ok());
                cells.extend(found.map_or([NOTHING; 3].map(String::from), |row| ratios(row)));
            }
            cells
        })
        .collect();
    text.push_str(&tabular(&header, &rows));
    if let Some(study) = study {
        text.push_str(&over_seeds(study));
    }
    if runs.len() > MOST_HASHED {
        text.push_str(&hashes(runs));
    }
    text
}

/// What tells the very files of many runs.
fn hashes(runs: &[CitedRun]) -> String {
    let row = |of: &CitedRun| {
        let setting = of.setting();
        vec![
            of.name.clone(),
            setting.provenance.checkpoint.clone(),
            setting.image_list.clone(),
            of.run.results_sha256(),
        ]
    };
    let rows: Vec<Vec<String>> = runs.iter().map(row).collect();
    let header = ["run", "checkpoint", "list of images", "results"];
    format!("\n% SHA-256 of each run\n{}", tabular(&header, &rows))
}

/// What stands above a table.
fn notes(runs: &[CitedRun], goldeneye: bool, is_compared: bool, how: &Intervals) -> Vec<String> {
    let first = &runs[0].run;
    let mut lines = vec![match goldeneye {
        true => "Means over the layers of each run, ± half of a normal interval of 99 %.".into(),
        false => format!(
            "Rates are of all layers alike under the detector {}, ΔLoss is under {}. {}",
            rated(first).name(),
            bounding(first).map_or("no detector that bounds it", Detector::name),
            how.words()
        ),
    }];
    if is_compared {
        lines.push(
            "Ratios are of mean ΔLoss under the range detector, the baseline's divided by the run's; differences are the \
             run's less the baseline's, without a detector where the runs have that."
                .into(),
        );
    }
    for of in runs {
        if let Some((with, Err(why))) = &of.compared {
            lines.push(format!("{} isn't compared with {with}: {why}", of.name));
        }
    }
    lines
}

/// The detector that rates are under: none where the run has it.
pub(super) fn rated(run: &Run) -> Detector {
    let detectors = &run.manifest.plan.detectors;
    match detectors.contains(&Detector::None) {
        true => Detector::None,
        false => detectors.first().copied().unwrap_or(Detector::None),
    }
}

/// The detector that means of ΔLoss are under.
pub(super) fn bounding(run: &Run) -> Option<Detector> {
    run.manifest.plan.detectors.iter().copied().find(|detector| detector.bounds_the_mean())
}

/// The mean ΔLoss of all layers alike; `None` without a detector that bounds it, or a record.
pub(super) fn mean_delta_loss(run: &Run, how: &Intervals) -> Option<Estimate> {
    let selection = select(run, Scope::ALL.layers(run), bounding(run)?);
    selection.mean(Measure::DeltaLoss, how).ok()
}

fn cells_of(run: &Run, how: &Intervals) -> Vec<String> {
    let rates = select(run, Scope::ALL.layers(run), rated(run)).rates(how);
    let rate = |estimate: &Estimate| match rates.records {
        0 => NOTHING.into(),
        _ => percent(estimate),
    };
    let mean = mean_delta_loss(run, how).map_or_else(|| NOTHING.into(), |mean| any_size(&mean));
    vec![rate(&rates.sdc), rate(&rates.nonfinite), mean]
}

/// Mismatches, NaN losses and mean ΔLoss by GoldenEye's rules, over all layers; layers are drawn independently.
fn goldeneye_cells(run: &Run) -> Vec<String> {
    let layers = goldeneye::figures(run);
    let count = layers.len() as f64;
    let mean = |of: &dyn Fn(&goldeneye::LayerFigures) -> goldeneye::GoldenEyeFigure| {
        let value = layers.iter().map(|layer| of(layer).value).sum::<f64>() / count;
        let squares: f64 = layers.iter().map(|layer| of(layer).half_width.powi(2)).sum();
        (value, squares.sqrt() / count)
    };
    let cell = |(value, half): (f64, f64), digits: usize| match value.is_finite() {
        false => NOTHING.into(),
        true if half.is_finite() => format!("{value:.digits$} ± {half:.digits$}"),
        true => format!("{value:.digits$}"),
    };
    let (rate, half) = mean(&|layer| layer.mismatches);
    let nan: u64 = layers.iter().map(|layer| layer.nan).sum();
    vec![
        cell((100.0 * rate, 100.0 * half), 2),
        nan.to_string(),
        cell(mean(&|layer| layer.delta_loss), 6),
    ]
}

fn ratios(row: &Comparison) -> [String; 3] {
    let ratio = |of: Option<Estimate>| of.map_or_else(|| NOTHING.into(), |of| interval(&of, 2));
    let sdc = row.sdc_difference().copied().or_else(|| {
        let is_sdc = |rate: &&RateChange| rate.outcome == Outcome::Sdc;
        row.rates.iter().find(is_sdc).map(|rate| rate.difference)
    });
    [
        ratio(row.last_layer.as_ref().map(|of| of.ratio)),
        ratio(row.all_layers().map(|of| of.ratio)),
        ratio(sdc),
    ]
}

/// The contrasts of a study over its seeds, as its JSON has them.
fn over_seeds(study: &CitedStudy) -> String {
    let seeds: Vec<u64> =
        study.json["seeds"].as_array().into_iter().flatten().filter_map(|of| of.as_u64()).collect();
    let shown = [
        ContrastFigure::LastLayer,
        ContrastFigure::AllLayers,
        ContrastFigure::Sdc,
        ContrastFigure::Top1,
    ];
    let mut header = vec!["contrast"];
    header.extend(shown.map(figure_name));
    let rows = Contrast::iter().map(|contrast| {
        let [from, to] = contrast.models();
        let mut cells = vec![format!("{} against {}", to.name(), from.name())];
        cells.extend(shown.map(|figure| {
            let found = mean_over_seeds(study, contrast, figure);
            found.map_or_else(|| NOTHING.into(), |of| interval(&of, 2))
        }));
        cells
    });
    let rows: Vec<Vec<String>> = rows.collect();
    format!(
        "\n% Means over {} of training on the same data, ratios by their logarithms, with Student's 95 % interval.\n{}",
        seeds_in_words(&seeds),
        tabular(&header, &rows)
    )
}

/// What a study's JSON says of a figure; an end that isn't known is null there.
fn mean_over_seeds(
    study: &CitedStudy,
    contrast: Contrast,
    figure: ContrastFigure,
) -> Option<Estimate> {
    let [contrast, figure] =
        [serde_json::to_value(contrast), serde_json::to_value(figure)].map(|of| of.ok());
    let contrasts = study.json["contrasts"].as_array()?;
    let of = contrasts.iter().find(|of| Some(&of["contrast"]) == contrast.as_ref())?;
    let figures = of["figures"].as_array()?;
    let of = figures.iter().find(|of| Some(&of["figure"]) == figure.as_ref())?;
    let end = |key: &str| of["mean"][key].as_f64().unwrap_or(f64::NAN);
    Some(Estimate { value: of["mean"]["value"].as_f64()?, low: end("low"), high: end("high") })
}

/// A table of cells, the first of a row a name and the others numbers.
fn tabular(header: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: Vec<String>| format!("{} \\\\\n", cells.join(" & "));
    let head = line(header.iter().map(|name| latex(name)).collect());
    let row = |cells: &Vec<String>| {
        let (name, numbers) = cells.split_first().map_or(("", &[][..]), |(a, b)| (a.as_str(), b));
        let numbers = numbers.iter().map(|cell| latex_numbers(cell));
        line(std::iter::once(latex(name)).chain(numbers).collect())
    };
    let rows: String = rows.iter().map(row).collect();
    let kinds = format!("l{}", "r".repeat(header.len().saturating_sub(1)));
    format!(
        "\\begin{{tabular}}{{{kinds}}}\n\\toprule\n{head}\\midrule\n{rows}\\bottomrule\n\\end{{tabular}}\n"
    )
}
