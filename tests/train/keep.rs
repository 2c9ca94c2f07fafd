//! The epochs whose models are kept: the best, and the last few.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use flipside::checkpoint::{Checkpoint, TensorView, write_safetensors};
use flipside::device::Device;
use flipside::models::{Network, load_state};
use flipside::nn::Head;
use flipside::progress::{Progress, Silent};
use flipside::recipe::Ema;
use flipside::tape::Weights;
use flipside::train::{Job, Trainer};
use serde_json::Value;

use super::folder::{check_equal, unclocked};
use super::{job, tiny};

const EPOCHS: usize = 6;

/// A run that is at its best before its end, and keeps two epochs beside.
fn run(folder: &Path, ema: Option<Ema>) -> Job {
    let mut job = job(tiny(folder), Head::Baseline, 48, Some(folder.join("run")));
    job.recipe.epochs = EPOCHS;
    job.recipe.learning_rate = 0.3;
    job.recipe.ema = ema;
    let output = job.output.as_mut().unwrap();
    (output.keep, output.log_steps) = (2, 2);
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
    let resumes = job.output.as_ref().unwrap().resumable().is_some();
    let mut trainer = Trainer::new(job, &Device::cpu()).unwrap();
    if resumes {
        trainer.resume().unwrap();
    }
    trainer
}

/// Trains until `epoch` is over.
fn stopped_after(job: Job, epoch: usize) -> Trainer {
    let mut trainer = trained(job);
    let stop = AtomicBool::new(false);
    assert!(!trainer.run_until(&StopAfter { epoch, stop: &stop }, &stop).unwrap());
    assert_eq!(trainer.position(), (epoch + 1, 0));
    trainer
}

fn check(ema: Option<Ema>) {
    let whole = tempfile::tempdir().unwrap();
    let mut trainer = trained(run(whole.path(), ema));
    trainer.run(&Silent).unwrap();
    let top1: Vec<f32> =
        trainer.history().iter().map(|epoch| epoch.validation_top1_percent.unwrap()).collect();
    let best = trainer.best_epoch().unwrap();
    assert!(top1[..best].iter().all(|before| *before < top1[best]), "{best} of {top1:?}");
    assert!(top1[best..].iter().all(|after| *after <= top1[best]), "{best} of {top1:?}");
    assert!(best + 1 < EPOCHS, "the run shows nothing: {best} of {top1:?}");
    let output = whole.path().join("run");
    let kept = Checkpoint::open(&output.join("best.safetensors")).unwrap();
    assert_eq!(kept.metadata()["flipside.epoch"], (best + 1).to_string());
    let table = fs::read_to_string(output.join("summary.csv")).unwrap();
    let marked: Vec<usize> = (0..EPOCHS)
        .filter(|epoch| table.lines().nth(epoch + 1).unwrap().contains(",yes,"))
        .collect();
    assert_eq!(marked, [best]);
    // The last two epochs are there, and the last is the trained model.
    let models: Vec<usize> = (1..=EPOCHS)
        .filter(|epoch| output.join(format!("epoch-{epoch:04}.safetensors")).exists())
        .collect();
    assert_eq!(models, [EPOCHS - 1, EPOCHS]);
    let sha256 = |name: &str| {
        let file = Checkpoint::open(&output.join(name)).unwrap();
        let mut weights = Weights::new(&trainer.model().tape, &Device::cpu(), false).unwrap();
        load_state(trainer.model(), &mut weights, &file).unwrap();
        weights.sha256().unwrap()
    };
    assert_eq!(sha256("epoch-0006.safetensors"), sha256("model.safetensors"));
    assert_ne!(sha256("epoch-0005.safetensors"), sha256("model.safetensors"));
    // Three steps an epoch, of which the second and the last have a line.
    let lines = unclocked(&output.join("metrics.jsonl"));
    assert_eq!(lines.len(), 3 * EPOCHS);
    let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let steps: Vec<u64> = lines.iter().map(|line| line["step"].as_u64().unwrap()).collect();
    assert_eq!(steps[..6], [2, 3, 3, 5, 6, 6]);
    assert_eq!(lines[2]["validation_top1_percent"].as_f64().unwrap() as f32, top1[0]);

    // Stopped wherever it may be, it keeps the same; stopped right after its best, it is what is kept.
    for epoch in 0..EPOCHS - 1 {
        let folder = tempfile::tempdir().unwrap();
        let trainer = stopped_after(run(folder.path(), ema), epoch);
        if epoch == best {
            let Network { model, weights } = trainer.into_network();
            let mut saved = Weights::new(&model.tape, &Device::cpu(), false).unwrap();
            load_state(&model, &mut saved, &kept).unwrap();
            assert_eq!(saved.sha256().unwrap(), weights.sha256().unwrap());
        }
        trained(run(folder.path(), ema)).run(&Silent).unwrap();
        check_equal(&folder.path().join("run"), &output);
        // The table of a run that was stopped has all of its times.
        let table = fs::read_to_string(folder.path().join("run/summary.csv")).unwrap();
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
    let best = folder.path().join("run/best.safetensors");
    // Of a run that is compared on other images, or on none.
    let mut other = short.clone();
    other.validation = None;
    let mut trainer = Trainer::new(other, &Device::cpu()).unwrap();
    let said = trainer.resume().unwrap_err().to_string();
    assert!(said.contains("validation was \"") && said.contains("and is null"), "{said}");
    fs::remove_file(&best).unwrap();
    let mut trainer = Trainer::new(short, &Device::cpu()).unwrap();
    let said = trainer.resume().unwrap_err().to_string();
    assert!(said.contains("best.safetensors: isn't there, but held epoch "), "{said}");
}

#[test]
fn without_validation_images_no_epoch_is_the_best() {
    let folder = tempfile::tempdir().unwrap();
    let mut job = run(folder.path(), None);
    job.recipe.epochs = 1;
    job.validation = None;
    let mut trainer = trained(job);
    trainer.run(&Silent).unwrap();
    assert_eq!(trainer.best_epoch(), None);
    assert!(!folder.path().join("run/best.safetensors").exists());
    assert!(folder.path().join("run/model.safetensors").exists());
}

/// A file with `change` made to two words of its metadata, under another name.
fn rewrite(from: &Path, to: &Path, change: impl Fn(&mut Value, &mut Value)) {
    let file = Checkpoint::open(from).unwrap();
    let mut metadata: BTreeMap<String, String> = file.metadata().clone().into_iter().collect();
    let read = |key: &str| {
        let text = metadata.get(key).map_or("null", String::as_str);
        serde_json::from_str(text).unwrap()
    };
    let (mut run, mut position) = (read("flipside.run"), read("flipside.position"));
    // Older versions wrote none.
    metadata.remove("flipside.sha256");
    change(&mut run, &mut position);
    for (key, value) in [("flipside.run", run), ("flipside.position", position)] {
        if !value.is_null() {
            metadata.insert(key.into(), value.to_string());
        }
    }
    let tensors: Vec<_> = file.iter().collect();
    let views = tensors.iter().map(|(name, tensor)| (name.to_string(), TensorView::from(tensor)));
    write_safetensors(to, views, &metadata).unwrap();
    fs::remove_file(from).unwrap();
}

/// Folders as older versions wrote them, which kept the best epoch as the trained model, or the last.
#[test]
fn runs_of_older_versions_go_on() {
    let whole = tempfile::tempdir().unwrap();
    let mut trainer = trained(run(whole.path(), None));
    trainer.run(&Silent).unwrap();
    let best = trainer.best_epoch().unwrap();
    let whole = whole.path().join("run");
    for keeps_best in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        stopped_after(run(folder.path(), None), 1);
        let at = |name: &str| folder.path().join("run").join(name);
        let old = |run: &mut Value, _: &mut Value| {
            let run = run.as_object_mut().unwrap();
            let on = run.remove("validation").unwrap();
            run.remove("class_names").unwrap();
            if keeps_best {
                run.insert("keep".into(), format!("best on {}", on.as_str().unwrap()).into());
            }
        };
        rewrite(&at("last.safetensors"), &at("snapshot.safetensors"), old);
        match keeps_best {
            true => rewrite(&at("best.safetensors"), &at("model.safetensors"), old),
            false => fs::remove_file(at("best.safetensors")).unwrap(),
        }
        let table = fs::read_to_string(at("summary.csv")).unwrap();
        fs::write(at("history.csv"), table.replace(",best,", ",kept,")).unwrap();
        for name in
            ["summary.csv", "metrics.jsonl", "epoch-0001.safetensors", "epoch-0002.safetensors"]
        {
            fs::remove_file(at(name)).unwrap();
        }
        let mut trainer = trained(run(folder.path(), None));
        trainer.run(&Silent).unwrap();
        let bytes = |path: &Path| fs::read(path).unwrap();
        assert!(bytes(&at("model.safetensors")) == bytes(&whole.join("model.safetensors")));
        assert!(!at("snapshot.safetensors").exists() && !at("history.csv").exists());
        let table = fs::read_to_string(at("summary.csv")).unwrap();
        assert!(table.lines().all(|line| !line.ends_with(',')), "{table}");
        let found = trainer.best_epoch().unwrap();
        if keeps_best {
            assert_eq!(found, best);
            assert!(bytes(&at("last.safetensors")) == bytes(&whole.join("last.safetensors")));
        } else {
            // What nobody has kept can't be the best.
            assert!(found >= 2);
        }
        let kept = Checkpoint::open(&at("best.safetensors")).unwrap();
        assert_eq!(kept.metadata()["flipside.epoch"], (found + 1).to_string());
    }
}

