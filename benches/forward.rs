//! Images a second of a whole network's forward pass, in eval mode; `vs_torch.py` sets PyTorch's
//! beside it.
//!
//! `cargo bench --bench forward -- [MODEL] [IMAGE_SIZE] [BATCH] [REPEATS] [DEVICE] [--rounds]`
//!
//! With `--rounds` it times its passes anew for each line that it reads.

use std::time::Instant;

use flipside::device::Device;
use flipside::models::{Model, ModelFile};
use flipside::nn::Head;
use flipside::rng::{self, Draw};
use flipside::tape::Weights;
use flipside::train::Evaluator;

fn main() -> flipside::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let number = |place: usize, default: usize| {
        args.get(place).and_then(|arg| arg.parse().ok()).unwrap_or(default)
    };
    let name = args.first().map_or("resnet18", String::as_str);
    let (size, batch, repeats) = (number(1, 224), number(2, 8), number(3, 7).max(1));
    let device = Device::parse(args.get(4).map_or("cpu", String::as_str))?;

    let model = Model::new(&ModelFile::open(name)?, Head::Baseline, 1000, size, 0.0)?;
    let mut weights = Weights::new(&model.tape, &device, false)?;
    weights.initialize(1)?;
    let mut evaluator = Evaluator::new(&model, &device, batch)?;
    let mut draws = rng::stream(1, "benchmark");
    let images: Vec<f32> =
        (0..batch * size * size * 3).map(|_| draws.between(-2.0, 2.0) as f32).collect();
    let mut round = || -> flipside::Result<()> {
        let mut seconds = Vec::new();
        for pass in 0..=repeats {
            let start = Instant::now();
            evaluator.logits(&weights, &images, batch)?;
            // The first pass touches cold memory.
            if pass > 0 {
                seconds.push(start.elapsed().as_secs_f64());
            }
        }
        seconds.sort_by(f64::total_cmp);
        let rate = |seconds: f64| batch as f64 / seconds;
        println!(
            "{name}, {size}×{size}, batch {batch}: {:.1} images/s (median of {repeats}; best {:.1})",
            rate(seconds[repeats / 2]),
            rate(seconds[0])
        );
        Ok(())
    };
    if std::env::args().any(|arg| arg == "--rounds") {
        return std::io::stdin().lines().try_for_each(|_| round());
    }
    round()
}
