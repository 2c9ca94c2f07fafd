"""What PyTorch takes for the operations of `flipside bench kernels`: cuDNN and cuBLAS on a GPU.

    flipside bench kernels --list --json [--batch N] > list.json
    python3 benches/kernels_vs_torch.py list.json peers.json [--device cuda|cpu] [--backward] [--quick] \
        [--limit N] [--seconds S]
    flipside bench kernels --device cuda [--batch N] --peers peers.json

Channels-last tensors, random values. Each operation is warmed up (cuDNN chooses its algorithm there), then
repeated for some rounds between two events; a figure is the median of the rounds. In true f32 (TF32 off),
then with TF32. A layer that is a plain matrix product runs as a convolution and as a product, and counts
with the faster. Whether cuDNN takes Winograd's algorithm is read off its kernels' names. What PyTorch has
no one operation for (windows of attention, gated sums, constants) is left out and counted at the end.
--limit takes the N operations with the most multiply-adds in the listed networks, --seconds begins none
after so many; the file is rewritten after each operation. Needs torch alone.
"""

import argparse
import contextlib
import json
import os
import statistics
import time

import torch
import torch.nn.functional as F

OF_ONE_MAP = {
    "relu": F.relu,
    "relu6": F.relu6,
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "hard_sigmoid": F.hardsigmoid,
    "hard_swish": F.hardswish,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "selu": F.selu,
    "softplus": F.softplus,
    "softsign": F.softsign,
    "mish": F.mish,
    "erf": torch.erf,
    "sqrt": torch.sqrt,
    "exp": torch.exp,
    "log": torch.log,
    "reciprocal": torch.reciprocal,
    "abs": torch.abs,
    "reduce_mean": lambda x: x.mean(1, keepdim=True),
    "reduce_sum": lambda x: x.sum(1, keepdim=True),
    "reduce_max": lambda x: x.amax(1, keepdim=True),
    "reduce_l2": lambda x: torch.linalg.vector_norm(x, dim=1, keepdim=True),
}


def images(shape, batch, device):
    """A batch of maps, (N, C, H, W) in channels-last memory."""
    values = torch.randn(batch, *shape, device=device)
    return values.contiguous(memory_format=torch.channels_last)


