"""PyTorch's weights into flipside and back, for each model that both have.

Run from the root of the repository, in an environment with torch, torchvision, timm and
safetensors, after `cargo build --release`:

    python tests/oracle/roundtrip.py [MODEL ...] [--head baseline] [--classes N] [--image-size N]

For each model and head:

1. PyTorch's model with the formula's weights is saved by a plain `torch.save(model.state_dict())`.
2. `flipside convert` writes that as safetensors, which has to hold the same names, and the same
   values to the bit, and which PyTorch's model has to load with `strict=True`.
3. `flipside predict --logits` on the `.pth` and on the safetensors, and PyTorch's model with the
   weights of the latter, see the same images. The two of flipside are equal bits; against PyTorch
   the largest difference is printed, over the largest logit, and has to be below 1e-4, the limit
   that README.md sets for logits; summing in another order leaves a few 1e-6.

One line a model and head; the exit code is 1 when one fails.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import networks
import torch
import torchvision
from safetensors.torch import load_file, save_file

FLIPSIDE = pathlib.Path("target/release/flipside")
# Of the largest logit.
TOLERANCE = 1e-4
IMAGES = 2


def known():
    """Models of models/*.toml that torchvision or timm has."""
    theirs = {*torchvision.models.list_models(torchvision.models), *getattr(networks, "TIMM", {})}
    return [path.stem for path in sorted(pathlib.Path("models").glob("*.toml")) if path.stem in theirs]


def flipside(*words):
    done = subprocess.run([FLIPSIDE, *map(str, words)], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())


def same_state(ours, theirs):
    """What differs between two state dicts, `None` where nothing does."""
    if ours.keys() != theirs.keys():
        return f"keys differ: {sorted(ours.keys() ^ theirs.keys())[:5]}"
    for name, tensor in theirs.items():
        if ours[name].shape != tensor.shape or ours[name].dtype != tensor.dtype:
            return f"{name}: {ours[name].dtype} {list(ours[name].shape)}, not {tensor.dtype} {list(tensor.shape)}"
        if not torch.equal(ours[name], tensor):
            return f"{name}: other values"
    return None


def check(name, head, classes, side, folder):
    """The largest difference of logits, over the largest logit."""
    pth, converted = folder / "model.pth", folder / "model.safetensors"
    net = networks.build(name, head, classes).eval()
    torch.save(net.state_dict(), pth)
    flipside("convert", "--model", name, "--checkpoint", pth, "--out", converted)
    state = load_file(converted)
    difference = same_state(state, net.state_dict())
    if difference:
        raise RuntimeError(difference)
    again = networks.build(name, head, classes).eval()
    for tensor in again.state_dict().values():
        tensor.zero_()
    again.load_state_dict(state, strict=True)

    images = networks.images(IMAGES, side)
    save_file({"input": images.contiguous()}, folder / "input.safetensors")
    logits = []
    for checkpoint in pth, converted:
        out = folder / "logits.safetensors"
        flipside("predict", "--model", name, "--checkpoint", checkpoint, "--image-size", side,
                 "--input", folder / "input.safetensors", "--logits", out)  # fmt: skip
        logits.append(load_file(out)["logits"])
    if not torch.equal(*logits):
        raise RuntimeError("the .pth and the safetensors give other logits")
    with torch.no_grad():
        expected = again(images)
    if logits[0].shape != expected.shape or not expected.isfinite().all():
        raise RuntimeError(f"logits of shape {list(logits[0].shape)}, PyTorch's {list(expected.shape)}")
    return ((logits[0] - expected).abs().max() / expected.abs().max()).item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", help="default: all that both sides have")
    parser.add_argument("--head", choices=["baseline", "text-guided"], help="default: both")
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--image-size", type=int, default=224)
    args = parser.parse_args()
    heads = [args.head] if args.head else ["baseline", "text-guided"]
    failed = False
    for name in args.models or known():
        for head in heads:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    error = check(name, head, args.classes, args.image_size, pathlib.Path(folder))
                    verdict = f"{error:.1e} of the largest logit"
                    bad = not error < TOLERANCE
                except RuntimeError as reason:
                    verdict, bad = str(reason), True
            print(f"{'FAILED' if bad else 'ok':6} {name:18} {head:12} {verdict}", flush=True)
            failed |= bad
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
