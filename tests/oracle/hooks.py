"""Where a network's convolutions and linear layers put their outputs, and values changed there.

Layers are addressed as users of this project do: state-dict name; image, channel, row, column of the
output, for Swin V2's qkv and proj on the map as it was before it was padded, shifted and cut into windows.
"""

import contextlib

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.swin_transformer import ShiftedWindowAttention

import networks

SCALE = "scaled"


class Output:
    """The output of a layer for a batch of one image."""

    def __init__(self, tensor, windows=None):
        self.tensor = tensor
        self.windows = windows

    def map(self):
        """Channels, height, width."""
        if self.windows:
            height, width, _, _ = self.windows
            return self.tensor.shape[-1], height, width
        shape = self.tensor.shape[1:]
        if len(shape) == 1:
            return shape[0], 1, 1
        # A convolution's is (C, H, W), a linear layer's (H, W, C).
        return tuple(shape) if self.is_planar else (shape[2], shape[0], shape[1])

    is_planar = False

    def at(self, channel, row, column):
        """The index of a neuron in the tensor."""
        if self.windows:
            return (*self.token(row, column), channel)
        if self.tensor.dim() == 2:
            return 0, channel
        return (0, channel, row, column) if self.is_planar else (0, row, column, channel)

    def token(self, row, column):
        """Window and place in it of a pixel: the padded map is rolled back by the shift, then cut."""
        height, width, size, shift = self.windows
        sides = [-(-full // part) * part for full, part in zip((height, width), size)]
        moved = [
            (at - (by if part < side else 0)) % side
            for at, by, part, side in zip((row, column), shift, size, sides)
        ]
        window = moved[0] // size[0] * (sides[1] // size[1]) + moved[1] // size[1]
        return window, moved[0] % size[0] * size[1] + moved[1] % size[1]


class Planar(Output):
    is_planar = True


def hooked_layers(net):
    """Names of the layers whose outputs forward hooks see, in order; not those that see no image."""
    kinds = (nn.Conv2d, nn.Linear)
    inside = tuple(name for name, module in net.named_modules() if isinstance(module, ShiftedWindowAttention))
    names = [name for name, module in net.named_modules() if isinstance(module, kinds)]
    return [name for name in names if not name.startswith(inside)] if inside else names


@contextlib.contextmanager
def visiting(net, visit):
    """While it holds, `visit(name, Output)` is called for every layer's output, and may return another tensor.

    Convolutions and linear layers by forward hooks; qkv and proj of Swin's attention, which only lends
    their weights to a function, through `F.linear`; `scaled`, the logits of a text-guided network.
    """
    handles, windows, lent = [], {}, {}

    def hook(name, kind):
        return lambda module, inputs, output: visit(name, kind(output))

    for name in hooked_layers(net):
        module = net.get_submodule(name)
        kind = Planar if isinstance(module, nn.Conv2d) else Output
        handles.append(module.register_forward_hook(hook(name, kind)))
    for name, module in net.named_modules():
        if isinstance(module, ShiftedWindowAttention):
            for part in ("qkv", "proj"):
                lent[module.get_submodule(part).weight] = f"{name}.{part}"
            def note(module, inputs, name=name):
                _, height, width, _ = inputs[0].shape
                windows[name] = height, width, module.window_size, module.shift_size
            handles.append(module.register_forward_pre_hook(note))
    if isinstance(net, networks.TextGuided):
        handles.append(net.register_forward_hook(hook(SCALE, Output)))

    original = F.linear

    def linear(x, weight, bias=None):
        output = original(x, weight, bias)
        if weight not in lent:
            return output
        name = lent[weight]
        other = visit(name, Output(output, windows[name.rpartition(".")[0]]))
        return output if other is None else other

    F.linear = linear
    try:
        yield
    finally:
        F.linear = original
        for handle in handles:
            handle.remove()


def outputs(net, image):
    """Every layer's output by name, in the order in which they are made, and the logits, of one image."""
    found = {}

    def keep(name, output):
        output.tensor = output.tensor.clone()
        found[name] = output

    with torch.no_grad(), visiting(net, keep):
        logits = net(image[None])[0]
    return found, logits


def faulty(net, image, layer, place, value):
    """The logits of one image where the neuron at `place` (channel, row, column) of `layer` has another value."""

    def put(name, output):
        if name != layer:
            return None
        changed = output.tensor.clone()
        changed[output.at(*place)] = value
        return changed

    with torch.no_grad(), visiting(net, put):
        return net(image[None])[0]
