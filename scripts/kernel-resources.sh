#!/usr/bin/env bash
# Prints the registers, stack and spills of every GPU kernel, from the newest build's resources.txt
# (or the file given), and fails if any kernel spills.
set -euo pipefail
cd "$(dirname "$0")/.."

file=${1:-}
if [ -z "$file" ]; then
    file=$(ls -t "${CARGO_TARGET_DIR:-target}"/*/build/flipside-*/out/resources.txt 2> /dev/null | head -1)
fi
if [ -z "$file" ] || ! grep -q 'Compiling entry function' "$file"; then
    echo "kernel-resources: no GPU kernels were built (scripts/get-nvcc.sh, then cargo build)" >&2
    exit 1
fi

awk '
    BEGIN { printf "%-44s %-8s %9s %6s %6s\n", "kernel", "arch", "registers", "stack", "spills" }
    /^# / { file = $2 }
    /Compiling entry function/ {
        split($0, quoted, "\047")
        name = quoted[2]; arch = quoted[4]
    }
    /bytes stack frame/ { stack = $1; spills = $5 + $9 }
    /Used [0-9]+ registers/ {
        for (i = 1; i < NF; ++i) if ($i == "Used") registers = $(i + 1)
        printf "%-44s %-8s %9d %6d %6d%s\n", name, arch, registers, stack, spills,
            (spills > 0 ? "  <- spills, in " file : "")
        if (spills > 0) ++spilled
        stack = spills = 0
    }
    END {
        if (spilled > 0) {
            printf "%d kernels spill registers to memory\n", spilled > "/dev/stderr"
            exit 1
        }
    }
' "$file"
