//! Tables of a run's figures by layer, bit, direction of the flip, channel or position.

use std::collections::BTreeSet;

use serde::Serialize;
use strum::{EnumIter, EnumString, IntoEnumIterator, IntoStaticStr};

use super::quantiles::Quantiles;
use super::rates::{Intervals, Rates, Selection, select};
use super::scope::{Scope, Weighting};
use crate::detector::Detector;
use crate::results::{Direction, LayerRow, Measure, Record, Run};
use crate::statistics::Estimate;
use crate::tape::pair_name;
use crate::{Error, Result};

/// What a run is taken apart by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, EnumIter, EnumString, IntoStaticStr)]
#[strum(serialize_all = "kebab-case", parse_err_ty = Error, parse_err_fn = unknown)]
pub enum By {
    /// Layers, and all of them together in each weighting.
    #[default]
    Layer,
    /// The flipped bit.
    Bit,
    /// Which way bits flipped: 0 to 1, or 1 to 0.
    Direction,
    /// The channel of the value that was hit.
    Channel,
    /// Its row and column.
    Position,
}

fn unknown(word: &str) -> Error {
    Error::unknown::<By>("way to take a run apart", word)
}

/// Which records a part is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(untagged)]
pub enum Part {
    /// One layer.
    Layer {},
    /// All layers, weighted.
    Network {
        weighting: Weighting,
    },
    Bit {
        bit: u32,
    },
    Direction {
        direction: Direction,
    },
    Channel {
        channel: usize,
    },
    Position {
        row: usize,
        column: usize,
    },
}

/// ΔLoss: its mean where the detector bounds it, else its quantiles.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeltaLoss {
    /// In nats, under `range`.
    Mean(Estimate),
    Quantiles(Quantiles),
}

/// The figures of one part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    pub detector: Detector,
    /// `None`: of all layers.
    pub layer: Option<String>,
    #[serde(flatten)]
    pub part: Part,
    pub rates: Rates,
    /// Mean |Δp_label|.
    pub delta_p: Estimate,
    pub delta_loss: DeltaLoss,
    /// Whether the mean ΔLoss is of every fault in the images, counted, rather than of the records.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub counted: bool,
    /// How many records carry half of the mean ΔLoss; `None` where there is no mean of records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub carriers: Option<usize>,
}

/// The figures of `run` under each of `detectors`, taken apart; of one layer where it is named.
///
/// Bits and directions are of all layers, each counting alike, unless one is named; parts without a record are left out.
///
/// # Errors
/// A layer that the run doesn't have; faults that can't be told apart so.
pub fn breakdown(
    run: &Run,
    by: By,
    layer: Option<&str>,
    detectors: &[Detector],
    how: &Intervals,
) -> Result<Vec<Figures>> {
    let layer = layer.map(|name| find(run, name)).transpose()?;
    let mut rows = Vec::new();
    for detector in detectors {
        if !run.manifest.plan.detectors.contains(detector) {
            return Err(Error::usage(format!("the run has no detector '{}'", detector.name())));
        }
        let of = Breakdown { run, detector: *detector, how };
        match by {
            By::Layer => of.layers(layer, &mut rows)?,
            By::Bit => of.flips(layer, by, bit, &mut rows)?,
            By::Direction => of.flips(layer, by, direction, &mut rows)?,
            By::Channel | By::Position => of.places(layer, by, &mut rows)?,
        }
    }
    Ok(rows)
}

struct Breakdown<'r> {
    run: &'r Run,
    detector: Detector,
    how: &'r Intervals,
}

