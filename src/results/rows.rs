//! Records as rows for other programs: what CSV and Parquet have in common.

use super::manifest::Manifest;
use super::record::Record;
use super::run::Run;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// Whole numbers, absent where there is none.
    Int,
    /// f64; NaN where an answer isn't finite.
    Float,
    Bool,
}

/// The columns, in order: where, what, and what came of it. `docs/reading-results.md` explains each.
pub const COLUMNS: [(&str, Kind); 38] = [
    ("layer", Kind::Text),
    ("layer_type", Kind::Text),
    ("injection", Kind::Int),
    ("detector", Kind::Text),
    ("site", Kind::Text),
    (KERNEL, Kind::Text),
    ("image", Kind::Int),
    ("image_path", Kind::Text),
    ("label", Kind::Int),
    ("flips", Kind::Int),
    ("shape", Kind::Text),
    ("element", Kind::Int),
    ("channel", Kind::Int),
    ("row", Kind::Int),
    ("column", Kind::Int),
    ("k", Kind::Int),
    ("bit", Kind::Int),
    ("flip_mask", Kind::Text),
    ("before", Kind::Text),
    ("after", Kind::Text),
    ("seen", Kind::Text),
    ("golden_top1", Kind::Int),
    ("faulty_top1", Kind::Int),
    ("mismatch", Kind::Bool),
    ("golden_loss", Kind::Float),
    ("faulty_loss", Kind::Float),
    ("delta_loss", Kind::Float),
    ("golden_p_label", Kind::Float),
    ("faulty_p_label", Kind::Float),
    ("delta_p_label", Kind::Float),
    ("golden_top2diff", Kind::Float),
    ("faulty_top2diff", Kind::Float),
    ("outcome", Kind::Text),
    ("sdc5", Kind::Bool),
    ("sample_weight", Kind::Float),
    ("golden_logits_hash", Kind::Text),
    ("faulty_logits_hash", Kind::Text),
    (PAIR_KEY, Kind::Text),
];

/// The column by which layers of two models stand beside each other, as `compare` has them.
pub const PAIR_KEY: &str = "pair_key";

/// The column that names what computed a layer: all that may differ between devices of equal bits.
pub const KERNEL: &str = "kernel_variant";

/// What stands in a row of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Text(String),
    Int(u64),
    Float(f64),
    Bool(bool),
    /// There is nothing to say: a coordinate of a parameter, a place of several.
    None,
}

impl Run {
    /// The cells of every record, in the order of layer, number and detector.
    pub fn rows(&self) -> impl Iterator<Item = [Cell; COLUMNS.len()]> + '_ {
        let images: std::collections::HashMap<usize, usize> =
            self.manifest.images.iter().enumerate().map(|(at, row)| (row.image, at)).collect();
        self.records.iter().map(move |record| cells(&self.manifest, &images, record))
    }
}

fn cells(
    manifest: &Manifest,
    images: &std::collections::HashMap<usize, usize>,
    record: &Record,
) -> [Cell; COLUMNS.len()] {
    let text = |text: &str| Cell::Text(text.to_string());
    let int = |value: Option<u64>| value.map_or(Cell::None, Cell::Int);
    let hex = |value: Option<u32>| value.map_or(Cell::None, |v| Cell::Text(format!("{v:08x}")));
    let layer = &manifest.layers[record.layer];
    let image = images.get(&record.image).map(|at| &manifest.images[*at]);
    let (golden, faulty) = (record.golden, record.effect.score);
    let place = record.place;
    let shape = layer.shape_at(record.site);
    let at = place.and_then(|place| layer.coordinates(record.site, place.element));
    let values = record.values();
    let bit = record.mask().filter(|mask| mask.is_power_of_two()).map(u32::trailing_zeros);
    [
        text(&layer.name),
        text(&layer.kind),
        Cell::Int(record.n),
        text(record.detector.name()),
        text(record.site.name()),
        text(&layer.variant),
        Cell::Int(record.image as u64),
        image.map_or(Cell::None, |row| text(&row.path)),
        int(image.map(|row| u64::from(row.label))),
        Cell::Int(record.flips.into()),
        // A scalar has none.
        shape
            .filter(|sizes| !sizes.is_empty())
            .map_or(Cell::None, |sizes| text(&sizes_text(sizes))),
        int(place.map(|place| place.element)),
        int(at.map(|at| at[0])),
        int(at.map(|at| at[1])),
        int(at.map(|at| at[2])),
        int(place.filter(|_| record.site.has_term()).map(|place| place.k.into())),
        int(bit.map(u64::from)),
        hex(record.mask()),
        hex(values.map(|values| values.before)),
        hex(values.map(|values| values.after)),
        hex(values.map(|values| values.seen)),
        Cell::Int(golden.top1 as u64),
        Cell::Int(faulty.top1 as u64),
        Cell::Bool(golden.top1 != faulty.top1),
        Cell::Float(golden.loss),
        Cell::Float(faulty.loss),
        Cell::Float(record.delta_loss()),
        Cell::Float(golden.p_label),
        Cell::Float(faulty.p_label),
        Cell::Float(record.delta_p()),
        Cell::Float(golden.top2diff),
        Cell::Float(faulty.top2diff),
        text(record.effect.outcome.name()),
        Cell::Bool(record.effect.sdc5),
        Cell::Float(manifest.plan.weight(record.n)),
        image.map_or(Cell::None, |row| Cell::Text(format!("{:016x}", row.hash))),
        Cell::Text(format!("{:016x}", record.effect.hash)),
        text(&layer.pair_key),
    ]
}

/// Sizes with an x between them.
fn sizes_text(sizes: &[usize]) -> String {
    let sizes: Vec<String> = sizes.iter().map(usize::to_string).collect();
    sizes.join("x")
}
