//! Kernel files through nvcc, for GPUs.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::Job;
use crate::source::{self, KernelFile};

/// What every image holds, for people.
pub const IMAGES: &str = "sm_80, sm_90, PTX for later GPUs";

/// NVIDIA's compiler.
pub struct Nvcc {
    path: PathBuf,
    version: String,
}

/// Looks for nvcc in `$NVCC`, `$CUDA_HOME/bin`, `/usr/local/cuda/bin`, `PATH`, and `.cuda/`, where
/// scripts/get-nvcc.sh puts it.
pub fn find(root: &Path) -> Result<Option<Nvcc>, String> {
    let required = env::var("FLIPSIDE_REQUIRE_CUDA").is_ok_and(|value| value == "1");
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
        version.status.success().then(|| Nvcc {
            path: place.clone(),
            version: String::from_utf8_lossy(&version.stdout).into_owned(),
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
        found => Ok(found),
    }
}

impl Nvcc {
    /// Its release, such as `V13.0.88`; registers of kernels differ between releases.
    pub fn release(&self) -> &str {
        let words = self.version.split([' ', ',', '\n']);
        words.rev().find(|word| word.starts_with('V')).unwrap_or("of unknown release")
    }

    /// The image of one kernel file.
    pub fn job(&self, file: &KernelFile, kernels: &Path, cache: &Path) -> Result<Job, String> {
        let mut command = Command::new(&self.path);
        command.args(["-std=c++17", "-O3", "-fmad=false", "-Werror", "all-warnings"]);
        command.args(["-compress-mode=size", "-Xptxas", "-v", "-fatbin"]);
        command.arg("-I").arg(kernels);
        command.args(["-gencode", "arch=compute_80,code=sm_80"]);
        command.args(["-gencode", "arch=compute_90,code=[sm_90,compute_90]"]);
        for architecture in &file.architectures {
            let number = architecture.strip_prefix("sm_").ok_or_else(|| {
                format!("kernels/{}: `{architecture}` isn't like sm_90a", file.name)
            })?;
            command.arg("-gencode").arg(format!("arch=compute_{number},code=sm_{number}"));
        }
        command.arg(&file.path);
        let inputs = source::closure(&file.path, &[kernels.to_path_buf()]);
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
