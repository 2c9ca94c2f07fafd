#!/usr/bin/env bash
# Undefined behaviour in rooms that call no foreign code: their unit tests under Miri. Needs
#   rustup toolchain install nightly --component miri --component rust-src
set -euo pipefail
cd "$(dirname "$0")/.."
# No kernel runs here.
export FLIPSIDE_REQUIRE_CUDA=0
# Tests of checkpoints read and write files; views of memory are made of addresses.
export MIRIFLAGS="${MIRIFLAGS:--Zmiri-disable-isolation -Zmiri-permissive-provenance}"
rooms=(tensor:: fault:: number:: rng:: checkpoint:: ops::context::)
cargo +nightly miri test --lib -- "${@:-${rooms[@]}}"
