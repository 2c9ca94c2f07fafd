//! Temperatures: what logits are divided by before ΔLoss is judged a further time.
//!
//! ΔLoss depends on the scale of the logits, which changes no decision. Held against each other at a temperature of
//! their own, two models lose what they differ in by scale alone.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Labels, Plan, Protocol};
use crate::detector::Detector;
use crate::{Error, Result};

/// The most temperatures of a campaign.
pub const MOST_TEMPERATURES: usize = 2;

/// Temperatures and ranges that can be asked for.
const SENSIBLE: std::ops::RangeInclusive<f64> = 1e-6..=1e6;

/// A temperature, as it is asked for. Written as on the command line: `fit`, `range=18.5`, `1.4`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Temperature {
    /// The one of least mean loss over the evaluated images, right and wrong
    /// ([`crate::statistics::fit_temperature`]).
    Fit,
    /// The one at which logits have this range: the largest less the smallest, on average over the fault-free
    /// answers of the campaign.
    Range(f64),
    /// This number.
    Number(f64),
}

impl FromStr for Temperature {
    type Err = Error;

    fn from_str(text: &str) -> Result<Temperature> {
        let positive =
            |text: &str| text.trim().parse::<f64>().ok().filter(|value| SENSIBLE.contains(value));
        let text = text.trim();
        let found = match text.strip_prefix("range=") {
            _ if text == "fit" => Some(Temperature::Fit),
            Some(range) => positive(range).map(Temperature::Range),
            None => positive(text).map(Temperature::Number),
        };
        found.ok_or_else(|| {
            Error::usage(format!(
                "'{text}' isn't a temperature: it is fit, range=R or a number, and numbers lie between 0.000001 and 1000000"
            ))
        })
    }
}

impl fmt::Display for Temperature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Temperature::Fit => write!(f, "fit"),
            Temperature::Range(range) => write!(f, "range={range}"),
            Temperature::Number(value) => write!(f, "{value}"),
        }
    }
}

impl TryFrom<String> for Temperature {
    type Error = Error;

    fn try_from(text: String) -> Result<Temperature> {
        text.parse()
    }
}

impl From<Temperature> for String {
    fn from(temperature: Temperature) -> String {
        temperature.to_string()
    }
}

/// Refuses temperatures that a campaign can't have.
pub(super) fn check(plan: &Plan) -> Result<()> {
    let refuse = |detail: &str| Err(Error::usage(detail));
    let all = &plan.temperatures;
    if all.len() > MOST_TEMPERATURES {
        return refuse("a campaign judges ΔLoss at two temperatures at most, beside as trained");
    }
    if (1..all.len()).any(|i| all[..i].contains(&all[i])) {
        return refuse("a campaign needs no temperature twice");
    }
    if !all.is_empty() && plan.protocol == Protocol::Goldeneye {
        return refuse("the goldeneye protocol has a loss of its own, and takes no temperature");
    }
    if !all.is_empty() && !plan.detectors.contains(&Detector::Range) {
        return refuse(
            "means of ΔLoss are taken under the range detector, at a temperature, too: --temperature has no effect \
             without it",
        );
    }
    if !all.contains(&Temperature::Fit) {
        return Ok(());
    }
    if plan.labels == Labels::Golden {
        return refuse(
            "a temperature is fitted to labels: with the fault-free answer for the label (--labels golden) there is \
             none of least loss. Give a number or range=R",
        );
    }
    if plan.list.is_some() {
        return refuse(
            "a temperature isn't fitted to the images of a list of faults, which may have been chosen by what faults \
             did to them. Give the number that a campaign with --temperature fit has printed",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temperatures_are_written_as_they_are_read() {
        for text in ["fit", "range=18.5", "1.4", "range=20"] {
            let temperature: Temperature = text.parse().unwrap();
            assert_eq!(temperature.to_string(), text);
            let json = serde_json::to_value(temperature).unwrap();
            assert_eq!(json, text);
            assert_eq!(serde_json::from_value::<Temperature>(json).unwrap(), temperature);
        }
        for text in ["", "Fit", "0", "-1", "inf", "NaN", "range", "range=", "range=0", "range=x"] {
            let error = text.parse::<Temperature>().unwrap_err().to_string();
            assert!(error.contains(&format!("'{text}' isn't a temperature")), "{error}");
        }
        assert!(serde_json::from_value::<Temperature>("range=-3".into()).is_err());
    }

    #[test]
    fn what_a_campaign_cannot_have_is_refused() {
        use Temperature::*;
        let plan = |temperatures: &[Temperature]| Plan {
            temperatures: temperatures.to_vec(),
            ..Plan::new(1, 100)
        };
        assert!(plan(&[Fit, Range(20.0)]).check().is_ok());
        let refused = |plan: Plan, words: &str| {
            let error = plan.check().unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        refused(plan(&[Fit, Range(20.0), Number(2.0)]), "two temperatures at most");
        refused(plan(&[Fit, Fit]), "no temperature twice");
        refused(Plan { labels: Labels::Golden, ..plan(&[Fit]) }, "--labels golden");
        refused(Plan { list: Some("a".into()), ..plan(&[Fit]) }, "a list of faults");
        refused(Plan { detectors: vec![Detector::None], ..plan(&[Number(2.0)]) }, "range detector");
        assert!(Plan { labels: Labels::Golden, ..plan(&[Range(2.0)]) }.check().is_ok());
    }
}
