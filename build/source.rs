//! Reads kernel files: their `KERNEL(` lines, also those of macros, their argument structs, what they include.

use std::collections::BTreeMap;
use std::mem::replace;
use std::path::{Path, PathBuf};

use crate::arguments::{self, Source, Structure, tokens};

/// One `KERNEL(name, Args, Shared, max_threads)` line.
pub struct Kernel {
    pub symbol: String,
    pub args: String,
    pub shared: String,
    pub max_threads: String,
}

/// One `.cu` file.
pub struct KernelFile {
    pub path: PathBuf,
    /// Its path below `kernels/`: `pointwise/add.cu`
    pub name: String,
    /// `add`
    pub stem: String,
    /// Kernels of the emulator's own tests, some with deliberate errors; never given to nvcc.
    pub testing: bool,
    /// Architectures beyond the usual ones, from a first line `// arch: sm_90a`.
    pub architectures: Vec<String>,
    pub kernels: Vec<Kernel>,
    /// What they take, each struct behind its parts.
    pub structures: Vec<Structure>,
}

impl KernelFile {
    /// Asks a C++ compiler whether it lays out all structs as Rust does.
    pub fn checks(&self) -> String {
        self.structures.iter().map(Structure::checks).collect()
    }
}

/// The `.cu` files of `kernels/` and its folders, in order of their paths.
pub fn scan(kernels: &Path) -> Result<Vec<KernelFile>, String> {
    let mut folders = vec![kernels.to_path_buf()];
    let mut paths = Vec::new();
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()));
        for path in entries?.filter_map(|entry| Some(entry.ok()?.path())) {
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(extension) if extension == "cu" => paths.push(path),
                _ => {}
            }
        }
    }
    paths.sort();
    paths.into_iter().map(|path| read(path, kernels)).collect()
}

fn read(path: PathBuf, kernels: &Path) -> Result<KernelFile, String> {
    let at = |detail: String| format!("{}: {detail}", path.display());
    let text = std::fs::read_to_string(&path).map_err(|error| at(error.to_string()))?;
    let inside = path.strip_prefix(kernels).unwrap_or(&path);
    let testing = inside.starts_with("emulator/testing");
    let name = inside.to_string_lossy().into_owned();
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    if !stem.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(at("a kernel file's name is letters, digits and underscores".into()));
    }
    let architectures = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("// arch:"))
        .map(|list| list.split([',', ' ']).filter(|s| !s.is_empty()).map(String::from).collect())
        .unwrap_or_default();
    let mut sources = Vec::new();
    for path in closure(&path, &[kernels.to_path_buf()]) {
        let text = std::fs::read_to_string(&path).map_err(|error| at(error.to_string()))?;
        sources.push(Source { path, text });
    }
    let kernels = announced(&sources).map_err(at)?;
    let structures = arguments::read(&sources, kernels.iter().map(|kernel| kernel.args.as_str()))?;
    Ok(KernelFile { name, stem, testing, architectures, kernels, structures, path })
}

/// A symbol and a struct name may stand once in the whole program.
pub fn check_unique(files: &[KernelFile]) -> Result<(), String> {
    let mut seen = BTreeMap::new();
    for file in files {
        let symbols = file.kernels.iter().map(|kernel| ("kernel", &kernel.symbol, &file.path));
        let structures = file.structures.iter().map(|part| ("struct", &part.name, &part.path));
        let all = symbols.chain(structures).chain([("file", &file.stem, &file.path)]);
        for (what, name, path) in all {
            let other = seen.insert((what, name), path);
            // A header's structs are met in every file that includes it.
            if let Some(other) = other.filter(|other| what != "struct" || *other != path) {
                let (other, path) = (other.display(), path.display());
                return Err(format!("{what} `{name}` stands in {other} and in {path}"));
            }
        }
    }
    Ok(())
}

