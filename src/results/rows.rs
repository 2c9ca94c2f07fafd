//! Records as rows for other programs: what CSV and Parquet have in common.

use std::borrow::Cow;
use std::collections::HashMap;

use super::layer::LayerRow;
use super::manifest::{GoldenRow, Manifest};
use super::record::{Direction, Record};
use super::run::Run;
use crate::plan::{MOST_TEMPERATURES, Plan, Temperature};

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// Whole numbers.
    Int,
    /// f64; NaN where an answer isn't finite.
    Float,
    Bool,
}

/// What stands in a row of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum RowValue {
    Text(String),
    Int(u64),
    Float(f64),
    Bool(bool),
    /// No value: the coordinate of a parameter, the place where several values were hit.
    None,
}

impl From<&str> for RowValue {
    fn from(text: &str) -> RowValue {
        RowValue::Text(text.to_string())
    }
}

impl From<String> for RowValue {
    fn from(text: String) -> RowValue {
        RowValue::Text(text)
    }
}

impl From<u64> for RowValue {
    fn from(value: u64) -> RowValue {
        RowValue::Int(value)
    }
}

impl From<f64> for RowValue {
    fn from(value: f64) -> RowValue {
        RowValue::Float(value)
    }
}

impl From<bool> for RowValue {
    fn from(value: bool) -> RowValue {
        RowValue::Bool(value)
    }
}

impl<T: Into<RowValue>> From<Option<T>> for RowValue {
    fn from(value: Option<T>) -> RowValue {
        value.map_or(RowValue::None, Into::into)
    }
}

/// A record, with what its manifest says of its layer and image.
pub struct Row<'r> {
    manifest: &'r Manifest,
    layer: &'r LayerRow,
    image: Option<&'r GoldenRow>,
    record: &'r Record,
}

/// A column's name, what it holds, and what stands in it.
pub type ExportColumn<Name = &'static str> = (Name, Kind, fn(&Row<'_>) -> RowValue);

/// The columns of any campaign, in order: where, what, and what came of it. `docs/reading-results.md` explains each.
pub const COLUMNS: [ExportColumn; 39] = [
    ("layer", Kind::Text, |row| row.layer.name.as_str().into()),
    ("layer_type", Kind::Text, |row| row.layer.kind.as_str().into()),
    ("injection", Kind::Int, |row| row.record.n.into()),
    ("detector", Kind::Text, |row| row.record.detector.name().into()),
    ("site", Kind::Text, |row| row.record.site.name().into()),
    (KERNEL, Kind::Text, |row| row.layer.variant.as_str().into()),
    ("image", Kind::Int, |row| (row.record.image as u64).into()),
    ("image_path", Kind::Text, |row| row.image.map(|image| image.path.as_str()).into()),
    ("label", Kind::Int, |row| row.image.map(|image| u64::from(image.label)).into()),
    ("flips", Kind::Int, |row| u64::from(row.record.flips).into()),
    ("shape", Kind::Text, |row| row.shape().into()),
    ("element", Kind::Int, |row| row.record.place.map(|place| place.element).into()),
    ("channel", Kind::Int, |row| row.coordinate(0).into()),
    ("row", Kind::Int, |row| row.coordinate(1).into()),
    ("column", Kind::Int, |row| row.coordinate(2).into()),
    ("k", Kind::Int, |row| row.term().into()),
    ("bit", Kind::Int, |row| row.bit().into()),
    ("flip_mask", Kind::Text, |row| row.record.mask().map(bits).into()),
    ("before", Kind::Text, |row| row.record.values().map(|values| bits(values.before)).into()),
    ("after", Kind::Text, |row| row.record.values().map(|values| bits(values.after)).into()),
    ("seen", Kind::Text, |row| row.record.values().map(|values| bits(values.seen)).into()),
    ("golden_top1", Kind::Int, |row| (row.record.golden.top1 as u64).into()),
    ("faulty_top1", Kind::Int, |row| (row.record.effect.score.top1 as u64).into()),
    ("mismatch", Kind::Bool, |row| (row.record.golden.top1 != row.record.effect.score.top1).into()),
    ("golden_loss", Kind::Float, |row| row.record.golden.loss.into()),
    ("faulty_loss", Kind::Float, |row| row.record.effect.score.loss.into()),
    ("delta_loss", Kind::Float, |row| row.record.delta_loss().into()),
    ("golden_p_label", Kind::Float, |row| row.record.golden.p_label.into()),
    ("faulty_p_label", Kind::Float, |row| row.record.effect.score.p_label.into()),
    ("delta_p_label", Kind::Float, |row| row.record.delta_p().into()),
    ("golden_top2diff", Kind::Float, |row| row.record.golden.top2diff.into()),
    ("faulty_top2diff", Kind::Float, |row| row.record.effect.score.top2diff.into()),
    ("outcome", Kind::Text, |row| row.record.effect.outcome.name().into()),
    ("sdc5", Kind::Bool, |row| row.record.effect.sdc5.into()),
    ("sample_weight", Kind::Float, |row| row.manifest.weight(row.record).into()),
    ("golden_logits_hash", Kind::Text, |row| row.image.map(|image| hash(image.hash)).into()),
    ("faulty_logits_hash", Kind::Text, |row| hash(row.record.effect.hash).into()),
    (PAIR_KEY, Kind::Text, |row| row.layer.pair_key.as_str().into()),
    (DIRECTION, Kind::Text, |row| row.record.direction().map(Direction::name).into()),
];

