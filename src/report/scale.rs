//! What tables and footers say of the scale of logits: ratios at other scales, ranges, temperatures; and of false
//! alarms, which like those are found without any fault.

use super::{any_size, interval};
use crate::analysis::compare::{AtScale, Comparison, Improvement, Reason, Verdict};
use crate::analysis::{Intervals, Scope, select};
use crate::detector::Detector;
use crate::plan::Temperature;
use crate::results::{FalseAlarms, FaultFree, Measure, Run};

/// A number to four digits.
fn short(value: f64) -> String {
    let digits = if value.abs() < 1e-2 || value.abs() >= 1e4 { None } else { Some(value) };
    match digits {
        None => format!("{value:.3e}"),
        Some(value) => {
            let whole = value.abs().log10().floor() as i32;
            format!("{value:.*}", (3 - whole).max(0) as usize)
        }
    }
}

/// What is known of a network without faults.
pub(super) fn fault_free(of: &FaultFree) -> String {
    let FaultFree { logit_range, fitted_temperature, false_alarms } = of;
    let words = [
        logit_range.map(|range| format!("range of the logits {}", short(range))),
        fitted_temperature.map(|fitted| format!("fitted temperature {}", short(fitted))),
        false_alarms.map(|FalseAlarms { alarms, images }| {
            format!("false alarms of the ranges on {alarms} of {images} images")
        }),
    ];
    words.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// What a run says of its network without faults, and its mean ΔLoss at other temperatures; nothing of a run that
/// doesn't.
pub(super) fn run_words(run: &Run, how: &Intervals) -> Vec<String> {
    let manifest = &run.manifest;
    let mut lines = Vec::new();
    if let Some(of) = &manifest.fault_free {
        let words = fault_free(of);
        if !words.is_empty() {
            lines.push(format!("Without faults: {words}."));
        }
    }
    let mut means = vec![("as trained".to_string(), Measure::DeltaLoss)];
    for (place, (label, value)) in
        manifest.plan.temperatures.iter().zip(&manifest.temperatures).enumerate()
    {
        let words = match label {
            Temperature::Number(_) => format!("at temperature {label}"),
            _ => format!("at {label} (temperature {})", short(*value)),
        };
        means.push((words, Measure::DeltaLossAt(place)));
    }
    let layers = Scope::ALL.layers(run);
    let is_known = manifest.plan.detectors.contains(&Detector::Range) && !layers.is_empty();
    if means.len() > 1 && is_known {
        let words = means.into_iter().filter_map(|(words, measure)| {
            let all = select(run, layers.clone(), Detector::Range);
            Some(format!("{words} {}", any_size(&all.mean(measure, how).ok()?)))
        });
        let words: Vec<String> = words.collect();
        lines.push(format!(
            "Mean ΔLoss under the range detector, all layers alike: {}.",
            words.join("; ")
        ));
    }
    lines
}

/// Which of the ratios at a temperature.
type RatioAtScale = fn(&AtScale) -> Option<Improvement>;

/// Lines of a table of readings for every temperature that some row has.
pub(super) fn readings(
    rows: &[Comparison],
    words: &dyn Fn(&Improvement) -> String,
) -> Vec<Vec<String>> {
    let mut known: Vec<Temperature> = Vec::new();
    for at in rows.iter().flat_map(|row| &row.scales) {
        if !known.contains(&at.temperature) {
            known.push(at.temperature);
        }
    }
    let mut lines = Vec::new();
    for label in known {
        let kinds: [(&str, RatioAtScale); 3] = [
            ("last layer, after the scale", |at| at.last_layer),
            ("overall, layers alike", |at| at.all_layers),
            ("overall without the extra Linear, layers alike", |at| {
                at.all_layers_without_embedding
            }),
        ];
        for (name, of) in kinds {
            let cell = |row: &Comparison| {
                let mut scales = row.scales.iter();
                let found = scales.find(|at| at.temperature == label).and_then(of);
                found.map_or_else(|| "–".into(), |improvement| words(&improvement))
            };
            let first = format!("{name}, {}", phrase(&label));
            lines.push(std::iter::once(first).chain(rows.iter().map(cell)).collect());
        }
    }
    lines
}

/// A temperature in a line's name.
fn phrase(label: &Temperature) -> String {
    match label {
        Temperature::Fit => "at fitted temperature".into(),
        Temperature::Range(range) => format!("at equal range of the logits ({range})"),
        Temperature::Number(value) => format!("at temperature {value}"),
    }
}

/// The ratios that a verdict wasn't given for, where they depend on the scale.
pub(super) fn numbers(row: &Comparison) -> String {
    if row.reliability.delta_loss != Verdict::None(Reason::DependsOnScale) {
        return String::new();
    }
    let trained = row.all_layers().map(|of| format!("as trained {}", interval(&of.ratio, 2)));
    let scales = row.scales.iter().filter_map(|at| {
        let of = at.all_layers.as_ref()?;
        Some(format!("{} {}", phrase(&at.temperature), interval(&of.ratio, 2)))
    });
    let all: Vec<String> = trained.into_iter().chain(scales).collect();
    format!(" (all layers alike: {})", all.join(", "))
}

/// What a reader must know of a row's scales.
pub(super) fn footer(row: &Comparison) -> Vec<String> {
    let about = format!("{} against {}", row.models[1], row.models[0]);
    let mut lines = Vec::new();
    let known = row.fault_free.iter().zip(["the baseline", "the other"]);
    let sides = known.filter_map(|(of, name)| {
        let words = fault_free(of.as_ref()?);
        (!words.is_empty()).then(|| format!("{name}: {words}"))
    });
    let sides: Vec<String> = sides.collect();
    if !sides.is_empty() {
        lines.push(format!("{about}, without faults; {}.", sides.join("; ")));
    }
    if row.scales.is_empty() && row.all_layers().is_some() {
        let said = row.temperatures.each_ref().map(|all| {
            let words: Vec<String> = all.iter().map(Temperature::to_string).collect();
            if words.is_empty() { "none".into() } else { words.join(", ") }
        });
        let why = match said {
            [a, b] if a == b => String::new(),
            [a, b] => format!(", since the runs have no temperature in common ({a}; {b})"),
        };
        lines.push(format!(
            "{about}: nothing here tells the scale of the logits from reliability{why}. For ratios at other scales run both \
             campaigns with --temperature fit,range={}.",
            row.fault_free[0].and_then(|of| of.logit_range).map_or_else(|| "20".into(), short)
        ));
    }
    let values = row.scales.iter().map(|at| {
        let [a, b] = at.values.map(short);
        format!("{}: {a} (the baseline) and {b} (the other)", at.temperature)
    });
    let values: Vec<String> = values.collect();
    if !values.is_empty() {
        lines.push(format!(
            "{about}: what the logits were divided by: {}. No answer changes by that. These ratios are \
             controls of those as trained: no readings of the family, their verdicts are their intervals'.",
            values.join("; ")
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_four_digits() {
        let found = [18.512, 1.0, 0.0123456, 1234.6, 5.2e-5, 3.0002e7].map(short);
        assert_eq!(found, ["18.51", "1.000", "0.01235", "1235", "5.200e-5", "3.000e7"]);
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        let of = FaultFree { logit_range: Some(20.0), ..FaultFree::default() };
        assert_eq!(fault_free(&of), "range of the logits 20.00");
        let alarms = FalseAlarms { alarms: 3, images: 893 };
        let all = FaultFree { fitted_temperature: Some(1.42), false_alarms: Some(alarms), ..of };
        assert_eq!(
            fault_free(&all),
            "range of the logits 20.00, fitted temperature 1.420, false alarms of the ranges on 3 of 893 images"
        );
        assert_eq!(fault_free(&FaultFree::default()), "");
    }
}
