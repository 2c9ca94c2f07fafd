//! Requirements: what a figure of a campaign has to keep to. Its interval decides.

use std::str::FromStr;

use serde::Serialize;
use strum::{EnumIter, IntoEnumIterator, IntoStaticStr};

use super::breakdown::{Figures, RunPart};
use super::column::ReportColumn;
use super::scope::Weighting;
use crate::detector::Detector;
use crate::error::shorten;
use crate::statistics::Estimate;
use crate::tape::pair_name;
use crate::{Error, Result};

/// A figure that has to keep to a bound: `[WHERE:]FIGURE<NUMBER`.
///
/// `<`, `<=`, `>` and `>=` compare; a number may be in percent (`sdc<2%`). WHERE is `network` (layers alike; what is meant
/// if nothing is said), `neurons` or `macs` (the network weighted so), `layers` (each of them), or a layer's name.
#[derive(Clone, Debug, PartialEq)]
pub struct Requirement {
    /// As it was written.
    text: String,
    /// `None` where it doesn't say.
    wanted: Option<RequiredRows>,
    figure: ReportColumn,
    relation: Relation,
    bound: f64,
}

/// Which rows of a report a requirement is about.
#[derive(Clone, Debug, PartialEq)]
enum RequiredRows {
    Network(Weighting),
    EachLayer,
    Layer(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, EnumIter)]
enum Relation {
    // Longer words first: `<` is the beginning of `<=`.
    #[strum(serialize = "<=")]
    AtMost,
    #[strum(serialize = ">=")]
    AtLeast,
    #[strum(serialize = "<")]
    Below,
    #[strum(serialize = ">")]
    Above,
}

impl Relation {
    fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Relation::AtMost => value <= bound,
            Relation::AtLeast => value >= bound,
            Relation::Below => value < bound,
            Relation::Above => value > bound,
        }
    }
}

impl FromStr for Requirement {
    type Err = Error;

    fn from_str(text: &str) -> Result<Requirement> {
        let refuse = |detail: String| Error::usage(format!("'{}': {detail}", shorten(text, 100)));
        let at = |relation: Relation| text.find(<&str>::from(relation)).map(|at| (at, relation));
        let (at, relation) = Relation::iter().find_map(at).ok_or_else(|| {
            refuse("a requirement compares a figure with a number, as in 'sdc<0.02'".into())
        })?;
        let (left, right) = (&text[..at], &text[at + <&str>::from(relation).len()..]);
        let (wanted, figure) = match left.rsplit_once(':') {
            Some((wanted, figure)) => (Some(RequiredRows::of(wanted.trim())), figure),
            None => (None, left),
        };
        let figure: ReportColumn = figure.trim().parse()?;
        let (number, unit) = match right.trim().strip_suffix('%') {
            Some(number) => (number.trim_end(), 0.01),
            None => (right.trim(), 1.0),
        };
        let bound: f64 =
            number.parse().map_err(|_| refuse(format!("'{}' is no number", shorten(right, 40))))?;
        let bound = bound * unit;
        let is_loss = figure == ReportColumn::DeltaLoss;
        if is_loss && unit != 1.0 {
            return Err(refuse("ΔLoss is in nats, not in percent".into()));
        }
        if !(bound.is_finite() && bound >= 0.0) {
            return Err(refuse("a bound is a finite number that isn't below 0".into()));
        }
        if !is_loss && bound > 1.0 {
            let figure: &str = figure.into();
            return Err(refuse(format!("{figure} is between 0 and 1; 2 % is written 0.02 or 2%")));
        }
        Ok(Requirement { text: text.into(), wanted, figure, relation, bound })
    }
}

impl RequiredRows {
    fn of(word: &str) -> RequiredRows {
        match word {
            "network" => RequiredRows::Network(Weighting::Uniform),
            "neurons" => RequiredRows::Network(Weighting::Neurons),
            "macs" => RequiredRows::Network(Weighting::Macs),
            "layers" => RequiredRows::EachLayer,
            name => RequiredRows::Layer(name.into()),
        }
    }

    fn includes(&self, row: &Figures) -> bool {
        let name = row.layer.as_deref();
        match (self, row.part) {
            (RequiredRows::Network(wanted), RunPart::Network { weighting }) => *wanted == weighting,
            (RequiredRows::EachLayer, RunPart::Layer {}) => true,
            (RequiredRows::Layer(wanted), RunPart::Layer {}) => {
                name.is_some_and(|name| name == wanted || pair_name(name) == wanted)
            }
            _ => false,
        }
    }
}

/// What an interval says of a requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// The whole interval keeps to the bound.
    #[strum(serialize = "satisfied")]
    Satisfied,
    /// None of it does.
    #[strum(serialize = "violated")]
    Violated,
    /// The interval holds the bound, or there is none: more injections would tell.
    #[strum(serialize = "not known at this n")]
    NotKnown,
}

