"""Single operations at tiny shapes: f64 outputs and gradients, in full.

Every operand is the formula's f32 tensor "<case>.<operand>"; the loss is sum(y * r), r being
"<case>.grad" (bound 1), except for a cross-entropy, which is its own loss.
"""

import math

import timm.data.mixup
import timm.loss
import timm.optim
import torch
import torch.nn.functional as F

import figures
import formula


def listed(tensor):
    return [figures.digits(v, 8) for v in tensor.detach().reshape(-1)]


class Case:
    """Collects a case's operands, runs it in f64 and records output and gradients."""

    def __init__(self, op, name, **attributes):
        self.record = {"op": op, "name": name, "attributes": attributes, "operands": [], "outputs": {},
                       "gradients": {}}
        self.operands = {}

    def operand(self, key, shape, centre=0.0, bound=1.0, gradient=True):
        name = f"{self.record['name']}.{key}"
        values = torch.from_numpy(formula.fill(name, shape, centre, bound)).double()
        self.record["operands"].append(
            {"key": key, "name": name, "shape": list(shape), "centre": centre, "bound": bound})
        if gradient:
            self.operands[key] = values.requires_grad_()
        return values

    def output(self, y, key="y"):
        self.record["outputs"][key] = {"shape": list(y.shape), "values": listed(y)}

    def finish(self, y, weigh=True):
        self.output(y)
        loss = y
        if weigh:
            loss = (y * self.operand("grad", tuple(y.shape), gradient=False)).sum()
        loss.backward()
        for key, values in self.operands.items():
            self.record["gradients"][key] = listed(values.grad)
        return self.record


def conv(name, x, out, kernel, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, bias=True):
    case = Case("conv2d", name, stride=stride, padding=padding, dilation=dilation, groups=groups)
    shape = (out, x[1] // groups, *kernel)
    a, w = case.operand("x", x), case.operand("weight", shape, 0.0, math.sqrt(6 / math.prod(shape[1:])))
    b = case.operand("bias", (out,)) if bias else None
    return case.finish(F.conv2d(a, w, b, stride, padding, dilation, groups))


def convolutions():
    return [
        conv("conv3x3", (2, 3, 5, 5), 4, (3, 3), padding=(1, 1)),
        conv("conv7x7", (1, 2, 9, 9), 3, (7, 7), (2, 2), (3, 3), bias=False),
        conv("conv1x1", (2, 4, 5, 5), 5, (1, 1), (2, 2), bias=False),
        conv("conv_groups", (1, 8, 4, 4), 8, (3, 3), padding=(1, 1), groups=4),
        conv("conv_depthwise", (1, 6, 5, 4), 6, (3, 3), (2, 2), (1, 1), groups=6),
        conv("conv_depthwise_odd", (2, 7, 5, 6), 7, (3, 3), padding=(1, 1), groups=7),
        conv("conv_depthwise_odd_strided", (2, 5, 6, 5), 5, (3, 3), (2, 2), (1, 1), groups=5, bias=False),
        conv("conv_depthwise7x7", (1, 5, 6, 8), 5, (7, 7), padding=(3, 3), groups=5, bias=False),
        conv("conv_dilated", (1, 2, 7, 7), 3, (3, 3), padding=(2, 2), dilation=(2, 2)),
        conv("conv4x4", (1, 2, 8, 11), 3, (4, 4), (3, 3), (1, 1)),
        conv("conv_oblong", (1, 2, 6, 7), 3, (3, 2), (2, 1), (1, 0)),
    ]


def linear():
    case = Case("linear", "linear")
    y = F.linear(case.operand("x", (3, 10)), case.operand("weight", (4, 10)), case.operand("bias", (4,)))
    return case.finish(y)


def batch_norm(training):
    """momentum 0.1, eps 1e-5; after a training pass the running variance is the unbiased one."""
    case = Case("batch_norm", "batch_norm_train" if training else "batch_norm_eval",
                training=training, momentum=0.1, eps=1e-5)
    x = case.operand("x", (2, 3, 4, 3), 0.5, 2.0)
    mean = case.operand("running_mean", (3,), 0.0, 0.1, gradient=False)
    var = case.operand("running_var", (3,), 1.0, 0.5, gradient=False)
    w, b = case.operand("weight", (3,), 1.0, 0.1), case.operand("bias", (3,), 0.0, 0.1)
    y = F.batch_norm(x, mean, var, w, b, training, 0.1, 1e-5)
    if training:
        case.output(mean, "running_mean")
        case.output(var, "running_var")
    return case.finish(y)


def pool(op, name, x, call, **attributes):
    case = Case(op, name, **attributes)
    return case.finish(call(case.operand("x", x)))


def pools():
    window = {"kernel": 3, "stride": 2, "padding": 1}
    shape = (2, 2, 6, 5)
    average = lambda counted: lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=counted)
    adaptive = lambda n: lambda x: F.adaptive_avg_pool2d(x, n)
    return [
        pool("max_pool2d", "max_pool", shape, lambda x: F.max_pool2d(x, 3, 2, 1), **window),
        pool("avg_pool2d", "avg_pool_padded", shape, average(True), **window, count_include_pad=True),
        pool("avg_pool2d", "avg_pool_inside", shape, average(False), **window, count_include_pad=False),
        pool("adaptive_avg_pool2d", "adaptive_1", (2, 3, 4, 4), adaptive(1), output=1),
        pool("adaptive_avg_pool2d", "adaptive_3_from_7", (1, 2, 7, 7), adaptive(3), output=3),
        pool("adaptive_avg_pool2d", "adaptive_7_from_5", (1, 2, 5, 5), adaptive(7), output=7),
        pool("adaptive_avg_pool2d", "adaptive_7_from_1", (1, 2, 1, 1), adaptive(7), output=7),
        pool("adaptive_avg_pool2d", "adaptive_6_from_4", (1, 2, 4, 4), adaptive(6), output=6),
        pool("l2_normalize", "l2_normalize", (3, 8), lambda x: x / x.norm(dim=-1, keepdim=True)),
    ]


