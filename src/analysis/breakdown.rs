//! Tables of a run's figures by layer, bit, direction of the flip, channel or position.

use std::collections::BTreeSet;

use serde::Serialize;
use strum::{EnumIter, EnumString, IntoEnumIterator, IntoStaticStr};

use super::quantiles::Quantiles;
use super::rates::{Intervals, Rates, Selection, select};
use super::scope::{Scope, Weighting};
use crate::detector::Detector;
use crate::results::choice::{Words, choose};
use crate::results::{Direction, LayerRow, Measure, Part as LayerPart, Record, Run};
use crate::statistics::Estimate;
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
pub enum RunPart {
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
    /// A layer, or the patterns of several together; `None`: of all layers.
    pub layer: Option<String>,
    #[serde(flatten)]
    pub part: RunPart,
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

/// The figures of `run` under each of `detectors`, taken apart; of some layers where they are asked for, as
/// [`crate::campaign::choose`] takes them.
///
/// Bits and directions are of all layers together, or of those asked for, each counting alike and the last layer once;
/// parts without a record are left out.
///
/// # Errors
/// A layer that the run doesn't have; faults that can't be told apart so.
pub fn breakdown(
    run: &Run,
    by: By,
    layers: Option<&[&str]>,
    detectors: &[Detector],
    how: &Intervals,
) -> Result<Vec<Figures>> {
    let chosen = layers.map(|patterns| ChosenLayers::of(run, patterns)).transpose()?;
    let chosen = chosen.as_ref();
    let mut rows = Vec::new();
    for detector in detectors {
        if !run.manifest.plan.detectors.contains(detector) {
            return Err(Error::usage(format!("the run has no detector '{}'", detector.name())));
        }
        let of = Breakdown { run, detector: *detector, how };
        match by {
            By::Layer => of.layers(chosen, &mut rows)?,
            By::Bit => of.flips(chosen, by, bit, &mut rows)?,
            By::Direction => of.flips(chosen, by, direction, &mut rows)?,
            By::Channel | By::Position => of.places(chosen, by, &mut rows)?,
        }
    }
    Ok(rows)
}

/// The layers that are asked for.
struct ChosenLayers {
    /// In the run's order.
    layers: Vec<usize>,
    /// What they are called together.
    name: String,
}

impl ChosenLayers {
    fn of(run: &Run, patterns: &[&str]) -> Result<ChosenLayers> {
        let rows = &run.manifest.layers;
        let names: Vec<(&str, &str)> = rows.iter().map(|row| (&*row.name, &*row.kind)).collect();
        let words =
            Words { lacks: "the run has no injections into a layer", known: "its layers are" };
        let layers = choose(&names, patterns, &words)?;
        let name = match layers[..] {
            [one] => rows[one].name.clone(),
            _ => patterns.join(", "),
        };
        Ok(ChosenLayers { layers, name })
    }

    /// Those that count together: the last layer once, after the scale where that is among them.
    fn together(&self, run: &Run) -> Vec<usize> {
        let part = |layer: &usize| run.manifest.layers[*layer].part;
        let has_scale = self.layers.iter().any(|layer| part(layer) == LayerPart::AfterScale);
        let counts = |layer: &usize| !has_scale || part(layer) != LayerPart::LastLayer;
        self.layers.iter().copied().filter(counts).collect()
    }
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

    fn name(&self, layer: usize) -> Option<String> {
        Some(self.run.manifest.layers[layer].name.clone())
    }

    fn figures(
        &self,
        layer: Option<String>,
        part: RunPart,
        selection: Selection,
    ) -> Result<Figures> {
        let delta_loss = match self.detector.bounds_the_mean() {
            true => DeltaLoss::Mean(selection.mean(Measure::DeltaLoss, self.how)?),
            false => DeltaLoss::Quantiles(selection.delta_loss_quantiles()),
        };
        let counted = selection.is_counted();
        let has_mean = self.detector.bounds_the_mean() && selection.counted_layers() == 0;
        Ok(Figures {
            detector: self.detector,
            layer,
            part,
            rates: selection.rates(self.how),
            delta_p: selection.mean(Measure::DeltaP, self.how)?,
            delta_loss,
            counted,
            carriers: has_mean.then(|| selection.delta_loss_carriers()),
        })
    }

