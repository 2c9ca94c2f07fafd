"""Makes tests/fixtures/preprocessing from PIL and torchvision.

Run from the repository root in an environment with torch, torchvision and pillow:

    python tests/oracle/preprocessing.py

Resize cases start from an image made by `pattern`, which tests/data/preprocessing.rs makes too, so
that no inputs are stored. Each line of cases.tsv is: height, width, resize (0: none), crop, filter;
line i belongs to resize_i.png, the picture after Resize(resize) and CenterCrop(crop).
JPEGs are stored with PIL's own decoding beside them (NAME.jpg, NAME.png). Each line of
end_to_end.tsv is: file, resize, crop, filter, SHA-256 of the 8-bit RGB pixels that torchvision
gives; pictures of 224x224 would be large. normalise.bin holds ToTensor + Normalize of the grey
levels 0..255 in three channels, f32 little-endian, channels last.
"""

import hashlib
import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, InterpolationMode, Normalize, Resize, ToTensor

OUT = Path("tests/fixtures/preprocessing")
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
SIZES = [
    (75, 51, 37, 32),
    (51, 75, 36, 32),
    (333, 251, 36, 31),
    (97, 131, 37, 32),
    (37, 65, 36, 33),
    (17, 23, 40, 32),
    (1, 9, 12, 16),
    (121, 123, 35, 40),
    (65, 65, 36, 32),
    (21, 31, 40, 37),
]
CASES = [(*size, name) for name in ("bilinear", "bicubic") for size in SIZES]
# Without a resize: padding in one direction, cutting in the other; and in both.
CASES += [(29, 41, 0, 32, "bilinear"), (21, 33, 0, 30, "bilinear"), (9, 23, 0, 24, "bilinear")]
# torchvision's ResNets; its swin_v2_t and swin_v2_s; its maxvit_t; timm's FocalNets.
END_TO_END = [
    (256, 224, "bilinear"),
    (260, 256, "bicubic"),
    (224, 224, "bicubic"),
    (248, 224, "bicubic"),
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


def encoded(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", **options)
    return buffer.getvalue()


def relabelled(data, factors, width, height):
    """The file with other sampling factors of its first component, and another size, so that it
    has as many blocks as before: kinds of files that PIL reads but doesn't write."""
    data = bytearray(data)
    at = data.find(b"\xff\xc0")
    data[at + 5 : at + 9] = bytes([height >> 8, height & 255, width >> 8, width & 255])
    data[at + 11] = factors
    return bytes(data)


def jpegs():
    photo = smooth(50, 67)
    small = photo.crop((9, 5, 41, 37))
    cmyk = bytearray(encoded(small.convert("CMYK"), quality=90))
    cmyk[cmyk.find(b"Adobe") + 11] = 2
    return {
        "rgb_420": encoded(photo, quality=90, subsampling=2),
        "rgb_422": encoded(photo, quality=85, subsampling=1),
        "rgb_444": encoded(photo, quality=75, subsampling=0),
        "progressive": encoded(photo, quality=90, progressive=True),
        "grey": encoded(photo.convert("L"), quality=90),
        "cmyk": encoded(photo.convert("CMYK"), quality=95),
        "ycck": bytes(cmyk),
        "rgb_440": relabelled(encoded(small, quality=90, subsampling=1), 0x12, 13, 61),
        "rgb_411": relabelled(encoded(small, quality=90, subsampling=2), 0x41, 61, 13),
        "stored_as_rgb": encoded(small, quality=90, keep_rgb=True),
        "restarts": encoded(small, quality=90, subsampling=2, restart_marker_blocks=1),
        "progressive_restarts": encoded(small, progressive=True, restart_marker_rows=1),
        "narrow_420": encoded(photo.crop((9, 5, 12, 22)), quality=90, subsampling=2),
        "narrow_422": encoded(photo.crop((9, 5, 10, 22)), quality=90, subsampling=1),
        "flat_420": encoded(photo.crop((9, 5, 26, 6)), quality=90, subsampling=2),
        "coarse": encoded(small, quality=1, subsampling=2),
    }


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

    lines = []
    for name, data in jpegs().items():
        (OUT / f"{name}.jpg").write_bytes(data)
        image = Image.open(io.BytesIO(data)).convert("RGB")
        image.save(OUT / f"{name}.png", optimize=True)
        for size, crop, filter in END_TO_END:
            made = CenterCrop(crop)(Resize(size, InterpolationMode(filter), antialias=True)(image))
            digest = hashlib.sha256(made.tobytes()).hexdigest()
            lines.append(f"{name}\t{size}\t{crop}\t{filter}\t{digest}\n")
    (OUT / "end_to_end.tsv").write_text("".join(lines))

    levels = Image.fromarray(np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, 2))
    values = Normalize(MEAN, STD)(ToTensor()(levels))
    (OUT / "normalise.bin").write_bytes(
        values.permute(1, 2, 0).contiguous().to(torch.float32).numpy().astype("<f4").tobytes()
    )


if __name__ == "__main__":
    main()
