"""Writes every fixture of tests/fixtures/pytorch. About a minute on two cores; see README.md."""

import argparse
import copy
import json
import pathlib

import torch
import torch.nn.functional as F

import figures
import formula
import networks
import ops
import samples

LOGIT_COLUMNS = 128
GRADIENT_ELEMENTS = 64
STEP_ELEMENTS = 8
CLASSES = 1000
GRADIENT_CLASSES = 20
BATCH = 4
SIDE = 64
OPTIMISER = {"lr": 0.1, "momentum": 0.9, "nesterov": False, "weight_decay": 1e-4}


def logits_case(net, side):
    """Two images, eval mode. `net` leaves in f32 as it came."""
    x = networks.images(2, side)
    with torch.no_grad():
        single = net(x).double()
        exact = net.double()(x.double())
    net.float()
    largest = exact.abs().max().item()
    columns = figures.indices(exact.shape[1], LOGIT_COLUMNS)
    apart = ((exact[0] - exact[1]).norm() / exact[0].norm()).item()
    if apart <= 0.01:
        raise SystemExit(f"the two images' logits differ by {100 * apart:.2f} % only")
    return {
        "side": side,
        "max_abs": figures.digits(largest, 10),
        "f32_error": figures.digits((single - exact).abs().max() / largest, 4),
        "images_apart": figures.digits(apart, 6),
        "top1": exact.argmax(1).tolist(),
        "images": [
            {"figures": figures.figures(row, 64), "logits": [figures.digits(v, 9) for v in row[columns]]}
            for row in exact
        ],
    }


def backward(net, x, labels):
    net.zero_grad(set_to_none=True)
    loss = F.cross_entropy(net(x), labels)
    loss.backward()
    return loss.item(), {name: p.grad.detach().double() for name, p in net.named_parameters()}


def gradient_case(backbone, head):
    """One training step of the smooth twin: f64 throughout, and once in f32 to know its error."""
    net = networks.build(backbone, head, GRADIENT_CLASSES, twin=True).train()
    x = networks.images(BATCH, SIDE)
    labels = torch.tensor([(7 * i + 3) % GRADIENT_CLASSES for i in range(BATCH)])
    _, single = backward(copy.deepcopy(net), x, labels)

    net.double()
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimiser = torch.optim.SGD(net.parameters(), **OPTIMISER)
    loss, exact = backward(net, x.double(), labels)
    optimiser.step()

    largest = max(g.norm().item() for g in exact.values())
    errors = {
        name: ((single[name] - g).norm() / g.norm()).item()
        for name, g in exact.items()
        if g.norm().item() > 1e-9 * largest
    }
    parameters = []
    for name, after in net.named_parameters():
        delta = figures.figures(after - before[name], STEP_ELEMENTS)
        parameters.append({
            "name": name,
            "shape": list(after.shape),
            "gradient": figures.figures(exact[name], GRADIENT_ELEMENTS),
            "weight_norm": figures.digits(after.norm(), 10),
            "delta": delta,
        })
    buffers = [
        {"name": name, "shape": list(b.shape), "figures": figures.figures(b, STEP_ELEMENTS)}
        for name, b in net.named_buffers()
        if not name.endswith("num_batches_tracked")
    ]
    worst = max(errors, key=errors.get)
    return {
        "backbone": backbone,
        "head": head,
        "last_norm": networks.LAST_NORM[backbone],
        "classes": GRADIENT_CLASSES,
        "batch": BATCH,
        "side": SIDE,
        "labels": labels.tolist(),
        "optimiser": OPTIMISER,
        "parameter_count": sum(p.numel() for p in net.parameters()),
        "loss": figures.digits(loss, 14),
        "largest_gradient_norm": figures.digits(largest, 10),
        "f32_error": figures.digits(errors[worst], 4),
        "f32_error_tensor": worst,
        "parameters": parameters,
        "buffers": buffers,
    }


def network_logits(backbone, head):
    net = networks.build(backbone, head, CLASSES).eval()
    return {
        "backbone": backbone,
        "head": head,
        "last_norm": networks.LAST_NORM[backbone],
        "classes": CLASSES,
        "parameter_count": sum(p.numel() for p in net.parameters()),
        "cases": [logits_case(net, side) for side in (224, 64)],
    }


# The keys whose lists are written one entry a line, so that diffs stay readable.
ROWS = {"parameters", "buffers", "cases", "networks", "fills", "words", "figures"}


def write(path, value):
    def compact(v):
        return json.dumps(v, separators=(",", ":"))

    lines = []
    for key, v in value.items():
        if key in ROWS:
            rows = ",\n".join(compact(row) for row in v)
            lines.append(f"{compact(key)}:[\n{rows}]")
        else:
            lines.append(f"{compact(key)}:{compact(v)}")
    path.write_text("{" + ",\n".join(lines) + "}\n")
    print(f"{path.name}: {path.stat().st_size} bytes", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    home = pathlib.Path(__file__).resolve().parents[1] / "fixtures" / "pytorch"
    parser.add_argument("--out", type=pathlib.Path, default=home)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=["formula", "ops", "logits", "gradients"])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    wanted = lambda part: args.only in (None, part)

    if wanted("formula"):
        write(args.out / "formula.json", samples.samples())
    if wanted("ops"):
        write(args.out / "ops.json", {"cases": ops.cases()})
    pairs = [(b, h) for b in networks.LAST_NORM for h in ("baseline", "text-guided")]
    if wanted("logits"):
        nets = [network_logits(*pair) for pair in pairs]
        for net in nets:
            for c in net["cases"]:
                print(net["backbone"], net["head"], {k: c[k] for k in c if k != "images"})
        write(args.out / "logits.json", {"networks": nets})
    if wanted("gradients"):
        for pair in pairs:
            case = gradient_case(*pair)
            keys = ("parameter_count", "loss", "largest_gradient_norm", "f32_error", "f32_error_tensor")
            print(*pair, {k: case[k] for k in keys})
            write(args.out / f"gradients-{'-'.join(pair)}.json", case)


if __name__ == "__main__":
    main()
