"""A small campaign by GoldenEye's rules (README.md lists them), written from these rules alone."""

import copy
import math
import random
import struct

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import formula
import networks

CLASSES = 20
SIDE = 64
VALIDATION = 60
# Images behind the validation images, which the ranges are taken over.
TRAINING = 12
# Network, head, injections a layer. Swin V2 has layers that hooks miss, and layers that all images share.
CAMPAIGNS = [("resnet18", "text-guided", 8), ("swin_v2_t", "baseline", 4)]
# Outputs of the first convolution that no f16 holds: its range becomes infinite, so nothing is clamped.
LARGE = [
    ("backbone.conv1.weight", 0.0, 3e4 * math.sqrt(6.0)),
    ("backbone.bn1.running_mean", 0.0, 3e3),
    ("backbone.bn1.running_var", 9e8, 4e8),
]
# So many of that layer's injections make NaN: bit 30 of values in [1, 2).
NANS = 2
# The last two layers, which change the top-1 most often, get so many times the injections.
LAST = 5
Z = 2.576
# What readers see may move by this share when the neuron moves by eight times its error or this.
FIRM = 2e-6


def flipped(value, bit):
    bits = struct.unpack("<I", struct.pack("<f", value))[0] ^ 1 << bit
    return struct.unpack("<f", struct.pack("<I", bits))[0]


def seen(value, bit, limit):
    """Rule 5: the faulted value as its readers see it."""
    value = flipped(value, bit)
    if math.isnan(value):
        return limit
    return math.copysign(limit, value) if abs(value) > limit else value


def place_of(module, shape, place):
    """The index of (channel, row, column) in an output, which may have no axes of rows and columns."""
    channel, row, column = place
    if len(shape) == 2:
        return 0, channel
    return (0, channel, row, column) if isinstance(module, nn.Conv2d) else (0, row, column, channel)


def sizes(module, shape):
    """Channels, height, width."""
    if len(shape) == 2:
        return shape[1], 1, 1
    return shape[1:] if isinstance(module, nn.Conv2d) else (shape[3], shape[1], shape[2])


class Campaign:
    def __init__(self, backbone, head, injections):
        self.backbone, self.head, self.injections = backbone, head, injections
        self.ranges_of_weights = (LARGE if backbone == "resnet18" else []) + networks.ranges(backbone)
        net = networks.build(backbone, head, CLASSES)
        self.net = networks.load_formula(net, self.ranges_of_weights).eval()
        self.exact = copy.deepcopy(self.net).double()
        self.images = networks.images(VALIDATION + TRAINING, SIDE)
        self.modules = {
            name: module for name, module in self.net.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear))
        }

    def outputs(self, image, net=None):
        """What the hooks see of one image, by layer, and its logits."""
        net, found, handles = net or self.net, {}, []
        for name in self.modules:
            def keep(module, inputs, output, name=name):
                found[name] = output.clone()
            handles.append(net.get_submodule(name).register_forward_hook(keep))
        with torch.no_grad():
            logits = net(image[None])
        for handle in handles:
            handle.remove()
        return found, logits[0]

    def measure(self):
        """Rule 1: max |output| of each layer whose hook fires, over the training images, as f16."""
        limits = {}
        for image in self.images[VALIDATION:]:
            for name, output in self.outputs(image)[0].items():
                limits[name] = max(limits.get(name, 0.0), output.abs().max().item())
        with np.errstate(over="ignore"):
            for limit in limits.values():  # no last-place difference may change the rounding
                near = {np.float16(limit * (1.0 + by)) for by in (-5e-7, 5e-7)}
                assert len(near) == 1, f"{limit} lies between two f16"
            return {name: float(np.float16(limit)) for name, limit in limits.items()}

    def golden(self):
        """Rule 2: label, arg-max, loss and Top2Diff of each validation image. Three in four labels are right."""
        rows = []
        for number, image in enumerate(self.images[:VALIDATION]):
            logits = self.outputs(image)[1]
            top1 = logits.argmax().item()
            label = top1 if number % 4 else (top1 + 1) % CLASSES
            best = logits.softmax(0).topk(2).values
            loss = F.cross_entropy(logits[None], torch.tensor([label])).item()
            rows.append((label, top1, loss, 100.0 * (best[0] - best[1]).item()))
        return rows

    def eligible(self, golden):
        """Rule 3."""
        random.seed(9001)
        chosen = random.sample(range(VALIDATION), VALIDATION)[int(0.8 * VALIDATION):]
        return chosen, [image for image in chosen if golden[image][0] == golden[image][1] and golden[image][3] > 0.0]

    def inject(self, name, image, place, bit, limit):
        """Rules 4 and 5: the logits with one bit of one neuron flipped, the range detector behind it."""
        module = self.modules[name]

        def fault(_, inputs, output):
            output = output.clone()
            at = place_of(module, output.shape, place)
            output[at] = seen(output[at].item(), bit, limit)
            return output

        handle = module.register_forward_hook(fault)
        with torch.no_grad():
            logits = self.net(self.images[image][None])[0]
        handle.remove()
        return logits

    def is_firm(self, value, exact, bit, limit):
        """Whether a neuron's rounding leaves what readers see what it is."""
        if value == 0.0:
            return False
        by = max(8.0 * abs(value - exact) / abs(value), FIRM)
        around = [seen(value * (1.0 + by), bit, limit) for by in (-by, 0.0, by)]
        if any(math.isinf(v) for v in around):
            return len(set(around)) == 1
        return max(around) - min(around) <= 4.0 * FIRM * max(map(abs, around))

    def draw(self, name, count, eligible, limit, clean):
        """Image, place and bit of each of the layer's injections: what the formula says, where that is firm."""
        words = iter(formula.stream(f"goldeneye.{self.backbone}.{self.head}.{name}", 1 << 16).tolist())
        module, found = self.modules[name], []
        while len(found) < count:
            is_nan = math.isinf(limit) and len(found) < NANS
            word = next(words)
            image = eligible[(word & 0xFFFF) * len(eligible) >> 16]
            (outputs, _), (exact, _) = clean[image]
            shape = outputs[name].shape
            place = tuple((next(words) >> 32) * size >> 32 for size in sizes(module, shape))
            if is_nan:
                ones = (outputs[name][0].abs() - 1.5).abs() < 0.3
                if not ones.any():
                    continue
                place = tuple(ones.nonzero()[0].tolist())
            bit = 30 if is_nan else next(words) >> 59
            if len(found) % 2:  # sign and exponent more often
                bit = 24 + bit % 8
            at = place_of(module, shape, place)
            row = (image, *place, bit)
            if row not in found and self.is_firm(outputs[name][at].item(), exact[name][at].item(), bit, limit):
                found.append(row)
        return found

    def figures(self, rows, golden):
        """Rule 6 over a layer's rows (image, loss, arg-max)."""
        count = len(rows)
        harm = np.array([abs(golden[image][2] - loss) for image, loss, _ in rows])
        harm = harm[~np.isnan(harm)]
        wrong = sum(top1 != golden[image][1] and not math.isnan(loss) for image, loss, top1 in rows)
        rate = wrong / count
        return [
            count,
            count - len(harm),
            float(harm.mean()),
            float(Z * harm.std(ddof=1) / math.sqrt(len(harm))),
            rate,
            Z * math.sqrt(rate * (1.0 - rate) / count),
        ]

    def run(self):
        limits, golden = self.measure(), self.golden()
        chosen, eligible = self.eligible(golden)
        clean = {
            image: (self.outputs(self.images[image]), self.outputs(self.images[image].double(), self.exact))
            for image in eligible
        }
        layers, injections = [], []
        for index, (name, limit) in enumerate(limits.items()):
            rows = []
            count = self.injections * (LAST if index >= len(limits) - 2 else 1)
            for image, *place, bit in self.draw(name, count, eligible, limit, clean):
                logits = self.inject(name, image, place, bit, limit)
                loss = F.cross_entropy(logits[None], torch.tensor([golden[image][0]])).item()
                rows.append((image, loss, logits.argmax().item()))
                injections.append([index, image, *place, bit, struct.pack(">f", loss).hex(), rows[-1][2]])
            layers.append([name, limit if math.isfinite(limit) else None, *self.figures(rows, golden)])
        return {
            "backbone": self.backbone,
            "head": self.head,
            "ranges": self.ranges_of_weights,
            "classes": CLASSES,
            "side": SIDE,
            "validation": VALIDATION,
            "training": TRAINING,
            "fifth": chosen,
            "eligible": eligible,
            "golden": golden,
            "layers": layers,
            "injections": injections,
        }


