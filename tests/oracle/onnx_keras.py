"""Keras's networks, converted to ONNX by tf2onnx, run by flipside and by TensorFlow.

    venv/bin/python tests/oracle/onnx_keras.py --flipside target/release/flipside

Prints a line for each network: the largest difference of a logit over the largest logit, or what flipside refuses. Images
have their channels last in these files. It wants `pip install tensorflow-cpu tf2onnx safetensors`. No fixture.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
import tf2onnx
from safetensors.numpy import load_file, save_file

NETWORKS = "MobileNetV2 ResNet50 DenseNet121 NASNetMobile Xception ResNet50V2".split()
BOUND = 1e-4


def build(name):
    """The network, its batch norms with statistics of what they see."""
    tf.keras.utils.set_random_seed(3)
    net = getattr(tf.keras.applications, name)(weights=None, classifier_activation=None)
    side = net.input_shape[1]
    for layer in net.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.momentum = 0.0
            layer.gamma.assign(1.0 + 0.2 * np.random.randn(*layer.gamma.shape))
            layer.beta.assign(0.2 * np.random.randn(*layer.beta.shape))
    net(np.random.randn(4, side, side, 3).astype(np.float32), training=True)
    return net, side


def compare(flipside, name, folder):
    net, side = build(name)
    images = np.random.default_rng(1).standard_normal((2, side, side, 3)).astype(np.float32)
    expected = net(images, training=False).numpy()
    signature = (tf.TensorSpec((None, side, side, 3), tf.float32, name="input"),)
    function = tf.function(lambda input: net(input, training=False), input_signature=signature)
    model, batch, logits = (folder / file for file in ("net.onnx", "images.safetensors", "logits.safetensors"))
    tf2onnx.convert.from_function(function, input_signature=signature, opset=17, output_path=str(model))
    save_file({"input": np.ascontiguousarray(images.transpose(0, 3, 1, 2))}, batch)
    command = [flipside, "predict", "--model", model, "--input", batch, "--logits", logits, "--quiet"]
    run = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=600)
    if run.returncode != 0:
        return None, run.stderr.strip()
    return np.abs(load_file(logits)["logits"] - expected).max() / np.abs(expected).max(), ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flipside", type=pathlib.Path, required=True)
    parser.add_argument("names", nargs="*", default=NETWORKS)
    args = parser.parse_args()
    differ = False
    for name in args.names:
        with tempfile.TemporaryDirectory() as folder:
            error, why = compare(args.flipside.resolve(), name, pathlib.Path(folder))
        differ |= error is not None and error > BOUND
        print(f"{name:20} " + (f"{error:.1e}" if error is not None else f"refused: {why}"), flush=True)
    sys.exit(differ)


if __name__ == "__main__":
    main()
