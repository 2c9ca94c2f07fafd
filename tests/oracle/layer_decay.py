"""The scales of timm's layer-wise learning-rate decay, by our parameters' names; see README.md."""

import json
import pathlib
import re

import timm
from timm.optim import param_groups_layer_decay

DECAY = 0.75
# Ours and timm's.
MODELS = {
    "resnet18": "resnet18",
    "resnet50": "resnet50",
    "mobilenet_v2": "mobilenetv2_100",
    "swin_v2_t": "swinv2_tiny_window8_256",
    "swin_v2_s": "swinv2_small_window8_256",
    "focalnet_tiny": "focalnet_tiny_srf",
    "focalnet_small": "focalnet_small_srf",
}


def swin(name):
    """torchvision's `features` count stages and the merging of patches between them."""
    if match := re.match(r"layers\.(\d+)\.(downsample|blocks)\.(\w+)", name):
        stage, part, block = int(match[1]), match[2], match[3]
        return f"features.{2 * stage}." if part == "downsample" else f"features.{2 * stage + 1}.{block}."
    if name.startswith("patch_embed"):
        return "features.0."
    return name.split(".")[0] + "."


def mobilenet(name, blocks):
    """torchvision's `features`: stem, blocks in a row, last convolution."""
    if match := re.match(r"blocks\.\d+\.\d+", name):
        blocks.setdefault(match[0], len(blocks) + 1)
        return f"features.{blocks[match[0]]}."
    if name.startswith(("conv_stem", "bn1")):
        return "features.0."
    return "features.18." if name.startswith(("conv_head", "bn2")) else "classifier."


def block(name):
    """The same name on both sides: of the block, or of the part."""
    match = re.match(r"(layer\d+\.\d+|layers\.\d+\.blocks\.\d+|layers\.\d+\.downsample)\.", name)
    return match[0] if match else name.split(".")[0] + "."


def scales(ours, theirs):
    model = timm.create_model(theirs)
    names = {id(p): name for name, p in model.named_parameters()}
    groups = param_groups_layer_decay(model, layer_decay=DECAY)
    of = {names[id(p)]: group["lr_scale"] for group in groups for p in group["params"]}
    found, blocks = {}, {}
    for name in names.values():
        if ours.startswith("swin"):
            prefix = swin(name)
        elif ours == "mobilenet_v2":
            prefix = mobilenet(name, blocks)
        else:
            prefix = block(name)
        if found.setdefault(prefix, of[name]) != of[name]:
            raise SystemExit(f"{ours}: {prefix} has two scales")
    return found


def main():
    path = pathlib.Path(__file__).resolve().parents[1] / "fixtures" / "pytorch" / "layer_decay.json"
    models = {ours: scales(ours, theirs) for ours, theirs in MODELS.items()}
    rows = ",\n".join(f"{json.dumps(name)}:{json.dumps(of, separators=(',', ':'))}" for name, of in models.items())
    path.write_text(f'{{"decay":{DECAY},"scales":{{\n{rows}\n}}}}\n')


if __name__ == "__main__":
    main()
