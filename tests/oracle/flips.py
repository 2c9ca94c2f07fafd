"""Single bit flips of layers' outputs, and the logits that PyTorch makes of them; see README.md."""

import copy
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

import formula
import hooks
import networks

# Small images; Swin V2 at the size at which it pads its windows.
SIDES = {"resnet18": 64, "mobilenet_v2": 64, "swin_v2_t": 224}
CLASSES = 50
IMAGES = 2
FLIPS = 200
# More of a text-guided network's last layers, each.
LAST = 8
# Every bit, those of sign and exponent twice: 41, a prime, so that a stride of 11 gives any layer many.
BITS = [*range(32), *range(23, 32)]
STRIDE = 11
# A neuron's relative distance from a power of two, and its share of the layer's largest |output|.
APART = 1e-3
# f32 and f64 agree on a chosen neuron to a quarter of this, and its bit is the same this far around,
# but for bits whose flip is less than three times that.
SAME = 4e-6
# Two orders of f32 sums agree to this share of the largest faulty |logit|.
AGREE = 2e-5
# How far a faulty value beyond LARGE is moved to see that infinities and NaN stay where they are.
NUDGE = 2.0**-12
LARGE = 2.0**60
# Changes of the logits beyond this share can be seen; so many neurons are tried for one.
VISIBLE = 1e-3
TRIES = 8
WORDS = 1 << 14


def f32(bits):
    return np.uint32(bits).view(np.float32)


def bits_of(value):
    return int(np.float32(value).view(np.uint32))


def encoded(logits):
    """The bits of f32 values, eight hex digits each."""
    return logits.numpy().astype(">f4").tobytes().hex()


def layer_norm(x, normalized_shape, weight, bias, eps):
    centred = x - x.flip(-1).mean(-1, keepdim=True)
    variance = (centred * centred).flip(-1).mean(-1, keepdim=True)
    return centred / (variance + eps).sqrt() * weight + bias