def activations():
    """Inputs reach past both ends of ReLU6."""
    calls = {
        "relu": F.relu, "relu6": F.relu6, "silu": F.silu, "gelu": F.gelu, "sigmoid": torch.sigmoid,
        "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
        "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
        "hard_sigmoid": F.hardsigmoid, "hard_swish": F.hardswish,
    }
    cases = []
    for op, call in calls.items():
        case = Case(op, op)
        cases.append(case.finish(call(case.operand("x", (2, 20), 0.0, 8.0))))
    return cases


def functions():
    """Functions of one number; those that aren't of every number have positive inputs."""
    wide, small, positive = (0.0, 8.0), (0.0, 2.0), (4.0, 3.5)
    selu = {"alpha": 1.6732632423543772, "gamma": 1.0507009873554805}
    calls = [
        ("leaky_relu", wide, {"slope": 0.01}, lambda x: F.leaky_relu(x, 0.01)),
        ("clip", wide, {"low": -1.0, "high": 3.0}, lambda x: x.clamp(-1.0, 3.0)),
        ("elu", small, {"alpha": 1.5}, lambda x: F.elu(x, 1.5)),
        ("selu", small, selu, F.selu),
        ("hard_sigmoid_of_onnx", wide, {"slope": 0.25, "shift": 0.5},
         lambda x: (0.25 * x + 0.5).clamp(0.0, 1.0)),
        ("softplus", wide, {}, F.softplus), ("softsign", wide, {}, F.softsign), ("mish", wide, {}, F.mish),
        ("erf", small, {}, torch.erf), ("sqrt", positive, {}, torch.sqrt), ("exp", small, {}, torch.exp),
        ("log", positive, {}, torch.log), ("reciprocal", positive, {}, torch.reciprocal),
        ("abs", wide, {}, torch.abs),
    ]
    cases = []
    for name, (centre, bound), numbers, call in calls:
        case = Case("unary", name, **numbers)
        cases.append(case.finish(call(case.operand("x", (2, 20), centre, bound))))
    return cases


def reductions():
    """Over the channels of each pixel."""
    calls = {
        "reduce_mean": lambda x: x.mean(1, keepdim=True), "reduce_sum": lambda x: x.sum(1, keepdim=True),
        "reduce_max": lambda x: x.amax(1, keepdim=True),
        "reduce_l2": lambda x: torch.linalg.vector_norm(x, dim=1, keepdim=True),
    }
    cases = []
    for name, call in calls.items():
        case = Case("reduce", name)
        cases.append(case.finish(call(case.operand("x", (2, 19, 2, 3)))))
    return cases


def softmax():
    case = Case("softmax", "softmax")
    return case.finish(F.softmax(case.operand("x", (3, 19), 0.0, 5.0), 1))


def layer_norm(name, shape):
    """Over the channels of each pixel: the last axis of an N x H x W x C view."""
    case = Case("layer_norm", name, eps=1e-5)
    x = case.operand("x", shape, 0.5, 2.0)
    w, b = case.operand("weight", (shape[1],), 1.0, 0.1), case.operand("bias", (shape[1],), 0.0, 0.1)
    return case.finish(F.layer_norm(x.movedim(1, -1), (shape[1],), w, b, 1e-5).movedim(-1, 1))


