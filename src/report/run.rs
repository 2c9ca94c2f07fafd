//! One campaign's tables: its figures by layer, bit, direction, channel or position, and the footer.

use std::path::Path;

use serde_json::{Value, json};

use super::bars::Bars;
use super::goldeneye::{goldeneye_rows, goldeneye_sheet, goldeneye_summary};
use super::sheet::{BY_FORMAT, BY_PIPE, Fit, Sheet, View};
use super::{
    MOST_LAYERS, NO_INTERVAL, NONFINITE, OUTCOMES, any_size, counted_words, delta_loss_heading,
    flipped_bits, percent, quantiles, ranges_words, scale, shell_word,
};
use crate::analysis::breakdown::{DeltaLoss, Figures, RunPart};
use crate::analysis::{
    Arranged, Intervals, ReportColumn, Stopped, Weighting, stopped, stopped_words,
};
use crate::detector::Detector;
use crate::error::{MOST_NAMED, some_of};
use crate::plan::{Allocation, Flips, Plan, Protocol, Stratify};
use crate::results::Run;
use crate::screen::{Ink, Screen};
use crate::statistics::Target;

/// What a screen has of a run when its campaign is done.
pub struct Summary<'a> {
    /// The store that keeps the run, if one does.
    pub store: Option<&'a Path>,
    /// Whether the store is a part that is to be merged with others.
    pub is_shard: bool,
}

/// A run's figures: a table a detector, and the footer. Of a run by GoldenEye's protocol its own table, where
/// the figures are those of layers.
pub fn run_text(run: &Run, figures: &[Figures], how: &Intervals, view: View) -> String {
    let figures = figures.to_vec();
    arranged_text(run, &Arranged { figures, sort: None, left_out: Vec::new() }, how, view)
}

/// The same of rows that were sorted or cut off.
pub fn arranged_text(run: &Run, arranged: &Arranged, how: &Intervals, view: View) -> String {
    let Arranged { figures, sort, left_out } = arranged;
    let mut sheet = Sheet::new(view);
    let is_by_layer = figures.iter().any(|row| matches!(row.part, RunPart::Layer {}));
    if run.manifest.plan.protocol == Protocol::Goldeneye && is_by_layer {
        let named: Vec<String> = figures.iter().filter_map(|row| row.layer.clone()).collect();
        goldeneye_sheet(&mut sheet, run, &named);
        return sheet.finish(BY_FORMAT);
    }
    let bars = sheet.screen().map(|screen| sdc_bars(screen, figures));
    for detector in Detector::ALL {
        let rows: Vec<&Figures> = figures.iter().filter(|row| row.detector == detector).collect();
        if !rows.is_empty() {
            sheet.prose(&format!("Detector {}:", detector.name()));
            sheet.gap();
            table(&mut sheet, run, detector, &rows, bars);
            sheet.gap();
            if let Some(cut) = left_out.iter().find(|cut| cut.detector == detector) {
                sheet.prose(&match cut.rows {
                    0 => "No row is left out (--top).".into(),
                    1 => "1 more row is left out (--top).".into(),
                    rows => format!("{rows} more rows are left out (--top)."),
                });
                sheet.gap();
            }
        }
    }
    if let Some(column) = sort {
        let is_quantile = |row: &Figures| matches!(row.delta_loss, DeltaLoss::Quantiles(_));
        let which = match column == &ReportColumn::DeltaLoss && figures.iter().any(is_quantile) {
            true => ", where it has quantiles by the last of them, then by the one before",
            false => "",
        };
        let name = column.name();
        sheet.prose(&format!("Rows are sorted by {name}{which}, the largest first."));
    }
    if !figures.is_empty() {
        sheet.prose(OUTCOMES);
    }
    stopped_table(&mut sheet, run);
    few_carriers(&mut sheet, figures);
    footer(&mut sheet, run, figures, how);
    sheet.finish(BY_FORMAT)
}

