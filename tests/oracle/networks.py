"""The networks of the fixtures, from torchvision and timm, under two heads, and their smooth twins."""

import timm
import torch
import torchvision
from torch import nn
from torchvision.ops import StochasticDepth

import formula

EMBEDDING = 512
HEADS = ("baseline", "text-guided")
# timm's names, where they are not ours.
TIMM = {
    "focalnet_tiny": "focalnet_tiny_srf",
    "focalnet_tiny_lrf": "focalnet_tiny_lrf",
    "focalnet_small": "focalnet_small_srf",
    "focalnet_small_lrf": "focalnet_small_lrf",
}
BACKBONES = (
    "alexnet", "vgg16_bn", "vgg19_bn", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152",
    "mobilenet_v2", "maxvit_t", "swin_v2_t", "swin_v2_s", *TIMM,
)  # fmt: skip
# How each family's residual branches end, small: (end of the name, centre, bound as README.md has it).
RANGES = {
    "resnet18": [(".bn2.weight", 0.25, 0.05)],
    "resnet34": [(".bn2.weight", 0.25, 0.05)],
    "resnet": [(".bn3.weight", 0.15, 0.03)],
    "mobilenet": [("features.1.conv.2.weight", 0.5, 0.1), (".conv.3.weight", 0.5, 0.1)],
    "maxvit": [(f"{end}.weight", 0.0, 0.6) for end in ("conv_c", "merge", "mlp_layer.3")],
    "swin": [("norm1.weight", 0.25, 0.05), ("norm2.weight", 0.25, 0.05), ("cpb_mlp.2.weight", 0.0, 0.5)],
    "focalnet": [("modulation.f.weight", 0.0, 1.7), ("modulation.proj.weight", 0.0, 0.6), ("mlp.fc2.weight", 0.0, 0.6)],
}
# Buffers that the architecture fixes; they keep the library's values.
CONSTANTS = ("relative_position_index", "relative_coords_table")


class TextGuided(nn.Module):
    """A backbone ending in Linear(-> 512), L2 normalisation, a head without bias, a scale."""

    def __init__(self, backbone, classes):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(EMBEDDING, classes, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(0.0))

    def forward(self, x):
        x = self.backbone(x)
        x = x / x.norm(dim=-1, keepdim=True)
        return self.logit_scale.exp() * self.head(x)


def ranges(backbone):
    """The backbone's own entries: those of the longest prefix of its name in RANGES."""
    known = [prefix for prefix in RANGES if backbone.startswith(prefix)]
    return RANGES[max(known, key=len)] if known else []


def smooth(module):
    """No kinks and no chance, in place.

    ReLU and ReLU6 -> SiLU; max -> average pool of the same window; dropout and stochastic depth
    off. Swin V2's `cpb_mlp`, which sees no image, keeps its ReLU.
    """
    for name, child in module.named_children():
        if isinstance(child, (nn.ReLU, nn.ReLU6)):
            setattr(module, name, nn.SiLU())
        elif isinstance(child, nn.MaxPool2d):
            pool = nn.AvgPool2d(child.kernel_size, child.stride, child.padding, count_include_pad=True)
            setattr(module, name, pool)
        elif isinstance(child, (nn.Dropout, StochasticDepth)):
            child.p = 0.0
        elif isinstance(child, timm.layers.DropPath):
            child.drop_prob = 0.0
        elif name != "cpb_mlp":
            smooth(child)
    return module


def load_formula(module, own):
    """Overwrites every parameter, and every buffer but the constants, with the formula's values."""
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if not name.endswith(CONSTANTS):
                shape = tuple(tensor.shape)
                centre, bound = formula.range_of(name, shape, own)
                tensor.copy_(torch.from_numpy(formula.fill(name, shape, centre, bound)))
    return module


def build(backbone, head, classes, twin=False):
    """`head` is "baseline" or "text-guided". Weights are the formula's, in f32."""
    outputs = classes if head == "baseline" else EMBEDDING
    if backbone in TIMM:
        net = timm.create_model(TIMM[backbone], pretrained=False, num_classes=outputs)
    else:
        net = getattr(torchvision.models, backbone)(weights=None, num_classes=outputs)
    if head == "text-guided":
        net = TextGuided(net, classes)
    if twin:
        smooth(net)
    return load_formula(net, ranges(backbone))


def images(count, side):
    return torch.stack([torch.from_numpy(formula.image(i, side)) for i in range(count)])
