//! The keys that a user may have meant.

use super::quote;

/// Only so much of a key is compared.
const MOST_CHARS: usize = 128;

/// Up to three of `keys`, quoted, that are nearest to `key`: by how many characters must be added,
/// dropped or replaced, up to half of its length.
pub(super) fn nearest<'k>(key: &str, keys: impl Iterator<Item = &'k str>) -> Vec<String> {
    let most = key.chars().count().min(MOST_CHARS) / 2;
    let mut near: Vec<(usize, &str)> = keys
        .map(|other| (distance(key, other), other))
        .filter(|&(distance, _)| distance <= most)
        .collect();
    near.sort_by_key(|&(distance, _)| distance);
    near.iter().take(3).map(|(_, other)| quote(other)).collect()
}

/// The Levenshtein distance, one row of the table at a time.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(MOST_CHARS).collect();
    let mut row: Vec<usize> = (0..=a.len()).collect();
    for (i, other) in b.chars().take(MOST_CHARS).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &c) in a.iter().enumerate() {
            let replaced = diagonal + usize::from(c != other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[a.len()]
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn distance_counts_edits() {
        // The usual textbook pairs.
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("fc.weight", "fc.weight"), 0);
    }
}