/// What a campaign's run comes to, for a screen: the network and the layers that are hurt most, and how to see
/// the others.
pub fn summary_text(
    run: &Run,
    figures: &[Figures],
    how: &Intervals,
    screen: Screen,
    summary: &Summary,
) -> String {
    let mut sheet = Sheet::new(View::Screen(screen));
    if run.manifest.plan.protocol == Protocol::Goldeneye {
        goldeneye_summary(&mut sheet, run);
    } else {
        let bars = sdc_bars(screen, figures);
        for detector in &run.manifest.plan.detectors {
            let of_detector = figures.iter().filter(|row| row.detector == *detector);
            let (mut layers, mut rows): (Vec<&Figures>, Vec<&Figures>) =
                of_detector.partition(|row| matches!(row.part, RunPart::Layer {}));
            let all = layers.len();
            // A part of a campaign may have no record of a layer, and so no rate.
            layers.retain(|row| row.rates.records > 0);
            let harm = |row: &Figures| (row.rates.sdc.value, row.rates.nonfinite.value);
            layers.sort_by(|a, b| {
                let ((sdc, nonfinite), (sdc_b, nonfinite_b)) = (harm(a), harm(b));
                sdc_b.total_cmp(&sdc).then(nonfinite_b.total_cmp(&nonfinite))
            });
            layers.truncate(MOST_LAYERS);
            let which = match layers.len() {
                shown if shown == all => format!("its {all} layers, by SDC rate"),
                shown => format!("the {shown} of {all} layers with the highest SDC rate"),
            };
            sheet.prose(&format!("Detector {}: the network and {which}:", detector.name()));
            sheet.gap();
            rows.append(&mut layers);
            table(&mut sheet, run, *detector, &rows, Some(bars));
            sheet.gap();
        }
        sheet.prose(OUTCOMES);
        if let Some(rule) = &run.manifest.plan.until {
            let stopped = stopped(run);
            let narrow = stopped.iter().filter(|row| row.look.stop).count();
            sheet.prose(&format!(
                "Stopped where {rule} under every detector: {narrow} of {} intervals are as narrow.",
                stopped.len()
            ));
        }
        footer(&mut sheet, run, figures, how);
    }
    sheet.gap();
    let told = match summary {
        Summary { store: None, .. } => {
            "Nothing is kept: run with --out FILE, and `flipside report FILE` prints all layers."
                .into()
        }
        Summary { store: Some(store), is_shard: true } => format!(
            "This is one shard: {}. `flipside merge` puts all of them together for `flipside report`.",
            store.display()
        ),
        // A command to be copied isn't broken, however long the path is.
        Summary { store: Some(store), .. } => {
            let store = shell_word(&store.display().to_string());
            let told = format!("All layers: flipside report {store}");
            sheet.line(&screen.paint(Ink::Hint, &told));
            String::new()
        }
    };
    for line in screen.wrap("", &told).lines() {
        sheet.line(&screen.paint(Ink::Hint, line));
    }
    match summary.store {
        Some(store) => sheet.finish(&format!(
            "`flipside report {} --format markdown` prints all of them.",
            store.display()
        )),
        None => sheet.finish(BY_PIPE),
    }
}

/// The columns that a narrow screen has first; ΔLoss where its mean says something.
const MOST: [&str; 5] = ["SDC %", "mean ΔLoss", "nonfinite %", "n", "masked %"];

/// Bars of SDC rates, all on one scale.
fn sdc_bars(screen: Screen, figures: &[Figures]) -> Bars {
    Bars::of(screen, figures.iter().map(|row| row.rates.sdc.value))
}

/// A detector's rows; on a screen, with bars, layers' shapes have a column of their own.
fn table(sheet: &mut Sheet, run: &Run, detector: Detector, rows: &[&Figures], bars: Option<Bars>) {
    let mut header = vec![
        "part",
        "n",
        "masked %",
        "benign %",
        "SDC %",
        "nonfinite %",
        "SDC or nonfinite %",
        "SDC-5 %",
        "mean absolute Δp",
        delta_loss_heading(detector),
    ];
    let line = |row: &&Figures| (row.rates.sdc.value, line(run, row));
    let mut lines: Vec<(f64, Vec<String>)> = rows.iter().map(line).collect();
    if let Some(bars) = bars {
        let is_layer = |row: &&Figures| matches!(row.part, RunPart::Layer {});
        let has_shapes = rows.iter().any(is_layer);
        for ((_, line), row) in lines.iter_mut().zip(rows) {
            let shape = shape(run, row);
            if let Some(layer) = line[0].strip_suffix(&format!(" {shape}")) {
                line[0] = layer.into();
            }
            if let RunPart::Network {
                weighting: weighting @ (Weighting::Neurons | Weighting::Macs),
            } = row.part
            {
                line[0] = weighting.words().into();
            }
            line.push(shape);
        }
        bars.put(4, &mut lines);
        if has_shapes {
            header.push("shape");
        }
        // The network stands apart from its layers.
        let is_network = |row: &&Figures| matches!(row.part, RunPart::Network { .. });
        let mut pairs = rows.windows(2);
        if let Some(border) = pairs.position(|pair| is_network(&pair[0]) != is_network(&pair[1])) {
            lines.insert(border + 1, (0.0, vec![String::new(); header.len()]));
        }
    }
    let lines = lines.into_iter().map(|(_, line)| line).collect();
    sheet.table(Fit::Keep(&MOST), &header, lines);
}