impl<'r> Breakdown<'r> {
    fn select(&self, layers: Vec<usize>) -> Selection<'r> {
        select(self.run, layers, self.detector)
    }

    fn figures(&self, layer: Option<usize>, part: Part, selection: Selection) -> Result<Figures> {
        let delta_loss = match self.detector.bounds_the_mean() {
            true => DeltaLoss::Mean(selection.mean(Measure::DeltaLoss, self.how)?),
            false => DeltaLoss::Quantiles(selection.delta_loss_quantiles()),
        };
        let counted = selection.is_counted();
        let has_mean = self.detector.bounds_the_mean() && selection.counted_layers() == 0;
        Ok(Figures {
            detector: self.detector,
            layer: layer.map(|layer| self.run.manifest.layers[layer].name.clone()),
            part,
            rates: selection.rates(self.how),
            delta_p: selection.mean(Measure::DeltaP, self.how)?,
            delta_loss,
            counted,
            carriers: has_mean.then(|| selection.delta_loss_carriers()),
        })
    }

    /// Which layers are meant: the named one, or all.
    fn chosen(&self, layer: Option<usize>) -> Vec<usize> {
        layer.map_or_else(|| (0..self.run.manifest.layers.len()).collect(), |layer| vec![layer])
    }

    fn layers(&self, layer: Option<usize>, rows: &mut Vec<Figures>) -> Result<()> {
        for index in self.chosen(layer) {
            rows.push(self.figures(Some(index), Part::Layer {}, self.select(vec![index]))?);
        }
        if layer.is_none() {
            for weighting in Weighting::iter() {
                let selection = self.select(Scope::ALL.layers(self.run)).weighted(weighting);
                rows.push(self.figures(None, Part::Network { weighting }, selection)?);
            }
        }
        Ok(())
    }

    /// Parts that `of` makes by what was flipped, of all layers alike unless one is chosen.
    fn flips(
        &self,
        layer: Option<usize>,
        by: By,
        of: fn(&Record) -> Option<Part>,
        rows: &mut Vec<Figures>,
    ) -> Result<()> {
        let layers = layer.map_or_else(|| Scope::ALL.layers(self.run), |layer| vec![layer]);
        for part in self.parts(&layers, by, |_, record| of(record))? {
            let selection =
                self.select(layers.clone()).only(move |record| of(record) == Some(part));
            rows.push(self.figures(layer, part, selection)?);
        }
        Ok(())
    }

    fn places(&self, layer: Option<usize>, by: By, rows: &mut Vec<Figures>) -> Result<()> {
        for index in self.chosen(layer) {
            let row = &self.run.manifest.layers[index];
            for part in self.parts(&[index], by, |row, record| place(row, record, by))? {
                let selection = self
                    .select(vec![index])
                    .only(move |record| place(row, record, by) == Some(part));
                rows.push(self.figures(Some(index), part, selection)?);
            }
        }
        Ok(())
    }

    /// The parts that records of `layers` belong to, in order.
    fn parts(
        &self,
        layers: &[usize],
        by: By,
        of: impl Fn(&LayerRow, &Record) -> Option<Part>,
    ) -> Result<BTreeSet<Part>> {
        let mut found = BTreeSet::new();
        for layer in layers {
            let row = &self.run.manifest.layers[*layer];
            for record in self.run.of(*layer, self.detector) {
                found.insert(of(row, record).ok_or_else(|| {
                    Error::usage(format!(
                        "injection {} into '{}' {}",
                        record.n,
                        row.name,
                        by.refusal()
                    ))
                })?);
            }
        }
        Ok(found)
    }
}

impl By {
    /// What a record that belongs to no part is, and why it is refused.
    fn refusal(self) -> &'static str {
        match self {
            By::Direction => {
                "didn't flip bits of one value in one known direction: the value lies inside a kernel, is one of \
                 several, was set, or its bits flipped both ways; such faults can't be told apart by direction"
            }
            _ => {
                "didn't hit a single bit of a single value of a map: such faults can't be told apart by bit, channel \
                 or position"
            }
        }
    }
}

/// The run's layer called `name`, with or without `backbone.`.
fn find(run: &Run, name: &str) -> Result<usize> {
    let layers = &run.manifest.layers;
    let is_called = |layer: &LayerRow| layer.name == name || pair_name(&layer.name) == name;
    layers.iter().position(is_called).ok_or_else(|| {
        let known: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
        Error::usage(format!(
            "the run has no injections into a layer '{name}'; its layers are: {}",
            known.join(", ")
        ))
    })
}

/// The bit of a fault that flipped one.
fn bit(record: &Record) -> Option<Part> {
    let mask = record.mask().filter(|mask| mask.count_ones() == 1)?;
    Some(Part::Bit { bit: mask.trailing_zeros() })
}

/// Which way a fault flipped bits.
fn direction(record: &Record) -> Option<Part> {
    record.direction().map(|direction| Part::Direction { direction })
}

/// Where the value was that a fault hit.
fn place(layer: &LayerRow, record: &Record, by: By) -> Option<Part> {
    let [channel, row, column] =
        layer.coordinates(record.site, record.place?.element)?.map(|at| at as usize);
    Some(match by {
        By::Channel => Part::Channel { channel },
        _ => Part::Position { row, column },
    })
}
