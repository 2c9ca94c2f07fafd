//! Which faults in which images are shown.

use std::path::{Path, PathBuf};

use super::asked::{AskedFault, Known};
use super::member::VisualizedNetwork;
use crate::analysis::worst::{fault_of, worst};
use crate::data::builtin::{Shapes, Split};
use crate::data::{Dataset, Image8, Splits, decode_file};
use crate::error::{MOST_NAMED, some_of};
use crate::fault::FaultSpec;
use crate::progress::Progress;
use crate::results::{Manifest, Provenance, Run};
use crate::study::BUILTIN_SEED;
use crate::tape::pair_name;
use crate::{Error, Result};

fn folder_of(path: &Path) -> String {
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
    folder.to_string_lossy().into_owned()
}

/// The user's faults, each in the image that it names.
///
/// # Errors
/// A fault of an image that isn't given, an image without a fault, one that can't be read; a fault that isn't the same in
/// all networks.
pub(super) fn of_images(
    images: &[PathBuf],
    faults: &[FaultSpec],
    subjects: &[VisualizedNetwork],
) -> Result<Vec<AskedFault>> {
    for fault in faults {
        if fault.image >= images.len() {
            let (image, count) = (fault.image, images.len());
            return Err(Error::usage(format!(
                "--fault {fault}: there is no image {image}; {count} are given, counted from 0"
            )));
        }
        same_in_all(fault, subjects)?;
    }
    for (number, path) in images.iter().enumerate() {
        if !faults.iter().any(|fault| fault.image == number) {
            return Err(Error::usage(format!(
                "{} has no fault: --fault …,image={number} gives it one",
                path.display()
            )));
        }
    }
    let decoded: Vec<Image8> =
        images.iter().map(|path| decode_file(path)).collect::<Result<_>>()?;
    Ok(faults
        .iter()
        .map(|fault| AskedFault {
            name: images[fault.image].display().to_string(),
            image: decoded[fault.image].clone(),
            folder: folder_of(&images[fault.image]),
            fault: fault.clone(),
            label: None,
            known: None,
            injection: None,
        })
        .collect())
}

/// Refuses a fault of a layer that one of the networks lacks, or has in another size.
fn same_in_all(fault: &FaultSpec, subjects: &[VisualizedNetwork]) -> Result<()> {
    let sizes: Vec<Vec<usize>> =
        subjects.iter().map(|subject| subject.sizes(fault)).collect::<Result<_>>()?;
    match sizes.windows(2).find(|pair| pair[0] != pair[1]) {
        None => Ok(()),
        Some(pair) => Err(Error::usage(format!(
            "--fault {fault}: {} has the sizes {:?} in {} and {:?} in {}, so that it isn't the same fault in both",
            fault.layer,
            pair[0],
            subjects[0].checkpoint.display(),
            pair[1],
            subjects[1].checkpoint.display()
        ))),
    }
}

/// The images of a campaign: those of a folder, or the program's own, which need none.
fn images_of(store: &Path, manifest: &Manifest, data: Option<&Splits>) -> Result<Box<dyn Dataset>> {
    let Provenance { evaluated, data: fingerprint, .. } = &manifest.setting.provenance;
    let is_builtin = || {
        let first = manifest.images.first()?;
        first.path.starts_with("shapes/").then_some(())?;
        let shapes = Shapes::new(BUILTIN_SEED, Split::Test, *evaluated);
        (shapes.fingerprint() == *fingerprint).then_some(shapes)
    };
    match (data, is_builtin()) {
        (Some(_), Some(_)) => Err(Error::usage(format!(
            "--data has no effect on {}, whose images are the program's own",
            store.display()
        ))),
        (None, Some(shapes)) => Ok(Box::new(shapes)),
        (Some(splits), None) => Ok(Box::new(match splits.with_fingerprint(fingerprint)? {
            Some(set) => set,
            None => splits.held_out()?,
        })),
        (None, None) => Err(Error::usage(format!(
            "{}: needs --data, the folder of the campaign's images",
            store.display()
        ))),
    }
}

/// The worst faults of a campaign that all networks can have.
///
/// # Errors
/// A store of another checkpoint, or without a fault to show; an image that `data` lacks.
pub(in crate::cli) fn of_campaign(
    store: &Path,
    count: usize,
    data: Option<&Splits>,
    subjects: &[VisualizedNetwork],
    progress: &dyn Progress,
) -> Result<Vec<AskedFault>> {
    let run = Run::open(store)?;
    let manifest = &run.manifest;
    let checkpoint = &manifest.setting.provenance.checkpoint;
    if !subjects.iter().any(|subject| subject.is(checkpoint)) {
        let files: Vec<String> =
            subjects.iter().map(|subject| subject.checkpoint.display().to_string()).collect();
        let detail = format!(
            "is a campaign on the checkpoint with the SHA-256 {checkpoint}, which is not that of {}",
            files.join(" or of ")
        );
        return Err(Error::file(store, detail));
    }
    // By layer: whether no network lacks it or has it in another size.
    let fits: Vec<bool> = (0..manifest.layers.len())
        .map(|layer| {
            let record = run.records.iter().find(|record| record.layer == layer);
            let fault = record.and_then(|record| fault_of(&manifest.layers[layer], record));
            fault.is_none_or(|fault| same_in_all(&fault, subjects).is_ok())
        })
        .collect();
    let left_out: Vec<&str> = (manifest.layers.iter().zip(&fits))
        .filter(|(_, fits)| !**fits)
        .map(|(layer, _)| pair_name(&layer.name))
        .collect();
    if !left_out.is_empty() {
        progress.line(&format!(
            "{}: left out, as not every network has the same: {}",
            store.display(),
            some_of(&left_out, MOST_NAMED)
        ));
    }
    let records = worst(&run, count, |_, record| fits[record.layer]);
    if records.is_empty() {
        let detail =
            "has no fault of one value with a finite answer without a detector in these layers";
        return Err(Error::file(store, detail));
    }
    if records.len() < count {
        progress.line(&format!(
            "{}: there are {} such faults, not {count}",
            store.display(),
            records.len()
        ));
    }
    let images = images_of(store, manifest, data)?;
    let mut asked = Vec::new();
    for record in records {
        let layer = &manifest.layers[record.layer];
        let Some(fault) = fault_of(layer, record) else { continue };
        let Some(row) = manifest.images.iter().find(|row| row.image == record.image) else {
            let detail = format!("is damaged: it has no image {}", record.image);
            return Err(Error::file(store, detail));
        };
        let Some(place) = (0..images.len()).find(|place| images.path(*place) == row.path) else {
            let detail = format!("has no image {}, which {} names", row.path, store.display());
            return Err(Error::file(data.map_or(store, Splits::root), detail));
        };
        asked.push(AskedFault {
            fault,
            name: row.path.clone(),
            image: images.image(place)?,
            folder: folder_of(Path::new(&row.path)),
            label: Some((checkpoint.clone(), row.label as usize)),
            known: Some(Known {
                sha256: checkpoint.clone(),
                clean: row.hash,
                faulty: record.effect.hash,
                store: store.into(),
            }),
            injection: Some(serde_json::json!({"layer": layer.name, "n": record.n})),
        });
    }
    Ok(asked)
}