/// A macro of `KERNEL(` lines, a use of which is a line of its own.
struct Tile<'a> {
    name: &'a str,
    /// The last may be `...`.
    parameters: Vec<&'a str>,
    /// What stands in each of its `KERNEL(…)`.
    kernels: Vec<&'a str>,
}

/// Words between commas.
fn words(list: &str) -> Vec<&str> {
    list.split(',').map(str::trim).collect()
}

/// The macros of `KERNEL(` lines that a text defines.
fn tiles(text: &str) -> impl Iterator<Item = Tile<'_>> {
    text.split("#define ").skip(1).filter_map(|definition| {
        let (name, rest) = definition.split_once('(')?;
        let (parameters, body) = rest.split_once(')')?;
        let mut goes_on = true;
        let body = body.lines().take_while(|line| replace(&mut goes_on, line.ends_with('\\')));
        let kernels: Vec<_> = body.filter_map(|line| inside(line.trim_start(), "KERNEL")).collect();
        let parameters = words(parameters);
        (!kernels.is_empty()).then_some(Tile { name, parameters, kernels })
    })
}

/// What stands in the brackets of a line that begins with `name(`.
fn inside<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (inside, _) = line.strip_prefix(name)?.strip_prefix('(')?.split_once(')')?;
    Some(inside)
}

impl Tile<'_> {
    /// What stands in each `KERNEL(…)` where the macro is used with these arguments.
    fn expand(&self, arguments: &[&str]) -> Vec<String> {
        let value = |word: &str| match self.parameters.iter().position(|name| *name == word) {
            Some(at) => arguments.get(at).copied().unwrap_or_default().to_string(),
            None if word == "__VA_ARGS__" => {
                arguments.get(self.parameters.len() - 1..).unwrap_or_default().join(",")
            }
            None if word == "#" => String::new(),
            None => word.to_string(),
        };
        let expand = |text: &&str| tokens(text).iter().map(|token| value(token.text)).collect();
        self.kernels.iter().map(expand).collect()
    }
}

/// The kernels of the first source, a file, in whose lines macros of the others may stand.
fn announced(sources: &[Source]) -> Result<Vec<Kernel>, String> {
    let tiles: Vec<_> = sources.iter().flat_map(|source| tiles(&source.text)).collect();
    let lines = sources.first().map_or("", |file| file.text.as_str()).lines();
    let texts = lines.flat_map(|line| {
        let used = |tile: &Tile<'_>| Some(tile.expand(&words(inside(line, tile.name)?)));
        let plain = || {
            line.starts_with("KERNEL(")
                .then(|| vec![inside(line, "KERNEL").unwrap_or_default().into()])
        };
        tiles.iter().find_map(used).or_else(plain).unwrap_or_default()
    });
    let kernel = |text: String| match words(&text)[..] {
        [symbol, args, shared, max_threads] | [symbol, args, shared, max_threads, _] => {
            Ok(Kernel {
                symbol: symbol.into(),
                args: args.into(),
                shared: shared.into(),
                max_threads: max_threads.into(),
            })
        }
        _ => Err(format!(
            "`KERNEL({text})`: expected KERNEL(name, Args, Shared, max_threads) {{ on one line"
        )),
    };
    texts.map(kernel).collect()
}

/// A file and every file of ours that it includes, each once.
pub fn closure(path: &Path, folders: &[PathBuf]) -> Vec<PathBuf> {
    let mut found = vec![path.to_path_buf()];
    let mut next = 0;
    while next < found.len() {
        let text = std::fs::read_to_string(&found[next]).unwrap_or_default();
        let here = found[next].parent().map(Path::to_path_buf);
        next += 1;
        for name in text.lines().filter_map(|line| {
            line.trim_start().strip_prefix("#include \"")?.split('"').next().map(str::to_string)
        }) {
            let mut places = here.iter().chain(folders).map(|folder| folder.join(&name));
            if let Some(place) = places.find(|place| place.is_file())
                && !found.contains(&place)
            {
                found.push(place);
            }
        }
    }
    found
}
