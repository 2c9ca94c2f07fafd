//! Names as long as a file, met again and again at the cost of a byte or two: an end must come at once.

use std::path::Path;
use std::time::{Duration, Instant};

use flipside::checkpoint::{Checkpoint, ModelFit, Wanted};

use super::forge::{self, text};

/// What was seen of these files took 5 s and more where the work wasn't bounded, and takes milliseconds.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Reads a file, with weights that are looked for and without; gives the errors.
fn read(file: &[u8]) -> [Result<Checkpoint, String>; 2] {
    let start = Instant::now();
    let path = Path::new("forged.pth");
    let wanted = Wanted { kind: None, fit: &|_| ModelFit::No };
    let results = [Checkpoint::parse(path, file), Checkpoint::parse_fitting(path, file, &wanted)];
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    results.map(|result| result.map_err(|error| error.to_string()))
}

/// A pickle that starts with unused text, which pays for `rest`.
fn padded(len: usize, rest: &[u8]) -> Vec<u8> {
    let mut pickle = b"\x80\x02".to_vec();
    text(&mut pickle, &"p".repeat(len));
    pickle.push(b'0');
    pickle.extend(rest);
    pickle
}

/// The opcodes that push a tensor over storage `key`.
fn tensor(key: &str) -> Vec<u8> {
    let whole = forge::tensor("FloatStorage", 1, 0, &[1], &[1]);
    let at = whole.windows(6).position(|w| w == b"X\x01\0\0\x000").unwrap();
    let mut pushed = whole[2..at].to_vec();
    text(&mut pushed, key);
    pushed.extend(&whole[at + 6..whole.len() - 1]);
    pushed
}

/// Remembers `name` as 0 and a tensor over storage `key` as 1.
fn remembered(name: &str, key: &str) -> Vec<u8> {
    let mut pickle = Vec::new();
    text(&mut pickle, name);
    pickle.extend(b"q\x000");
    pickle.extend(tensor(key));
    pickle.extend(b"q\x010");
    pickle
}

const COUNT: usize = 8_000;
const LONG: usize = 1 << 20;

fn entries(pickle: &mut Vec<u8>, each: &[u8]) {
    for i in 0..COUNT {
        text(pickle, &i.to_string());
        pickle.extend(each);
    }
}

/// One key of many dicts.
fn key_of_many(name: &str) -> Vec<u8> {
    let mut pickle = remembered(name, "0");
    pickle.extend(b"}(");
    entries(&mut pickle, b"}h\x00h\x01s");
    pickle.extend(b"u.");
    pickle
}

/// A dict under one key that holds many.
fn way_to_many(name: &str) -> Vec<u8> {
    let mut pickle = remembered(name, "0");
    pickle.extend(b"}h\x00}(");
    entries(&mut pickle, b"}X\x01\0\0\0xh\x01s");
    pickle.extend(b"us.");
    pickle
}

/// One storage that is named by many persistent ids.
fn named_often(name: &str) -> Vec<u8> {
    let mut pickle = b"(".to_vec();
    text(&mut pickle, "storage");
    pickle.extend(b"ctorch\nFloatStorage\n");
    text(&mut pickle, name);
    text(&mut pickle, "cpu");
    pickle.extend(b"K\x01tq\x000(");
    pickle.extend(b"h\x00Q".repeat(COUNT));
    pickle.extend(b"l0}.");
    pickle
}

#[test]
fn a_name_is_paid_for_each_time_that_it_is_met() {
    for (what, make) in [
        ("key of many", key_of_many as fn(&str) -> Vec<u8>),
        ("way to many", way_to_many),
        ("named often", named_often),
    ] {
        let forged = |name: &str, padding: usize| {
            read(&forge::pth(&padded(padding, &make(name)), &[0; 4], "little"))
        };
        for result in forged(&"k".repeat(LONG), 0) {
            let error = result.unwrap_err();
            assert!(error.contains("more memory"), "{what}: {error}");
        }
        // It is the name that costs so much.
        for result in forged("k", LONG) {
            let error = result.err().unwrap_or_default();
            assert!(!error.contains("more memory"), "{what}: {error}");
        }
    }
}

