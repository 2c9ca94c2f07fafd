//! Weights and inputs from a formula of name and index, and the figures of large tensors: what
//! the PyTorch fixtures under `tests/fixtures/pytorch` are made of. `tests/oracle/README.md`
//! defines both; `tests/oracle/formula.py` and `figures.py` are the Python side.

use rayon::prelude::*;
use serde_json::Value;

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Elements of a task of the threads.
const CHUNK: usize = 1 << 16;

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
    let value = |i| {
        let unit = ((word(hash, i) >> 40) as f64 - half) / half;
        (unit * bound + centre) as f32
    };
    (0..count).into_par_iter().with_min_len(CHUNK).map(value).collect()
}

/// An entry of a backbone's own: end of the name, centre, bound. A weight of more than one dimension
/// divides the bound by √fan_in.
pub type Range<'a> = (&'a str, f64, f64);

/// The entries that a fixture has under `ranges`.
pub fn ranges(fixture: &Value) -> Vec<Range<'_>> {
    let entries = fixture["ranges"].as_array().expect("ranges").iter();
    let number = |value: &Value| value.as_f64().expect("a number");
    entries.map(|e| (e[0].as_str().expect("a name"), number(&e[1]), number(&e[2]))).collect()
}

/// What holds for every backbone; the first entry that fits a name's end counts.
const GENERAL: [Range<'static>; 6] = [
    ("num_batches_tracked", 0.0, 0.0),
    ("running_mean", 0.0, 0.1),
    ("running_var", 1.0, 0.5),
    ("relative_position_bias_table", 0.0, 0.5),
    (".logit_scale", 2.5, 0.5),
    ("bias", 0.0, 0.1),
];

/// (centre, bound) of the parameter or buffer with this state-dict name and PyTorch shape: by the
/// backbone's `own` entries, else by those for all, else by shape.
pub fn range_of(name: &str, shape: &[usize], own: &[Range]) -> (f64, f64) {
    let fan_in = shape.iter().skip(1).product::<usize>() as f64;
    if let Some((_, centre, bound)) = own.iter().find(|(end, ..)| name.ends_with(end)) {
        return (*centre, bound / fan_in.sqrt());
    }
    if name == "logit_scale" {
        return ((1.0f64 / 0.07).ln(), 0.0);
    }
    if let Some((_, centre, bound)) = GENERAL.iter().find(|(end, ..)| name.ends_with(end)) {
        return (*centre, *bound);
    }
    if shape.len() == 1 { (1.0, 0.1) } else { (0.0, (6.0 / fan_in).sqrt()) }
}

/// The values of a parameter or buffer of a fixture's network, in PyTorch's order.
pub fn parameter(name: &str, shape: &[usize], own: &[Range]) -> Vec<f32> {
    let (centre, bound) = range_of(name, shape, own);
    fill(name, shape.iter().product(), centre, bound)
}

/// Input image `number`, normalised, 3 × side × side (channels first).
pub fn image(number: usize, side: usize) -> Vec<f32> {
    fill(&format!("input.{number}"), 3 * side * side, 0.0, 1.7)
}

/// The first `count` projections Σ ±data\[i\], summed in f64: projection j negates element i where bit
/// 63 − j of word i of the stream `projections` is set.
///
/// Four projections are taken at a time: elements are added up by the four signs that they have, and
/// the sixteen sums get theirs at the end.
pub fn projections(data: &[f32], count: usize) -> Vec<f64> {
    let hash = fnv1a64("projections");
    let fours = count.div_ceil(4);
    let of_chunk = |(chunk, values): (usize, &[f32])| {
        let mut sums = vec![[0.0f64; 16]; fours];
        for (i, v) in values.iter().enumerate() {
            let mut word = word(hash, chunk * CHUNK + i);
            for sums in &mut sums {
                word = word.rotate_left(4);
                sums[word as usize % 16] += f64::from(*v);
            }
        }
        sums
    };
    let chunks: Vec<Vec<[f64; 16]>> = data.par_chunks(CHUNK).enumerate().map(of_chunk).collect();
    let projection = |j: usize| {
        let sign = |signs: usize| if signs >> (3 - j % 4) & 1 == 1 { -1.0 } else { 1.0 };
        let of_sums = |sums: &Vec<[f64; 16]>| -> f64 {
            sums[j / 4].iter().enumerate().map(|(signs, sum)| sign(signs) * sum).sum()
        };
        chunks.iter().map(of_sums).sum()
    };
    (0..count).map(projection).collect()
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
    /// The seeded ±1 projections: 16, or 4 of what is large or matters less.
    pub projections: Vec<f64>,
    /// Elements at [`indices`]`(count, elements.len())`: all of them if the tensor is small.
    pub elements: Vec<f64>,
}

