//! Kernel files through the C++ compiler, for the emulator.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::Job;
use crate::mutants::Mutant;
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
/// `fmaf` is one instruction here and a call of the C library elsewhere; the bits are the same.
const WIDE: Variant = Variant { suffix: "wide", flags: &["-mavx2", "-mfma"] };

/// The C++ compiler with the flags of all emulated code.
pub struct Compiler {
    build: cc::Build,
    tool: cc::Tool,
    version: String,
    kernels: PathBuf,
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
            variants: if x86 && !sanitize { &[ANY, WIDE] } else { &[ANY] },
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
            let unit = out.join(format!("{}_{}.cpp", file.stem, variant.suffix));
            crate::write(&unit, &self.unit(file, &variant.symbol(file), None))?;
            let mut inputs = source::closure(&file.path, std::slice::from_ref(&self.kernels));
            inputs.push(unit.clone());
            inputs.push(self.kernels.join("emulator/runtime.h"));
            let stem = format!("{}_{}", file.stem, variant.suffix);
            // The unit's own path differs between build folders, so it comes by its content.
            let mut command = self.command(variant.flags, Path::new(&format!("{stem}.cpp")));
            command.current_dir(out);
            jobs.push(self.job(&file.name, command, &inputs, (cache, &stem, "o"), out)?);
        }
        Ok(jobs)
    }

    /// The object of a kernel file with an error in it, for any processor.
    pub fn mutant_job(
        &self,
        mutant: &Mutant,
        file: &KernelFile,
        out: &Path,
        cache: &Path,
    ) -> Result<Job, String> {
        let copy = mutant.copy(file, &self.kernels, out)?;
        let stem = format!("mutant_{}", mutant.name);
        let unit = out.join(format!("{stem}.cpp"));
        crate::write(&unit, &self.unit(file, &mutant.symbol(), Some(mutant)))?;
        let mut inputs = source::closure(&copy, std::slice::from_ref(&self.kernels));
        inputs.push(unit.clone());
        inputs.push(self.kernels.join("emulator/runtime.h"));
        // Before the folder of the right ones; quickly, since they run a few cases only.
        let flags = ["-iquote", &mutant.folder(), "-O1"];
        let command = self.command(&flags, Path::new(&format!("{stem}.cpp")));
        self.job(&format!("mutant {}", mutant.name), command, &inputs, (cache, &stem, "o"), out)
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

    /// The text that is compiled for a kernel file: the file in an unnamed namespace, and the tables
    /// that tell Rust what is in it, under the name `symbol`. A mutant's has the kernels that it changes
    /// alone, and no structs, which the right file describes.
    fn unit(&self, file: &KernelFile, symbol: &str, mutant: Option<&Mutant>) -> String {
        let changed = |name: &str| mutant.is_none_or(|mutant| mutant.changes(name));
        let kernels: Vec<_> = file.kernels.iter().filter(|k| changed(&k.symbol)).collect();
        let mut text = String::from("#include \"emulator/runtime.h\"\n\nnamespace {\n");
        let path = file.path.strip_prefix(&self.kernels).unwrap_or(&file.path);
        let _ = writeln!(text, "#include \"flipside.cuh\"\n#include {:?}", path);
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
        text.push_str("    {},\n};\n\nconst emulator::FieldEntry fields[] = {\n");
        let mut fields = 0;
        for structure in file.structures.iter().filter(|_| mutant.is_none()) {
            let name = &structure.name;
            for field in &structure.fields {
                fields += 1;
                let _ = writeln!(
                    text,
                    "    {{\"{name}\", \"{field}\", sizeof({name}), offsetof({name}, {field}), \
                     sizeof({name}::{field})}},"
                );
            }
        }
        let _ = write!(
            text,
            "    {{}},\n}};\n}} // namespace\n\n\
             extern \"C\" const emulator::FileTable {symbol};\n\
             extern \"C\" const emulator::FileTable {symbol} = {{kernels, {}, fields, {fields}}};\n",
            kernels.len()
        );
        text
    }

    /// Puts the objects into one library and tells cargo to link it.
    pub fn link<'a>(&self, objects: impl Iterator<Item = &'a Path>) {
        let mut library = self.build.clone();
        for object in objects {
            library.object(object);
        }
        library.compile("flipside_emulated");
        if self.sanitize {
            // Stable Rust links no sanitizer; these, with LD_PRELOAD at run time, stand in.
            println!("cargo:rustc-link-lib=dylib=asan");
            println!("cargo:rustc-link-lib=dylib=ubsan");
        }
    }
}
