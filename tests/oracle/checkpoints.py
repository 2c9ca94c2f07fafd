"""Makes tests/fixtures/checkpoints: small files written by torch.save and safetensors.

Run from the root of the repository, in an environment with torch, timm, numpy and yacs:

    python tests/oracle/checkpoints.py

The value of element i of the n-th tensor is n + i / 64 (or the integer 10 n + i): exact in f32 and
written down again in tests/checkpoint.rs. Made with torch 2.15.
"""

import argparse
import builtins
import collections
import os
import pathlib

import numpy
import timm
import torch
from timm.models.focalnet import checkpoint_filter_fn
from timm.scheduler import CosineLRScheduler
from torch import nn
from yacs.config import CfgNode

OUT = pathlib.Path("tests/fixtures/checkpoints")


def fill(state):
    """Gives every tensor of a state dict its values, by place in the dict and index."""
    for n, tensor in enumerate(state.values()):
        i = torch.arange(tensor.numel()).reshape(tensor.shape)
        tensor.copy_(n + i / 64 if tensor.is_floating_point() else 10 * n + i)
    return state


def tiny():
    """conv.weight 2x3x3x3, bn.* 2 (num_batches_tracked a scalar i64), fc.weight 4x2, fc.bias 4."""
    model = nn.Sequential(
        collections.OrderedDict(
            conv=nn.Conv2d(3, 2, 3, bias=False), bn=nn.BatchNorm2d(2), fc=nn.Linear(2, 4)
        )
    )
    fill(model.state_dict())
    return model


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def save(name, what, **options):
    torch.save(what, OUT / name, **options)


def training_runs(model, state):
    """What the training programs that these weights come from put beside them."""
    parameters = list(model.parameters())
    sgd = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    sum(p.sum() for p in parameters).backward()
    sgd.step()  # momentum buffers: tensors that aren't weights
    fill(model.state_dict())
    warmup = torch.optim.lr_scheduler.LinearLR(sgd, start_factor=0.01, total_iters=5)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, T_max=85)
    schedule = torch.optim.lr_scheduler.SequentialLR(sgd, [warmup, cosine], milestones=[5])
    average = torch.optim.swa_utils.AveragedModel(model, device="cpu")
    # torchvision's references/classification/train.py
    vision = {
        "model": state,
        "optimizer": sgd.state_dict(),
        "lr_scheduler": schedule.state_dict(),
        "epoch": 3,
        "args": argparse.Namespace(model="tiny", lr=0.1, opt="sgd", device="cuda", amp=True),
        "model_ema": average.state_dict(),
        "scaler": {"scale": 65536.0, "growth_factor": 2.0, "_growth_tracker": 3},
    }
    save("torchvision_training.pth", vision)

    # FocalNet's main.py: its configuration is an object of yacs
    config = CfgNode({"MODEL": {"TYPE": "focalnet", "DEPTHS": [2, 2, 6, 2]}, "AMP": True})
    config.freeze()
    adamw = torch.optim.AdamW(parameters, lr=1e-3)
    adamw.step()
    fill(model.state_dict())
    focalnet = {
        "model": state,
        "optimizer": adamw.state_dict(),
        "lr_scheduler": CosineLRScheduler(adamw, t_initial=300).state_dict(),
        "max_accuracy": numpy.float64(82.1),
        "epoch": 299,
        "config": config,
    }
    save("focalnet_training.pth", focalnet)

    # timm's utils/checkpoint_saver.py
    saver = {
        "epoch": 3,
        "arch": "tiny",
        "state_dict": state,
        "optimizer": adamw.state_dict(),
        "version": 2,
        "args": argparse.Namespace(output=pathlib.Path("out"), mean=numpy.ones(3)),
        "metric": numpy.float64(82.1),
    }
    save("timm_training.pth", saver)


