//! Published data sets in the forms in which they come: read to the pixel and the label, or refused in a sentence.
//!
//! The sets and what other readers see in them are made by `tests/oracle/datasets.py`.

mod wrong;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use flipside::data::Dataset;
use flipside::data::SetLayout as Layout;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::message;

/// What another reader sees in a split.
#[derive(Deserialize)]
struct Expected {
    /// Ids and names.
    classes: Vec<(String, String)>,
    /// SHA-256 of the pixels, and the label.
    images: Vec<(String, usize)>,
}

fn expected() -> BTreeMap<String, Expected> {
    let file = crate::root().join("tests/fixtures/datasets/expected.json");
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

/// The sets of the fixture, unpacked into a folder of their own, which a test may damage.
fn unpacked() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = fs::File::open(crate::root().join("tests/fixtures/datasets/sets.tar.gz")).unwrap();
    tar::Archive::new(GzDecoder::new(file)).unpack(folder.path()).unwrap();
    let sets = folder.path().join("sets");
    (folder, sets)
}

fn seen(set: &dyn Dataset) -> Vec<(String, usize)> {
    let image = |i| {
        let pixels = set.image(i).unwrap().pixels;
        let hash = Sha256::digest(&pixels).iter().map(|byte| format!("{byte:02x}")).collect();
        (hash, set.label(i))
    };
    (0..set.len()).map(image).collect()
}

fn classes(set: &dyn Dataset) -> Vec<(String, String)> {
    set.classes().iter().map(|class| (class.id.clone(), class.name.clone())).collect()
}

/// Opens a split of whatever lies in a folder.
fn open(root: &Path, split: &str) -> Box<dyn Dataset> {
    Layout::of(root).unwrap().open(root, split).unwrap()
}

#[test]
fn every_set_is_what_other_readers_see_in_it() {
    let (_folder, sets) = unpacked();
    let cases = [
        ("cifar-10-batches-py", "cifar10"),
        ("cifar-10-batches-bin", "cifar10"),
        ("archives/cifar-10-python.tar.gz", "cifar10"),
        ("archives/cifar-10-binary.tar.gz", "cifar10"),
        ("cifar-100-python", "cifar100"),
        ("cifar-100-binary", "cifar100"),
        ("archives/cifar-100-python.tar.gz", "cifar100"),
        ("archives/cifar-100-binary.tar.gz", "cifar100"),
        ("stl10_binary", "stl10"),
        ("food-101", "food101"),
        ("tiny-imagenet-200", "tiny-imagenet"),
        ("imagenet-devkit", "imagenet"),
        ("imagenet-kaggle", "imagenet"),
        ("imagenet-kaggle/ILSVRC", "imagenet"),
        ("imagenet-kaggle/ILSVRC/Data/CLS-LOC", "imagenet"),
        ("imagenet-caffe", "imagenet"),
        ("imagenet-folders", "imagenet"),
        ("imagenet-archives", "imagenet"),
        ("imagenet-archives/ILSVRC2012_img_train.tar", "imagenet"),
        ("webdataset", "webdataset"),
    ];
    let expected = expected();
    let mut compared = 0;
    for (folder, word) in cases {
        let root = sets.join(folder);
        let layout = Layout::of(&root).unwrap();
        assert_eq!(layout, word.parse().unwrap(), "{folder}");
        for split in layout.splits(&root).unwrap() {
            let about = format!("{folder}, {split}");
            let set = layout.open(&root, &split).unwrap();
            let other = &expected[&format!("{word}/{split}")];
            assert_eq!(classes(&*set), other.classes, "{about}");
            let (mut found, mut wanted) = (seen(&*set), other.images.clone());
            // Class folders come class by class.
            if folder == "imagenet-folders" {
                found.sort();
                wanted.sort();
            }
            assert_eq!(found, wanted, "{about}");
            let again = layout.open(&root, &split).unwrap();
            assert_eq!(again.fingerprint(), set.fingerprint(), "{about}");
            assert_eq!(set.fingerprint().len(), 64, "{about}");
            compared += set.len();
        }
    }
    // 76 of CIFAR in its four forms, 3 of STL-10, 9, 10, 70 of ImageNet by its lists, 7 in shards.
    assert_eq!(compared, 175);
}

#[test]
fn a_layout_has_a_word() {
    for word in [
        "folders",
        "imagenet",
        "tiny-imagenet",
        "cifar10",
        "cifar100",
        "food101",
        "stl10",
        "webdataset",
    ] {
        assert_eq!(word.parse::<Layout>().unwrap().to_string(), word);
    }
    let said = message("mnist".parse::<Layout>());
    assert!(
        said.contains("unknown layout of a data set 'mnist'") && said.contains("stl10"),
        "{said}"
    );
    let count = |word: &str, split| word.parse::<Layout>().unwrap().published_count(split);
    assert_eq!(count("cifar10", "train"), Some(50_000));
    assert_eq!(count("imagenet", "val"), Some(50_000));
    assert_eq!(count("imagenet", "test"), None);
    assert_eq!(count("webdataset", "train"), None);
}

