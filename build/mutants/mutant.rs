//! Kernels with one deliberate error each, for the emulator alone: every file of
//! `kernels/emulator/testing/mutants/` names a text in the kernels, what stands in its place, and the
//! test that must fail then (`tests/mutants.rs`).

use std::path::{Path, PathBuf};

use crate::cache;
use crate::source::{self, KernelFile};

/// One `.mutant` file:
///
/// ```text
/// file: conv2d/conv2d.cu
/// source: fault/fault.cuh
/// kernels: conv2d_forward_f32_armed
/// cases: conv2d linear
/// test: kernels::armed_kernels_change_exactly_the_faulted_elements
/// why: one line
/// --- old
/// text that stands exactly once in the source
/// --- new
/// what stands there instead
/// ```
///
/// `source`, which the file includes, is the file itself where it isn't named. `kernels` are those that
/// have the error, `cases` the kinds of operations that the test is narrowed to; all where they aren't
/// named. An error must not access memory out of bounds, which would end all tests: `scripts/sanitize.sh` finds those.
pub struct Mutant {
    pub name: String,
    pub file: String,
    source: String,
    kernels: Vec<String>,
    pub cases: Vec<String>,
    pub test: String,
    pub why: String,
    old: String,
    new: String,
}

/// The `.mutant` files of a folder, in order of their names; none if the folder isn't there.
pub fn scan(folder: &Path) -> Result<Vec<Mutant>, String> {
    let mut paths: Vec<PathBuf> = match std::fs::read_dir(folder) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
        Err(_) => Vec::new(),
    };
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "mutant"));
    paths.sort();
    paths.iter().map(|path| read(path).map_err(|e| format!("{}: {e}", path.display()))).collect()
}

fn read(path: &Path) -> Result<Mutant, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err("a mutant's name is letters, digits and underscores".into());
    }
    let (head, texts) = text.split_once("--- old\n").ok_or("there is no line `--- old`")?;
    let (old, new) = texts.split_once("--- new\n").ok_or("there is no line `--- new`")?;
    let field = |key: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| *found == key).map(|(_, value)| value.trim().to_string())
    };
    let required = |key: &str| field(key).ok_or(format!("there is no line `{key}: …`"));
    let words = |key: &str| -> Vec<String> {
        field(key).unwrap_or_default().split_whitespace().map(String::from).collect()
    };
    let line_end = |text: &str| text.strip_suffix('\n').unwrap_or(text).to_string();
    let file = required("file")?;
    Ok(Mutant {
        source: field("source").unwrap_or(file.clone()),
        file,
        kernels: words("kernels"),
        cases: words("cases"),
        test: required("test")?,
        why: required("why")?,
        old: line_end(old),
        new: line_end(new),
        name,
    })
}

impl Mutant {
    /// The kernel file that it changes.
    pub fn file<'a>(&self, files: &'a [KernelFile]) -> Result<&'a KernelFile, String> {
        let found = files.iter().find(|file| file.name == self.file && !file.testing);
        let found = found.ok_or(format!("mutant {}: no kernels/{}", self.name, self.file))?;
        let there = |name: &String| found.kernels.iter().any(|kernel| kernel.symbol == *name);
        match self.kernels.iter().find(|name| !there(name)) {
            None => Ok(found),
            Some(name) => Err(format!("mutant {}: no {name} in {}", self.name, self.file)),
        }
    }

    /// Whether a kernel of its file is to have the error.
    pub fn changes(&self, kernel: &str) -> bool {
        self.kernels.is_empty() || self.kernels.iter().any(|name| name == kernel)
    }

    /// The name of its table of kernels.
    pub fn symbol(&self) -> String {
        format!("flipside_mutant_{}", self.name)
    }

    /// Where its copy of the kernels lies, within the folder of the build's results.
    pub fn folder(&self) -> String {
        format!("mutants/{}", self.name)
    }

    /// Copies the kernel file and all that it includes to its folder of `out`, with the error in it; returns
    /// that folder.
    pub fn copy(&self, file: &KernelFile, kernels: &Path, out: &Path) -> Result<PathBuf, String> {
        let at = |detail: String| format!("mutant {}: {detail}", self.name);
        let mut replaced = false;
        for path in source::closure(&file.path, &[kernels.to_path_buf()]) {
            let inside = path.strip_prefix(kernels).unwrap_or(&path);
            let mut text = std::fs::read_to_string(&path)
                .map_err(|error| at(format!("{}: {error}", path.display())))?;
            if inside == Path::new(&self.source) {
                let count = text.matches(&self.old).count();
                if count != 1 {
                    return Err(at(format!(
                        "kernels/{} holds its old text {count} times, not once; \
                         adapt kernels/emulator/testing/mutants/{}.mutant:\n{}",
                        self.source, self.name, self.old
                    )));
                }
                text = text.replacen(&self.old, &self.new, 1);
                replaced = true;
            }
            let copy = out.join(self.folder()).join(inside);
            if let Some(folder) = copy.parent() {
                std::fs::create_dir_all(folder)
                    .map_err(|error| at(format!("{}: {error}", folder.display())))?;
            }
            cache::write(&copy, &text)?;
        }
        if !replaced {
            return Err(at(format!("{} doesn't include {}", self.file, self.source)));
        }
        Ok(out.join(self.folder()))
    }
}
