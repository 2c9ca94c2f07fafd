//! Compiles a copy of a kernel file for every mutant, for the emulator.

#[path = "../arguments.rs"]
#[allow(dead_code)]
mod arguments;
#[path = "../cache.rs"]
#[allow(dead_code)] // What only the build of the program needs.
mod cache;
#[path = "../emulated.rs"]
#[allow(dead_code)]
mod emulated;
mod mutant;
#[path = "../source.rs"]
#[allow(dead_code)]
mod source;

use std::env;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cache::Job;
use emulated::Compiler;
use mutant::Mutant;
use source::KernelFile;

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let root = cache::root()?;
    for path in ["build", "kernels"] {
        println!("cargo:rerun-if-changed={}", root.join(path).display());
    }
    println!("cargo:rerun-if-env-changed=FLIPSIDE_SANITIZE");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets no OUT_DIR")?);
    let cache = cache::directory(&out)?;
    let kernels = root.join("kernels");
    let files = source::scan(&kernels)?;
    let compiler = Compiler::find(&kernels)?;
    // A sanitizer ends the run at an access out of bounds, which a mutant may make.
    let mutants = match compiler.sanitizes() {
        true => Vec::new(),
        false => mutant::scan(&kernels.join("emulator/testing/mutants"))?,
    };
    let mut jobs = Vec::new();
    for mutant in &mutants {
        jobs.push(job(&compiler, mutant, mutant.file(&files)?, &out, &cache)?);
    }
    cache::run(&jobs)?;
    if !jobs.is_empty() {
        compiler.link("flipside_mutants", jobs.iter().map(|job| job.output.as_path()));
    }
    cache::write(&out.join("mutants.rs"), &rust_table(&mutants))
}

/// The object of a kernel file with an error in it, for any processor.
fn job(
    compiler: &Compiler,
    mutant: &Mutant,
    file: &KernelFile,
    out: &Path,
    cache: &Path,
) -> Result<Job, String> {
    let copies = mutant.copy(file, &compiler.kernels, out)?;
    let unit = compiler.unit(file, &mutant.symbol(), Some(&|kernel| mutant.changes(kernel)));
    let stem = format!("mutant_{}", mutant.name);
    // The copy's folder is searched before the original's. Mutants run few cases, so they are compiled quickly.
    let flags = ["-iquote", &mutant.folder(), "-O1"];
    let what = format!("mutant {}", mutant.name);
    compiler.unit_job(&what, (&stem, &unit), (&copies, &file.name), &flags, out, cache)
}

/// What lib.rs includes.
fn rust_table(mutants: &[Mutant]) -> String {
    let mut externs = String::new();
    let mut entries = String::new();
    for mutant in mutants {
        let _ = writeln!(
            externs,
            "        static {}: flipside::device::kernels::FileTable;",
            mutant.symbol()
        );
        let Mutant { name, file, cases, test, why, .. } = mutant;
        let _ = writeln!(
            entries,
            "        // SAFETY: a constant that build.rs has compiled.\n        \
             MutantFile {{ mutant: Mutant {{ name: {name:?}, kernels: unsafe {{ &{} }} }}, file: {file:?}, \
             cases: &{cases:?}, test: {test:?}, why: {why:?} }},",
            mutant.symbol()
        );
    }
    format!("{{\n    unsafe extern \"C\" {{\n{externs}    }}\n    &[\n{entries}    ]\n}}\n")
}
