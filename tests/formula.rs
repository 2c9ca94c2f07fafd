//! Weights and inputs from a formula of name and index, and the figures of large tensors: what
//! the PyTorch fixtures under `tests/fixtures/pytorch` are made of. `tests/oracle/README.md`
//! defines both; `tests/oracle/formula.py` and `figures.py` are the Python side.

use serde_json::Value;

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Number of ±1 projections that a fixture holds of each tensor.
pub const PROJECTIONS: usize = 16;

/// FNV-1a, 64 bits, of the UTF-8 bytes of `name`.
pub fn fnv1a64(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

/// What a SplitMix64 generator whose state is `x` returns next.
pub fn splitmix64(x: u64) -> u64 {
    let mut z = x.wrapping_add(GOLDEN);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Word `index` of the stream that starts from `hash`.
fn word(hash: u64, index: usize) -> u64 {
    splitmix64(hash.wrapping_add((index as u64).wrapping_mul(GOLDEN)))
}

/// `count` values, uniform on [centre − bound, centre + bound), in PyTorch's row-major order.
pub fn fill(name: &str, count: usize, centre: f64, bound: f64) -> Vec<f32> {
    let hash = fnv1a64(name);
    let half = f64::from(1u32 << 23);
    (0..count)
        .map(|i| {
            let unit = ((word(hash, i) >> 40) as f64 - half) / half;
            (unit * bound + centre) as f32
        })
        .collect()
}

/// (centre, bound) of the parameter or buffer with this state-dict name and PyTorch shape.
///
/// `last_norm` names the batch norm that ends a residual branch: `bn2` (basic block) or `bn3`
/// (bottleneck). Its weights are small, so that activations keep their size with depth.
pub fn range_of(name: &str, shape: &[usize], last_norm: &str) -> (f64, f64) {
    if name == "logit_scale" {
        return ((1.0f64 / 0.07).ln(), 0.0);
    }
    if name.ends_with("num_batches_tracked") {
        return (0.0, 0.0);
    }
    if name.ends_with("running_mean") || name.ends_with("bias") {
        return (0.0, 0.1);
    }
    if name.ends_with("running_var") {
        return (1.0, 0.5);
    }
    if shape.len() == 1 {
        let ends_branch = name.contains("layer") && name.ends_with(&format!(".{last_norm}.weight"));
        return if ends_branch { (0.25, 0.05) } else { (1.0, 0.1) };
    }
    let fan_in: usize = shape[1..].iter().product();
    (0.0, (6.0 / fan_in as f64).sqrt())
}

/// The values of a parameter or buffer of a fixture's network, in PyTorch's order.
pub fn parameter(name: &str, shape: &[usize], last_norm: &str) -> Vec<f32> {
    let (centre, bound) = range_of(name, shape, last_norm);
    fill(name, shape.iter().product(), centre, bound)
}

/// Input image `number`, normalised, 3 × side × side (channels first).
pub fn image(number: usize, side: usize) -> Vec<f32> {
    fill(&format!("input.{number}"), 3 * side * side, 0.0, 1.7)
}

/// Σ ±data\[i\] with the signs of projection number `projection`, summed in f64.
pub fn project(data: &[f32], projection: usize) -> f64 {
    let hash = fnv1a64(&format!("projection.{projection}"));
    let signed = |(i, &v): (usize, &f32)| f64::from(v) * (1.0 - 2.0 * (word(hash, i) >> 63) as f64);
    data.iter().enumerate().map(signed).sum()
}

/// The row-major indices of the elements that a fixture holds: `floor(e · count / n)`.
pub fn indices(count: usize, held: usize) -> impl Iterator<Item = usize> {
    (0..held).map(move |e| e * count / held)
}

/// What a fixture holds of a tensor in place of the tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorFigures {
    /// L2 norm, taken in f64.
    pub norm: f64,
    /// The 16 seeded ±1 projections.
    pub projections: Vec<f64>,
    /// Elements at [`indices`]`(count, elements.len())`: all of them if the tensor is small.
    pub elements: Vec<f64>,
}

/// How far a tensor is from the one that a [`TensorFigures`] was made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// ‖data − reference‖ / ‖reference‖, estimated; the absolute norm where the reference is 0.
    pub relative_l2: f64,
    /// Largest |difference| among the held elements, over the reference's root mean square.
    pub worst_element: f64,
    /// ‖data‖, exactly.
    pub norm: f64,
}

impl TensorFigures {
    /// Reads `[norm, "projections", "elements"]`; `None` if the value has another form.
    pub fn from_json(value: &Value) -> Option<Self> {
        let [norm, projections, elements] = value.as_array()?.as_slice() else { return None };
        let figures = Self {
            norm: norm.as_f64()?,
            projections: decode_f24(projections.as_str()?)?,
            elements: decode_f24(elements.as_str()?)?,
        };
        (figures.projections.len() == PROJECTIONS).then_some(figures)
    }

