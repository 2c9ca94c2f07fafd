#!/usr/bin/env bash
# Puts NVIDIA's compiler and disassembler into .cuda/ at the root, from their Python wheels: no GPU, no
# driver and no administrator needed. Does nothing if they are already there. `cargo build` finds the compiler
# there, scripts/kernel-sass.py the disassembler.
set -euo pipefail
cd "$(dirname "$0")/.."

version='13.0.*'
target=.cuda
nvcc=$target/nvidia/cu13/bin/nvcc
packages=(nvidia-cuda-nvcc nvidia-nvvm nvidia-cuda-crt nvidia-cuda-runtime nvidia-cuda-cccl)
# No wheel of the compiler's own release has them; this one knows its machine code.
cuobjdump=$target/nvidia/cu13/bin/cuobjdump
disassembler=(nvidia-cuda-cuobjdump==13.2.51 nvidia-cuda-nvdisasm==13.2.51)

fail() {
    echo "get-nvcc: $*" >&2
    exit 1
}

# Compiles a kernel of two lines for the architectures that this project embeds. With an argument, whether what
# comes out can be disassembled, with nothing but what lies beside cuobjdump.
proves() {
    local folder
    folder=$(mktemp -d)
    cat > "$folder/two_lines.cu" <<'CU'
#include <cuda_fp16.h>
extern "C" __global__ void two_lines(float* x) { x[threadIdx.x] = __half2float(__float2half(2.0f)); }
CU
    local result=0
    "$nvcc" -std=c++17 -fatbin -gencode arch=compute_80,code=sm_80 \
        -gencode arch=compute_90,code=[sm_90,sm_100,compute_90] -gencode arch=compute_120,code=sm_120 \
        -o "$folder/two_lines.fatbin" "$folder/two_lines.cu" || result=1
    if [ "${1:-}" = disassembly ] && [ $result = 0 ]; then
        env -i "$cuobjdump" -sass -arch sm_90 "$folder/two_lines.fatbin" > "$folder/sass" || result=1
        grep -q STG "$folder/sass" || result=1
    fi
    rm -rf "$folder"
    return $result
}

# Puts packages into $target.partial.
fetch() {
    command -v python3 > /dev/null || fail "python3 is needed to fetch the wheels; install it"
    python3 -m pip --version > /dev/null 2>&1 || fail "python3 has no pip; install python3-pip"
    rm -rf "$target.partial"
    python3 -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
        --root-user-action ignore --target "$target.partial" "$@" \
        || fail "pip could not fetch the wheels; is there a network?"
    chmod +x "$target.partial"/nvidia/cu13/bin/* "$target.partial"/nvidia/cu13/nvvm/bin/* 2> /dev/null || true
}

if [ -x "$nvcc" ] && proves; then
    echo "$nvcc is there and compiles"
else
    command -v "${CXX:-c++}" > /dev/null || fail "nvcc needs a C++ compiler; install g++"
    fetch "${packages[@]/%/==$version}"
    rm -rf "$target"
    mv "$target.partial" "$target"
    proves || fail "$nvcc is there but doesn't compile"
    # The build looked for nvcc before it was there; this makes it look again.
    touch build.rs
    echo "$nvcc compiles; build again to embed the GPU's kernels"
fi

if [ -x "$cuobjdump" ] && proves disassembly; then
    echo "$cuobjdump is there and disassembles"
else
    fetch "${disassembler[@]}"
    cp -r "$target.partial/." "$target/"
    rm -rf "$target.partial"
    proves disassembly || fail "$cuobjdump is there but doesn't disassemble"
    echo "$cuobjdump disassembles"
fi
