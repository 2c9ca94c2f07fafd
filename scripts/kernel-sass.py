#!/usr/bin/env python3
"""What every GPU kernel is made of on sm_90, as a table, from the newest release build's machine code.

Fails if a kernel reads or writes memory by generic addresses, which the hardware has to sort out access by
access (kernels/common/flipside.cuh says how they come about), or in local memory, where arrays of a thread
end that don't fit its registers or are indexed by what isn't known when compiling.

    scripts/kernel-sass.py [PATTERN...]     kernels whose names hold one of the words; all of them without

`in all` counts instructions. `loop` is the smallest loop that holds half of a kernel's multiply-adds, HMMA or
else FFMA: what is issued on the way round that has most of them, then moves most bytes into shared memory, and then is shortest;
behind it how many of these are multiply-adds, and how many numbers are rounded to tf32 (two instructions each).
Loads and stores are those of the whole kernel: of global memory, of it straight into shared memory (LDGSTS), of
shared memory (LDSM: of fragments).
"""

import collections
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
ARCH = "sm_90"
GENERIC = ("LD", "ST", "ATOM")
LOCAL = ("LDL", "STL")
SHOWN = ("LDG", "STG", "LDGSTS", "LDS", "LDSM", "STS")
MATH = ("HMMA", "FFMA")
# Kernels that may have such accesses, and why.
ALLOWED = {}

FUNCTION = re.compile(r"\s+Function : (\S+)")
LINE = re.compile(r"\s+/\*([0-9a-f]+)\*/\s+(@!?U?P\w+\s+)?([A-Z][\w.]*)([^;]*);")
IS_FINITE = re.compile(r"\|R\d+(?:\.reuse)?\|(?:\.reuse)?, \+INF")


def fail(text):
    sys.exit(f"kernel-sass: {text}")


class Instruction:
    def __init__(self, match):
        self.at = int(match[1], 16)
        self.predicated = match[2] is not None
        self.name, _, self.flags = match[3].partition(".")
        self.operands = match[4]
        target = re.search(r"\b0x([0-9a-f]+)\s*$", self.operands)
        self.target = int(target[1], 16) if target else None

    def moved_bytes(self):
        if self.name not in ("LDG", "LDGSTS", "STS"):
            return 0
        flags = self.flags.split(".")
        return 16 if "128" in flags else 8 if "64" in flags else 4

    def is_rounding(self):
        return self.name == "FSETP" and IS_FINITE.search(self.operands) is not None


def disassembled(image):
    """The kernels of a fatbin: name and instructions."""
    command = [disassembler(), "-sass", "-arch", ARCH, image]
    said = subprocess.run(command, capture_output=True, text=True)
    if said.returncode != 0:
        fail(f"{' '.join(command)}: {said.stderr.strip()}")
    kernels, code = {}, None
    for line in said.stdout.splitlines():
        if found := FUNCTION.match(line):
            code = kernels.setdefault(found[1], [])
        elif (found := LINE.match(line)) and code is not None:
            code.append(Instruction(found))
    return kernels


def successors(code, index, meetings):
    """Where control goes behind an instruction, as addresses."""
    this = code[index]
    behind = [code[index + 1].at] if index + 1 < len(code) else []
    if this.name == "BRA" and this.target is not None:
        return [this.target] + (behind if this.predicated or "DIV" in this.flags else [])
    if this.name in ("EXIT", "RET", "BRX") and not this.predicated:
        return []
    if this.name == "BSYNC":
        return [meetings.get(this.operands.strip(), behind[0] if behind else 0)]
    return behind


def way_round(code, multiply, first, last):
    """What is issued on the way that the head of this file describes: all, multiply-adds, roundings."""
    # What lies behind the best way to an address; instructions with their sign turned, so that fewer are more.
    best, meetings = {first: (0, 0, 0, 0)}, {}
    for index, this in enumerate(code):
        if this.name == "BSSY":
            meetings[this.operands.split(",")[0].strip()] = this.target
        if not first <= this.at <= last or this.at not in best:
            continue
        math, moved, turned, rounded = best[this.at]
        math += this.name == multiply
        here = (math, moved + this.moved_bytes(), turned - 1, rounded + this.is_rounding())
        if this.at == last:
            return -here[2], here[0], here[3]
        for to in successors(code, index, meetings):
            if this.at < to <= last and (to not in best or best[to] < here):
                best[to] = here
    return None


def main_loop(code):
    """The loop that does the work, if there is one."""
    names = collections.Counter(this.name for this in code)
    multiply = next((name for name in MATH if names[name]), None)
    math = [this.at for this in code if this.name == multiply]
    loops = [
        (this.at - this.target, this.target, this.at)
        for this in code
        if this.name == "BRA" and this.target is not None and this.target < this.at
    ]
    for _, first, last in sorted(loops):
        if math and 2 * sum(first <= at <= last for at in math) >= len(math):
            return way_round(code, multiply, first, last)
    return None


def examined(image):
    """The kernels of a fatbin: name, number of each instruction, and the loop."""
    return [
        (name, collections.Counter(this.name for this in code), main_loop(code))
        for name, code in disassembled(image).items()
    ]


def build():
    """The newest build's images, a file each."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    tables = sorted(
        target.glob("release/build/flipside-*/out/kernel_files.rs"), key=lambda p: p.stat().st_mtime
    )
    images = re.findall(r'include_bytes!\("([^"]+)"\)', tables[-1].read_text()) if tables else []
    if not images:
        fail("no GPU kernels were built (scripts/get-nvcc.sh, then cargo build --release)")
    return images


def disassembler():
    """cuobjdump, which finds nvdisasm beside it."""
    own = ROOT / ".cuda/nvidia/cu13/bin/cuobjdump"
    found = str(own) if own.is_file() else shutil.which("cuobjdump")
    return found or fail("there is no cuobjdump; run scripts/get-nvcc.sh")


def main():
    disassembler()
    with concurrent.futures.ProcessPoolExecutor() as pool:
        kernels = sorted(row for rows in pool.map(examined, build()) for row in rows)
    if not kernels:
        fail(f"the build has no machine code for {ARCH}")
    print(f"| kernel | in all | loop | FFMA, HMMA | to tf32 | {' | '.join(SHOWN)} |")
    print("|---" + "|---:" * (4 + len(SHOWN)) + "|")
    bad = []
    for name, counts, loop in kernels:
        for kind, names in (("generic", GENERIC), ("local", LOCAL)):
            number = sum(counts[each] for each in names)
            if number and (name, kind) not in ALLOWED:
                bad.append(f"{name} has {number} {kind} accesses")
        if sys.argv[1:] and not any(word in name for word in sys.argv[1:]):
            continue
        cells = ["", "", ""]
        if loop:
            issued, math, rounded = loop
            cells = [str(issued), f"{math}, {100 * math / issued:.0f} %", str(rounded or "")]
        cells += [str(counts[each] or "") for each in SHOWN]
        print(f"| {name} | {counts.total()} | {' | '.join(cells)} |")
    for text in bad:
        print(f"kernel-sass: {text}", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