/// With fewer records that carry half of a mean, the mean hangs on them.
const FEW_CARRIERS: usize = 20;

/// Says which means of ΔLoss hang on few records.
fn few_carriers(sheet: &mut Sheet, figures: &[Figures]) {
    let names = figures.iter().filter_map(|row| {
        let count = row.carriers.filter(|count| (1..FEW_CARRIERS).contains(count))?;
        let name = match row.part {
            RunPart::Network { weighting } => format!("the network, {}", weighting.words()),
            RunPart::Layer {} => row.layer.clone()?,
            RunPart::Bit { bit } => format!("bit {bit}"),
            RunPart::Direction { direction } => direction.name().into(),
            RunPart::Channel { channel } => format!("channel {channel}"),
            RunPart::Position { row, column } => format!("row {row}, column {column}"),
        };
        Some(format!("{name} ({count})"))
    });
    let names: Vec<String> = names.collect();
    if !names.is_empty() {
        sheet.prose(&format!(
            "Fewer than {FEW_CARRIERS} records carry half of the mean ΔLoss of {}.",
            some_of(&names, MOST_NAMED)
        ));
    }
}

fn footer(sheet: &mut Sheet, run: &Run, figures: &[Figures], how: &Intervals) {
    let manifest = &run.manifest;
    sheet.prose(&format!(
        "{} {} (checkpoint {}), {}: {} at the site {}, {} images, seed {}. {}",
        manifest.setting.provenance.model,
        manifest.setting.head,
        manifest.setting.provenance.checkpoint.chars().take(12).collect::<String>(),
        manifest.setting.device,
        faults(&manifest.plan),
        manifest.plan.site.name(),
        manifest.images.len(),
        manifest.plan.seed,
        how.words(),
    ));
    if let Some(words) = stopped_words(run) {
        sheet.prose(&words);
    }
    // Parts of layers are of drawn faults.
    let is_whole = |row: &Figures| matches!(row.part, RunPart::Layer {} | RunPart::Network { .. });
    if !run.counted.is_empty() && figures.iter().any(is_whole) {
        sheet.prose(&counted_words(run));
    }
    let lacks_ends = |row: &Figures| {
        let means = match row.delta_loss {
            DeltaLoss::Mean(mean) => [row.delta_p, mean],
            DeltaLoss::Quantiles(_) => [row.delta_p; 2],
        };
        means.iter().any(|mean| mean.value.is_finite() && mean.low.is_nan())
    };
    if figures.iter().any(lacks_ends) && run.manifest.plan.until.is_none() {
        sheet.prose(NO_INTERVAL);
    }
    if manifest.plan.injections_per_layer() == 1 && manifest.plan.list.is_none() {
        sheet.prose(
            "One injection a layer says next to nothing of a rate: `inject --only N` tells what it did.",
        );
    }
    if let Stratify::Allocated(allocation) = &manifest.plan.stratify {
        sheet.prose(&allocation_words(allocation));
    }
    let ranges = manifest.setting.ranges_over.as_ref().map(ranges_words);
    for words in scale::run_words(run, how) {
        sheet.prose(&words);
    }
    sheet.prose(&[NONFINITE.into()].into_iter().chain(ranges).collect::<Vec<_>>().join(" "));
    sheet.prose(&format!("Results (SHA-256): {}", run.results_sha256()));
}

/// The same for machines.
pub fn run_json(run: &Run, figures: &[Figures], how: &Intervals) -> Value {
    let manifest = &run.manifest;
    let is_goldeneye = manifest.plan.protocol == Protocol::Goldeneye;
    json!({
        "model": manifest.setting.provenance.model,
        "head": manifest.setting.head,
        "device": manifest.setting.device,
        "images": manifest.images.len(),
        "ranges_over": manifest.setting.ranges_over,
        "fault_free": manifest.fault_free,
        "temperatures": manifest.temperatures,
        "plan": manifest.plan,
        "intervals": how,
        "figures": figures,
        "stopped": stopped(run),
        "goldeneye": is_goldeneye.then(|| goldeneye_rows(run)),
        "results_sha256": run.results_sha256(),
    })
}

