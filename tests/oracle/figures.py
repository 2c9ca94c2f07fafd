"""A large tensor as a few figures: its norm, 16 seeded +1/-1 projections, some of its elements."""

import base64
import math

import numpy as np

import formula

PROJECTIONS = 16
_signs = {}


def signs(projection, count):
    known = _signs.get(projection)
    if known is None or known.size < count:
        known = _signs[projection] = formula.signs(projection, count).astype(np.int8)
    return known[:count]


def indices(count, wanted):
    """floor(e * count / n) for e in 0..n, n = min(wanted, count)."""
    n = min(wanted, count)
    return [e * count // n for e in range(n)]


def f24(values):
    """Base64 of the upper three bytes of each f32, big-endian, rounded to nearest (2^-17 relative)."""
    bits = np.asarray(values, dtype=np.float32).view(np.uint32).astype(np.uint64)
    bits = (bits + 0x80) >> 8
    raw = np.stack([bits >> 16, bits >> 8, bits], axis=-1) & 0xFF
    return base64.b64encode(raw.astype(np.uint8).tobytes()).decode()


def digits(value, count):
    return float(f"{float(value.detach() if hasattr(value, 'detach') else value):.{count}g}")


def figures(tensor, elements):
    """[norm, projections, elements] of a torch tensor in PyTorch's order; sums are taken in f64."""
    data = tensor.detach().double().numpy().reshape(-1)
    return [
        digits(math.sqrt(float(data @ data)), 10),
        f24([float(signs(j, data.size) @ data) for j in range(PROJECTIONS)]),
        f24(data[indices(data.size, elements)]),
    ]
