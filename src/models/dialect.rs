//! Names that other programs give the tensors of a model.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::checkpoint::Checkpoint;

/// Another program's names for the tensors of a family.
#[derive(Debug)]
pub struct Dialect {
    /// A key that every file in these names has, and no file in the model's own.
    pub sign: &'static str,
    /// The model's key for one of theirs, both without `backbone.`.
    pub rename: fn(&str) -> Cow<'_, str>,
}

/// What stands before every name of a text-guided model's backbone.
pub(super) const BACKBONE: &str = "backbone.";

/// A checkpoint's keys under the names that a model has for them.
pub(super) struct Keys<'c> {
    /// The model's key → the file's.
    keys: HashMap<Cow<'c, str>, &'c str>,
    translated: bool,
}

impl<'c> Keys<'c> {
    /// The keys of `checkpoint`, translated where they are in `dialect`.
    pub fn of(checkpoint: &'c Checkpoint, dialect: Option<&Dialect>) -> Keys<'c> {
        let spoken = dialect.and_then(|dialect| {
            let spoken_under =
                |prefix: &&str| checkpoint.contains(&format!("{prefix}{}", dialect.sign));
            ["", BACKBONE].into_iter().find(spoken_under).map(|prefix| (dialect.rename, prefix))
        });
        let mut keys = HashMap::new();
        for theirs in checkpoint.keys() {
            let ours = match spoken {
                Some((rename, prefix)) => match theirs.strip_prefix(prefix) {
                    Some(name) => Cow::Owned(format!("{prefix}{}", rename(name))),
                    None => Cow::Borrowed(theirs),
                },
                None => Cow::Borrowed(theirs),
            };
            match keys.entry(ours) {
                Entry::Vacant(free) => drop(free.insert(theirs)),
                // Two of theirs for one of ours: the second is left under its own name, which the
                // model doesn't have, and is reported as unexpected.
                Entry::Occupied(_) => drop(keys.insert(Cow::Borrowed(theirs), theirs)),
            }
        }
        Keys { keys, translated: spoken.is_some() }
    }

    /// The file's key for the model's key `ours`.
    pub fn find(&self, ours: &str) -> Option<&'c str> {
        self.keys.get(ours).copied()
    }

    /// The model's keys with the file's.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'c str)> {
        self.keys.iter().map(|(ours, theirs)| (&**ours, *theirs))
    }

    /// Whether a tensor of shape `found` holds the values of one of shape `expected`: equal, or, in
    /// translated files, equal but for a 1×1 window: a linear layer over pixels, [O, I], is a
    /// convolution, [O, I, 1, 1].
    pub fn fits(&self, expected: &[usize], found: &[usize]) -> bool {
        let pointwise = |short: &[usize], long: &[usize]| matches!(long, [outputs, inputs, 1, 1] if short == [*outputs, *inputs]);
        expected == found
            || (self.translated && (pointwise(expected, found) || pointwise(found, expected)))
    }
}
