//! Which elements of an axis make one of it at another size.

use super::array::{Array, Folded};
use super::op::Sampling;

/// PyTorch's coefficient of cubic convolution (Keys, 1981).
const CUBIC: f32 = -0.75;

/// Elements and their weights, for each place of the output; as many for each.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleTaps {
    /// For each tap the element that each output reads.
    pub indices: Vec<Vec<usize>>,
    /// For each tap its weight in each output.
    pub weights: Vec<Vec<f32>>,
}

impl SampleTaps {
    /// For outputs at `coordinates` of an axis of `size`; what lies beyond it counts as its edge.
    pub fn new(sampling: Sampling, coordinates: &[f32], size: usize) -> SampleTaps {
        let count = match sampling {
            Sampling::Nearest => 1,
            Sampling::Linear => 2,
            Sampling::Cubic => 4,
        };
        let mut taps = SampleTaps { indices: vec![vec![]; count], weights: vec![vec![]; count] };
        for coordinate in coordinates {
            // A line goes on as its edge, a cubic doesn't.
            let at = match sampling {
                Sampling::Cubic => *coordinate,
                _ => coordinate.clamp(0.0, (size - 1) as f32),
            };
            let (first, part) = (at.floor(), at - at.floor());
            let weights = match sampling {
                Sampling::Nearest => vec![1.0],
                Sampling::Linear => vec![1.0 - part, part],
                Sampling::Cubic => [1.0 + part, part, 1.0 - part, 2.0 - part].map(cubic).into(),
            };
            let before = i64::from(count == 4);
            for (tap, weight) in weights.into_iter().enumerate() {
                let index = first as i64 + tap as i64 - before;
                taps.indices[tap].push(index.clamp(0, size as i64 - 1) as usize);
                taps.weights[tap].push(weight);
            }
        }
        taps
    }
}

/// The weight of an element at a distance.
fn cubic(distance: f32) -> f32 {
    let (a, x) = (CUBIC, distance);
    match x {
        _ if x <= 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
        _ if x < 2.0 => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
        _ => 0.0,
    }
}

/// A constant with its last two dimensions at other sizes.
pub fn resized(x: &Array, sampling: Sampling, coordinates: [&[f32]; 2]) -> Folded<Array> {
    let mut values = x.as_floats()?.to_vec();
    let mut dims = x.dims().to_vec();
    let rank = dims.len();
    for (axis, coordinates) in [rank - 2, rank - 1].into_iter().zip(coordinates) {
        let size = dims[axis];
        let taps = SampleTaps::new(sampling, coordinates, size);
        let inner: usize = dims[axis + 1..].iter().product();
        let outer: usize = dims[..axis].iter().product();
        let mut made = Vec::with_capacity(outer * coordinates.len() * inner);
        for block in 0..outer {
            for output in 0..coordinates.len() {
                for at in 0..inner {
                    let tap = |tap: usize| {
                        let index = taps.indices[tap][output];
                        let value = values[(block * size + index) * inner + at];
                        f64::from(value) * f64::from(taps.weights[tap][output])
                    };
                    made.push((0..taps.indices.len()).map(tap).sum::<f64>() as f32);
                }
            }
        }
        (values, dims[axis]) = (made, coordinates.len());
    }
    Array::floats(dims, values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_sum_to_one_and_edges_are_repeated() {
        let coordinates = [-0.25, 0.25, 1.5, 2.25];
        for sampling in [Sampling::Nearest, Sampling::Linear, Sampling::Cubic] {
            let taps = SampleTaps::new(sampling, &coordinates, 3);
            for output in 0..coordinates.len() {
                let sum: f32 = taps.weights.iter().map(|weights| weights[output]).sum();
                assert!((sum - 1.0).abs() < 1e-6, "{sampling:?} {output}: {sum}");
            }
        }
        let linear = SampleTaps::new(Sampling::Linear, &coordinates, 3);
        assert_eq!(linear.indices, [[0, 0, 1, 2], [1, 1, 2, 2]]);
        assert_eq!(linear.weights[1], [0.0, 0.25, 0.5, 0.0]);
    }

    #[test]
    fn a_line_stays_a_line() {
        let x = Array::floats(vec![1, 2, 3], vec![0.0, 1.0, 2.0, 10.0, 11.0, 12.0]).unwrap();
        let made = resized(&x, Sampling::Linear, [&[0.0, 0.5, 1.0], &[0.5, 2.0]]).unwrap();
        assert_eq!(made.dims(), [1, 3, 2]);
        assert_eq!(made.as_floats().unwrap()[..], [0.5, 2.0, 5.5, 7.0, 10.5, 12.0]);
    }
}
