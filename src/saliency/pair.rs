//! The map of an image without and with a fault.

use std::str::FromStr;

use super::cam::{Method, Saliency};
use super::figures::MapFigures;
use super::probe::{Aim, Probe};
use crate::fault::FaultSpec;
use crate::logits::{argmax, probabilities};
use crate::models::Network;
use crate::tape::NodeId;
use crate::{Error, Result};

/// Which class a map is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The network's answer without the fault.
    Predicted,
    /// The image's label.
    Label,
    /// A row of the last layer.
    Row(usize),
}

/// What a map is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapTarget {
    pub class: Class,
    /// Of a text-guided network the cosine to the class's row, not the logit; of one whose feature isn't normalised its
    /// logit.
    pub cosine: bool,
}

impl FromStr for MapTarget {
    type Err = Error;

    /// `predicted`, `label` or the class's number, `cosine:` before it for the cosine.
    fn from_str(text: &str) -> Result<MapTarget> {
        let (cosine, class) = match text.strip_prefix("cosine:") {
            Some(class) => (true, class),
            None => (false, text),
        };
        let class = match class {
            "predicted" => Class::Predicted,
            "label" => Class::Label,
            number => Class::Row(number.parse().map_err(|_| {
                Error::usage(format!(
                    "a target is predicted, label or a class's number, or cosine: and one of these, not '{text}'"
                ))
            })?),
        };
        Ok(MapTarget { class, cosine })
    }
}

/// Which maps are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapRequest {
    /// See [`super::layer`].
    pub layer: NodeId,
    pub method: Method,
    pub target: MapTarget,
}

/// What one pass showed.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub logits: Vec<f32>,
    /// The map, or why there is none.
    pub map: std::result::Result<Saliency, String>,
}

impl Seen {
    /// The answer.
    pub fn top1(&self) -> usize {
        argmax(&self.logits)
    }

    /// Probability of a class; `None` where a logit isn't finite.
    pub fn p(&self, class: usize) -> Option<f64> {
        let is_finite = self.logits.iter().all(|logit| logit.is_finite());
        is_finite.then(|| probabilities(&self.logits)[class])
    }
}

/// The maps of an image without and with a fault, for one target.
#[derive(Clone, Debug, PartialEq)]
pub struct MapPair {
    pub clean: Seen,
    pub faulty: Seen,
    pub aim: Aim,
}

impl MapPair {
    /// The largest value of the two maps: the end of their common scale.
    pub fn largest(&self) -> f64 {
        let of = |seen: &Seen| seen.map.as_ref().map_or(0.0, Saliency::largest);
        of(&self.clean).max(of(&self.faulty))
    }

    /// Figures of the two maps of an image of `height` × `width`; `None` where one of them isn't there.
    pub fn figures(&self, height: usize, width: usize) -> Option<MapFigures> {
        match (&self.clean.map, &self.faulty.map) {
            (Ok(clean), Ok(faulty)) => Some(MapFigures::of(clean, faulty, height, width)),
            _ => None,
        }
    }

    /// How much the fault changes the probability of the target's class; `None` where an answer isn't finite.
    pub fn delta_p(&self) -> Option<f64> {
        let class = self.aim.class;
        Some(self.faulty.p(class)? - self.clean.p(class)?)
    }
}

/// The maps of an image (height × width × channels, normalised) without and with `fault`, which says nothing of which
/// image it hits. `label` is the row of the image's class, where it is known.
///
/// # Errors
/// [`Error::Usage`] for [`Class::Label`] without a label, a class out of range, and a fault-free answer that isn't
/// finite; those of [`Probe`].
pub fn pair(
    network: &Network,
    question: &MapRequest,
    pixels: &[f32],
    label: Option<usize>,
    fault: &FaultSpec,
) -> Result<MapPair> {
    let MapRequest { layer, method, target } = *question;
    let fault = FaultSpec { image: 0, ..fault.clone() };
    let faults = std::slice::from_ref(&fault);
    let mut probe = Probe::new(network, layer, faults)?;
    let clean = probe.answer(pixels, &[])?;
    if clean.iter().any(|logit| !logit.is_finite()) {
        return Err(Error::usage("the network's answer without the fault holds NaN or infinity"));
    }
    let class = match target.class {
        Class::Predicted => argmax(&clean),
        Class::Row(class) => class,
        Class::Label => {
            label.ok_or_else(|| Error::usage("the target is the label, which isn't known"))?
        }
    };
    let cosine = target.cosine && network.model.head.has_cosines();
    let aim = Aim { class, cosine };
    let clean = Seen { map: probe.map(method, aim)?, logits: clean };
    let faulty = probe.answer(pixels, faults)?;
    let faulty = Seen { map: probe.map(method, aim)?, logits: faulty };
    Ok(MapPair { clean, faulty, aim })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read() {
        let read = |text: &str| text.parse::<MapTarget>().unwrap();
        assert_eq!(read("predicted"), MapTarget { class: Class::Predicted, cosine: false });
        assert_eq!(read("cosine:label"), MapTarget { class: Class::Label, cosine: true });
        assert_eq!(read("cosine:12"), MapTarget { class: Class::Row(12), cosine: true });
        for text in ["", "-1", "cosine:", "top", "1.5"] {
            let said = text.parse::<MapTarget>().unwrap_err().to_string();
            assert!(said.contains("predicted, label or a class's number"), "{said}");
        }
    }
}
