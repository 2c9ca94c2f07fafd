//! Kernel files through the C++ compiler, for the emulator.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::{self, Job};
use crate::source::{self, KernelFile};

/// One set of processor features that kernels are compiled for.
pub struct Variant {
    suffix: &'static str,
    flags: &'static [&'static str],
}

impl Variant {
    /// The name of a file's table in this variant.
    pub fn symbol(&self, file: &KernelFile) -> String {
        format!("flipside_table_{}_{}", file.stem, self.suffix)
    }
}

const ANY: Variant = Variant { suffix: "any", flags: &[] };
/// For x86-64 before AVX2 and for sanitizers: the same bits, compiled quickly rather than well.
const PLAIN: Variant = Variant { suffix: "any", flags: &["-O1"] };
/// `fmaf` is one instruction here and a call of the C library elsewhere; the bits are the same.
const WIDE: Variant = Variant { suffix: "wide", flags: &["-mavx2", "-mfma"] };

/// The C++ compiler with the flags of all emulated code.
pub struct Compiler {
    build: cc::Build,
    tool: cc::Tool,
    version: String,
    /// The folder of the kernels.
    pub kernels: PathBuf,
    variants: &'static [Variant],
    sanitize: bool,
}

impl Compiler {
    pub fn find(kernels: &Path) -> Result<Compiler, String> {
        let sanitize = std::env::var("FLIPSIDE_SANITIZE").is_ok_and(|value| value == "1");
        let x86 = std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64");
        println!("cargo:rustc-check-cfg=cfg(sanitized)");
        if sanitize {
            println!("cargo:rustc-cfg=sanitized");
        }
        let mut build = cc::Build::new();
        build
            .cpp(true)
            .std("c++17")
            .extra_warnings(false)
            .cpp_link_stdlib(None)
            .debug(false)
            .opt_level(2)
            .cargo_metadata(true)
            .include(kernels);
        for flag in [
            "-g1",
            "-Wno-unknown-pragmas",
            "-Wno-unused-function",
            "-fno-exceptions",
            "-fno-rtti",
            "-ffp-contract=off",
            // Half of a thread's stack; see STACK_BYTES in src/device/emulated.rs.
            "-Werror=frame-larger-than=32768",
        ] {
            build.flag(flag);
        }
        build.flag(format!("-ffile-prefix-map={}=kernels", kernels.display()));
        if sanitize {
            for flag in [
                "-fsanitize=address,undefined",
                "-fno-sanitize-recover=undefined",
                "-fno-omit-frame-pointer",
                "--param=asan-stack=0",
            ] {
                build.flag(flag);
            }
        }
        let tool = build.try_get_compiler().map_err(|e| format!("no C++ compiler: {e}"))?;
        let version = Command::new(tool.path())
            .arg("--version")
            .output()
            .map_err(|error| format!("there is no C++ compiler: {error}"))?;
        Ok(Compiler {
            build,
            tool,
            version: String::from_utf8_lossy(&version.stdout).into_owned(),
            kernels: kernels.to_path_buf(),
            variants: match (sanitize, x86) {
                (true, _) => &[PLAIN],
                (false, true) => &[PLAIN, WIDE],
                (false, false) => &[ANY],
            },
            sanitize,
        })
    }

