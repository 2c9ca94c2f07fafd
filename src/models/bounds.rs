//! Bounds of the numbers in a model file: no network is larger, and nothing that is computed from
//! numbers within them overflows or takes long to record. Messages are completed with the model's name
//! by [`super::ModelFile::record_backbone`].

use crate::{Error, Result};

/// Channels, widths and embeddings.
const CHANNELS: usize = 1 << 16;
/// Layers of a stage, and stages.
const COUNT: usize = 1 << 10;
/// Kernels, strides, windows, pooled sizes.
const SIZE: usize = 1 << 8;

fn check(what: &str, value: usize, least: usize, most: usize) -> Result<()> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::usage(format!("{what} is {value}; it lies between {least} and {most}")))
}

/// A number of channels.
pub(super) fn check_channels(what: &str, value: usize) -> Result<()> {
    check(what, value, 1, CHANNELS)
}

/// A number of layers or blocks; none is allowed.
pub(super) fn check_count(what: &str, value: usize) -> Result<()> {
    check(what, value, 0, COUNT)
}

/// Stages: at least one, none empty, and not too many blocks in all.
pub(super) fn check_stages(what: &str, blocks: &[usize]) -> Result<()> {
    check(&format!("number of {what}"), blocks.len(), 1, 16)?;
    for count in blocks {
        check(what, *count, 1, COUNT)?;
    }
    check(&format!("sum of {what}"), blocks.iter().sum(), 1, COUNT)
}

/// A list that has one entry a stage.
pub(super) fn check_length(what: &str, length: usize, stages: usize) -> Result<()> {
    if length == stages {
        return Ok(());
    }
    Err(Error::usage(format!("{what} has {length} entries for {stages} stages")))
}

/// A size of a map or window.
pub(super) fn check_size(what: &str, value: usize) -> Result<()> {
    check(what, value, 1, SIZE)
}

/// Kernel, stride and padding of a window.
pub(super) fn check_window(what: &str, kernel: usize, stride: usize, padding: usize) -> Result<()> {
    check(&format!("kernel of {what}"), kernel, 1, SIZE)?;
    check(&format!("stride of {what}"), stride, 1, SIZE)?;
    check(&format!("padding of {what}"), padding, 0, SIZE)
}

/// A probability of dropping something: at least 0 and below 1.
pub(super) fn check_probability(what: &str, value: f32) -> Result<()> {
    if (0.0..1.0).contains(&value) {
        return Ok(());
    }
    Err(Error::usage(format!("{what} is {value}; it is at least 0 and below 1")))
}

/// `width` times `ratio`, rounded down, as a number of channels.
pub(super) fn scaled(what: &str, width: usize, ratio: f64) -> Result<usize> {
    let scaled = width as f64 * ratio;
    if !(1.0..=CHANNELS as f64).contains(&scaled) {
        return Err(Error::usage(format!(
            "{what} of {ratio} makes {scaled} channels of {width}; they lie \
             between 1 and {CHANNELS}"
        )));
    }
    Ok(scaled as usize)
}
