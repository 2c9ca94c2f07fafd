"""Class activation maps of PyTorch's networks, by forward hooks and autograd, as a fixture.

    venv/bin/python tests/oracle/saliency.py

Everything is f64 from the formula's f32 weights; what f32 makes of the same is held against it. README.md says
what the fixture has.
"""

import json
import pathlib

import torch

import networks

SIDE = 128
CLASSES = 50
CLASS = 7
BOUND = 1e-4
# Backbone, head, layer of this project, module in PyTorch, whether channels are its last axis.
CASES = [
    (backbone, head, ours, theirs, last)
    for backbone, ours, theirs, last in [
        ("resnet18", "layer4.1.relu", "layer4.1", False),
        ("resnet18", "layer3.1.relu", "layer3.1", False),
        ("mobilenet_v2", "features.18.2", "features.18.2", False),
        ("swin_v2_t", "features.7.1.norm2", "features.7.1.norm2", True),
        ("swin_v2_t", "features.5.5.norm2", "features.5.5.norm2", True),
        ("focalnet_tiny", "norm", "norm", False),
        ("focalnet_tiny", "layers.2.blocks.5.mlp.fc2", "layers.2.blocks.5.mlp.fc2", False),
    ]
    for head in networks.HEADS
]


def observe(net, image, module, cosine):
    """The module's output and the derivative of the target by it, channels first, without the batch."""
    seen = []
    hook = net.get_submodule(module).register_forward_hook(lambda _module, _args, out: seen.append(out))
    # The cosines are what the head puts out before the scale.
    cosines = []
    if cosine:
        net.head.register_forward_hook(lambda _module, _args, out: cosines.append(out))
    logits = net(image)
    hook.remove()
    target = (cosines[0] if cosine else logits)[0, CLASS]
    (gradient,) = torch.autograd.grad(target, seen[0])
    return logits[0], seen[0][0].detach(), gradient[0]


def maps(activations, gradients):
    """By method; Grad-CAM and HiRes-CAM before the ReLU."""
    sums = activations.sum(dim=(1, 2), keepdim=True)
    squares, cubes = gradients**2, gradients**3
    denominator = 2 * squares + sums * cubes
    alpha = torch.where(denominator != 0, squares / denominator, torch.zeros_like(squares))
    weights = (alpha * gradients.relu()).sum(dim=(1, 2), keepdim=True)
    return {
        "grad-cam": (gradients.mean(dim=(1, 2), keepdim=True) * activations).sum(dim=0),
        "hires-cam": (gradients * activations).sum(dim=0),
        "grad-cam++": (weights * activations).sum(dim=0).relu(),
        "layer-cam": (gradients.relu() * activations).sum(dim=0).relu(),
    }


def case(backbone, head, ours, theirs, channels_last):
    module = theirs if head == "baseline" else f"backbone.{theirs}"
    found = {}
    for cosine in [False, True] if head == "text-guided" else [False]:
        by_type = []
        for dtype in (torch.float64, torch.float32):
            net = networks.build(backbone, head, CLASSES).eval().to(dtype)
            image = networks.images(1, SIDE).to(dtype)
            logits, activations, gradients = observe(net, image, module, cosine)
            if channels_last:
                activations, gradients = (t.permute(2, 0, 1) for t in (activations, gradients))
            by_type.append((logits, maps(activations, gradients)))
        (logits, exact), (_, rounded) = by_type
        for method, expected in exact.items():
            error = ((rounded[method].double() - expected).abs().max() / expected.abs().max()).item()
            assert error < 0.3 * BOUND, f"{backbone} {head} {ours} {method}: PyTorch's own f32 is {error} off"
        found["cosine" if cosine else "logit"] = {
            "value": logits[CLASS].item(),
            "maps": {method: [[float(f"{v:.8g}") for v in row] for row in values.tolist()] for method, values in exact.items()},
        }
    return {"backbone": backbone, "head": head, "layer": ours, "targets": found}


def main():
    cases = [case(*row) for row in CASES]
    fixture = {"side": SIDE, "classes": CLASSES, "class": CLASS, "ranges": {}, "cases": cases}
    fixture["ranges"] = {name: networks.ranges(name) for name in sorted({row[0] for row in CASES})}
    path = pathlib.Path(__file__).parent.parent / "fixtures" / "pytorch" / "saliency.json"
    path.write_text(json.dumps(fixture, indent=None, separators=(",", ":")) + "\n")


main()