    /// For which processors each kernel is compiled; the first is for any.
    pub fn variants(&self) -> &'static [Variant] {
        self.variants
    }

    fn command(&self, flags: &[&str], source: &Path) -> Command {
        let mut command = self.tool.to_command();
        command.args(flags).arg("-c").args(["-x", "c++"]).arg(source);
        command
    }

    /// The objects of one kernel file.
    pub fn kernel_jobs(
        &self,
        file: &KernelFile,
        out: &Path,
        cache: &Path,
    ) -> Result<Vec<Job>, String> {
        let mut jobs = Vec::new();
        for variant in self.variants {
            let stem = format!("{}_{}", file.stem, variant.suffix);
            let text = self.unit(file, &variant.symbol(file), None);
            let (unit, flags) = ((stem.as_str(), text.as_str()), variant.flags);
            let place = (self.kernels.as_path(), file.name.as_str());
            jobs.push(self.unit_job(&file.name, unit, place, flags, out, cache)?);
        }
        Ok(jobs)
    }

    /// The object of the unit `(stem, text)`, which includes the kernel file `name` of `folder`, and from there
    /// what stands there before what stands in `kernels/`.
    pub fn unit_job(
        &self,
        what: &str,
        (stem, text): (&str, &str),
        (folder, name): (&Path, &str),
        flags: &[&str],
        out: &Path,
        cache: &Path,
    ) -> Result<Job, String> {
        let unit = out.join(format!("{stem}.cpp"));
        cache::write(&unit, text)?;
        let folders = [folder.to_path_buf(), self.kernels.clone()];
        let mut inputs = source::closure(&folder.join(name), &folders);
        inputs.push(unit);
        inputs.push(self.kernels.join("emulator/runtime.h"));
        // The unit's own path differs between build folders, so it comes by its content.
        let command = self.command(flags, Path::new(&format!("{stem}.cpp")));
        self.job(what, command, &inputs, (cache, stem, "o"), out)
    }

    /// Whether kernels are compiled for sanitizers: then there are no mutants, since one that errs would
    /// end the run, and nothing for GPUs.
    pub fn sanitizes(&self) -> bool {
        self.sanitize
    }

    /// The objects of the emulator itself.
    pub fn runtime_jobs(&self, cache: &Path) -> Result<Vec<Job>, String> {
        ["copies", "scheduler", "stack"]
            .iter()
            .map(|stem| {
                let path = self.kernels.join(format!("emulator/{stem}.cpp"));
                let inputs = source::closure(&path, std::slice::from_ref(&self.kernels));
                let command = self.command(&[], &path);
                self.job(stem, command, &inputs, (cache, stem, "o"), &self.kernels)
            })
            .collect()
    }

    fn job(
        &self,
        what: &str,
        mut command: Command,
        inputs: &[PathBuf],
        place: (&Path, &str, &str),
        folder: &Path,
    ) -> Result<Job, String> {
        command.current_dir(folder);
        Job::new(what.to_string(), command, "-o", inputs, place, &self.version)
    }

    /// The text that is compiled for a kernel file: the file in an unnamed namespace, the table that tells
    /// Rust which kernels are in it, under the name `symbol`, and checks of its structs. A mutant's has the
    /// kernels that it changes (`changed`) alone, and no checks, which the right file has.
    pub fn unit(
        &self,
        file: &KernelFile,
        symbol: &str,
        changed: Option<&dyn Fn(&str) -> bool>,
    ) -> String {
        let is_in = |name: &str| changed.is_none_or(|changed| changed(name));
        let kernels: Vec<_> = file.kernels.iter().filter(|k| is_in(&k.symbol)).collect();
        let mut text = String::from("#include \"emulator/runtime.h\"\n\nnamespace {\n");
        let _ = writeln!(text, "#include \"common/flipside.cuh\"\n#include {:?}", file.name);
        text.push_str(
            "\ntemplate <class T> constexpr uint32_t shared_bytes() {\n    \
             return __is_empty(T) ? 0 : sizeof(T);\n}\n\n\
             const emulator::KernelEntry kernels[] = {\n",
        );
        for kernel in &kernels {
            let (name, args) = (&kernel.symbol, &kernel.args);
            let _ = writeln!(
                text,
                "    {{\"{name}\", \"{args}\", {name}_entry, sizeof({args}), \
                 shared_bytes<{}>(), {}}},",
                kernel.shared, kernel.max_threads
            );
        }
        text.push_str("    {},\n};\n");
        if changed.is_none() {
            text.push_str(&file.checks());
        }
        let _ = write!(
            text,
            "}} // namespace\n\n\
             extern \"C\" const emulator::FileTable {symbol};\n\
             extern \"C\" const emulator::FileTable {symbol} = {{kernels, {}}};\n",
            kernels.len()
        );
        text
    }

    /// Puts the objects into one library of this name and tells cargo to link it.
    pub fn link<'a>(&self, name: &str, objects: impl Iterator<Item = &'a Path>) {
        let mut library = self.build.clone();
        for object in objects {
            library.object(object);
        }
        library.compile(name);
        if self.sanitize {
            // Stable Rust links no sanitizer; these, with LD_PRELOAD at run time, stand in.
            println!("cargo:rustc-link-lib=dylib=asan");
            println!("cargo:rustc-link-lib=dylib=ubsan");
        }
    }
}
