//! From class names to text features: questions, descriptions, CLIP's tokenizer and encoder, and the
//! encoder without weights.

#[cfg(feature = "http")]
mod chain;
#[cfg(feature = "http")]
mod describe;
mod features;
mod names;
mod questions;
mod tokens;
mod towers;

use flipside::data::builtin::descriptions;
use flipside::text::TextFeatures;
use flipside::text::hashing::NgramHasher;

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn builtin_features(width: usize) -> TextFeatures {
    let classes: Vec<(String, &[&str])> =
        descriptions().iter().map(|c| (c.name.to_string(), c.answers.as_slice())).collect();
    NgramHasher::new(width).unwrap().class_features(&classes).unwrap()
}

#[test]
fn selects_rows_and_normalises_them() {
    let names = ["cat", "dog", "eel"].map(String::from).to_vec();
    let features = TextFeatures::from_rows(names, vec![3.0, 4.0, 0.0, 2.0, -1.0, 0.0], 2).unwrap();
    assert_eq!(features.normalized_rows(), [0.6, 0.8, 0.0, 1.0, -1.0, 0.0]);
    let chosen = features.select(vec![(2, "eel".into()), (0, "tom".into())]).unwrap();
    assert_eq!((chosen.rows.as_slice(), chosen.width), ([-1.0, 0.0, 3.0, 4.0].as_slice(), 2));
    assert_eq!(chosen.names, ["eel", "tom"]);
    let error = features.select(vec![(0, "cat".into()), (3, "gnu".into())]).unwrap_err();
    assert!(error.to_string().contains("row 3 of \"gnu\""), "{error}");
}

#[test]
fn refuses_rows_that_make_no_sense() {
    let make = |values: Vec<f32>, width| {
        TextFeatures::from_rows(vec!["cat".into(), "dog".into()], values, width)
    };
    assert!(make(vec![1.0; 5], 2).is_err());
    assert!(make(vec![], 0).is_err());
    assert!(TextFeatures::from_rows(vec![], vec![], 4).is_err());
    for bad in [0.0, f32::NAN, f32::INFINITY] {
        let error = make(vec![1.0, 1.0, bad, 0.0], 2).unwrap_err().to_string();
        assert!(error.contains("\"dog\""), "{error}");
    }
}

/// The documented hash, worked by hand for the one word "a" in 8 dimensions: the word feature, and
/// the run "^a$" at half weight.
#[test]
fn hashing_is_what_its_page_says() {
    let hash = |kind: u8, text: &str| {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        for byte in std::iter::once(kind).chain(text.bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^ (hash >> 31)
    };
    let mut expected = [0f64; 8];
    for (kind, text, weight) in [(1, "a", 1.0), (3, "^a$", 0.5)] {
        let hash = hash(kind, text);
        expected[(hash >> 61) as usize] += if hash & 1 == 0 { weight } else { -weight };
    }
    let norm = expected.iter().map(|v| v * v).sum::<f64>().sqrt();
    let encoded = NgramHasher::new(8).unwrap().encode("A!");
    assert_eq!(encoded, expected.map(|v| (v / norm) as f32));
}

#[test]
fn similar_texts_lie_closer_and_unit_length_holds() {
    let encoder = NgramHasher::new(512).unwrap();
    let [a, b, c] = ["a red apple on a table", "red apples on tables", "the moon seen at night"]
        .map(|text| encoder.encode(text));
    // Rounding of 512 squares to f32 stays far below 1e-6.
    assert!((dot(&a, &a) - 1.0).abs() < 1e-6);
    assert!(dot(&a, &b) > dot(&a, &c) + 0.2, "{} {}", dot(&a, &b), dot(&a, &c));
    assert!(encoder.encode(" -- ").iter().all(|&v| v == 0.0));
    assert!(NgramHasher::new(0).is_err());
    let silent = [("void".to_string(), vec!["..."])];
    assert!(encoder.class_features(&silent).unwrap_err().to_string().contains("void"));
}

#[test]
fn builtin_classes_have_distinct_reproducible_features() {
    let features = builtin_features(128);
    assert_eq!(features, builtin_features(128));
    assert_eq!((features.len(), features.width), (10, 128));
    let rows = features.normalized_rows();
    for i in 0..10 {
        for j in 0..i {
            let cosine = dot(&rows[i * 128..][..128], &rows[j * 128..][..128]);
            assert!(cosine < 0.9, "{} {}: {cosine}", features.names[i], features.names[j]);
        }
    }
}
