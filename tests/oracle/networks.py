"""The networks of the fixtures: torchvision's ResNets under two heads, and their smooth twins."""

import torch
import torchvision
from torch import nn

import formula

EMBEDDING = 512
LAST_NORM = {"resnet18": "bn2", "resnet50": "bn3"}


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


def smooth(module):
    """ReLU -> SiLU and max -> average pool (same window), in place: no kinks are left."""
    for name, child in module.named_children():
        if isinstance(child, nn.ReLU):
            setattr(module, name, nn.SiLU())
        elif isinstance(child, nn.MaxPool2d):
            pool = nn.AvgPool2d(child.kernel_size, child.stride, child.padding, count_include_pad=True)
            setattr(module, name, pool)
        else:
            smooth(child)
    return module


def load_formula(module, last_norm):
    """Overwrites every parameter and buffer with the formula's values."""
    state = module.state_dict()
    for name, tensor in state.items():
        shape = tuple(tensor.shape)
        centre, bound = formula.range_of(name, shape, last_norm)
        state[name] = torch.from_numpy(formula.fill(name, shape, centre, bound)).to(tensor.dtype)
    module.load_state_dict(state)
    return module


def build(backbone, head, classes, twin=False):
    """`head` is "baseline" or "text-guided". Weights are the formula's, in f32."""
    make = getattr(torchvision.models, backbone)
    if head == "baseline":
        net = make(num_classes=classes)
    else:
        net = TextGuided(make(num_classes=EMBEDDING), classes)
    if twin:
        smooth(net)
    return load_formula(net, LAST_NORM[backbone])


def images(count, side):
    return torch.stack([torch.from_numpy(formula.image(i, side)) for i in range(count)])
