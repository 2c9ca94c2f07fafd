#!/usr/bin/env bash
# Puts NVIDIA's compiler into .cuda/ at the root, from its Python wheels: no GPU, no driver and no
# administrator needed. Does nothing if it is already there. `cargo build` finds it there.
set -euo pipefail
cd "$(dirname "$0")/.."

version='13.0.*'
target=.cuda
nvcc=$target/nvidia/cu13/bin/nvcc
packages=(nvidia-cuda-nvcc nvidia-nvvm nvidia-cuda-crt nvidia-cuda-runtime nvidia-cuda-cccl)

fail() {
    echo "get-nvcc: $*" >&2
    exit 1
}

# Compiles a kernel of two lines for the architectures that this project embeds.
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
    rm -rf "$folder"
    return $result
}

if [ -x "$nvcc" ] && proves; then
    echo "$nvcc is there and compiles"
    exit 0
fi

command -v python3 > /dev/null || fail "python3 is needed to fetch the wheels; install it"
python3 -m pip --version > /dev/null 2>&1 || fail "python3 has no pip; install python3-pip"
command -v "${CXX:-c++}" > /dev/null || fail "nvcc needs a C++ compiler; install g++"

rm -rf "$target.partial"
python3 -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --root-user-action ignore --target "$target.partial" "${packages[@]/%/==$version}" \
    || fail "pip could not fetch the wheels; is there a network?"
rm -rf "$target"
mv "$target.partial" "$target"
chmod +x "$target"/nvidia/cu13/bin/* "$target"/nvidia/cu13/nvvm/bin/* 2> /dev/null || true

proves || fail "$nvcc is there but doesn't compile"
# The build looked for nvcc before it was there; this makes it look again.
touch build.rs
echo "$nvcc compiles; build again to embed the GPU's kernels"