def multiply():
    """A map times a factor for each of its channels."""
    case = Case("multiply", "multiply_channels")
    return case.finish(case.operand("x", (2, 3, 4, 5)) * case.operand("s", (2, 3, 1, 1)))


def matmul(name, transposed, a, b):
    """N x C x H x W maps whose rows are matrices of W x C: products over the first one's C."""
    case = Case("matmul", name, transposed=transposed)
    a, b = (case.operand(key, shape).permute(0, 2, 3, 1) for key, shape in (("x", a), ("s", b)))
    return case.finish((a @ (b.mT if transposed else b)).permute(0, 3, 1, 2))


def cross_entropy(name, smoothing, soft):
    """The mean over the batch. A soft target row is the softmax of "<case>.target"."""
    case = Case("cross_entropy", name, label_smoothing=smoothing, soft=soft)
    logits = case.operand("x", (4, 7), 0.0, 3.0)
    if soft:
        target = case.operand("target", (4, 7), 0.0, 2.0, gradient=False).softmax(-1)
    else:
        target = torch.tensor([(3 * i + 1) % 7 for i in range(4)])
        case.record["attributes"]["labels"] = target.tolist()
    return case.finish(F.cross_entropy(logits, target, label_smoothing=smoothing), weigh=False)


def binary_cross_entropy(name, targets, smoothing=0.0, threshold=None, sum_classes=False):
    """timm's `BinaryCrossEntropy`; the mean over the batch. `targets`: labels; "soft", rows that are the softmax of
    "<case>.target"; or "mixed", rows as timm's Mixup makes them of "labels" and "partners", `share` of the first.
    Rows are smoothed before they come to the loss, as Mixup does it."""
    case = Case("binary_cross_entropy", name, label_smoothing=smoothing, soft=targets != "labels",
                target_threshold=threshold, sum=sum_classes)
    logits = case.operand("x", (4, 7), 0.0, 6.0)
    labels = torch.tensor([(3 * i + 1) % 7 for i in range(4)])
    if targets == "soft":
        target = case.operand("target", (4, 7), 0.0, 2.0, gradient=False).softmax(-1)
        target = (1 - smoothing) * target + smoothing / 7
    else:
        case.record["attributes"]["labels"] = labels.tolist()
        target = labels
    if targets == "mixed":
        case.record["attributes"].update(partners=labels.flip(0).tolist(), share=0.3)
        # Mixup's own function rounds shares to f32.
        on, off = 1 - smoothing + smoothing / 7, smoothing / 7
        one_hot = torch.full((4, 7), off).double().scatter_(1, labels.view(-1, 1), on)
        target = 0.3 * one_hot + 0.7 * one_hot.flip(0)
        rounded = timm.data.mixup.mixup_target(labels, 7, 0.3, smoothing)
        if not torch.allclose(target, rounded.double(), rtol=1e-6):
            raise SystemExit(f"{name}: these targets aren't timm's")
    loss = timm.loss.BinaryCrossEntropy(smoothing, threshold, sum_classes=sum_classes)
    result = loss(logits, target)
    if not (smoothing or threshold is not None or sum_classes):
        rows = F.one_hot(target, 7).double() if targets == "labels" else target
        if not torch.equal(result, F.binary_cross_entropy_with_logits(logits, rows)):
            raise SystemExit(f"{name}: timm's loss isn't PyTorch's")
    return case.finish(result, weigh=False)


def binary_cross_entropies():
    return [
        binary_cross_entropy(f"binary_cross_entropy_{targets}{suffix}", targets, **options)
        for targets in ("labels", "soft", "mixed")
        for suffix, options in (
            ("", {}), ("_smoothed", {"smoothing": 0.1}), ("_threshold", {"smoothing": 0.1, "threshold": 0.2}),
            ("_sum", {"sum_classes": True}),
            ("_everything", {"smoothing": 0.2, "threshold": 0.05, "sum_classes": True}))
    ]


def steps(case, optimiser, weight, settings, rate_scale=1.0, rates=None):
    """Three steps; the gradient of step s is the operand "g<s>", the outputs are "w1" to "w3". The parameter's
    own group has the rate times `rate_scale`, which the case notes where it isn't 1. `rates`: one a step in place
    of "lr"."""
    if rate_scale != 1.0:
        case.record["attributes"]["rate_scale"] = rate_scale
    if rates:
        case.record["attributes"]["rates"] = rates
    optimiser = optimiser([weight], **settings)
    for step in (1, 2, 3):
        optimiser.param_groups[0]["lr"] = (rates[step - 1] if rates else settings["lr"]) * rate_scale
        weight.grad = case.operand(f"g{step}", (12,), gradient=False)
        optimiser.step()
        case.output(weight, f"w{step}")
    return case.record


