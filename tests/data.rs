//! Data sets and loading.

mod augmentation;
mod formats;
mod parts;
mod png;
mod preprocessing;
mod sets;

use flipside::data::builtin::{Shapes, Split, descriptions};
use flipside::data::transform::{EvalTransform, Filter, TrainCrop, TrainTransform, Transform};
use flipside::data::{
    Batch, Batches, Cached, ClassEntry, ClassList, Dataset, EpochPlan, ImageFolder, ImageSet,
    Numbering, Splits, epoch_order, repeated_order,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::program::write_png;

fn small_train() -> TrainTransform {
    TrainTransform {
        kind: TrainCrop::RandomResizedCrop { size: 24, scale: [0.3, 1.0], ratio: [0.75, 1.33] },
        filter: Filter::Bilinear,
        flip_probability: 0.5,
        mean: [0.5; 3],
        std: [0.25; 3],
        ..TrainTransform::imagenet(24)
    }
}

fn small_eval() -> EvalTransform {
    EvalTransform {
        resize: Some(28),
        crop: 24,
        filter: Filter::Bilinear,
        mean: [0.5; 3],
        std: [0.25; 3],
    }
}

fn shapes(count: usize) -> Arc<dyn Dataset> {
    Arc::new(Shapes::new(1, Split::Train, count))
}

fn load(set: &Arc<dyn Dataset>, transform: impl Into<Transform>, plan: EpochPlan) -> Vec<Batch> {
    Batches::new(set.clone(), transform, plan).unwrap().collect::<Result<_, _>>().unwrap()
}

/// A PNG of the test pattern under `root/<class>/<name>`.
fn write_image(root: &Path, class: &str, name: &str, height: usize, width: usize) -> PathBuf {
    let path = root.join(class).join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let image = preprocessing::pattern(height, width);
    write_png(&path, [height, width], &image.pixels);
    path
}

fn message<T>(result: flipside::Result<T>) -> String {
    result.err().expect("an error").to_string()
}

#[test]
fn augmentation_knows_neither_batch_nor_thread() {
    let set = shapes(50);
    let flat = |batch_size, workers, drop_last| {
        let plan =
            EpochPlan { workers, drop_last, prefetch: 1, ..EpochPlan::train(batch_size, 9, 3) };
        let batches = load(&set, small_train(), plan);
        let mut by_index: Vec<(u64, u32, Vec<u32>)> = Vec::new();
        for batch in &batches {
            for (i, image) in batch.images.chunks_exact(24 * 24 * 3).enumerate() {
                let bits = image.iter().map(|value| value.to_bits()).collect();
                by_index.push((batch.indices[i], batch.labels[i], bits));
            }
        }
        by_index
    };
    let reference = flat(50, 1, true);
    assert_eq!(reference.len(), 50);
    assert!(reference.iter().all(|(i, label, _)| i % 10 == u64::from(*label)));
    assert_eq!(reference, flat(7, 3, false));
    assert_eq!(reference[..48], flat(16, 2, true));

    let other = load(&set, small_train(), EpochPlan::train(50, 9, 4));
    assert_ne!(other[0].indices, reference.iter().map(|entry| entry.0).collect::<Vec<_>>());
    // Another place in the order: the sample itself looks the same when only the order changes.
    let plan = EpochPlan::train(1, 9, 3);
    let third = reference[3].0 as usize;
    let alone: Vec<_> =
        Batches::of(set.clone(), small_train(), plan, vec![third]).unwrap().collect();
    let bits: Vec<u32> = alone[0].as_ref().unwrap().images.iter().map(|v| v.to_bits()).collect();
    assert_eq!(bits, reference[3].2);
}

#[test]
fn orders_are_permutations() {
    let mut order = epoch_order(1000, 5, 2);
    assert_eq!(order, epoch_order(1000, 5, 2));
    assert_ne!(order, epoch_order(1000, 5, 3));
    assert_ne!(order, epoch_order(1000, 6, 2));
    order.sort_unstable();
    assert!(order.into_iter().eq(0..1000));
}

#[test]
fn evaluation_keeps_the_order_and_the_short_batch() {
    let set = shapes(23);
    let batches = load(&set, small_eval(), EpochPlan::eval(10));
    assert_eq!(batches.iter().map(Batch::len).collect::<Vec<_>>(), [10, 10, 3]);
    assert!(batches.iter().flat_map(|batch| batch.indices.clone()).eq(0..23));
    assert!(batches.iter().all(|batch| batch.images.len() == batch.len() * 24 * 24 * 3));
    let dropped = EpochPlan { drop_last: true, ..EpochPlan::eval(10) };
    assert_eq!(load(&set, small_eval(), dropped).len(), 2);
    let too_large = EpochPlan { drop_last: true, ..EpochPlan::eval(24) };
    assert!(message(Batches::new(set.clone(), small_eval(), too_large)).contains("23 images"));
    assert!(message(Batches::new(set, small_eval(), EpochPlan::eval(0))).contains("batch size"));
}

#[test]
fn an_early_drop_ends_the_loader() {
    let set = shapes(200);
    for taken in 0..3 {
        let mut batches =
            Batches::new(set.clone(), small_train(), EpochPlan::train(4, 1, 0)).unwrap();
        for _ in 0..taken {
            batches.next().unwrap().unwrap();
        }
        drop(batches);
    }
    // The threads are joined: nobody else holds the set.
    assert_eq!(Arc::strong_count(&set), 1);
}

/// A batch has all copies of its images, none beside another of the same image.
#[test]
fn repeated_images_share_a_batch_but_not_a_neighbour() {
    let order = repeated_order(24, (3, 12), 1, 0);
    assert_eq!(order.len(), 24);
    for batch in order.chunks(12) {
        let mut images: Vec<usize> = batch.iter().map(|of| of.image).collect();
        assert!((0..12).all(|i| images[i] != images[(i + 1) % 12]));
        images.sort();
        images.dedup();
        assert_eq!(images.len(), 4);
        let mut copies: Vec<(usize, u32)> =
            batch.iter().map(|of| (of.image, of.repetition)).collect();
        copies.sort();
        copies.dedup();
        assert_eq!(copies.len(), 12);
    }
    let plain: Vec<usize> = repeated_order(7, (1, 3), 1, 0).iter().map(|of| of.image).collect();
    assert_eq!(plain, epoch_order(7, 1, 0));
}

#[test]
fn a_broken_image_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..6 {
        write_image(dir.path(), "cat", &format!("{i}.png"), 40, 30);
    }
    std::fs::write(dir.path().join("cat/2b.jpg"), "this is no picture\n").unwrap();
    let set: Arc<dyn Dataset> = Arc::new(ImageFolder::open(dir.path()).unwrap());
    let mut batches = Batches::new(set, small_eval(), EpochPlan::eval(2)).unwrap();
    assert!(batches.next().unwrap().is_ok());
    let error = message(batches.next().unwrap());
    assert!(error.contains("2b.jpg") && error.contains("neither"), "{error}");
    assert!(batches.next().is_none());
}