    /// Which layers are meant, one by one.
    fn each(&self, chosen: Option<&ChosenLayers>) -> Vec<usize> {
        let all = || (0..self.run.manifest.layers.len()).collect();
        chosen.map_or_else(all, |chosen| chosen.layers.clone())
    }

    fn layers(&self, chosen: Option<&ChosenLayers>, rows: &mut Vec<Figures>) -> Result<()> {
        for index in self.each(chosen) {
            rows.push(self.figures(
                self.name(index),
                RunPart::Layer {},
                self.select(vec![index]),
            )?);
        }
        if chosen.is_none() {
            for weighting in Weighting::iter() {
                let selection = self.select(Scope::ALL.layers(self.run)).weighted(weighting);
                rows.push(self.figures(None, RunPart::Network { weighting }, selection)?);
            }
        }
        Ok(())
    }

    /// Parts that `of` makes by what was flipped, of all layers alike or of those that are chosen.
    fn flips(
        &self,
        chosen: Option<&ChosenLayers>,
        by: By,
        of: fn(&Record) -> Option<RunPart>,
        rows: &mut Vec<Figures>,
    ) -> Result<()> {
        let layers = match chosen {
            Some(chosen) => chosen.together(self.run),
            None => Scope::ALL.layers(self.run),
        };
        let name = chosen.map(|chosen| chosen.name.clone());
        for part in self.parts(&layers, by, |_, record| of(record))? {
            let selection =
                self.select(layers.clone()).only(move |record| of(record) == Some(part));
            rows.push(self.figures(name.clone(), part, selection)?);
        }
        Ok(())
    }

    fn places(&self, chosen: Option<&ChosenLayers>, by: By, rows: &mut Vec<Figures>) -> Result<()> {
        for index in self.each(chosen) {
            let row = &self.run.manifest.layers[index];
            for part in self.parts(&[index], by, |row, record| place(row, record, by))? {
                let selection = self
                    .select(vec![index])
                    .only(move |record| place(row, record, by) == Some(part));
                rows.push(self.figures(self.name(index), part, selection)?);
            }
        }
        Ok(())
    }

    /// The parts that records of `layers` belong to, in order.
    fn parts(
        &self,
        layers: &[usize],
        by: By,
        of: impl Fn(&LayerRow, &Record) -> Option<RunPart>,
    ) -> Result<BTreeSet<RunPart>> {
        let mut found = BTreeSet::new();
        for layer in layers {
            let row = &self.run.manifest.layers[*layer];
            for record in self.run.of(*layer, self.detector) {
                found.insert(of(row, record).ok_or_else(|| by.refused(row, record))?);
            }
        }
        Ok(found)
    }
}

impl By {
    /// What a record that belongs to no part is, and why it is refused.
    pub(super) fn refused(self, layer: &LayerRow, record: &Record) -> Error {
        let why = match self {
            By::Direction => {
                "didn't flip bits of one value in one known direction: the value lies inside a kernel, is one of \
                 several, was set, or its bits flipped both ways; such faults can't be told apart by direction"
            }
            _ => {
                "didn't hit a single bit of a single value of a map: such faults can't be told apart by bit, channel \
                 or position"
            }
        };
        Error::usage(format!("injection {} into '{}' {why}", record.n, layer.name))
    }
}

/// The bit of a fault that flipped one.
pub(super) fn bit(record: &Record) -> Option<RunPart> {
    let mask = record.mask().filter(|mask| mask.count_ones() == 1)?;
    Some(RunPart::Bit { bit: mask.trailing_zeros() })
}

/// Which way a fault flipped bits.
fn direction(record: &Record) -> Option<RunPart> {
    record.direction().map(|direction| RunPart::Direction { direction })
}

/// Where the value was that a fault hit.
fn place(layer: &LayerRow, record: &Record, by: By) -> Option<RunPart> {
    let [channel, row, column] =
        layer.coordinates(record.site, record.place?.element)?.map(|at| at as usize);
    Some(match by {
        By::Channel => RunPart::Channel { channel },
        _ => RunPart::Position { row, column },
    })
}
