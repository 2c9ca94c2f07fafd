"""Five steps of a small ResNet of which parts are frozen, in f64: how far each tensor went.

Frozen parameters have requires_grad False; batch norms of which none is trained are in eval mode.
"""

import fnmatch
import json
import pathlib

import torch
import torch.nn.functional as F
import torchvision
from torch import nn

import figures
import networks

CLASSES, BATCH, SIDE, STEPS = 10, 4, 32, 5
OWN = [(".bn2.weight", 0.25, 0.05)]
# The front, a batch norm between trained layers, one weight whose bias-free neighbours are trained.
FREEZE = ["conv1.*", "bn1.*", "layer1.*", "layer3.0.bn1.*", "layer4.0.conv2.weight"]
SGD = {"kind": "sgd", "lr": 0.02, "momentum": 0.9, "weight_decay": 1e-3, "clip": 1.0}
ADAMW = {"kind": "adamw", "lr": 0.001, "eps": 0.1, "weight_decay": 0.05, "clip": 1.0}


def build():
    net = torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=CLASSES)
    networks.smooth(net)
    return networks.load_formula(net, OWN).train()


def freeze(net):
    for name, parameter in net.named_parameters():
        parameter.requires_grad = not any(fnmatch.fnmatchcase(name, pattern) for pattern in FREEZE)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d) and not any(p.requires_grad for p in module.parameters()):
            module.eval()


def run(settings, dtype):
    net = build().to(dtype)
    freeze(net)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    trained = [p for p in net.parameters() if p.requires_grad]
    if settings["kind"] == "sgd":
        optimiser = torch.optim.SGD(trained, settings["lr"], settings["momentum"], weight_decay=settings["weight_decay"])
    else:
        optimiser = torch.optim.AdamW(trained, settings["lr"], eps=settings["eps"], weight_decay=settings["weight_decay"])
    x = networks.images(BATCH, SIDE).to(dtype)
    labels = torch.tensor([(7 * i + 3) % CLASSES for i in range(BATCH)])
    losses, norms = [], []
    for _ in range(STEPS):
        optimiser.zero_grad()
        loss = F.cross_entropy(net(x), labels)
        loss.backward()
        norms.append(nn.utils.clip_grad_norm_(trained, settings["clip"]).item())
        optimiser.step()
        losses.append(loss.item())
    after = net.state_dict()
    moved = {n: after[n] - before[n] for n in after if not n.endswith("num_batches_tracked")}
    return losses, norms, moved, {name: after[name].double().norm() for name in moved}


def case(settings):
    losses, norms, moved, sizes = run(settings, torch.float64)
    rounded = run(settings, torch.float32)[2]
    for name, exact in moved.items():
        # Each step rounds a value by up to 2^-24 of it.
        bound = 3e-4 * exact.norm() + 2.0**-22 * sizes[name]
        error = (rounded[name].double() - exact).norm()
        assert error <= bound, f"{name}: PyTorch's own f32 is {error} off"
    return {
        "optimiser": settings,
        "losses": [figures.digits(loss, 10) for loss in losses],
        "norms": [figures.digits(norm, 10) for norm in norms],
        "moved": {name: figures.figures(tensor, 4) for name, tensor in moved.items() if tensor.norm() > 0},
        "still": [name for name, tensor in moved.items() if tensor.norm() == 0],
    }


def main():
    fixture = {"classes": CLASSES, "batch": BATCH, "side": SIDE, "ranges": OWN, "freeze": FREEZE}
    fixture["cases"] = [case(SGD), case(ADAMW)]
    path = pathlib.Path(__file__).parent.parent / "fixtures" / "pytorch" / "frozen.json"
    path.write_text(json.dumps(fixture, separators=(",", ":")) + "\n")


main()