#[test]
fn truncated_and_empty_files_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let jpeg = crate::root().join("tests/fixtures/preprocessing");
    let png = write_image(dir.path(), "a", "whole.png", 60, 60);
    for (source, name) in [
        (jpeg.join("rgb_420.jpg"), "cut.jpg"),
        (jpeg.join("progressive.jpg"), "cut_progressive.jpg"),
        (png, "cut.png"),
    ] {
        let bytes = std::fs::read(source).unwrap();
        for kept in [0, 1, 3, 20, bytes.len() / 3, bytes.len() * 3 / 4] {
            let path = dir.path().join(name);
            std::fs::write(&path, &bytes[..kept]).unwrap();
            let error = message(flipside::data::decode_file(&path));
            assert!(error.contains(name), "{error}");
        }
    }
}

/// The bytes of a fixture with some overwritten, `skip` bytes from where `mark` is found.
fn patched(name: &str, mark: &[u8], skip: usize, with: &[u8]) -> Vec<u8> {
    let folder = crate::root().join("tests/fixtures/preprocessing");
    let mut bytes = std::fs::read(folder.join(name)).unwrap();
    let at = bytes.windows(mark.len()).position(|window| window == mark).unwrap();
    let start = at + skip;
    bytes[start..start + with.len()].copy_from_slice(with);
    bytes
}

