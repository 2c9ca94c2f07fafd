"""Makes tests/fixtures/datasets: small data sets in the exact forms in which the published ones come.

Run from the repository root in an environment with torch, torchvision, pillow, numpy, scipy and webdataset:

    python tests/oracle/datasets.py

`sets.tar.gz` holds the sets, `expected.json` what other readers see in them: the classes, and SHA-256 of the RGB pixels
and the label of each image. Readers are torchvision's CIFAR10, CIFAR100, STL10, Food101 and ImageNet, whose checks of
hashes are switched off since the sets are smaller than the published ones, webdataset's for its shards, and PIL by way of
the lists for Tiny ImageNet. Pictures are made by formula.

CIFAR's batches were pickled by Python 2, whose opcodes Python 3 doesn't write: `Python2` below writes them.
"""

import gzip
import hashlib
import io
import json
import pickle
import shutil
import struct
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import scipy.io
import torchvision.datasets as tv
import webdataset
from PIL import Image

OUT = Path("tests/fixtures/datasets")
CIFAR_10 = "airplane automobile bird cat deer dog frog horse ship truck".split()
CIFAR_100 = ["apple", "aquarium_fish", "baby", "bear", "beaver"]
COARSE = ["aquatic_mammals", "fish", "food_containers"]
STL_10 = "airplane bird car cat deer dog horse monkey ship truck".split()
FOODS = {"apple_pie": "Apple pie", "beef_tartare": "Beef tartare", "pad_thai": "Pad thai"}
# Real ids, not in the order of the devkit's numbers.
SYNSETS = [("n02119789", "kit fox, Vulpes macrotis"), ("n01443537", "goldfish, Carassius auratus"), ("n03026506", "Christmas stocking")]


def picture(seed, height, width):
    """An RGB picture whose rows, columns and channels all differ."""
    y, x = np.mgrid[:height, :width]
    channels = [x * (3 + seed % 5) + y * (1 + channel) + 40 * channel + 17 * seed for channel in range(3)]
    return (np.stack(channels, axis=2) % 256).astype(np.uint8)


def packed(seed, height, width, kind="JPEG", grey=False):
    image = Image.fromarray(picture(seed, height, width))
    out = io.BytesIO()
    (image.convert("L") if grey else image).save(out, kind, **({"quality": 85} if kind == "JPEG" else {}))
    return out.getvalue()


def sha(image):
    return hashlib.sha256(np.asarray(image.convert("RGB")).tobytes()).hexdigest()


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


class Python2:
    """cPickle's opcodes of protocol 2, as Python 2 wrote CIFAR's files."""

    def __init__(self):
        self.out, self.count = bytearray(b"\x80\x02"), 0

    def put(self):
        self.count += 1
        self.out += b"q" + bytes([self.count]) if self.count < 256 else b"r" + struct.pack("<I", self.count)

    def number(self, n):
        if 0 <= n < 256:
            self.out += b"K" + bytes([n])
        elif 0 <= n < 65536:
            self.out += b"M" + struct.pack("<H", n)
        else:
            self.out += b"J" + struct.pack("<i", n)

    def bytes(self, value):
        short = len(value) < 256
        self.out += (b"U" + bytes([len(value)]) if short else b"T" + struct.pack("<I", len(value))) + value
        self.put()

    def name(self, module, name):
        self.out += f"c{module}\n{name}\n".encode()
        self.put()

    def array(self, array):
        self.name("numpy.core.multiarray", "_reconstruct")
        self.name("numpy", "ndarray")
        self.out += b"K\x00\x85"
        self.put()
        self.bytes(b"b")
        self.out += b"\x87"
        self.put()
        self.out += b"R"
        self.put()
        self.out += b"(K\x01"
        for n in array.shape:
            self.number(n)
        self.out += b"\x86"
        self.put()
        self.name("numpy", "dtype")
        self.bytes(b"u1")
        self.out += b"K\x00K\x01\x87"
        self.put()
        self.out += b"R"
        self.put()
        self.out += b"(K\x03"
        self.bytes(b"|")
        self.out += b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t"
        self.put()
        self.out += b"b\x89"
        self.bytes(array.tobytes())
        self.out += b"t"
        self.put()
        self.out += b"b"

    def value(self, value):
        if isinstance(value, dict):
            self.out += b"}"
            self.put()
            self.out += b"("
            for key, item in value.items():
                self.value(key)
                self.value(item)
            self.out += b"u"
        elif isinstance(value, list):
            self.out += b"]"
            self.put()
            self.out += b"("
            for item in value:
                self.value(item)
            self.out += b"e"
        elif isinstance(value, str):
            self.bytes(value.encode())
        elif isinstance(value, int):
            self.number(value)
        else:
            self.array(value)

    @staticmethod
    def dumps(value):
        writer = Python2()
        writer.value(value)
        written = bytes(writer.out) + b"."
        # Loads as the original does.
        read = pickle.loads(written, encoding="latin1")
        assert read.keys() == value.keys()
        assert all(np.array_equal(read[key], value[key]) for key in value)
        assert set(pickle.loads(written, encoding="bytes")) == {key.encode() for key in value}
        return written


