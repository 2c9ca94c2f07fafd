"""The lines of Python in docs/training.md that run a text-guided model, run.

From the root of the repository, in an environment with torch, torchvision, timm and safetensors:

    python tests/oracle/page.py

The lines read a file with the formula's weights, and their logits are held against `networks.py`'s
model. `tests/fixtures/pytorch/page.json` gets the lines themselves, so that a test knows when the
page has others, and their logits of two images.
"""

import json
import os
import pathlib
import sys
import tempfile

import networks
import torch
from safetensors.torch import save_file

PAGE = pathlib.Path("docs/training.md")
FIXTURE = pathlib.Path("tests/fixtures/pytorch/page.json")
BACKBONE, CLASSES, SIDE, IMAGES = "resnet18", 7, 64, 2


def lines():
    """The page's only block of Python."""
    (block,) = [part.split("```")[0] for part in PAGE.read_text().split("```python\n")[1:]]
    return block


def main():
    code, root = lines(), pathlib.Path.cwd()
    net = networks.build(BACKBONE, "text-guided", CLASSES).eval()
    images = networks.images(IMAGES, SIDE)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        os.chdir(folder)
        os.mkdir("guided")
        save_file(net.state_dict(), "guided/model.safetensors")
        names = {}
        exec(code, names)
        found, expected = names["logits"](images), net(images)
        os.chdir(root)
    error = ((found - expected).abs().max() / expected.abs().max()).item()
    if not error < 1e-5:
        sys.exit(f"the page's logits are {error:.1e} off")
    fixture = {
        "lines": code.splitlines(), "backbone": BACKBONE, "classes": CLASSES, "side": SIDE,
        "ranges": networks.ranges(BACKBONE), "logits": [[round(v, 6) for v in row] for row in found.tolist()],
    }  # fmt: skip
    FIXTURE.write_text(json.dumps(fixture, indent=1, ensure_ascii=False) + "\n")
    print(f"{FIXTURE}: {error:.1e} off")


if __name__ == "__main__":
    main()