#[test]
fn jpegs_that_are_no_pictures_are_errors_with_the_cause() {
    let (frame, scan, huffman) = ([0xff, 0xc0], [0xff, 0xda], [0xff, 0xc4]);
    let size = 5; // Past the marker, the segment's length and the precision.
    let cases = [
        (patched("rgb_420.jpg", &frame, size, &[0xff; 4]), "65535×65535"),
        (patched("rgb_420.jpg", &frame, size, &[0, 0, 0, 9]), "no height"),
        (patched("rgb_420.jpg", &frame, 4, &[12]), "12 bits"),
        (patched("rgb_420.jpg", &frame, size + 4, &[2]), "2 components"),
        (patched("rgb_420.jpg", &frame, size + 9, &[0x31]), "sampling factors"),
        (patched("rgb_420.jpg", &frame, size + 6, &[0x02]), "impossible"),
        (patched("rgb_420.jpg", &frame, size + 7, &[3]), "quantisation table"),
        (patched("rgb_420.jpg", &scan, 5, &[77]), "a component that the frame doesn't have"),
        (patched("rgb_420.jpg", &scan, 6, &[0x33]), "Huffman table that isn't there"),
        (patched("rgb_420.jpg", &huffman, 5, &[9]), "a Huffman table is impossible"),
        (patched("rgb_420.jpg", &huffman, 2, &[0, 1]), "impossible length"),
        (patched("rgb_420.jpg", &[0xff], 2, &[0xff, 0xc9]), "arithmetic"),
        (patched("restarts.jpg", &[0xff, 0xd0], 1, &[0xd3]), "a restart marker is missing"),
        // More lines than there are data for.
        (patched("rgb_420.jpg", &frame, size, &[1, 0]), "truncated"),
    ];
    let twice = [&[0xff, 0xd8], &patched("grey.jpg", &frame, 0, &frame)[..]].concat();
    for (bytes, cause) in cases.into_iter().chain([(twice, "begins twice")]) {
        let error = message(flipside::data::decode(&bytes, Path::new("hostile.jpg")));
        assert!(error.contains("hostile.jpg") && error.contains(cause), "{cause}: {error}");
    }
}

/// Damaged anywhere, a file is a picture or an error, and the program goes on.
#[test]
fn damaged_jpegs_never_panic() {
    let folder = crate::root().join("tests/fixtures/preprocessing");
    for name in ["rgb_422", "progressive_restarts", "ycck", "rgb_411"] {
        let whole = std::fs::read(folder.join(name).with_extension("jpg")).unwrap();
        let mut pictures = 0;
        for at in 2..whole.len() {
            for value in [0, 1, 0x7f, 0xff, whole[at] ^ 0x10] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                pictures += usize::from(flipside::data::decode(&bytes, Path::new("x")).is_ok());
            }
        }
        assert!(pictures > whole.len() && pictures < 5 * whole.len(), "{name}: {pictures}");
    }
}

