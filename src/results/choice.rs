//! Which layers a user means: by name, by pattern, or by type.

use crate::glob::matches;
use crate::tape::pair_name;
use crate::{Error, Result};

/// What an error says of layers.
pub struct Words<'a> {
    /// Of a name that none has: `the model has no layer`.
    pub lacks: &'a str,
    /// Before the names that there are: `its layers are`.
    pub known: &'a str,
}

/// The places in `layers`, each a name and a type, of those that `patterns` ask for, in order: names with or without
/// `backbone.`, `*` for any characters in them, or `type:` and a type.
///
/// # Errors
/// [`Error::Usage`] for a pattern that no layer has, with the layers or types that there are.
pub fn choose<S: AsRef<str>>(
    layers: &[(&str, &str)],
    patterns: &[S],
    words: &Words<'_>,
) -> Result<Vec<usize>> {
    for pattern in patterns.iter().map(AsRef::as_ref) {
        if !layers.iter().any(|layer| is_called(*layer, pattern)) {
            return Err(unknown(layers, pattern, words));
        }
    }
    let is_asked_for =
        |layer: &(&str, &str)| patterns.iter().any(|pattern| is_called(*layer, pattern.as_ref()));
    Ok((0..layers.len()).filter(|at| is_asked_for(&layers[*at])).collect())
}

fn is_called((name, kind): (&str, &str), pattern: &str) -> bool {
    match pattern.strip_prefix("type:") {
        Some(wanted) => wanted == kind,
        None => matches(pattern, name) || matches(pattern, pair_name(name)),
    }
}

fn unknown(layers: &[(&str, &str)], pattern: &str, Words { lacks, known }: &Words<'_>) -> Error {
    let Some(kind) = pattern.strip_prefix("type:") else {
        let names: Vec<&str> = layers.iter().map(|(name, _)| *name).collect();
        return Error::usage(format!("{lacks} '{pattern}'; {known}: {}", names.join(", ")));
    };
    let mut kinds: Vec<&str> = layers.iter().map(|(_, kind)| *kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    Error::usage(format!("{lacks} of type '{kind}'; the types there are: {}", kinds.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_chosen_in_their_own_order() {
        let layers = [("backbone.conv1", "conv2d"), ("backbone.fc", "linear"), ("head", "linear")];
        let words = Words { lacks: "there is no layer", known: "there are" };
        let chosen = |patterns: &[&str]| choose(&layers, patterns, &words);
        assert_eq!(chosen(&["head", "conv1"]).unwrap(), [0, 2]);
        assert_eq!(chosen(&["type:linear", "fc"]).unwrap(), [1, 2]);
        assert_eq!(chosen(&["*c*"]).unwrap(), [0, 1]);
        for (pattern, said) in [
            ("conv2", "there is no layer 'conv2'; there are: backbone.conv1, backbone.fc, head"),
            ("type:foo", "there is no layer of type 'foo'; the types there are: conv2d, linear"),
        ] {
            assert_eq!(chosen(&["head", pattern]).unwrap_err().to_string(), said);
        }
    }
}
