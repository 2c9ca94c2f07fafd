"""Makes tests/fixtures/augmentation from torchvision, on PIL's images.

Run from the repository root in an environment with torch, torchvision and pillow:

    python tests/oracle/augmentation.py

PyTorch samples the grids of AugMix with fused multiplications where the processor has them (any of the last ten
years); on another one the last bits of its results may differ.

Images are made by `picture`, which tests/data/augmentation.rs makes too. What comes out is stored as its
CRC-32, of tiny images as hexadecimal bytes, so that a failure can be read. Magnitudes are stored as the bits
of an f32 where they come from torchvision's tables.

pixels.tsv: picture, height, width, operation, magnitude, interpolation, fill, result.
tensors.tsv: the same of the operations on tensors, which AugMix has.
magnitudes.tsv: policy, bins, height, width, operation, its magnitudes.
policies.tsv: policy, interpolation, picture, height, width, drawn, result. What is drawn is operations with
    magnitudes; of AugMix first the image's weight, then chains, each behind its weight.
jitter.tsv: picture, height, width, the four in their order with factors, result.
erasing.tsv: picture, height, width, top, left, height, width, value, CRC-32 of the f32 values, channels last.
mixing.tsv: images, height, width, classes, kind, share or box, CRC-32 of images and of targets (f32), losses
    without and with label smoothing of 0.1.
counts.tsv: what, category, how often torchvision drew it in DRAWS draws.
"""

import collections
import math
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
import torchvision.transforms as T
import torchvision.transforms.functional as F
from PIL import Image
from torchvision.transforms import InterpolationMode, autoaugment, v2

OUT = Path("tests/fixtures/augmentation")
DRAWS = 20_000
NAMES = {
    "nearest": InterpolationMode.NEAREST,
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
}


def noise(count, seed=0):
    """Bytes of a multiplicative hash."""
    at = np.arange(count, dtype=np.uint64) + np.uint64(seed * 7919)
    return (((at * np.uint64(2654435761)) % np.uint64(2**32)) >> np.uint64(24)).astype(np.uint8)


def picture(kind, height, width):
    values = noise(height * width * 3).reshape(height, width, 3)
    if kind == "colours":  # one in 97 of all, at 416 x 416
        at = np.arange(height * width) * 97 % 2**24
        values = np.stack([at >> 16, at >> 8 & 255, at & 255], -1).reshape(height, width, 3)
    if kind == "noise":
        pass
    elif kind == "dull":  # without dark and bright values
        values = 60 + values // 2
    elif kind == "flat":
        values = np.broadcast_to(np.uint8([200, 30, 90]), (height, width, 3))
    elif kind == "smooth":
        y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
        values = 55 + np.abs((x * (5 + c) + y * (3 + 2 * c)) % 400 - 200)
    return Image.fromarray(np.ascontiguousarray(values.astype(np.uint8)))


def result(image):
    data = np.asarray(image).tobytes()
    return data.hex() if len(data) <= 60 else f"{zlib.crc32(data):08x}"


def bits(value):
    return struct.pack(">f", value).hex()


def write(name, rows):
    lines = ["\t".join(str(field) for field in row) + "\n" for row in rows]
    (OUT / name).write_text("".join(lines))


def adjusted(image, name, magnitude, how, fill):
    if name == "Hue":
        return F.adjust_hue(image, magnitude)
    if name == "Grayscale":
        return F.to_grayscale(image, 3)
    return autoaugment._apply_op(image, name, magnitude, NAMES[how], fill)


