//! How a GPU is opened, by a driver that has none (`driver/libcuda.cpp`): which drivers are refused, what
//! is loaded, and how often.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use flipside::Error;
use flipside::device::{Device, kernels};

/// The driver, compiled into a folder of its own, and what it has noted.
struct Fake {
    folder: tempfile::TempDir,
}

impl Fake {
    /// `None`, with a word, where it can't be tried.
    fn new() -> Option<Fake> {
        let folder = tempfile::tempdir().unwrap();
        let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
        let source = crate::root().join("tests/driver/libcuda.cpp");
        let library = folder.path().join("libcuda.so");
        let compiled = Command::new(compiler)
            .args(["-shared", "-fPIC", "-o"])
            .args([&library, &source])
            .output();
        match compiled {
            Ok(output) if output.status.success() => {}
            Ok(output) => panic!("{}", String::from_utf8_lossy(&output.stderr)),
            Err(error) => {
                eprintln!("skipped: no C++ compiler for a driver ({error})");
                return None;
            }
        }
        let fake = Fake { folder };
        if fake.devices(&[]).contains("built without nvcc") {
            eprintln!("skipped: no images of kernels for a driver to load");
            return None;
        }
        std::fs::remove_file(fake.log()).unwrap();
        Some(fake)
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// What a program prints on this driver.
    fn run(&self, program: &Path, arguments: &[&str], settings: &[(&str, &str)]) -> String {
        let output = Command::new(program)
            .args(arguments)
            .env("LD_LIBRARY_PATH", self.folder.path())
            .env("FAKE_CUDA_LOG", self.log())
            .envs(settings.iter().copied())
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert!(output.status.success(), "{said}");
        said
    }

    /// What `flipside devices` says of the GPU.
    fn devices(&self, settings: &[(&str, &str)]) -> String {
        let said = self.run(Path::new(env!("CARGO_BIN_EXE_flipside")), &["devices"], settings);
        said.lines().find(|line| line.starts_with("cuda")).unwrap().to_string()
    }

    fn noted(&self, call: &str) -> Vec<String> {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        log.lines().filter(|line| line.split(' ').next() == Some(call)).map(String::from).collect()
    }
}

/// Files of kernels for the GPU.
fn files() -> usize {
    let of_gpu = kernels().iter().filter(|kernel| !kernel.testing);
    of_gpu.map(|kernel| kernel.file).collect::<HashSet<_>>().len()
}

#[test]
fn a_driver_that_is_too_old_is_refused_before_anything_is_asked_of_it() {
    let Some(fake) = Fake::new() else { return };
    for (version, name) in [("12090", "12.9"), ("11040", "11.4")] {
        let said = fake.devices(&[("FAKE_CUDA_VERSION", version)]);
        assert!(said.contains("missing"), "{said}");
        assert!(said.contains(&format!("of CUDA {name}, and these kernels need 13.0")), "{said}");
        assert!(said.contains("install a newer driver"), "{said}");
    }
    assert!(fake.noted("cuInit").is_empty() && fake.noted("missing").is_empty());
    let said = fake.devices(&[("FAKE_CUDA_VERSION", "13020")]);
    assert!(said.contains("ready") && said.contains("driver of CUDA 13.2"), "{said}");
}

/// A library that is called so and isn't one, and a file that is no library.
#[test]
fn what_isnt_a_driver_is_named_and_harms_nothing() {
    let Some(fake) = Fake::new() else { return };
    let library = fake.folder.path().join("libcuda.so");
    let empty = fake.folder.path().join("empty.cpp");
    std::fs::write(&empty, "").unwrap();
    std::fs::remove_file(&library).unwrap();
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    let flags = ["-shared", "-fPIC", "-o"];
    let compiled = Command::new(compiler).args(flags).args([&library, &empty]).status();
    assert!(compiled.unwrap().success());
    let said = fake.devices(&[]);
    assert!(said.contains("missing") && said.contains("isn't an NVIDIA driver"), "{said}");
    std::fs::write(&library, "no library").unwrap();
    let said = fake.devices(&[]);
    // Another one may be installed.
    assert!(said.contains("no libcuda that can be opened") || !said.contains("Fake"), "{said}");
}

/// A GPU is ready when kernels are loaded, not when it is seen.
#[test]
fn a_gpu_that_runs_no_image_isnt_ready() {
    let Some(fake) = Fake::new() else { return };
    let said = fake.devices(&[("FAKE_CUDA_NO_BINARY", "1")]);
    assert!(said.contains("missing") && said.contains("no kernel image is available"), "{said}");
    assert!(said.contains("images are for sm_80") && said.contains("capability 9.0"), "{said}");
    let said = fake.devices(&[]);
    assert!(said.contains("ready") && said.contains("NVIDIA Fake, 8.0 GiB"), "{said}");
    assert!(said.contains(&format!("{} files loaded in", files())), "{said}");
}

/// Whoever opens a GPU again, on any thread and after the first handle is gone, gets the same context and
/// the same kernels, on a stream of his own.
#[test]
fn kernels_are_loaded_once_a_process() {
    let Some(fake) = Fake::new() else { return };
    let child = ["--exact", "driver::open_a_gpu_again_and_again", "--ignored"];
    let said = fake.run(&std::env::current_exe().unwrap(), &child, &[]);
    assert!(said.contains("1 passed"), "{said}");
    assert_eq!(fake.noted("cuDevicePrimaryCtxRetain").len(), 1);
    assert_eq!(fake.noted("cuModuleLoadData").len(), files());
    assert_eq!(fake.noted("cuStreamCreate").len(), 8);
    assert!(fake.noted("cuDevicePrimaryCtxRelease").is_empty());
    assert!(fake.noted("cuModuleUnload").is_empty());

    // Every kernel is there before the first launch, with the shared memory that it asks for; those that
    // stage operands in it have the most that a multiprocessor gives.
    let of_gpu: Vec<_> = kernels().iter().filter(|kernel| !kernel.testing).collect();
    assert_eq!(fake.noted("cuFuncLoad").len(), of_gpu.len());
    let (shared, carveouts) = (fake.noted("shared"), fake.noted("carveout"));
    for kernel in of_gpu {
        let asked = format!("shared {} {}", kernel.symbol, kernel.shared_bytes);
        assert_eq!(shared.contains(&asked), kernel.shared_bytes > 48 << 10, "{asked}");
        let staged = format!("carveout {} 100", kernel.symbol);
        assert_eq!(carveouts.contains(&staged), kernel.shared_bytes >= 16 << 10, "{staged}");
    }
}

#[test]
#[ignore = "needs the driver that driver::kernels_are_loaded_once_a_process gives it"]
fn open_a_gpu_again_and_again() {
    drop(Device::cuda(0).unwrap());
    std::thread::scope(|scope| {
        (0..6).for_each(|_| drop(scope.spawn(|| drop(Device::cuda(0).unwrap()))));
    });
    let device = Device::cuda(0).unwrap();
    let mut memory = device.alloc(8).unwrap();
    memory.write(0, &[1, 2, 3, 4]).unwrap();
    let mut bytes = [9; 8];
    memory.read(0, &mut bytes).unwrap();
    assert_eq!(bytes, [1, 2, 3, 4, 0, 0, 0, 0]);
    let Err(error) = Device::cuda(1) else { panic!("there is one GPU") };
    assert!(matches!(&error, Error::Device { detail, .. } if detail.contains("there are 1 GPUs")));
}
