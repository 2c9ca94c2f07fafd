#!/usr/bin/env python3
"""Tables for benches/RESULTS.md from what scripts/gpu-check.sh found.

    scripts/gpu-results.py gpu-check            the folder that --out named
    scripts/gpu-results.py gpu-check.tar.gz     the archive, wherever it has been copied to

Prints Markdown: the machine, how each step ended, forward passes beside PyTorch's of the same run, what being
armed costs, injections, ResNet-50's layers beside cuDNN's, profiles, and the commands. What a run lacks is left
out of its table; fields that a figure lacks are named at the end. Python's standard library alone.
"""

import csv
import io
import json
import pathlib
import sys
import tarfile

COMPUTES = {"exact": "fp32", "tf32": "tf32", "bf16": "bf16"}
# Of Nsight Compute's details: what its pages call them, and what stands above the column.
PROFILED = {
    "Duration": "duration",
    "Compute (SM) Throughput": "compute %",
    "Memory Throughput": "memory %",
    "DRAM Throughput": "DRAM %",
    "L2 Hit Rate": "L2 hits %",
    "Theoretical Occupancy": "occupancy %",
    "Achieved Occupancy": "achieved %",
    "Warp Cycles Per Issued Instruction": "cycles an issue",
}


class Found:
    """The figures of a run, and its files' text."""

    def __init__(self, path):
        path = pathlib.Path(path)
        if path.is_dir():
            path = path / "gpu-check.tar.gz"
        self.files = {}
        with tarfile.open(path) as archive:
            for member in archive.getmembers():
                if member.isfile():
                    text = archive.extractfile(member).read().decode(errors="replace")
                    self.files[pathlib.PurePath(member.name).name] = text
        self.lines, self.missing = [], set()
        for number, line in enumerate(self.files.get("figures.jsonl", "").splitlines(), 1):
            try:
                self.lines.append(json.loads(line))
            except ValueError:
                self.missing.add(f"line {number} of figures.jsonl is no JSON")

    def of(self, step, *names):
        """Lines of a step's parts, in order."""
        named = [line for line in self.lines if line.get("step") == step and line.get("name")]
        return [line for line in named if not names or line["name"] in names]

    def data(self, step, *names):
        """Figures of a step's parts: (name, object)."""
        return [(line["name"], line["data"]) for line in self.of(step, *names) if "data" in line]

    def field(self, value, key, place):
        """value[key]; None where it isn't there, which is remembered."""
        if isinstance(value, dict) and value.get(key) is not None:
            return value[key]
        self.missing.add(f"{place} has no {key}")
        return None


def number(value, digits=1):
    return "–" if value is None else f"{value:,.{digits}f}"


def ratio(a, b):
    return number(a / b if a is not None and b else None, 2)


def table(head, rows, out):
    """A Markdown table whose first column is text."""
    if not rows:
        return
    out.append("| " + " | ".join(head) + " |")
    out.append("|---|" + "---:|" * (len(head) - 1))
    out.extend("| " + " | ".join(map(str, row)) + " |" for row in rows)
    out.append("")


def section(title, out):
    out.extend([f"### {title}", ""])


def machine(found, out):
    facts = dict(found.data("devices", "machine")).get("machine", {})
    place = "step devices, machine,"
    gpu = found.field(facts, "gpu", place) or "no GPU"
    date, cores, commit = (found.field(facts, key, place) for key in ("date", "cores", "commit"))
    out.append(f"{date}, {gpu} (name, driver), {cores} cores, commit {str(commit)[:12]};")
    out.append(f"`scripts/gpu-check.sh {facts.get('device', '')}`, medians, warm, random data.")
    out.extend(["", f"`{' '.join(str(facts.get('says')).split())}`", ""])
    opened = [(line["name"], number(line.get("seconds"), 2)) for line in found.of("devices")]
    table(["opening", "s"], [row for row in opened if "opening" in row[0]], out)


def steps(found, out):
    section("Steps", out)
    ends = [line for line in found.lines if line.get("name") == "" and "seconds" in line]
    rows = [(line["step"], line["result"], line["seconds"], line.get("why", "")[:300]) for line in ends]
    table(["step", "result", "s", "parts"], rows, out)
    for line in found.lines:
        if line.get("result") in ("FAILED", "cut off") and line.get("name"):
            out.append(f"- {line['step']}, {line['name']}: {line['result']}, {line.get('why', '')}")
    out.append("")