def losses():
    """PyTorch's loss of logits that aren't finite, or whose differences overflow: label, logits and loss in hex."""
    inf, nan, huge = math.inf, math.nan, 3e38
    cases = [
        (0, [1.0, 2.0, 3.0]), (0, [-inf, 2.0, 3.0]), (1, [-inf, 2.0, 3.0]), (0, [inf, 2.0, 3.0]), (1, [inf, 2.0, 3.0]),
        (0, [inf, inf, 3.0]), (0, [inf, -inf, 3.0]), (0, [-inf, -inf, -inf]), (0, [nan, 2.0, 3.0]), (2, [nan, 2.0, 3.0]),
        (0, [huge, 2.0, 3.0]), (1, [huge, 2.0, 3.0]), (0, [-huge, huge, 3.0]), (1, [-huge, huge, 3.0]),
        (0, [-huge, 2.0, 3.0]),
    ]  # fmt: skip
    word = lambda value: struct.pack(">f", value).hex()
    rows = []
    for label, logits in cases:
        loss = F.cross_entropy(torch.tensor([logits]), torch.tensor([label])).item()
        rows.append([label, "".join(map(word, logits)), word(loss), torch.tensor(logits).argmax().item()])
    return rows


def samples():
    """What Python's generator gives: words of a few seeds, and the fifth of a few sets, whole or its ends."""
    words, fifths = [], []
    for seed in (0, 1, 9001, 2**32 - 1, 2**40 + 12345):
        random.seed(seed)
        words.append([seed, [random.getrandbits(32) for _ in range(5)]])
    for count in (1, 2, 5, 7, 32, 60, 1000, 50000):
        random.seed(9001)
        fifth = random.sample(range(count), count)[int(0.8 * count):]
        fifths.append([count, len(fifth), fifth[:8], fifth[-8:], sum(i * v for i, v in enumerate(fifth, 1))])
    return {"words": words, "fifths": fifths}


def cases():
    campaigns = []
    for backbone, head, injections in CAMPAIGNS:
        value = Campaign(backbone, head, injections).run()
        nan = sum(row[3] for row in value["layers"])
        wrong = sum(row[6] * row[2] for row in value["layers"])
        print(backbone, head, len(value["injections"]), "injections,", nan, "losses are NaN,", wrong, "mismatches")
        campaigns.append(value)
    return {"python": samples(), "losses": losses(), "campaigns": campaigns}