#[test]
fn folders_are_read_in_order_with_any_spelling_of_the_ending() {
    let dir = tempfile::tempdir().unwrap();
    for (class, name) in [("b", "2.PNG"), ("b", "10.jpeg"), ("a", "x.JPEG"), ("a", "w.jpg")] {
        write_image(dir.path(), class, name, 8, 9);
    }
    std::fs::write(dir.path().join("b/notes.txt"), "").unwrap();
    std::fs::write(dir.path().join("LICENSE"), "").unwrap();
    let list = dir.path().join("classes.tsv");
    std::fs::write(&list, "1\ta\tfirst letter\n0\tzz\tother\n2\tq\tb\n").unwrap();
    let set =
        ImageSet::folder(dir.path()).unwrap().named(&ClassList::open(&list).unwrap()).unwrap();
    let paths: Vec<String> = (0..set.len()).map(|i| set.path(i)).collect();
    assert_eq!(paths, ["a/w.jpg", "a/x.JPEG", "b/10.jpeg", "b/2.PNG"]);
    assert_eq!((0..4).map(|i| set.label(i)).collect::<Vec<_>>(), [0, 0, 1, 1]);
    let names = |i: usize| (set.classes()[i].id.as_str(), set.classes()[i].name.as_str());
    assert_eq!((names(0), names(1)), (("a", "first letter"), ("q", "b")));
    assert_eq!((set.image(3).unwrap().height, set.image(3).unwrap().width), (8, 9));

    let fingerprint = set.fingerprint();
    assert_eq!(fingerprint, ImageFolder::open(dir.path()).unwrap().fingerprint());
    write_image(dir.path(), "a", "new.png", 8, 9);
    assert_ne!(fingerprint, ImageFolder::open(dir.path()).unwrap().fingerprint());
}

/// What isn't read is counted, by kind, with the first of each; and nothing is said where there is nothing.
#[test]
fn what_is_passed_over_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let passed_over = || ImageFolder::open(root).unwrap().passed_over();
    for class in ["a", "b"] {
        write_image(root, class, "1.png", 8, 9);
    }
    assert_eq!(passed_over(), None);
    for name in [
        "a/1.avif",
        "a/2.AVIF",
        "b/3.avif",
        "b/photo",
        "b/x.tif",
        ".index",
        "a/.DS_Store",
        "loose.jpg",
    ] {
        std::fs::write(root.join(name), "").unwrap();
    }
    write_image(root, "b/more.png", "4.png", 8, 9);
    let set = ImageFolder::open(root).unwrap();
    assert_eq!(set.len(), 2);
    assert_eq!(
        set.passed_over().unwrap(),
        format!(
            "{}: passed over 3 .avif (a/1.avif, …), 1 .tif (b/x.tif), 1 file without an ending (b/photo), \
             1 folder (b/more.png), 1 hidden (a/.DS_Store), 1 hidden beside the class folders (.index), \
             1 image beside the class folders (loose.jpg)",
            root.display()
        )
    );
    // It goes along where a list names the classes.
    let entry = |id: &str| ClassEntry { id: id.into(), name: id.into() };
    let list = ClassList::from_entries(["a", "b", "c"].map(entry).to_vec());
    let named = ImageSet::folder(root).unwrap().named(&list).unwrap();
    assert_eq!(named.passed_over(), set.passed_over());
    // Kinds without end are counted together.
    (0..30).for_each(|i| std::fs::write(root.join(format!("b/scan.{i:04}")), "").unwrap());
    let line = passed_over().unwrap();
    assert!(line.contains("3 .avif") && line.ends_with(", 29 of other kinds"), "{line}");
    std::fs::remove_file(root.join("a/1.png")).unwrap();
    let error = message(ImageFolder::open(root));
    assert!(
        error.contains("a: holds no .jpg") && error.contains("2 .avif (a/1.avif, …)"),
        "{error}"
    );
}

