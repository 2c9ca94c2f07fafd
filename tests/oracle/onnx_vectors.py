"""The ONNX project's own test vectors of its operators, run by flipside.

    venv/bin/python tests/oracle/onnx_vectors.py --flipside target/release/flipside
    venv/bin/python tests/oracle/onnx_vectors.py --flipside target/release/flipside --operator Conv --show

The package makes the vectors (`pip install onnx safetensors`). A vector's first float input becomes the first elements of
an image, brought into its shape by a Reshape; its other inputs become constants, its outputs one row of logits.
Prints a line for each operator: how many vectors give the expected numbers, how many are refused, how many fail. A
refusal is an error that names a node or what is missing; anything else fails, and so does another number.
"""

import argparse
import collections
import pathlib
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.case.node import collect_testcases
from safetensors.numpy import load_file, save_file

OPERATORS = """Abs Add And ArgMax AveragePool BatchNormalization Cast Ceil Clip Concat Constant ConstantOfShape Conv Cos CumSum
DepthToSpace Div Dropout Einsum Elu Equal Erf Exp Expand Flatten Floor Gather GatherND Gelu Gemm GlobalAveragePool
GlobalMaxPool GroupNormalization HardSigmoid HardSwish Identity InstanceNormalization LayerNormalization LeakyRelu Less Log
LogSoftmax LpNormalization MatMul Max MaxPool Mean Min Mish Mod Mul Neg Not OneHot Or Pad Pow PRelu Range Reciprocal
ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize Round ScatterND
Selu Shape Sigmoid Sin Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Swish Tanh Tile
Transpose Trilu Unsqueeze Where""".split()
# Beside the share that a vector itself allows.
BOUND = 1e-5


def wrapped(model, inputs, outputs):
    """The model with one image for its first float input, and one row of logits; None where it has no such input."""
    graph = model.graph
    names = [value.name for value in graph.input]
    floats = [at for at, value in enumerate(inputs) if value.dtype == np.float32 and value.size > 0]
    if not floats or any(value.dtype != np.float32 for value in outputs):
        return None, None
    image = floats[0]
    nodes, constants = [], []
    for at, (name, value) in enumerate(zip(names, inputs)):
        if at != image:
            constants.append(numpy_helper.from_array(value, name))
    for name, numbers in [
        ("shape", inputs[image].shape), ("row", [1, -1]), ("zero", [0]), ("count", [inputs[image].size]), ("axis", [1]),
        ("one", [1]),
    ]:
        constants.append(numpy_helper.from_array(np.array(numbers, np.int64), f"vector.{name}"))
    cut = lambda end, to: helper.make_node("Slice", ["vector.flat", "vector.zero", end, "vector.axis"], [to])
    nodes.append(helper.make_node("Reshape", ["vector.image", "vector.row"], ["vector.flat"]))
    nodes.append(cut("vector.count", "vector.elements"))
    nodes.append(helper.make_node("Reshape", ["vector.elements", "vector.shape"], [names[image]]))
    nodes.extend(graph.node)
    flat = []
    for at, value in enumerate(graph.output):
        flat.append(f"vector.flat{at}")
        nodes.append(helper.make_node("Reshape", [value.name, "vector.row"], [flat[-1]]))
    # One more, so that a softmax isn't what the network ends in, which would be left out.
    nodes.append(cut("vector.one", "vector.more"))
    nodes.append(helper.make_node("Concat", [*flat, "vector.more"], ["vector.logits"], axis=1))
    side = int(np.ceil(np.sqrt(inputs[image].size / 3)))
    pixels = np.random.default_rng(7).standard_normal(3 * side * side).astype(np.float32)
    pixels[: inputs[image].size] = inputs[image].reshape(-1)
    made = helper.make_graph(
        nodes, "vector",
        [helper.make_tensor_value_info("vector.image", TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info("vector.logits", TensorProto.FLOAT, [1, None])],
        constants + list(graph.initializer),
    )
    model = helper.make_model(made, opset_imports=model.opset_import, ir_version=max(model.ir_version, 4))
    return model, pixels.reshape(1, 3, side, side)


def run(flipside, folder, model, image):
    onnx.save(model, folder / "vector.onnx")
    save_file({"input": np.ascontiguousarray(image)}, folder / "image.safetensors")
    command = [
        flipside, "predict", "--model", folder / "vector.onnx", "--input", folder / "image.safetensors",
        "--logits", folder / "logits.safetensors", "--quiet",
    ]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60)
    if done.returncode == 0:
        return load_file(folder / "logits.safetensors")["logits"], ""
    return None, done.stderr.strip()


def judged(flipside, case, folder):
    """What becomes of a vector: passed, refused, failed or other, and why."""
    inputs, outputs = case.data_sets[0]
    if not all(isinstance(value, np.ndarray) for value in [*inputs, *outputs]):
        return "other", "not of tensors"
    made, image = wrapped(case.model, inputs, outputs)
    if made is None:
        return "other", "not of float32"
    found, why = run(flipside, folder, made, image)
    if found is None:
        is_refusal = why.startswith("flipside: ") and "panicked" not in why
        return ("refused" if is_refusal else "failed"), why
    expected = np.concatenate([*(value.reshape(-1) for value in outputs), image.reshape(-1)[:1]])
    if found.size != expected.size:
        return "failed", f"{found.size} numbers for {expected.size}"
    with np.errstate(all="ignore"):
        close = np.isclose(found.reshape(-1), expected, rtol=case.rtol, atol=BOUND, equal_nan=True)
    return ("passed", "") if close.all() else ("failed", f"{(~close).sum()} of {close.size} numbers differ")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flipside", type=pathlib.Path, required=True)
    parser.add_argument("--operator", action="append", help="only this one; may be given several times")
    parser.add_argument("--show", action="store_true", help="a line for each vector that isn't passed")
    args = parser.parse_args()
    wanted = set(args.operator or OPERATORS)
    warnings.filterwarnings("ignore")
    counts = collections.defaultdict(collections.Counter)
    for case in collect_testcases(None):
        nodes = case.model.graph.node
        # Operators that are written out in others have a second vector of those.
        if len(nodes) != 1 or nodes[0].op_type not in wanted or case.name.endswith("_expanded"):
            continue
        with tempfile.TemporaryDirectory() as folder:
            verdict, why = judged(args.flipside.resolve(), case, pathlib.Path(folder))
        counts[nodes[0].op_type][verdict] += 1
        if verdict == "failed" or args.show and verdict == "refused":
            print(f"{verdict} {case.name}: " + " | ".join(line.strip() for line in why.splitlines())[:300], flush=True)
    total = collections.Counter()
    print(f"{'operator':24} passed refused failed  not of float32")
    for operator, verdicts in sorted(counts.items()):
        print(f"{operator:24} " + "".join(f"{verdicts[kind]:6}" for kind in ("passed", "refused", "failed", "other")))
        total.update(verdicts)
    print(f"{'all':24} " + "".join(f"{total[kind]:6}" for kind in ("passed", "refused", "failed", "other")))
    sys.exit(total["failed"] > 0)


if __name__ == "__main__":
    main()
