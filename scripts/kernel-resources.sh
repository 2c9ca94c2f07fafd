#!/usr/bin/env bash
# What every GPU kernel uses of a multiprocessor, as a table: registers, shared memory, blocks and
# occupancy; from the newest release build. Fails if a kernel spills registers, or if
# kernels/RESOURCES.md isn't that table.
#
# Usage: scripts/kernel-resources.sh [--write]      --write: make it that table
set -euo pipefail
cd "$(dirname "$0")/.."

table=kernels/RESOURCES.md
target=${CARGO_TARGET_DIR:-target}/release
fail() {
    echo "kernel-resources: $*" >&2
    exit 1
}

said=$(ls -t "$target"/build/flipside-*/out/resources.txt 2> /dev/null | head -1)
if [ -z "$said" ] || ! grep -q 'Compiling entry function' "$said"; then
    fail "no GPU kernels were built (scripts/get-nvcc.sh, then cargo build --release)"
fi
[ -x "$target/flipside" ] || fail "$target/flipside is missing (cargo build --release)"

bad=0
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$target/flipside" devices --kernels > "$folder/kernels"

# Blocks of a multiprocessor: the least of what threads, registers and shared memory allow. The limits
# are those of "Technical Specifications per Compute Capability" in NVIDIA's CUDA C++ Programming
# Guide, the granularities those of its occupancy calculator (cuda_occupancy.h): registers go to warps
# by 256, a quarter of them to each of four schedulers; warps count by four; shared memory counts by
# 128 bytes, and a block takes 1 KB more for the system.
awk '
    function up(value, unit) { return int((value + unit - 1) / unit) * unit }
    function least(a, b) { return a < b ? a : b }
    function blocks(arch, registers, shared, threads,    warps, by_warps, by_registers, by_shared) {
        warps = up(threads, 32) / 32
        by_warps = int(most_warps[arch] / warps)
        by_registers = int(int(16384 / up(registers * 32, 256)) * 4 / up(warps, 4))
        by_shared = int(memory[arch] * 1024 / up(shared + 1024, 128))
        return least(most_blocks[arch], least(by_warps, least(by_registers, by_shared)))
    }
    function limits(arch, kilobytes, warps, together) {
        known[++archs] = arch
        memory[arch] = kilobytes
        most_warps[arch] = warps
        most_blocks[arch] = together
    }
    function complain(text) {
        print "kernel-resources: " text > "/dev/stderr"
        bad = 1
    }
    BEGIN {
        limits("sm_80", 164, 64, 32)
        limits("sm_90", 228, 64, 32)
        limits("sm_100", 228, 64, 32)
        limits("sm_120", 100, 48, 24)
    }
    FNR == NR && /^nvcc / { release = $2; next }
    FNR == NR && /Compiling entry function/ {
        split($0, quoted, "\047")
        name = quoted[2]
        arch = quoted[4]
        built[arch] = 1
    }
    FNR == NR && /bytes stack frame/ { stack = $1; spills = $5 + $9 }
    FNR == NR && /Used [0-9]+ registers/ {
        for (i = 1; i < NF; ++i) {
            if ($i == "Used") used[name, arch] = $(i + 1)
            if ($(i + 1) ~ /^smem/ && $i == "bytes") fixed[name] = $(i - 1)
        }
        stacks[name, arch] = stack
        spilled[name, arch] = spills
        stack = spills = 0
    }
    FNR == NR { next }
    FNR == 1 {
        print "# What kernels use of a multiprocessor\n"
        print "Written by `scripts/kernel-resources.sh --write`, which says how blocks are counted; figures"
        print "of ptxas, nvcc " release ". Threads: the most that a block may have. Shared: bytes a block, all"
        print "of it dynamic. For each architecture: registers of a thread, then the blocks of that size that a"
        print "multiprocessor holds at a time and its occupancy (their share of its warps: 48 on sm_120, else 64)."
        print "Stack: bytes a thread, the most of any. No kernel spills registers.\n"
        head = "| kernel | threads | shared | stack |"
        rule = "|---|---:|---:|---:|"
        for (i = 1; i <= archs; ++i) {
            if (!(known[i] in built)) continue
            head = head " " known[i] " |"
            rule = rule "---:|"
            delete built[known[i]]
            shown[++columns] = known[i]
        }
        print head "\n" rule
        for (arch in built) complain("the limits of " arch " are not known here; add them")
    }
    {
        row = ""
        deepest = 0
        for (i = 1; i <= columns; ++i) {
            arch = shown[i]
            if (!(($1, arch) in used)) {
                complain("ptxas said nothing of " $1 " on " arch "; is the build fresh?")
                continue
            }
            count = blocks(arch, used[$1, arch], $4, $3)
            row = row sprintf(" %d, %d, %d %% |", used[$1, arch], count,
                int(100 * count * up($3, 32) / 32 / most_warps[arch] + 0.5))
            if (count < 1) complain("no block of " $1 " (kernels/" $2 ") fits " arch)
            if (spilled[$1, arch] > 0) complain($1 " (kernels/" $2 ") spills on " arch)
            if (stacks[$1, arch] > deepest) deepest = stacks[$1, arch]
        }
        print "| " $1 " | " $3 " | " $4 " | " deepest " |" row
        if (fixed[$1] > 0) complain($1 " has static shared memory; KERNEL is to name it")
    }
    END { exit bad }
' "$said" "$folder/kernels" > "$folder/table" || bad=1
[ -s "$folder/table" ] || fail "the table could not be made"

cat "$folder/table"
if [ "${1:-}" = --write ]; then
    cp "$folder/table" "$table"
elif ! diff -u "$table" "$folder/table" > "$folder/difference"; then
    cat "$folder/difference" >&2
    fail "$table isn't what was built; refresh it: scripts/kernel-resources.sh --write"
fi
exit "$bad"
