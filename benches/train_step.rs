//! Where the time of a training step goes, by kind of operation; `vs_torch.py` puts PyTorch beside it.
//!
//! `cargo bench --bench train_step -- [MODEL] [IMAGE_SIZE] [BATCH] [STEPS] [FREEZE] [--rounds]`
//!
//! With `--rounds` it times its steps anew for each line that it reads.

use std::sync::Arc;
use std::time::Instant;

use flipside::data::transform::{EvalTransform, Filter, Transform};
use flipside::data::{Batch, ClassEntry, Dataset, Image8};
use flipside::device::Device;
use flipside::models::ModelFile;
use flipside::nn::Head;
use flipside::rng::{self, Draw};
use flipside::train::{Job, Source, Trainer};

/// Labels without images: the steps get their batches from memory.
struct Unread {
    classes: Vec<ClassEntry>,
    count: usize,
}

impl Dataset for Unread {
    fn len(&self) -> usize {
        self.count
    }

    fn classes(&self) -> &[ClassEntry] {
        &self.classes
    }

    fn label(&self, i: usize) -> usize {
        i % self.classes.len()
    }

    fn image(&self, i: usize) -> flipside::Result<Image8> {
        Err(flipside::Error::usage(format!("image {i} is never read")))
    }

    fn path(&self, i: usize) -> String {
        i.to_string()
    }

    fn fingerprint(&self) -> String {
        "none".into()
    }
}

fn main() -> flipside::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let number = |place: usize, default: usize| {
        args.get(place).and_then(|arg| arg.parse().ok()).unwrap_or(default)
    };
    let name = args.first().map_or("resnet18", String::as_str);
    let (size, batch, steps) = (number(1, 64), number(2, 128), number(3, 5));

    let file = ModelFile::open(name)?;
    let (mean, std) = (file.input.mean, file.input.std);
    let eval = EvalTransform { resize: None, crop: size, filter: Filter::Bilinear, mean, std };
    let class = |i: usize| ClassEntry { id: i.to_string(), name: i.to_string() };
    let dataset = Unread { classes: (0..200).map(class).collect(), count: batch };
    let mut recipe = file.recipe()?.clone();
    recipe.batch = batch;
    let mut trainer = Trainer::new(
        Job {
            file,
            head: Head::Baseline,
            recipe,
            seed: 1,
            start: "random".into(),
            train: Source { dataset: Arc::new(dataset), transform: Transform::Eval(eval) },
            validation: None,
            workers: 1,
            output: None,
            faults: Vec::new(),
            freeze: args.get(4).cloned().into_iter().collect(),
        },
        &Device::cpu(),
    )?;
    let mut draws = rng::stream(1, "benchmark");
    let batch = Batch {
        images: (0..batch * size * size * 3).map(|_| draws.between(-2.0, 2.0) as f32).collect(),
        labels: (0..batch as u32).map(|i| i % 200).collect(),
        shares: None,
        indices: (0..batch as u64).collect(),
        side: size,
    };

    let mut round = || -> flipside::Result<()> {
        let mut seconds: Vec<f64> = Vec::new();
        for step in 0..=steps {
            let start = Instant::now();
            trainer.step(&batch)?;
            // The first step touches cold memory.
            if step > 0 {
                seconds.push(start.elapsed().as_secs_f64());
            }
        }
        seconds.sort_by(f64::total_cmp);
        let rate = |seconds: f64| batch.len() as f64 / seconds;
        println!(
            "{name}, {size}×{size}, batch {}: {:.1} images/s (median of {steps}; best {:.1})",
            batch.len(),
            rate(seconds[steps / 2]),
            rate(seconds[0])
        );
        Ok(())
    };
    if std::env::args().any(|arg| arg == "--rounds") {
        return std::io::stdin().lines().try_for_each(|_| round());
    }
    round()?;

    trainer.execution_mut().start_clocks();
    let start = Instant::now();
    for _ in 0..steps {
        trainer.step(&batch)?;
    }
    let per_step_ms = 1e3 * start.elapsed().as_secs_f64() / steps as f64;
    println!("\nkind               forward ms  backward ms    share  GFLOP/s forward / backward");
    let mut rest_ms = per_step_ms;
    for (kind, time) in trainer.execution_mut().timings() {
        let [forward, backward] = [time.forward_ms, time.backward_ms].map(|t| t / steps as f64);
        rest_ms -= forward + backward;
        let share = 100.0 * (forward + backward) / per_step_ms;
        print!("{kind:<18} {forward:>10.1}  {backward:>11.1}  {share:>5.1} %");
        // Backward multiplies twice: for the input's gradient and for the weights'.
        let gflop = 2e-9 * time.forward_macs as f64 / steps as f64;
        match gflop > 0.0 {
            true => println!("  {:.0} / {:.0}", 1e3 * gflop / forward, 2e3 * gflop / backward),
            false => println!(),
        }
    }
    println!("{:<18} {rest_ms:>24.1}  {:>5.1} %", "update and rest", 100.0 * rest_ms / per_step_ms);
    println!("{:<18} {per_step_ms:>24.1}", "step");
    Ok(())
}
