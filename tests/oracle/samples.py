"""The fixture that holds tests/formula.rs to formula.py: words, values, signs and figures."""

import numpy as np
import torch

import figures
import formula
import networks

FILLS = [
    ("conv1.weight", (64, 3, 7, 7), "resnet18"),
    ("backbone.layer1.0.bn2.weight", (64,), "resnet18"),
    ("backbone.layer1.0.bn2.weight", (64,), "resnet50"),
    ("layer3.5.bn3.running_var", (1024,), "resnet50"),
    ("bn1.weight", (64,), "resnet18"),
    ("head.weight", (20, 512), "resnet18"),
    ("fc.bias", (20,), "resnet18"),
    ("logit_scale", (), "resnet18"),
    ("features.1.0.attn.logit_scale", (3, 1, 1), "swin_v2_t"),
    ("features.1.0.attn.cpb_mlp.2.weight", (3, 512), "swin_v2_t"),
    ("features.1.0.attn.cpb_mlp.0.weight", (512, 2), "swin_v2_t"),
    ("features.1.0.norm2.weight", (96,), "swin_v2_t"),
    ("a.relative_position_bias_table", (169, 2), "maxvit_t"),
    ("backbone.layers.0.blocks.0.modulation.f.weight", (195, 96, 1, 1), "focalnet_tiny"),
    ("features.2.conv.3.weight", (24,), "mobilenet_v2"),
]


def samples():
    fills, tensors = [], []
    for name, shape, backbone in FILLS:
        own = networks.ranges(backbone)
        centre, bound = formula.range_of(name, shape, own)
        values = formula.fill(name, shape, centre, bound).reshape(-1)
        picked = figures.indices(values.size, 6)
        fills.append({
            "name": name, "shape": list(shape), "ranges": own,
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
        for name in ("", "a", "conv1.weight", "projections")
    ]
    signs = {"projection": 15, "signs": [int(figures.projections(e, 16)[15]) for e in np.eye(32)]}
    return {"words": words, "fills": fills, "signs": signs, "figures": tensors}
