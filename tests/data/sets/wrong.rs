//! What is wrong with the files of a data set is said, or found; nothing panics.

use super::*;

/// Damages one file of a set and says what opening the split says then.
fn said_of(
    set: &str,
    split: &str,
    file: &str,
    damage: impl Fn(&[u8]) -> Option<Vec<u8>>,
) -> String {
    let (_folder, sets) = unpacked();
    let root = sets.join(set);
    let path = root.join(file);
    match damage(&fs::read(&path).unwrap_or_default()) {
        Some(bytes) => fs::write(&path, bytes).unwrap(),
        None => fs::remove_file(&path).unwrap(),
    }
    let layout = match Layout::of(&root) {
        Ok(layout) => layout,
        Err(error) => return error.to_string(),
    };
    message(layout.open(&root, split))
}

/// Another text in the place of the first of these.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Option<Vec<u8>> {
    let at = bytes.windows(from.len()).position(|window| window == from).expect("it is there");
    Some([&bytes[..at], to, &bytes[at + from.len()..]].concat())
}

#[test]
fn what_is_wrong_with_batches_is_said() {
    let (python, binary) = ("cifar-10-batches-py", "cifar-10-batches-bin");
    let batch = |damage: &dyn Fn(&[u8]) -> Option<Vec<u8>>| {
        said_of(python, "train", "data_batch_3", damage)
    };
    let cases = [
        (batch(&|_| None), "looks like CIFAR-10, but", "lacks data_batch_3"),
        (batch(&|bytes| Some(bytes[..4000].to_vec())), "data_batch_3: ", "truncated"),
        (
            batch(&|bytes| Some([bytes, b"more"].concat())),
            "data_batch_3: ",
            "4 bytes behind its pickle's end",
        ),
        (batch(&|_| Some(Vec::new())), "data_batch_3: ", "is no pickle"),
        (
            batch(&|bytes| replaced(bytes, b"(K\x06K\x07e", b"(K\x06K\x0ae")),
            "data_batch_3",
            "image 1 has the label 10, but there are 10 classes",
        ),
        (
            batch(&|bytes| replaced(bytes, b"(K\x06K\x07e", b"(K\x06J\xff\xff\xff\xffe")),
            "data_batch_3",
            "image 1 has the label -1, but",
        ),
        (
            batch(&|bytes| replaced(bytes, b"(K\x06K\x07e", b"(K\x06e")),
            "data_batch_3",
            "has 1 labels for 2 images",
        ),
        (
            batch(&|bytes| replaced(bytes, b"(K\x06K\x07e", b"(K\x06Ne")),
            "data_batch_3",
            "`labels` has None at place 1, not an int",
        ),
        (
            batch(&|bytes| replaced(bytes, b"U\x06labels", b"U\x06labelz")),
            "data_batch_3",
            "lacks the key `labels`",
        ),
        (
            batch(&|bytes| replaced(bytes, b"K\x02M\x00\x0c", b"K\x03M\x00\x08")),
            "data_batch_3",
            "of shape [3, 2048], not of N rows of 3072",
        ),
        (
            batch(&|bytes| replaced(bytes, b"K\x02M\x00\x0c", b"K\x09M\x00\x0c")),
            "data_batch_3",
            "shape [9, 3072] over 6144 bytes",
        ),
        (
            batch(&|bytes| replaced(bytes, b"U\x02u1", b"U\x02f4")),
            "data_batch_3",
            "element type `f4`; only bytes (u1) are read",
        ),
        (
            batch(&|bytes| replaced(bytes, b"tq\x13b\x89", b"tq\x13bN")),
            "data_batch_3",
            "an unknown state",
        ),
        (
            said_of(python, "test", "batches.meta", |bytes| {
                replaced(bytes, b"U\x03dog", b"U\x03cat")
            }),
            "batches.meta",
            "names the class cat twice",
        ),
        (
            said_of(python, "test", "batches.meta", |bytes| {
                replaced(bytes, b"label_names", b"label_namez")
            }),
            "batches.meta",
            "lacks the key `label_names`",
        ),
        (
            said_of(binary, "train", "data_batch_5.bin", |bytes| Some(bytes[1..].to_vec())),
            "data_batch_5.bin",
            "its 6145 bytes aren't a multiple of 3073",
        ),
        (
            said_of(binary, "train", "data_batch_5.bin", |bytes| {
                Some([&[200], &bytes[1..]].concat())
            }),
            "data_batch_5.bin",
            "image 0 has the label 200, but there are 10 classes",
        ),
        (
            said_of(binary, "train", "data_batch_5.bin", |_| Some(Vec::new())),
            "data_batch_5.bin",
            "holds no image",
        ),
        (
            said_of(binary, "train", "batches.meta.txt", |bytes| replaced(bytes, b"dog", b"cat")),
            "batches.meta.txt",
            "line 6 repeats line 4 (cat)",
        ),
        (
            said_of("cifar-100-binary", "test", "test.bin", |bytes| Some(bytes[..3073].to_vec())),
            "test.bin",
            "aren't a multiple of 3074",
        ),
        (
            said_of("archives", "train", "cifar-10-python.tar.gz", |_| None),
            "archives",
            "looks like",
        ),
        (
            said_of("stl10_binary", "train", "train_X.bin", |bytes| Some(bytes[..27_648].to_vec())),
            "train_y.bin",
            "has 2 labels for 1 images",
        ),
        (
            said_of("stl10_binary", "train", "train_X.bin", |bytes| Some(bytes[..27_640].to_vec())),
            "train_X.bin",
            "aren't a multiple of 27648",
        ),
        (
            said_of("stl10_binary", "test", "test_y.bin", |_| Some(vec![0])),
            "test_y.bin",
            "image 0 has the label 0; labels count from 1",
        ),
        (
            said_of("stl10_binary", "test", "test_y.bin", |_| Some(vec![11])),
            "test_y.bin",
            "image 0 has the label 10, but there are 10",
        ),
        (
            said_of("stl10_binary", "test", "class_names.txt", |_| None),
            "looks like STL-10, but",
            "lacks class_names.txt",
        ),
    ];
    for (said, file, words) in cases {
        assert!(said.contains(file) && said.contains(words), "{words}: {said}");
    }
}