/// A link to an image or a folder is that image or folder; one to nothing is passed over, or missed if it has an
/// image's name.
#[cfg(unix)]
#[test]
fn links_are_followed_as_far_as_they_lead() {
    use std::os::unix::fs::symlink;
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (root, image) = (dir.path(), write_image(elsewhere.path(), "c", "1.png", 8, 9));
    std::fs::create_dir(root.join("a")).unwrap();
    symlink(&image, root.join("a/1.png")).unwrap();
    symlink(elsewhere.path().join("c"), root.join("b")).unwrap();
    symlink(root.join("nothing"), root.join("a/2.txt")).unwrap();
    let set = ImageFolder::open(root).unwrap();
    assert_eq!((0..set.len()).map(|i| set.path(i)).collect::<Vec<_>>(), ["a/1.png", "b/1.png"]);
    assert!(set.passed_over().unwrap().ends_with(": passed over 1 broken link (a/2.txt)"));
    symlink(root.join("nothing.png"), root.join("a/2.png")).unwrap();
    assert!(message(ImageFolder::open(root)).contains("a/2.png"));
}

/// A class's number is what the network's file says, else what the user's list says, else its folder's place,
/// however many folders there are.
#[test]
fn a_class_has_one_number() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for class in ["n03", "n07"] {
        write_image(root, class, "1.png", 4, 4);
    }
    let list = |ids: &[&str]| {
        let entry = |id: &&str| ClassEntry { id: id.to_string(), name: format!("name of {id}") };
        ClassList::from_entries(ids.iter().map(entry).collect())
    };
    let open = |count, own: Option<&ClassList>, given: Option<&ClassList>| {
        let is_in_folder_order = false;
        let numbering = Numbering { of: "the checkpoint", count, own, given, is_in_folder_order };
        ImageSet::folder(root).unwrap().numbered(&numbering)
    };
    let labels = |count, own: Option<&ClassList>, given: Option<&ClassList>| {
        let set = open(count, own, given).unwrap();
        assert_eq!([set.path(0), set.path(1)], ["n03/1.png", "n07/1.png"]);
        assert!(set.image(1).is_ok() && set.classes().len() == count);
        for i in 0..2 {
            let name = &set.classes()[set.label(i)].name;
            assert!(name.ends_with(["n03", "n07"][i]), "{name}");
        }
        [set.label(0), set.label(1)]
    };
    let five = list(&["n09", "n07", "n01", "n03", "n02"]);
    let swapped = list(&["n07", "n03"]);
    assert_eq!(labels(2, None, None), [0, 1]);
    assert_eq!(labels(2, None, Some(&swapped)), [1, 0]);
    assert_eq!(labels(5, None, Some(&five)), [3, 1]);
    assert_eq!(labels(2, Some(&swapped), None), [1, 0]);
    // A network's own classes are its numbers, whatever the order of the list beside them.
    assert_eq!(labels(2, Some(&swapped), Some(&five)), [1, 0]);
    assert_eq!(labels(5, Some(&five), Some(&list(&["n01", "n02", "n03", "n07", "n09"]))), [3, 1]);
    // A longer list leaves the numbers open, unless it has the folders' order.
    let ascending = list(&["n01", "n03", "n07"]);
    assert_eq!(open(2, None, Some(&ascending)).unwrap().label(1), 1);

    let refused = |count, own: Option<&ClassList>, given: Option<&ClassList>, part: &str| {
        let error = message(open(count, own, given));
        assert!(error.contains(part) && error.contains(root.to_str().unwrap()), "{error}");
    };
    refused(5, None, None, "folders of 2 classes, and the checkpoint has 5 without naming them");
    refused(1000, None, Some(&five), "has 1000 classes without naming them, the class list 5");
    refused(2, None, Some(&five), "in another order by name than in the class list");
    refused(3, None, Some(&list(&["n03", "n04", "n05"])), "class n07 isn't in the class list");
    refused(
        2,
        Some(&list(&["n03", "n04"])),
        None,
        "class n07 isn't among those that the checkpoint",
    );
    refused(5, Some(&five), Some(&swapped), "the class list lacks the class n09");

    // Ids that count from 1 in the one, from 0 in the other: each id is of another name.
    let named = |pairs: &[(&str, &str)]| {
        let entry =
            |(id, name): &(&str, &str)| ClassEntry { id: (*id).into(), name: (*name).into() };
        ClassList::from_entries(pairs.iter().map(entry).collect())
    };
    let from_zero = named(&[("n03", "red"), ("n07", "green"), ("n09", "blue")]);
    let from_one = named(&[("n07", "red"), ("n09", "green"), ("n11", "blue")]);
    refused(3, Some(&from_zero), Some(&from_one), "contradict each other");
    let twice = named(&[("n03", "red"), ("x", "n07"), ("n09", "blue")]);
    let unnamed = named(&[("n03", "n03"), ("red", "red"), ("n09", "n09")]);
    refused(
        3,
        Some(&unnamed),
        Some(&twice),
        "two classes of the checkpoint, but one of the class list",
    );
    // Another name for an id isn't a contradiction.
    let other_name = named(&[("n03", "scarlet"), ("n07", "green"), ("n09", "blue")]);
    assert_eq!(open(3, Some(&from_zero), Some(&other_name)).unwrap().classes()[0].name, "scarlet");

    // Rows that an earlier version left in the order of folders.
    let by_folder = |given: &ClassList, count| {
        let numbering = Numbering {
            of: "the checkpoint",
            count,
            own: None,
            given: Some(given),
            is_in_folder_order: true,
        };
        ImageSet::folder(root).unwrap().numbered(&numbering)
    };
    let sorted = list(&["n01", "n02", "n03", "n07", "n09"]);
    assert_eq!([0, 1].map(|i| by_folder(&sorted, 5).unwrap().label(i)), [2, 3]);
    // Those that are there come in the list's order, others don't: the first two rows may be others.
    let others = list(&["n02", "n03", "n07", "n01"]);
    for (given, count) in [(&swapped, 2), (&others, 4)] {
        assert!(message(by_folder(given, count)).contains("in the order of the folders' names"));
    }

    // Folders that bear the names; then one of each kind, of the same class.
    write_image(root, "name of n03", "1.png", 4, 4);
    refused(5, Some(&five), None, "n03 and name of n03 are the same class");
    std::fs::remove_dir_all(root.join("n03")).unwrap();
    let set = open(5, Some(&five), None).unwrap();
    assert_eq!([set.label(0), set.label(1)], [1, 3]);
    // The list calls n07 what the network calls n01.
    let other = |(id, name): (&str, &str)| ClassEntry { id: id.into(), name: name.into() };
    let pairs = [("a", "name of n09"), ("n07", "x"), ("n01", "y"), ("n03", "z"), ("n02", "n07b")];
    let given = ClassList::from_entries(pairs.map(other).to_vec());
    let names: Vec<String> = open(5, Some(&five), Some(&given))
        .unwrap()
        .classes()
        .iter()
        .map(|class| class.name.clone())
        .collect();
    assert_eq!(names, ["name of n09", "x", "y", "z", "n07b"]);
}

