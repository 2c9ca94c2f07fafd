//! STL-10 (Coates, Lee, Ng: "An Analysis of Single-Layer Networks in Unsupervised Feature Learning", 2011) in its
//! binary version: 96×96 images, planes by columns, labels from 1.
//!
//! `unlabeled_X.bin` has no labels and isn't read. `fold_indices.txt`, ten choices of 1,000 training images, is ignored:
//! the split `train` is all 5,000.

use std::path::{Path, PathBuf};

use super::planes::{PlaneOrder, PlanePart, PlaneSet};
use super::reading::{WholeFile, check_labels, fingerprint_of};
use super::{SetOnDisk, Sighting};
use crate::Result;
use crate::data::Dataset;

/// Rows and columns of an image.
const SIDE: usize = 96;
/// Bytes of an image.
const PLANES: usize = 3 * SIDE * SIDE;
const CLASS_NAMES: &str = "class_names.txt";
/// The files of the two splits, and their MD5 by torchvision's list.
const FILES: [(&str, &str); 4] = [
    ("train_X.bin", "918c2871b30a85fa023e0c44e0bee87f"),
    ("train_y.bin", "5a34089d4802c674881badbb80307741"),
    ("test_X.bin", "7f263ba9f9e0b06b93213547f721ac82"),
    ("test_y.bin", "36f9794fa4beb8a2c72628de14fa638e"),
];

struct Stl10 {
    folder: PathBuf,
}

pub(super) fn look(root: &Path) -> Sighting {
    let folders = [root.to_path_buf(), root.join("stl10_binary")];
    let names = FILES.map(|(name, _)| name);
    let is_meant = |folder: &Path| names.iter().any(|name| folder.join(name).is_file());
    let files = [&names[..], &[CLASS_NAMES]].concat();
    Sighting::of_files(&folders, &files, is_meant, |folder| Box::new(Stl10 { folder }))
}

impl SetOnDisk for Stl10 {
    fn splits(&self) -> Vec<String> {
        ["train", "test"].map(String::from).into()
    }

    fn why_not(&self, split: &str) -> Option<&'static str> {
        let is_unlabelled = matches!(split, "unlabeled" | "train+unlabeled");
        is_unlabelled.then_some(
            "the images of STL-10's split unlabeled have no labels, so there is nothing to open",
        )
    }

    fn open(&self, split: &str) -> Result<Box<dyn Dataset>> {
        let read = |name: &str| WholeFile::read(&self.folder.join(name));
        let [images_name, labels_name] = ["X", "y"].map(|part| format!("{split}_{part}.bin"));
        let files = [read(CLASS_NAMES)?, read(&images_name)?, read(&labels_name)?];
        let hashes = files.each_ref().map(WholeFile::sha256);
        let names = [CLASS_NAMES, &images_name, &labels_name];
        let fingerprint = fingerprint_of(names.into_iter().zip(hashes.iter().map(String::as_str)));
        let [class_names, images, labels] = files;
        let classes = class_names.classes()?;
        let bytes = images.bytes.len();
        if !bytes.is_multiple_of(PLANES) {
            let detail = format!(
                "is truncated or of another set: its {bytes} bytes aren't a multiple of {PLANES}"
            );
            return Err(images.error(detail));
        }
        let count = bytes / PLANES;
        if labels.bytes.len() != count {
            let detail = format!("has {} labels for {count} images", labels.bytes.len());
            return Err(labels.error(detail));
        }
        if let Some(i) = labels.bytes.iter().position(|&label| label == 0) {
            return Err(labels.error(format!("image {i} has the label 0; labels count from 1")));
        }
        let from_zero: Vec<u16> = labels.bytes.iter().map(|&label| u16::from(label) - 1).collect();
        check_labels(&labels.path, &from_zero, classes.len())?;
        let part = PlanePart {
            name: split.into(),
            bytes: images.bytes,
            skip: 0,
            labels: from_zero,
            file_names: Vec::new(),
        };
        let order = PlaneOrder::Columns;
        Ok(Box::new(PlaneSet { side: SIDE, order, classes, parts: vec![part], fingerprint }))
    }

    fn verify(&self) -> Result<Vec<String>> {
        let line = |(name, md5): (&str, &str)| {
            Ok(WholeFile::read(&self.folder.join(name))?.compared(name, md5))
        };
        FILES.into_iter().map(line).collect()
    }
}