/// How far a tensor is from the one that a [`TensorFigures`] was made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// ‖data − reference‖, estimated.
    pub l2: f64,
    /// Largest |difference| among the held elements.
    pub worst_element: f64,
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
        (!figures.projections.is_empty() && !figures.elements.is_empty()).then_some(figures)
    }

    /// Estimates the distance of `data` (PyTorch's order) from the reference.
    ///
    /// The signs are independent of the data, so the mean square of n projections of a difference
    /// d has the expectation ‖d‖². Its root has a relative spread of 1/√(2n): with 16 of them a
    /// true 1e-3 reads 0.65e-3 to 1.35e-3 in 19 cases of 20, and an error in a single element is
    /// seen at its full size. Fixtures round to 16 bits, which adds about 1e-5. A tensor that is
    /// held whole is compared element by element, exactly.
    pub fn compare(&self, data: &[f32]) -> Difference {
        let differences: Vec<f64> = indices(data.len(), self.elements.len())
            .zip(&self.elements)
            .map(|(i, e)| f64::from(data[i]) - e)
            .collect();
        let l2 = if self.elements.len() == data.len() {
            norm(differences.iter().copied())
        } else {
            let found = projections(data, self.projections.len());
            let apart = found.iter().zip(&self.projections).map(|(f, p)| f - p);
            norm(apart) / (self.projections.len() as f64).sqrt()
        };
        // `f64::max` would drop a NaN.
        let worst_element = differences
            .iter()
            .fold(0.0f64, |w, d| if d.abs() > w || d.is_nan() { d.abs() } else { w });
        Difference { l2, worst_element }
    }

    /// Whether ‖data − reference‖ is at most `bound`. The error says what was found. NaN and
    /// infinities never pass: each element is in every projection.
    pub fn within(&self, data: &[f32], bound: f64) -> Result<f64, String> {
        let found = self.compare(data);
        if found.l2 <= bound {
            return Ok(found.l2);
        }
        let size = norm(data.iter().map(|v| f64::from(*v)));
        Err(format!(
            "is {:.2e} away, allowed {bound:.2e}; worst element {:.2e}; norm {:.6e}, not {:.6e}",
            found.l2, found.worst_element, size, self.norm
        ))
    }
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
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
    let path = crate::root().join("tests/fixtures/pytorch").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
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
            let values = parameter(name, &shape, &ranges(row));
            for (i, expected) in usizes(&row["indices"]).into_iter().zip(floats(&row["values"])) {
                // Rounding to f32 absorbs the last bit that serde_json may get wrong.
                assert_eq!(values[i], expected as f32, "{name}[{i}]");
            }
        }
    }

    #[test]
    fn signs_are_those_of_the_oracle() {
        let row = &fixture("formula.json")["signs"];
        let projection = row["projection"].as_u64().unwrap() as usize;
        for (i, expected) in floats(&row["signs"]).into_iter().enumerate() {
            let mut one = vec![0.0; i + 1];
            one[i] = 1.0;
            assert_eq!(projections(&one, projection + 1)[projection], expected);
        }
    }

    #[test]
    fn figures_accept_their_own_tensor_and_measure_a_wrong_one() {
        for row in rows(&fixture("formula.json"), "figures") {
            let index = |key: &str| row[key].as_u64().unwrap() as usize;
            let mut data = image(index("image"), index("side"));
            let name = format!("image {} of side {}", index("image"), index("side"));
            let held = TensorFigures::from_json(&row["figures"]).unwrap();
            // 24-bit floats round by up to 2^-16 = 1.5e-5, by half of that on average.
            let clean = held.within(&data, 1e-5 * held.norm).unwrap();
            assert!(held.compare(&data).worst_element < 2e-5, "{name}: {clean}");

            // One element that is off by 1 % of the norm reads as 1 %, wherever it is.
            let last = data.len() - 1;
            data[last] += (0.01 * held.norm) as f32;
            let wrong = held.compare(&data).l2 / held.norm;
            assert!((wrong - 0.01).abs() < 2e-5, "{name}: {wrong}");
            assert!(held.within(&data, 1e-3 * held.norm).is_err());
            for bad in [f32::NAN, f32::INFINITY] {
                data[1] = bad;
                assert!(held.within(&data, 1e9).is_err(), "{bad} must never pass");
            }
        }
    }

    #[test]
    fn a_dense_error_is_estimated_within_the_spread() {
        let held =
            TensorFigures::from_json(&rows(&fixture("formula.json"), "figures")[0]["figures"]);
        let held = held.unwrap();
        let mut data = image(0, 32);
        let noise = fill("noise", data.len(), 0.0, 1.0);
        let size = norm(noise.iter().map(|v| f64::from(*v)));
        for (v, n) in data.iter_mut().zip(&noise) {
            *v += (f64::from(*n) * 1e-3 * held.norm / size) as f32;
        }
        let found = held.compare(&data).l2 / held.norm;
        // Three standard deviations of the estimator, 18 % each.
        assert!((0.46e-3..1.54e-3).contains(&found), "{found}");
    }

    #[test]
    fn projections_do_not_depend_on_how_many_or_on_chunks() {
        let data = fill("long", 2 * CHUNK + 3, 0.0, 1.0);
        let (few, many) = (projections(&data, 4), projections(&data, 16));
        assert_eq!(few, many[..4]);
        let rest = projections(&data[..CHUNK], 4);
        let mut tail = data.clone();
        tail[..CHUNK].fill(0.0);
        for ((whole, a), b) in few.iter().zip(rest).zip(projections(&tail, 4)) {
            assert!((whole - (a + b)).abs() < 1e-9, "{whole} {a} {b}");
        }
    }
    #[test]
    fn every_module_fixture_can_be_read() {
        let fixture = fixture("modules.json");
        let cases = rows(&fixture, "cases");
        assert!(cases.len() >= 9, "the fixture has only {} modules", cases.len());
        for case in cases {
            let values = |list: &Value| decode_f24(list.as_str().unwrap()).unwrap();
            let count = |value: &Value| usizes(&value["shape"]).iter().product::<usize>();
            let output = &case["output"];
            assert_eq!(values(&output["values"]).len(), count(output), "{}", case["name"]);
            for operand in rows(case, "operands").iter().filter(|o| o["key"] != "grad") {
                let gradient = values(&case["gradients"][operand["key"].as_str().unwrap()]);
                assert_eq!(gradient.len(), count(operand), "{} {}", case["name"], operand["key"]);
                assert!(gradient.iter().any(|g| *g != 0.0), "{} {}", case["name"], operand["key"]);
            }
        }
    }
}