fn split(root: &Path) -> flipside::Result<[ImageSet; 2]> {
    Splits::find(root, None)?.train_and_held_out(None)
}

#[test]
fn incomplete_folders_are_errors_that_name_them() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    assert!(message(ImageFolder::open(&root.join("nowhere"))).contains("nowhere"));
    assert!(message(ImageFolder::open(root)).contains("no class folders"));
    write_image(root, "train/a", "1.png", 4, 4);
    write_image(root, "train/b", "1.png", 4, 4);
    assert!(message(split(root)).contains("val, validation or test"));
    write_image(root, "test/a", "1.png", 4, 4);
    assert!(message(split(root)).contains("lacks the class b"));
    std::fs::create_dir(root.join("test/b")).unwrap();
    let error = message(split(root));
    assert!(error.contains("test/b") && error.contains("holds no .jpg"), "{error}");
    write_image(root, "test/b", "1.png", 4, 4);
    let [train, test] = split(root).unwrap();
    assert_eq!((train.len(), test.len()), (2, 2));
    write_image(root, "test/c", "1.png", 4, 4);
    assert!(message(split(root)).contains("lacks the class c"));
}

#[test]
fn class_lists_name_the_line_that_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("classes.tsv");
    for (text, expected) in [
        ("", "no classes"),
        ("0\ta\n", "line 1 has 2"),
        ("0\ta\tx\n\none\tb\ty\n", "line 3: the index \"one\""),
        ("0\ta\tx\n0\tb\ty\n", "line 2 repeats the index 0 of line 1"),
        ("0\ta\tx\n1\ta\ty\n", "line 2 repeats the id a of line 1"),
        ("0\ta\tx\n2\tb\ty\n", "index 1 is missing among 2"),
        ("0\ta\t\n", "line 1"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = message(ClassList::open(&path));
        assert!(error.contains(expected) && error.contains("classes.tsv"), "{error}");
    }
    assert!(message(ClassList::open(&dir.path().join("none.tsv"))).contains("none.tsv"));
    std::fs::write(&path, [0xff, 0xfe, 0x00]).unwrap();
    assert!(message(ClassList::open(&path)).contains("UTF-8"));
}

