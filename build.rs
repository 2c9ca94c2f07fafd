//! Compiles the `.cu` files of `kernels/` twice: with the C++ compiler for the emulator, and with nvcc, where there
//! is one, for GPUs. What comes out is linked, embedded, and listed in `OUT_DIR/kernel_files.rs`. The
//! structs that kernels take are written as Rust, `OUT_DIR/kernel_args.rs`.
//!
//! Environment: `NVCC`, `CUDA_HOME` (where to look first), `FLIPSIDE_REQUIRE_CUDA` (1: no nvcc is an
//! error; 0: none is looked for), `FLIPSIDE_SANITIZE=1` (emulated kernels under AddressSanitizer and UBSan), `CXX`.

#[path = "build/arguments.rs"]
mod arguments;
#[path = "build/cache.rs"]
mod cache;
#[path = "build/emulated.rs"]
mod emulated;
#[path = "build/nvcc.rs"]
mod nvcc;
#[path = "build/source.rs"]
mod source;

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use cache::Job;
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
    for path in ["build.rs", "build", "kernels"] {
        println!("cargo:rerun-if-changed={path}");
    }
    for name in ["NVCC", "CUDA_HOME", "FLIPSIDE_REQUIRE_CUDA", "FLIPSIDE_SANITIZE"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let root = cache::root()?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets no OUT_DIR")?);
    let cache = cache::directory(&out)?;
    let kernels = root.join("kernels");
    let files = source::scan(&kernels)?;
    source::check_unique(&files)?;

    cache::write(&out.join("kernel_args.rs"), &rust_structs(&files))?;

    let emulator = emulated::Compiler::find(&kernels)?;
    let mut jobs = Vec::new();
    for file in &files {
        jobs.extend(emulator.kernel_jobs(file, &out, &cache)?);
    }
    jobs.extend(emulator.runtime_jobs(&cache)?);
    let objects = jobs.len();

    let nvcc = if emulator.sanitizes() { None } else { nvcc::find(&root)? };
    if let Some(nvcc) = &nvcc {
        for file in files.iter().filter(|file| !file.testing) {
            jobs.push(nvcc.job(file, &kernels, &out, &cache)?);
        }
    }
    cache::run(&jobs)?;
    cache::prune(&cache);

    emulator.link("flipside_emulated", jobs[..objects].iter().map(|job| job.output.as_path()));
    let images = &jobs[objects..];
    let table = rust_table(&files, images, &emulator, nvcc.as_ref());
    cache::write(&out.join("kernel_files.rs"), &table)?;
    let said = out.join("resources.txt");
    match &nvcc {
        Some(nvcc) => cache::write(&said, &resources(&files, images, nvcc.release())),
        None if said.exists() => std::fs::remove_file(&said).map_err(|e| e.to_string()),
        None => Ok(()),
    }
}

/// What src/device/args.rs includes.
fn rust_structs(files: &[KernelFile]) -> String {
    let all = files.iter().flat_map(|file| &file.structures);
    let structures: BTreeMap<_, _> = all.map(|structure| (&structure.name, structure)).collect();
    let kernels = files.iter().flat_map(|file| &file.kernels);
    let kernels: Vec<_> = kernels.map(|k| (k.symbol.as_str(), k.args.as_str())).collect();
    arguments::rust(&structures.into_values().collect::<Vec<_>>(), &kernels)
}

/// What src/device/kernels.rs includes: one `KernelFile` a file.
fn rust_table(
    files: &[KernelFile],
    images: &[Job],
    emulator: &emulated::Compiler,
    nvcc: Option<&nvcc::Nvcc>,
) -> String {
    let mut externs = String::new();
    let mut entries = String::new();
    let mut images = images.iter();
    for file in files {
        let image = if file.testing { None } else { images.next() };
        let fatbin = match image {
            Some(image) => format!("include_bytes!({:?})", image.output),
            None => "&[]".into(),
        };
        for variant in emulator.variants() {
            let _ = writeln!(externs, "    static {}: FileTable;", variant.symbol(file));
        }
        let mut tables =
            emulator.variants().iter().map(|v| format!("|| &raw const {}", v.symbol(file)));
        let base = tables.next().unwrap_or_default();
        let wide = tables.next().map_or("None".into(), |table| format!("Some({table})"));
        let _ = writeln!(
            entries,
            "    KernelFile {{ name: {:?}, testing: {}, fatbin: {fatbin}, table: {base}, \
             wide: {wide} }},",
            file.name, file.testing
        );
    }
    let images = nvcc.map_or(String::new(), nvcc::Nvcc::images);
    let release = nvcc.map_or("", nvcc::Nvcc::release);
    format!(
        "unsafe extern \"C\" {{\n{externs}}}\n\n\
         /// The images in each fatbin; empty when there was no nvcc.\n\
         pub(super) const IMAGES: &str = {images:?};\n\n\
         /// The release of the nvcc that made them, such as `V13.0.88`.\n\
         pub(super) const NVCC_RELEASE: &str = {release:?};\n\n\
         static FILES: &[KernelFile] = &[\n{entries}];\n"
    )
}

/// What ptxas said about every file, for scripts/kernel-resources.sh.
fn resources(files: &[KernelFile], images: &[Job], release: &str) -> String {
    let mut text = format!("nvcc {release}\n");
    for (file, image) in files.iter().filter(|file| !file.testing).zip(images) {
        let said = std::fs::read_to_string(image.log()).unwrap_or_default();
        let _ = write!(text, "# kernels/{}\n{said}", file.name);
    }
    text
}
