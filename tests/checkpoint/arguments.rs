//! Arguments with which pickles rebuild tensors: each is carried out as PyTorch does, or refused.

use std::path::Path;

use flipside::checkpoint::Checkpoint;

use super::{fixture, forge, open};

/// What PyTorch makes of it is in a file of its own.
#[test]
fn lazily_negated_tensors_have_pytorchs_values() {
    let resolved = open("negated_resolved.pth");
    for name in ["negated.pth", "negated_legacy.pth"] {
        let checkpoint = open(name);
        assert_eq!(checkpoint.len(), 13, "{name}");
        for (key, tensor) in checkpoint.iter() {
            let expected = resolved.get(key).unwrap();
            assert_eq!(tensor.shape, expected.shape, "{name}: {key}");
            // By bits: the negative of 0 isn't 0.
            assert_eq!(tensor.data.as_bytes(), expected.data.as_bytes(), "{name}: {key}");
        }
        assert_eq!(checkpoint.f32("imag", &[2]).unwrap(), [-1.0, 3.0]);
        assert_eq!(checkpoint.f32("plain", &[3]).unwrap(), [0.0, 1.0, 2.0]);
    }
}

#[test]
fn tensors_of_other_kinds_are_refused_by_their_name() {
    for (kind, part) in [
        ("quantized", "a quantized tensor"),
        ("sparse", "a sparse tensor"),
        ("complex", "a complex tensor"),
        ("meta", "device meta"),
        ("float8", "element type"),
        ("attributed", "with attributes"),
    ] {
        let error = Checkpoint::open(&fixture(&format!("unread_{kind}.pth"))).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(part) && error.contains("refused"), "{kind}: {error}");
    }
}

