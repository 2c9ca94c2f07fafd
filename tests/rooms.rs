//! The order of rooms: what `use` lines of `src/` may name, as ARCHITECTURE.md states it. Beside it: a type's name
//! means one thing.
//!
//! A room is a folder of `src/`, or a file beside them. It may use rooms that stand above it in the map. Inside
//! a room files may not lead back to themselves; a folder's `mod.rs` and its own files may name each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The rooms in the map's order: the cells of its table's first column that begin with `src/`.
fn rooms(map: &str) -> Vec<String> {
    let cells = map.lines().filter_map(|line| line.strip_prefix('|')?.split('|').next());
    let words = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let rooms = words.filter_map(|word| word.strip_prefix("src/"));
    rooms.map(|room| room.split('/').next().unwrap().trim_end_matches(".rs").to_string()).collect()
}

/// The paths that a file names by `crate::` or `super::`, absolute, in `use` lines and elsewhere; not in its
/// comments, and not in its tests.
fn named(module: &[String], text: &str) -> BTreeSet<Vec<String>> {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let code: Vec<&str> =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let mut found = BTreeSet::new();
    for root in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back().unwrap_or(' ');
            if !(before.is_alphanumeric() || before == '_' || before == ':') {
                expand(module, &[], &code[at..], &mut found);
            }
        }
    }
    found
}

/// Reads a path or a tree of `use` that begins with `text`.
fn expand(module: &[String], start: &[String], text: &str, found: &mut BTreeSet<Vec<String>>) {
    let mut path = start.to_vec();
    let mut rest = text;
    let mut first = start.is_empty();
    loop {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let word = &rest[..end];
        match word {
            "crate" if first => path = Vec::new(),
            "self" if first => path = module.to_vec(),
            "super" if first || path.len() < module.len() && start.is_empty() => {
                let from = if first { module } else { &path };
                path = from[..from.len().saturating_sub(1)].to_vec();
            }
            "self" | "" => {}
            _ => path.push(word.to_string()),
        }
        first = false;
        let Some(next) = rest[end..].strip_prefix("::") else { break };
        rest = next;
        if let Some(tree) = rest.strip_prefix('{') {
            let (mut depth, mut from) = (0, 0);
            for (at, c) in tree.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' if depth > 0 => depth -= 1,
                    ',' | '}' if depth == 0 => {
                        let part = tree[from..at].trim();
                        if !part.is_empty() {
                            expand(module, &path, part, found);
                        }
                        from = at + 1;
                        if c == '}' {
                            return;
                        }
                    }
                    _ => {}
                }
            }
            return;
        }
    }
    found.insert(path);
}

/// The files of `src/` by module path, and for each the files that it names.
struct House {
    /// Module path → file, below `src/`.
    files: BTreeMap<Vec<String>, String>,
    arrows: BTreeMap<String, BTreeSet<String>>,
}

impl House {
    fn read(source: &Path) -> House {
        let mut paths = Vec::new();
        files(source, &mut paths);
        let mut by_module = BTreeMap::new();
        let mut texts = Vec::new();
        for path in paths {
            let file = path.strip_prefix(source).unwrap().to_str().unwrap().to_string();
            let parts = file.trim_end_matches(".rs").split('/').map(str::to_string);
            let mut module: Vec<String> = parts.collect();
            if module.last().is_some_and(|last| last == "mod" || last == "lib") {
                module.pop();
            }
            if file != "main.rs" {
                by_module.insert(module.clone(), file.clone());
            }
            texts.push((module, file, fs::read_to_string(&path).unwrap()));
        }
        let mut arrows = BTreeMap::new();
        for (module, file, text) in &texts {
            let of_file: BTreeSet<String> = named(module, text)
                .into_iter()
                .filter_map(|path| House::file_of(&by_module, &path))
                .filter(|to| to != file)
                .collect();
            arrows.insert(file.clone(), of_file);
        }
        House { files: by_module, arrows }
    }

    /// The file that holds what a path names: that of its longest first part which is a module.
    fn file_of(files: &BTreeMap<Vec<String>, String>, path: &[String]) -> Option<String> {
        (1..=path.len()).rev().find_map(|end| files.get(&path[..end]).cloned())
    }

    /// Arrows between files, less those between a folder's `mod.rs` and what lies in the folder.
    fn inner(&self) -> BTreeMap<&str, Vec<&str>> {
        let is_own = |a: &str, b: &str| {
            let folder = a.strip_suffix("mod.rs");
            folder.is_some_and(|folder| b.starts_with(folder))
        };
        let arrows = self.arrows.iter().map(|(from, to)| {
            let to = to.iter().filter(|to| !is_own(from, to) && !is_own(to, from));
            (from.as_str(), to.map(String::as_str).collect())
        });
        arrows.collect()
    }

    /// The files that lead back to themselves, in groups.
    fn circles(&self) -> Vec<BTreeSet<String>> {
        let arrows = self.inner();
        let reach = |from: &str| {
            let (mut seen, mut left) = (BTreeSet::new(), vec![from.to_string()]);
            while let Some(file) = left.pop() {
                for to in arrows.get(file.as_str()).into_iter().flatten() {
                    if seen.insert(to.to_string()) {
                        left.push(to.to_string());
                    }
                }
            }
            seen
        };
        let reached: BTreeMap<&str, BTreeSet<String>> =
            arrows.keys().map(|file| (*file, reach(file))).collect();
        let mut circles: Vec<BTreeSet<String>> = Vec::new();
        for (file, of_file) in &reached {
            if of_file.contains(*file) && !circles.iter().any(|circle| circle.contains(*file)) {
                let back = |other: &&String| reached[other.as_str()].contains(*file);
                circles.push(of_file.iter().filter(back).cloned().collect());
            }
        }
        circles
    }

