//! The program as a user runs it, in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// A network that trains in a moment.
pub const MODEL: &str = r#"
family = "resnet"
[architecture]
block = "basic"
stages = [1, 1]
widths = [4, 8]
stem = "small"
[input]
size = 16
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]
[recipe]
epochs = 2
batch = 8
learning_rate = 0.05
momentum = 0.9
schedule = { kind = "cosine" }
"#;

/// Writes rows of RGB bytes as a PNG file.
pub fn write_png(path: &Path, [height, width]: [usize; 2], rgb: &[u8]) {
    let file = std::fs::File::create(path).unwrap();
    let mut encoder = png::Encoder::new(file, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap().write_image_data(rgb).unwrap();
}

/// A square picture of 16 × 16 pixels, by the colour at (x, y).
pub fn write_square(path: &Path, colour: impl Fn(usize, usize) -> [u8; 3]) {
    let pixels: Vec<u8> = (0..16 * 16).flat_map(|at| colour(at % 16, at / 16)).collect();
    write_png(path, [16, 16], &pixels);
}

/// A folder that the program runs in, gone when this is.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs the program in the folder; words are parted by spaces.
    pub fn run(&self, words: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_flipside"))
            .args(words.split_whitespace())
            .current_dir(self.0.path())
            .output()
            .unwrap()
    }

    /// What it prints when it succeeds.
    pub fn done(&self, words: &str) -> String {
        let output = self.run(words);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn json(&self, words: &str) -> Value {
        serde_json::from_str(&self.done(&format!("{words} --json"))).unwrap()
    }

    /// Demands the exit code and one line that holds all of `parts`.
    pub fn fails(&self, words: &str, code: i32, parts: &[&str]) {
        let output = self.run(words);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{words}: {error}");
        for part in parts {
            assert!(error.contains(part), "{words}: no '{part}' in: {error}");
        }
        assert!(!error.contains("panicked"), "{words}: {error}");
        assert_eq!(error.trim_end().lines().count(), 1, "{words}: {error}");
    }
}