def tar_gz(path, folder):
    """A folder as a tar.gz whose bytes are the same each time."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for file in sorted([folder, *folder.rglob("*")]):
            info = archive.gettarinfo(file, str(file.relative_to(folder.parent)))
            info.uid = info.gid = info.mtime = 0
            info.uname = info.gname = ""
            info.mode = 0o755 if file.is_dir() else 0o644
            archive.addfile(info, None if file.is_dir() else io.BytesIO(file.read_bytes()))
    path.write_bytes(gzip.compress(raw.getvalue(), 9, mtime=0))


def planes(image):
    return image.transpose(2, 0, 1).reshape(-1)


def cifar(root):
    """Both sets, in both versions, and in archives."""
    python, binary = root / "cifar-10-batches-py", root / "cifar-10-batches-bin"
    write(python / "batches.meta", Python2.dumps({"num_cases_per_batch": 2, "label_names": CIFAR_10, "num_vis": 3072}))
    write(binary / "batches.meta.txt", "\n".join(CIFAR_10) + "\n\n")
    for place, name in enumerate([f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]):
        labels = [(3 * place + i) % 10 for i in range(2)]
        images = np.stack([planes(picture(10 * place + i, 32, 32)) for i in range(2)])
        batch = {
            "batch_label": f"{name} of a small set",
            "labels": labels,
            "data": images,
            "filenames": [f"{CIFAR_10[label]}_s_{place}{i:05}.png" for i, label in enumerate(labels)],
        }
        write(python / name, Python2.dumps(batch))
        write(binary / f"{name}.bin", b"".join(bytes([label]) + image.tobytes() for label, image in zip(labels, images)))
        if name == "data_batch_1":
            for protocol in [2, 4, 5]:
                write(root / f"cifar-10-protocols/{protocol}", pickle.dumps(batch, protocol=protocol))
                turned = {**batch, "data": np.asfortranarray(images)}
                write(root / f"cifar-10-protocols/{protocol}-fortran", pickle.dumps(turned, protocol=protocol))
    python, binary = root / "cifar-100-python", root / "cifar-100-binary"
    write(python / "meta", Python2.dumps({"fine_label_names": CIFAR_100, "coarse_label_names": COARSE}))
    write(binary / "fine_label_names.txt", "\n".join(CIFAR_100) + "\n")
    write(binary / "coarse_label_names.txt", "\n".join(COARSE) + "\n")
    for place, (name, count) in enumerate([("train", 4), ("test", 3)]):
        fine, coarse = [(2 * i + place) % 5 for i in range(count)], [i % 3 for i in range(count)]
        images = np.stack([planes(picture(100 + 10 * place + i, 32, 32)) for i in range(count)])
        batch = {
            "filenames": [f"{CIFAR_100[label]}_s_{i:06}.png" for i, label in enumerate(fine)],
            "batch_label": "training batch 1 of 1",
            "fine_labels": fine,
            "coarse_labels": coarse,
            "data": images,
        }
        write(python / name, Python2.dumps(batch))
        records = [bytes([c, f]) + image.tobytes() for c, f, image in zip(coarse, fine, images)]
        write(binary / f"{name}.bin", b"".join(records))
    for folder, archive in [
        ("cifar-10-batches-py", "cifar-10-python"),
        ("cifar-10-batches-bin", "cifar-10-binary"),
        ("cifar-100-python", "cifar-100-python"),
        ("cifar-100-binary", "cifar-100-binary"),
    ]:
        (root / "archives").mkdir(exist_ok=True)
        tar_gz(root / f"archives/{archive}.tar.gz", root / folder)


def stl10(root):
    folder = root / "stl10_binary"
    write(folder / "class_names.txt", "\n".join(STL_10) + "\n")
    write(folder / "fold_indices.txt", "0 1\n" * 10)
    for place, (split, labels) in enumerate([("train", [2, 10]), ("test", [1])]):
        images = [picture(200 + 10 * place + i, 96, 96).transpose(2, 1, 0).tobytes() for i in range(len(labels))]
        write(folder / f"{split}_X.bin", b"".join(images))
        write(folder / f"{split}_y.bin", bytes(labels))


def food101(root):
    folder = root / "food-101"
    lists = {"train": {}, "test": {}}
    for place, name in enumerate(FOODS):
        for split, count in [("train", 2), ("test", 1)]:
            for i in range(count):
                ident = f"{name}/{1000 * (9 - i) + place * 10 + (split == 'test')}"
                lists[split].setdefault(name, []).append(ident)
                write(folder / f"images/{ident}.jpg", packed(300 + place * 10 + i, 20 + place, 24 + i))
    for split, by_class in lists.items():
        write(folder / f"meta/{split}.json", json.dumps(by_class))
        write(folder / f"meta/{split}.txt", "\n".join(sum(by_class.values(), [])) + "\n")
    write(folder / "meta/classes.txt", "\n".join(FOODS) + "\n")
    write(folder / "meta/labels.txt", "\n".join(FOODS.values()) + "\n")


def tiny_imagenet(root):
    """Gives what is to be read: PIL's pixels by way of the lists."""
    folder = root / "tiny-imagenet-200"
    ids = sorted(ident for ident, _ in SYNSETS)
    write(folder / "wnids.txt", "\n".join(ident for ident, _ in SYNSETS) + "\n")
    others = [("n00001740", "entity"), ("n00001930", "physical entity")]
    write(folder / "words.txt", "".join(f"{ident}\t{words}\n" for ident, words in sorted(others + SYNSETS)))
    expected = {"classes": [[ident, dict(SYNSETS)[ident]] for ident in ids], "train": [], "val": []}
    read = lambda path: sha(Image.open(path))
    for place, ident in enumerate(ids):
        boxes = ""
        for i in range(2):
            path = folder / f"train/{ident}/images/{ident}_{i}.JPEG"
            write(path, packed(400 + place * 10 + i, 64, 64, grey=(place, i) == (1, 0)))
            boxes += f"{ident}_{i}.JPEG\t0\t10\t63\t58\n"
            expected["train"].append([read(path), place])
        write(folder / f"train/{ident}/{ident}_boxes.txt", boxes)
    lines = ""
    for i, place in enumerate([2, 0, 1, 0]):
        path = folder / f"val/images/val_{i}.JPEG"
        write(path, packed(450 + i, 64, 64, grey=i == 3))
        lines += f"val_{i}.JPEG\t{ids[place]}\t0\t32\t44\t62\n"
        expected["val"].append([read(path), place])
    write(folder / "val/val_annotations.txt", lines)
    write(folder / "test/images/test_0.JPEG", packed(460, 64, 64))
    return expected


