//! A pickled dict of plain values and NumPy's arrays of bytes, as data sets are kept in. Nothing is executed.

use super::pickle::{self, Budget, Pickle, PickleNode, Value};
use super::{Parsed, quote};

/// The entries of a dict whose keys are texts.
pub(crate) struct PickledDict<'a> {
    pickle: Pickle<'a>,
}

impl<'a> PickledDict<'a> {
    /// Reads the pickle that `bytes` are. Errors are half sentences about the file, here and below.
    pub fn read(bytes: &'a [u8]) -> Parsed<PickledDict<'a>> {
        if !matches!(bytes, [0x80, 2..=5, ..]) {
            return Err("is no pickle (of protocol 2 to 5)".into());
        }
        let pickle = pickle::read_arrays(bytes, &mut Budget::for_file(bytes.len()))?;
        let extra = bytes.len() - pickle.end;
        match pickle.arena.dict(pickle.root) {
            Some(_) if extra > 0 => Err(format!("has {extra} bytes behind its pickle's end")),
            Some(_) => Ok(PickledDict { pickle }),
            None => Err(format!("it holds {}, not a dict", pickle.arena.kind(pickle.root))),
        }
    }

    /// The value of a key, text or bytes; none if there is no such key.
    fn get(&self, key: &str) -> Parsed<Option<Value<'a>>> {
        let arena = &self.pickle.arena;
        let pairs = arena.dict(self.pickle.root).unwrap_or_default();
        let is_key = |of: Value<'a>| arena.bytes(of) == Some(key.as_bytes());
        let mut found = pairs.iter().filter(|(of, _)| is_key(*of)).map(|(_, value)| *value);
        match (found.next(), found.next()) {
            (_, Some(_)) => Err(format!("it holds the key {} twice", quote(key))),
            (value, None) => Ok(value),
        }
    }

    /// The items of a list, each made something else.
    fn items<T>(
        &self,
        key: &str,
        of: &str,
        item: impl Fn(Value<'a>) -> Option<T>,
    ) -> Parsed<Option<Vec<T>>> {
        let Some(value) = self.get(key)? else { return Ok(None) };
        let (key, arena) = (quote(key), &self.pickle.arena);
        let Some(PickleNode::List(items) | PickleNode::Tuple(items)) = arena.get(value) else {
            return Err(format!("its {key} is {}, not a list", arena.kind(value)));
        };
        let made: Parsed<Vec<T>> = items
            .iter()
            .enumerate()
            .map(|(i, &value)| {
                let wrong =
                    || format!("its {key} has {} at place {i}, not {of}", arena.kind(value));
                item(value).ok_or_else(wrong)
            })
            .collect();
        made.map(Some)
    }

    /// A list of whole numbers; none if there is no such key.
    pub fn integers(&self, key: &str) -> Parsed<Option<Vec<i64>>> {
        self.items(key, "an int", |value| match value {
            Value::Int(n) => Some(n),
            _ => None,
        })
    }

    /// A list of texts; none if there is no such key.
    pub fn texts(&self, key: &str) -> Parsed<Option<Vec<String>>> {
        let arena = &self.pickle.arena;
        self.items(key, "a text", |value| {
            let bytes = arena.bytes(value)?;
            std::str::from_utf8(bytes).ok().map(str::to_string)
        })
    }

    /// The bytes, row after row, of an array of two dimensions whose rows have `columns` bytes.
    pub fn rows(&self, key: &str, columns: usize) -> Parsed<Vec<u8>> {
        let arena = &self.pickle.arena;
        let value = self.get(key)?.ok_or_else(|| format!("it lacks the key {}", quote(key)))?;
        let Some(PickleNode::Array(array)) = arena.get(value) else {
            return Err(format!("its {} is {}, not an array", quote(key), arena.kind(value)));
        };
        match (array.shape.as_slice(), array.data) {
            (&[rows, width], Some(data)) if width == columns => {
                let bytes = arena.bytes(data).ok_or("it holds an array without bytes")?;
                if !array.by_columns {
                    return Ok(bytes.to_vec());
                }
                let row = |row: usize| bytes.iter().skip(row).step_by(rows).copied();
                Ok((0..rows).flat_map(row).collect())
            }
            (shape, _) => {
                Err(format!("its {} is of shape {shape:?}, not of N rows of {columns}", quote(key)))
            }
        }
    }
}
