//! Training: learning, the same bits whatever the threads and however often killed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use flipside::Error;
use flipside::checkpoint::Checkpoint;
use flipside::data::builtin::{Shapes, Split};
use flipside::data::transform::{EvalTransform, Filter, TrainCrop, TrainTransform, Transform};
use flipside::device::Device;
use flipside::models::{ModelFile, Network, load_state};
use flipside::nn::Head;
use flipside::progress::{Progress, Silent};
use flipside::recipe::{Ema, OptimizerKind};
use flipside::tape::Weights;
use flipside::train::{Evaluator, Job, Output, Source, Trainer};

mod accumulated;
mod faulty;
mod folder;
mod frozen;
mod keep;
mod killed;
mod state;

/// A residual network of one block, small enough to train in a debug build.
const TINY: &str = r#"
family = "resnet"
[architecture]
block = "basic"
stages = [1, 1]
widths = [16, 32]
stem = "small"
[input]
size = 16
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]
[recipe]
epochs = 3
batch = 16
learning_rate = 0.1
momentum = 0.9
weight_decay = 5e-4
warmup_epochs = 1
schedule = { kind = "cosine" }
"#;

/// [`TINY`], opened from a file of that name in `folder`.
pub fn tiny(folder: &Path) -> ModelFile {
    let path = folder.join("tiny.toml");
    std::fs::write(&path, TINY).unwrap();
    ModelFile::open(path.to_str().unwrap()).unwrap()
}

/// A job on `images` built-in pictures of 16×16, three epochs, augmented.
pub fn job(file: ModelFile, head: Head, images: usize, folder: Option<PathBuf>) -> Job {
    let (mean, std) = (file.input.mean, file.input.std);
    let kind = TrainCrop::RandomResizedCrop { size: 16, scale: [0.5, 1.0], ratio: [0.75, 1.33] };
    let filter = Filter::Bilinear;
    let train = TrainTransform { kind, filter, mean, std, ..TrainTransform::imagenet(16) };
    let eval = EvalTransform { resize: Some(16), crop: 16, filter, mean, std };
    let source = |split, images, transform| Source {
        dataset: Arc::new(Shapes::new(1, split, images)),
        transform,
    };
    Job {
        head,
        recipe: file.recipe().unwrap().clone(),
        file,
        seed: 7,
        start: "random".into(),
        train: source(Split::Train, images, Transform::Train(train)),
        validation: Some(source(Split::Test, 20, Transform::Eval(eval))),
        workers: 1,
        output: folder.map(|folder| Output { snapshot_steps: Some(2), ..Output::at(folder) }),
        freeze: Vec::new(),
        faults: Vec::new(),
    }
}

/// Sets `stop` when a number of steps of training are done.
pub struct StopAtStep<'s> {
    left: AtomicUsize,
    stop: &'s AtomicBool,
}

impl StopAtStep<'_> {
    pub fn new(steps: usize, stop: &AtomicBool) -> StopAtStep<'_> {
        StopAtStep { left: AtomicUsize::new(steps), stop }
    }
}

impl Progress for StopAtStep<'_> {
    fn begin(&self, _: &str, _: &'static str, _: u64, _: u64) {}
    fn advance(&self, _: u64, note: &str) {
        // Evaluation's notes have no loss.
        if note.starts_with("loss") && self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
    fn end(&self) {}
    fn line(&self, _: &str) {}
}

#[test]
fn a_tiny_model_learns_64_pictures_by_heart() {
    // At 0.1 the text-guided model's logit_scale, which starts at ln(1/0.07), falls faster than
    // its random rows learn; once it is small, its gradient is, too.
    let (sgd, adamw) = (OptimizerKind::Sgd, OptimizerKind::AdamW);
    let text_guided = Head::text_guided(24);
    for (head, optimizer, learning_rate) in [
        (Head::Baseline, sgd, 0.1),
        (text_guided, sgd, 0.02),
        (Head::Baseline, adamw, 0.01),
        (text_guided, adamw, 0.01),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut job = job(tiny(folder.path()), head, 64, None);
        job.recipe.epochs = 60;
        job.recipe = job.recipe.with_optimizer(optimizer);
        job.recipe.learning_rate = learning_rate;
        job.recipe.weight_decay = 0.0;
        if optimizer == adamw {
            job.recipe.clip_grad_norm = Some(1.0);
        }
        // The same pictures in training and evaluation, without augmentation.
        let eval = job.validation.take().unwrap().transform;
        job.train.transform = eval;
        let source = job.train.clone();
        let mut trainer = Trainer::new(job, &Device::cpu()).unwrap();
        trainer.run(&Silent).unwrap();
        let history = trainer.history();
        assert_eq!(history.len(), 60);
        assert!(
            history[59].loss < 0.1 * history[0].loss,
            "{head} {:?}",
            history.iter().map(|e| e.loss).collect::<Vec<_>>()
        );
        let mut evaluator = Evaluator::new(trainer.model(), &Device::cpu(), 24).unwrap();
        let evaluation = evaluator.run(trainer.weights(), &source, true, &Silent).unwrap();
        assert_eq!(evaluation.answers.len(), 64);
        assert_eq!(evaluation.logits.len(), 640);
        assert!(evaluation.top1_percent() >= 95.0, "{head}: {}", evaluation.top1_percent());
        assert!(evaluation.top5_percent() >= evaluation.top1_percent());
    }
}

/// The model file of a run over 49 pictures (a last batch of one, left out) on `threads` threads.
fn trained_bytes(threads: usize, images: usize) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let output = folder.path().join("run");
        let mut job = job(tiny(folder.path()), Head::Baseline, images, Some(output.clone()));
        job.workers = threads;
        let mut trainer = Trainer::new(job, &Device::cpu()).unwrap();
        trainer.run(&Silent).unwrap();
        std::fs::read(output.join("model.safetensors")).unwrap()
    })
}

