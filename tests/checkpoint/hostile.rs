//! Files made to do harm, or to claim what isn't so.

use std::path::Path;

use flipside::checkpoint::Checkpoint;

use super::{fixture, forge};
use crate::allocations::peak_of;

fn refusal(bytes: &[u8]) -> String {
    let error = Checkpoint::parse(Path::new("forged.pth"), bytes).unwrap_err().to_string();
    assert!(error.starts_with("forged.pth: ") && error.len() < 400, "{error}");
    error
}

fn refusal_of_pickle(pickle: &[u8]) -> String {
    refusal(&forge::pth(pickle, &[0; 64], "little"))
}

#[test]
fn names_beyond_the_allow_list_are_refused_and_nothing_runs() {
    // `os.system` is pickled as the module that it comes from; this is what a Linux writer gives.
    for (name, asked) in [
        ("hostile_system.pth", "`posix.system`"),
        ("hostile_eval.pth", "`__builtin__.eval`"),
        ("hostile_nested.pth", "`__builtin__.print`"),
        ("whole_model.pth", "`torch.nn.modules.container.Sequential`"),
    ] {
        let error = Checkpoint::open(&fixture(name)).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(asked), "{error}");
        assert!(error.contains("refused"), "{error}");
    }
    assert!(!Path::new("pwned").exists());
    for (pickle, asked) in [
        (&b"cos\nsystem\n(X\x04\0\0\0trueoR."[..], "`os.system`"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.", "`builtins.eval`"),
        (b"(ios\nsystem\n.", "`os.system`"),
        (b"\x80\x02ctorch.storage\n_load_from_bytes\n.", "`torch.storage._load_from_bytes`"),
        (b"\x80\x02c\x1b[2J\nx\n.", r"`\u{1b}[2J.x`"),
    ] {
        let error = refusal_of_pickle(pickle);
        assert!(error.contains(asked) && error.contains("refused"), "{error}");
    }
}

#[test]
fn calls_of_what_is_no_allowed_function_are_refused() {
    let nested = b"\x80\x02ccollections\nOrderedDict\n)R)R.";
    assert!(refusal_of_pickle(nested).contains("calls a dict"));
    assert!(refusal_of_pickle(b"\x80\x02ctorch\nFloatStorage\n)R.").contains("refused"));
    assert!(refusal_of_pickle(b"\x80\x02K\x01)R.").contains("calls an int"));
}

#[test]
fn forged_tensors_must_fit_their_storage() {
    // The storage has 64 bytes: 16 floats.
    let honest = forge::tensor("FloatStorage", 16, 4, &[2, 3], &[3, 1]);
    let file = forge::pth(&honest, &[0; 64], "little");
    assert!(Checkpoint::parse(Path::new("honest.pth"), file).is_ok());
    for (len, offset, shape, strides) in [
        (17, 0, &[1][..], &[1][..]),
        (16, 16, &[1], &[1]),
        (16, 11, &[2, 3], &[3, 1]),
        (16, 0, &[2, 3], &[16, 1]),
        (16, 0, &[i32::MAX, i32::MAX, i32::MAX], &[0, 0, 0]),
        (16, 0, &[i32::MAX], &[0]),
        (16, 0, &[2, 2], &[i32::MAX, i32::MAX]),
        (i32::MAX, i32::MAX, &[1], &[1]),
        (16, -1, &[1], &[1]),
        (-1, 0, &[1], &[1]),
        (16, 0, &[-1], &[1]),
        (16, 0, &[1], &[-1]),
        (16, 0, &[1, 1], &[1]),
    ] {
        refusal_of_pickle(&forge::tensor("FloatStorage", len, offset, shape, strides));
    }
}

#[test]
fn many_names_for_one_storage_are_bounded() {
    // 4096 dict entries, each 4096 floats of the same storage: 64 MiB out of a file of 60 kB.
    let one = forge::tensor("FloatStorage", 4096, 0, &[4096], &[1]);
    let mut pickle = b"\x80\x02}".to_vec();
    forge::text(&mut pickle, "first");
    pickle.extend(&one[2..one.len() - 1]);
    pickle.extend(b"q\x00s");
    for i in 0..4096 {
        forge::text(&mut pickle, &i.to_string());
        pickle.extend(b"h\x00s");
    }
    pickle.push(b'.');
    let error = refusal(&forge::pth(&pickle, &[0; 4 * 4096], "little"));
    assert!(error.contains("more memory"), "{error}");
}

