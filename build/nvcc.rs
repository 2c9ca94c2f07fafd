//! Kernel files through nvcc, for GPUs.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::{self, Job};
use crate::source::{self, KernelFile};

/// An architecture that gets machine code, and the one whose PTX that is made of.
#[derive(Clone, Copy, Debug)]
struct Architecture {
    code: u32,
    ptx: u32,
}

/// Each runs on all GPUs of its generation: sm_80 on an A100, RTX 30 and RTX 40; sm_90 on an H100; sm_100 on a
/// B200 and B300; sm_120 on RTX 50. What nvcc doesn't know is left out. Of which PTX follows from the registers
/// (kernels/RESOURCES.md): made of other PTX, kernels spill on sm_100 and on sm_120.
const ARCHITECTURES: [Architecture; 4] = [
    Architecture { code: 80, ptx: 80 },
    Architecture { code: 90, ptx: 90 },
    Architecture { code: 100, ptx: 90 },
    Architecture { code: 120, ptx: 120 },
];

/// The PTX that is embedded, too: a driver compiles it at first use for a GPU that is newer than it and that no
/// machine code is for.
const EMBEDDED_PTX: u32 = 90;

/// NVIDIA's compiler.
pub struct Nvcc {
    path: PathBuf,
    version: String,
    /// Those of [`ARCHITECTURES`] that it knows.
    architectures: Vec<Architecture>,
    /// Whether it is told to compress for size; before release 12.8 it can't be.
    compresses: bool,
}

/// Looks for nvcc in `$NVCC`, `$CUDA_HOME/bin`, `/usr/local/cuda/bin`, `PATH`, and `.cuda/`, where
/// scripts/get-nvcc.sh puts it; `FLIPSIDE_REQUIRE_CUDA=0` does without, wherever it is.
pub fn find(root: &Path) -> Result<Option<Nvcc>, String> {
    let wish = env::var("FLIPSIDE_REQUIRE_CUDA").unwrap_or_default();
    if wish == "0" {
        return Ok(None);
    }
    let required = wish == "1";
    let mut places = Vec::new();
    if let Some(path) = env::var_os("NVCC").filter(|path| !path.is_empty()) {
        places.push(PathBuf::from(path));
    }
    if let Some(home) = env::var_os("CUDA_HOME").filter(|home| !home.is_empty()) {
        places.push(PathBuf::from(home).join("bin/nvcc"));
    }
    places.push("/usr/local/cuda/bin/nvcc".into());
    let path = env::var_os("PATH").unwrap_or_default();
    places.extend(env::split_paths(&path).map(|folder| folder.join("nvcc")));
    let own = root.join(".cuda/nvidia/cu13/bin/nvcc");
    if own.is_file() {
        println!("cargo:rerun-if-changed={}", own.display());
    }
    places.push(own);
    let found = places.iter().filter(|place| place.is_file()).find_map(|place| {
        let version = Command::new(place).arg("--version").output().ok()?;
        version.status.success().then(|| {
            let known = says(place, "--list-gpu-code");
            let is_known = |architecture: &Architecture| {
                known.lines().any(|line| line.trim() == format!("sm_{}", architecture.code))
            };
            Nvcc {
                path: place.clone(),
                version: String::from_utf8_lossy(&version.stdout).into_owned(),
                architectures: ARCHITECTURES.into_iter().filter(is_known).collect(),
                compresses: says(place, "--help").contains("--compress-mode"),
            }
        })
    });
    match found {
        None if required => Err("FLIPSIDE_REQUIRE_CUDA=1, and there is no nvcc: \
             run scripts/get-nvcc.sh, or set NVCC"
            .into()),
        None => {
            println!(
                "cargo:warning=there is no nvcc, so `--device cuda` won't work; \
                 run scripts/get-nvcc.sh and build again"
            );
            Ok(None)
        }
        Some(nvcc) if nvcc.architectures.is_empty() => Err(format!(
            "{} knows no architecture from sm_{} on: it is too old, or no nvcc",
            nvcc.path.display(),
            ARCHITECTURES[0].code
        )),
        found => Ok(found),
    }
}

/// What nvcc prints when it is given one argument.
fn says(nvcc: &Path, argument: &str) -> String {
    let output = Command::new(nvcc).arg(argument).output();
    output.map_or(String::new(), |output| String::from_utf8_lossy(&output.stdout).into_owned())
}

impl Nvcc {
    /// What every file's image holds, for people.
    pub fn images(&self) -> String {
        let codes: Vec<String> =
            self.architectures.iter().map(|a| format!("sm_{}", a.code)).collect();
        format!("{}, PTX for later GPUs", codes.join(", "))
    }

    /// Its release, such as `V13.0.88`; registers of kernels differ between releases.
    pub fn release(&self) -> &str {
        let words = self.version.split([' ', ',', '\n']);
        words.rev().find(|word| word.starts_with('V')).unwrap_or("of unknown release")
    }

    /// A `-gencode` for each PTX: what is made of it, and itself where it is embedded. An older nvcc's newest
    /// PTX is.
    fn targets(&self) -> Vec<String> {
        let mut all: Vec<u32> = self.architectures.iter().map(|a| a.ptx).collect();
        all.dedup();
        let embedded = all.iter().copied().filter(|ptx| *ptx <= EMBEDDED_PTX).max();
        let target = |ptx: &u32| {
            let codes = self.architectures.iter().filter(|a| a.ptx == *ptx);
            let mut codes: Vec<String> = codes.map(|a| format!("sm_{}", a.code)).collect();
            if Some(*ptx) == embedded {
                codes.push(format!("compute_{ptx}"));
            }
            format!("arch=compute_{ptx},code=[{}]", codes.join(","))
        };
        all.iter().map(target).collect()
    }

    /// The image of one kernel file, whose structs are checked while it is compiled.
    pub fn job(
        &self,
        file: &KernelFile,
        kernels: &Path,
        out: &Path,
        cache: &Path,
    ) -> Result<Job, String> {
        let unit = format!("{}_checked.cu", file.stem);
        let text = format!("#include {:?}\n\n{}", file.name, file.checks());
        cache::write(&out.join(&unit), &text)?;
        let mut command = Command::new(&self.path);
        command.args(["-std=c++17", "-O3", "-fmad=false", "-Werror", "all-warnings"]);
        if self.compresses {
            command.arg("-compress-mode=size");
        }
        command.args(["-Xptxas", "-v", "-fatbin"]);
        command.arg("-I").arg(kernels);
        for target in self.targets() {
            command.arg("-gencode").arg(target);
        }
        for architecture in &file.architectures {
            let number = architecture.strip_prefix("sm_").ok_or_else(|| {
                format!("kernels/{}: `{architecture}` isn't like sm_90a", file.name)
            })?;
            command.arg("-gencode").arg(format!("arch=compute_{number},code=sm_{number}"));
        }
        // The unit's own path differs between build folders, so it comes by its content.
        command.arg(&unit).current_dir(out);
        let mut inputs = source::closure(&file.path, &[kernels.to_path_buf()]);
        inputs.push(out.join(&unit));
        let place = (cache, file.stem.as_str(), "fatbin");
        Job::new(
            format!("kernels/{} (nvcc)", file.name),
            command,
            "-o",
            &inputs,
            place,
            &self.version,
        )
    }
}
