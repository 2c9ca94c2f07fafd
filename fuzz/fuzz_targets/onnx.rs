//! Any bytes as an ONNX file: it ends in a tape or in one sentence.

#![no_main]

use std::path::Path;

use flipside::nn::Builder;
use flipside::onnx::OnnxFile;
use flipside::tape::Tape;
use flipside::tensor::{Map, Spec};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = OnnxFile::parse(Path::new("fuzz/none.onnx"), bytes) else { return };
    let [height, width] = file.sizes.size.map(|side| side.unwrap_or(32).min(64));
    let channels = file.sizes.channels.unwrap_or(3).min(64);
    let mut tape = Tape::new();
    let image = tape.input("image", Spec::f32(Map::new(height, width, channels)));
    let mut builder = Builder { tape: &mut tape, prefix: String::new(), smooth: false };
    let _ = file.record(&mut builder, image);
});
