"""Makes tests/fixtures/checkpoints: small files written by torch.save and safetensors.

Run from the root of the repository, in an environment with torch:

    python tests/oracle/checkpoints.py

The value of element i of the n-th tensor is n + i / 64 (or the integer 10 n + i): exact in f32 and
written down again in tests/checkpoint.rs. Made with torch 2.15.
"""

import argparse
import builtins
import collections
import os
import pathlib

import torch
from torch import nn

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


if __name__ == "__main__":
    main()