def pixels():
    shear = [0.0, 0.01, -0.15, 0.3, -0.5, 0.99, -1.0]
    turn = [0.0, 1.0, -4.5, 13.5, 30.0, -45.0, 90.0, 135.0, -180.0, 270.0, 359.0, 1e-9]
    factor = [0.0, 0.09, -0.3, 0.5, 0.9, -0.99, -1.0, 2.5]
    magnitudes = {
        "ShearX": shear,
        "ShearY": shear,
        "TranslateX": [0.0, 0.99, 3.7, -3.7, 16.0, -1000.0],
        "TranslateY": [0.0, -0.99, 3.7, -3.7, 33.0, 1000.0],
        "Rotate": turn,
        "Brightness": factor,
        "Color": factor,
        "Contrast": factor,
        "Sharpness": factor,
        "Posterize": [1, 2, 4, 7, 8],
        "Solarize": [0.0, 1.0, 127.5, 200.0, 255.0, 256.0],
        "Hue": [0.0, 0.1, -0.25, 0.5, -0.5, 0.003],
    }
    places = [("noise", 33, 47), ("smooth", 24, 24), ("noise", 2, 3), ("smooth", 1, 1)]
    rows = []
    for name in [*autoaugment.AutoAugment()._augmentation_space(10, (9, 9)), "Hue", "Grayscale"]:
        moves = name[:5] in ("Shear", "Rotat", "Trans")
        more = [] if moves else [("dull", 33, 47), ("flat", 17, 31)]
        for kind, height, width in places + more:
            for magnitude in magnitudes.get(name, [0.0]):
                for how in NAMES if moves else ["nearest"]:
                    fill = [124, 116, 104] if moves and magnitude < 0 else None
                    made = adjusted(picture(kind, height, width), name, magnitude, how, fill)
                    text = ",".join(map(str, fill or [0, 0, 0]))
                    rows.append((kind, height, width, name, magnitude, how, text, result(made)))
    for name, magnitude in [("Hue", 0.1), ("Hue", -0.45), ("Color", 0.7), ("Grayscale", 0.0)]:
        made = adjusted(picture("colours", 416, 416), name, magnitude, "nearest", None)
        rows.append(("colours", 416, 416, name, magnitude, "nearest", "0,0,0", result(made)))
    # Too far out for 16 bits before the point.
    for name, magnitude in [("ShearX", 0.3), ("Rotate", 33.0), ("ShearY", -0.01)]:
        made = adjusted(picture("noise", 2, 40000), name, magnitude, "nearest", None)
        rows.append(("noise", 2, 40000, name, magnitude, "nearest", "0,0,0", result(made)))
    write("pixels.tsv", rows)


def tensors():
    """The operations as AugMix does them: all levels of its magnitudes."""
    rows = []
    for how in ["nearest", "bilinear"]:
        for kind, height, width in [("noise", 33, 47), ("smooth", 24, 24), ("dull", 2, 3)]:
            space = T.AugMix()._augmentation_space(10, (height, width))
            for name, (values, signed) in space.items():
                moves = name[:5] in ("Shear", "Rotat", "Trans")
                if how == "bilinear" and not moves:
                    continue
                for at, value in enumerate(values.reshape(-1)[::2].tolist()):
                    magnitude = -value if signed and at % 2 else value
                    fill = [124.0, 116.0, 104.0] if moves and at == 3 else None
                    image = F.pil_to_tensor(picture(kind, height, width))[None]
                    made = autoaugment._apply_op(image, name, magnitude, NAMES[how], fill)
                    text = ",".join(str(int(value)) for value in fill or [0, 0, 0])
                    made = F.to_pil_image(made[0])
                    rows.append((kind, height, width, name, magnitude, how, text, result(made)))
    write("tensors.tsv", rows)


POLICIES = {
    "ra": lambda how, bins=31: T.RandAugment(interpolation=how, num_magnitude_bins=bins),
    "ta_wide": lambda how, bins=31: T.TrivialAugmentWide(bins, interpolation=how),
    "imagenet": lambda how, _=0: T.AutoAugment(T.AutoAugmentPolicy.IMAGENET, how),
    "cifar10": lambda how, _=0: T.AutoAugment(T.AutoAugmentPolicy.CIFAR10, how),
    "svhn": lambda how, _=0: T.AutoAugment(T.AutoAugmentPolicy.SVHN, how),
    "augmix": lambda how, _=0: T.AugMix(interpolation=how),
}


