"""Writes the fixtures of tests/fixtures/pytorch; see README.md. Half an hour on two cores."""

import argparse
import json
import pathlib

import torch

import figures
import flips
import goldeneye
import modules
import networks
import ops
import samples
import training

CLASSES = 1000
LOGITS = 128


def sides(backbone):
    """The size a network is made for, and a small one that pads or rounds, where it takes another."""
    if backbone.startswith("swin"):
        return 256, 224
    return (224,) if backbone == "maxvit_t" else (224, 64)


def logits_case(net, side):
    """Two images, eval mode. `net` leaves in f32 as it came."""
    x = networks.images(2, side)
    with torch.no_grad():
        single = net(x).double()
        exact = net.double()(x.double())
    net.float()
    largest = exact.abs().max().item()
    apart = ((exact[0] - exact[1]).norm() / exact[0].norm()).item()
    if not apart > 0.01:
        raise SystemExit(f"the two images' logits differ by {100 * apart:.2f} % only")
    return {
        "side": side,
        "max_abs": figures.digits(largest, 10),
        "f32_error": figures.digits((single - exact).abs().max() / largest, 4),
        "images_apart": figures.digits(apart, 6),
        "top1": exact.argmax(1).tolist(),
        "images": [figures.figures(row, LOGITS) for row in exact],
    }


def network(backbone, head):
    net = networks.build(backbone, head, CLASSES).eval()
    count = sum(p.numel() for p in net.parameters())
    cases = [logits_case(net, side) for side in sides(backbone)]
    del net
    return {
        "backbone": backbone,
        "model": f"timm {networks.TIMM[backbone]}" if backbone in networks.TIMM else f"torchvision {backbone}",
        "head": head,
        "ranges": networks.ranges(backbone),
        "classes": CLASSES,
        "parameter_count": count,
        "cases": cases,
        "training": training.case(backbone, head),
    }


# The keys of objects whose entries, and of lists whose items, have a line each: diffs stay readable.
OPEN = {"", "training"}
ROWS = {"parameters", "buffers", "cases", "fills", "words", "figures", "flips",
        "golden", "layers", "injections", "losses"}


def rendered(value, key=""):
    if key in OPEN:
        return "{" + ",\n".join(f"{json.dumps(k)}:{rendered(v, k)}" for k, v in value.items()) + "}"
    if key in ROWS:
        return "[\n" + ",\n".join(rendered(row, None) for row in value) + "]"
    return json.dumps(value, separators=(",", ":"))


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(rendered(value) + "\n")
    print(f"{path.name}: {path.stat().st_size} bytes", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    home = pathlib.Path(__file__).resolve().parents[1] / "fixtures" / "pytorch"
    parser.add_argument("--out", type=pathlib.Path, default=home)
    parser.add_argument("--threads", type=int, default=2)
    parts = ["formula", "ops", "modules", "networks", "flips", "goldeneye"]
    parser.add_argument("--only", choices=parts)
    parser.add_argument("--backbones", nargs="+", default=networks.BACKBONES, choices=networks.BACKBONES)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    wanted = [args.only] if args.only else parts

    if "formula" in wanted:
        write(args.out / "formula.json", samples.samples())
    if "ops" in wanted:
        write(args.out / "ops.json", {"cases": ops.cases()})
    if "modules" in wanted:
        write(args.out / "modules.json", {"cases": modules.cases()})
    if "flips" in wanted:
        for backbone in (name for name in args.backbones if name in flips.SIDES):
            for head in networks.HEADS:
                write(args.out / "flips" / f"{backbone}-{head}.json", flips.case(backbone, head))
    if "goldeneye" in wanted:
        write(args.out / "goldeneye.json", goldeneye.cases())
    if "networks" in wanted:
        for backbone in args.backbones:
            for head in networks.HEADS:
                value = network(backbone, head)
                print(backbone, head, value["parameter_count"], value["training"]["losses"],
                      "logits", [(c["side"], c["f32_error"], c["images_apart"]) for c in value["cases"]],
                      value["training"]["f32_share"])
                write(args.out / "networks" / f"{backbone}-{head}.json", value)


if __name__ == "__main__":
    main()
