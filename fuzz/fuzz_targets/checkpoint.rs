//! Any bytes as a checkpoint: opened, each tensor decoded, held against a model.

#![no_main]

use std::path::Path;

use flipside::checkpoint::Checkpoint;
use flipside::models::{ModelFile, detect_head};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(checkpoint) = Checkpoint::parse(Path::new("fuzzed"), bytes) else { return };
    for (key, tensor) in checkpoint.iter() {
        assert_eq!(tensor.shape.iter().product::<usize>(), tensor.data.len(), "{key}");
    }
    let model = ModelFile::open("resnet_small").expect("a model that comes with the program");
    let _ = detect_head(&checkpoint, &model);
});
