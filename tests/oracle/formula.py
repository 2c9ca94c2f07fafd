"""Tensors made of a name and an index, so that no weights have to be stored.

`tests/formula.rs` computes the same values in Rust; README.md is the definition of both.
"""

import math

import numpy as np

GOLDEN = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1


def fnv1a64(name):
    """FNV-1a, 64 bits, of the UTF-8 bytes of `name`."""
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = ((h ^ byte) * 0x100000001B3) & MASK
    return h


def splitmix64(x):
    """What a SplitMix64 generator whose state is `x` returns next (uint64 array in and out)."""
    with np.errstate(over="ignore"):
        z = x + np.uint64(GOLDEN)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def stream(name, count):
    """The first `count` words of the stream `name`: word i is splitmix64(hash + i * GOLDEN)."""
    with np.errstate(over="ignore"):
        index = np.arange(count, dtype=np.uint64) * np.uint64(GOLDEN)
        return splitmix64(index + np.uint64(fnv1a64(name)))


def fill(name, shape, centre, bound):
    """f32 values, uniform on [centre - bound, centre + bound), row-major in `shape`."""
    top = (stream(name, math.prod(shape)) >> np.uint64(40)).astype(np.float64)
    unit = (top - 2.0**23) / 2.0**23
    return (unit * bound + centre).astype(np.float32).reshape(shape)


def signs(projection, count):
    """The +1/-1 of each element in projection number `projection`: -1 where the top bit is set."""
    words = stream(f"projection.{projection}", count)
    return np.where(words >> np.uint64(63), -1.0, 1.0)


def range_of(name, shape, last_norm):
    """(centre, bound) of a parameter or buffer with this state-dict name.

    `last_norm` names the batch norm that ends a residual branch: "bn2" or "bn3".
    """
    if name == "logit_scale":
        return math.log(1 / 0.07), 0.0
    if name.endswith("num_batches_tracked"):
        return 0.0, 0.0
    if name.endswith("running_mean") or name.endswith("bias"):
        return 0.0, 0.1
    if name.endswith("running_var"):
        return 1.0, 0.5
    if len(shape) == 1:
        return (0.25, 0.05) if name.endswith(f".{last_norm}.weight") and "layer" in name else (1.0, 0.1)
    return 0.0, math.sqrt(6.0 / math.prod(shape[1:]))


def image(number, side):
    """One normalised input image, 3 x side x side."""
    return fill(f"input.{number}", (3, side, side), 0.0, 1.7)
