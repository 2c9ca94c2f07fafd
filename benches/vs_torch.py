"""A training step of ResNet-18 in PyTorch and here, in one go.

    python3 -m venv venv && venv/bin/pip install torch torchvision
    venv/bin/python benches/vs_torch.py [IMAGE_SIZE] [BATCH]

Runs alternate three times; medians of steps, two threads, random data. Prints images a second.
"""

import re
import statistics
import subprocess
import sys
import time

import torch
import torchvision

SIZE, BATCH = (int(word) for word in (sys.argv[1:] + ["64", "128"][len(sys.argv) - 1 :])[:2])
STEPS = 8


def torch_step(channels_last):
    torch.set_num_threads(2)
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=20).train()
    images = torch.randn(BATCH, 3, SIZE, SIZE)
    labels = torch.arange(BATCH) % 20
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    times = []
    for _ in range(STEPS + 2):
        start = time.perf_counter()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
    return BATCH / statistics.median(times[2:])


def flipside_step():
    command = ["cargo", "bench", "-q", "--bench", "train_step", "--"]
    command += ["resnet18", str(SIZE), str(BATCH), str(STEPS)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(re.search(r"([\d.]+) images/s", output).group(1))


peers = {
    "PyTorch": lambda: torch_step(False),
    "PyTorch, channels-last": lambda: torch_step(True),
    "flipside": flipside_step,
}
found = {name: [] for name in peers}
for _ in range(3):
    for name, run in peers.items():
        found[name].append(run())
ours = statistics.median(found["flipside"])
print(f"ResNet-18, {SIZE}×{SIZE}, batch {BATCH}, training step, torch {torch.__version__}")
for name, rates in found.items():
    rate = statistics.median(rates)
    print(f"{name:24} {rate:8.1f} images/s   flipside is {ours / rate:.2f}×")
