//! Any text as a model file: parsed, and its network recorded.

#![no_main]

use std::path::Path;

use flipside::models::{Model, ModelFile};
use flipside::nn::Head;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(file) = ModelFile::parse("fuzzed", text, Path::new("fuzzed.toml")) else { return };
    let _ = Model::new(&file, Head::text_guided(8), 3, file.input.size, 0.0);
});
