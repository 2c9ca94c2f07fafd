"""Images a second of this crate's loader and of torchvision's on the same two cores, in alternating rounds.

    python3 -m venv venv
    venv/bin/pip install torch torchvision
    cargo bench --bench loader --no-run
    venv/bin/python benches/loader_vs_torch.py IMAGES [--rounds 5] [--workers 2] [--repeat 10]

IMAGES holds a folder a class. With --make SOURCE the folder is made first: 208 JPEGs of ImageNet's usual size
(500x375 and the like, 4:2:0, quality 75 to 95, some 105 kB), from the images below SOURCE, enlarged and mixed with
texture. Both sides cut a random area, resize it to 224x224 (bilinear, antialiased), mirror half of them, normalise,
and make batches of 64 in a new order each epoch. torchvision's side is ImageFolder, the transforms of its ResNets
and a DataLoader whose workers stay. Each side has one epoch to warm up in each round; figures are medians.
"""

import argparse
import io
import pathlib
import re
import statistics
import subprocess
import time

import numpy as np
import torch
import torchvision
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader
from torchvision import transforms

ROOT = pathlib.Path(__file__).resolve().parent.parent
SIZES = [(500, 375)] * 5 + [(375, 500)] * 2 + [(500, 333)] * 2 + [(400, 300)]


def texture(draws, height, width):
    """Noise of three scales, of a strength that varies over the picture."""

    def enlarged(small):
        return np.asarray(Image.fromarray(small.astype(np.float32)).resize((width, height), Image.BICUBIC))

    noise = np.zeros((height, width, 3))
    for scale, strength in [(1, 7), (2, 9), (4, 10)]:
        rows, columns = height // scale + 1, width // scale + 1
        layer = draws.normal(0, 1, (rows, columns, 1)) + 0.3 * draws.normal(0, 1, (rows, columns, 3))
        noise += strength * np.stack([enlarged(layer[:, :, channel]) for channel in range(3)], -1)
    return noise * 6.5 * enlarged(draws.uniform(0, 1, (5, 6)))[:, :, None]


def make(source, folder, count=208):
    draws = np.random.default_rng(1)
    files = sorted(path for path in source.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    for i, place in enumerate(draws.choice(len(files), count, replace=False)):
        width, height = SIZES[i % len(SIZES)]
        image = Image.open(files[place]).convert("RGB").resize((width, height), Image.BICUBIC)
        pixels = np.asarray(image) + texture(draws, height, width)
        data = io.BytesIO()
        quality = int(draws.choice([75, 85, 90, 92, 95]))
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(data, "jpeg", quality=quality, subsampling=2)
        path = folder / f"class{i % 4}" / f"{i:03}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.getvalue())


class Torchvision:
    def __init__(self, folder, workers, repeat):
        steps = [
            transforms.RandomResizedCrop(224, antialias=True),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
        images = torchvision.datasets.ImageFolder(folder, transforms.Compose(steps))
        many = ConcatDataset([images] * repeat)
        options = dict(shuffle=True, drop_last=True, num_workers=workers, persistent_workers=True)
        self.loader = DataLoader(many, 64, **options)

    def __call__(self):
        for _ in range(2):
            start, images = time.perf_counter(), 0
            for batch, _ in self.loader:
                images += len(batch)
        return images / (time.perf_counter() - start)


class Flipside:
    def __init__(self, folder, workers, repeat):
        command = ["cargo", "bench", "--bench", "loader", "--no-run"]
        made = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        binary = re.search(r"\((target/release/deps/loader-\w+)\)", made.stderr)[1]
        # Epochs are of one folder here, so more of them.
        self.command = [ROOT / binary, folder, str(workers), str(4 * repeat)]

    def __call__(self):
        made = subprocess.run(self.command, check=True, capture_output=True, text=True)
        return float(re.search(r"([\d.]+) images/s", made.stdout)[1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("images", type=pathlib.Path)
    parser.add_argument("--make", type=pathlib.Path, metavar="SOURCE")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=10)
    args = parser.parse_args()
    if args.make:
        make(args.make, args.images)
    sizes = [path.stat().st_size for path in args.images.rglob("*.*")]
    print(f"{len(sizes)} files, {statistics.mean(sizes) / 1e3:.0f} kB in the mean; torch {torch.__version__}, torchvision {torchvision.__version__}")
    folder = args.images.resolve()
    sides = {side.__name__: side(folder, args.workers, args.repeat) for side in (Flipside, Torchvision)}
    rates = {name: [] for name in sides}
    for round in range(args.rounds):
        for name, side in sides.items():
            rates[name].append(side())
            print(f"round {round + 1}, {name}: {rates[name][-1]:.0f} images/s", flush=True)
    medians = {name: statistics.median(rate) for name, rate in rates.items()}
    for name, median in medians.items():
        print(f"{name}: {median:.0f} images/s, {min(rates[name]):.0f} to {max(rates[name]):.0f}")
    print(f"ratio {medians['Flipside'] / medians['Torchvision']:.2f}")


if __name__ == "__main__":
    main()
