"""Small networks of one's own, exported to ONNX by both of PyTorch's exporters, and their logits.

    venv/bin/python tests/oracle/onnx_fixtures.py

Writes `tests/fixtures/onnx`: NAME.torchscript.onnx and NAME.dynamo.onnx, and `logits.json` with the logits of f64
networks on images of the formula. It wants `pip install torch onnx onnxscript`.
"""

import json
import logging
import pathlib
import warnings

import onnx
import torch
import torch.nn.functional as F
from torch import nn

import formula

SIDE = 32
CLASSES = 7
IMAGES = 2
FOLDER = pathlib.Path(__file__).parent.parent / "fixtures/onnx"


class Residual(nn.Module):
    """Batch norms, a shortcut with a convolution, a pool whose last window ends behind the map."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 5, 2, 2, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.maxpool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2 = nn.Conv2d(8, 12, 3, 2, 1, dilation=1, bias=False)
        self.bn2 = nn.BatchNorm2d(12)
        self.conv3 = nn.Conv2d(12, 12, 3, 1, 2, dilation=2, groups=3)
        self.downsample = nn.Conv2d(8, 12, 1, 2)
        self.fc = nn.Linear(12, CLASSES)

    def forward(self, x):
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        y = self.conv3(F.relu(self.bn2(self.conv2(x))))
        x = F.relu(y + self.downsample(x))
        return self.fc(x.mean((2, 3)))


class Mobile(nn.Module):
    """Depthwise convolutions, squeeze-and-excitation, the hard activations."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Hardswish())
        self.expand = nn.Sequential(nn.Conv2d(8, 24, 1), nn.ReLU6())
        self.depthwise = nn.Conv2d(24, 24, 5, 2, 2, groups=24)
        self.squeeze = nn.AdaptiveAvgPool2d(1)
        self.gate = nn.Sequential(nn.Conv2d(24, 6, 1), nn.ReLU(), nn.Conv2d(6, 24, 1), nn.Hardsigmoid())
        self.project = nn.Conv2d(24, 8, 1)
        self.classifier = nn.Sequential(nn.Linear(8, 20), nn.SiLU(), nn.Dropout(0.2), nn.Linear(20, CLASSES))

    def forward(self, x):
        x = self.depthwise(self.expand(self.stem(x)))
        x = self.project(x * self.gate(self.squeeze(x)))
        return self.classifier(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class Shuffle(nn.Module):
    """Channels that are split, joined and shuffled."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 12, 3, 2, 1)
        self.left = nn.Conv2d(6, 6, 3, 1, 1, groups=6)
        self.right = nn.Sequential(nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6), nn.Tanh())
        self.fc = nn.Linear(12 * 4 * 4, CLASSES)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2, 2)
        a, b = x.chunk(2, dim=1)
        x = torch.cat((self.left(a), self.right(b)), dim=1)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.fc(F.avg_pool2d(x, 2).flatten(1))


class ChannelsLast(nn.Module):
    """A block of ConvNeXt: layer norms over channels, linear layers of pixels, a scale a channel."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 10, 4, 4)
        self.norm0 = nn.LayerNorm(10)
        self.depthwise = nn.Conv2d(10, 10, 7, padding=3, groups=10)
        self.norm = nn.LayerNorm(10, eps=1e-6)
        self.up = nn.Linear(10, 40)
        self.down = nn.Linear(40, 10)
        self.layer_scale = nn.Parameter(torch.rand(10, 1, 1))
        self.head = nn.Linear(10, CLASSES)

    def forward(self, x):
        x = self.norm0(self.stem(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.down(F.gelu(self.up(y))).permute(0, 3, 1, 2)
        x = x + self.layer_scale * y
        return self.head(x.mean((-2, -1)))


class Branches(nn.Module):
    """Branches of oblong kernels and of pools, side by side; uneven padding; group norm."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2)
        self.norm = nn.GroupNorm(4, 8)
        self.wide = nn.Sequential(nn.Conv2d(8, 6, (1, 7), padding=(0, 3)), nn.Conv2d(6, 6, (7, 1), padding=(3, 0)))
        self.pooled = nn.Conv2d(8, 4, 1)
        self.last = nn.Conv2d(18, CLASSES, 1)

    def forward(self, x):
        x = F.silu(self.norm(self.conv(F.pad(x, (0, 1, 0, 1)))))
        x = torch.cat([self.wide(x), self.pooled(F.avg_pool2d(x, 3, 1, 1)), F.max_pool2d(x, 3, 1, 1)], 1)
        return F.relu(self.last(F.pad(x, (1, 2, 3, 0)))).mean((2, 3))


class Arithmetic(nn.Module):
    """Constants added and multiplied, a difference, activations as other programs write them."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 9, 3, 2, 1)
        self.conv2 = nn.Conv2d(9, 9, 3, 2, 1)
        self.fc = nn.Linear(9, CLASSES)

    def forward(self, x):
        x = (x * 2.0 - 0.25) / 0.5
        x = self.conv1(x)
        x = x * torch.sigmoid(1.702 * x)
        y = self.conv2(x)
        y = 0.5 * y * (1.0 + torch.tanh(0.7978845608 * (y + 0.044715 * y * y * y)))
        y = y - torch.sigmoid(y)
        return self.fc((y.flip(3)[:, :, :, 2:] + y[:, :, :, :-2]).mean((2, 3)))


class Transformer(nn.Module):
    """A class token, positions, attention of all tokens; then cosines in shifted windows, with biases and a mask."""

    WIDTH, HEADS, OPSET = 16, 2, 17

    def __init__(self):
        super().__init__()
        width = self.WIDTH
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.zeros(1, 17, width))
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 24), nn.Linear(24, width)
        self.window_qkv = nn.Linear(width, 3 * width)
        self.scale = nn.Parameter(torch.zeros(self.HEADS, 1, 1))
        self.bias = nn.Parameter(torch.zeros(9, self.HEADS))
        offsets = torch.tensor([(i // 2 - j // 2 + 1) * 3 + i % 2 - j % 2 + 1 for i in range(4) for j in range(4)])
        self.register_buffer("index", offsets)
        self.register_buffer("mask", torch.zeros(4, 4, 4))
        self.head = nn.Linear(2 * width, CLASSES)

    def heads(self, qkv, x):
        n, tokens, width = x.shape
        return qkv(x).reshape(n, tokens, 3, self.HEADS, width // self.HEADS).permute(2, 0, 3, 1, 4).unbind(0)

    def attention(self, x):
        n, tokens, width = x.shape
        q, k, v = self.heads(self.qkv, x)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, tokens, width))

    def windows(self, x):
        n, width = x.shape[0], self.WIDTH
        x = torch.roll(x.reshape(n, 4, 4, width), (-1, -1), (1, 2))
        x = x.view(n, 2, 2, 2, 2, width).permute(0, 1, 3, 2, 4, 5).reshape(n * 4, 4, width)
        q, k, v = self.heads(self.window_qkv, x)
        scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
        scores = scores * self.scale.clamp(max=4.0).exp()
        scores = scores + self.bias[self.index].view(4, 4, self.HEADS).permute(2, 0, 1).unsqueeze(0)
        scores = scores.view(n, 4, self.HEADS, 4, 4) + self.mask[None, :, None]
        x = scores.view(n * 4, self.HEADS, 4, 4).softmax(-1) @ v
        x = x.transpose(1, 2).reshape(n, 2, 2, 2, 2, width).permute(0, 1, 3, 2, 4, 5).reshape(n, 4, 4, width)
        return torch.roll(x, (1, 1), (1, 2)).reshape(n, 16, width)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.token.expand(x.shape[0], -1, -1), x), 1) + self.position
        x = x + self.attention(self.norm1(x))
        x = x + self.down(F.gelu(self.up(self.norm2(x))))
        token, x = x[:, 0], x[:, 1:]
        x = x + self.windows(x)
        return self.head(torch.cat((token, x.mean(1)), 1))


class Numbers(nn.Module):
    """Functions with numbers of their own, sums and maxima along channels and pixels, maps made smaller and larger."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, 2, 1)
        self.position = nn.Parameter(torch.zeros(1, 6, 16, 16))
        self.grn_weight = nn.Parameter(torch.zeros(1, 6, 1, 1))
        self.gate = nn.Conv2d(2, 1, 3, 1, 1)
        self.fc = nn.Linear(6 * 4 * 4, CLASSES)

    def forward(self, x):
        x = F.leaky_relu(self.conv1(x) + self.position, 0.1)
        small = F.avg_pool2d(F.elu(x, 0.7), 3, 2, ceil_mode=True)
        large = F.interpolate(small, size=(16, 16), mode="bilinear", align_corners=False)
        x = F.softplus(large) / (1.5 + x * x) + F.interpolate(F.max_pool2d(x, 2), scale_factor=2, mode="nearest")
        lengths = x.norm(p=2, dim=(2, 3), keepdim=True)
        x = x + self.grn_weight * (x * (lengths / (lengths.mean(1, keepdim=True) + 1e-6)))
        gates = torch.cat((x.amax(1, keepdim=True), x.mean(1, keepdim=True)), 1)
        x = F.mish(x * torch.sigmoid(self.gate(gates)))
        x = 0.8 * F.relu(x) ** 2 - 0.3 + x.clamp(-0.5, 0.75) + torch.exp(-x.abs())
        # Channels last: not the order that a flattened map has elsewhere.
        return self.fc(F.avg_pool2d(x, 4).permute(0, 2, 3, 1).flatten(1))


NETWORKS = {
    "residual": Residual,
    "mobile": Mobile,
    "shuffle": Shuffle,
    "channels_last": ChannelsLast,
    "branches": Branches,
    "arithmetic": Arithmetic,
    "transformer": Transformer,
    "numbers": Numbers,
}


def fill(net, name):
    """Weights from the formula: small ones, scales and variances around 1."""
    for key, value in list(net.named_parameters()) + list(net.named_buffers()):
        if not value.is_floating_point():
            continue
        around = 1.0 if key.endswith("running_var") or ("weight" in key and value.dim() == 1) else 0.0
        bound = 0.25 if value.dim() <= 1 else 1.5 / (value[0].numel() ** 0.5)
        shape = tuple(value.shape)
        value.data = torch.from_numpy(formula.fill(f"onnx.{name}.{key}", shape, around, bound))


def without_traces(path):
    """Takes away what the exporter notes of itself and of this script's lines, but for the modules' names."""
    model = onnx.load(path)
    graph = model.graph
    for part in [model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info]:
        kept = [(p.key, p.value) for p in part.metadata_props if p.key == "pkg.torch.onnx.name_scopes"]
        del part.metadata_props[:]
        for key, value in kept:
            part.metadata_props.add(key=key, value=value)
        part.doc_string = ""
    del graph.value_info[:]
    onnx.save(model, path)


def main():
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    FOLDER.mkdir(exist_ok=True)
    images = torch.from_numpy(formula.fill("onnx.images", (IMAGES, 3, SIDE, SIDE), 0.0, 2.0))
    found = {}
    for name, kind in NETWORKS.items():
        net = kind().eval()
        fill(net, name)
        example = (torch.zeros(1, 3, SIDE, SIDE),)
        names = {"input_names": ["input"], "output_names": ["output"]}
        axes = {"input": {0: "N"}, "output": {0: "N"}}
        torch.onnx.export(
            net, example, FOLDER / f"{name}.torchscript.onnx", dynamo=False, opset_version=getattr(kind, "OPSET", 13),
            do_constant_folding=False, training=torch.onnx.TrainingMode.PRESERVE, dynamic_axes=axes, **names,
        )
        torch.onnx.export(
            net, example, FOLDER / f"{name}.dynamo.onnx", dynamo=True, external_data=False, verbose=False
        )
        without_traces(FOLDER / f"{name}.dynamo.onnx")
        logits = net.double()(images.double())
        found[name] = [[float(f"{value:.8g}") for value in row] for row in logits.tolist()]
    text = json.dumps({"side": SIDE, "images": "onnx.images", "bound": 2.0, "logits": found}, indent=1)
    (FOLDER / "logits.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