/// Names in the archive are looked up for each tensor, with the folder before them.
#[test]
fn names_in_the_archive_are_paid_for_each_time() {
    let file = |folder: &str, key: &str| {
        let mut pickle = remembered("", key);
        pickle.extend(b"}(");
        entries(&mut pickle, b"h\x01");
        pickle.extend(b"u.");
        let data = padded(LONG, &pickle);
        let names = [format!("{folder}/data.pkl"), format!("{folder}/data/{key}")];
        forge::zip(&[(&names[0], &data), (&names[1], &[0; 4])], false)
    };
    let long = "k".repeat(60_000);
    for (folder, key) in [("a", long.as_str()), (long.as_str(), "0")] {
        assert!(
            read(&file(folder, key)).iter().all(|result| {
                result.as_ref().is_err_and(|error| error.contains("more memory"))
            })
        );
    }
    assert!(read(&file("a", "0")).iter().all(|result| result.as_ref().unwrap().len() == COUNT));
}

/// Attributes of a parameter are gone through, and dropped.
#[test]
fn attributes_are_paid_for_each_time() {
    let file = |attributes: usize, parameters: usize| {
        let mut pickle = remembered("a", "0");
        pickle.extend(b"}q\x020ctorch._utils\n_rebuild_parameter_with_state\nq\x030}(");
        pickle.extend(b"h\x00N".repeat(attributes));
        pickle.extend(b"uq\x040");
        pickle.extend(b"h\x03(h\x01\x89h\x02h\x04tR0".repeat(parameters));
        pickle.extend(b"}h\x00h\x01s.");
        forge::pth(&padded(4 * LONG, &pickle), &[0; 4], "little")
    };
    for result in read(&file(150_000, 20_000)) {
        let error = result.unwrap_err();
        assert!(error.contains("more memory"), "{error}");
    }
    for (attributes, parameters) in [(150_000, 1), (1, 20_000)] {
        assert!(read(&file(attributes, parameters)).iter().all(Result::is_ok));
    }
}

/// The format before PyTorch 1.6 lists its storages, each once.
#[test]
fn a_storage_that_is_listed_twice_is_refused() {
    let file = |key: &str, times: usize| {
        let mut file = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.".to_vec();
        file.extend(b"\x80\x02M\xe9\x03.\x80\x02}.\x80\x02}X\x01\0\0\0w");
        file.extend(tensor(key));
        file.extend(b"s.\x80\x02](");
        text(&mut file, key);
        file.extend(b"q\x00");
        file.extend(b"h\x00".repeat(times - 1));
        file.extend(b"e.");
        file.extend(b"\x01\0\0\0\0\0\0\0\0\0\x80\x3f".repeat(times));
        file
    };
    let once = read(&file("k", 1));
    assert!(once.iter().all(|read| read.as_ref().unwrap().get("w").unwrap().to_f32() == [1.0]));
    for (key, times) in [("k".into(), 2), ("k".repeat(LONG), 50_000)] {
        for result in read(&file(&key, times)) {
            let error = result.unwrap_err();
            assert!(error.contains("lists its data `kk") || error.contains("`k` twice"), "{error}");
            assert!(error.ends_with("twice"), "{error}");
        }
    }
}

/// `module.` is dropped as deep as wrappers are followed, and no deeper.
#[test]
fn module_is_dropped_so_often_and_no_more() {
    let file = |times: usize| {
        let mut pickle = b"\x80\x02}".to_vec();
        text(&mut pickle, &format!("{}x", "module.".repeat(times)));
        pickle.extend(tensor("0"));
        pickle.extend(b"s.");
        forge::pth(&pickle, &[0; 4], "little")
    };
    let [plain, _] = read(&file(6));
    assert_eq!(plain.unwrap().keys().collect::<Vec<_>>(), ["x"]);
    let [plain, _] = read(&file(150_000));
    assert!(plain.unwrap().keys().all(|name| name.starts_with("module.module.")));
}