/// The file of a pickle over a storage of four f32: 1, 2, 3, 4.
fn parse(pickle: &[u8]) -> Result<Checkpoint, String> {
    let storage: Vec<u8> = [1f32, 2.0, 3.0, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let file = forge::pth(pickle, &storage, "little");
    Checkpoint::parse(Path::new("forged.pth"), file).map_err(|error| error.to_string())
}

/// A tensor of four f32 whose arguments after the strides are `rest`, rebuilt by `function`.
fn rebuilt(function: &str, rest: &[u8]) -> Vec<u8> {
    let tensor = forge::tensor("FloatStorage", 4, 0, &[4], &[1]);
    let text = b"ctorch._utils\n_rebuild_tensor_v2\n";
    let usual = b"\x89ccollections\nOrderedDict\n)RtR.";
    let arguments = &tensor[2 + text.len()..tensor.len() - usual.len()];
    let function = format!("ctorch._utils\n{function}\n");
    [b"\x80\x02", function.as_bytes(), arguments, rest, b"tR."].concat()
}

const NO_HOOKS: &[u8] = b"ccollections\nOrderedDict\n)R";

#[test]
fn arguments_of_tensors_are_carried_out_or_refused() {
    let neg: &[u8] = b"}X\x03\0\0\0neg\x88s";
    for (function, rest, values) in [
        ("_rebuild_tensor", &[][..], [1.0, 2.0, 3.0, 4.0]),
        ("_rebuild_tensor_v2", &[b"\x89", NO_HOOKS].concat(), [1.0, 2.0, 3.0, 4.0]),
        ("_rebuild_tensor_v2", &[b"\x88", NO_HOOKS, b"N"].concat(), [1.0, 2.0, 3.0, 4.0]),
        ("_rebuild_tensor_v2", b"\x88NN", [1.0, 2.0, 3.0, 4.0]),
        ("_rebuild_tensor_v2", &[b"\x89", NO_HOOKS, b"}"].concat(), [1.0, 2.0, 3.0, 4.0]),
        ("_rebuild_tensor_v2", &[b"\x89", NO_HOOKS, neg].concat(), [-1.0, -2.0, -3.0, -4.0]),
    ] {
        let checkpoint = parse(&rebuilt(function, rest)).unwrap();
        assert_eq!(checkpoint.f32("tensor", &[4]).unwrap(), values, "{function}");
    }
    let with = |metadata: &[u8]| [b"\x89", NO_HOOKS, metadata].concat();
    for (function, rest, part) in [
        ("_rebuild_tensor", b"\x89".to_vec(), "number of arguments"),
        ("_rebuild_tensor_v2", vec![], "number of arguments"),
        ("_rebuild_tensor_v2", with(b"NN"), "number of arguments"),
        ("_rebuild_tensor_v2", [b"K\x01", NO_HOOKS].concat(), "by an int"),
        ("_rebuild_tensor_v2", b"\x89}K\x01K\x01s".to_vec(), "hooks"),
        ("_rebuild_tensor_v2", b"\x89K\x00".to_vec(), "hooks"),
        // PyTorch refuses conj of real tensors, and takes neg for set whatever its value.
        ("_rebuild_tensor_v2", with(b"}X\x04\0\0\0conj\x88s"), "`conj`"),
        ("_rebuild_tensor_v2", with(b"}X\x03\0\0\0neg\x89s"), "`neg`"),
        ("_rebuild_tensor_v2", with(b"}X\x03\0\0\0neg\x88sX\x03\0\0\0neg\x88s"), "`neg`, `neg`"),
        ("_rebuild_tensor_v2", with(b"}X\x05\0\0\0scale\x88s"), "`scale`"),
        ("_rebuild_tensor_v2", with(b"K\x01"), "aren't a dict"),
    ] {
        let error = parse(&rebuilt(function, &rest)).unwrap_err();
        assert!(error.contains(part), "{function}: no '{part}' in: {error}");
    }
}

#[test]
fn arguments_of_parameters_are_carried_out_or_refused() {
    let tensor = forge::tensor("FloatStorage", 4, 0, &[4], &[1]);
    let tensor = &tensor[2..tensor.len() - 1];
    let parameter = |function: &str, rest: &[u8]| {
        let function = format!("\x02ctorch._utils\n{function}\n(");
        parse(&[b"\x80", function.as_bytes(), tensor, rest, b"tR."].concat())
    };
    let plain = "_rebuild_parameter";
    let with_state = "_rebuild_parameter_with_state";
    let tag: &[u8] = b"}X\x03\0\0\0tagK\x01s";
    for (function, rest) in [
        (plain, [b"\x88", NO_HOOKS].concat()),
        (with_state, [b"\x88", NO_HOOKS, tag].concat()),
        (with_state, [b"\x88", NO_HOOKS, b"N"].concat()),
        (with_state, [b"\x88", NO_HOOKS, tag, tag, b"\x86"].concat()),
    ] {
        let checkpoint = parameter(function, &rest).unwrap();
        assert_eq!(checkpoint.f32("tensor", &[4]).unwrap(), [1.0, 2.0, 3.0, 4.0]);
    }
    for (function, rest, part) in [
        (plain, b"\x88".to_vec(), "number of arguments"),
        (plain, [b"\x88", NO_HOOKS, tag].concat(), "number of arguments"),
        (with_state, [b"\x88", NO_HOOKS].concat(), "number of arguments"),
        (plain, [b"N", NO_HOOKS].concat(), "by None"),
        // `parameter.data = 1` would change its values.
        (with_state, [b"\x88", NO_HOOKS, b"}X\x04\0\0\0dataK\x01s"].concat(), "replaces"),
        (with_state, [b"\x88", NO_HOOKS, b"K\x01"].concat(), "unknown attributes"),
    ] {
        let error = parameter(function, &rest).err().unwrap();
        assert!(error.contains(part), "{function}: no '{part}' in: {error}");
    }
    // Attributes that are set on a tensor afterwards.
    let error = parse(&[b"\x80\x02", tensor, b"}b."].concat()).unwrap_err();
    assert!(error.contains("sets attributes of a tensor"), "{error}");
}

#[test]
fn a_storage_has_one_type_length_and_place() {
    let two = |first: &[u8], second: &[u8]| {
        let mut pickle = b"\x80\x02}(X\x01\0\0\0a".to_vec();
        pickle.extend(&first[2..first.len() - 1]);
        pickle.extend(b"X\x01\0\0\0b");
        pickle.extend(&second[2..second.len() - 1]);
        pickle.extend(b"u.");
        parse(&pickle)
    };
    let floats = forge::tensor("FloatStorage", 4, 0, &[4], &[1]);
    assert!(two(&floats, &forge::tensor("FloatStorage", 4, 1, &[2], &[2])).is_ok());
    for other in [
        forge::tensor("IntStorage", 4, 0, &[4], &[1]),
        forge::tensor("FloatStorage", 2, 0, &[2], &[1]),
    ] {
        let error = two(&floats, &other).unwrap_err();
        assert!(error.contains("`0` is given two element types or lengths"), "{error}");
    }
    let at = floats.windows(3).position(|w| w == b"cpu").unwrap();
    let mut nowhere = floats[..at - 4].to_vec();
    nowhere.extend(b"\x04\0\0\0meta");
    nowhere.extend(&floats[at + 3..]);
    assert!(parse(&nowhere).unwrap_err().contains("device meta"));
    // A view of a storage, as formats before PyTorch 1.6 have it.
    let mut view = floats[..at + 8].to_vec();
    view.extend(b"X\x01\0\0\0vK\x00K\x02\x87");
    view.extend(&floats[at + 8..]);
    assert!(parse(&view).unwrap_err().contains("only older formats"));
}

#[test]
fn versions_of_the_archive_are_looked_at() {
    let pickle = forge::tensor("FloatStorage", 1, 0, &[1], &[1]);
    for (version, is_read) in
        [("1", true), ("3\n", true), ("10", true), ("11\n", false), ("0", false), ("x", false)]
    {
        let entries: [(&str, &[u8]); 3] =
            [("a/data.pkl", &pickle), ("a/version", version.as_bytes()), ("a/data/0", &[0; 4])];
        let read = Checkpoint::parse(Path::new("forged.pth"), forge::zip(&entries, false));
        assert_eq!(read.is_ok(), is_read, "{version}");
    }
}