#[test]
fn a_cache_changes_nothing_and_keeps_to_its_budget() {
    let plain = Shapes::new(2, Split::Test, 20);
    let cached = Cached::new(Shapes::new(2, Split::Test, 20), 5 * 32 * 32 * 3);
    for _ in 0..2 {
        for i in 0..20 {
            assert_eq!(cached.image(i).unwrap(), plain.image(i).unwrap());
        }
    }
    assert_eq!(cached.kept(), 5);
}

/// The pictures are part of what a seed reproduces: their hash may only change together with the
/// version in `data::builtin`. The numbers were printed by this test.
#[test]
fn the_builtin_set_never_changes() {
    let (train, test) = (Shapes::new(1, Split::Train, 300), Shapes::new(1, Split::Test, 300));
    assert_eq!(
        train.fingerprint(),
        "1d2934983acc07e3a7461730e200c45e01053b895259d1f27e637469664d153a"
    );
    assert_eq!(
        test.fingerprint(),
        "6ccd6ca51828f1104df0c1bcc7c65737ff357d1b0c5eab41d1f0b4434b04b073"
    );
    assert_ne!(train.fingerprint(), Shapes::new(2, Split::Train, 300).fingerprint());
    for class in 0..10 {
        assert_eq!((0..300).filter(|&i| train.label(i) == class).count(), 30);
    }
    assert_eq!(train.image(7).unwrap(), Shapes::new(1, Split::Train, 8).image(7).unwrap());
    assert_eq!((train.classes().len(), descriptions().len()), (10, 10));
    assert!(
        descriptions().iter().zip(train.classes()).all(|(text, class)| text.name == class.name)
    );
}

/// Real photographs, where the machine has them.
#[test]
fn tiny_imagenet_opens_and_loads() {
    let shared = crate::root().join("../shared/data");
    let root = shared.join("tiny-imagenet-20");
    if !root.is_dir() {
        println!("skipped: {} is not there", root.display());
        return;
    }
    let list = ClassList::open(&shared.join("imagenet_classes.tsv")).unwrap();
    let [train, val] = Splits::find(&root, None).unwrap().train_and_held_out(Some(&list)).unwrap();
    assert_eq!((train.classes().len(), train.len(), val.len()), (20, 6000, 1000));
    assert!(train.classes().iter().all(|class| class.name != class.id));
    let set: Arc<dyn Dataset> = Arc::new(Cached::new(val, 64 << 20));
    let batches = load(&set, EvalTransform::imagenet(64, 64), EpochPlan::eval(128));
    assert_eq!(batches.iter().map(Batch::len).sum::<usize>(), 1000);
    assert!(batches.iter().flat_map(|batch| &batch.images).all(|v| v.abs() < 3.0));
}
