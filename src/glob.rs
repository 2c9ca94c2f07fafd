//! Patterns over names: `*` stands for any characters, none and dots included, everything else for itself.

use crate::error::some_of;

/// Names near a pattern that an error lists.
const NEAR: usize = 5;

/// Whether `name` is one that `pattern` stands for.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        // The earliest place leaves most to those that follow.
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(last)
}

/// The names most like a pattern that none of them matches, for an error: those that share most of its parts between
/// dots, then the longest beginning.
pub(crate) fn near<S: AsRef<str>>(pattern: &str, names: &[S]) -> String {
    let parts: Vec<&str> = pattern.split(['.', '*']).filter(|part| !part.is_empty()).collect();
    let likeness = |name: &str| {
        let shared = parts.iter().filter(|part| name.split('.').any(|own| own == **part)).count();
        let begins = pattern.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
        (shared, begins)
    };
    let mut sorted: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    sorted.sort_by_key(|name| std::cmp::Reverse(likeness(name)));
    some_of(&sorted, NEAR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, name, expected) in [
            ("fc.weight", "fc.weight", true),
            ("fc.weight", "fc.weights", false),
            ("fc", "fc.weight", false),
            ("*", "", true),
            ("*", "layer1.0.bn1.bias", true),
            ("*.bias", "layer1.0.bn1.bias", true),
            ("*.bias", "bias", false),
            ("layer1.*", "layer1.0.conv1.weight", true),
            ("layer1.*", "layer10.0.conv1.weight", false),
            ("layer*.conv1.*", "layer4.1.conv1.weight", true),
            ("layer*.conv1.*", "layer4.1.conv2.weight", false),
            ("*a*a", "a", false),
            ("*a*a", "aa", true),
            ("a*a", "a", false),
            ("*ab*ab*", "xabyab", true),
            ("**", "x", true),
            ("*conv1", "layer1.0.conv1", true),
            ("layer1.*.conv2", "layer1.0.conv1", false),
            ("*.0.*", "layer1.0.conv1", true),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn the_nearest_names_are_told() {
        let names = [
            "conv1.weight",
            "layer1.0.bn1.bias",
            "layer1.0.conv1.weight",
            "fc.weight",
            "fc.bias",
            "bn1.weight",
        ];
        let said = near("layer1.0.conv3.weight", &names);
        assert!(said.starts_with("layer1.0.conv1.weight, layer1.0.bn1.bias"), "{said}");
        assert!(said.ends_with("and 1 more"), "{said}");
        assert!(near("f.weight", &names).starts_with("fc.weight"));
    }
}