    /// Arrows from a room to one that doesn't stand above it.
    fn upward(&self, order: &[String]) -> Vec<(String, String)> {
        let room = |file: &str| file.split('/').next().unwrap().trim_end_matches(".rs").to_string();
        let place = |room: &str| order.iter().position(|known| known == room);
        let mut found = Vec::new();
        for (from, to) in &self.arrows {
            if ["lib.rs", "main.rs"].contains(&from.as_str()) {
                continue;
            }
            let here = place(&room(from)).unwrap_or_else(|| panic!("{from}: not on the map"));
            for other in to.iter().map(|to| room(to)).collect::<BTreeSet<_>>() {
                let there = place(&other).unwrap_or_else(|| panic!("{other}: not on the map"));
                if there > here {
                    found.push((from.clone(), other));
                }
            }
        }
        found
    }
}

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn rooms_use_what_stands_above_them() {
    let order = rooms(&fs::read_to_string(here().join("ARCHITECTURE.md")).unwrap());
    let house = House::read(&here().join("src"));
    assert_eq!(house.upward(&order), []);
    // Nothing on the map that isn't there.
    for room in &order {
        let source = here().join("src").join(room);
        assert!(source.is_dir() || source.with_extension("rs").is_file(), "{room}");
    }
}

#[test]
fn files_don_t_go_round_in_circles() {
    assert_eq!(House::read(&here().join("src")).circles(), Vec::<BTreeSet<String>>::new());
}

/// Names of types that `src/` declares more than once with one meaning. A name with one declaration left fails.
///
/// `Args` are the flags of a subcommand. `Decoded` is what a format's decoder gives, or a sentence that says why not.
/// `InputRows`, `OutputRows` and `OutputPixels` are the pieces of a pass on the CPU: of an input's gradient, of an output.
const CONVENTIONS: &str = "Args Decoded InputRows OutputPixels OutputRows";

/// The name of the type that a line declares; associated types aren't types of their own.
fn declared(line: &str) -> Option<&str> {
    let code = line.trim_start();
    let is_inner = code.len() < line.len();
    let code = match code.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(") ")?.1,
        Some(rest) => rest.trim_start(),
        None => code,
    };
    let (keyword, rest) = code.trim_start_matches("unsafe ").split_once(' ')?;
    let is_type = match keyword {
        "struct" | "enum" | "trait" | "union" => true,
        "type" => !is_inner,
        _ => false,
    };
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    (is_type && rest.starts_with(char::is_uppercase)).then_some(&rest[..end])
}

#[test]
fn types_have_names_of_their_own() {
    let mut paths = Vec::new();
    files(&here().join("src"), &mut paths);
    let mut places: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        for name in code.lines().filter_map(declared) {
            places.entry(name.to_string()).or_default().push(path.clone());
        }
    }
    places.retain(|_, places| places.len() > 1);
    let known: BTreeSet<&str> = CONVENTIONS.split_whitespace().collect();
    let new: Vec<_> = places.iter().filter(|(name, _)| !known.contains(name.as_str())).collect();
    assert!(new.is_empty(), "declared twice: {new:#?}");
    let stale: Vec<_> = known.iter().filter(|name| !places.contains_key(**name)).collect();
    assert!(stale.is_empty(), "declared once: {stale:?}");
}

#[test]
fn declarations_of_types_are_found() {
    for (line, name) in [
        ("pub(super) struct Tile<'a> {", Some("Tile")),
        ("    pub struct Avx512;", Some("Avx512")),
        ("pub unsafe trait Pod: Copy {}", Some("Pod")),
        ("pub type Result<T> = std::result::Result<T, Error>;", Some("Result")),
        ("    type V = [f32; 4];", None),
        ("// struct Old;", None),
        ("enum Kind {", Some("Kind")),
        ("let struct_name = 1;", None),
    ] {
        assert_eq!(declared(line), name, "{line}");
    }
}

/// A house with an arrow up and a circle: both are seen.
#[test]
fn a_planted_circle_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("lib.rs", "pub mod low;\npub mod high;\n");
    write("low/mod.rs", "mod a;\nmod b;\npub use a::A;\n");
    write("low/a.rs", "use super::b::{\n    B,\n    C,\n};\n");
    write("low/b.rs", "use crate::high::{self, Top};\nuse super::a::A;\n");
    write("high.rs", "// crate::nowhere::at_all\nuse crate::low::A;\n");
    let house = House::read(folder.path());
    assert_eq!(house.files.len(), 5, "{:?}", house.files);
    let order = ["low".to_string(), "high".to_string()];
    assert_eq!(house.upward(&order), [("low/b.rs".to_string(), "high".to_string())]);
    let circles = house.circles();
    assert!(circles[0].contains("low/a.rs") && circles[0].contains("low/b.rs"), "{circles:?}");
    // A folder's own files and its mod.rs are no circle.
    write("low/b.rs", "use super::A;\n");
    write("high.rs", "");
    assert_eq!(House::read(folder.path()).circles(), Vec::<BTreeSet<String>>::new());
}
