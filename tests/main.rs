//! The one integration-test binary: a module a subject.

mod allocations;
mod attention;
mod attention_faults;
mod bench;
mod campaign;
mod checkpoint;
mod classes;
mod cli;
mod conv2d_tiles;
mod coverage;
mod cublas;
mod data;
mod depthwise;
mod devices;
mod driver;
mod emulator;
mod exhaustive;
mod faults;
mod flags;
mod formats;
mod formula;
mod graphs;
mod handles;
mod kernel_arguments;
mod kernel_networks;
mod kernels;
mod layer_decay;
mod matmul;
mod mma;
mod models;
mod mutants;
mod norms_and_pools;
mod onnx;
mod ops;
mod optimizers;
mod pages;
mod pointwise;
mod program;
mod published_recipes;
mod pytorch_case;
mod pytorch_flips;
mod pytorch_goldeneye;
mod pytorch_modules;
mod pytorch_networks;
mod pytorch_ops;
mod pytorch_page;
mod pytorch_recipes;
mod random_shapes;
mod recipe;
mod replays;
mod rooms;
mod saliency;
mod shell;
mod tape;
mod tensor_core_faults;
mod tensor_cores;
mod text;
mod told;
mod train;
mod visualize;

/// The project's folder: where cargo says that it is, which a bundle for another machine does too
/// (`scripts/gpu-check.sh`), or where it was when this was built.
fn root() -> std::path::PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into()).into()
}
