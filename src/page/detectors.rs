//! Detectors: what each caught, and what it cost.

use std::collections::BTreeMap;

use super::outcomes::{OUTCOMES, bar, legend, of};
use super::{Anchor, Cell, Column, Figure, Mark, Subject, Svg, Table};
use crate::analysis::{Scope, Weighting};
use crate::detector::Detector;
use crate::results::{Outcome, Run};

/// The figures, where runs have several detectors: outcomes under each, and what each made of those without.
pub(super) fn figures(subject: &Subject) -> Vec<Figure> {
    let detectors = &subject.first().run.manifest.plan.detectors;
    if detectors.len() < 2 || subject.first().run.records.is_empty() {
        return Vec::new();
    }
    let mut all = vec![outcomes(subject, detectors)];
    if detectors.contains(&Detector::None) {
        all.push(changes(subject));
    }
    all
}

/// The network's outcomes under each detector.
fn outcomes(subject: &Subject, detectors: &[Detector]) -> Figure {
    let mut columns = vec![
        Column::text("run", "run"),
        Column::text("detector", "detector"),
        Column::count("n", "n"),
    ];
    columns.extend(OUTCOMES.map(|(class, name)| Column::rate(class, name)));
    columns.push(Column::count("alarms", "false alarms"));
    columns.push(Column::count("images", "of images without a fault"));
    let mut table = Table::new(columns);
    let mut svg = Svg::new(760.0, 0.0);
    let axis = legend(&mut svg);
    let mut y = 34.0;
    for side in &subject.sides {
        if subject.sides.len() > 1 {
            y += 20.0;
            svg.text([0.0, y], Anchor::Start, &side.name, Mark::new("head"));
            y += 6.0;
        }
        for detector in detectors {
            let Some(row) = side.of_network(Weighting::Uniform, *detector) else { continue };
            if row.rates.records == 0 {
                continue;
            }
            let rates = of(&row.rates);
            let alarms = side
                .run
                .manifest
                .fault_free
                .as_ref()
                .and_then(|of| of.false_alarms)
                .filter(|_| detector.needs_ranges());
            let mut cells: Vec<Cell> =
                vec![side.name.clone().into(), detector.name().into(), row.rates.records.into()];
            cells.extend(rates.map(Cell::from));
            cells.push(alarms.map(|of| of.alarms as u64).into());
            cells.push(alarms.map(|of| of.images as u64).into());
            table.push(None, cells);
            bar(&mut svg, &axis, y, detector.name(), &rates);
            y += 30.0;
        }
    }
    axis.draw_percent(&mut svg, y + 2.0);
    svg.height = y + 24.0;
    let about: Vec<String> = detectors
        .iter()
        .map(|detector| format!("{}: {}", detector.name(), detector.about()))
        .collect();
    Figure::new(
        "detectors",
        "What detectors make of the same faults",
        format!(
            "Each bar is the same faults, judged under another simulated detector, layers counting alike. {}. A false alarm is \
             an image in which, without any fault, some value of a layer lies outside its range.",
            about.join(". ")
        ),
        svg,
        table,
    )
}

/// How many injections of a run had one outcome without a detector and another one with it, the last layer once.
fn moved(run: &Run, detector: Detector) -> BTreeMap<(usize, usize), u64> {
    let number = |outcome: Outcome| match outcome {
        Outcome::Masked => 0,
        Outcome::Benign => 1,
        Outcome::Sdc => 2,
        Outcome::Nonfinite => 3,
    };
    let mut counts = BTreeMap::new();
    for layer in Scope::ALL.layers(run) {
        let without: BTreeMap<u64, usize> = run
            .of(layer, Detector::None)
            .map(|record| (record.n, number(record.effect.outcome)))
            .collect();
        for record in run.of(layer, detector) {
            if let Some(from) = without.get(&record.n) {
                *counts.entry((*from, number(record.effect.outcome))).or_insert(0) += 1;
            }
        }
    }
    counts
}

/// What detectors made of the outcomes without them.
fn changes(subject: &Subject) -> Figure {
    let mut table = Table::new([
        Column::text("run", "run"),
        Column::text("detector", "detector"),
        Column::text("without", "outcome without it"),
        Column::text("with", "outcome with it"),
        Column::count("injections", "injections"),
    ]);
    let mut svg = Svg::new(560.0, 0.0);
    let mut y = 4.0;
    for side in &subject.sides {
        for detector in &side.run.manifest.plan.detectors {
            if *detector == Detector::None {
                continue;
            }
            let counts = moved(side.run, *detector);
            let title = format!("{}, {}", side.name, detector.name());
            svg.text([0.0, y + 12.0], Anchor::Start, &title, Mark::new("head"));
            for (column, (_, word)) in OUTCOMES.iter().enumerate() {
                svg.text(
                    [210.0 + 90.0 * column as f64, y + 34.0],
                    Anchor::End,
                    word,
                    Mark::new("tick"),
                );
            }
            svg.line([0.0, y + 40.0], [490.0, y + 40.0], Mark::new("base"));
            y += 40.0;
            for (from, (class, word)) in OUTCOMES.into_iter().enumerate() {
                y += 20.0;
                svg.rect([0.0, y - 10.0], [10.0, y], Mark::new(class));
                svg.text([16.0, y], Anchor::Start, &format!("{word} without"), Mark::default());
                for (to, (_, with)) in OUTCOMES.into_iter().enumerate() {
                    let count = counts.get(&(from, to)).copied().unwrap_or(0);
                    let words = if count == 0 { "–".into() } else { count.to_string() };
                    let class = if from == to { "tick number" } else { "number" };
                    svg.text([210.0 + 90.0 * to as f64, y], Anchor::End, &words, Mark::new(class));
                    if count > 0 {
                        table.push(
                            None,
                            vec![
                                side.name.clone().into(),
                                detector.name().into(),
                                word.into(),
                                with.into(),
                                count.into(),
                            ],
                        );
                    }
                }
            }
            y += 30.0;
        }
    }
    svg.height = y;
    Figure::new(
        "caught",
        "What a detector changed",
        "Lines are outcomes of an injection without a detector, columns the outcome of the same injection with it. SDC \
         and nonfinite that became masked or benign were caught; nonfinite that became SDC was made silent; what moves to \
         the right is what the detector cost.",
        svg,
        table,
    )
}