/// A batch whose pickle asks for something to be run is refused, and names what it asked for.
#[test]
fn hostile_batches_are_refused() {
    let pickles: [(&[u8], &str); 7] = [
        (b"\x80\x02cos\nsystem\nU\x04true\x85R.", "`os.system`"),
        (b"\x80\x02cposix\nsystem\nU\x04true\x85R.", "`posix.system`"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x01x\x85R.", "`builtins.eval`"),
        (b"\x80\x02ccollections\nOrderedDict\n)R.", "`collections.OrderedDict`"),
        (b"\x80\x02cnumpy\nload\nU\x01x\x85R.", "`numpy.load`"),
        (b"\x80\x02(ios\nsystem\n.", "`os.system`"),
        (b"\x80\x02}cnumpy\nndarray\n)R.", "an array in an unknown way"),
    ];
    for (pickle, words) in pickles {
        let said =
            said_of("cifar-10-batches-py", "train", "data_batch_1", |_| Some(pickle.to_vec()));
        assert!(said.contains("data_batch_1") && said.contains(words), "{words}: {said}");
    }
    let deep = [&b"\x80\x02"[..], &b"("[..].repeat(1 << 20)].concat();
    let said = said_of("cifar-10-batches-py", "train", "data_batch_1", |_| Some(deep.clone()));
    assert!(said.contains("more memory than a file of this size can need"), "{said}");
}

#[test]
fn what_is_wrong_with_lists_of_images_is_said() {
    let food = |file: &str, damage: &dyn Fn(&[u8]) -> Option<Vec<u8>>| {
        said_of("food-101", "train", file, damage)
    };
    let tiny = |split: &str, file: &str, damage: &dyn Fn(&[u8]) -> Option<Vec<u8>>| {
        said_of("tiny-imagenet-200", split, file, damage)
    };
    let annotations = "val/val_annotations.txt";
    let cases = [
        (
            food("images/pad_thai/9020.jpg", &|_| None),
            "train.txt",
            "line 5 (pad_thai/9020) names an image that isn't there",
        ),
        (
            food("meta/train.txt", &|bytes| Some([bytes, b"pad_thai/9020\n"].concat())),
            "train.txt",
            "line 7 repeats line 5 (pad_thai/9020)",
        ),
        (
            food("meta/train.txt", &|bytes| Some([bytes, b"../../x\n"].concat())),
            "train.txt",
            "line 7 (../../x) isn't CLASS/ID",
        ),
        (
            food("meta/train.txt", &|bytes| Some([bytes, b"waffles/1\n"].concat())),
            "train.txt",
            "of a class that classes.txt doesn't name",
        ),
        (
            food("meta/train.txt", &|bytes| {
                replaced(bytes, b"pad_thai/9020\npad_thai/8020\n", b"")
            }),
            "train.txt",
            "lists no image of the class pad_thai",
        ),
        (
            food("meta/labels.txt", &|bytes| Some(bytes[..12].to_vec())),
            "labels.txt",
            "has 2 names for 3 classes",
        ),
        (food("meta/classes.txt", &|_| None), "looks like Food-101, but", "lacks meta/classes.txt"),
        (
            tiny("val", annotations, &|_| None),
            "looks like Tiny ImageNet, but",
            "lacks val/val_annotations.txt",
        ),
        (
            tiny("val", annotations, &|bytes| Some(bytes[..60].to_vec())),
            "val_annotations.txt",
            "doesn't annotate the image val_2.JPEG",
        ),
        (
            tiny("val", annotations, &|bytes| Some([bytes, b"val_0.JPEG\tn01443537\n"].concat())),
            "val_annotations.txt",
            "line 5 annotates val_0.JPEG of line 1 again",
        ),
        (
            tiny("val", annotations, &|bytes| Some([bytes, b"val_9.JPEG\tn01443537\n"].concat())),
            "val_annotations.txt",
            "line 5 annotates an image that isn't there: val_9.JPEG",
        ),
        (
            tiny("val", annotations, &|bytes| replaced(bytes, b"n01443537", b"n99999999")),
            "val_annotations.txt",
            "a class that wnids.txt doesn't name: n99999999",
        ),
        (
            tiny("val", "val/images/val_3.JPEG", &|_| None),
            "val_annotations.txt",
            "an image that isn't there: val_3.JPEG",
        ),
        (
            tiny("train", "wnids.txt", &|bytes| Some([bytes, b"n02119789\n"].concat())),
            "wnids.txt",
            "repeats line 1",
        ),
        (
            tiny("train", "wnids.txt", &|bytes| Some(bytes[..20].to_vec())),
            "n03026506",
            "a class that wnids.txt doesn't name",
        ),
        (
            tiny("train", "wnids.txt", &|bytes| Some([bytes, b"n00001740\n"].concat())),
            "train",
            "lacks n00001740/images",
        ),
        (
            tiny("train", "words.txt", &|bytes| replaced(bytes, b"n01443537", b"n01443538")),
            "words.txt",
            "has no name for n01443537",
        ),
    ];
    for (said, file, words) in cases {
        assert!(said.contains(file) && said.contains(words), "{words}: {said}");
    }
    // A class without images.
    let (_folder, sets) = unpacked();
    let root = sets.join("tiny-imagenet-200");
    for i in 0..2 {
        fs::remove_file(root.join(format!("train/n01443537/images/n01443537_{i}.JPEG"))).unwrap();
    }
    let said = message(Layout::TinyImageNet.open(&root, "train"));
    assert!(said.contains("n01443537/images: holds no .jpg"), "{said}");
}

#[test]
fn what_is_wrong_with_lists_of_imagenet_is_said() {
    let truth = "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt";
    let meta = "ILSVRC2012_devkit_t12/data/meta.mat";
    let devkit = |file: &str, damage: &dyn Fn(&[u8]) -> Option<Vec<u8>>| {
        said_of("imagenet-devkit", "val", file, damage)
    };
    let kaggle = |damage: &dyn Fn(&[u8]) -> Option<Vec<u8>>| {
        said_of("imagenet-kaggle", "val", "LOC_val_solution.csv", damage)
    };
    let caffe = |file: &str, damage: &dyn Fn(&[u8]) -> Option<Vec<u8>>| {
        said_of("imagenet-caffe", "val", file, damage)
    };
    let cases = [
        (
            devkit(truth, &|bytes| Some(bytes[..6].to_vec())),
            "ground_truth.txt",
            "no label of an image that is there: ILSVRC2012_val_00000004.JPEG",
        ),
        (
            devkit(truth, &|bytes| Some([bytes, b"1\n"].concat())),
            "ground_truth.txt",
            "the label of an image that isn't there: ILSVRC2012_val_00000005.JPEG",
        ),
        (
            devkit(truth, &|_| Some(b"2\n1\n4\n1\n".to_vec())),
            "ground_truth.txt",
            "line 3 is no class's number from 1 to 3 (4)",
        ),
        (devkit(truth, &|_| None), "ground_truth.txt", "No such file"),
        (devkit(meta, &|bytes| Some(bytes[..200].to_vec())), "meta.mat", "is truncated"),
        (devkit(meta, &|_| Some(vec![0; 200])), "meta.mat", "is no MATLAB 5 file"),
        (
            devkit("val/ILSVRC2012_val_00000002.JPEG", &|_| None),
            "ground_truth.txt",
            "isn't there: ILSVRC2012_val_00000002.JPEG",
        ),
        // A second list, which doesn't agree.
        (
            devkit("val.txt", &|_| {
                Some(b"val/ILSVRC2012_val_00000001.JPEG 0\nval/ILSVRC2012_val_00000002.JPEG 1\nval/ILSVRC2012_val_00000003.JPEG 2\nval/ILSVRC2012_val_00000004.JPEG 0\n".to_vec())
            }),
            "val.txt",
            "says that ILSVRC2012_val_00000004.JPEG is of class n01443537, but",
        ),
        (
            kaggle(&|bytes| replaced(bytes, b"ImageId,", b"Image,")),
            "LOC_val_solution.csv",
            "doesn't begin with ImageId,PredictionString",
        ),
        (
            kaggle(&|bytes| replaced(bytes, b"n03026506 3 4", b"n01443537 3 4")),
            "LOC_val_solution.csv",
            "isn't an image and boxes of one class",
        ),
        (
            kaggle(&|bytes| Some([bytes, b"ILSVRC2012_val_00000001,n01443537 1 2 3 4\n"].concat())),
            "LOC_val_solution.csv",
            "line 6 is about ILSVRC2012_val_00000001.JPEG again",
        ),
        (
            kaggle(&|_| None),
            "CLS-LOC/val",
            "no list says their classes; looked for ILSVRC2012_devkit_t12",
        ),
        (
            caffe("val.txt", &|bytes| Some([bytes, b"ILSVRC2012_val_00000005.JPEG 3\n"].concat())),
            "val.txt",
            "has a number beyond the 3 classes",
        ),
        (
            caffe("val.txt", &|bytes| Some([bytes, b"ILSVRC2012_val_00000005.JPEG\n"].concat())),
            "val.txt",
            "isn't an image and a number",
        ),
        (caffe("synset_words.txt", &|_| None), "val.txt", "nothing says which classes those are"),
        (
            caffe("synset_words.txt", &|_| {
                Some(b"n02119789 kit fox\nn01443537 goldfish\n".to_vec())
            }),
            "synset_words.txt",
            "isn't sorted by WordNet ids",
        ),
    ];
    for (said, file, words) in cases {
        assert!(said.contains(file) && said.contains(words), "{words}: {said}");
    }
    let (_folder, sets) = unpacked();
    let root = sets.join("imagenet-folders");
    fs::rename(root.join("val/n01443537"), root.join("val/n01443538")).unwrap();
    let said = message(Layout::ImageNet.open(&root, "val"));
    assert!(said.contains("has the class n01443538, which the set doesn't have"), "{said}");
    // Two lists that agree are as good as one.
    let root = sets.join("imagenet-devkit");
    fs::copy(sets.join("imagenet-caffe/val.txt"), root.join("val.txt")).unwrap();
    assert_eq!(seen(&*open(&root, "val")), expected()["imagenet/val"].images);
    let lines = Layout::ImageNet.verify(&root).unwrap().join("\n");
    assert!(lines.contains("ground_truth.txt, ") && lines.contains("val.txt"), "{lines}");
    assert!(lines.contains("3 classes; 1000 were published"), "{lines}");
    assert!(lines.contains("val: 4 images; 50000 were published"), "{lines}");
}

#[test]
fn what_is_wrong_with_shards_is_said() {
    let (_folder, sets) = unpacked();
    let whole = fs::read(sets.join("webdataset/val-000000.tar")).unwrap();
    let image = fs::read(sets.join("food-101/images/pad_thai/9020.jpg")).unwrap();
    let image = image.as_slice();
    let mut linked = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    linked.append_link(&mut header, "a.jpg", "/etc/passwd").unwrap();
    // GNU's own kind: where its only part lies, how long that is, and how long the whole.
    let mut sparse = tar_of(&[("a.jpg", image)]);
    let size = sparse[124..136].to_vec();
    sparse[156] = b'S';
    for (at, field) in [(386, &b"00000000000\0"[..]), (398, &size), (483, &size)] {
        sparse[at..at + 12].copy_from_slice(field);
    }
    let fields = sparse[..148].iter().chain(&sparse[156..512]);
    let sum = fields.map(|&byte| u32::from(byte)).sum::<u32>() + 8 * u32::from(b' ');
    sparse[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    // POSIX's: a file that says in its extensions that it is sparse.
    let extension = |mut start: Vec<u8>| {
        let record = b"22 GNU.sparse.major=1\n";
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::XHeader);
        header.set_size(record.len() as u64);
        header.set_path("x").unwrap();
        header.set_cksum();
        start.extend(header.as_bytes());
        start.extend(record);
        start.resize(1024, 0);
        start
    };
    let sparse_by_posix = [extension(Vec::new()), tar_of(&[("a.jpg", image)])].concat();
    let cut_at_a_border = whole.iter().rposition(|&byte| byte != 0).unwrap().next_multiple_of(512);
    let cases = [
        (tar_of(&[("a.jpg", image)])[..800].to_vec(), "is truncated inside of a.jpg"),
        (whole[..300].to_vec(), "is truncated or no tar archive"),
        (whole[..cut_at_a_border].to_vec(), "the blocks that end a tar archive are missing"),
        (vec![7; 1024], "is truncated or no tar archive"),
        (linked.into_inner().unwrap(), "holds a link, which isn't read: a.jpg"),
        (sparse, "holds a sparse file, which isn't read: a.jpg"),
        (sparse_by_posix, "holds a sparse file, which isn't read: a.jpg"),
        (tar_of(&[("a.jpg", image)]), "has a sample without a label (.cls or .json): a"),
        (tar_of(&[("a.cls", b"1")]), "has a sample without an image"),
        (tar_of(&[("a.jpg", image), ("a.cls", b"one")]), "has no label in a.cls"),
        (tar_of(&[("a.jpg", image), ("a.cls", b"-1")]), "has no label in a.cls"),
        (
            tar_of(&[("a.jpg", image), ("a.json", b"{\"label\": \"one\"}")]),
            "has no label in a.json",
        ),
        (
            tar_of(&[("a.jpg", image), ("a.json", b"{\"cls\": 1}"), ("a.cls", b"2")]),
            "has two labels of one key (a.cls)",
        ),
        (tar_of(&[("a.jpg", image), ("a.json", b"{\"text\": 1}")]), "has a sample without a label"),
        (tar_of(&[("a.jpg", image), ("a.json", b"{")]), "has no label in a.json"),
        (tar_of(&[("a.jpg", image), ("a.png", image)]), "has two images of one key (a.png)"),
        (
            tar_of(&[("a.jpg", image), ("b.jpg", image), ("a.cls", b"1")]),
            "has the key of a.cls twice",
        ),
        (tar_of(&[("README", b"nothing")]), "holds no sample"),
    ];
    for (bytes, words) in cases {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("train-000000.tar"), bytes).unwrap();
        let said = message(Layout::WebDataset.open(folder.path(), "train"));
        assert!(said.contains("train-000000.tar") && said.contains(words), "{words}: {said}");
    }
    let good = tar_of(&[("a.jpg", image), ("a.cls", b"3")]);
    let folder = tempfile::tempdir().unwrap();
    for i in [0, 1, 3] {
        fs::write(folder.path().join(format!("train-{i:03}.tar")), &good).unwrap();
    }
    let said = message(Layout::of(folder.path()));
    assert!(said.contains("lacks the archive train-002.tar"), "{said}");
    fs::remove_file(folder.path().join("train-003.tar")).unwrap();
    assert_eq!(open(folder.path(), "train").classes().len(), 4);
    fs::write(folder.path().join("classes.txt"), "a\nb\n").unwrap();
    let said = message(Layout::WebDataset.open(folder.path(), "train"));
    assert!(said.contains("classes.txt: names 2 classes, but a sample has the label 3"), "{said}");
}