/// A folder of PNGs, the binary and the Python version: the same pixels under the same labels.
#[test]
fn cifar_is_the_same_in_all_its_forms() {
    let (_folder, sets) = unpacked();
    for split in ["train", "test"] {
        let python = open(&sets.join("cifar-10-batches-py"), split);
        let binary = open(&sets.join("cifar-10-batches-bin"), split);
        assert_eq!(seen(&*python), seen(&*binary));
        assert_ne!(python.fingerprint(), binary.fingerprint());
        let pngs = open(&sets.join("cifar-10-png"), split);
        let with_class = |set: &dyn Dataset| {
            let class = |label: usize| set.classes()[label].id.clone();
            let images = seen(set).into_iter().map(|(hash, label)| (hash, class(label)));
            let mut images: Vec<_> = images.collect();
            images.sort();
            images
        };
        assert_eq!(with_class(&*pngs), with_class(&*python));
    }
    let python = open(&sets.join("cifar-10-batches-py"), "train");
    assert_eq!(python.path(3), "data_batch_2/1/deer_s_100001.png");
    assert_eq!(open(&sets.join("cifar-10-batches-bin"), "train").path(3), "data_batch_2/1");
}

/// What Python 3 writes by NumPy 2, in the protocols that differ.
#[test]
fn batches_of_other_pickle_protocols_are_read() {
    let (_folder, sets) = unpacked();
    let root = sets.join("cifar-10-batches-py");
    let (before, fingerprint) = {
        let set = open(&root, "train");
        (seen(&*set), set.fingerprint())
    };
    for protocol in ["2", "4", "5", "2-fortran", "4-fortran", "5-fortran"] {
        fs::copy(sets.join("cifar-10-protocols").join(protocol), root.join("data_batch_1"))
            .unwrap();
        let set = open(&root, "train");
        assert_eq!(seen(&*set), before, "protocol {protocol}");
        assert_ne!(set.fingerprint(), fingerprint);
    }
}

#[test]
fn a_set_is_found_in_the_folder_that_holds_it() {
    let (_folder, sets) = unpacked();
    for (name, word, split) in [
        ("cifar-10-batches-py", "cifar10", "test"),
        ("cifar-100-binary", "cifar100", "test"),
        ("stl10_binary", "stl10", "test"),
        ("food-101", "food101", "test"),
        ("tiny-imagenet-200", "tiny-imagenet", "val"),
    ] {
        let holder = tempfile::tempdir().unwrap();
        fs::rename(sets.join(name), holder.path().join(name)).unwrap();
        assert_eq!(Layout::of(holder.path()).unwrap().to_string(), word);
        assert_eq!(
            seen(&*open(holder.path(), split)),
            expected()[&format!("{word}/{split}")].images
        );
    }
    let archives = sets.join("archives");
    let said = message(Layout::of(&archives));
    let words = "looks like CIFAR-10 and like CIFAR-100: name the folder or file of one of them";
    assert!(said.contains(words), "{said}");
    for version in ["python", "binary"] {
        fs::remove_file(archives.join(format!("cifar-100-{version}.tar.gz"))).unwrap();
    }
    let said = message(Layout::of(&archives));
    let words = "looks like CIFAR-10, but holds it twice (cifar-10-python.tar.gz and cifar-10-binary.tar.gz)";
    assert!(said.contains(words), "{said}");
    fs::remove_file(archives.join("cifar-10-binary.tar.gz")).unwrap();
    assert_eq!(open(&archives, "train").len(), 10);
    // A set that was unpacked beside its archive counts.
    fs::rename(sets.join("cifar-10-batches-bin"), archives.join("cifar-10-batches-bin")).unwrap();
    assert_eq!(open(&archives, "train").path(3), "data_batch_2/1");
    fs::remove_dir_all(archives.join("cifar-10-batches-bin")).unwrap();
    let archive = archives.join("cifar-10-python.tar.gz");
    let whole = fs::read(&archive).unwrap();
    fs::write(&archive, &whole[..whole.len() / 2]).unwrap();
    let said = message(Layout::Cifar10.open(&archives, "train"));
    assert!(said.contains("cifar-10-python.tar.gz: is truncated or no .tar.gz"), "{said}");
    fs::write(&archive, "no archive").unwrap();
    assert!(message(Layout::Cifar10.open(&archives, "train")).contains("no .tar.gz archive"));
    fs::write(sets.join("notes.txt"), "").unwrap();
    let said = message(Layout::of(&sets.join("notes.txt")));
    assert!(said.contains("is neither a folder nor the archive or file of a known set"), "{said}");
    let said = message(Layout::Cifar10.open(&sets.join("food-101"), "train"));
    assert!(said.contains("food-101: holds no files of CIFAR-10"), "{said}");
    assert_eq!(Layout::of(&sets.join("cifar-10-png")).unwrap(), Layout::Folders);
    // Archives that were unpacked there aren't shards.
    fs::write(sets.join("cifar-10-png/train.tar"), "").unwrap();
    assert_eq!(Layout::of(&sets.join("cifar-10-png")).unwrap(), Layout::Folders);
    fs::write(sets.join("cifar-10-png/train-0.tar"), "").unwrap();
    assert_eq!(Layout::of(&sets.join("cifar-10-png")).unwrap(), Layout::Folders);
    assert!(message(Layout::of(&sets.join("nowhere"))).contains("nowhere"));
}