def lazily_negated():
    """Tensors whose neg bit is set: their values are the negatives of what is stored. First what
    dtypes.pth holds (without booleans, which have no negative), then views and odd floats."""
    values = {
        "f64": torch.tensor([0.5, -2.0], dtype=torch.float64),
        "f32": torch.tensor([0.5, -2.0, 0.0, float("inf")]),
        "f16": torch.tensor([0.5, -2.0, 65504.0, 2.0**-24], dtype=torch.float16),
        "bf16": torch.tensor([0.5, -2.0, 2.0**100], dtype=torch.bfloat16),
        "i64": torch.tensor([1, -(2**40)]),
        "i32": torch.tensor([1, -(2**31)], dtype=torch.int32),
        "i16": torch.tensor([1, -2], dtype=torch.int16),
        "i8": torch.tensor([1, -128], dtype=torch.int8),
        "u8": torch.tensor([1, 255], dtype=torch.uint8),
        "transposed": torch.arange(6.0).reshape(2, 3).T,
    }
    negated = {name: torch._neg_view(tensor) for name, tensor in values.items()}
    # As it comes about by itself: the imaginary part of a conjugate.
    negated["imag"] = torch.complex(torch.zeros(2), torch.tensor([1.0, -3.0])).conj().imag
    negated["parameter"] = nn.Parameter(torch._neg_view(torch.arange(3.0)))
    negated["plain"] = torch.arange(3.0)
    assert all(t.is_neg() for name, t in negated.items() if name != "plain")
    save("negated.pth", negated)
    save("negated_legacy.pth", negated, _use_new_zipfile_serialization=False)
    # What PyTorch reads of it, written plainly.
    read = torch.load(OUT / "negated.pth", weights_only=True)
    resolved = {name: tensor.detach().clone().resolve_neg() for name, tensor in read.items()}
    assert not any(tensor.is_neg() for tensor in resolved.values())
    save("negated_resolved.pth", resolved)


def unread_tensors():
    """Tensors of kinds that aren't read, a file each."""
    attributed = torch.ones(3)
    attributed.scale = 2.0
    kinds = {
        "quantized": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        "sparse": torch.eye(2).to_sparse(),
        "complex": torch.ones(2, dtype=torch.complex64),
        "meta": torch.ones(2, device="meta"),
        "float8": torch.ones(2).to(torch.float8_e4m3fn),
        "attributed": attributed,
    }
    for kind, tensor in kinds.items():
        save(f"unread_{kind}.pth", {"weight": tensor})


