"""Makes tests/fixtures/preprocessing from PIL and torchvision.

Run from the repository root in an environment with torch, torchvision and pillow:

    python tests/oracle/preprocessing.py

Resize cases start from an image made by `pattern`, which tests/data/preprocessing.rs makes too, so
that no inputs are stored. Each line of cases.tsv is: height, width, resize (0: none), crop, filter;
line i belongs to resize_i.png, the picture after Resize(resize) and CenterCrop(crop).
JPEGs are stored with PIL's own decoding beside them (NAME.jpg, NAME.png). normalise.bin holds
ToTensor + Normalize of the grey levels 0..255 in three channels, f32 little-endian, channels last.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, InterpolationMode, Normalize, Resize, ToTensor

OUT = Path("tests/fixtures/preprocessing")
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
CASES = [
    (75, 50, 36, 32, "bilinear"),
    (50, 75, 36, 32, "bilinear"),
    (333, 251, 36, 31, "bilinear"),
    (97, 131, 37, 32, "bilinear"),
    (36, 64, 36, 33, "bilinear"),
    (17, 23, 40, 32, "bilinear"),
    (1, 9, 12, 16, "bilinear"),
    (29, 41, 0, 32, "bilinear"),
    (20, 33, 0, 30, "bilinear"),
    (120, 121, 35, 40, "bilinear"),
    (64, 64, 36, 32, "bicubic"),
    (21, 30, 40, 37, "bicubic"),
]


def pattern(height, width):
    """Smooth waves of triangles with a little hash noise and hard edges; integers only."""
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    wave = np.abs((x * (5 + c) + y * (3 + 2 * c)) % 400 - 200)
    noise = (x * 7919 + y * 104729 + c * 1299709) % 31
    edge = np.where((x // 11 + y // 13) % 3 == 0, 24, 0)
    return Image.fromarray((wave + noise + edge).astype(np.uint8))


def smooth(height, width):
    """What a photograph looks like to a JPEG coder: gradients, two edges, little noise."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    red = 128 + 90 * np.sin(x / 9) * np.cos(y / 11)
    green = 255 * y / height
    blue = np.where((x - width / 2) ** 2 + (y - height / 2) ** 2 < (width / 4) ** 2, 200, 60)
    noise = np.random.default_rng(5).normal(0, 3, (height, width, 3))
    image = np.stack([red, green, blue + 0 * x], -1) + noise
    return Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    lines = []
    for i, (height, width, size, crop, name) in enumerate(CASES):
        image = pattern(height, width)
        if size:
            image = Resize(size, InterpolationMode(name), antialias=True)(image)
        CenterCrop(crop)(image).save(OUT / f"resize_{i}.png", optimize=True)
        lines.append(f"{height}\t{width}\t{size}\t{crop}\t{name}\n")
    (OUT / "cases.tsv").write_text("".join(lines))

    photo = smooth(50, 67)
    jpegs = {
        "rgb_420": (photo, dict(quality=90, subsampling=2)),
        "rgb_422": (photo, dict(quality=85, subsampling=1)),
        "rgb_444": (photo, dict(quality=75, subsampling=0)),
        "progressive": (photo, dict(quality=90, progressive=True)),
        "grey": (photo.convert("L"), dict(quality=90)),
        "cmyk": (photo.convert("CMYK"), dict(quality=95)),
    }
    for name, (image, options) in jpegs.items():
        image.save(OUT / f"{name}.jpg", **options)
        Image.open(OUT / f"{name}.jpg").convert("RGB").save(OUT / f"{name}.png", optimize=True)

    levels = Image.fromarray(np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, 2))
    values = Normalize(MEAN, STD)(ToTensor()(levels))
    (OUT / "normalise.bin").write_bytes(
        values.permute(1, 2, 0).contiguous().to(torch.float32).numpy().astype("<f4").tobytes()
    )


if __name__ == "__main__":
    main()
