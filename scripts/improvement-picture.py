"""Draws docs/improvement.svg from the ratios that docs/study.md prints and the published ones.

    python3 scripts/improvement-picture.py            # writes the picture
    python3 scripts/improvement-picture.py --check    # fails where the picture isn't what would be written

Needs Python 3.11 alone.
"""

import itertools
import math
import re
import sys
import tomllib
from pathlib import Path

root = Path(__file__).parents[1]
picture = root / "docs/improvement.svg"

# A row of a contrast's table, and what a row of the picture calls it.
FIGURES = [("ΔLoss ratio, last layer after scale", "last layer"), ("ΔLoss ratio, all layers", "all layers")]
# A contrast, and what the picture calls it.
CONTRASTS = [
    ("text-guided, random rows against baseline", "form, random rows", "#6e7781"),
    ("text-guided, text rows against baseline", "form and text", "#0969da"),
    ("text-guided, text rows against text-guided, random rows", "text alone", "#8250df"),
]
PUBLISHED = "#bc4c00"
LEFT, RIGHT, TOP, STEP = 230, 590, 66, 22
TICKS = [1, 1.5, 2, 3, 5, 10]
LOW, HIGH = 0.75, 13


def ratios(heading):
    """{(contrast, figure): (cell, value, low, high)} of the section's tables, over seeds where there are several."""
    page = (root / "docs/study.md").read_text()
    section = page.split(f"## {heading}\n")[1].split("\n## ")[0]
    found = {}
    for contrast, _, _ in CONTRASTS:
        if contrast not in section:
            continue
        lines = itertools.dropwhile(lambda line: not line.startswith("|"), section.split(contrast)[1].splitlines())
        for line in itertools.takewhile(lambda line: line.startswith("|"), lines):
            name, _, cells = line.strip("| ").partition("|")
            match = re.match(r"\s*([\d.]+) \[([\d.]+), ([\d.]+)\]", cells)
            if match:
                found[contrast, name.strip()] = (match[0].strip(), *map(float, match.groups()))
    return found


def x(ratio):
    return LEFT + (RIGHT - LEFT) * math.log(ratio / LOW) / math.log(HIGH / LOW)


def text(at, y, words, more=""):
    return f'<text x="{at:.1f}" y="{y:.1f}" {more}>{words}</text>'


def draw():
    published = tomllib.loads((root / "models/resnet18.toml").read_text())["published"]
    groups = [
        ("On real images", "ResNet-18, 20 ImageNet classes at 64×64", [published["last_layer"], published["overall"]]),
        ("On built-in images", "resnet_small, built-in images at 32×32", None),
    ]
    parts, y = [], TOP
    for heading, title, paper in groups:
        parts.append(text(16, y, title, 'font-weight="600"'))
        y += STEP
        figures = ratios(heading)
        for number, (figure, called) in enumerate(FIGURES):
            for contrast, rows, colour in CONTRASTS:
                if (contrast, figure) not in figures:
                    continue
                cell, value, low, high = figures[contrast, figure]
                parts.append(text(LEFT - 14, y + 4, f"{called}, {rows}", 'text-anchor="end"'))
                parts.append(f'<line x1="{x(low):.1f}" x2="{x(high):.1f}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="2"/>')
                parts.append(f'<circle cx="{x(value):.1f}" cy="{y}" r="4.5" fill="{colour}"/>')
                parts.append(text(RIGHT + 14, y + 4, cell))
                y += STEP
            if paper:
                at = x(paper[number])
                parts.append(text(LEFT - 14, y + 4, f"{called}, published (ImageNet)", 'text-anchor="end"'))
                parts.append(f'<path d="M{at - 5:.1f} {y}l5 -5l5 5l-5 5z" fill="{PUBLISHED}"/>')
                parts.append(text(RIGHT + 14, y + 4, f"{paper[number]:.2f}"))
                y += STEP
        y += STEP // 2
    bottom = y - STEP
    axis = []
    for tick in TICKS:
        colour = "#1f2328" if tick == 1 else "#d0d7de"
        axis.append(f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{TOP + 6}" y2="{bottom}" stroke="{colour}"/>')
        axis.append(text(x(tick), bottom + 16, f"{tick:g}×", 'text-anchor="middle"'))
    axis.append(text(x(1), bottom + 34, "at 1× nothing changes; to its right faults change the loss less"))
    head = "How many times less a flipped bit changes the loss (95 % intervals)"
    height = bottom + 48
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="{height}" viewBox="0 0 760 {height}"'
            ' font-family="system-ui, sans-serif" font-size="13" fill="#1f2328">',
            f'<rect width="760" height="{height}" rx="8" fill="#ffffff"/>',
            text(16, 30, head, 'font-size="14" font-weight="600"'),
            *axis,
            *parts,
            "</svg>\n",
        ]
    )


drawn = draw()
if sys.argv[1:] == ["--check"]:
    if picture.read_text() != drawn:
        sys.exit(f"{picture}: not what scripts/improvement-picture.py draws from docs/study.md")
elif sys.argv[1:]:
    sys.exit(__doc__)
else:
    picture.write_text(drawn)
