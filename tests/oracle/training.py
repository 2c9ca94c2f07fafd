"""Three training steps of a network's smooth twin: in f64, and in f32 to know its error."""

import torch
import torch.nn.functional as F

import figures
import networks

CLASSES = 20
STEPS = 3
GRADIENT_ELEMENTS, STEP_ELEMENTS, STEP_PROJECTIONS = 8, 4, 4
# The gradients of the first step are small against AdamW's eps, so that its update is smooth in them.
SGD = {"kind": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": False, "weight_decay": 1e-4}
ADAMW = {"kind": "adamw", "lr": 0.001, "beta1": 0.9, "beta2": 0.999, "eps": 0.1, "weight_decay": 0.05}
# Lower rates where three steps of 0.1 would blow f32's errors up.
RATES = {"mobilenet_v2": 0.003, "resnet101": 0.003, "resnet152": 0.0002}
# (batch, side) where it isn't (4, 64).
IMAGES = {"alexnet": (4, 96), "maxvit_t": (2, 224)}
# What PyTorch's own f32 may use of the bounds that the Rust tests set.
SHARE = 0.3
GRADIENT_BOUND, BUFFER_BOUND, LOSS_BOUND, VANISHING = 1e-3, 1e-4, 1e-4, 1e-5


def decays(name, shape, kind):
    """SGD decays everything; AdamW all but norms, biases, position tables and logit scales."""
    spared = len(shape) < 2 or name.endswith(("relative_position_bias_table", "logit_scale"))
    return kind == "sgd" or not spared


def make_optimiser(net, settings):
    groups = [[], []]
    for name, p in net.named_parameters():
        groups[decays(name, p.shape, settings["kind"])].append(p)
    groups = [
        {"params": groups[1], "weight_decay": settings["weight_decay"]},
        {"params": groups[0], "weight_decay": 0.0},
    ]
    if settings["kind"] == "sgd":
        return torch.optim.SGD(groups, lr=settings["lr"], momentum=settings["momentum"])
    betas = settings["beta1"], settings["beta2"]
    return torch.optim.AdamW(groups, lr=settings["lr"], betas=betas, eps=settings["eps"])


def run(net, x, labels, settings):
    """Losses, the first step's gradients and deltas, the weights' norms, and the buffers at the end."""
    optimiser = make_optimiser(net, settings)
    losses = []
    for step in range(STEPS):
        optimiser.zero_grad(set_to_none=True)
        loss = F.cross_entropy(net(x), labels)
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            gradients = {name: p.grad.clone() for name, p in net.named_parameters()}
            deltas = {name: p.detach().clone() for name, p in net.named_parameters()}
        optimiser.step()
        if step == 0:
            for name, p in net.named_parameters():
                torch.sub(p.detach(), deltas[name], out=deltas[name])
            norms = {name: p.norm().item() for name, p in net.named_parameters()}
    buffers = {
        name: b.detach().clone()
        for name, b in net.named_buffers()
        if not name.endswith(("num_batches_tracked", *networks.CONSTANTS))
    }
    return losses, gradients, deltas, norms, buffers


def distance(a, b):
    return (a.double() - b).norm().item()


def compare(single, exact, settings):
    """The worst share of each bound that f32 uses, and in which tensor (see "The rules" in README.md)."""
    worst = {"loss": (0.0, ""), "gradients": (0.0, ""), "delta": (0.0, ""), "buffers": (0.0, "")}

    def note(kind, share, name):
        if not share <= worst[kind][0]:
            worst[kind] = (share, name)

    for step, (a, b) in enumerate(zip(single[0], exact[0])):
        note("loss", abs(a - b) / (LOSS_BOUND * exact[0][0]), f"step {step + 1}")
    largest = max(g.norm().item() for g in exact[1].values())
    gain = settings["lr"] / settings.get("eps", 1.0)
    for name, g in exact[1].items():
        vanishes = g.norm().item() < 1e-9 * largest
        bound = VANISHING * largest if vanishes else GRADIENT_BOUND * g.norm().item()
        note("gradients", distance(single[1][name], g) / bound, name)
        delta = exact[2][name]
        bound = GRADIENT_BOUND * delta.norm().item() + 2.0**-23 * exact[3][name]
        bound += gain * VANISHING * largest if vanishes else 0.0
        note("delta", distance(single[2][name], delta) / bound, name)
    for name, b in exact[4].items():
        note("buffers", distance(single[4][name], b) / (BUFFER_BOUND * b.norm().item()), name)
    return worst


def case(backbone, head):
    settings = ADAMW if backbone.startswith(("maxvit", "swin", "focalnet")) else SGD
    settings = {**settings, "lr": RATES.get(backbone, settings["lr"])}
    batch, side = IMAGES.get(backbone, (4, 64))
    x = networks.images(batch, side)
    labels = torch.tensor([(7 * i + 3) % CLASSES for i in range(batch)])

    def fresh():
        return networks.build(backbone, head, CLASSES, twin=True).train()

    single = run(fresh(), x, labels, settings)
    net = fresh().double()
    exact = run(net, x.double(), labels, settings)
    losses, gradients, deltas, norms, buffers = exact
    worst = compare(single, exact, settings)
    for kind, (share, name) in worst.items():
        if not share <= SHARE:
            raise SystemExit(f"{backbone} {head}: f32 uses {share:.2f} of the bound of {kind}: {name}")
    return {
        "classes": CLASSES,
        "batch": batch,
        "side": side,
        "labels": labels.tolist(),
        "optimiser": settings,
        "parameter_count": sum(p.numel() for p in net.parameters()),
        "losses": [figures.digits(loss, 12) for loss in losses],
        "largest_gradient_norm": figures.digits(max(g.norm().item() for g in gradients.values()), 8),
        "f32_share": {kind: [figures.digits(share, 3), name] for kind, (share, name) in worst.items()},
        "parameters": [
            {
                "name": name,
                "shape": list(p.shape),
                "decays": decays(name, p.shape, settings["kind"]),
                "gradient": figures.figures(gradients[name], GRADIENT_ELEMENTS),
                "delta": figures.figures(deltas[name], STEP_ELEMENTS, STEP_PROJECTIONS),
                "norm": figures.digits(norms[name], 6),
            }
            for name, p in net.named_parameters()
        ],
        "buffers": [
            {"name": name, "shape": list(b.shape),
             "figures": figures.figures(b, STEP_ELEMENTS, STEP_PROJECTIONS)}
            for name, b in buffers.items()
        ],
    }
