#!/usr/bin/env bash
# What only a GPU can prove, from a bundle (scripts/bundle.sh) and without cargo: devices, every test that
# runs kernels, on cuda (bits against the CPU's where they are promised, whole networks, graphs), the study
# on the GPU, compute-sanitizer, every operation of the networks beside PyTorch's in the same run, and the
# cost of standing ready for faults. Ends with a short table; fails if a check does.
#
# Usage: scripts/gpu-check.sh [cuda[:N] | emulated]
#   FOLDER=results      where the logs and figures go
#   PYTHON=python3      a Python with torch, for the peer
# With `emulated` it runs what can be run without a GPU, small: a check of this script.
set -uo pipefail
cd "$(dirname "$0")/.."
device=${1:-cuda}
out=${FOLDER:-gpu-check}
python=${PYTHON:-python3}

if [ -f bundle/tests.gz ]; then
    gunzip --force bundle/flipside.gz bundle/tests.gz || exit 1
fi
[ -x bundle/tests ] || { echo "gpu-check: there is no bundle; run scripts/bundle.sh" >&2; exit 1; }
# Where libcublas may lie beside a CUDA toolkit or NVIDIA's wheels (cu13: since CUDA 13).
for folder in "${CUDA_HOME:-/usr/local/cuda}/lib64" \
    $("$python" -c 'import nvidia; print(*nvidia.__path__)' 2> /dev/null |
        tr ' ' '\n' | sed 's|$|/cublas/lib|; p; s|cublas/lib|cu13/lib|'); do
    [ -d "$folder" ] && export LD_LIBRARY_PATH="$folder:${LD_LIBRARY_PATH:-}"
done
# The tests look for their fixtures here, not where they were built.
export CARGO_MANIFEST_DIR=$PWD FLIPSIDE_TEST_DEVICE=$device
mkdir -p "$out"

names=() results=()
failed=0
note() {
    names+=("$1")
    results+=("$2")
}
# check NAME COMMAND...: its output goes to a file called after it; the last lines are shown if it fails.
check() {
    local name=$1 log start=$SECONDS result=passed
    log="$out/$(tr -c 'a-z0-9\n' '-' <<< "$name").log"
    shift
    if ! "$@" > "$log" 2>&1; then
        result=FAILED
        failed=1
        tail -40 "$log"
    fi
    note "$name" "$result, $((SECONDS - start)) s$(sed -n 's/^test result: [a-zA-Z]*\. \([0-9]* passed\).*/, \1/p' "$log" | tail -1)"
}

bundle/flipside devices | tee "$out/devices.txt"
if ! grep -q "^$device *ready" "$out/devices.txt" &&
    ! { [ "$device" = cuda ] && grep -q '^cuda:0 *ready' "$out/devices.txt"; }; then
    echo "gpu-check: device $device isn't ready here" >&2
    exit 1
fi

quick=()
[ "$device" = emulated ] && quick=(--quick --model resnet_small --model mobilenet_v2)

check "kernels against the CPU" bundle/tests kernels::
check "whole networks against the CPU" bundle/tests kernel_networks::
check "operations against PyTorch" bundle/tests pytorch_ops::
check "optimisers against the CPU" bundle/tests optimizers::
check "attention" bundle/tests attention::
check "graphs" bundle/tests graphs::
check "benchmarks' checks" bundle/tests bench:: --skip the_command
if [ "$device" = emulated ]; then
    note "study" "left out: it takes the emulator too long"
else
    check "study" bundle/flipside study --quick --device "$device" --out "$out/study"
fi
if [ "$device" != emulated ] && command -v compute-sanitizer > /dev/null; then
    for tool in memcheck racecheck initcheck; do
        check "compute-sanitizer $tool" compute-sanitizer --tool "$tool" --error-exitcode 9 \
            bundle/tests --exact kernels::emulated_kernels_equal_the_cpu_under_every_thread_order
    done
else
    note "compute-sanitizer" "isn't here"
fi

# The list, the peer's times and ours, one after the other on the same machine.
peers=()
bundle/flipside bench kernels "${quick[@]}" --device "$device" --list --json > "$out/list.json"
peer_device=${device/emulated/cpu}
if "$python" -c 'import torch' 2> /dev/null; then
    check "PyTorch's times" "$python" benches/kernels_vs_torch.py "$out/list.json" "$out/peers.json" \
        --device "$peer_device" --backward ${quick:+--quick}
    [ -s "$out/peers.json" ] && peers=(--peers "$out/peers.json")
else
    note "PyTorch's times" "left out: $python has no torch"
fi
kernels=(bundle/flipside bench kernels "${quick[@]}" --device "$device" --backward --quiet "${peers[@]}")
check "bench kernels" "${kernels[@]}"
check "bench kernels json" "${kernels[@]}" --json
for model in resnet50 mobilenet_v2 swin_v2_t; do
    [ "$device" = emulated ] && [ "$model" != mobilenet_v2 ] && continue
    check "bench overhead $model" bundle/flipside bench overhead --model "$model" --device "$device" \
        --quiet ${quick:+--quick}
    cat "$out/bench-overhead-$(tr -c 'a-z0-9\n' '-' <<< "$model").log"
done

printf '\n%s (commit %s); figures in %s\n' \
    "$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2> /dev/null | head -1)" \
    "$(cat bundle/commit)" "$out"
printf '| check | result |\n|---|---|\n'
for index in "${!names[@]}"; do
    printf '| %s | %s |\n' "${names[$index]}" "${results[$index]}"
done
exit "$failed"
