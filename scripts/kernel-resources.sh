#!/usr/bin/env bash
# What every GPU kernel uses of a multiprocessor, as a table: registers, shared memory, blocks and
# occupancy, spills; from the newest release build. Fails if a kernel spills, or if
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
        by_warps = int(64 / warps)
        by_registers = int(int(16384 / up(registers * 32, 256)) * 4 / up(warps, 4))
        by_shared = int(memory[arch] * 1024 / up(shared + 1024, 128))
        return least(32, least(by_warps, least(by_registers, by_shared)))
    }
    BEGIN { memory["sm_80"] = 164; memory["sm_90"] = memory["sm_90a"] = 228 }
    FNR == NR && /^nvcc / { release = $2; next }
    FNR == NR && /Compiling entry function/ { split($0, quoted, "\047"); name = quoted[2]; arch = quoted[4] }
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
        print "of it dynamic. Blocks and occupancy (share of the 64 warps): a multiprocessor'"'"'s, at that size"
        print "of a block. Stack and spills: bytes a thread.\n"
        print "| kernel | arch | threads | registers | shared | blocks | occupancy | stack | spills |"
        print "|---|---|---:|---:|---:|---:|---:|---:|---:|"
    }
    {
        found = 0
        split("sm_80 sm_90 sm_90a", names, " ")
        for (i = 1; i <= 3; ++i) {
            arch = names[i]
            if (!(($1, arch) in used)) continue
            ++found
            count = blocks(arch, used[$1, arch], $4, $3)
            printf "| %s | %s | %d | %d | %d | %d | %d %% | %d | %d |\n", $1, arch, $3, used[$1, arch], $4,
                count, int(100 * count * up($3, 32) / 32 / 64 + 0.5), stacks[$1, arch], spilled[$1, arch]
            if (spilled[$1, arch] > 0) {
                print "kernel-resources: " $1 " (kernels/" $2 ") spills on " arch > "/dev/stderr"
                bad = 1
            }
        }
        if (!found) {
            print "kernel-resources: ptxas said nothing of " $1 "; is the build fresh?" > "/dev/stderr"
            bad = 1
        }
        if (fixed[$1] > 0) {
            print "kernel-resources: " $1 " has static shared memory; KERNEL is to name it" > "/dev/stderr"
            bad = 1
        }
    }
    END { exit bad }
' "$said" "$folder/kernels" > "$folder/table" || bad=1

cat "$folder/table"
if [ "${1:-}" = --write ]; then
    cp "$folder/table" "$table"
elif ! diff -u "$table" "$folder/table" > "$folder/difference"; then
    cat "$folder/difference" >&2
    fail "$table isn't what was built; refresh it: scripts/kernel-resources.sh --write"
fi
exit "$bad"
