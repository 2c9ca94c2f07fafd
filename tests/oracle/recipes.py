"""Twenty steps of training by each optimiser, schedule, average and accumulation, and schedules' rates by themselves.

    venv/bin/python tests/oracle/recipes.py

Writes tests/fixtures/pytorch/recipes.json. The training is torchvision's reference, step for step, in f64; rates are
those of PyTorch's schedulers. TensorFlow's RMSprop is timm's.
"""

import itertools
import json
import pathlib

import numpy as np
import torch
import torch.nn.functional as F
from timm.optim import RMSpropTF
from torch.optim import lr_scheduler

import figures
import formula

CLASSES, IMAGES, SIDE, EPOCHS = 5, 12, 8, 20
SMOOTHING = 0.1
RATE = 0.02
DECAYS = {"weight_decay": 0.01, "bias_weight_decay": 0.0}
PROJECTIONS = 8

OPTIMIZERS = {
    "sgd": {"optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.9},
    "nesterov": {"optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.9, "nesterov": True, "clip_grad_norm": 0.5},
    "adamw": {"optimizer": "adamw", "learning_rate": RATE, "betas": [0.9, 0.99], "eps": 1e-4, "clip_grad_norm": 0.7},
    "rmsprop": {
        "optimizer": "rmsprop", "learning_rate": RATE, "momentum": 0.9, "alpha": 0.9, "eps": 0.0316,
        "clip_grad_value": 0.05,
    },
    "centered": {"optimizer": "rmsprop", "learning_rate": RATE, "alpha": 0.95, "eps": 0.01, "centered": True},
    "rmsproptf": {"optimizer": "rmsproptf", "learning_rate": RATE, "momentum": 0.9, "alpha": 0.9, "eps": 0.001},
}
SCHEDULES = {
    "constant": {"kind": "constant"},
    "step": {"kind": "step", "every": 6, "gamma": 0.5},
    "multistep": {"kind": "multistep", "milestones": [4, 11], "gamma": 0.3},
    "exponential": {"kind": "exponential", "gamma": 0.9},
    "cosine": {"kind": "cosine", "minimum": 1e-4},
    "polynomial": {"kind": "polynomial", "power": 0.9},
}
WARMUPS = {
    "none": {},
    "linear": {"warmup_epochs": 3, "warmup_start": 0.01},
    "constant": {"warmup_epochs": 4, "warmup_start": 0.2, "warmup_method": "constant"},
}
AVERAGES = {"none": {}, "ema": {"ema": {"decay": 0.9, "steps": 1}}}


def scheduler(optimizer, recipe):
    """As torchvision's reference makes it."""
    schedule, warm = recipe["schedule"], recipe.get("warmup_epochs", 0)
    left = EPOCHS - warm
    main = {
        "constant": lambda: lr_scheduler.LambdaLR(optimizer, lambda _: 1.0),
        "step": lambda: lr_scheduler.StepLR(optimizer, schedule["every"], schedule["gamma"]),
        "multistep": lambda: lr_scheduler.MultiStepLR(optimizer, schedule["milestones"], schedule["gamma"]),
        "exponential": lambda: lr_scheduler.ExponentialLR(optimizer, schedule["gamma"]),
        "cosine": lambda: lr_scheduler.CosineAnnealingLR(optimizer, left, schedule["minimum"]),
        "polynomial": lambda: lr_scheduler.PolynomialLR(optimizer, left, schedule["power"]),
    }[schedule["kind"]]()
    if warm == 0:
        return main
    if recipe.get("warmup_method") == "constant":
        first = lr_scheduler.ConstantLR(optimizer, recipe["warmup_start"], warm)
    else:
        first = lr_scheduler.LinearLR(optimizer, recipe["warmup_start"], total_iters=warm)
    return lr_scheduler.SequentialLR(optimizer, [first, main], [warm])


def make_optimizer(groups, recipe):
    lr, momentum = recipe["learning_rate"], recipe.get("momentum", 0.0)
    if recipe["optimizer"] == "sgd":
        return torch.optim.SGD(groups, lr, momentum=momentum, nesterov=recipe.get("nesterov", False))
    if recipe["optimizer"] == "adamw":
        return torch.optim.AdamW(groups, lr, betas=recipe["betas"], eps=recipe["eps"])
    kind = torch.optim.RMSprop if recipe["optimizer"] == "rmsprop" else RMSpropTF
    centered = recipe.get("centered", False)
    return kind(groups, lr, alpha=recipe["alpha"], eps=recipe["eps"], momentum=momentum, centered=centered)


class Net(torch.nn.Module):
    """The smooth twin of an AlexNet of one convolution and one hidden layer."""

    def __init__(self):
        super().__init__()
        self.features = torch.nn.ModuleDict({"0": torch.nn.Conv2d(3, 4, 3, 2, 1)})
        self.classifier = torch.nn.ModuleDict({"1": torch.nn.Linear(16, 6), "3": torch.nn.Linear(6, CLASSES)})
        with torch.no_grad():
            for name, p in self.named_parameters():
                bounds = formula.range_of(name, tuple(p.shape), [])
                p.copy_(torch.from_numpy(formula.fill(name, tuple(p.shape), *bounds)))
        self.double()

    def forward(self, x):
        x = F.adaptive_avg_pool2d(F.silu(self.features["0"](x)), 2)
        return self.classifier["3"](F.silu(self.classifier["1"](x.flatten(1))))


def images():
    words = formula.stream("recipes", IMAGES * SIDE * SIDE * 3)
    pixels = (words >> np.uint64(56)).astype(np.uint8).reshape(IMAGES, SIDE, SIDE, 3)
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).double() / 255
    return (x - 0.5) / 0.25, torch.arange(IMAGES) % CLASSES


def train(recipe):
    """The weights after a step an epoch, and their average."""
    net = Net()
    biases = [p for name, p in net.named_parameters() if name.endswith("bias")]
    others = [p for name, p in net.named_parameters() if not name.endswith("bias")]
    groups = [
        {"params": others, "weight_decay": DECAYS["weight_decay"]},
        {"params": biases, "weight_decay": DECAYS["bias_weight_decay"]},
    ]
    optimizer = make_optimizer(groups, recipe)
    rates = scheduler(optimizer, recipe)
    average = None
    if "ema" in recipe:
        ema = recipe["ema"]
        share = min(1.0, (1.0 - ema["decay"]) * IMAGES * ema["steps"] / EPOCHS)
        average = torch.optim.swa_utils.AveragedModel(net, avg_fn=lambda a, p, n: (1 - share) * a + share * p)
    x, labels = images()
    batches = recipe.get("accumulate", 1)
    for epoch in range(EPOCHS):
        optimizer.zero_grad()
        for part, label in zip(x.chunk(batches), labels.chunk(batches)):
            (F.cross_entropy(net(part), label, label_smoothing=SMOOTHING) / batches).backward()
        if "clip_grad_norm" in recipe:
            torch.nn.utils.clip_grad_norm_(net.parameters(), recipe["clip_grad_norm"])
        if "clip_grad_value" in recipe:
            torch.nn.utils.clip_grad_value_(net.parameters(), recipe["clip_grad_value"])
        optimizer.step()
        if average is not None:
            average.update_parameters(net)
            if epoch < recipe.get("warmup_epochs", 0):
                average.n_averaged.fill_(0)
        rates.step()
    return net, average.module if average is not None else None


def held(net):
    """The norm of all weights together, and projections of them, in the order of the names."""
    state = sorted(net.state_dict().items())
    data = torch.cat([value.flatten() for _, value in state]).detach().numpy()
    found = [float(np.linalg.norm(data)), *figures.projections(data, PROJECTIONS)]
    return [float(f"{value:.9g}") for value in found]


def rates_of(recipe):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], recipe["learning_rate"])
    rates = scheduler(optimizer, recipe)
    found = []
    for _ in range(EPOCHS):
        found.append(float(f"{optimizer.param_groups[0]['lr']:.12g}"))
        optimizer.step()
        rates.step()
    return found


