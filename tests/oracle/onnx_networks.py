"""Networks exported to ONNX by both of PyTorch's exporters, run by flipside and by PyTorch.

    venv/bin/python tests/oracle/onnx_networks.py --flipside target/release/flipside
    venv/bin/python tests/oracle/onnx_networks.py --flipside target/release/flipside resnet18 timm:vgg11

Prints a line for each network and exporter: the largest difference of a logit over the largest logit, or what
flipside refuses. It wants `pip install torch torchvision timm onnx onnxscript safetensors`. No fixture.
"""

import argparse
import json
import logging
import pathlib
import subprocess
import sys
import tempfile
import warnings

import torch
import torchvision
from safetensors.torch import load_file, save_file

# The smallest network of each family of torchvision.
TORCHVISION = """alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s googlenet inception_v3 maxvit_t
mnasnet0_5 mobilenet_v2 mobilenet_v3_small regnet_x_400mf regnet_y_400mf resnet18 resnet50 resnext50_32x4d
shufflenet_v2_x0_5 squeezenet1_0 squeezenet1_1 swin_t swin_v2_t vgg11 vgg11_bn vit_b_16 vit_b_32 wide_resnet50_2""".split()
IMAGES = 3
BOUND = 1e-4


def build(name):
    """The network with weights that let every part have its say, and the side of its images."""
    torch.manual_seed(17)
    if name.startswith("timm:"):
        import timm

        net = timm.create_model(name.removeprefix("timm:"), pretrained=False)
        side = net.default_cfg["input_size"][1]
    else:
        more = {"aux_logits": False, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
        net = torchvision.models.get_model(name, weights=None, **more)
        side = 299 if name == "inception_v3" else 224
    with torch.no_grad():
        for parameter in net.parameters():
            # Scales, biases, norms: those of layers begin at 1, 0 or next to nothing.
            if parameter.dim() <= 1 or parameter.abs().max() < 1e-3:
                base = 0.5 if parameter.abs().max() > 0.5 or 0 < parameter.abs().max() < 1e-3 else 0.0
                parameter.add_(torch.rand_like(parameter) * 0.4 + base - 0.2)
        # Statistics of what the layers see, or nearly; others would make f32 sums cancel.
        for module in net.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.momentum = 1.0
        net.train()(torch.randn(4, 3, side, side))
        for key, buffer in net.named_buffers():
            if key.endswith(("running_mean", "running_var")):
                buffer.mul_(torch.rand_like(buffer) * 0.4 + 0.8)
    return net.eval(), side


def export(net, side, exporter, path):
    example = (torch.zeros(1, 3, side, side),)
    if exporter == "dynamo":
        torch.onnx.export(net, example, path, dynamo=True, external_data=False, verbose=False)
    else:
        names = {"input_names": ["input"], "output_names": ["output"]}
        axes = {"input": {0: "N"}, "output": {0: "N"}}
        torch.onnx.export(net, example, path, dynamo=False, opset_version=17, dynamic_axes=axes, **names)


def compare(flipside, name, exporter, folder):
    net, side = build(name)
    model, images, logits = (folder / file for file in ("net.onnx", "images.safetensors", "logits.safetensors"))
    export(net, side, exporter, model)
    batch = torch.randn(IMAGES, 3, side, side)
    with torch.no_grad():
        expected = net(batch)
    save_file({"input": batch}, images)
    command = [flipside, "predict", "--model", model, "--input", images, "--logits", logits, "--quiet"]
    run = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=600)
    if run.returncode != 0:
        return None, run.stderr.strip()
    found = load_file(logits)["logits"]
    return ((found - expected).abs().max() / expected.abs().max()).item(), ""


def main():
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flipside", type=pathlib.Path, required=True)
    parser.add_argument("--exporter", choices=["torchscript", "dynamo"], action="append")
    parser.add_argument("--lines", type=int, default=4, help="lines of a refusal")
    parser.add_argument("names", nargs="*", default=TORCHVISION)
    args = parser.parse_args()
    counts = {"equal": 0, "refused": 0, "different": 0}
    for name in args.names:
        for exporter in args.exporter or ["torchscript", "dynamo"]:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    error, why = compare(args.flipside.resolve(), name, exporter, pathlib.Path(folder))
                except Exception as problem:  # an export that PyTorch itself can't do
                    print(f"{name:24} {exporter:12} not exported: {str(problem).splitlines()[0][:120]}", flush=True)
                    continue
            if error is None:
                counts["refused"] += 1
                lines = why.splitlines()
                print(f"{name:24} {exporter:12} refused: " + "\n    ".join(lines[: args.lines]), flush=True)
                continue
            counts["equal" if error <= BOUND else "different"] += 1
            print(f"{name:24} {exporter:12} {error:.1e}{'' if error <= BOUND else '  DIFFERS'}", flush=True)
    print(json.dumps(counts))
    sys.exit(counts["different"] > 0)


if __name__ == "__main__":
    main()
