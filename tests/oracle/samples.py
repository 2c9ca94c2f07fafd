"""The fixture that holds tests/formula.rs to formula.py: words, values, signs and figures."""

import torch

import figures
import formula

FILLS = [
    ("conv1.weight", (64, 3, 7, 7), "bn2"),
    ("backbone.layer1.0.bn2.weight", (64,), "bn2"),
    ("backbone.layer1.0.bn2.weight", (64,), "bn3"),
    ("layer3.5.bn3.running_var", (1024,), "bn3"),
    ("bn1.weight", (64,), "bn2"),
    ("head.weight", (20, 512), "bn2"),
    ("fc.bias", (20,), "bn2"),
    ("logit_scale", (), "bn2"),
]


def samples():
    fills, tensors = [], []
    for name, shape, last_norm in FILLS:
        centre, bound = formula.range_of(name, shape, last_norm)
        values = formula.fill(name, shape, centre, bound).reshape(-1)
        picked = figures.indices(values.size, 6)
        fills.append({
            "name": name, "shape": list(shape), "last_norm": last_norm,
            "centre": centre, "bound": bound, "indices": picked,
            "values": [float(values[i]) for i in picked],
        })
    for number, side in [(0, 32), (1, 3)]:
        values = formula.image(number, side)
        tensors.append({"image": number, "side": side,
                        "figures": figures.figures(torch.from_numpy(values), 64)})
    words = [
        {"name": name, "hash": f"{formula.fnv1a64(name):016x}",
         "words": [f"{int(w):016x}" for w in formula.stream(name, 4)]}
        for name in ("", "a", "conv1.weight", "projection.15")
    ]
    signs = {"projection": 15, "signs": [int(s) for s in formula.signs(15, 32)]}
    return {"words": words, "fills": fills, "signs": signs, "figures": tensors}
