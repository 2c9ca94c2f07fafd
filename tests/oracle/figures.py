"""A large tensor as a few figures: its norm, seeded +1/-1 projections, some of its elements."""

import base64
import functools
import math

import numpy as np

import formula

PROJECTIONS = 16
FEW_PROJECTIONS = 4
LARGE = 1 << 22
CHUNK = 1 << 20


@functools.lru_cache(maxsize=8)
def sign_words(start):
    return formula.stream("projections", CHUNK, start)


def projections(data, count):
    """Projection j of an f64 vector: the sum of its elements, negated where bit 63 - j of word i is set."""
    sums = np.zeros(count)
    for start in range(0, data.size, CHUNK):
        part = data[start : start + CHUNK]
        words = sign_words(start)[: part.size]
        total = part.sum()
        for j in range(count):
            negated = (words >> np.uint64(63 - j)) & np.uint64(1)
            sums[j] += total - 2.0 * (negated.astype(np.float64) @ part)
    return sums


def indices(count, wanted):
    """floor(e * count / n) for e in 0..n, n = min(wanted, count)."""
    n = min(wanted, count)
    return [e * count // n for e in range(n)]


def f24(values):
    """Base64 of the upper three bytes of each f32, big-endian, rounded to nearest (2^-16 relative)."""
    bits = np.asarray(values, dtype=np.float32).view(np.uint32).astype(np.uint64)
    bits = (bits + 0x80) >> 8
    raw = np.stack([bits >> 16, bits >> 8, bits], axis=-1) & 0xFF
    return base64.b64encode(raw.astype(np.uint8).tobytes()).decode()


def digits(value, count):
    return float(f"{float(value.detach() if hasattr(value, 'detach') else value):.{count}g}")


def figures(tensor, elements, count=PROJECTIONS):
    """[norm, projections, elements] of a torch tensor in PyTorch's order; sums are taken in f64.

    `count` projections; no more than four of a tensor of over 2^22 elements.
    """
    data = tensor.detach().double().numpy().reshape(-1)
    if data.size > LARGE:
        count = min(count, FEW_PROJECTIONS)
    return [
        digits(math.sqrt(float(data @ data)), 8),
        f24(projections(data, count)),
        f24(data[indices(data.size, elements)]),
    ]
