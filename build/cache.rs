//! Compiler runs whose result is kept under the hash of what went into them.

use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

/// How long a result that no build asks for is kept.
const KEEP: Duration = Duration::from_secs(7 * 24 * 3600);

/// One run of a compiler that makes one file.
pub struct Job {
    /// What it is about, for messages.
    pub what: String,
    /// The compiler and all its arguments but the output.
    pub command: Command,
    /// The arguments that name the output, before its path.
    pub output_flag: &'static str,
    /// Where the result goes: its name holds the hash.
    pub output: PathBuf,
}

impl Job {
    /// A job whose result depends on `inputs` and `command`, and on nothing else.
    pub fn new(
        what: String,
        command: Command,
        output_flag: &'static str,
        inputs: &[PathBuf],
        place: (&Path, &str, &str),
        version: &str,
    ) -> Result<Job, String> {
        let mut hash = DefaultHasher::new();
        hash.write(version.as_bytes());
        // Neither the folder that it runs in nor where the project lies: build folders and checkouts share
        // results.
        let root = root()?.display().to_string();
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        for word in words {
            hash.write(word.to_string_lossy().replace(&root, ".").as_bytes());
            hash.write_u8(0);
        }
        for path in inputs {
            let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
            hash.write_usize(bytes.len());
            hash.write(&bytes);
        }
        let (folder, stem, extension) = place;
        let output = folder.join(format!("{stem}-{:016x}.{extension}", hash.finish()));
        Ok(Job { what, command, output_flag, output })
    }

    /// Where the compiler's messages are kept.
    pub fn log(&self) -> PathBuf {
        self.output.with_extension("log")
    }

    fn run(&self) -> Result<(), String> {
        if self.output.is_file() && self.log().is_file() {
            for path in [self.output.clone(), self.log()] {
                let touched = std::fs::File::options()
                    .append(true)
                    .open(path)
                    .and_then(|file| file.set_modified(SystemTime::now()));
                // A result is still right where its time can't be changed.
                let _ = touched;
            }
            return Ok(());
        }
        // Written beside and renamed: a build that is stopped leaves no half result.
        let partial = self.output.with_extension(format!("partial{}", std::process::id()));
        let mut command = Command::new(self.command.get_program());
        command.args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(folder) = self.command.get_current_dir() {
            command.current_dir(folder);
        }
        let result = command
            .arg(self.output_flag)
            .arg(&partial)
            .output()
            .map_err(|error| format!("{:?} doesn't start: {error}", command.get_program()))?;
        let said = [result.stdout, result.stderr].concat();
        if !result.status.success() {
            let _ = std::fs::remove_file(&partial);
            return Err(format!(
                "{} doesn't compile:\n{}",
                self.what,
                String::from_utf8_lossy(&said)
            ));
        }
        std::fs::write(self.log(), said)
            .and_then(|()| std::fs::rename(&partial, &self.output))
            .map_err(|error| format!("{}: {error}", self.output.display()))
    }
}

/// The project's folder, of whichever of its packages this is the build.
pub fn root() -> Result<PathBuf, String> {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").ok_or("cargo sets no root")?;
    let mut folders = Path::new(&package).ancestors();
    let root = folders.find(|folder| folder.join("kernels/common/flipside.cuh").is_file());
    root.map(Path::to_path_buf).ok_or_else(|| format!("no folder of {package:?} has kernels/"))
}

/// Writes a file, and names it where that fails.
pub fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Where results are kept: one folder for all profiles of a target directory.
pub fn directory(out: &Path) -> Result<PathBuf, String> {
    let target = out.ancestors().find(|path| path.join("CACHEDIR.TAG").is_file());
    let folder = target.unwrap_or(out).join("kernel-cache");
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    Ok(folder)
}

/// Runs what isn't there yet, as many at a time as cargo allows. All errors are reported.
pub fn run(jobs: &[Job]) -> Result<(), String> {
    let threads = std::env::var("NUM_JOBS").ok().and_then(|n| n.parse().ok()).unwrap_or(1usize);
    let queue = Mutex::new(jobs.iter());
    let errors = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, jobs.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let Some(job) = queue.lock().ok().and_then(|mut queue| queue.next()) else {
                        return;
                    };
                    if let (Err(text), Ok(mut errors)) = (job.run(), errors.lock()) {
                        errors.push(text);
                    }
                }
            });
        }
    });
    let errors = errors.into_inner().unwrap_or_default();
    if errors.is_empty() { Ok(()) } else { Err(errors.join("\n")) }
}

/// Removes results that no build has asked for in a week.
pub fn prune(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let modified = entry.metadata().and_then(|data| data.modified());
        let old = modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > KEEP));
        if old {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
