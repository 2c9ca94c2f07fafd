//! A property of every file whatever: it is read or refused in bounded time and memory, without a
//! panic. 11,000 mutated files say so: checkpoints of each format, and model files.
//!
//! Mutations are blind (bits, bytes, spans) or know the format: the opcodes of the pickle inside a
//! zip whose checksums are right again, a safetensors header whose length is right again, the
//! numbers of a TOML file.

mod header;
mod pickle;
mod text;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use flipside::checkpoint::{Checkpoint, ModelFit, Wanted};
use flipside::models::{Model, ModelFile, detect_head};
use flipside::nn::Head;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::damage::samples;
use super::forge;
use crate::allocations::peak_of;

/// Files of each kind; 11,000 together.
const ZIPS: usize = 5_000;
const LEGACY: usize = 1_500;
const SAFETENSORS: usize = 1_500;
const NPY: usize = 1_000;
const MODELS: usize = 2_000;

/// No file of some kilobytes may take longer; they take a millisecond or less, on an idle machine.
const MOST_TIME: Duration = Duration::from_secs(2);

/// Memory for a checkpoint: opening one may take 12 times its length and 1 MiB for what its pickles
/// become, its directory 4 times its length; a decoded tensor takes up to 16 times its length (shared
/// and expanded storages) and 1 MiB. What remains is for names and sentences.
fn most_memory(len: usize) -> usize {
    16 * len + (5 << 18)
}

/// Memory for a model file: the tape that it describes has a bounded number of nodes, not one in
/// proportion to the file: a thousand blocks of forty nodes and parameters of 1 KiB each, and half as
/// much again while vectors grow.
const MOST_MODEL_MEMORY: usize = 60 << 20;

/// Draws.
struct Dice(ChaCha8Rng);

impl Dice {
    /// A number below `bound`, which isn't 0.
    fn below(&mut self, bound: usize) -> usize {
        self.0.next_u64() as usize % bound
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// A span inside of `len`, at most 64 long, empty only where `len` is 0.
    fn span(&mut self, len: usize) -> std::ops::Range<usize> {
        if len == 0 {
            return 0..0;
        }
        let start = self.below(len);
        start..(start + 1 + self.below(64)).min(len)
    }
}

/// One blind mutation.
fn damage(dice: &mut Dice, bytes: &mut Vec<u8>, other: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let at = dice.below(bytes.len());
    match dice.below(8) {
        0 => bytes[at] ^= 1 << dice.below(8),
        1 => bytes[at] = *dice.pick(&[0, 1, 0x7f, 0x80, 0xfe, 0xff]),
        2 => bytes.truncate(at),
        3 => {
            let byte = dice.below(256) as u8;
            let count = 1 + dice.below(16);
            bytes.splice(at..at, std::iter::repeat_n(byte, count));
        }
        4 => {
            let span = dice.span(bytes.len());
            let copy = bytes[span].to_vec();
            bytes.splice(at..at, copy);
        }
        5 => drop(bytes.drain(dice.span(bytes.len()))),
        6 => {
            // A length field, perhaps.
            let value = *dice.pick(&[u64::MAX, i64::MAX as u64, 1 << 62, u32::MAX.into(), 1 << 31]);
            let width = *dice.pick(&[2, 4, 8]);
            for (byte, new) in bytes[at..].iter_mut().zip(&value.to_le_bytes()[..width]) {
                *byte = *new;
            }
        }
        _ => {
            bytes.truncate(at);
            bytes.extend(&other[dice.below(other.len() + 1)..]);
        }
    }
}

/// What became of the files of one kind.
#[derive(Default, Debug)]
struct Tally {
    accepted: usize,
    refused: usize,
    /// Refused for what their pickles, headers or numbers say.
    inside: usize,
    longest: Duration,
    /// The most memory beyond 16 times a file's length.
    most_beyond: usize,
}

impl Tally {
    /// Holds one file against the property; `read` gives what takes memory, one part after the
    /// other: its result, or a sentence.
    fn judge(
        &mut self,
        label: &str,
        bytes: &[u8],
        most: usize,
        read: impl FnOnce(&mut dyn FnMut(usize)) -> Result<(), String>,
    ) {
        let mut peaks = Vec::new();
        let start = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| read(&mut |peak| peaks.push(peak))));
        let took = start.elapsed();
        let keep = || {
            let path = std::env::temp_dir().join("flipside-mutation");
            let _ = fs::write(&path, bytes);
            format!("{label} (kept as {})", path.display())
        };
        let Ok(outcome) = outcome else { panic!("{}: panicked", keep()) };
        assert!(took < MOST_TIME, "{}: took {took:?}", keep());
        let peak = peaks.into_iter().max().unwrap_or(0);
        assert!(peak <= most, "{}: {peak} bytes, {most} allowed", keep());
        self.longest = self.longest.max(took);
        self.most_beyond = self.most_beyond.max(peak.saturating_sub(16 * bytes.len()));
        match outcome {
            Ok(()) => self.accepted += 1,
            Err(error) => {
                self.refused += 1;
                let inside = ["pickle", "tensor", "refused", "header", "dict", "needs", "between"];
                self.inside += usize::from(inside.iter().any(|word| error.contains(word)));
                assert!(error.len() < 1000, "{}: {error}", keep());
            }
        }
    }

    fn judge_checkpoint(&mut self, label: &str, bytes: Vec<u8>, model: &ModelFile) {
        let most = most_memory(bytes.len());
        let copy = bytes.clone();
        self.judge(label, &bytes, most, |peak| {
            let path = Path::new("mutated");
            let wanted = Wanted { kind: None, fit: &fit };
            let (fitting, taken) =
                peak_of(|| Checkpoint::parse_fitting(path, copy.clone(), &wanted));
            peak(taken);
            assert!(fitting.err().is_none_or(|error| error.to_string().len() < 1000));
            let (opened, taken) = peak_of(|| Checkpoint::parse(path, copy));
            peak(taken);
            let checkpoint = opened.map_err(|e| e.to_string())?;
            for key in checkpoint.keys() {
                let (tensor, taken) = peak_of(|| checkpoint.get(key));
                peak(taken);
                tensor.map_err(|e| e.to_string())?;
            }
            // Few are of the model; what is said of the others must be short as well.
            let _ = detect_head(&checkpoint, model);
            Ok(())
        });
    }
}

