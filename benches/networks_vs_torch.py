"""What PyTorch takes for whole forward passes of networks, beside `flipside bench overhead`.

    python3 benches/networks_vs_torch.py [--device cuda|cpu] [--model NAME]... [--batch N]...
        [--type fp32|tf32|bf16]... [--seconds S] [--quick]

torchvision's networks with random weights in eval mode, channels-last, random images of the model's size;
on a GPU as a CUDA graph, cuDNN having chosen its algorithms before. Medians of rounds of some replays,
between two events. Types: `fp32` with TF32 off, `tf32` with it on, `bf16` with weights and activations in
bfloat16 (no autocast, so that nothing is converted between layers). Prints a JSON object a line, as each
is done; those that --seconds leave no time for are printed as left out. Needs torch and torchvision.
"""

import argparse
import itertools
import json
import time

import torch
import torchvision

from kernels_vs_torch import Clock, with_tf32

SIZES = {"swin_v2_t": 256}
TYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}


def pass_ms(clock, name, batch, kind, device, size):
    """Milliseconds of a forward pass of a batch."""
    with_tf32(kind == "tf32")
    torch.manual_seed(0)
    layout = {"device": device, "dtype": TYPES[kind], "memory_format": torch.channels_last}
    model = getattr(torchvision.models, name)(weights=None).eval().to(**layout)
    images = torch.randn(batch, 3, size, size).to(**layout)
    with torch.inference_mode():
        return clock.median(lambda: model(images))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--model", action="append", help="resnet50, mobilenet_v2, swin_v2_t if absent")
    parser.add_argument("--batch", action="append", type=int, help="1, 8 and 64 if absent")
    parser.add_argument("--type", action="append", choices=TYPES, help="all three if absent")
    parser.add_argument("--image-size", type=int, help="the model's if absent")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin none after these")
    parser.add_argument("--quick", action="store_true", help="three short rounds")
    args = parser.parse_args()
    models = args.model or ["resnet50", "mobilenet_v2", "swin_v2_t"]
    batches, kinds = args.batch or [64, 8, 1], args.type or list(TYPES)
    clock = Clock(args.device, *((3, 0.0) if args.quick else (15, 20.0)))
    torch.backends.cudnn.benchmark = True
    peer = f"PyTorch {torch.__version__}, torchvision {torchvision.__version__}"
    if args.device != "cpu":
        peer += f", cuDNN {torch.backends.cudnn.version()}, {torch.cuda.get_device_name()}"
    start = time.perf_counter()
    for name, kind, batch in itertools.product(models, kinds, batches):
        size = args.image_size or SIZES.get(name, 224)
        row = {"peer": peer, "model": name, "type": kind, "batch": batch, "image_size": size}
        if args.device == "cpu" and kind == "tf32":
            row["left_out"] = "a CPU has no TF32"
        elif time.perf_counter() - start > args.seconds:
            row["left_out"] = f"{args.seconds:.0f} s were over"
        else:
            try:
                row["median_ms"] = pass_ms(clock, name, batch, kind, args.device, size)
                row["images_per_s"] = 1e3 * batch / row["median_ms"]
            except RuntimeError as error:
                row["error"] = str(error).split("\n")[0]
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