    /// Estimates the distance of `data` (PyTorch's order) from the reference.
    ///
    /// The signs are independent of the data, so the mean square of the projections of a
    /// difference d has the expectation ‖d‖². With 16 of them the root has a relative spread of
    /// about 18 % (1/√(2·16)): a true 1e-3 reads 0.65e-3 to 1.35e-3 in 19 cases of 20, and an
    /// error in a single element is seen at its full size. Fixtures round to 17 bits, which
    /// adds at most 1e-5. A tensor that is held whole is compared element by element, exactly.
    pub fn compare(&self, data: &[f32]) -> Difference {
        let over = |x: f64| if self.norm > 0.0 { x / self.norm } else { x };
        let count = data.len();
        let norm = data.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        let differences: Vec<f64> = indices(count, self.elements.len())
            .zip(&self.elements)
            .map(|(i, e)| f64::from(data[i]) - e)
            .collect();
        let relative_l2 = if self.elements.len() == count {
            over(differences.iter().map(|d| d * d).sum::<f64>().sqrt())
        } else {
            let square = |(j, p): (usize, &f64)| (project(data, j) - p).powi(2);
            let sum: f64 = self.projections.iter().enumerate().map(square).sum();
            over((sum / self.projections.len() as f64).sqrt())
        };
        // `f64::max` would drop a NaN.
        let worst = differences
            .iter()
            .fold(0.0f64, |w, d| if d.abs() > w || d.is_nan() { d.abs() } else { w });
        let worst_element = over(worst) * (count as f64).sqrt();
        Difference { relative_l2, worst_element, norm }
    }

    /// The rule for gradients: a relative L2 of at most `limit`; a tensor whose reference is
    /// below 1e-9 of `largest_norm` is zero but for rounding, and only has to stay below 1e-5
    /// of it. The error says what was found. NaN never passes.
    pub fn within(&self, data: &[f32], limit: f64, largest_norm: f64) -> Result<f64, String> {
        let found = self.compare(data);
        if self.norm < 1e-9 * largest_norm {
            let share = found.norm / largest_norm;
            return if share < 1e-5 {
                Ok(share)
            } else {
                Err(format!("should vanish, but has {share:.1e} of the largest norm"))
            };
        }
        if found.relative_l2 <= limit && found.norm.is_finite() {
            Ok(found.relative_l2)
        } else {
            Err(format!(
                "relative L2 {:.2e} > {limit:.0e}; worst element {:.2e} of the rms; norm {:.6e}, not {:.6e}",
                found.relative_l2, found.worst_element, found.norm, self.norm
            ))
        }
    }
}