def convolution(shape, batch, device):
    """The layer's ways to run: cuDNN's convolution and, for plain products, cuBLAS's."""
    settings = shape["settings"]
    (channels, height, width), outputs = shape["inputs"][0], shape["output"][0]
    kernel, groups = settings["kernel_size"], settings["groups"]
    x = images(shape["inputs"][0], batch, device)
    w = torch.randn(outputs, channels // groups, *kernel, device=device) * 0.05
    w = w.contiguous(memory_format=torch.channels_last)
    bias = torch.randn(outputs, device=device) if settings["bias"] else None
    numbers = [settings[name] for name in ("stride", "padding", "dilation")]
    ways = [(lambda x, w: F.conv2d(x, w, bias, *numbers, groups), [x, w])]
    unpadded = groups == 1 and settings["padding"] == [0, 0]
    pointwise = kernel == [1, 1] and settings["stride"] == [1, 1]
    if unpadded and (pointwise or kernel == [height, width]):
        rows = x.permute(0, 2, 3, 1).reshape(-1, channels * kernel[0] * kernel[1])
        columns = w.permute(0, 2, 3, 1).reshape(outputs, -1).contiguous()
        ways.append((lambda x, w: F.linear(x, w, bias), [rows, columns]))
    return ways


def ways(shape, batch, device):
    """The ways in which PyTorch can do the operation: functions and their inputs; none if it can't."""
    kind, settings, inputs = shape["kind"], shape["settings"], shape["inputs"]
    if kind in ("conv2d", "linear"):
        return convolution(shape, batch, device)
    if not inputs:
        return []
    x = images(inputs[0], batch, device)
    channels = inputs[0][0]
    ones, zeros = torch.ones(channels, device=device), torch.zeros(channels, device=device)
    if kind in OF_ONE_MAP:
        return [(OF_ONE_MAP[kind], [x])]
    if kind == "batch_norm":
        return [(lambda x: F.batch_norm(x, zeros, ones, ones, zeros, x.requires_grad), [x])]
    if kind == "layer_norm":
        tokens = x.permute(0, 2, 3, 1)
        return [(lambda x: F.layer_norm(x, (channels,), ones, zeros), [tokens])]
    if kind == "softmax":
        return [(lambda x: F.softmax(x, 1), [x])]
    if kind == "l2_normalize":
        return [(lambda x: F.normalize(x, dim=1), [x])]
    if kind == "max_pool":
        numbers = [settings[name] for name in ("kernel_size", "stride", "padding", "dilation")]
        return [(lambda x: F.max_pool2d(x, *numbers), [x])]
    if kind == "avg_pool":
        numbers = [settings[name] for name in ("kernel_size", "stride", "padding")]
        include = settings["count_include_pad"]
        return [(lambda x: F.avg_pool2d(x, *numbers, count_include_pad=include), [x])]
    if kind == "adaptive_avg_pool":
        return [(lambda x: F.adaptive_avg_pool2d(x, settings["output_size"]), [x])]
    same = len(inputs) == 2 and inputs[0][0] == inputs[1][0]
    if kind in ("add", "multiply") and same:
        function = torch.add if kind == "add" else torch.mul
        return [(function, [x, images(inputs[1], batch, device)])]
    return []


class Clock:
    def __init__(self, device, rounds, round_ms):
        self.on_gpu, self.rounds, self.round_ms = device != "cpu", rounds, round_ms
        # What a graph captures; backward passes run on their forward pass's.
        self.stream = torch.cuda.Stream() if self.on_gpu else None

    def on_stream(self):
        return torch.cuda.stream(self.stream) if self.on_gpu else contextlib.nullcontext()

    def once(self, run, repeats):
        """Milliseconds of one of `repeats` runs."""
        if not self.on_gpu:
            start = time.perf_counter()
            for _ in range(repeats):
                run()
            return 1e3 * (time.perf_counter() - start) / repeats
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(repeats):
            run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / repeats

    def median(self, run):
        run()
        repeats = int(min(200, max(1, self.round_ms / max(self.once(run, 1), 1e-3))))
        run = self.captured(run, repeats)
        return statistics.median(self.once(run, 1) / repeats for _ in range(self.rounds))

    def captured(self, run, repeats):
        """`repeats` runs as one: a CUDA graph, so that PyTorch's host code isn't what is timed."""

        def all_of_them():
            for _ in range(repeats):
                run()

        if not self.on_gpu:
            return all_of_them
        torch.cuda.synchronize()
        with self.on_stream():
            run()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            all_of_them()
        return graph.replay


def with_tf32(allowed):
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def forward_ms(clock, shape, batch, device):
    with torch.inference_mode():
        times = [
            clock.median(lambda run=run, inputs=inputs: run(*inputs))
            for run, inputs in ways(shape, batch, device)
        ]
    return min(times) if times else None


def backward_ms(clock, shape, batch, device):
    times = []
    for run, inputs in ways(shape, batch, device):
        inputs = [value.detach().clone(memory_format=torch.preserve_format) for value in inputs]
        for value in inputs:
            value.requires_grad_()
        with clock.on_stream():
            y = run(*inputs)
            dy = torch.randn_like(y)
        times.append(
            clock.median(lambda: torch.autograd.grad(y, inputs, dy, retain_graph=True))
        )
    return min(times) if times else None


def multiply_adds(shape):
    """Those of the listed networks' nodes of this shape, in products; 0 of anything else."""
    if shape["kind"] not in ("conv2d", "linear"):
        return 0
    settings, (outputs, height, width) = shape["settings"], shape["output"]
    taps = settings["kernel_size"][0] * settings["kernel_size"][1]
    terms = taps * shape["inputs"][0][0] // settings["groups"]
    return sum(count for _, count in shape["models"]) * outputs * height * width * terms


def takes_winograd(shape, batch, device):
    if device == "cpu" or shape["kind"] != "conv2d":
        return False
    run, inputs = ways(shape, batch, device)[0]
    with torch.inference_mode():
        run(*inputs)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            run(*inputs)
            torch.cuda.synchronize()
    return any("winograd" in event.key.lower() for event in profile.key_averages())


def write(path, value):
    """The file is whole at any time."""
    with open(path + ".part", "w") as file:
        json.dump(value, file, indent=1)
    os.replace(path + ".part", path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("list", help="what `flipside bench kernels --list --json` printed")
    parser.add_argument("out", help="where to write the times")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--backward", action="store_true")
    parser.add_argument("--quick", action="store_true", help="three short rounds")
    parser.add_argument("--limit", type=int, help="the N with the most multiply-adds; all if absent")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin none after these")
    args = parser.parse_args()
    with open(args.list) as file:
        listed = json.load(file)
    shapes, batch = listed["shapes"], listed["batch"]
    if args.limit is not None:
        shapes = sorted(shapes, key=multiply_adds, reverse=True)[: args.limit]
    clock = Clock(args.device, *((3, 0.0) if args.quick else (15, 2.0)))
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    peer = f"PyTorch {torch.__version__}"
    if args.device != "cpu":
        peer += f" (cuDNN {torch.backends.cudnn.version()}) on {torch.cuda.get_device_name()}"
    times, without = {}, {}
    start = time.perf_counter()
    for shape in shapes:
        if time.perf_counter() - start > args.seconds:
            break
        with_tf32(False)
        taken = forward_ms(clock, shape, batch, args.device)
        if taken is None:
            without[shape["kind"]] = without.get(shape["kind"], 0) + 1
            continue
        entry = {"forward_ms": taken, "winograd": takes_winograd(shape, batch, args.device)}
        if args.backward:
            try:
                entry["backward_ms"] = backward_ms(clock, shape, batch, args.device)
            except RuntimeError as error:
                print(f"{shape['name']}, backward: {str(error).splitlines()[0]}", flush=True)
        if args.device != "cpu" and shape["kind"] in ("conv2d", "linear"):
            with_tf32(True)
            entry["forward_tf32_ms"] = forward_ms(clock, shape, batch, args.device)
        times[shape["id"]] = entry
        print(f"{shape['name']:<60} {taken:9.4f} ms", flush=True)
        write(args.out, {"peer": peer, "batch": batch, "times": times})
    left_out = ", ".join(f"{kind} {count}" for kind, count in sorted(without.items()))
    print(f"{len(times)} of {len(shapes)} written; without a peer: {left_out or 'none'}")


if __name__ == "__main__":
    main()
