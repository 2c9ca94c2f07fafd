"""Small modules of torchvision and timm: output and all gradients in f64, in full.

Every parameter and the input is the formula's f32 tensor "<case>.<name>"; the loss is sum(y * r),
r being "<case>.grad" (bound 1).
"""

from functools import partial

import torch
from timm.models.focalnet import FocalModulation
from torch import nn
from torchvision.models.maxvit import PartitionAttentionLayer
from torchvision.models.swin_transformer import PatchMergingV2, ShiftedWindowAttentionV2

import figures
import formula
import networks

# Of three heads' logit scales some are above ln(100), where Swin V2 clamps them.
OWN = [("logit_scale", 4.6, 0.5), ("cpb_mlp.2.weight", 0.0, 0.5)]


def listed(tensor):
    return figures.f24(tensor.detach().numpy().reshape(-1))


def case(module, name, net, layout, shape, **attributes):
    """`layout` is what the axes of x and y are, NHWC or NCHW."""
    net.double().train()
    operands = []

    def operand(key, size, centre, bound):
        operands.append({"key": key, "name": f"{name}.{key}", "shape": list(size),
                         "centre": centre, "bound": bound})
        return torch.from_numpy(formula.fill(f"{name}.{key}", size, centre, bound)).double()

    with torch.no_grad():
        for key, p in net.named_parameters():
            p.copy_(operand(key, tuple(p.shape), *formula.range_of(key, tuple(p.shape), OWN)))
    x = operand("x", shape, 0.0, 1.7).requires_grad_()
    y = net(x)
    (y * operand("grad", tuple(y.shape), 0.0, 1.0)).sum().backward()
    gradients = {"x": listed(x.grad), **{key: listed(p.grad) for key, p in net.named_parameters()}}
    constants = {
        key: listed(b.double()) for key, b in net.named_buffers() if key.endswith(networks.CONSTANTS)
    }
    return {
        "module": module, "name": name, "attributes": attributes, "layout": layout, "operands": operands,
        "constants": constants, "output": {"shape": list(y.shape), "values": listed(y)},
        "gradients": gradients,
    }  # fmt: skip


def swin(name, height, width, shift):
    net = ShiftedWindowAttentionV2(24, [4, 4], [shift, shift], 3)
    return case("swin_v2_attention", name, net, "NHWC", (2, height, width, 24),
                dim=24, heads=3, window=4, shift=shift)


def maxvit(kind):
    """2 x 2 windows in a 6 x 6 map: 9 of them, or 9 strided grids."""
    net = PartitionAttentionLayer(16, 8, 2, kind, (6, 6), 2, nn.GELU, nn.LayerNorm, 0.0, 0.0, 0.0)
    return case("partition_attention", f"partition_{kind}", net, "NCHW", (2, 16, 6, 6),
                channels=16, head_dim=8, partition=2, kind=kind, mlp_ratio=2)


def cases():
    merging = PatchMergingV2(4, norm_layer=partial(nn.LayerNorm, eps=1e-5))
    focal = FocalModulation(12, focal_window=3, focal_level=2)
    return [
        case("patch_merging_v2", "patch_merging", merging, "NHWC", (2, 5, 7, 4), dim=4, eps=1e-5),
        swin("swin_padded", 7, 6, 0), swin("swin_padded_shifted", 7, 6, 2),
        swin("swin_whole", 8, 8, 0), swin("swin_whole_shifted", 8, 8, 2),
        # As high as a window: shifted along the rows only.
        swin("swin_shifted_one_way", 4, 8, 2),
        maxvit("window"), maxvit("grid"),
        case("focal_modulation", "focal_modulation", focal, "NCHW", (2, 12, 6, 5),
             dim=12, levels=2, window=3),
    ]  # fmt: skip
