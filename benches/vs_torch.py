"""Images a second of this crate and of PyTorch on the same CPU, in alternating rounds.

    python3 -m venv venv
    venv/bin/pip install torch torchvision
    venv/bin/python benches/vs_torch.py [--rounds 5] [--threads 2] [--only TEXT]

The forward passes are in eval mode, the training step is forward, backward and SGD with momentum.
Each figure is the median over the rounds; in a round each contestant gives its own median.
"""

import argparse
import os
import pathlib
import re
import statistics
import subprocess
import time

import torch
import torchvision

ROOT = pathlib.Path(__file__).resolve().parent.parent
FORWARD = [(model, 224, batch) for model in ("resnet18", "resnet50") for batch in (8, 1)]
TRAINING = [("resnet18", 64, 128)]


def torch_forward(name, size, batch, layout):
    model = torchvision.models.get_model(name).eval().to(memory_format=layout)
    images = torch.randn(batch, 3, size, size).contiguous(memory_format=layout)

    def run():
        with torch.inference_mode():
            model(images)

    return run


def torch_training(name, size, batch, layout):
    model = torchvision.models.get_model(name, num_classes=200).to(memory_format=layout)
    images = torch.randn(batch, 3, size, size).contiguous(memory_format=layout)
    labels = torch.arange(batch) % 200
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)

    def run():
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimiser.step()

    return run


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


def flipside(binary, name, size, batch, repeats, threads):
    command = [binary, name, str(size), str(batch), str(repeats)]
    environment = {**os.environ, "RAYON_NUM_THREADS": str(threads)}
    said = subprocess.run(
        command, cwd=ROOT, env=environment, check=True, text=True, stdout=subprocess.PIPE
    ).stdout
    return float(re.search(r"([\d.]+) images/s", said).group(1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="", help="only rows whose name holds this text")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    binaries = bench_binaries()

    rows = [("forward", "forward", torch_forward, *shape) for shape in FORWARD]
    rows += [("training", "train_step", torch_training, *shape) for shape in TRAINING]
    print(f"PyTorch {torch.__version__}, {arguments.threads} threads, {arguments.rounds} rounds")
    print("images/s; the ratio is to the faster of PyTorch's two\n")
    print("| what | flipside | PyTorch | PyTorch channels-last | ratio |")
    print("|---|---|---|---|---|")
    for what, binary, make, name, size, batch in rows:
        title = f"{name} {what}, {size}², batch {batch}"
        if arguments.only not in title:
            continue
        repeats = 3 if what == "training" else 5 if batch > 1 else 15
        layouts = (torch.contiguous_format, torch.channels_last)
        runs = [make(name, size, batch, layout) for layout in layouts]
        rates = [[], [], []]
        for _ in range(arguments.rounds):
            ours = flipside(binaries[binary], name, size, batch, repeats, arguments.threads)
            rates[0].append(ours)
            for place, run in enumerate(runs, 1):
                rates[place].append(rate(run, batch, repeats))
        ours, plain, last = map(statistics.median, rates)
        ratio = ours / max(plain, last)
        print(f"| {title} | {ours:.1f} | {plain:.1f} | {last:.1f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