/// Base64 (with padding) of big-endian three-byte floats: the upper 24 bits of an f32 each.
/// Three bytes are four characters, so each group of four is a value and padding never occurs.
pub fn decode_f24(text: &str) -> Option<Vec<f64>> {
    let sextet = |c: u8| match c {
        b'A'..=b'Z' => Some(c - b'A'),
        b'a'..=b'z' => Some(c - b'a' + 26),
        b'0'..=b'9' => Some(c - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let (groups, rest) = text.as_bytes().as_chunks::<4>();
    if !rest.is_empty() {
        return None;
    }
    let value = |group: &[u8; 4]| {
        let bits =
            group.iter().try_fold(0u32, |bits, &c| Some(bits << 6 | u32::from(sextet(c)?)))?;
        Some(f64::from(f32::from_bits(bits << 8)))
    };
    groups.iter().map(value).collect()
}

/// Reads `tests/fixtures/pytorch/<file>`.
pub fn fixture(file: &str) -> Value {
    let path = format!("{}/tests/fixtures/pytorch/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// A JSON list of indices (a shape, labels).
pub fn usizes(value: &Value) -> Vec<usize> {
    let list = value.as_array().expect("a list");
    list.iter().map(|v| v.as_u64().expect("an index") as usize).collect()
}

/// A JSON list of numbers.
pub fn floats(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows<'a>(value: &'a Value, key: &str) -> &'a [Value] {
        value[key].as_array().expect(key)
    }

    #[test]
    fn hashes_and_words_are_those_of_the_oracle() {
        for row in rows(&fixture("formula.json"), "words") {
            let hash = fnv1a64(row["name"].as_str().unwrap());
            assert_eq!(format!("{hash:016x}"), row["hash"].as_str().unwrap());
            for (i, expected) in rows(row, "words").iter().enumerate() {
                assert_eq!(format!("{:016x}", word(hash, i)), expected.as_str().unwrap());
            }
        }
        // The published test values of both functions.
        assert_eq!(fnv1a64("foobar"), 0x85944171F73967E8);
        assert_eq!(splitmix64(1234567), 6457827717110365317);
    }

    #[test]
    fn parameters_are_those_of_the_oracle_to_the_bit() {
        for row in rows(&fixture("formula.json"), "fills") {
            let (name, shape) = (row["name"].as_str().unwrap(), usizes(&row["shape"]));
            let values = parameter(name, &shape, row["last_norm"].as_str().unwrap());
            for (i, expected) in usizes(&row["indices"]).into_iter().zip(floats(&row["values"])) {
                // Rounding to f32 absorbs the last bit that serde_json may get wrong.
                assert_eq!(values[i], expected as f32, "{name}[{i}]");
            }
        }
    }

    #[test]
    fn signs_are_those_of_the_oracle() {
        let row = &fixture("formula.json")["signs"];
        for (i, expected) in floats(&row["signs"]).into_iter().enumerate() {
            let mut one = vec![0.0; i + 1];
            one[i] = 1.0;
            assert_eq!(project(&one, row["projection"].as_u64().unwrap() as usize), expected);
        }
    }

    #[test]
    fn figures_accept_their_own_tensor_and_measure_a_wrong_one() {
        for row in rows(&fixture("formula.json"), "figures") {
            let index = |key: &str| row[key].as_u64().unwrap() as usize;
            let mut data = image(index("image"), index("side"));
            let name = format!("image {} of side {}", index("image"), index("side"));
            let held = TensorFigures::from_json(&row["figures"]).unwrap();
            // 24-bit floats round by 2^-17 = 8e-6.
            let clean = held.within(&data, 1e-5, held.norm).unwrap();
            assert!(clean < 1e-5 && held.compare(&data).worst_element < 2e-5, "{name}: {clean}");

            // One element that is off by 1 % of the norm reads as 1 %, wherever it is.
            let last = data.len() - 1;
            data[last] += (0.01 * held.norm) as f32;
            let wrong = held.compare(&data).relative_l2;
            assert!((wrong - 0.01).abs() < 2e-5, "{name}: {wrong}");
            assert!(held.within(&data, 1e-3, held.norm).is_err());
            data[0] = f32::NAN;
            assert!(held.within(&data, 1e9, held.norm).is_err(), "NaN must never pass");
        }
    }

    #[test]
    fn a_dense_error_is_estimated_within_the_spread() {
        let held =
            TensorFigures::from_json(&rows(&fixture("formula.json"), "figures")[0]["figures"]);
        let held = held.unwrap();
        let mut data = image(0, 32);
        let noise = fill("noise", data.len(), 0.0, 1.0);
        let size = noise.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        for (v, n) in data.iter_mut().zip(&noise) {
            *v += (f64::from(*n) * 1e-3 * held.norm / size) as f32;
        }
        let found = held.compare(&data).relative_l2;
        // Three standard deviations of the estimator, 18 % each.
        assert!((0.46e-3..1.54e-3).contains(&found), "{found}");
    }

    #[test]
    fn vanishing_gradients_are_held_to_the_largest_norm() {
        let held = TensorFigures { norm: 0.0, projections: vec![0.0; 16], elements: vec![0.0; 3] };
        assert!(held.within(&[1e-6, 0.0, 0.0], 1e-3, 1.0).is_ok());
        assert!(held.within(&[1e-4, 0.0, 0.0], 1e-3, 1.0).is_err());
        assert!(held.within(&[f32::NAN, 0.0, 0.0], 1e-3, 1.0).is_err());
    }

    #[test]
    fn every_gradient_fixture_can_be_read() {
        for (file, count) in [
            ("gradients-resnet18-baseline.json", 11_186_772),
            ("gradients-resnet18-text-guided.json", 11_449_409),
            ("gradients-resnet50-baseline.json", 23_549_012),
            ("gradients-resnet50-text-guided.json", 24_567_361),
        ] {
            let case = fixture(file);
            let mut total = 0;
            for row in rows(&case, "parameters") {
                let numel: usize = usizes(&row["shape"]).iter().product();
                let gradient = TensorFigures::from_json(&row["gradient"]).expect("figures");
                assert_eq!(gradient.elements.len(), numel.min(64));
                assert!(TensorFigures::from_json(&row["delta"]).is_some());
                total += numel;
            }
            assert_eq!(total, count, "{file}");
            for row in rows(&case, "buffers") {
                assert!(TensorFigures::from_json(&row["figures"]).is_some());
            }
        }
    }
}