def sgd(name, nesterov, rate_scale=1.0):
    settings = {"lr": 0.1, "momentum": 0.9, "dampening": 0.0, "weight_decay": 0.01, "nesterov": nesterov}
    case = Case("sgd", name, **settings)
    weight = torch.nn.Parameter(case.operand("weight", (12,), gradient=False))
    return steps(case, torch.optim.SGD, weight, settings, rate_scale)


def adamw(name, weight_decay, rate_scale=1.0):
    settings = {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": weight_decay}
    case = Case("adamw", name, **settings)
    weight = torch.nn.Parameter(case.operand("weight", (12,), gradient=False))
    return steps(case, torch.optim.AdamW, weight, settings, rate_scale)


def rmsprop(name, tensorflow, rate_scale=1.0, **changed):
    """PyTorch's, or timm's `RMSpropTF` with its defaults but for what is given. The rate changes from step to step,
    since only then it matters whether it stands inside of the momentum."""
    settings = {"lr": 0.01, "alpha": 0.9, "eps": 1e-3 if tensorflow else 1e-8, "momentum": 0.0, "centered": False,
                "weight_decay": 0.0, **changed}
    case = Case("rmsprop", name, tensorflow=tensorflow, **settings)
    weight = torch.nn.Parameter(case.operand("weight", (12,), gradient=False))
    optimiser = timm.optim.RMSpropTF if tensorflow else torch.optim.RMSprop
    return steps(case, optimiser, weight, settings, rate_scale, [0.01, 0.03, 0.005])


def optimisers():
    everything = {"momentum": 0.9, "centered": True, "weight_decay": 0.1}
    return [
        sgd("sgd", False), sgd("sgd_nesterov", True), sgd("sgd_scaled", False, 0.3),
        adamw("adamw", 0.1), adamw("adamw_no_decay", 0.0), adamw("adamw_scaled", 0.1, 0.3),
        *(rmsprop(f"rmsprop{suffix}{kind}", tensorflow, scale, **changed)
          for suffix, tensorflow in (("", False), ("_tf", True))
          for kind, scale, changed in (
              ("", 1.0, {}), ("_momentum", 1.0, {"momentum": 0.9}), ("_centered", 1.0, {"centered": True}),
              ("_decay", 1.0, {"weight_decay": 0.1}), ("_everything", 1.0, everything),
              ("_scaled", 0.3, everything))),
    ]


def clip_grad_value(name, max_value):
    """A gradient before (operand) and after (output)."""
    case = Case("clip_grad_value", name, max_value=max_value)
    parameter = torch.nn.Parameter(torch.zeros(12).double())
    parameter.grad = case.operand("a", (12,), gradient=False).clone()
    torch.nn.utils.clip_grad_value_([parameter], max_value)
    case.output(parameter.grad, "a")
    return case.record


def clip_grad_norm(name, max_norm):
    """Two gradients before (operands) and after (outputs), and the norm of both together."""
    case = Case("clip_grad_norm", name, max_norm=max_norm)
    parameters = {key: torch.nn.Parameter(torch.zeros(shape)) for key, shape in (("a", (3, 4)), ("b", (5,)))}
    for key, p in parameters.items():
        p.data = p.data.double()
        p.grad = case.operand(key, tuple(p.shape), gradient=False)
    norm = torch.nn.utils.clip_grad_norm_(parameters.values(), max_norm)
    case.output(norm, "norm")
    for key, p in parameters.items():
        case.output(p.grad, key)
    return case.record


def cases():
    return [
        *convolutions(), linear(), batch_norm(True), batch_norm(False), *pools(),
        *activations(), softmax(), layer_norm("layer_norm", (2, 5, 3, 4)),
        layer_norm("layer_norm_vector", (3, 10)), multiply(), *functions(), *reductions(),
        matmul("matmul", False, (2, 5, 3, 4), (2, 6, 3, 5)),
        matmul("matmul_transposed", True, (2, 5, 3, 4), (2, 5, 3, 6)),
        cross_entropy("cross_entropy", 0.0, False), cross_entropy("cross_entropy_smoothed", 0.1, False),
        cross_entropy("cross_entropy_soft", 0.0, True),
        cross_entropy("cross_entropy_soft_smoothed", 0.1, True),
        *binary_cross_entropies(), *optimisers(),
        clip_grad_norm("clip_grad_norm", 1.0), clip_grad_norm("clip_grad_norm_idle", 100.0),
        clip_grad_value("clip_grad_value", 0.5), clip_grad_value("clip_grad_value_idle", 2.0),
    ]
