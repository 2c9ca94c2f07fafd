//! Keys that stand twice in a JSON object. Parsers keep one of the two without a word, and not all
//! the same one.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// The first key that stands twice in one object of `text`, at any depth; none where there is no
/// such key, or `text` isn't JSON.
pub(super) fn repeated(text: &[u8]) -> Option<String> {
    serde_json::from_slice::<RepeatedKey>(text).ok()?.0
}

struct RepeatedKey(Option<String>);

impl<'de> Deserialize<'de> for RepeatedKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RepeatedKey, D::Error> {
        deserializer.deserialize_any(AnyValue).map(RepeatedKey)
    }
}

struct AnyValue;

/// Visits of values that have no keys.
macro_rules! no_keys {
    ($($visit:ident: $value:ty),+) => {
        $(fn $visit<E>(self, _: $value) -> Result<Self::Value, E> {
            Ok(None)
        })+
    };
}

impl<'de> Visitor<'de> for AnyValue {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut keys, mut found) = (HashSet::new(), None);
        while let Some(key) = map.next_key::<String>()? {
            let RepeatedKey(inside) = map.next_value()?;
            found = found.or(inside);
            if found.is_none() && keys.contains(&key) {
                found = Some(key);
            } else {
                keys.insert(key);
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(RepeatedKey(inside)) = items.next_element()? {
            found = found.or(inside);
        }
        Ok(found)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    no_keys! { visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str }
}

#[cfg(test)]
mod tests {
    use super::repeated;

    #[test]
    fn a_key_twice_in_one_object_is_found_wherever_it_is() {
        for (text, key) in [
            (r#"{"a": 1, "b": {"a": [1, null, true, -2, 0.5, "x"]}}"#, None),
            (r#"{"a": 1, "b": 2, "a": 1}"#, Some("a")),
            (r#"{"a": 1, "\u0061": 1}"#, Some("a")),
            (r#"{"x": [{"y": {"b": 1, "b": 2}}]}"#, Some("b")),
            (r#"{"a": 1, "a": "#, None),
        ] {
            assert_eq!(repeated(text.as_bytes()).as_deref(), key, "{text}");
        }
    }
}
