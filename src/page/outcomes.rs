//! What became of the network's answers: a bar for each weighting of layers.

use strum::IntoEnumIterator;

use super::{Anchor, Axis, Cell, Column, Figure, Mark, Subject, Svg, Table};
use crate::analysis::breakdown::Figures;
use crate::analysis::{Rates, Weighting};
use crate::report::percent;
use crate::statistics::Estimate;

/// The four outcomes, as classes of marks and as words.
pub(super) const OUTCOMES: [(&str, &str); 4] =
    [("masked", "masked"), ("benign", "benign"), ("sdc", "SDC"), ("nonfinite", "nonfinite")];

/// Their rates, in that order.
pub(super) fn of(rates: &Rates) -> [Estimate; 4] {
    [rates.masked, rates.benign, rates.sdc, rates.nonfinite]
}

/// Rates that are of any record.
pub(super) fn few_rates(row: &Figures) -> Option<Rates> {
    (row.rates.records > 0).then_some(row.rates)
}

/// The figure.
pub(super) fn figure(subject: &Subject) -> Option<Figure> {
    let detector = subject.detector;
    let mut table = Table::new(
        [Column::text("run", "run"), Column::text("weighting", "layers count")]
            .into_iter()
            .chain([Column::count("n", "n")])
            .chain(
                ["masked", "benign", "sdc", "nonfinite"]
                    .into_iter()
                    .zip(OUTCOMES)
                    .map(|(key, (_, name))| Column::rate(key, name)),
            ),
    );
    let mut bars = Vec::new();
    for side in &subject.sides {
        for weighting in Weighting::iter() {
            let Some(row) = side.of_network(weighting, detector) else { continue };
            let rates = of(&row.rates);
            let mut cells: Vec<Cell> =
                vec![side.name.clone().into(), words(weighting).into(), row.rates.records.into()];
            cells.extend(
                rates.map(
                    |rate| if row.rates.records > 0 { Cell::from(rate) } else { Cell::Nothing },
                ),
            );
            table.push(None, cells);
            if row.rates.records > 0 {
                bars.push((side.name.as_str(), weighting, rates));
            }
        }
    }
    if bars.is_empty() {
        return None;
    }
    let several = subject.sides.len() > 1;
    let mut svg = Svg::new(760.0, 0.0);
    let mut y = 34.0;
    let axis = legend(&mut svg);
    let mut last = "";
    for (name, weighting, rates) in &bars {
        if several && *name != last {
            y += 20.0;
            svg.text([0.0, y], Anchor::Start, name, Mark::new("head"));
            y += 6.0;
            last = name;
        }
        bar(&mut svg, &axis, y, words(*weighting), rates);
        y += 30.0;
    }
    axis.draw_percent(&mut svg, y + 2.0);
    svg.height = y + 24.0;
    Some(Figure::new(
        "outcomes",
        "What became of the answers",
        format!(
            "Each bar is all faults under the detector {}, split by outcome. How much a layer \
             counts is a choice, however many injections it has: alike, by its neurons, or by its multiply-accumulates (MACs), which is the \
             nearest to the time that hardware spends on it.",
            detector.name()
        ),
        svg,
        table,
    ))
}

/// How layers count, in a label.
pub(super) fn words(weighting: Weighting) -> &'static str {
    match weighting {
        Weighting::Uniform => "layers alike",
        Weighting::Neurons => "by neurons",
        Weighting::Macs => "by MACs",
    }
}

/// The classes of an outcome's stretch of a bar.
fn cell(class: &str) -> &'static str {
    match class {
        "masked" => "cell masked",
        "benign" => "cell benign",
        "sdc" => "cell sdc",
        _ => "cell nonfinite",
    }
}

/// Draws what colours are; the axis of the bars below.
pub(super) fn legend(svg: &mut Svg) -> Axis {
    let (left, right) = (110.0, 600.0);
    let mut x = left;
    for (class, word) in OUTCOMES {
        svg.rect([x, 4.0], [x + 12.0, 16.0], Mark::new(class));
        svg.text([x + 18.0, 14.0], Anchor::Start, word, Mark::default());
        x += 36.0 + 7.0 * word.len() as f64;
    }
    Axis::linear([0.0, 1.0], [left, right])
}

/// Draws a bar of outcomes, and in words those that are often too rare to be seen.
pub(super) fn bar(svg: &mut Svg, axis: &Axis, y: f64, label: &str, rates: &[Estimate; 4]) {
    let ends = [0.0, 1.0].map(|end| axis.at(end));
    svg.text([ends[0] - 10.0, y + 16.0], Anchor::End, label, Mark::new("name"));
    let mut from = 0.0;
    for ((class, word), rate) in OUTCOMES.into_iter().zip(rates) {
        let hint = format!("{word}: {} %", percent(rate));
        let to = from + rate.value;
        svg.rect([axis.at(from), y], [axis.at(to), y + 22.0], Mark::new(cell(class)).hinted(&hint));
        from = to;
    }
    for (line, at) in [2, 3].into_iter().enumerate() {
        let words = format!("{} {:.2} %", OUTCOMES[at].1, 100.0 * rates[at].value);
        let place = [ends[1] + 14.0, y + 9.0 + 13.0 * line as f64];
        svg.text(place, Anchor::Start, &words, Mark::new("small number"));
    }
}
