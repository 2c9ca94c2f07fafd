"""Images a second of this crate, of PyTorch and of onnxruntime on the same CPU, in alternating rounds.

    python3 -m venv venv
    venv/bin/pip install torch torchvision timm onnx onnxruntime
    venv/bin/python benches/vs_torch.py [--rounds 3] [--threads 2] [--only TEXT] [--training]

Forward passes of all backbones in eval mode at their own image size, batch 1 and 8; with --training,
training steps (forward, backward, update) instead. Every contestant takes its turn in each round
and gives the median of its passes there; figures are medians over the rounds. The ratio is to
PyTorch in channels-last.
"""

import argparse
import os
import pathlib
import re
import statistics
import subprocess
import tempfile
import time
import warnings

import onnxruntime
import timm
import torch
import torchvision

# The exporter that needs no further package is announced to go.
warnings.filterwarnings("ignore", category=DeprecationWarning)
ROOT = pathlib.Path(__file__).resolve().parent.parent
MODELS = [
    "alexnet", "vgg16_bn", "vgg19_bn", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152",
    "mobilenet_v2", "maxvit_t", "swin_v2_t", "swin_v2_s", "focalnet_tiny", "focalnet_tiny_lrf",
    "focalnet_small", "focalnet_small_lrf",
]
SIZES = {"swin_v2_t": 256, "swin_v2_s": 256}
# Model, image size, batch.
TRAINING = [("resnet18", 64, 128), ("resnet50", 64, 32), ("mobilenet_v2", 64, 64), ("swin_v2_t", 64, 64)]


def build(name, **options):
    if name.startswith("focalnet"):
        receptive = name if name.endswith("_lrf") else f"{name}_srf"
        return timm.create_model(receptive, **options)
    return torchvision.models.get_model(name, **options)


class TorchForward:
    def __init__(self, name, size, batch):
        self.model = build(name).eval().to(memory_format=torch.channels_last)
        images = torch.randn(batch, 3, size, size)
        self.images = images.contiguous(memory_format=torch.channels_last)

    def __call__(self):
        with torch.inference_mode():
            self.model(self.images)


class TorchTraining:
    def __init__(self, name, size, batch):
        self.model = build(name, num_classes=200).train().to(memory_format=torch.channels_last)
        images = torch.randn(batch, 3, size, size)
        self.images = images.contiguous(memory_format=torch.channels_last)
        self.labels = torch.arange(batch) % 200
        adamw = name.startswith(("swin", "maxvit", "focalnet"))
        rule = torch.optim.AdamW if adamw else torch.optim.SGD
        options = {} if adamw else {"momentum": 0.9}
        self.optimiser = rule(self.model.parameters(), lr=0.001, weight_decay=1e-4, **options)

    def __call__(self):
        self.optimiser.zero_grad()
        torch.nn.functional.cross_entropy(self.model(self.images), self.labels).backward()
        self.optimiser.step()


class OnnxForward:
    def __init__(self, name, size, batch, threads):
        images = torch.randn(batch, 3, size, size)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.onnx")
            torch.onnx.export(build(name).eval(), (images,), path, input_names=["x"], dynamo=False)
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            # Idle between its turns: threads that spin would slow the others down.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            self.session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        self.feed = {"x": images.numpy()}

    def __call__(self):
        self.session.run(None, self.feed)


class Flipside:
    """The benchmark's process: it runs some passes and prints its rate whenever it is asked to."""

    def __init__(self, binary, name, size, batch, repeats, threads):
        environment = {**os.environ, "RAYON_NUM_THREADS": str(threads)}
        command = [binary, name, str(size), str(batch), str(repeats), "--rounds"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes)

    def rate(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        said = self.process.stdout.readline()
        found = re.search(r"([\d.]+) images/s", said)
        if not found:
            raise SystemExit(f"the benchmark said {said!r}")
        return float(found.group(1))

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def rate(run, batch, repeats):
    """Images a second of the median of `repeats` runs after one that isn't counted."""
    run()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return batch / statistics.median(seconds)


def bench_binaries():
    """Builds the benchmarks; where each lies."""
    command = ["cargo", "bench", "--no-run", "--bench", "forward", "--bench", "train_step"]
    said = subprocess.run(command, cwd=ROOT, check=True, text=True, stderr=subprocess.PIPE).stderr
    found = re.findall(r"benches/(\w+)\.rs \((.+)\)", said)
    return {name: ROOT / path for name, path in found}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="", help="only rows whose name holds this text")
    parser.add_argument("--training", action="store_true", help="training steps, no forward passes")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    binaries = bench_binaries()
    threads = arguments.threads

    if arguments.training:
        rows, what = TRAINING, "training"
    else:
        rows, what = [(n, SIZES.get(n, 224), b) for n in MODELS for b in (8, 1)], "forward"
    print(
        f"torch {torch.__version__}, torchvision {torchvision.__version__}, timm {timm.__version__}, "
        f"onnxruntime {onnxruntime.__version__}; {threads} threads, {arguments.rounds} rounds\n"
    )
    columns = ["images/s", "flipside", "PyTorch", "ratio"]
    if not arguments.training:
        columns += ["onnxruntime", "ratio"]
    print("| " + " | ".join(columns) + " |")
    print("|---|" + "---:|" * (len(columns) - 1))
    for name, size, batch in rows:
        title = f"{name} {what}, {size}², batch {batch}"
        if arguments.only not in title:
            continue
        repeats = 3 if batch > 1 else 7
        if arguments.training:
            contestants = [TorchTraining(name, size, batch)]
            ours = Flipside(binaries["train_step"], name, size, batch, repeats, threads)
        else:
            contestants = [TorchForward(name, size, batch), OnnxForward(name, size, batch, threads)]
            ours = Flipside(binaries["forward"], name, size, batch, repeats, threads)
        rates = [[] for _ in range(1 + len(contestants))]
        for _ in range(arguments.rounds):
            rates[0].append(ours.rate())
            for place, run in enumerate(contestants, 1):
                rates[place].append(rate(run, batch, repeats))
        ours.close()
        medians = [statistics.median(r) for r in rates]
        cells = [title, f"{medians[0]:.1f}"]
        for other in medians[1:]:
            cells += [f"{other:.1f}", f"{medians[0] / other:.2f}"]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
