#!/usr/bin/env bash
# What only a GPU can prove, from a bundle (scripts/bundle.sh) and without cargo: devices, every kernel
# test on cuda (bits against the CPU's where they are promised), whole networks against the CPU, a
# compute-sanitizer pass, the operations' benchmark. Ends with a short table; fails if a check does.
#
# Usage: scripts/gpu-check.sh [cuda[:N]]
set -uo pipefail
cd "$(dirname "$0")/.."
device=${1:-cuda}

[ -x bundle/tests ] || { echo "gpu-check: there is no bundle; run scripts/bundle.sh" >&2; exit 1; }
# Where libcublas may lie beside a CUDA toolkit or NVIDIA's wheels.
for folder in "${CUDA_HOME:-/usr/local/cuda}/lib64" \
    "$(python3 -c 'import nvidia.cublas as c; print(c.__path__[0] + "/lib")' 2> /dev/null)"; do
    [ -d "$folder" ] && export LD_LIBRARY_PATH="$folder:${LD_LIBRARY_PATH:-}"
done
# The tests look for their fixtures here, not where they were built.
export CARGO_MANIFEST_DIR=$PWD FLIPSIDE_TEST_DEVICE=$device

logs=$(mktemp -d)
names=() results=()
failed=0
check() {
    local name=$1
    shift
    local start=$SECONDS result=passed
    if ! "$@" > "$logs/log" 2>&1; then
        result=FAILED
        failed=1
        tail -40 "$logs/log"
    fi
    names+=("$name")
    results+=("$result, $((SECONDS - start)) s$(sed -n 's/^test result: ok\. \([0-9]* passed\).*/, \1/p' "$logs/log" | tail -1)")
}

if ! bundle/flipside devices | tee "$logs/devices" | grep -q '^cuda[:0-9]* *ready'; then
    cat "$logs/devices"
    echo "gpu-check: no CUDA device is ready here" >&2
    exit 1
fi
cat "$logs/devices"
check "kernels against the CPU" bundle/tests kernels::
check "whole networks against the CPU" bundle/tests kernel_networks::
check "operations against PyTorch" bundle/tests pytorch_ops::
check "optimisers against the CPU" bundle/tests optimizers::
if command -v compute-sanitizer > /dev/null; then
    for tool in memcheck racecheck initcheck; do
        check "compute-sanitizer $tool" compute-sanitizer --tool "$tool" --error-exitcode 9 \
            bundle/tests --exact kernels::emulated_kernels_equal_the_cpu_under_every_thread_order
    done
else
    names+=("compute-sanitizer")
    results+=("isn't here")
fi
bundle/ops --device "$device" || failed=1

printf '\n%s (commit %s)\n' "$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2> /dev/null | head -1)" \
    "$(cat bundle/commit)"
printf '| check | result |\n|---|---|\n'
for index in "${!names[@]}"; do
    printf '| %s | %s |\n' "${names[$index]}" "${results[$index]}"
done
rm -rf "$logs"
exit "$failed"
