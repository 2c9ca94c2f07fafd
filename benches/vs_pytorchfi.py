"""Injections a second of this crate and of PyTorchFI on the same CPU, in alternating rounds.

    python3 -m venv venv
    venv/bin/pip install torch torchvision pytorchfi==0.6.0
    cargo build --release
    venv/bin/python benches/vs_pytorchfi.py [--rounds 3] [--threads 2] [--only TEXT] [--binary FILE]

Images of 224×224, random weights, layers (every Conv2d and Linear that PyTorchFI hooks) uniform, one
neuron of one layer an injection.

PyTorchFI as its documentation has it: batches of 8, `random_neuron_inj_batched` (one random neuron of a
random layer in each image; a random value, the cheapest of its error models: its bit flips go through
strings, and fail in Linear layers), then the corrupted model on the batch. Its own fault-free pass, which
a campaign needs to compare with, is left out.

This crate: `flipside bench inject`. A campaign of N injections a layer over M images runs each image
fault-free once and injects N·layers/M times into it; here N = M, so that it is as many as there are layers
(resnet50: 54), as with 1,000 injections a layer over 1,000 images. The evaluation, the fault-free runs and
the outcomes are in the time. Every injection gives the logits of a whole run to the bit.
"""

import argparse
import contextlib
import io
import json
import logging
import pathlib
import statistics
import subprocess
import time
import warnings

import torch
import torchvision

from pytorchfi.core import fault_injection
from pytorchfi.neuron_error_models import random_neuron_inj_batched

ROOT = pathlib.Path(__file__).resolve().parent.parent
SIZE, BATCH = 224, 8
# Model, images of a round of ours, batches of a round of PyTorchFI's; without a peer where its hooks miss
# layers (Swin V2's qkv and proj).
ROWS = [
    ("resnet18", 16, 8),
    ("resnet50", 8, 4),
    ("mobilenet_v2", 16, 8),
    ("vgg16_bn", 8, 2),
    ("swin_v2_t", 8, 0),
]


class PyTorchFI:
    def __init__(self, name):
        model = torchvision.models.get_model(name).eval()
        layer_types = [torch.nn.Conv2d, torch.nn.Linear]
        with torch.inference_mode(), contextlib.redirect_stdout(io.StringIO()):
            self.injector = fault_injection(
                model, BATCH, input_shape=[3, SIZE, SIZE], layer_types=layer_types, use_cuda=False
            )
        self.images = torch.randn(BATCH, 3, SIZE, SIZE)

    def rate(self, batches):
        """Injections a second, after a batch that isn't counted."""
        start = 0.0
        with torch.inference_mode():
            for batch in range(batches + 1):
                if batch == 1:
                    start = time.perf_counter()
                corrupted = random_neuron_inj_batched(self.injector)
                corrupted(self.images)
        return batches * BATCH / (time.perf_counter() - start)


class Flipside:
    def __init__(self, binary, name, images, threads):
        self.command = [
            binary, "bench", "inject", "--model", name, "--image-size", str(SIZE), "--images", str(images),
            "--threads", str(threads), "--rounds", "1", "--json", "--quiet",
        ]

    def times(self, alone):
        said = subprocess.run(
            [*self.command, "--alone", str(alone)], check=True, text=True, stdout=subprocess.PIPE
        )
        return json.loads(said.stdout)


def layers_table(times):
    """Milliseconds of an injection by layer, alone on one core."""
    lines = ["| layer | ms an injection | % of a clean run | masked % |", "|---|---:|---:|---:|"]
    for layer in times["layers"]:
        share = 100 * layer["mean_ms"] / times["clean_ms"]
        lines.append(
            f"| {layer['layer']} | {layer['mean_ms']:.2f} | {share:.1f} | {layer['masked_percent']:.0f} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="", help="only models whose name holds this text")
    parser.add_argument("--alone", type=int, default=16, help="injections a layer, alone; 0: no such table")
    parser.add_argument("--binary", default=str(ROOT / "target/release/flipside"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")

    print(
        f"torch {torch.__version__}, torchvision {torchvision.__version__}, pytorchfi 0.6.0; "
        f"{arguments.threads} threads, medians of {arguments.rounds} alternating rounds\n"
    )
    print("| injections/s, 224² | flipside | PyTorchFI | ratio | injections an image | masked % |")
    print("|---|---:|---:|---:|---:|---:|", flush=True)
    tables = []
    for name, images, batches in ROWS:
        if arguments.only not in name:
            continue
        ours = Flipside(arguments.binary, name, images, arguments.threads)
        peer = PyTorchFI(name) if batches else None
        rates, peer_rates = [], []
        for number in range(arguments.rounds):
            is_last = number == arguments.rounds - 1
            times = ours.times(arguments.alone if is_last else 0)
            rates.append(times["injections_per_s"])
            if peer:
                peer_rates.append(peer.rate(batches))
        rate = statistics.median(rates)
        of_peer = statistics.median(peer_rates) if peer else None
        cells = [name, f"{rate:.1f}"]
        cells += [f"{of_peer:.1f}", f"{rate / of_peer:.1f}"] if peer else ["–", "–"]
        cells += [str(times["injections"] // images), f"{times['masked_percent']:.0f}"]
        print("| " + " | ".join(cells) + " |", flush=True)
        if arguments.alone:
            tables.append(f"\n{name}, {times['clean_ms']:.0f} ms a clean run:\n\n{layers_table(times)}")
    print("\n".join(tables))


if __name__ == "__main__":
    main()