class OtherOrder(TorchFunctionMode):
    """Sums of convolutions, linear layers and norms from the other end; layer norm and GELU by definition."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in (F.conv2d, torch.conv2d) and kwargs.get("groups", args[6] if len(args) > 6 else 1) == 1:
            x, weight, *rest = args
            return func(x.flip(1), weight.flip(1), *rest, **kwargs)
        if func is torch._C._nn.linear:
            x, weight, *rest = args
            return func(x.flip(-1), weight.flip(-1), *rest, **kwargs)
        if func is F.layer_norm:
            return layer_norm(*args, **kwargs)
        if func is F.gelu:
            # PyTorch's vectors double a value before they halve it and overflow from 2^127 on; the last few
            # elements of a tensor, which don't fill a vector, don't.
            return args[0] * (0.5 * (1.0 + (args[0] * math.sqrt(0.5)).erf()))
        if func is torch.Tensor.norm:
            return (args[0] * args[0]).flip(-1).sum(-1, keepdim=True).sqrt()
        return func(*args, **kwargs)


def kinds(logits):
    """0 of a finite value, 1 and -1 of an infinity, 2 of NaN."""
    kind = torch.where(logits.isinf(), logits.sign(), torch.zeros_like(logits))
    return torch.where(logits.isnan(), torch.full_like(logits, 2.0), kind)


def largest(logits):
    finite = logits[logits.isfinite()].abs()
    return finite.max().item() if finite.numel() else 0.0


class Network:
    """A network, its images, and what it does to them when nothing is wrong, in f32 and f64."""

    def __init__(self, backbone, head):
        self.name = f"{backbone}.{head}"
        self.net = networks.build(backbone, head, CLASSES).eval()
        self.images = networks.images(IMAGES, SIDES[backbone])
        exact = copy.deepcopy(self.net).double()
        self.clean = [hooks.outputs(self.net, image) for image in self.images]
        self.exact = [hooks.outputs(exact, image.double()) for image in self.images]
        self.layers = list(self.clean[0][0])
        self.largest = [{name: out.tensor.abs().max().item() for name, out in outs.items()} for outs, _ in self.clean]
        self.passed_over = {"neurons": 0, "unstable": 0}

    def is_firm(self, layer, image, place, bit):
        """Whether a last-place difference of this neuron leaves the flip what it is."""
        output = self.clean[image][0][layer]
        at = output.at(*place)
        value, exact = output.tensor[at].item(), self.exact[image][0][layer].tensor[at].item()
        mantissa = 2.0 * abs(math.frexp(value)[0])  # in [1, 2)
        if abs(value) < APART * self.largest[image][layer] or min(mantissa - 1.0, 1.0 - mantissa / 2.0) < APART:
            return False
        if abs(value - exact) > SAME / 4 * abs(value):
            return False
        around = [bits_of(value * (1.0 + by)) >> bit & 1 for by in (-SAME, 0.0, SAME)]
        return 2.0 ** (bit - 23) < 3 * SAME or len(set(around)) == 1

    def is_aim(self, layer, image, place, bit, slot):
        """Bit 30 makes NaN of values in [1, 2), one in three where there are, and huge ones of smaller ones."""
        if bit != 30:
            return True
        is_large = self.largest[image][layer] > 1.5
        output = self.clean[image][0][layer]
        size = abs(output.tensor[output.at(*place)].item())
        return 1.0 < size < 2.0 if is_large and slot % 3 == 0 else size < 1.0

    def run(self, layer, image, place, value):
        return hooks.faulty(self.net, self.images[image], layer, place, value)

    def is_stable(self, layer, image, place, value, logits):
        """Whether neither the order of sums nor, of large values, the last places decide the answer."""
        with OtherOrder():
            other = self.run(layer, image, place, value)
        nudged = [
            self.run(layer, image, place, float(np.float32(value) * np.float32(1.0 + by)))
            for by in (-NUDGE, NUDGE)
            if abs(value) > LARGE
        ]
        kind = kinds(logits)
        if not all(torch.equal(kind, kinds(twin)) for twin in (other, *nudged)):
            return False
        finite = kind == 0
        return not finite.any() or (logits - other)[finite].abs().max().item() <= AGREE * largest(logits)

    def candidates(self, slot, layer, bit):
        """Neurons whose flip can be held: image, place, bits before and after."""
        for word in formula.stream(f"flips.{self.name}.{slot}", WORDS).tolist():
            image = word % IMAGES
            output = self.clean[image][0][layer]
            place = tuple((word >> shift & 0xFFFF) * size >> 16 for shift, size in zip((48, 32, 16), output.map()))
            if self.is_aim(layer, image, place, bit, slot) and self.is_firm(layer, image, place, bit):
                before = bits_of(output.tensor[output.at(*place)].item())
                yield image, place, before, before ^ 1 << bit
            else:
                self.passed_over["neurons"] += 1
        raise SystemExit(f"{self.name}: {layer} has no neuron whose bit {bit} can be held")

    def flip(self, slot, layer, bit):
        """A row of the fixture: the first stable flip that shows, or one that doesn't after so many of them."""
        tries = 0
        for image, place, before, after in self.candidates(slot, layer, bit):
            value = float(f32(after))
            logits = self.run(layer, image, place, value)
            change = (logits - self.clean[image][1]).abs().max().item()
            shows = not logits.isfinite().all() or change > VISIBLE * largest(logits)
            tries += 1
            if not shows and tries < TRIES:
                continue
            if self.is_stable(layer, image, place, value, logits):
                row = [self.layers.index(layer), image, *place, bit]
                return [*row, f"{before:08x}", f"{after:08x}", encoded(logits)]
            self.passed_over["unstable"] += 1

    def slots(self):
        """Layer and bit of each flip."""
        turns = [(self.layers[slot % len(self.layers)], slot) for slot in range(FLIPS)]
        if hooks.SCALE in self.layers:
            turns += [(self.layers[-1 - n % 3], FLIPS + n) for n in range(3 * LAST)]
        return [(slot, layer, BITS[slot * STRIDE % len(BITS)]) for layer, slot in turns]


def case(backbone, head):
    network = Network(backbone, head)
    rows = [network.flip(*slot) for slot in network.slots()]
    print(network.name, len(rows), "flips, passed over", network.passed_over, flush=True)
    return {
        "backbone": backbone,
        "head": head,
        "ranges": networks.ranges(backbone),
        "classes": CLASSES,
        "side": SIDES[backbone],
        "layers": network.layers,
        "clean": [encoded(logits) for _, logits in network.clean],
        "flips": rows,
    }
