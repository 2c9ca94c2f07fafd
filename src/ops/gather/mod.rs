//! Rows by their number: y\[p\] = x\[index\[p\]\], all channels of it.
//!
//! The rows are those of a table, which is a parameter (PyTorch's `Embedding`), or the pixels of a map,
//! each image's its own. Backward adds up what goes to one row in the order of the indices.

mod cpu;
mod cuda;

use super::{Cost, Init, Op, ParamSpec, Role, SavedForBackward, passes};
use crate::tensor::{DType, Map, Region, Spec};
use crate::{Error, Result};

/// The lookup. Inputs: the map where it is one, then the indices, one channel of u32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gather {
    /// From a table of `rows` × `width`.
    Table { rows: usize, width: usize },
    /// From the pixels of the first input, numbered row by row.
    Pixels,
}

/// Deviation that a table starts with; CLIP's token embeddings do.
const TABLE_DEVIATION: f32 = 0.02;

impl Gather {
    /// Number and width of the rows.
    fn rows(&self, inputs: &[Map]) -> (usize, usize) {
        match *self {
            Gather::Table { rows, width } => (rows, width),
            Gather::Pixels => (inputs[0].pixels(), inputs[0].channels),
        }
    }

    /// Which input the indices are.
    const fn indices(&self) -> usize {
        match self {
            Gather::Table { .. } => 0,
            Gather::Pixels => 1,
        }
    }
}

// SAFETY: the passes stay within the views that these declarations ask for.
unsafe impl Op for Gather {
    passes!("gather", op => op);

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        let wrong = |detail: String| Err(Error::shape("gather", detail));
        let Some(indices) = inputs.get(self.indices()) else {
            return wrong("there are no indices".into());
        };
        if indices.storage != DType::U32 || indices.map.channels != 1 {
            return wrong(format!("indices are one channel of u32, not {}", indices.map));
        }
        let maps: Vec<Map> = inputs.iter().map(|spec| spec.map).collect();
        let (rows, width) = self.rows(&maps);
        if rows == 0 || width == 0 {
            return wrong(format!("a table of {rows} × {width}"));
        }
        Ok(Spec::f32(Map { channels: width, ..indices.map }))
    }

    fn params(&self) -> Vec<ParamSpec> {
        let Gather::Table { rows, width } = *self else { return Vec::new() };
        vec![ParamSpec::plain(
            "weight",
            vec![rows, width],
            Role::Weight,
            Init::Normal(TABLE_DEVIATION),
        )]
    }

    fn needs(&self) -> SavedForBackward {
        let mut inputs = vec![false; self.indices()];
        inputs.push(true);
        SavedForBackward { inputs, output: false }
    }

    /// Of a table only the rows that are looked up.
    fn cost(&self, inputs: &[Spec]) -> Cost {
        let written = self.output(inputs).map_or(0, |spec| spec.image_bytes());
        Cost { macs: 0, bytes: (2 * written + inputs[self.indices()].image_bytes()) as u64 }
    }

    /// An index reaches its own pixel; a pixel of the map, every place that may ask for it.
    fn reach(&self, input: usize, region: Region, _inputs: &[Spec], output: &Spec) -> Region {
        if input == self.indices() {
            return region.all_channels(output.map.channels);
        }
        let channels = region.channels;
        Region { images: region.images, channels, ..Region::full(0, output.map) }
    }
}