/// What the columns for ΔLoss at temperatures begin with; the temperature follows as it was asked for.
const RESCALED: &str = "delta_loss_at_";

/// The value at each temperature.
const RESCALED_CELLS: [fn(&Row<'_>) -> RowValue; MOST_TEMPERATURES] =
    [|row| row.record.effect.rescaled[0].into(), |row| row.record.effect.rescaled[1].into()];

/// The columns of a campaign: those of any, and before [`PAIR_KEY`] one for ΔLoss at each of its temperatures.
pub fn columns(plan: &Plan) -> Vec<ExportColumn<Cow<'static, str>>> {
    let mut columns: Vec<_> =
        COLUMNS.into_iter().map(|(name, kind, cell)| (Cow::Borrowed(name), kind, cell)).collect();
    let last = columns.iter().position(|(name, ..)| name == PAIR_KEY).unwrap_or(columns.len());
    let rescaled = plan.temperatures.iter().zip(RESCALED_CELLS);
    let rescaled =
        rescaled.map(|(label, cell)| (Cow::Owned(format!("{RESCALED}{label}")), Kind::Float, cell));
    columns.splice(last..last, rescaled);
    columns
}

/// Whether a column is one for ΔLoss at a temperature.
pub fn is_rescaled(name: &str) -> bool {
    name.strip_prefix(RESCALED).is_some_and(|label| label.parse::<Temperature>().is_ok())
}

/// The column by which layers of two models stand beside each other, as `compare` has them.
pub const PAIR_KEY: &str = "pair_key";

/// The column that says which way bits flipped.
pub const DIRECTION: &str = "direction";

/// The column that names what computed a layer: all that may differ between devices of equal bits.
pub const KERNEL: &str = "kernel_variant";

/// Bits of an f32, or a mask of them.
fn bits(value: u32) -> String {
    format!("{value:08x}")
}

fn hash(value: u64) -> String {
    format!("{value:016x}")
}

impl<'r> Row<'r> {
    /// The record that it is of.
    pub fn record(&self) -> &'r Record {
        self.record
    }

    /// Sizes with an x between them; a scalar has none.
    fn shape(&self) -> Option<String> {
        let sizes = self.layer.shape_at(self.record.site).filter(|sizes| !sizes.is_empty())?;
        let sizes: Vec<String> = sizes.iter().map(usize::to_string).collect();
        Some(sizes.join("x"))
    }

    /// The channel, row or column of the value that was hit.
    fn coordinate(&self, axis: usize) -> Option<u64> {
        let at = self.layer.coordinates(self.record.site, self.record.place?.element)?;
        Some(at[axis])
    }

    /// The k or κ of a site that has one.
    fn term(&self) -> Option<u64> {
        let place = self.record.place.filter(|_| self.record.site.has_term());
        place.map(|place| place.k.into())
    }

    /// The bit that was to change, where it was one.
    fn bit(&self) -> Option<u64> {
        let mask = self.record.mask().filter(|mask| mask.is_power_of_two())?;
        Some(mask.trailing_zeros().into())
    }
}

impl Run {
    /// A row a record, in the order of layer, number and detector.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let manifest = &self.manifest;
        let images: HashMap<usize, &GoldenRow> =
            manifest.images.iter().map(|image| (image.image, image)).collect();
        self.records.iter().map(move |record| Row {
            manifest,
            layer: &manifest.layers[record.layer],
            image: images.get(&record.image).copied(),
            record,
        })
    }
}