/// Whether the oracle's tiny model is among names.
fn fit(names: &[&str]) -> ModelFit {
    if names.contains(&"conv.weight") { ModelFit::Partly } else { ModelFit::No }
}

#[test]
fn mutated_checkpoints_are_read_or_refused_in_bounded_time_and_memory() {
    let mut dice = Dice(ChaCha8Rng::seed_from_u64(7));
    let model = ModelFile::open("resnet_small").unwrap();
    let samples = samples();
    let of_kind = |is: fn(&[u8]) -> bool| -> Vec<&Vec<u8>> {
        samples.iter().map(|(_, bytes)| bytes).filter(|bytes| is(bytes)).collect()
    };
    let zips = of_kind(|bytes| bytes.starts_with(b"PK"));
    let legacy = of_kind(|bytes| bytes.starts_with(&[0x80, 2]));
    let tensors = of_kind(|bytes| bytes.get(8) == Some(&b'{'));
    assert_eq!((zips.len(), legacy.len(), tensors.len()), (13, 3, 2));

    let mut tally = Tally::default();
    for n in 0..ZIPS {
        let (sample, other) = (*dice.pick(&zips), *dice.pick(&zips));
        let bytes = match n % 5 {
            0 => blindly(&mut dice, sample, other),
            1 => mutate_archive(&mut dice, sample, other),
            _ => in_archive(sample, |data| pickle::mutate(&mut dice, data)),
        };
        tally.judge_checkpoint(&format!("zip {n}"), bytes, &model);
    }
    println!("zip .pth: {tally:?}");
    assert!(tally.accepted > ZIPS / 20 && tally.inside > ZIPS / 3, "{tally:?}");

    let mut tally = Tally::default();
    for n in 0..LEGACY {
        let (sample, other) = (*dice.pick(&legacy), *dice.pick(&legacy));
        let mut bytes = sample.clone();
        match n % 3 {
            0 => bytes = blindly(&mut dice, sample, other),
            _ => pickle::mutate(&mut dice, &mut bytes),
        }
        tally.judge_checkpoint(&format!("legacy {n}"), bytes, &model);
    }
    println!("legacy .pth: {tally:?}");
    assert!(tally.accepted > LEGACY / 50 && tally.inside > LEGACY / 3, "{tally:?}");

    let mut tally = Tally::default();
    for n in 0..SAFETENSORS {
        let (sample, other) = (*dice.pick(&tensors), *dice.pick(&tensors));
        let bytes = match n % 3 {
            0 => blindly(&mut dice, sample, other),
            _ => header::mutate(&mut dice, sample),
        };
        tally.judge_checkpoint(&format!("safetensors {n}"), bytes, &model);
    }
    println!("safetensors: {tally:?}");
    assert!(tally.accepted > SAFETENSORS / 50 && tally.inside > SAFETENSORS / 3, "{tally:?}");

    let arrays = ["fortran_cube", "little_f2", "version_3"].map(|name| {
        fs::read(crate::root().join(format!("tests/fixtures/npy/{name}.npy"))).unwrap()
    });
    let mut tally = Tally::default();
    for n in 0..NPY {
        let (sample, other) = (dice.pick(&arrays), dice.pick(&arrays));
        let mut bytes = blindly(&mut dice, sample, other);
        if n % 2 == 0 {
            // In the header's text alone, most of which is blanks.
            bytes = sample.clone();
            let at = 10 + dice.below(60);
            bytes[at] = *dice.pick(b"0123456789(),:'<>|{}fOiTF ");
        }
        tally.judge_checkpoint(&format!("npy {n}"), bytes, &model);
    }
    println!("npy: {tally:?}");
    // Fewer than of the others: a file that is a byte longer or shorter is refused.
    assert!(tally.accepted > NPY / 100 && tally.inside > NPY / 6, "{tally:?}");
}

