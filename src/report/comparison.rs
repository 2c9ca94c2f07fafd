//! `compare`'s table.

use super::{interval, ratio, table};
use crate::campaign::compare::Comparison;

/// Two runs compared, as text.
pub fn comparison_text(comparison: &Comparison) -> String {
    let [baseline, other] = &comparison.models;
    let mut rows = Vec::new();
    let nats = |value: f64| format!("{value:.6}");
    for (name, improvement) in [
        ("last layer, after the scale", &comparison.last_layer),
        ("last layer, before the scale", &comparison.last_layer_before_scale),
    ] {
        if let Some(i) = improvement {
            rows.push(vec![name.into(), nats(i.baseline), nats(i.other), ratio(i)]);
        }
    }
    for overall in &comparison.overall {
        let i = &overall.improvement;
        let name = format!(
            "all layers{}, weight: {}",
            if overall.embedding { "" } else { " but the extra Linear" },
            overall.weighting.words(),
        );
        rows.push(vec![name, nats(i.baseline), nats(i.other), ratio(i)]);
    }
    let header = ["mean ΔLoss (range detector)", baseline, other, "ratio"];
    let mut text = table(&header, rows);
    let rows = comparison.rates.iter().map(|rate| {
        vec![
            format!("{} %, detector {}", rate.outcome.name(), rate.detector.name()),
            interval(&rate.baseline, 3),
            interval(&rate.other, 3),
            interval(&rate.difference, 3),
        ]
    });
    text.push_str("\n\n");
    text.push_str(&table(
        &["rates, all layers alike", baseline, other, "difference, points"],
        rows.collect(),
    ));
    text.push_str(&format!(
        "\n\nTop2Diff, fault-free: {} percentage points.\n{} images, {} injections a layer; \
         intervals hold 95 % and cover the sampling of faults, not training. A ratio below 1 is \
         worse; an interval that holds 1 shows no difference.\n",
        interval(&comparison.top2diff, 3),
        comparison.images,
        comparison.injections,
    ));
    text
}
