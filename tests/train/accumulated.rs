//! Steps of several batches.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use flipside::device::Device;
use flipside::models::ModelFile;
use flipside::nn::Head;
use flipside::progress::Silent;
use flipside::recipe::Ema;
use flipside::tape::ParamId;
use flipside::train::{Job, Trainer};

use super::{StopAtStep, job, tiny};

/// Neither batch norm nor dropout: what an image comes to doesn't depend on its batch.
const PLAIN: &str = r#"
family = "alexnet"
[architecture]
convolutions = [
    { channels = 16, kernel = 5, stride = 2, padding = 2, pool = true },
    { channels = 24, kernel = 3, padding = 1 },
]
pooled = 2
hidden = [32]
dropout = 0.0
[input]
size = 16
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]
[recipe]
epochs = 3
batch = 16
learning_rate = 0.05
momentum = 0.9
weight_decay = 5e-4
clip_grad_norm = 1.0
warmup_epochs = 1
schedule = { kind = "cosine" }
"#;

/// 40 images: steps of 16, 16 and 8.
fn plain(folder: &Path, batch: usize, accumulate: usize) -> Job {
    let path = folder.join("plain.toml");
    std::fs::write(&path, PLAIN).unwrap();
    let file = ModelFile::open(path.to_str().unwrap()).unwrap();
    let mut job = job(file, Head::Baseline, 40, None);
    job.recipe.batch = batch;
    job.recipe.accumulate = accumulate;
    job.recipe.ema = Some(Ema { decay: 0.9, steps: 2 });
    job
}

/// Sums of gradients are rounded in another order; after nine steps weights differ by 1e-5 at most.
#[test]
fn four_batches_of_4_are_one_of_16() {
    let folder = tempfile::tempdir().unwrap();
    let run = |batch, accumulate| {
        let job = plain(folder.path(), batch, accumulate);
        assert_eq!((job.epoch_images(), job.epoch_steps()), (40, 3));
        let mut trainer = Trainer::new(job, &Device::cpu()).unwrap();
        trainer.run(&Silent).unwrap();
        let history = trainer.history().to_vec();
        let network = trainer.into_network();
        let count = network.weights.tape().params().len();
        let values = |index| network.weights.get(ParamId(index)).unwrap();
        (history, (0..count).map(values).collect::<Vec<_>>())
    };
    let (expected, of_16) = run(16, 1);
    let (found, of_4) = run(4, 4);
    for (a, b) in of_16.iter().flatten().zip(of_4.iter().flatten()) {
        assert!((a - b).abs() <= 1e-5, "{a} and {b}");
    }
    for (a, b) in expected.iter().zip(&found) {
        assert_eq!(a.learning_rate, b.learning_rate);
        assert_eq!(a.top1_percent, b.top1_percent);
        assert!((a.loss - b.loss).abs() <= 1e-5 * a.loss, "{} and {}", a.loss, b.loss);
    }
    // The last step of an epoch has fewer batches, each image of it still its whole weight.
    let (_, of_8) = run(8, 2);
    for (a, b) in of_16.iter().flatten().zip(of_8.iter().flatten()) {
        assert!((a - b).abs() <= 1e-5, "{a} and {b}");
    }
}

/// 55 images by 8: batches of 8 and a last one of 7, steps of 24, 24 and 7 images.
fn run(folder: &Path) -> Job {
    let mut job = job(tiny(folder), Head::Baseline, 55, Some(folder.join("run")));
    job.recipe.batch = 8;
    job.recipe.accumulate = 3;
    job.recipe.ema = Some(Ema { decay: 0.9, steps: 2 });
    job
}

#[test]
fn neither_threads_nor_interruptions_change_a_bit() {
    let bytes = |folder: &Path| {
        ["run/model.safetensors", "run/last.safetensors"]
            .map(|name| std::fs::read(folder.join(name)).unwrap())
    };
    let on = |threads: usize, work: &(dyn Fn() + Sync)| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(work);
    };
    let whole = tempfile::tempdir().unwrap();
    on(1, &|| {
        let mut trainer = Trainer::new(run(whole.path()), &Device::cpu()).unwrap();
        assert_eq!(trainer.job().epoch_steps(), 3);
        trainer.run(&Silent).unwrap();
    });
    for steps in [1, 5, 8] {
        let folder = tempfile::tempdir().unwrap();
        on(4, &|| {
            let stop = AtomicBool::new(false);
            let mut trainer = Trainer::new(run(folder.path()), &Device::cpu()).unwrap();
            assert!(!trainer.run_until(&StopAtStep::new(steps, &stop), &stop).unwrap());
            assert_eq!(trainer.position(), (steps / 3, steps % 3));
            let mut trainer = Trainer::new(run(folder.path()), &Device::cpu()).unwrap();
            trainer.resume().unwrap();
            trainer.run(&Silent).unwrap();
        });
        assert!(bytes(folder.path()) == bytes(whole.path()), "stopped after {steps} steps");
    }
}

/// A last batch of one is left out whatever step it would belong to.
#[test]
fn a_step_counts_batches() {
    let folder = tempfile::tempdir().unwrap();
    let count = |images, batch, accumulate| {
        let mut job = job(tiny(folder.path()), Head::Baseline, images, None);
        job.recipe.batch = batch;
        job.recipe.accumulate = accumulate;
        (job.epoch_images(), job.epoch_steps())
    };
    assert_eq!(count(49, 16, 2), (48, 2));
    assert_eq!(count(65, 16, 2), (64, 2));
    assert_eq!(count(66, 16, 2), (66, 3));
    assert_eq!(count(10, 16, 4), (10, 1));
    assert_eq!(count(10, 4, 100), (10, 1));
    let mut none = job(tiny(folder.path()), Head::Baseline, 48, None);
    none.recipe.accumulate = 0;
    let said = Trainer::new(none, &Device::cpu()).err().unwrap().to_string();
    assert!(said.contains("accumulate must lie between 1"), "{said}");
}
