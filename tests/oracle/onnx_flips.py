"""Single bit flips in networks that PyTorch exported to ONNX, in flipside and in PyTorch.

    venv/bin/python tests/oracle/onnx_flips.py --flipside target/release/flipside

Exports each network with its batch norms kept apart. Flips bits of outputs of convolutions and linear layers, a flip an
image, and compares the logits with those that PyTorch makes of the same flip in a forward hook: infinities and NaN in the
same places, other logits within 1e-4 of the largest. Prints a line for each network. A neuron that is small beside its
layer's others, or lies beside a power of two, so that the two programs' flipped values may not be alike, isn't taken. It
wants what `onnx_networks.py` wants.
"""

import argparse
import json
import logging
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
import warnings

import torch
from safetensors.torch import load_file, save_file
from torch import nn

import onnx_networks

NETWORKS = """resnet18 mobilenet_v2 densenet121 convnext_tiny shufflenet_v2_x0_5 googlenet efficientnet_b0 vit_b_16 swin_v2_t
timm:deit_tiny_patch16_224 timm:resnetv2_50 timm:convnextv2_atto""".split()
BOUND = 1e-4
# A flipped value that is alike in both programs: the share that it may differ by.
ALIKE = 1e-3
# PyTorch's GELU doubles a value before it halves it, so that larger ones overflow there.
LARGEST = 2.0**126
BITS = range(22, 32)
# Of a layer's largest output: what is less may be all rounding, which a flip makes as large as itself.
SHARE = 0.1


def flipped(value, bit):
    return struct.unpack("<f", struct.pack("<I", struct.unpack("<I", struct.pack("<f", value))[0] ^ 1 << bit))[0]


def run(flipside, model, images, logits, faults):
    command = [flipside, "predict", "--model", model, "--input", images, "--logits", logits, "--json", "--quiet"]
    for fault in faults:
        command += ["--fault", ",".join(f"{key}={value}" for key, value in fault.items())]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=1200)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    return load_file(logits)["logits"], json.loads(done.stdout)


def layers_of(flipside, model, net):
    """The layers that both programs have by one name, with their shapes in flipside."""
    done = subprocess.run([str(flipside), "models", str(model), "--json"], capture_output=True, text=True, check=True)
    modules = dict(net.named_modules())
    layers = [(layer["layer"], layer["shape"]) for layer in json.loads(done.stdout)["layers"]]
    return [(name, shape) for name, shape in layers if isinstance(modules.get(name), (nn.Conv2d, nn.Linear))]


def outputs_of(net, names, image):
    """What the modules put out for an image, flipside's channels × rows × columns behind it."""
    found, handles = {}, []
    for name in names:
        keep = lambda module, inputs, output, name=name: found.update({name: output.clone()})
        handles.append(net.get_submodule(name).register_forward_hook(keep))
    net(image)
    [handle.remove() for handle in handles]
    return found


def place_in(output, shape, place):
    """The index in PyTorch's output of an element of flipside's map."""
    channel, row, column = place
    if output.dim() == 4 and list(output.shape[1:]) == shape:
        return (0, channel, row, column)
    # Channels last: tokens or pixels in order.
    pixel = row * shape[2] + column
    index = [channel]
    for size in reversed(output.shape[:-1]):
        index.insert(0, pixel % size)
        pixel //= size
    return tuple(index)


def flips_of(net, layers, image, count):
    """Flips at different layers and bits, with the value that PyTorch's neuron gets."""
    draw = random.Random(11)
    outputs = outputs_of(net, [name for name, _ in layers], image)
    # Not those that PyTorch calls as bare functions, where hooks see nothing.
    layers = [layer for layer in draw.sample(layers, len(layers)) if layer[0] in outputs]
    flips = []
    while len(flips) < count:
        name, shape = layers[len(flips) % len(layers)]
        place = tuple(draw.randrange(size) for size in shape)
        index = place_in(outputs[name], shape, place)
        value, bit = outputs[name][index].item(), draw.choice(BITS)
        near = [flipped(value * (1 + by), bit) for by in (-1e-5, 1e-5)]
        after = flipped(value, bit)
        is_firm = abs(value) > SHARE * outputs[name].abs().max().item()
        if is_firm and abs(after) < LARGEST and all(abs(other - after) <= ALIKE * abs(after) for other in near):
            flips.append({"layer": name, "place": place, "index": index, "bit": bit, "value": after})
    return flips


def faulty(net, image, flip):
    def put(module, inputs, output):
        output = output.clone()
        output[flip["index"]] = flip["value"]
        return output

    handle = net.get_submodule(flip["layer"]).register_forward_hook(put)
    logits = net(image)[0]
    handle.remove()
    return logits


def kinds(logits):
    return torch.where(logits.isnan(), 2.0, torch.where(logits.isinf(), logits.sign(), torch.zeros_like(logits)))


def compare(flipside, name, count, folder):
    net, side = onnx_networks.build(name)
    model, images, logits = (folder / file for file in ("net.onnx", "images.safetensors", "logits.safetensors"))
    torch.onnx.export(
        net, (torch.zeros(1, 3, side, side),), model, dynamo=False, opset_version=17, do_constant_folding=False,
        training=torch.onnx.TrainingMode.PRESERVE, input_names=["input"], output_names=["output"],
        dynamic_axes={"input": {0: "N"}, "output": {0: "N"}},
    )
    image = torch.randn(1, 3, side, side)
    save_file({"input": image.repeat(count, 1, 1, 1)}, images)
    with torch.no_grad():
        flips = flips_of(net, layers_of(flipside, model, net), image, count)
        expected = torch.stack([faulty(net, image, flip) for flip in flips])
        clean = net(image)[0]
    faults = [
        {"layer": flip["layer"], "image": at, **dict(zip(("channel", "row", "column"), flip["place"])), "bit": flip["bit"]}
        for at, flip in enumerate(flips)
    ]
    found, _ = run(flipside, model, images, logits, faults)
    worst, wrong, seen = 0.0, [], 0
    for flip, a, b in zip(flips, found, expected):
        finite = b.isfinite()
        largest = b[finite].abs().max().item() if finite.any() else 1.0
        error = ((a - b)[finite].abs().max() / largest).item() if finite.any() else 0.0
        seen += bool(not finite.all() or (b - clean).abs().max() > BOUND * clean.abs().max())
        if not torch.equal(kinds(a), kinds(b)) or error > BOUND:
            wrong.append(f"{flip['layer']} {flip['place']} bit {flip['bit']} to {flip['value']:.3g}: {error:.1e}")
        worst = max(worst, error if torch.equal(kinds(a), kinds(b)) else 0.0)
    return len({flip["layer"] for flip in flips}), worst, wrong, seen


def main():
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flipside", type=pathlib.Path, required=True)
    parser.add_argument("--flips", type=int, default=50)
    parser.add_argument("names", nargs="*", default=NETWORKS)
    args = parser.parse_args()
    differ = 0
    for name in args.names:
        with tempfile.TemporaryDirectory() as folder:
            layers, worst, wrong, seen = compare(args.flipside.resolve(), name, args.flips, pathlib.Path(folder))
        differ += len(wrong)
        print(f"{name:28} {args.flips} flips, {layers} layers, {seen} change a logit, worst {worst:.1e}, {len(wrong)} differ", flush=True)
        for line in wrong:
            print(f"    {line}", flush=True)
    sys.exit(differ > 0)


if __name__ == "__main__":
    main()