def main():
    common = {"epochs": EPOCHS, "learning_rate_per": "epoch"}
    schedules = []
    for schedule, warmup in itertools.product(SCHEDULES.values(), WARMUPS.values()):
        recipe = {**common, "batch": IMAGES, "learning_rate": 0.1, "schedule": schedule, **warmup}
        schedules.append({"recipe": recipe, "rates": rates_of(recipe)})
    runs = []
    warmups = itertools.cycle(WARMUPS.values())
    for optimizer, schedule, average, batches in itertools.product(
        OPTIMIZERS.values(), SCHEDULES.values(), AVERAGES.values(), (1, 3)
    ):
        recipe = {**common, **DECAYS, "label_smoothing": SMOOTHING, **optimizer, **average, **next(warmups)}
        recipe |= {"schedule": schedule, "batch": IMAGES // batches}
        if batches > 1:
            recipe["accumulate"] = batches
        net, mean = train(recipe)
        runs.append({"recipe": recipe, "weights": held(net), **({"average": held(mean)} if mean else {})})
    place = pathlib.Path(__file__).parents[1] / "fixtures/pytorch/recipes.json"
    lines = [json.dumps(case) for case in schedules], [json.dumps(case) for case in runs]
    body = [",\n".join(part) for part in lines]
    place.write_text(f'{{"schedules": [\n{body[0]}\n], "runs": [\n{body[1]}\n]}}\n')
    print(f"{place}: {len(schedules)} schedules, {len(runs)} runs, {place.stat().st_size} bytes")


if __name__ == "__main__":
    main()