/// Where the layers of a run with a rule stopped, with the intervals that hold there.
fn stopped_table(sheet: &mut Sheet, run: &Run) {
    let Some(rule) = &run.manifest.plan.until else { return };
    let stopped = stopped(run);
    let rows = stopped.iter().map(|Stopped { layer, detector, look }| {
        let figure = match rule.target {
            Target::DeltaP => any_size(&look.estimate),
            _ => percent(&look.estimate),
        };
        let reached = if look.stop { "yes" } else { "no" };
        vec![layer.clone(), detector.name().into(), look.n.to_string(), figure, reached.into()]
    });
    let unit = if rule.target == Target::DeltaP { "" } else { " %" };
    let figure = format!("{}{unit}", rule.target.name());
    let header = ["layer", "detector", "n", &figure, "narrow enough"];
    sheet.prose(&format!(
        "Stopped where {rule} under every detector; these intervals hold whenever a layer stops, those above \
         are of the injections that there are, as if their number had been fixed:"
    ));
    sheet.gap();
    sheet.table(Fit::Keep(&[]), &header, rows.collect());
    sheet.gap();
}

/// The sizes of a layer's value, where the figures are of a layer.
fn shape(run: &Run, figures: &Figures) -> String {
    let RunPart::Layer {} = figures.part else { return String::new() };
    let mut layers = run.manifest.layers.iter();
    let layer = layers.find(|row| Some(&row.name) == figures.layer.as_ref());
    let sizes = layer.into_iter().flat_map(|row| &row.shape).map(usize::to_string);
    sizes.collect::<Vec<_>>().join("×")
}

fn line(run: &Run, figures: &Figures) -> Vec<String> {
    let layer = figures.layer.as_deref().unwrap_or("all layers alike");
    let part = match figures.part {
        RunPart::Layer {} => format!("{layer} {}", shape(run, figures)),
        RunPart::Network { weighting } => format!("network, {}", weighting.words()),
        RunPart::Bit { bit } => format!("{layer}, bit {bit}"),
        RunPart::Direction { direction } => format!("{layer}, {}", direction.name()),
        RunPart::Channel { channel } => format!("{layer}, channel {channel}"),
        RunPart::Position { row, column } => format!("{layer}, row {row}, column {column}"),
    };
    let rates = &figures.rates;
    vec![
        part,
        rates.records.to_string(),
        percent(&rates.masked),
        percent(&rates.benign),
        percent(&rates.sdc),
        percent(&rates.nonfinite),
        percent(&rates.sdc_or_nonfinite),
        percent(&rates.sdc5),
        any_size(&figures.delta_p),
        match &figures.delta_loss {
            DeltaLoss::Mean(mean) => any_size(mean),
            DeltaLoss::Quantiles(of) => quantiles(of.values),
        },
    ]
}

/// How many injections layers and bits have, and what that does to figures.
fn allocation_words(Allocation { pilot, .. }: &Allocation) -> String {
    let checkpoint: String = pilot.checkpoint.chars().take(12).collect();
    format!(
        "Layers and bits have as many injections as a pilot called for ({} a layer on checkpoint {checkpoint}, seed \
         {}; it isn't among the records). Records are weighted so that each bit of a layer counts alike.",
        pilot.injections, pilot.seed
    )
}

/// What was injected, in words.
pub(crate) fn faults(plan: &Plan) -> String {
    if plan.list.is_some() {
        return "faults of a list".into();
    }
    let count = match &plan.until {
        Some(rule) => format!("until {rule}, at most {},", plan.injections_per_layer()),
        None => plan.injections_per_layer().to_string(),
    };
    let strata = match plan.stratify {
        Stratify::No => "",
        Stratify::Bit => ", each bit in turn,",
        Stratify::Allocated(_) => ", allocated by a pilot,",
    };
    let bits = match plan.only_bits.is_all() {
        true => flipped_bits(plan.bits),
        false => format!("{} (bits {} only)", flipped_bits(plan.bits), plan.only_bits),
    };
    match plan.flips {
        Flips::Count(1) if matches!(plan.stratify, Stratify::Allocated(_)) => {
            format!("{count} injections a layer on average of {bits}{strata}")
        }
        Flips::Count(1) => format!("{count} injections a layer of {bits}{strata}"),
        Flips::Count(values) => {
            format!("{count} injections a layer of {bits} in each of {values} values")
        }
        Flips::Rate(rate) => format!("{count} injections a layer at a bit error rate of {rate:e}"),
    }
}