def magnitude_tables():
    rows = []
    cases = [("ra", 31, 224, 224), ("ra", 31, 33, 47), ("ra", 10, 32, 32), ("ra", 20, 224, 320)]
    cases += [("ta_wide", 31, 33, 47), ("ta_wide", 40, 33, 47), ("augmix", 10, 33, 47)]
    for word, bins, height, width in cases:
        policy = POLICIES[word](InterpolationMode.NEAREST, bins)
        size = [bins] if word == "ta_wide" else [bins, (height, width)]
        for name, (values, _) in policy._augmentation_space(*size).items():
            values = [bits(float(value)) for value in values.reshape(-1)]
            rows.append((word, bins, height, width, name, ",".join(values)))
    write("magnitudes.tsv", rows)


class Hook:
    """Records what `_apply_op` is given."""

    def __init__(self, does=True):
        self.original, self.does, self.seen = autoaugment._apply_op, does, []

    def __call__(self, image, name, magnitude, interpolation, fill):
        self.seen.append((name, magnitude))
        return self.original(image, name, magnitude, interpolation, fill) if self.does else image

    def __enter__(self):
        autoaugment._apply_op = self
        return self

    def __exit__(self, *_):
        autoaugment._apply_op = self.original

    def take(self):
        seen, self.seen = self.seen, []
        return seen


def joined(operations):
    return ";".join(f"{name}:{bits(magnitude)}" for name, magnitude in operations)


class Mixtures:
    """AugMix with its weights and the length of each chain on record."""

    def __init__(self, policy):
        self.policy, self.sample, self.weights = policy, policy._sample_dirichlet, []
        policy._sample_dirichlet = self

    def __call__(self, params):
        self.weights.append(self.sample(params))
        return self.weights[-1]

    def run(self, image, hook):
        """(result, the image's weight, [(weight, operations)]): chains are told apart by their depths, which
        are drawn just before."""
        depths, original = [], torch.randint

        def randint(*args, **kwargs):
            drawn = original(*args, **kwargs)
            if kwargs.get("low") == 1:
                depths.append(int(drawn))
            return drawn

        torch.randint = randint
        try:
            made = self.policy(image)
        finally:
            torch.randint = original
        first, second = self.weights
        self.weights = []
        weights = (second * first[:, 1].view(1, -1))[0].tolist()
        seen, chains = hook.take(), []
        for depth, weight in zip(depths, weights):
            chains.append((weight, seen[:depth]))
            seen = seen[depth:]
        assert not seen
        return made, first[0, 0].item(), chains


def policies():
    torch.manual_seed(1)
    random.seed(1)
    rows = []
    for word, make in POLICIES.items():
        for i in range(30):
            how = ["nearest", "bilinear", "bicubic"][i % 3]
            if word == "augmix" and how == "bicubic":  # not of tensors, which it makes of images
                how = "bilinear"
            kind = ["noise", "smooth", "dull"][i // 3 % 3]
            height, width = [(33, 47), (24, 24), (5, 3)][i // 9 % 3]
            policy, image = make(NAMES[how]), picture(kind, height, width)
            with Hook() as hook:
                if word == "augmix":
                    made, original, chains = Mixtures(policy).run(image, hook)
                    drawn = [bits(original)]
                    drawn += [f"{bits(weight)}*{joined(chain)}" for weight, chain in chains]
                    drawn = "|".join(drawn)
                else:
                    made = policy(image)
                    drawn = joined(hook.take())
            rows.append((word, how, kind, height, width, drawn, result(made)))
    write("policies.tsv", rows)


def jitter():
    torch.manual_seed(2)
    names = ["brightness", "contrast", "saturation", "hue"]
    rows = []
    for i in range(24):
        kind, height, width = [("noise", 33, 47), ("smooth", 24, 24), ("dull", 3, 5)][i % 3]
        transform = T.ColorJitter(0.4, 0.8, 1.2, 0.5)
        drawn = transform.get_params(
            transform.brightness, transform.contrast, transform.saturation, transform.hue
        )
        transform.get_params = lambda *_: drawn
        made = transform(picture(kind, height, width))
        text = ";".join(f"{names[at]}:{drawn[1 + at]!r}" for at in drawn[0].tolist())
        rows.append((kind, height, width, text, result(made)))
    write("jitter.tsv", rows)


def normalised(kind, height, width):
    image = T.ToTensor()(picture(kind, height, width))
    return T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])(image)


