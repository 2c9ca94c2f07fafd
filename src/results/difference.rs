//! In what two runs of one campaign differ, to the bit.

use super::rows::{KERNEL, Row, RowValue, columns};
use super::run::Run;

impl Run {
    /// The first thing in which `other` isn't the same campaign with the same results to the bit, in words; `None` if it
    /// is. Kernels may have other names.
    pub fn difference(&self, other: &Run) -> Option<String> {
        self.manifest
            .difference(&other.manifest)
            .or_else(|| self.record_difference(other))
            .or_else(|| self.counted_difference(other))
    }

    /// The first record that isn't the same.
    fn record_difference(&self, other: &Run) -> Option<String> {
        let mut columns = columns(&self.manifest.plan);
        columns.retain(|(name, ..)| name != KERNEL);
        for (was, is) in self.rows().zip(other.rows()) {
            let found = columns.iter().find_map(|(name, _, cell)| {
                let (was, is) = (text(&cell(&was)), text(&cell(&is)));
                (was != is).then(|| format!("'{name}' is {was} and {is}"))
            });
            if let Some(found) = found {
                return Some(format!("{}: {found}", self.place(&was)));
            }
        }
        let (was, is) = (self.records.len(), other.records.len());
        (was != is).then(|| format!("there are {was} and {is} records"))
    }

    /// Which record it is, in words.
    fn place(&self, row: &Row<'_>) -> String {
        let record = row.record();
        let layer = &self.manifest.layers[record.layer].name;
        format!(
            "injection {} of layer '{layer}' under detector {}",
            record.n,
            record.detector.name()
        )
    }

    /// The first layer and image of which a census says something else.
    fn counted_difference(&self, other: &Run) -> Option<String> {
        let all = |run: &Run| -> Vec<(usize, usize, usize, u64)> {
            let of = |((layer, place), images): ((usize, usize), &[(usize, f64)])| {
                let of_image =
                    |(image, mean): &(usize, f64)| (layer, place, *image, mean.to_bits());
                images.iter().map(of_image).collect::<Vec<_>>()
            };
            run.counted.iter().flat_map(of).collect()
        };
        let (was, is) = (all(self), all(other));
        let longer = was.len().max(is.len());
        let at = (0..longer).find(|at| was.get(*at) != is.get(*at))?;
        let (layer, _, image, _) = was.get(at).or(is.get(at))?;
        let layer = &self.manifest.layers.get(*layer)?.name;
        Some(format!("what is counted of layer '{layer}' in image {image} differs"))
    }
}

/// A value, told apart by all of its bits.
fn text(value: &RowValue) -> String {
    match value {
        RowValue::Text(text) => text.clone(),
        RowValue::Int(value) => value.to_string(),
        RowValue::Bool(value) => value.to_string(),
        // Finite ones are written so that they read back exactly; which NaN it is, nothing says.
        RowValue::Float(value) => format!("{value:?}"),
        RowValue::None => "nothing".into(),
    }
}
