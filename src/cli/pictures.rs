//! The pictures that a user names: files, and folders of them; one that can't be read keeps no other from being read.

use std::path::{Path, PathBuf};

use super::model::Loaded;
use crate::data::{decode_file, pictures_in};
use crate::fault::FaultSpec;
use crate::progress::Progress;
use crate::rng::stream;
use crate::{Error, Result};

/// A picture that can't be read.
pub struct Broken {
    /// Its number among those that were named, from 0.
    pub place: usize,
    pub name: String,
    pub error: Error,
}

/// Pictures as a network's inputs, and those that can't be.
#[derive(Default)]
pub struct Read {
    pub names: Vec<String>,
    /// N × height × width × channels, of those in `names`.
    pub pixels: Vec<f32>,
    pub broken: Vec<Broken>,
}

/// The files that are meant: folders stand for all pictures within them. `progress` is told what is skipped there.
///
/// # Errors
/// As [`pictures_in`].
pub fn files(named: &[PathBuf], progress: &dyn Progress) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in named {
        if path.is_dir() {
            let (found, passed_over) = pictures_in(path)?;
            passed_over.iter().for_each(|line| progress.line(line));
            files.extend(found);
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

/// Decodes, resizes, crops and normalises files; `first` is the number of the first.
pub fn read(files: &[PathBuf], first: usize, loaded: &Loaded) -> Read {
    let (transform, elements) = (loaded.transform(), loaded.network.model.image_elements());
    let mut all = Read::default();
    let mut pixels = vec![0f32; elements];
    let mut one = |path: &Path| -> Result<()> {
        let image = decode_file(path)?;
        // Evaluation draws nothing from the stream.
        transform.apply(&image, &mut stream(0, "none").block(0), &mut pixels)?;
        all.pixels.extend_from_slice(&pixels);
        Ok(())
    };
    for (place, path) in (first..).zip(files) {
        let name = path.display().to_string();
        match one(path) {
            Ok(()) => all.names.push(name),
            Err(error) => all.broken.push(Broken { place, name, error }),
        }
    }
    all
}

/// Faults in the pictures that were read; `image` counts the `given` ones that were named.
///
/// # Errors
/// A fault in a picture that can't be read, or beyond the last where there are such.
pub fn faults_in(faults: &[FaultSpec], given: usize, broken: &[Broken]) -> Result<Vec<FaultSpec>> {
    let moved = |fault: &FaultSpec| {
        if let Some(broken) = broken.iter().find(|broken| broken.place == fault.image) {
            let detail = format!(
                "--fault {fault}: image={} can't be read: {} (image=0 is the first of those given)",
                fault.image, broken.error
            );
            return Err(Error::usage(detail));
        }
        if !broken.is_empty() && fault.image >= given {
            let detail =
                format!("--fault {fault}: there is no such image; {given} images were given");
            return Err(Error::usage(detail));
        }
        let before = broken.iter().filter(|broken| broken.place < fault.image).count();
        Ok(FaultSpec { image: fault.image - before, ..fault.clone() })
    };
    faults.iter().map(moved).collect()
}