def passes(found, out):
    """Images a second of whole networks, and what being armed costs."""
    ours, armed, layers = {}, [], []
    for name, data in found.data("overhead"):
        model, compute, batch = name.split()
        rows = found.field(data, "passes", f"overhead of {name}") or []
        for row in rows[:1]:
            median = found.field(row, "median_ms", f"overhead of {name}")
            ours[model, compute, int(batch)] = row.get("images_per_s") or (
                1e3 * int(batch) / median if median else None
            )
        if len(rows) == 3:
            cells = [row.get("ratio") for row in rows[1:]]
            armed.append([name, number(rows[0].get("median_ms"), 3), *(number(c, 3) for c in cells)])
        for row in data.get("layers", []):
            cells = [row.get(key) for key in ("clean_ms", "armed_ratio", "faulty_ratio")]
            what = f"{name}: {row.get('layer')}, {row.get('site')}"
            if row.get("error"):
                what += f" ({row['error']})"
            layers.append([what, number(cells[0], 4), *(number(cell, 2) for cell in cells[1:])])
    theirs, peer = {}, None
    for line in found.of("torch", "networks"):
        for row in line.get("rows", []):
            peer = row.get("peer", peer)
            theirs[row.get("model"), row.get("type"), row.get("batch")] = row.get("images_per_s")
            why = row.get("error") or row.get("left_out")
            if why:
                found.missing.add(f"PyTorch, {row.get('model')} {row.get('type')} {row.get('batch')}: {why}")
    if not ours and not theirs:
        return
    section("Forward passes", out)
    out.extend([f"Images a second; {peer or 'no peer'}. A ratio above 1 is faster than PyTorch.", ""])
    head = ["network, batch"]
    for compute, kind in COMPUTES.items():
        head += [compute, f"PyTorch {kind}", "ratio"]
    sizes = sorted({(model, batch) for model, _, batch in [*ours, *theirs]})
    rows = []
    for model, batch in sizes:
        cells = []
        for compute, kind in COMPUTES.items():
            mine, other = ours.get((model, compute, batch)), theirs.get((model, kind, batch))
            cells += [number(mine, 0), number(other, 0), ratio(mine, other)]
        rows.append([f"{model}, {batch}", *cells])
    table(head, rows, out)
    section("Being armed", out)
    head = ["network, arithmetic, batch", "clean ms", "armed ÷ clean", "a fault an image ÷ clean"]
    table(head, armed, out)
    table(["layer, site", *head[1:]], layers, out)


def injections(found, out):
    if not found.data("inject"):
        return
    section("Injections", out)
    rows = []
    for name, data in found.data("inject"):
        place = f"inject, {name}"
        keys = ("device", "injections", "injections_per_s", "masked_percent")
        device, count, rate, masked = (found.field(data, key, place) for key in keys)
        sha256 = found.field(data, "records_sha256", place) or "–"
        rows.append([f"{name} ({device})", count, number(rate), number(masked, 0), sha256[:12]])
    table(["campaign", "injections", "a second", "masked %", "records' SHA-256"], rows, out)
    for line in found.of("inject", "records as the CPU's"):
        out.extend([f"Records as the CPU's: {line['result']}.", ""])