def focalnet_names():
    """focalnet_names.tsv: name and shape of each tensor of FocalNet-T (SRF), in the authors' files
    and in timm's. The authors' are written down here from the definition of their network; timm's own
    conversion says what becomes of them, and its model has to accept the result.
    """
    width, depths, levels = 96, [2, 2, 6, 2], 2
    authors = {}

    def layer(name, *shape):
        authors[name + ".weight"], authors[name + ".bias"] = shape, shape[:1]

    layer("patch_embed.proj", width, 3, 4, 4)
    layer("patch_embed.norm", width)
    for i, depth in enumerate(depths):
        c = width << i
        for j in range(depth):
            block = f"layers.{i}.blocks.{j}."
            layer(block + "norm1", c)
            layer(block + "modulation.f", 2 * c + levels + 1, c)
            layer(block + "modulation.h", c, c, 1, 1)
            for k in range(levels):
                side = 3 + 2 * k
                authors[block + f"modulation.focal_layers.{k}.0.weight"] = (c, 1, side, side)
            layer(block + "modulation.proj", c, c)
            layer(block + "norm2", c)
            layer(block + "mlp.fc1", 4 * c, c)
            layer(block + "mlp.fc2", c, 4 * c)
        if i + 1 < len(depths):
            layer(f"layers.{i}.downsample.proj", 2 * c, c, 2, 2)
            layer(f"layers.{i}.downsample.norm", 2 * c)
    layer("norm", width << 3)
    layer("head", 1000, width << 3)

    # A value of its own for each tensor, so that it can be told where it went.
    state = {name: torch.full(shape, float(n)) for n, (name, shape) in enumerate(authors.items())}
    model = timm.create_model("focalnet_tiny_srf")
    converted = checkpoint_filter_fn(state, model)
    model.load_state_dict(converted, strict=True)
    names = list(authors)
    lines = []
    for theirs, tensor in converted.items():
        name = names[int(tensor.flatten()[0])]
        shapes = ["x".join(map(str, shape)) for shape in (authors[name], tensor.shape)]
        lines.append(f"{name}\t{shapes[0]}\t{theirs}\t{shapes[1]}\n")
    (OUT / "focalnet_names.tsv").write_text("".join(lines))


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    model = tiny()
    state = model.state_dict()
    save("state_dict.pth", state)
    save("legacy.pth", state, _use_new_zipfile_serialization=False)
    save("bare.pth", torch.arange(6.0).reshape(2, 3))
    save("parameter.pth", {"weight": nn.Parameter(torch.arange(6.0).reshape(2, 3))})
    save("module_prefix.pth", {"module." + name: tensor for name, tensor in state.items()})

    average = torch.optim.swa_utils.AveragedModel(model)
    save("averaged.pth", {"model_ema": average.state_dict(), "epoch": 3})

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    training = {
        "model": state,
        "optimizer": optimizer.state_dict(),
        "milestones": collections.Counter([30, 60]),
        "epoch": 3,
        "best": 0.5,
        "args": argparse.Namespace(model="tiny", lr=0.1, workers=None),
    }
    save("nested.pth", training)

    training_runs(model, state)

    base = torch.arange(24.0).reshape(2, 3, 4)
    strided = {
        "transposed": base.permute(2, 0, 1),  # 4x2x3
        "every_other": base[:, :, 1::2],  # 2x3x2
        "expanded": torch.tensor([1.0, 2.0]).reshape(2, 1).expand(2, 3),
        "tail": base.reshape(-1)[20:],  # 4
        "scalar": base[1, 2, 3],
        "empty": torch.zeros(0, 3),
        "channels_last": base.reshape(1, 2, 3, 4).contiguous(memory_format=torch.channels_last),
    }
    save("strided.pth", strided)
    save("strided_legacy.pth", strided, _use_new_zipfile_serialization=False)

    save(
        "dtypes.pth",
        {
            "f64": torch.tensor([0.5, -2.0], dtype=torch.float64),
            "f16": torch.tensor([0.5, -2.0, 65504.0, 2.0**-24], dtype=torch.float16),
            "bf16": torch.tensor([0.5, -2.0, 2.0**100], dtype=torch.bfloat16),
            "i64": torch.tensor([1, -(2**40)]),
            "i32": torch.tensor([1, -2], dtype=torch.int32),
            "i16": torch.tensor([1, -2], dtype=torch.int16),
            "i8": torch.tensor([1, -2], dtype=torch.int8),
            "u8": torch.tensor([1, 255], dtype=torch.uint8),
            "bool": torch.tensor([True, False]),
        },
    )
    save("protocol4.pth", {"weight": torch.arange(6.0).reshape(2, 3)}, pickle_protocol=4)

    torch.serialization.set_crc32_options(False)
    save("no_checksums.pth", {"weight": torch.arange(6.0).reshape(2, 3)})
    torch.serialization.set_crc32_options(True)

    save("hostile_system.pth", {"weight": torch.ones(2), "more": Call(os.system, "touch pwned")})
    save("hostile_eval.pth", Call(builtins.eval, "open('pwned', 'w')"))
    inner = Call(getattr, Call(__import__, "os"), "system")
    save("hostile_nested.pth", {"model": Call(print, Call(exec, "1"), inner)})
    save("whole_model.pth", model)
    lazily_negated()
    unread_tensors()
    focalnet_names()


if __name__ == "__main__":
    main()