#[test]
fn work_and_depth_are_bounded() {
    // A tuple in a tuple in a tuple, five thousand deep: no recursion may follow it.
    let mut deep = b"\x80\x02)".to_vec();
    deep.resize(5_000, 0x85);
    deep.push(b'.');
    assert!(refusal_of_pickle(&deep).contains("holds a tuple"));
    // One byte of pickle for much more of memory: values, containers, marks, remembered values.
    for opcode in [b'N', b')', b'}', b'(', 0x94] {
        let mut long = b"\x80\x02N".to_vec();
        long.resize(1_000_000, opcode);
        let file = forge::pth(&long, &[], "little");
        let (error, peak) = peak_of(|| Checkpoint::parse(Path::new("forged.pth"), &file[..]));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("more memory"), "{opcode:#x}: {error}");
        // The file's copy, and twelve times as much and a megabyte for the pickle.
        assert!(peak <= 13 * file.len() + (1 << 20) + 4096, "{opcode:#x}: {peak}");
    }
    // A dict that contains itself under `model`, beside a tensor's absence.
    let mut cycle = b"\x80\x02}q\x00".to_vec();
    forge::text(&mut cycle, "model");
    cycle.extend(b"h\x00s.");
    assert!(refusal_of_pickle(&cycle).contains("without a state dict"));
    // Lengths beyond the file.
    for pickle in [
        &b"\x80\x02X\xff\xff\xff\xff"[..],
        b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x80\x04\x8b\xff\xff\xff\xff",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
    ] {
        assert!(refusal_of_pickle(pickle).contains("truncated"));
    }
    assert!(refusal_of_pickle(b"\x80\x02(0000.").contains("stack"));
    assert!(refusal_of_pickle(b"\x80\x02h\x07.").contains("never stored"));
    assert!(refusal_of_pickle(b"").contains("truncated"));
}

#[test]
fn entries_that_overlap_are_refused() {
    // 64 storages with one entry's bytes: each name of the directory points at the same data.
    let mut pickle = b"\x80\x02}".to_vec();
    let names: Vec<String> = (0..64).map(|i| format!("a/data/{i:02}")).collect();
    for i in 0..64 {
        let one = forge::tensor("ByteStorage", 1000, 0, &[1], &[1]);
        let at = one.windows(6).position(|w| w == b"X\x01\0\0\x000").unwrap();
        forge::text(&mut pickle, &i.to_string());
        pickle.extend(&one[2..at]);
        forge::text(&mut pickle, &format!("{i:02}"));
        pickle.extend(&one[at + 6..one.len() - 1]);
        pickle.push(b's');
    }
    pickle.push(b'.');
    let storage = [0; 1000];
    let mut entries = vec![("a/data.pkl", &pickle[..]), (names[0].as_str(), &storage[..])];
    entries.extend(names[1..].iter().map(|name| (name.as_str(), &[][..])));
    let mut file = forge::zip(&entries, false);
    // In the directory, give the empty entries the length and place of the first.
    let places: Vec<usize> =
        (0..file.len() - 4).filter(|&at| file[at..].starts_with(b"PK\x01\x02")).collect();
    let first = file[places[1]..places[1] + 46].to_vec();
    for &at in &places[2..] {
        file[at + 20..at + 28].copy_from_slice(&first[20..28]);
        file[at + 42..at + 46].copy_from_slice(&first[42..46]);
    }
    assert!(refusal(&file).contains("overlap"));
}

#[test]
fn zip64_and_byte_orders_are_read() {
    let pickle = forge::tensor("FloatStorage", 2, 0, &[2], &[1]);
    let values = |file: &[u8]| {
        let checkpoint = Checkpoint::parse(Path::new("forged.pth"), file)?;
        Ok::<_, flipside::Error>(checkpoint.tensor_only()?.to_f32())
    };
    let little: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let big: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|v| v.to_be_bytes()).collect();
    assert_eq!(values(&forge::pth(&pickle, &little, "little")).unwrap(), [1.5, -2.0]);
    assert_eq!(values(&forge::pth(&pickle, &big, "big")).unwrap(), [1.5, -2.0]);
    let error = values(&forge::pth(&pickle, &big, "middle")).unwrap_err().to_string();
    assert!(error.contains("byte order `middle`"), "{error}");
    let wide = forge::zip(&[("a/data.pkl", &pickle), ("a/data/0", &little)], true);
    assert_eq!(values(&wide).unwrap(), [1.5, -2.0]);
}