def layers(found, out):
    """Each operation beside cuDNN's, and its share of the ceiling."""
    runs = dict(found.data("layers"))
    peers = dict(found.data("torch", "times")).get("times", {})
    times = peers.get("times", {})
    rows = {}
    for compute, run in runs.items():
        for shape in found.field(run, "shapes", f"layers, {compute}") or []:
            rows.setdefault(shape["id"], {"shape": shape})[compute] = shape
    if not rows:
        return
    section("Operations of ResNet-50", out)
    batches = {run.get("batch") for run in runs.values()} | ({peers["batch"]} if peers else set())
    if len(batches) > 1:
        found.missing.add(f"layers and PyTorch's have other batches: {batches}")
        times = {}
    for compute, run in runs.items():
        ceilings = found.field(run, "ceilings", f"layers, {compute}") or {}
        text = ", ".join(f"{key} {number(value, 0)}" for key, value in ceilings.items())
        out.append(f"Batch {run.get('batch')}, ceilings beside {compute}: {text}.")
    out.extend([f"Peer: {peers.get('peer', 'none')}. A ratio below 1 is faster than it.", ""])
    out.extend(["The ceiling is that of memory or of f32's multiply-adds, in tf32 and bf16, too.", ""])
    head = ["operation", "times", "exact ms", "ceiling %", "cuDNN", "ratio"]
    head += ["tf32 ms", "ceiling %", "cuDNN tf32", "ratio", "bf16 ms", "ceiling %"]
    lines, failed = [], []
    for id, row in rows.items():
        shape, peer = row["shape"], times.get(id, {})
        count = sum(count for _, count in shape.get("models", []))
        cells = [shape["name"] + (" (Winograd)" if peer.get("winograd") else ""), count]
        for compute, other in (("exact", "forward_ms"), ("tf32", "forward_tf32_ms"), ("bf16", None)):
            timed = row.get(compute) or {}
            if timed.get("error"):
                failed.append(f"- {shape['name']}, {compute}: {timed['error']}")
            forward = timed.get("forward") or {}
            mine = forward.get("median_ms")
            cells += [number(mine, 4), number(forward.get("share_percent"), 0)]
            if other:
                cells += [number(peer.get(other), 4), ratio(mine, peer.get(other))]
        lines.append(cells)
    table(head, lines, out)
    out.extend([*failed, ""] if failed else [])


def both_passes(found, out):
    """What a second call times: forward and backward, with the ratios that the program has worked out."""
    for step in ("backward", "shapes"):
        for name, run in found.data(step):
            if "shapes" not in run or "ceilings" not in run:
                continue
            section(f"Operations, {step}: {name}", out)
            out.extend([f"Batch {run.get('batch')}; peer: {run.get('peer') or 'none'}.", ""])
            rows = []
            for shape in run["shapes"]:
                cells = [shape.get("name", "?") + (f" ({shape['error']})" if shape.get("error") else "")]
                for way in ("forward", "backward"):
                    timed = shape.get(way) or {}
                    cells += [number(timed.get("median_ms"), 4), number(timed.get("share_percent"), 0)]
                    cells.append(number(timed.get("ratio"), 2))
                rows.append(cells)
            head = ["operation", "forward ms", "ceiling %", "ratio", "backward ms", "ceiling %", "ratio"]
            table(head, rows, out)


def profiles(found, out):
    rows = []
    for line in found.of("ncu"):
        file = "".join(c if c.isascii() and c.isalnum() else "-" for c in line["name"])
        while "--" in file:
            file = file.replace("--", "-")
        text = found.files.get(f"ncu-{file}.out", "")
        start = text.find('"ID"')
        if start < 0:
            continue
        values = {}
        for row in csv.DictReader(io.StringIO(text[start:])):
            kernel = row.get("Kernel Name") or ""
            if row.get("Metric Name") in PROFILED:
                unit = row.get("Metric Unit") or ""
                # One page has shares and another bytes a second under the same name.
                if PROFILED[row["Metric Name"]].endswith("%") and unit != "%":
                    continue
                value = row.get("Metric Value") or "–"
                values[row["Metric Name"]] = value if unit in ("%", "cycle") else f"{value} {unit}"
                values["kernel"] = kernel.split("(")[0]
        rows.append([f"{line['name']}: {values.get('kernel', '?')}", *(values.get(k, "–") for k in PROFILED)])
    if rows:
        section("Profiles", out)
        table(["kernel", *PROFILED.values()], rows, out)


def commands(found, out):
    section("Commands", out)
    measured = [line for line in found.lines if "data" in line or "rows" in line or line["step"] == "ncu"]
    out.append("```text")
    out.extend(line["command"] for line in measured if "command" in line)
    out.extend(["```", ""])


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: scripts/gpu-results.py ARCHIVE|DIR")
    try:
        found = Found(sys.argv[1])
    except (OSError, tarfile.TarError) as error:
        sys.exit(f"gpu-results: {sys.argv[1]} can't be read: {error}")
    out = ["## GPU", ""]
    for part in (machine, steps, passes, injections, layers, both_passes, profiles, commands):
        part(found, out)
    if found.missing:
        out.extend(["Missing:", ""] + [f"- {what}" for what in sorted(found.missing)])
    print("\n".join(out))


if __name__ == "__main__":
    main()
