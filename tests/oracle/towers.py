"""Embeddings of a few texts by transformers' CLIPTextModelWithProjection, in f64, of weights from the
formula under Hugging Face's names. Writes tests/fixtures/text/towers.json.

    venv/bin/python tests/oracle/towers.py
"""

import argparse
import json
import math
import pathlib

import torch
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

import figures
import formula
import tokens

# Name, width, layers, heads, embedding, activation. The first three are whole: ViT-B/32 and B/16 (and
# RN50, but for its embedding), ViT-L/14, RN50x4.
TOWERS = [
    ("vit_b", 512, 12, 8, 512, "quick_gelu"),
    ("vit_l", 768, 12, 12, 768, "quick_gelu"),
    ("rn50x4", 640, 12, 10, 640, "gelu"),
    ("small", 128, 3, 2, 48, "quick_gelu"),
    ("small_gelu", 128, 3, 2, 48, "gelu"),
]

TEXTS = [
    "a photo of a cat",
    "a great white shark has a torpedo-shaped body, a pointed snout and a large, crescent-shaped tail fin",
    "the words go on and on " * 20,
]


def tower(tokenizer, name, width, layers, heads, embedding, activation):
    config = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=4 * width, projection_dim=embedding,
        num_hidden_layers=layers, num_attention_heads=heads, hidden_act=activation,
    )  # fmt: skip
    net = CLIPTextModelWithProjection(config).eval()
    with torch.no_grad():
        for key, p in net.named_parameters():
            shape = tuple(p.shape)
            p.copy_(torch.from_numpy(formula.fill(key, shape, *formula.range_of(key, shape, []))))
        batch = tokenizer(TEXTS, padding="max_length", truncation=True, max_length=77, return_tensors="pt")
        single = net(batch["input_ids"]).text_embeds.double()
        exact = net.double()(batch["input_ids"]).text_embeds
    error = ((single - exact).norm(dim=1) / exact.norm(dim=1)).max().item()
    apart = min(((exact[i] - exact[j]).norm() / exact[i].norm()).item() for i in range(3) for j in range(i))
    print(name, "f32 error", f"{error:.2e}", "texts apart", f"{apart:.3f}", "norm", exact.norm(dim=1).tolist())
    if not (apart > 0.1 and math.isfinite(error)):
        raise SystemExit(f"{name}: the texts' embeddings are too much alike")
    return {
        "name": name, "width": width, "layers": layers, "heads": heads, "embedding": embedding,
        "activation": activation, "f32_error": figures.digits(error, 3),
        "embeddings": [figures.f24(row.numpy()) for row in exact],
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    home = pathlib.Path(__file__).resolve().parents[1] / "fixtures" / "text"
    parser.add_argument("--out", type=pathlib.Path, default=home / "towers.json")
    args = parser.parse_args()
    torch.set_num_threads(2)
    vocab, merges = tokens.vocabulary(tokens.bundled())
    tokenizer = CLIPTokenizer(vocab=vocab, merges=merges)
    towers = [json.dumps(tower(tokenizer, *sizes), separators=(",", ":")) for sizes in TOWERS]
    rows = ",\n".join(towers)
    args.out.write_text(f'{{"texts":{json.dumps(TEXTS)},\n"towers":[\n{rows}\n]}}\n')
    print(args.out.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