def meta_mat(path, compressed):
    """The devkit's list of synsets: classes first, then what stands above them."""
    rows = [(ident, words, 0) for ident, words in SYNSETS] + [("n00001740", "entity", 3)]
    kinds = "ILSVRC2012_ID WNID words gloss num_children children wordnet_height num_train_images".split()
    synsets = np.empty((len(rows), 1), dtype=[(kind, object) for kind in kinds])
    for i, (ident, words, children) in enumerate(rows):
        gloss = f"what {words} is"
        below = np.arange(1, children + 1, dtype=np.uint8).reshape(1, -1) if children else np.zeros((0, 0))
        synsets[i, 0] = (float(i + 1), ident, words, gloss, float(children), below, float(children), 1300.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {"synsets": synsets}, do_compression=compressed, oned_as="column")
    # The header has the time at which it was written.
    write(path, b"MATLAB 5.0 MAT-file".ljust(116) + path.read_bytes()[116:])


def tar(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def imagenet(root):
    """One small set with each of the lists, in Kaggle's folders, and in the archives."""
    train, val = {}, {}
    for place, (ident, _) in enumerate(SYNSETS):
        for i in range(2):
            train[f"{ident}/{ident}_{100 * place + i}.JPEG"] = packed(500 + place * 10 + i, 30 + place, 28)
    truth = [2, 1, 3, 1]
    for i in range(len(truth)):
        val[f"ILSVRC2012_val_{i + 1:08}.JPEG"] = packed(550 + i, 25, 31 + i)
    by_image = {name: SYNSETS[number - 1][0] for name, number in zip(val, truth)}
    ids = sorted(ident for ident, _ in SYNSETS)
    mapping = "".join(f"{ident} {dict(SYNSETS)[ident]}\n" for ident in ids)

    def images(folder, flat=True, with_train=True):
        for name, content in train.items() if with_train else ():
            write(folder / "train" / name, content)
        for name, content in val.items():
            write(folder / "val" / ("" if flat else by_image[name]) / name, content)

    def devkit(folder, compressed):
        data = folder / "ILSVRC2012_devkit_t12/data"
        meta_mat(data / "meta.mat", compressed)
        write(data / "ILSVRC2012_validation_ground_truth.txt", "".join(f"{n}\n" for n in truth))

    devkit(root / "imagenet-devkit", True)
    images(root / "imagenet-devkit")
    kaggle = root / "imagenet-kaggle"
    images(kaggle / "ILSVRC/Data/CLS-LOC")
    write(kaggle / "LOC_synset_mapping.txt", mapping)
    # In no order, and one image with two boxes.
    lines = [f"{name.removesuffix('.JPEG')},{by_image[name]} 1 2 20 24 " for name in sorted(val, reverse=True)]
    lines[1] += f"{lines[1].split(',')[1].split()[0]} 3 4 5 6 "
    write(kaggle / "LOC_val_solution.csv", "ImageId,PredictionString\n" + "\n".join(lines) + "\n")
    caffe = root / "imagenet-caffe"
    images(caffe, with_train=False)
    write(caffe / "synset_words.txt", mapping)
    write(caffe / "val.txt", "".join(f"{name} {ids.index(by_image[name])}\n" for name in val))
    folders = root / "imagenet-folders"
    images(folders, flat=False)
    write(folders / "LOC_synset_mapping.txt", mapping)
    archives = root / "imagenet-archives"
    classes = []
    for ident, _ in SYNSETS:
        inner = io.BytesIO()
        with tarfile.open(fileobj=inner, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for name, content in train.items():
                if name.startswith(ident):
                    info = tarfile.TarInfo(name.split("/")[1])
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
        classes.append((f"{ident}.tar", inner.getvalue()))
    tar(archives / "ILSVRC2012_img_train.tar", classes)
    tar(archives / "ILSVRC2012_img_val.tar", val.items())
    devkit(root / "unpacked", False)
    tar_gz(archives / "ILSVRC2012_devkit_t12.tar.gz", root / "unpacked/ILSVRC2012_devkit_t12")
    shutil.rmtree(root / "unpacked")


def shards(root):
    """webdataset's own writer for the shards, tarfile for what it doesn't write."""
    folder = root / "webdataset"
    folder.mkdir()
    samples = [("train-000000", 0, 3), ("train-000001", 3, 2), ("val-000000", 5, 2)]
    for name, first, count in samples:
        with webdataset.TarWriter(str(folder / f"{name}.tar"), mtime=0, user="", group="") as writer:
            for i in range(first, first + count):
                image = {"png": packed(600 + i, 12, 14, "PNG")} if i % 2 else {"jpg": packed(600 + i, 16, 18)}
                label = {"json": json.dumps({"label": i % 3, "caption": "a picture"}).encode()} if i == 1 else {"cls": i % 3}
                writer.write({"__key__": f"part/{i:06}", **image, **label, "txt": "more"})
    long = "a_folder_with_a_long_name/" * 5
    for name, kind in [("gnu", tarfile.GNU_FORMAT), ("pax", tarfile.PAX_FORMAT)]:
        path = root / f"webdataset-{name}/one.tar"
        path.parent.mkdir()
        with tarfile.open(path, "w", format=kind) as archive:
            directory = tarfile.TarInfo("a_folder_with_a_long_name")
            directory.type = tarfile.DIRTYPE
            archive.addfile(directory)
            for i in range(2):
                for ending, content in [("jpg", packed(650 + i, 10, 11)), ("cls", b"%d\n" % i)]:
                    info = tarfile.TarInfo(f"{long}é{i}.{ending}")
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
        (path.parent / "classes.txt").write_text("first kind\nsecond\n")


def figures(dataset, classes):
    return {"classes": classes, "images": [[sha(image), int(label)] for image, label in dataset]}


def spaced(ids):
    return [[ident, ident.replace("_", " ")] for ident in ids]


def readings(root, tiny):
    """What the other readers see."""
    tv.cifar.check_integrity = tv.stl10.check_integrity = lambda *_: True
    expected = {}
    for name, kind in [("cifar10", tv.CIFAR10), ("cifar100", tv.CIFAR100)]:
        for split in ["train", "test"]:
            dataset = kind(root, train=split == "train")
            expected[f"{name}/{split}"] = figures(dataset, spaced(dataset.classes))
    for split in ["train", "test"]:
        dataset = tv.STL10(root, split=split)
        expected[f"stl10/{split}"] = figures(dataset, spaced(dataset.classes))
        dataset = tv.Food101(root, split=split)
        expected[f"food101/{split}"] = figures(dataset, [[ident, FOODS[ident]] for ident in dataset.classes])
    for split in ["train", "val"]:
        expected[f"tiny-imagenet/{split}"] = {"classes": tiny["classes"], "images": tiny[split]}
    tv.imagenet._verify_archive = lambda *_: None
    with tempfile.TemporaryDirectory() as folder:
        for file in (root / "imagenet-archives").iterdir():
            shutil.copy(file, folder)
        for split in ["train", "val"]:
            dataset = tv.ImageNet(folder, split=split)
            classes = [[ident, ", ".join(words)] for ident, words in zip(dataset.wnids, dataset.classes)]
            # By name: torchvision goes through val class by class.
            by_name = {Path(path).name: [sha(Image.open(path)), label] for path, label in dataset.imgs}
            images = [by_name[name] for name in sorted(by_name)]
            expected[f"imagenet/{split}"] = {"classes": classes, "images": images}
    for split, urls in [("train", ["train-000000", "train-000001"]), ("val", ["val-000000"])]:
        urls = [str(root / f"webdataset/{url}.tar") for url in urls]
        found = []
        for sample in webdataset.WebDataset(urls, shardshuffle=False).decode("pil"):
            label = sample["cls"] if "cls" in sample else sample["json"]["label"]
            found.append([sha(sample.get("jpg") or sample.get("png")), label])
        count = max(label for _, label in found) + 1
        expected[f"webdataset/{split}"] = {"classes": spaced(map(str, range(count))), "images": found}
    return expected


def pictures_of_cifar(root):
    """CIFAR-10 once more, as a folder of PNG files out of torchvision's reader."""
    for split in ["train", "test"]:
        dataset = tv.CIFAR10(root, train=split == "train")
        for i, (image, label) in enumerate(dataset):
            path = root / f"cifar-10-png/{split}/{dataset.classes[label]}/{i:05}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / "sets"
        root.mkdir()
        for make in [cifar, stl10, food101, imagenet, shards]:
            make(root)
        expected = readings(root, tiny_imagenet(root))
        pictures_of_cifar(root)
        lines = [f"{json.dumps(name)}: {json.dumps(seen)}" for name, seen in expected.items()]
        (OUT / "expected.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
        tar_gz(OUT / "sets.tar.gz", root)
    for file in OUT.iterdir():
        print(file, file.stat().st_size)


main()