/// A file that can't be written is named, and the run goes on from before it once it can be.
#[test]
fn the_last_snapshot_stands_when_a_file_can_t_be_written() {
    let whole = tempfile::tempdir().unwrap();
    trained(run(whole.path(), None)).run(&Silent).unwrap();
    // One snapshot an epoch, at its end.
    let run = |folder: &Path| {
        let mut job = run(folder, None);
        job.output.as_mut().unwrap().snapshot_steps = None;
        job
    };
    let names = ["epoch-0002.safetensors", "summary.csv", "last.safetensors"];
    for name in names {
        let folder = tempfile::tempdir().unwrap();
        stopped_after(run(folder.path()), 0);
        let path = folder.path().join("run").join(name);
        let snapshot = folder.path().join("run/last.safetensors");
        let before = fs::read(&snapshot).unwrap();
        let mut trainer = trained(run(folder.path()));
        // A folder is in the way.
        if path.exists() {
            fs::remove_file(&path).unwrap();
        }
        fs::create_dir(&path).unwrap();
        let said = trainer.run(&Silent).unwrap_err().to_string();
        assert!(said.contains(&format!("{name}: can't be written")), "{said}");
        fs::remove_dir(&path).unwrap();
        match name {
            "last.safetensors" => fs::write(&path, &before).unwrap(),
            _ => assert!(fs::read(&snapshot).unwrap() == before, "{name}"),
        }
        drop(trainer);
        trained(run(folder.path())).run(&Silent).unwrap();
        let (found, expected) = (folder.path().join("run"), whole.path().join("run"));
        check_equal(&found, &expected);
    }
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
    check_equal(&parts.path().join("run"), &whole.path().join("run"));
}