/// Each split without labels says so, and another lists those that are there.
#[test]
fn splits_without_labels_are_refused() {
    let (_folder, sets) = unpacked();
    for (folder, split, words) in [
        ("stl10_binary", "unlabeled", "have no labels"),
        ("tiny-imagenet-200", "test", "have no labels; its held-out images are those of val"),
        ("imagenet-devkit", "test", "have no labels; its held-out images are those of val"),
        ("food-101", "val", "Food-101 has no split 'val' here; it has train, test"),
    ] {
        let root = sets.join(folder);
        let said = message(Layout::of(&root).unwrap().open(&root, split));
        assert!(said.contains(folder) && said.contains(words), "{said}");
    }
}

/// A tar archive of files.
fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, *content).unwrap();
    }
    archive.into_inner().unwrap()
}

#[test]
fn shards_with_long_names_and_a_list_of_classes_are_read() {
    let (_folder, sets) = unpacked();
    for kind in ["gnu", "pax"] {
        let set = open(&sets.join(format!("webdataset-{kind}")), "all");
        let pairs = [("first kind", "first kind"), ("second", "second")];
        assert_eq!(classes(&*set), pairs.map(|(id, name)| (id.into(), name.into())));
        let path = format!("one.tar/{}é1.jpg", "a_folder_with_a_long_name/".repeat(5));
        assert_eq!((set.len(), set.label(1), set.path(1)), (2, 1, path));
        assert_eq!(set.image(1).unwrap().width, 11);
    }
    let set = open(&sets.join("webdataset/val-000000.tar"), "val");
    assert_eq!(seen(&*set), expected()["webdataset/val"].images);
    // In folders of splits.
    let folder = tempfile::tempdir().unwrap();
    for split in ["train", "val"] {
        fs::create_dir(folder.path().join(split)).unwrap();
        fs::copy(
            sets.join(format!("webdataset/{split}-000000.tar")),
            folder.path().join(split).join("0.tar"),
        )
        .unwrap();
    }
    assert_eq!(Layout::WebDataset.splits(folder.path()).unwrap(), ["train", "val"]);
    assert_eq!(seen(&*open(folder.path(), "val")), expected()["webdataset/val"].images);
    // Another word for it.
    fs::rename(folder.path().join("val"), folder.path().join("valid")).unwrap();
    let set = open(folder.path(), "validation");
    assert_eq!(seen(&*set), expected()["webdataset/val"].images);
}

#[test]
fn what_is_published_is_told_from_what_isn_t() {
    let (_folder, sets) = unpacked();
    let verified = |folder: &str| {
        let root = sets.join(folder);
        Layout::of(&root).unwrap().verify(&root).unwrap().join("\n")
    };
    let lines = verified("cifar-10-batches-py");
    assert!(lines.contains("data_batch_1: not the published file (MD5 "), "{lines}");
    assert!(lines.contains("published: c99cafc152244af753f735de768cd75f)"), "{lines}");
    assert!(lines.contains("train: 10 images; 50000 were published"), "{lines}");
    let lines = verified("imagenet-kaggle");
    assert!(
        lines.contains("LOC_synset_mapping.txt") && lines.contains("LOC_val_solution.csv"),
        "{lines}"
    );
    assert!(verified("webdataset").contains("train: 2 archives\nval: 1 archive\ntrain: 5 images"));
    fs::write(sets.join("cifar-10-png/train/notes.txt"), "").unwrap();
    assert!(verified("cifar-10-png").contains("passed over 1 .txt beside the class folders"));
}
