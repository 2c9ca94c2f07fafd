//! A case of the fixtures `ops.json` and `modules.json` (tests/oracle/README.md).

use flipside::tensor::Map;
use serde_json::Value;

use crate::formula;

/// A case of the fixture.
pub struct Case<'a>(pub &'a Value);

impl Case<'_> {
    pub fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap()
    }

    pub fn flag(&self, key: &str) -> bool {
        self.0["attributes"][key].as_bool().unwrap()
    }

    pub fn number(&self, key: &str) -> f64 {
        self.0["attributes"][key].as_f64().unwrap()
    }

    pub fn size(&self, key: &str) -> usize {
        self.0["attributes"][key].as_u64().unwrap() as usize
    }

    pub fn pair(&self, key: &str) -> [usize; 2] {
        formula::usizes(&self.0["attributes"][key]).try_into().unwrap()
    }

    /// Shape and values of an operand, if the case has it, in PyTorch's order.
    pub fn find(&self, key: &str) -> Option<(Vec<usize>, Vec<f32>)> {
        let operands = self.0["operands"].as_array().unwrap();
        let operand = operands.iter().find(|operand| operand["key"] == key)?;
        let shape = formula::usizes(&operand["shape"]);
        let [centre, bound] = ["centre", "bound"].map(|key| operand[key].as_f64().unwrap());
        let name = operand["name"].as_str().unwrap();
        let values = formula::fill(name, shape.iter().product(), centre, bound);
        Some((shape, values))
    }

    pub fn operand(&self, key: &str) -> (Vec<usize>, Vec<f32>) {
        self.find(key).unwrap_or_else(|| panic!("no operand {key}"))
    }
}

/// The map of one image of an (N, C, H, W) or (N, C) tensor.
pub fn map_of(shape: &[usize]) -> Map {
    match *shape {
        [_, channels, height, width] => Map::new(height, width, channels),
        [_, channels] => Map::vector(channels),
        _ => panic!("no map has the shape {shape:?}"),
    }
}

pub fn channels_last(map: Map, values: &[f32]) -> Vec<f32> {
    transpose(map.elements(), map.channels, values)
}

pub fn channels_first(map: Map, values: &[f32]) -> Vec<f32> {
    transpose(map.elements(), map.pixels(), values)
}

/// Each image, a matrix of `rows` rows, transposed.
fn transpose(image: usize, rows: usize, values: &[f32]) -> Vec<f32> {
    let columns = image / rows;
    let of_image = |image: &[f32]| -> Vec<f32> {
        (0..image.len()).map(|at| image[at % rows * columns + at / rows]).collect()
    };
    values.chunks_exact(image).flat_map(of_image).collect()
}
