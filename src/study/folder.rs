//! A study's folder: one process at a time, and what was asked of it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{ModelStart, Options, RUN};
use crate::checkpoint::atomic;
use crate::train::Output;
use crate::{Error, Result};

/// The file that is locked, and holds what was asked.
pub const ASKED: &str = "asked.json";

/// What a study is asked for beside its training, which snapshots and models know.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    seeds: Vec<u64>,
    /// A layer.
    injections: u64,
    bits: usize,
}

/// Takes the folder for this process, until what is returned is dropped; with `resume` only for the study that is there,
/// which may get further seeds.
///
/// # Errors
/// A folder that another process has, or that holds another study; what the disk says.
pub fn take(folder: &Path, options: &Options) -> Result<File> {
    let path = folder.join(ASKED);
    let failed = |source| Error::io(&path, source);
    std::fs::create_dir_all(folder).map_err(|source| Error::io(folder, source))?;
    let mut open = OpenOptions::new();
    let mut file =
        open.read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let detail = format!("{}: another process runs a study here", folder.display());
            return Err(Error::usage(detail));
        }
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    let Options { seeds, injections, bits, resume, note, .. } = options;
    let is = Asked { seeds: seeds.clone(), injections: *injections, bits: *bits };
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed)?;
    if *resume && !text.is_empty() {
        let was: Asked = serde_json::from_str(&text)
            .map_err(|error| Error::file(&path, format!("isn't what a study keeps: {error}")))?;
        if let Some(difference) = was.difference(&is) {
            return Err(Error::file(&path, format!("belongs to another study: {difference}")));
        }
    }
    // Before what is kept of the study that is there gives way.
    if !*resume {
        check_new(options)?;
        if let Some((name, text)) = note {
            atomic::write(&folder.join(name), |out| out.write_all(text.as_bytes()))?;
        }
    }
    let text = serde_json::to_string(&is).unwrap_or_default();
    file.set_len(0).map_err(failed)?;
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    Ok(file)
}

/// Refuses a folder that holds files of these seeds, before hours of training.
fn check_new(options: &Options) -> Result<()> {
    let models = options.seeds.iter().flat_map(|seed| ModelStart::ALL.map(|start| (*seed, start)));
    for folder in models.filter_map(|(seed, start)| options.place(seed, start)) {
        let output = Output::at(folder.clone());
        let files = [output.model(), folder.join(RUN)];
        let mut there = output.resumable().into_iter().chain(files);
        if let Some(there) = there.find(|path| path.exists()) {
            let path = there.display();
            return Err(Error::usage(format!("{path} is there already: --resume goes on with it")));
        }
    }
    Ok(())
}

impl Asked {
    /// In what `is` isn't the same study, or more of it.
    fn difference(&self, is: &Asked) -> Option<String> {
        let differs = |what: &str, was: u64, is: u64| {
            (was != is).then(|| format!("{what} were {was} and are {is}"))
        };
        differs("injections a layer", self.injections, is.injections)
            .or_else(|| differs("flipped bits", self.bits as u64, is.bits as u64))
            .or_else(|| {
                let gone = self.seeds.iter().find(|seed| !is.seeds.contains(seed))?;
                Some(format!("it has training seed {gone}, which isn't asked for"))
            })
    }
}
