//! Images a second that training's loader makes of a folder: random areas of 224×224, mirrored, normalised, in
//! batches of 64, and how long the stages of it take. `benches/loader_vs_torch.py` sets it beside torchvision.
//!
//! `cargo bench --bench loader -- DIR [THREADS] [EPOCHS]`, where DIR holds a folder a class.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use flipside::data::transform::{Area, TrainTransform, Transform};
use flipside::data::{Batches, Dataset, EpochPlan, ImageFolder, decode, decode_part};
use flipside::rng::stream;

/// Milliseconds an image of what `stage` does with each of `n`.
fn stage(
    name: &str,
    n: usize,
    mut stage: impl FnMut(usize) -> flipside::Result<()>,
) -> flipside::Result<()> {
    let start = Instant::now();
    for i in 0..n {
        stage(i)?;
    }
    println!("{name}: {:.3} ms/image", start.elapsed().as_secs_f64() * 1e3 / n as f64);
    Ok(())
}

fn stages(folder: &ImageFolder, transform: TrainTransform) -> flipside::Result<()> {
    let n = folder.len().min(256);
    let read = |i: usize| std::fs::read(folder.file(i).unwrap_or_default()).unwrap_or_default();
    let files: Vec<Vec<u8>> = (0..n).map(read).collect();
    let bytes: usize = files.iter().map(Vec::len).sum();
    println!("{n} files of {:.0} kB in the mean", bytes as f64 / 1e3 / n as f64);
    let path = Path::new("image");
    stage("decoding all", n, |i| decode(&files[i], path).map(|image| drop(black_box(image))))?;
    stage("decoding a pixel", n, |i| {
        let pixel = |_, _| Area { top: 0, left: 0, height: 1, width: 1 };
        decode_part(&files[i], path, &mut { pixel }).map(|image| drop(black_box(image)))
    })?;
    let images =
        files.iter().map(|file| decode(file, path)).collect::<flipside::Result<Vec<_>>>()?;
    let draws = stream(1, "augment/0");
    stage("cut, resized, mirrored", n, |i| {
        let picture = transform.picture(&images[i], &mut draws.block(i as u64))?;
        drop(black_box(picture));
        Ok(())
    })?;
    let mut out = vec![0.0; 224 * 224 * 3];
    let whole = Transform::from(transform);
    stage("cut, resized, mirrored, normalised", n, |i| {
        whole.apply(&images[i], &mut draws.block(i as u64), &mut out)
    })?;
    stage("all from the file on", n, |i| {
        whole.apply_to(folder, i, &mut draws.block(i as u64), &mut out)
    })
}

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let number = |place: usize, default: usize| {
        args.get(place).and_then(|arg| arg.parse().ok()).unwrap_or(default)
    };
    let Some(dir) = args.first() else {
        println!("loader: no folder of images is named");
        return Ok(());
    };
    let (threads, epochs) = (number(1, 2), number(2, 10));
    let folder = Arc::new(ImageFolder::open(Path::new(dir))?);
    let transform = TrainTransform::imagenet(224);
    if std::env::args().any(|arg| arg == "--stages") {
        stages(&folder, transform)?;
    }
    let (mut images, mut start) = (0, Instant::now());
    for epoch in 0..=epochs as u64 {
        let plan = EpochPlan { workers: threads, ..EpochPlan::train(64, 1, epoch) };
        for batch in Batches::new(folder.clone(), transform, plan)? {
            images += black_box(batch?).len();
        }
        if epoch == 0 {
            // Files have been read once.
            (images, start) = (0, Instant::now());
        }
    }
    println!("{:.1} images/s", images as f64 / start.elapsed().as_secs_f64());
    Ok(())
}