/// Damaged anywhere, a file is read or refused, and the program goes on.
#[test]
fn damaged_files_never_panic() {
    let (_folder, sets) = unpacked();
    // The list of classes that isn't packed.
    let packed = sets.join("imagenet-archives/ILSVRC2012_devkit_t12.tar.gz");
    let devkit = GzDecoder::new(fs::File::open(packed).unwrap());
    tar::Archive::new(devkit).unpack(sets.join("imagenet-devkit")).unwrap();
    let cases = [
        ("cifar-10-batches-py", "train", "data_batch_1"),
        ("cifar-10-batches-py", "test", "batches.meta"),
        ("imagenet-devkit", "val", "ILSVRC2012_devkit_t12/data/meta.mat"),
        ("webdataset", "val", "val-000000.tar"),
    ];
    for (folder, split, file) in cases {
        let root = sets.join(folder);
        let layout = Layout::of(&root).unwrap();
        let whole = fs::read(root.join(file)).unwrap();
        let (mut opened, mut tried) = (0, 0);
        for at in 0..whole.len().min(600) {
            for value in [0, 0xff, whole[at] ^ 0x10] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                fs::write(root.join(file), bytes).unwrap();
                tried += 1;
                if let Ok(set) = layout.open(&root, split) {
                    opened += 1;
                    (0..set.len()).for_each(|i| assert!(set.label(i) < set.classes().len()));
                }
            }
        }
        fs::write(root.join(file), whole).unwrap();
        assert!(opened > 0 && opened < tried, "{file}: {opened} of {tried}");
    }
}