#[test]
fn mutated_model_files_are_recorded_or_refused_in_bounded_time_and_memory() {
    let mut dice = Dice(ChaCha8Rng::seed_from_u64(8));
    let folder = crate::root().join("models");
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let models: Vec<String> = paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect();

    let mut tally = Tally::default();
    for n in 0..MODELS {
        let (sample, other) = (dice.pick(&models), dice.pick(&models));
        let bytes = match n % 4 {
            0 => blindly(&mut dice, sample.as_bytes(), other.as_bytes()),
            _ => text::mutate(&mut dice, sample, other).into_bytes(),
        };
        // What isn't UTF-8 is refused by the system's reader already.
        let text = String::from_utf8_lossy(&bytes);
        let most = 16 * bytes.len() + MOST_MODEL_MEMORY;
        tally.judge(&format!("model file {n}"), &bytes, most, |peak| {
            let (result, taken) = peak_of(|| {
                let file = ModelFile::parse("mutated", &text, Path::new("mutated.toml"))?;
                Model::new(&file, Head::text_guided(8), 3, file.input.size, 0.0)
            });
            peak(taken);
            result.map(drop).map_err(|e| e.to_string())
        });
    }
    println!("model files: {tally:?}");
    assert!(tally.accepted > MODELS / 50 && tally.refused > MODELS / 3, "{tally:?}");
}

/// A copy with one to three blind mutations.
fn blindly(dice: &mut Dice, sample: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = sample.to_vec();
    for _ in 0..1 + dice.below(3) {
        damage(dice, &mut bytes, other);
    }
    bytes
}

/// The archive `sample` with another data.pkl, its checksums and lengths right.
fn in_archive(sample: &[u8], mutate: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut entries = forge::entries(sample);
    if let Some((_, data)) = entries.iter_mut().find(|(name, _)| name.ends_with("/data.pkl")) {
        mutate(data);
    }
    rebuild(&entries)
}

/// The archive `sample` with entries damaged, dropped, doubled, renamed or taken from `other`.
fn mutate_archive(dice: &mut Dice, sample: &[u8], other: &[u8]) -> Vec<u8> {
    let (mut entries, others) = (forge::entries(sample), forge::entries(other));
    for _ in 0..1 + dice.below(2) {
        if entries.is_empty() {
            break;
        }
        let at = dice.below(entries.len());
        match dice.below(5) {
            0 => drop(entries.remove(at)),
            1 => entries.push(entries[at].clone()),
            2 => entries[at].0 = dice.pick(&others).0.clone(),
            3 => entries[at].1 = dice.pick(&others).1.clone(),
            _ => damage(dice, &mut entries[at].1, &others[0].1),
        }
    }
    rebuild(&entries)
}

fn rebuild(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let entries: Vec<(&str, &[u8])> =
        entries.iter().map(|(name, data)| (name.as_str(), data.as_slice())).collect();
    forge::zip(&entries, false)
}
