//! What lies in the folder of a run.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

/// A folder's files by name, but for the lock and TensorBoard's, and without what the clock says: equal, however often a
/// run was interrupted.
pub fn timeless(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        let bytes = || std::fs::read(&path).unwrap();
        let bytes = match name.as_str() {
            ".lock" => continue,
            name if name.starts_with("events.out.tfevents.") => continue,
            "summary.csv" => untimed(&path).into_bytes(),
            "metrics.jsonl" => unclocked(&path).join("\n").into_bytes(),
            _ => bytes(),
        };
        files.insert(name, bytes);
    }
    files
}

/// The table without its last column, which says how long an epoch took.
fn untimed(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().map(|row| row.rsplit_once(',').unwrap().0);
    rows.collect::<Vec<_>>().join("\n")
}

/// The lines of metrics without what depends on the clock, which each line has.
pub fn unclocked(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let line = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let fields = line.as_object_mut().unwrap();
        let seconds = fields.remove("seconds").or(fields.remove("images_per_second"));
        assert!(seconds.unwrap().as_f64().unwrap() >= 0.0);
        line.to_string()
    };
    text.lines().map(line).collect()
}

/// Refuses folders that differ in what isn't a matter of the clock.
#[track_caller]
pub fn check_equal(found: &Path, expected: &Path) {
    let (found, expected) = (timeless(found), timeless(expected));
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, bytes) in &found {
        assert!(bytes == &expected[name], "{name} differs");
    }
}