impl Decision {
    /// The words in a report.
    pub fn words(self) -> &'static str {
        self.into()
    }

    fn of(requirement: &Requirement, Estimate { low, high, .. }: Estimate) -> Decision {
        let holds = |value| requirement.relation.holds(value, requirement.bound);
        match (low.is_nan() || high.is_nan(), holds(low), holds(high)) {
            (false, true, true) => Decision::Satisfied,
            (false, false, false) => Decision::Violated,
            _ => Decision::NotKnown,
        }
    }
}

/// A requirement, held against one row of a report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Checked {
    /// As it was written.
    pub requirement: String,
    pub detector: Detector,
    /// `None`: of all layers.
    pub layer: Option<String>,
    #[serde(flatten)]
    pub part: RunPart,
    pub records: u64,
    /// A share, or ΔLoss in nats.
    pub estimate: Estimate,
    /// Whether it is a share.
    #[serde(skip)]
    pub is_share: bool,
    pub decision: Decision,
}

/// Holds requirements against `figures`, which are those of layers and of the network, or of the layers alone that all
/// requirements are about. Each is held against every row that it names, under every detector of `figures` that has its
/// figure.
///
/// # Errors
/// [`Error::Usage`] where a requirement names rows that aren't there, or a figure that no detector has.
pub fn check(requirements: &[Requirement], figures: &[Figures]) -> Result<Vec<Checked>> {
    let has_layers_alone = figures.iter().all(|row| matches!(row.part, RunPart::Layer {}));
    let mut all = Vec::new();
    for requirement in requirements {
        let text = &requirement.text;
        if has_layers_alone && requirement.wanted.is_some() {
            let detail =
                "with --layer every requirement is about those layers and names none itself";
            return Err(Error::usage(format!("'{text}': {detail}")));
        }
        let wanted = match &requirement.wanted {
            Some(wanted) => wanted.clone(),
            None if has_layers_alone => RequiredRows::EachLayer,
            None => RequiredRows::Network(Weighting::Uniform),
        };
        let rows: Vec<&Figures> = figures.iter().filter(|row| wanted.includes(row)).collect();
        if rows.is_empty() {
            let mut layers: Vec<&str> =
                figures.iter().filter_map(|row| row.layer.as_deref()).collect();
            // Once, not once a detector.
            let mut known = std::collections::HashSet::new();
            layers.retain(|layer| known.insert(*layer));
            return Err(Error::usage(format!(
                "'{text}': what it names isn't there; known: network, neurons, macs, layers, {}",
                layers.join(", ")
            )));
        }
        let before = all.len();
        all.extend(rows.into_iter().filter_map(|row| {
            let estimate = requirement.figure.of(row)?;
            Some(Checked {
                requirement: text.clone(),
                detector: row.detector,
                layer: row.layer.clone(),
                part: row.part,
                records: row.rates.records,
                estimate,
                is_share: requirement.figure != ReportColumn::DeltaLoss,
                decision: Decision::of(requirement, estimate),
            })
        }));
        if all.len() == before {
            return Err(Error::usage(format!(
                "'{text}': mean ΔLoss is known under a detector that bounds it alone, as range does"
            )));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(requirement: &str, low: f64, high: f64) -> Decision {
        let requirement: Requirement = requirement.parse().unwrap();
        Decision::of(&requirement, Estimate { value: (low + high) / 2.0, low, high })
    }

    #[test]
    fn intervals_decide() {
        assert_eq!(decided("sdc<0.02", 0.01, 0.019), Decision::Satisfied);
        assert_eq!(decided("sdc<2%", 0.01, 0.02), Decision::NotKnown);
        assert_eq!(decided("sdc<=0.02", 0.01, 0.02), Decision::Satisfied);
        assert_eq!(decided("sdc<0.02", 0.02, 0.03), Decision::Violated);
        assert_eq!(decided("sdc<=0.02", 0.02, 0.03), Decision::NotKnown);
        assert_eq!(decided("masked > 90 %", 0.91, 0.95), Decision::Satisfied);
        assert_eq!(decided("masked>=0.9", 0.8, 0.89), Decision::Violated);
        assert_eq!(decided("delta-loss<3", f64::NAN, f64::NAN), Decision::NotKnown);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (text, why) in [
            ("sdc", "compares a figure"),
            ("sdc=0.02", "compares a figure"),
            ("sdc<", "no number"),
            ("sdc<two", "no number"),
            ("sdc<2", "between 0 and 1"),
            ("sdc<-1", "isn't below 0"),
            ("sdc<nan", "isn't below 0"),
            ("sdc<<0.1", "no number"),
            ("delta-loss<5%", "in nats"),
            ("loss<0.1", "known: masked, benign, sdc"),
            ("network:<0.1", "known: masked"),
        ] {
            let error = text.parse::<Requirement>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
