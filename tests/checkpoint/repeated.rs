//! Names that stand twice: whichever were taken, the file might mean the other.

use std::path::Path;

use flipside::checkpoint::Checkpoint;

use super::forge::{self, Entry, dict};

fn refusal(bytes: impl Into<Vec<u8>>) -> String {
    Checkpoint::parse(Path::new("twice"), bytes).unwrap_err().to_string()
}

#[test]
fn keys_of_a_safetensors_header() {
    let file = |header: &str| {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.bytes());
        file.extend([0; 8]);
        file
    };
    let tensor =
        |at: usize| format!(r#"{{"dtype":"F32","shape":[1],"data_offsets":[{at},{}]}}"#, at + 4);
    let (first, second) = (tensor(0), tensor(4));
    let honest = file(&format!(r#"{{"a":{first},"b":{second}}}"#));
    assert!(Checkpoint::parse(Path::new("honest"), honest).is_ok());
    for (header, key) in [
        (format!(r#"{{"a":{first},"a":{second}}}"#), "`a`"),
        (format!(r#"{{"a":{first},"b":{second},"a":{first}}}"#), "`a`"),
        (format!(r#"{{"__metadata__":{{"x":"1","x":"2"}},"a":{first},"b":{second}}}"#), "`x`"),
        (
            format!(
                r#"{{"a":{first},"b":{{"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[4,8]}}}}"#
            ),
            "`shape`",
        ),
    ] {
        let error = refusal(file(&header));
        assert!(error.contains(key) && error.contains("twice"), "{header}: {error}");
    }
}

#[test]
fn entries_of_a_zip_archive() {
    let pickle = forge::tensor("FloatStorage", 1, 0, &[1], &[1]);
    let (one, two) = (1f32.to_le_bytes(), 2f32.to_le_bytes());
    let file =
        forge::zip(&[("a/data.pkl", &pickle), ("a/data/0", &one), ("a/data/0", &two)], false);
    let error = refusal(file);
    assert!(error.contains("two entries named `a/data/0`"), "{error}");
    let file = forge::zip(&[("a/data.pkl", &pickle), ("b/data.pkl", &pickle)], false);
    assert!(refusal(file).contains("two checkpoints, in `a` and in `b`"));
}

#[test]
fn keys_of_a_pickled_dict() {
    for twice in [
        dict([("w", Entry::Value(1.0)), ("w", Entry::Value(2.0))]),
        dict([("model", dict([("v", Entry::Value(1.0)), ("v", Entry::Value(2.0))]))]),
        dict([
            ("model", forge::values("", &["w"], 1.0)),
            ("model", forge::values("", &["w"], 2.0)),
        ]),
    ] {
        let error = refusal(forge::checkpoint(&twice));
        assert!(error.contains("twice"), "{error}");
    }
    // A tensor whose place another value takes.
    let tensor = forge::tensor("FloatStorage", 1, 0, &[1], &[1]);
    let pickle =
        [b"\x80\x02}(X\x01\0\0\0w", &tensor[2..tensor.len() - 1], b"X\x01\0\0\0wNu."].concat();
    assert!(refusal(forge::pth(&pickle, &[0; 4], "little")).contains("`w` twice"));
}
