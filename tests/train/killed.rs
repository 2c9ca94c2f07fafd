//! A run that is killed and resumed, again and again.
//!
//! The run to be killed is a process of its own: this test binary, asked for the one test
//! [`child`], which does nothing unless it is told a folder.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use flipside::data::builtin::{Shapes, Split};
use flipside::device::Device;
use flipside::nn::Head;
use flipside::progress::Silent;
use flipside::recipe::{Ema, Mixing, OptimizerKind};
use flipside::train::{Job, Trainer};
use std::sync::Arc;

use super::folder::check_equal;
use super::{job, tiny};

/// Names the folder of the run to [`child`].
const FOLDER: &str = "FLIPSIDE_TEST_TRAIN_FOLDER";
/// And its optimiser.
const OPTIMIZER: &str = "FLIPSIDE_TEST_TRAIN_OPTIMIZER";

const HEAD: Head = Head::text_guided(12);

/// The test file's recipe, or one of AdamW with all that it has, mixed images and steps of two batches.
fn run_in(folder: &Path, optimizer: OptimizerKind) -> Job {
    let mut job = job(tiny(folder), HEAD, 120, Some(folder.join("run")));
    let output = job.output.as_mut().unwrap();
    (output.keep, output.log_steps) = (2, 1);
    if optimizer == OptimizerKind::AdamW {
        job.recipe = job.recipe.with_optimizer(optimizer);
        job.recipe.learning_rate = 0.01;
        job.recipe.norm_weight_decay = Some(0.0);
        job.recipe.clip_grad_norm = Some(1.0);
        job.recipe.ema = Some(Ema { decay: 0.99, steps: 3 });
        (job.recipe.batch, job.recipe.accumulate) = (8, 2);
        job.recipe.augmentation.mixing = Mixing { mixup_alpha: 0.2, cutmix_alpha: 1.0 };
    }
    job
}

/// Trains in `folder` from the snapshot there, if there is one.
fn train(folder: &Path, optimizer: OptimizerKind) {
    let mut trainer = Trainer::new(run_in(folder, optimizer), &Device::cpu()).unwrap();
    if folder.join("run/last.safetensors").exists() {
        trainer.resume().unwrap();
    }
    trainer.run(&Silent).unwrap();
}

#[test]
fn child() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        let optimizer = std::env::var(OPTIMIZER).unwrap().parse().unwrap();
        train(Path::new(&folder), optimizer);
    }
}

fn start(folder: &Path, optimizer: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "train::killed::child", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(OPTIMIZER, optimizer)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills one run after the other at moments spread over a run's length (decoding, steps,
/// evaluation, writing), resumes each until it is over, and compares.
fn check_killed_runs(optimizer: &str) {
    let uninterrupted = tempfile::tempdir().unwrap();
    let started = Instant::now();
    assert!(start(uninterrupted.path(), optimizer).wait().unwrap().success());
    let whole = started.elapsed();

    // On a busy machine a run may outrun its killer; then there are more rounds.
    let (mut kills, mut resumed) = (0, 0);
    for round in 0..20 {
        if round >= 4 && kills >= 5 && resumed >= 1 {
            break;
        }
        let killed = tempfile::tempdir().unwrap();
        for moment in 0.. {
            if killed.path().join("run/last.safetensors").exists() {
                resumed += 1;
            }
            let mut process = start(killed.path(), optimizer);
            // The share of a run's time grows, so that every run ends some time.
            let share = 0.2 + 0.07 * f64::from(round % 4) + 0.11 * f64::from(moment);
            std::thread::sleep(whole.mul_f64(share));
            if let Some(status) = process.try_wait().unwrap() {
                assert!(status.success());
                break;
            }
            process.kill().unwrap();
            process.wait().unwrap();
            kills += 1;
        }
        check_equal(&killed.path().join("run"), &uninterrupted.path().join("run"));
    }
    println!("{kills} kills, {resumed} resumed runs, {whole:?} each");
    assert!(kills >= 5 && resumed >= 1, "{kills} kills, {resumed} resumed");
}

#[test]
fn a_killed_run_of_sgd_ends_in_the_same_bits() {
    check_killed_runs("sgd");
}

#[test]
fn a_killed_run_of_adamw_ends_in_the_same_bits() {
    check_killed_runs("adamw");
}

/// A bit of a snapshot that flips on the disk.
#[test]
fn a_damaged_snapshot_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), OptimizerKind::Sgd);
    let path = folder.path().join("run/last.safetensors");
    let whole = std::fs::read(&path).unwrap();
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let resumed = || {
        let job = run_in(folder.path(), OptimizerKind::Sgd);
        Trainer::new(job, &Device::cpu()).unwrap().resume().map_err(|error| error.to_string())
    };
    for at in [header, whole.len() / 2, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        let error = resumed().unwrap_err();
        assert!(error.contains("last.safetensors") && error.contains("is damaged"), "{error}");
    }
    std::fs::write(&path, whole).unwrap();
    resumed().unwrap();
}

/// A run that was killed between its last snapshot and its model.
#[test]
fn a_finished_run_only_writes_its_model() {
    let whole = tempfile::tempdir().unwrap();
    train(whole.path(), OptimizerKind::Sgd);
    let expected = std::fs::read(whole.path().join("run/model.safetensors")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("run");
    std::fs::create_dir(&output).unwrap();
    // The finished run's snapshot: nothing is left to do but to write the model.
    for name in ["last.safetensors", "best.safetensors"] {
        std::fs::copy(whole.path().join("run").join(name), output.join(name)).unwrap();
    }
    train(folder.path(), OptimizerKind::Sgd);
    assert!(std::fs::read(output.join("model.safetensors")).unwrap() == expected);
}

#[test]
fn a_snapshot_of_another_run_is_refused_with_all_that_differs() {
    let folder = tempfile::tempdir().unwrap();
    let mut short = run_in(folder.path(), OptimizerKind::Sgd);
    short.recipe.epochs = 1;
    short.validation = None;
    Trainer::new(short.clone(), &Device::cpu()).unwrap().run(&Silent).unwrap();

    let refusal = |change: &dyn Fn(&mut Job)| {
        let mut job = short.clone();
        change(&mut job);
        let mut trainer = Trainer::new(job, &Device::cpu()).unwrap();
        trainer.resume().unwrap_err().to_string()
    };
    let error = refusal(&|job| {
        job.recipe.epochs = 2;
        job.seed = 8;
        job.start = "text features".into();
    });
    for part in [
        "last.safetensors",
        "recipe.epochs was 1 and is 2",
        "seed was 7 and is 8",
        "start was \"random\" and is \"text features\"",
    ] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    let error =
        refusal(&|job| job.recipe = job.recipe.clone().with_optimizer(OptimizerKind::AdamW));
    assert!(error.contains("recipe.optimizer was \"sgd\" and is \"adamw\""), "{error}");
    let error = refusal(&|job| job.head = Head::Baseline);
    assert!(error.contains("head was \"text-guided 12\" and is \"baseline\""), "{error}");
    let error = refusal(&|job| job.train.dataset = Arc::new(Shapes::new(2, Split::Train, 120)));
    assert!(error.contains("data was "), "{error}");

    let model = folder.path().join("run/model.safetensors");
    std::fs::copy(&model, folder.path().join("run/last.safetensors")).unwrap();
    let error = refusal(&|_| ());
    assert!(error.contains("isn't the snapshot of a training run"), "{error}");
}
