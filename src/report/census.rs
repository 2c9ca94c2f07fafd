//! A census' tables: a row a bit.

use std::ops::Range;
use std::path::Path;

use serde_json::{Value, json};

use super::sheet::{BY_PIPE, Fit, Sheet, View};
use super::{NONFINITE, OUTCOMES, delta_loss_heading, quantiles, ranges_words, shell_word};
use crate::census::{BITS, Census, FaultSummary, Histogram, Mode};
use crate::detector::Detector;
use crate::number::{Field, Format};
use crate::results::{Outcome, RangesOver};

/// Low bits of the mantissa share a row: they hardly differ.
const LOW_BITS: usize = 16;

/// The columns that a narrow screen has first.
const MOST: [&str; 5] = ["SDC %", "nonfinite %", "masked %", "mean ΔLoss", "faults"];

/// A census as text: for each place and detector a row a bit and one for all, and the footer. `over` is what
/// ranges were measured over.
pub fn census_text(census: &Census, over: Option<&RangesOver>, view: View) -> String {
    let mut sheet = Sheet::new(view);
    for histogram in &census.histograms {
        for (place, detector) in histogram.detectors.iter().enumerate() {
            let header = [
                "bit",
                "faults",
                "masked %",
                "benign %",
                "SDC %",
                "SDC-5 %",
                "nonfinite %",
                "mean absolute Δp",
                "Top2Diff after",
                delta_loss_heading(*detector),
            ];
            let row = |name: String, bits: Range<usize>| row(name, &histogram.of_bits(place, bits));
            let mut rows = vec![row("all".into(), 0..BITS)];
            for bit in (LOW_BITS..BITS).rev() {
                rows.push(row(name(bit), bit..bit + 1));
            }
            rows.push(row(format!("{} to 0", LOW_BITS - 1), 0..LOW_BITS));
            sheet.prose(&format!(
                "{}, every {} × bit × image, detector {}:",
                histogram.place,
                census.mode.unit(),
                detector.name()
            ));
            sheet.gap();
            sheet.table(Fit::Keep(&MOST), &header, rows);
            sheet.gap();
        }
    }
    sheet.prose(&format!(
        "Population {}: every fault on {} images, not a sample; no intervals. {NONFINITE} Top2Diff is over \
         finite answers. Quantiles are the middles of bins an eighth of an octave wide. The places are \
         populations of their own.",
        census.mode.name(),
        census.images
    ));
    sheet.prose(OUTCOMES);
    if let Some(over) = over {
        sheet.prose(&ranges_words(over));
    }
    let is_unknown = |histogram: &Histogram| {
        (0..histogram.detectors.len()).any(|place| histogram.total(place).sdc5.is_none())
    };
    if census.histograms.iter().any(is_unknown) {
        sheet.prose(
            "SDC-5 isn't known (–) where there are nonfinite answers: the version of the program that counted \
             this census took some of them for SDC-5.",
        );
    }
    sheet.finish(BY_PIPE)
}

/// The same for machines: per place and detector all faults, and those of each bit. Quantiles that are infinite
/// are null.
pub fn census_json(census: &Census, over: Option<&RangesOver>) -> Value {
    let of_place = |histogram: &Histogram| {
        let of_detector = |(place, detector): (usize, &Detector)| {
            let bits: Vec<_> =
                (0..BITS).map(|bit| histogram.of_bits(place, bit..bit + 1)).collect();
            let all = histogram.total(place);
            json!({ "detector": detector.name(), "all": all, "bits": bits })
        };
        let detectors: Vec<_> = histogram.detectors.iter().enumerate().map(of_detector).collect();
        json!({ "place": histogram.place, "units": histogram.units, "detectors": detectors })
    };
    json!({
        "population": census.mode.name(),
        "unit": census.mode.unit(),
        "images": census.images,
        "ranges_over": over,
        "places": census.histograms.iter().map(of_place).collect::<Vec<_>>(),
    })
}

/// `30 (exponent)`.
fn name(bit: usize) -> String {
    let field = Format::F32.field_of(bit as u32).map_or("none", Field::name);
    format!("{bit} ({field})")
}

fn row(name: String, summary: &FaultSummary) -> Vec<String> {
    let share = |count: u64| format!("{:.3}", 100.0 * count as f64 / summary.faults as f64);
    let percent = |outcome| share(summary.count(outcome));
    let delta_loss = match summary.delta_loss {
        Some(mean) => format!("{mean:.5}"),
        None => quantiles(summary.quantiles),
    };
    vec![
        name,
        summary.faults.to_string(),
        percent(Outcome::Masked),
        percent(Outcome::Benign),
        percent(Outcome::Sdc),
        summary.sdc5.map_or_else(|| "–".into(), share),
        percent(Outcome::Nonfinite),
        format!("{:.5}", summary.delta_p),
        format!("{:.2}", summary.top2diff),
        delta_loss,
    ]
}

/// The command that goes on with a census in the store `path`.
pub fn census_resumed(path: &Path, mode: Mode) -> String {
    let path = shell_word(&path.display().to_string());
    format!("flipside inject --resume {path} --exhaustive {}", mode.name())
}
