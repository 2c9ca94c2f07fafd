#!/usr/bin/env bash
# Runs the tests of the emulated kernels under AddressSanitizer and UBSan: reads and writes past the
# end of a buffer, misaligned vectors, overflow. Stable Rust; the kernels and the emulator are
# instrumented, Rust's own code only through its allocations.
#
# Usage: scripts/sanitize.sh [test name filter...]      (default: the modules that hold kernels)
set -euo pipefail
cd "$(dirname "$0")/.."

library() {
    local path
    path=$("${CXX:-c++}" -print-file-name="$1")
    if [ "$path" = "$1" ]; then
        echo "sanitize: the C++ compiler has no $1; install its sanitizer libraries" >&2
        exit 1
    fi
    echo "$path"
}
asan=$(library libasan.so)
ubsan=$(library libubsan.so)

# In the folder and with the dependencies of `cargo build --release`; only the project's own crates are compiled
# again, with debug assertions and checks for overflow. The program there is the usual one again in the end.
trap 'env -u FLIPSIDE_SANITIZE cargo build --release --quiet' EXIT
export FLIPSIDE_SANITIZE=1
checked=()
for crate in flipside flipside-mutants; do
    for setting in 'opt-level=1' 'debug="line-tables-only"' 'debug-assertions=true' 'overflow-checks=true'; do
        checked+=(--config "profile.release.package.$crate.$setting")
    done
done
binary=$(cargo test --release --test flipside --no-run --message-format=json "${checked[@]}" | grep -F '"kind":["test"]' |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -1)
[ -x "$binary" ] || { echo "sanitize: the test binary wasn't built" >&2; exit 1; }

export ASAN_OPTIONS="detect_leaks=0:detect_stack_use_after_return=0:allocator_may_return_null=1:${ASAN_OPTIONS:-}"
export UBSAN_OPTIONS="print_stacktrace=1:${UBSAN_OPTIONS:-}"
if [ $# -eq 0 ]; then
    # The modules that hold kernels; those that run networks or campaigns take too long instrumented.
    set -- attention conv2d_tiles:: depthwise:: emulator:: faults::kernels faults::memory faults::words kernels:: mma:: norms_and_pools:: \
        optimizers:: pointwise:: random_shapes:: tensor_core
fi
SECONDS=0
LD_PRELOAD="$asan $ubsan" "$binary" "$@"
echo "sanitize: $SECONDS s"

# The check of the check: a read one element past a buffer must end the run with a report.
report=$(LD_PRELOAD="$asan $ubsan" "$binary" --ignored --exact emulator::a_read_past_the_end 2>&1) &&
    { echo "sanitize: a read past the end of a buffer was not caught" >&2; exit 1; }
if ! grep -q 'heap-buffer-overflow' <<< "$report" || ! grep -q 'wrong.cu' <<< "$report"; then
    echo "sanitize: the deliberate error gave another report:" >&2
    echo "$report" >&2
    exit 1
fi
echo "sanitize: clean, and a deliberate read past the end of a buffer was caught"
