//! The epoch that is kept as the trained model.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use flipside::checkpoint::Checkpoint;
use flipside::device::Device;
use flipside::models::{Network, load_state};
use flipside::nn::Head;
use flipside::progress::{Progress, Silent};
use flipside::recipe::Ema;
use flipside::tape::Weights;
use flipside::train::{Job, Keep, Trainer};

use super::{job, tiny};

const EPOCHS: usize = 6;

/// A run that is at its best before its end.
fn run(folder: &Path, ema: Option<Ema>) -> Job {
    let mut job = job(tiny(folder), Head::Baseline, 48, Some(folder.join("run")));
    job.recipe.epochs = EPOCHS;
    job.recipe.learning_rate = 0.3;
    job.recipe.ema = ema;
    job.output.as_mut().unwrap().keep = Keep::Best;
    job
}

/// Sets `stop` when the line of an epoch is told.
struct StopAfter<'s> {
    epoch: usize,
    stop: &'s AtomicBool,
}

impl Progress for StopAfter<'_> {
    fn begin(&self, _: &str, _: &'static str, _: u64, _: u64) {}
    fn advance(&self, _: u64, _: &str) {}
    fn end(&self) {}
    fn line(&self, text: &str) {
        if text.starts_with(&format!("epoch {}/", self.epoch + 1)) {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

fn trained(job: Job) -> Trainer {
    let resumes = job.output.as_ref().unwrap().snapshot().exists();
    let mut trainer = Trainer::new(job, &Device::cpu()).unwrap();
    if resumes {
        trainer.resume().unwrap();
    }
    trainer
}

fn files(folder: &Path) -> [PathBuf; 2] {
    ["model.safetensors", "snapshot.safetensors"].map(|name| folder.join("run").join(name))
}

fn check(ema: Option<Ema>) {
    let whole = tempfile::tempdir().unwrap();
    let mut trainer = trained(run(whole.path(), ema));
    trainer.run(&Silent).unwrap();
    let top1: Vec<f32> =
        trainer.history().iter().map(|epoch| epoch.validation_top1_percent.unwrap()).collect();
    let best = trainer.kept_epoch().unwrap();
    assert!(top1[..best].iter().all(|before| *before < top1[best]), "{best} of {top1:?}");
    assert!(top1[best..].iter().all(|after| *after <= top1[best]), "{best} of {top1:?}");
    assert!(best + 1 < EPOCHS, "the run shows nothing: {best} of {top1:?}");
    let [model, _] = files(whole.path());
    let kept = Checkpoint::open(&model).unwrap();
    assert_eq!(kept.metadata()["flipside.epoch"], (best + 1).to_string());
    let table = std::fs::read_to_string(whole.path().join("run/history.csv")).unwrap();
    let marked: Vec<usize> = (0..EPOCHS)
        .filter(|epoch| table.lines().nth(epoch + 1).unwrap().contains(",yes,"))
        .collect();
    assert_eq!(marked, [best]);

    // Stopped wherever it may be, it keeps the same; stopped right after its best, it is what is kept.
    for epoch in 0..EPOCHS - 1 {
        let folder = tempfile::tempdir().unwrap();
        let mut trainer = trained(run(folder.path(), ema));
        let stop = AtomicBool::new(false);
        assert!(!trainer.run_until(&StopAfter { epoch, stop: &stop }, &stop).unwrap());
        assert_eq!(trainer.position(), (epoch + 1, 0));
        if epoch == best {
            let Network { model, weights } = trainer.into_network();
            let mut saved = Weights::new(&model.tape, &Device::cpu(), false).unwrap();
            load_state(&model, &mut saved, &kept).unwrap();
            assert_eq!(saved.sha256().unwrap(), weights.sha256().unwrap());
        }
        trained(run(folder.path(), ema)).run(&Silent).unwrap();
        for (one, other) in files(folder.path()).iter().zip(files(whole.path())) {
            assert!(std::fs::read(one).unwrap() == std::fs::read(other).unwrap(), "{one:?}");
        }
        // The table of a run that was stopped has all of its times.
        let table = std::fs::read_to_string(folder.path().join("run/history.csv")).unwrap();
        assert!(table.lines().all(|line| !line.ends_with(',')), "{table}");
    }
}

#[test]
fn the_best_epoch_is_kept_however_often_a_run_is_stopped() {
    check(None);
}

#[test]
fn the_best_average_is_kept() {
    check(Some(Ema { decay: 0.9, steps: 1 }));
}

#[test]
fn another_epoch_s_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut short = run(folder.path(), None);
    short.recipe.epochs = 2;
    trained(short.clone()).run(&Silent).unwrap();
    let [model, _] = files(folder.path());
    // Of a run that keeps the last.
    let mut last = short.clone();
    last.output.as_mut().unwrap().keep = Keep::Last;
    let mut trainer = Trainer::new(last, &Device::cpu()).unwrap();
    let said = trainer.resume().unwrap_err().to_string();
    assert!(said.contains("keep was \"best on "), "{said}");
    std::fs::remove_file(&model).unwrap();
    let mut trainer = Trainer::new(short.clone(), &Device::cpu()).unwrap();
    let said = trainer.resume().unwrap_err().to_string();
    assert!(said.contains("model.safetensors: isn't there, but held epoch "), "{said}");
    short.validation = None;
    let said = Trainer::new(short, &Device::cpu()).err().unwrap().to_string();
    assert!(said.contains("without validation images"), "{said}");
}

/// Sets `stop` once no image is left of those that are to be trained on.
struct StopAt<'s> {
    left: AtomicU64,
    stop: &'s AtomicBool,
}

impl Progress for StopAt<'_> {
    fn begin(&self, _: &str, _: &'static str, _: u64, _: u64) {}
    fn advance(&self, images: u64, note: &str) {
        // Those of an evaluation have another note.
        if note.starts_with("loss") && self.left.fetch_sub(images, Ordering::Relaxed) <= images {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
    fn end(&self) {}
    fn line(&self, _: &str) {}
}

/// Stopped after every single step, the last of an epoch too, before it is evaluated.
#[test]
fn a_run_goes_on_from_wherever_it_was_stopped() {
    let whole = tempfile::tempdir().unwrap();
    let mut trainer = trained(run(whole.path(), None));
    trainer.run(&Silent).unwrap();
    let parts = tempfile::tempdir().unwrap();
    let mut stops = 0;
    loop {
        let mut trainer = trained(run(parts.path(), None));
        let stop = AtomicBool::new(false);
        let progress = StopAt { left: AtomicU64::new(1), stop: &stop };
        if trainer.run_until(&progress, &stop).unwrap() {
            break;
        }
        stops += 1;
    }
    let steps = trainer.job().epoch_steps() * EPOCHS;
    assert_eq!(stops, steps);
    for (part, whole) in files(parts.path()).iter().zip(files(whole.path())) {
        assert!(std::fs::read(part).unwrap() == std::fs::read(whole).unwrap(), "{part:?} differs");
    }
}
