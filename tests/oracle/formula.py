"""Tensors made of a name and an index, so that no weights have to be stored.

`tests/formula.rs` computes the same values in Rust; README.md is the definition of both.
"""

import math

import numpy as np

GOLDEN = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1
CHUNK = 1 << 20


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


def stream(name, count, start=0):
    """Words start to start + count of the stream `name`: word i is splitmix64(hash + i * GOLDEN)."""
    with np.errstate(over="ignore"):
        index = np.arange(start, start + count, dtype=np.uint64) * np.uint64(GOLDEN)
        return splitmix64(index + np.uint64(fnv1a64(name)))


def fill(name, shape, centre, bound):
    """f32 values, uniform on [centre - bound, centre + bound), row-major in `shape`."""
    values = np.empty(math.prod(shape), dtype=np.float32)
    for start in range(0, values.size, CHUNK):
        part = values[start : start + CHUNK]
        top = (stream(name, part.size, start) >> np.uint64(40)).astype(np.float64)
        part[:] = (top - 2.0**23) / 2.0**23 * bound + centre
    return values.reshape(shape)


# (end of the name, centre, bound); the first that fits holds.
GENERAL = [
    ("num_batches_tracked", 0.0, 0.0),
    ("running_mean", 0.0, 0.1),
    ("running_var", 1.0, 0.5),
    ("relative_position_bias_table", 0.0, 0.5),
    (".logit_scale", 2.5, 0.5),
    ("bias", 0.0, 0.1),
]


def range_of(name, shape, own):
    """(centre, bound) of a parameter or buffer with this state-dict name.

    `own` holds the backbone's entries (end of the name, centre, bound), which come first; their
    bound is that of a vector, and a weight of more dimensions divides it by sqrt(fan_in).
    """
    fan_in = math.prod(shape[1:])
    for end, centre, bound in own:
        if name.endswith(end):
            return centre, bound / math.sqrt(fan_in)
    if name == "logit_scale":
        return math.log(1 / 0.07), 0.0
    for end, centre, bound in GENERAL:
        if name.endswith(end):
            return centre, bound
    return (1.0, 0.1) if len(shape) == 1 else (0.0, math.sqrt(6.0 / fan_in))


def image(number, side):
    """One normalised input image, 3 x side x side."""
    return fill(f"input.{number}", (3, side, side), 0.0, 1.7)
