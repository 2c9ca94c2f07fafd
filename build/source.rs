//! Reads kernel files: their `KERNEL(` lines, their argument structs, what they include.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One `KERNEL(name, Args, Shared, max_threads)` line.
pub struct Kernel {
    pub symbol: String,
    pub args: String,
    pub shared: String,
    pub max_threads: String,
}

/// One `struct …Args { … };`.
pub struct Structure {
    pub name: String,
    pub fields: Vec<String>,
}

/// One `.cu` file.
pub struct KernelFile {
    pub path: PathBuf,
    /// `relu.cu`
    pub name: String,
    /// `relu`
    pub stem: String,
    /// Deliberate errors for the emulator's tests; never given to nvcc.
    pub testing: bool,
    /// Architectures beyond the usual ones, from a first line `// arch: sm_90a`.
    pub architectures: Vec<String>,
    pub kernels: Vec<Kernel>,
    /// Those that the file itself defines, and those of headers that no earlier file includes.
    pub structures: Vec<Structure>,
    /// Those of the headers that it includes.
    included: Vec<Structure>,
}

/// The `.cu` files of a folder, in order of their names; none if the folder isn't there.
pub fn scan(folder: &Path, testing: bool) -> Result<Vec<KernelFile>, String> {
    let mut paths: Vec<PathBuf> = match std::fs::read_dir(folder) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
        Err(_) => Vec::new(),
    };
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "cu"));
    paths.sort();
    let mut files = Vec::new();
    let mut seen = Vec::new();
    for path in paths {
        let mut file = read(path, folder, testing)?;
        for structure in std::mem::take(&mut file.included) {
            if !seen.contains(&structure.name) {
                seen.push(structure.name.clone());
                file.structures.push(structure);
            }
        }
        files.push(file);
    }
    Ok(files)
}

fn read(path: PathBuf, folder: &Path, testing: bool) -> Result<KernelFile, String> {
    let at = |detail: String| format!("{}: {detail}", path.display());
    let text = std::fs::read_to_string(&path).map_err(|error| at(error.to_string()))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
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
    let code = without_comments(&text);
    let kernels = kernels(&code).map_err(at)?;
    let structures = structures(&code).map_err(at)?;
    let mut included = Vec::new();
    for header in closure(&path, &[folder.to_path_buf()]).iter().skip(1) {
        let text = std::fs::read_to_string(header).map_err(|error| at(error.to_string()))?;
        included.extend(self::structures(&without_comments(&text)).map_err(at)?);
    }
    for kernel in &kernels {
        let mut known = structures.iter().chain(&included);
        if !known.any(|structure| structure.name == kernel.args) {
            return Err(at(format!(
                "{} takes {}, which neither this file nor a header of it defines (`struct {} {{ … }};`)",
                kernel.symbol, kernel.args, kernel.args
            )));
        }
    }
    Ok(KernelFile { name, stem, testing, architectures, kernels, structures, included, path })
}

/// A symbol and a struct name may stand once in the whole program.
pub fn check_unique(files: &[KernelFile]) -> Result<(), String> {
    let mut seen = BTreeMap::new();
    for file in files {
        let symbols = file.kernels.iter().map(|kernel| ("kernel", &kernel.symbol));
        let names = file.structures.iter().map(|structure| ("struct", &structure.name));
        for (what, name) in symbols.chain(names).chain([("file", &file.stem)]) {
            if let Some(other) = seen.insert((what, name), &file.name) {
                return Err(format!("{what} `{name}` stands in {other} and in {}", file.name));
            }
        }
    }
    Ok(())
}

fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("//").into_iter().chain(rest.find("/*")).min() {
        out.push_str(&rest[..start]);
        let end = if rest[start..].starts_with("//") { "\n" } else { "*/" };
        let Some(length) = rest[start..].find(end) else { return out };
        rest = &rest[start + length + if end == "\n" { 0 } else { 2 }..];
    }
    out.push_str(rest);
    out
}

fn kernels(code: &str) -> Result<Vec<Kernel>, String> {
    let mut found = Vec::new();
    for line in code.lines().filter_map(|line| line.strip_prefix("KERNEL(")) {
        let inside = line.split_once(')').map(|(inside, _)| inside).unwrap_or_default();
        let parts: Vec<String> = inside.split(',').map(|part| part.trim().to_string()).collect();
        let ([symbol, args, shared, max_threads] | [symbol, args, shared, max_threads, _]) =
            &parts[..]
        else {
            return Err(format!(
                "`KERNEL({line}`: expected KERNEL(name, Args, Shared, max_threads) {{ on one line"
            ));
        };
        found.push(Kernel {
            symbol: symbol.clone(),
            args: args.clone(),
            shared: shared.clone(),
            max_threads: max_threads.clone(),
        });
    }
    Ok(found)
}

fn structures(code: &str) -> Result<Vec<Structure>, String> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(start) = rest.find("struct ") {
        rest = &rest[start + "struct ".len()..];
        let Some((head, tail)) = rest.split_once('{') else { break };
        let name = head.trim();
        if !name.ends_with("Args") || name.contains(char::is_whitespace) {
            continue;
        }
        let (body, _) =
            tail.split_once('}').ok_or_else(|| format!("struct {name} isn't closed"))?;
        let mut fields = Vec::new();
        for declaration in body.split(';').map(str::trim).filter(|text| !text.is_empty()) {
            let plain = |c: char| c.is_ascii_alphanumeric() || "_[], ".contains(c);
            let (_type, names) = declaration
                .split_once(char::is_whitespace)
                .filter(|_| declaration.chars().all(|c| plain(c) || c.is_whitespace()))
                .ok_or_else(|| {
                    format!("struct {name}: `{declaration}` isn't a plain field (pointers are u64)")
                })?;
            for field in names.split(',') {
                let field = field.split('[').next().unwrap_or_default().trim();
                fields.push(field.to_string());
            }
        }
        found.push(Structure { name: name.to_string(), fields });
    }
    Ok(found)
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