def crc(tensor):
    return f"{zlib.crc32(tensor.contiguous().numpy().astype('<f4').tobytes()):08x}"


def erasing():
    torch.manual_seed(3)
    rows = []
    for i in range(16):
        kind, height, width = [("noise", 33, 47), ("smooth", 24, 24)][i % 2]
        value = [[0.0], [1.0, -2.0, 0.5]][i // 2 % 2]
        image = normalised(kind, height, width)
        top, left, h, w, filler = T.RandomErasing.get_params(image, (0.0, 0.6), (0.2, 5.0), value)
        made = F.erase(image, top, left, h, w, filler)
        text = ",".join(map(str, value * (3 // len(value))))
        rows.append((kind, height, width, top, left, h, w, text, crc(made.permute(1, 2, 0))))
    write("erasing.tsv", rows)


def mixing():
    rows = []
    for count, height, width, classes, kind, parameter in [
        (1, 2, 3, 4, "mixup", 0.3),
        (4, 5, 7, 6, "mixup", 0.7123456789),
        (3, 8, 8, 5, "mixup", 1.0),
        (3, 8, 8, 5, "mixup", 1e-9),
        (5, 6, 9, 7, "cutmix", (2, 1, 7, 5)),
        (4, 8, 8, 3, "cutmix", (0, 0, 8, 8)),
        (4, 8, 8, 3, "cutmix", (3, 3, 3, 6)),
        (2, 7, 5, 4, "cutmix", (0, 4, 5, 7)),
    ]:
        values = (noise(count * height * width * 3, 5).astype(np.float32) - 128) / 32
        images = torch.tensor(values.reshape(count, height, width, 3)).permute(0, 3, 1, 2)
        labels = torch.arange(count) * 3 % classes
        if kind == "mixup":
            transform, params = v2.MixUp(num_classes=classes), {"lam": parameter}
            text = repr(parameter)
        else:
            x1, y1, x2, y2 = parameter
            share = 1.0 - (x2 - x1) * (y2 - y1) / (width * height)
            transform = v2.CutMix(num_classes=classes)
            params, text = {"box": parameter, "lam_adjusted": share}, ",".join(map(str, parameter))
        transform.make_params = lambda _, params=params: params
        made, targets = transform(images, labels)
        logits = (noise(count * classes, 9).astype(np.float32) - 128) / 32
        logits = torch.tensor(logits.reshape(count, classes)).double()
        losses = [
            ",".join(
                repr(loss)
                for loss in torch.nn.functional.cross_entropy(
                    logits, targets.double(), label_smoothing=smoothing, reduction="none"
                ).tolist()
            )
            for smoothing in (0.0, 0.1)
        ]
        sums = [crc(made.permute(0, 2, 3, 1)), crc(targets)]
        rows.append((count, height, width, classes, kind, text, *sums, *losses))
    write("mixing.tsv", rows)


class Counts:
    def __init__(self):
        self.counts = collections.defaultdict(collections.Counter)

    def add(self, what, category):
        self.counts[what][category] += 1

    def share(self, what, share, bins):
        """A number between 0 and 1 in equal bins."""
        self.add(what, min(int(share * bins), bins - 1))

    def rows(self):
        for what, counts in self.counts.items():
            for category, count in sorted(counts.items(), key=lambda item: str(item[0])):
                yield what, category, count


def count_policies(counts):
    image = picture("noise", 33, 47)
    with Hook(does=False) as hook:
        for word, make in POLICIES.items():
            policy = make(InterpolationMode.NEAREST)
            mixtures = Mixtures(policy) if word == "augmix" else None
            for _ in range(DRAWS):
                if mixtures:
                    _, original, chains = mixtures.run(image, hook)
                    counts.share("augmix original", original, 20)
                    counts.share("augmix weight", chains[1][0], 20)
                    counts.add("augmix depth", len(chains[0][1]))
                    counts.add("augmix operation", joined(chains[2][1][-1:]))
                else:
                    policy(image)
                    counts.add(word, joined(hook.take()) or "nothing")


def count_jitter(counts):
    transform = T.ColorJitter(0.4, 0.8, 1.2, 0.5)
    ranges = [transform.brightness, transform.contrast, transform.saturation, transform.hue]
    for _ in range(DRAWS):
        order, *factors = transform.get_params(*ranges)
        counts.add("jitter order", "".join(map(str, order.tolist())))
        for at, ((low, high), factor) in enumerate(zip(ranges, factors)):
            counts.share(f"jitter {at}", (factor - low) / (high - low), 20)


def count_areas(counts):
    image = torch.zeros(3, 64, 48)
    transform = T.RandomErasing(p=0.25)
    drawn = []
    params = T.RandomErasing.get_params

    def get_params(*args, **kwargs):
        drawn.append(params(*args, **kwargs))
        return drawn[-1]

    transform.get_params = get_params
    for _ in range(DRAWS):
        transform(image)
        counts.add("erasing whether", bool(drawn))
        drawn = []
        top, left, h, w, _ = params(image, (0.02, 0.33), (0.3, 3.3), [0.0])
        counts.share("erasing share", h * w / (64 * 48), 60)
        counts.share("erasing height", h / 64, 32)
        counts.share("erasing width", w / 48, 24)
        counts.share("erasing top", top / (64 - h + 1), 16)
        counts.share("erasing left", left / (48 - w + 1), 16)
        # Of one pixel's random value.
        *_, filler = params(image, (0.1, 0.2), (0.5, 2.0), None)
        counts.add("erasing value", max(-4, min(3, math.floor(2 * filler.reshape(-1)[0].item()))))
    photo = torch.zeros(3, 200, 160)
    for _ in range(DRAWS):
        top, left, h, w = T.RandomResizedCrop.get_params(photo, [0.08, 1.0], [3 / 4, 4 / 3])
        counts.share("crop share", h * w / (200 * 160), 40)
        counts.share("crop ratio", (w / h - 0.7) / 0.7, 40)
        counts.share("crop top", top / (200 - h + 1), 16)
        counts.share("crop left", left / (160 - w + 1), 16)


def count_mixing(counts):
    for alpha in (0.2, 0.8, 1.0, 3.0):
        transform = v2.MixUp(alpha=alpha, num_classes=2)
        for _ in range(DRAWS):
            counts.share(f"beta {alpha}", transform.make_params([])["lam"], 40)
    transform = v2.CutMix(alpha=1.0, num_classes=2)
    image = torch.zeros(2, 3, 32, 48)
    for _ in range(DRAWS):
        params = transform.make_params([image])
        x1, y1, x2, y2 = params["box"]
        counts.share("cutmix share", params["lam_adjusted"], 40)
        counts.add("cutmix left", x1)
        counts.add("cutmix bottom", y2)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    pixels()
    tensors()
    magnitude_tables()
    policies()
    jitter()
    erasing()
    mixing()
    torch.manual_seed(4)
    counts = Counts()
    count_policies(counts)
    count_jitter(counts)
    count_areas(counts)
    count_mixing(counts)
    write("counts.tsv", counts.rows())


if __name__ == "__main__":
    main()
