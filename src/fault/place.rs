//! Where in a tensor a fault lies, as a user names it.

use std::ops::RangeInclusive;

/// A dimension of a tensor: its name, empty where it has none, and its size.
pub type Dimension = (&'static str, usize);

/// The element that a fault hits, before the sizes of what it lies in are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The flat index in PyTorch's order, over all dimensions.
    Flat(usize),
    /// An index along each dimension, in PyTorch's order.
    Index(Vec<usize>),
    /// Indices along dimensions by their names; dimensions of size 1 may be left out.
    Named(Vec<(&'static str, usize)>),
}

impl Place {
    /// Its index along each of `dimensions`, the outermost first.
    ///
    /// # Errors
    /// What is wrong, as the rest of a message that begins with the tensor's name.
    pub fn within(&self, dimensions: &[Dimension]) -> Result<Vec<usize>, String> {
        let at = match self {
            Place::Flat(number) => return unravel(*number, dimensions),
            Place::Index(numbers) => numbers.clone(),
            Place::Named(given) => named(given, dimensions)?,
        };
        if at.len() != dimensions.len() {
            return Err(format!(
                "an index has a number for each of {} dimensions ({}), not {}",
                dimensions.len(),
                describe(dimensions),
                at.len()
            ));
        }
        for (dimension, (number, (name, size))) in at.iter().zip(dimensions).enumerate() {
            if number >= size {
                let what = match *name {
                    "" => format!("number {number} of dimension {dimension}"),
                    name => format!("{name} {number}"),
                };
                return Err(format!("{what} lies outside of {}", describe(dimensions)));
            }
        }
        Ok(at)
    }
}

/// The flat index in PyTorch's order of the element at `at`, which lies within `dimensions`.
pub fn ravel(at: &[usize], dimensions: &[Dimension]) -> usize {
    at.iter().zip(dimensions).fold(0, |number, (at, (_, size))| number * size + at)
}

/// The dimensions of a parameter of PyTorch's `shape`: (out, in, row, column) of a convolution, (out, in) of a
/// linear layer, (out) of a bias or a norm. Others have no names.
pub fn of_parameter(shape: &[usize]) -> Vec<Dimension> {
    let names: &[&str] = match shape.len() {
        1 | 2 | 4 => &PARAMETER_KEYS[..shape.len()],
        _ => &[],
    };
    let names = names.iter().copied().chain(std::iter::repeat(""));
    names.zip(shape).map(|(name, size)| (name, *size)).collect()
}

/// Names of a weight's dimensions.
pub const PARAMETER_KEYS: [&str; 4] = ["out", "in", "row", "column"];

fn unravel(number: usize, dimensions: &[Dimension]) -> Result<Vec<usize>, String> {
    let elements: usize = dimensions.iter().map(|(_, size)| size).product();
    if number >= elements {
        return Err(format!("there are {elements} elements, none of index {number}"));
    }
    let mut rest = number;
    let mut at: Vec<usize> = (dimensions.iter().rev())
        .map(|(_, size)| {
            let last = rest % size;
            rest /= size;
            last
        })
        .collect();
    at.reverse();
    Ok(at)
}

fn named(given: &[(&str, usize)], dimensions: &[Dimension]) -> Result<Vec<usize>, String> {
    let has = |name: &str| !name.is_empty() && dimensions.iter().any(|(known, _)| *known == name);
    if let Some((name, _)) = given.iter().find(|(name, _)| !has(name)) {
        return Err(match dimensions.iter().all(|(name, _)| name.is_empty()) {
            true => format!("its {} dimensions have no names: say index", dimensions.len()),
            false => format!("it has no {name}: its dimensions are {}", describe(dimensions)),
        });
    }
    let number = |(name, size): &Dimension| match given.iter().find(|(known, _)| known == name) {
        Some((_, number)) => Ok(*number),
        None if *size == 1 => Ok(0),
        None if name.is_empty() => Err(format!("index is missing, of {}", describe(dimensions))),
        None => Err(format!("{name} is missing (or index), of {}", describe(dimensions))),
    };
    dimensions.iter().map(number).collect()
}

/// `out 8, in 4, row 3, column 3`; sizes alone where there are no names.
fn describe(dimensions: &[Dimension]) -> String {
    let word = |(name, size): &Dimension| format!("{name} {size}").trim_start().to_string();
    let words: Vec<String> = dimensions.iter().map(word).collect();
    match words.is_empty() {
        true => "a single number".into(),
        false => words.join(", "),
    }
}

/// A whole number within `range` that stands at `key`.
pub(super) fn number(key: &str, text: &str, range: RangeInclusive<u64>) -> Result<u64, String> {
    let number: Option<u64> = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| {
        let (first, last) = (range.start(), range.end());
        format!("{key} takes a whole number from {first} to {last}, not '{text}'")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_ways_to_name_an_element_agree() {
        let dimensions = of_parameter(&[8, 3, 5, 7]);
        for number in 0..8 * 3 * 5 * 7 {
            let at = vec![number / 105, number / 35 % 3, number / 7 % 5, number % 7];
            let named = Place::Named(PARAMETER_KEYS.into_iter().zip(at.iter().copied()).collect());
            for place in [Place::Flat(number), Place::Index(at.clone()), named] {
                assert_eq!(place.within(&dimensions).unwrap(), at);
            }
            assert_eq!(ravel(&at, &dimensions), number);
        }
        assert_eq!(Place::Named(vec![]).within(&of_parameter(&[])), Ok(vec![]));
        assert_eq!(Place::Named(vec![("out", 2)]).within(&of_parameter(&[4, 1])), Ok(vec![2, 0]));
    }

    #[test]
    fn what_is_outside_or_missing_is_named() {
        let weight = of_parameter(&[8, 3, 5, 7]);
        for (place, dimensions, word) in [
            (Place::Flat(840), &weight, "none of index 840"),
            (Place::Index(vec![1, 2, 3]), &weight, "each of 4 dimensions"),
            (Place::Index(vec![7, 2, 4, 7]), &weight, "column 7"),
            (Place::Named(vec![("out", 0), ("row", 0), ("column", 0)]), &weight, "in is missing"),
            (Place::Named(vec![]), &weight, "out is missing (or index)"),
            (Place::Named(vec![("in", 0)]), &of_parameter(&[8]), "it has no in"),
            (Place::Named(vec![("out", 0)]), &of_parameter(&[]), "say index"),
            (Place::Named(vec![("out", 0)]), &of_parameter(&[2, 3, 4]), "have no names: say index"),
            (Place::Named(vec![]), &of_parameter(&[2, 3, 4]), "index is missing"),
            (Place::Index(vec![1, 3, 0]), &of_parameter(&[2, 3, 4]), "number 3 of dimension 1"),
            (Place::Index(vec![0]), &of_parameter(&[]), "a single number"),
        ] {
            let said = place.within(dimensions).unwrap_err();
            assert!(said.contains(word), "{place:?}: {said}");
        }
    }
}