#[test]
fn threads_dont_change_a_bit() {
    for images in [49, 55] {
        assert!(trained_bytes(1, images) == trained_bytes(2, images));
    }
}

#[test]
fn a_last_batch_of_one_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let file = tiny(folder.path());
    let count = |images| {
        let job = job(file.clone(), Head::Baseline, images, None);
        (job.epoch_images(), job.epoch_steps())
    };
    assert_eq!(count(49), (48, 3));
    assert_eq!(count(48), (48, 3));
    assert_eq!(count(50), (50, 4));
    assert_eq!(count(5), (5, 1));
}

#[test]
fn a_diverging_run_names_epoch_and_step() {
    let folder = tempfile::tempdir().unwrap();
    let mut job = job(tiny(folder.path()), Head::Baseline, 48, None);
    job.recipe.learning_rate = 1e30;
    job.recipe.warmup_epochs = 0;
    let mut trainer = Trainer::new(job, &Device::cpu()).unwrap();
    let error = trainer.run(&Silent).unwrap_err();
    assert!(matches!(error, Error::Diverged { epoch: 1, .. }), "{error}");
    assert!(error.to_string().contains("epoch 1, step "), "{error}");
}

/// The average is what is saved and handed over; it doesn't touch the training itself.
#[test]
fn an_average_is_saved_in_place_of_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    let train = |ema: Option<Ema>| {
        let output = folder.path().join(format!("{ema:?}"));
        let mut job = job(tiny(folder.path()), Head::Baseline, 48, Some(output.clone()));
        job.recipe.ema = ema;
        let mut trainer = Trainer::new(job, &Device::cpu()).unwrap();
        trainer.run(&Silent).unwrap();
        let weights = trainer.weights().sha256().unwrap();
        let Network { model, weights: result } = trainer.into_network();
        let mut saved = Weights::new(&model.tape, &Device::cpu(), false).unwrap();
        let file = Checkpoint::open(&output.join("model.safetensors")).unwrap();
        load_state(&model, &mut saved, &file).unwrap();
        assert_eq!(saved.sha256().unwrap(), result.sha256().unwrap());
        [weights, result.sha256().unwrap()]
    };
    let [weights, result] = train(None);
    assert_eq!(weights, result);
    // 0.01·16 images·1 step/3 epochs: a share of 0.053.
    let [same, average] = train(Some(Ema { decay: 0.99, steps: 1 }));
    assert_eq!(same, weights);
    assert_ne!(average, weights);
    // A share of 1 keeps nothing of the average.
    let [same, average] = train(Some(Ema { decay: 0.0, steps: 1 }));
    assert_eq!([same, average], [weights.clone(), weights]);
}

/// Logits near the largest numbers have a finite loss; on the way back batch norm multiplies by what
/// small weights made it divide by, beyond the largest number. Where gradients are clipped their norm
/// is known, and the parameters are still those of before.
#[test]
fn a_gradient_norm_that_is_not_finite_stops_the_run() {
    for optimizer in [OptimizerKind::Sgd, OptimizerKind::AdamW] {
        let folder = tempfile::tempdir().unwrap();
        let mut job = job(tiny(folder.path()), Head::Baseline, 48, None);
        job.recipe = job.recipe.with_optimizer(optimizer);
        job.recipe.clip_grad_norm = Some(1.0);
        let mut trainer = Trainer::new(job, &Device::cpu()).unwrap();
        let mut scaled = Vec::new();
        for (name, factor) in [("fc.weight", 1e38), ("layer2.0.conv1.weight", 1e-2)] {
            let id = trainer.weights().find(name).unwrap();
            let values = trainer.weights().get(id).unwrap();
            scaled.push((id, values.iter().map(|value| value * factor).collect::<Vec<_>>()));
        }
        for (id, values) in &scaled {
            trainer.weights_mut().set(*id, values).unwrap();
        }
        let error = trainer.run(&Silent).unwrap_err();
        assert!(
            matches!(error, Error::Diverged { epoch: 1, step: 1, figure: "gradient norm", .. }),
            "{error}"
        );
        for (id, values) in scaled {
            assert_eq!(trainer.weights().get(id).unwrap(), values);
        }
    }
}

#[test]
fn a_job_that_makes_no_sense_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |change: &dyn Fn(&mut Job)| {
        let mut job = job(tiny(folder.path()), Head::Baseline, 48, None);
        change(&mut job);
        Trainer::new(job, &Device::cpu()).err().expect("refused").to_string()
    };
    assert!(refused(&|job| job.recipe.batch = 1).contains("at least 2 images"));
    assert!(refused(&|job| job.recipe.momentum = 1.5).contains("momentum"));
    let small = refused(&|job| {
        let Some(Source { transform: Transform::Eval(eval), .. }) = &mut job.validation else {
            unreachable!()
        };
        eval.crop = 8;
    });
    assert!(small.contains("8 pixels wide, training's 16"), "{small}");
}
