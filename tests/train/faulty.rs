//! Bits that flip while training: which ones, where, and what becomes of a step that they ruin.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use flipside::checkpoint::Checkpoint;
use flipside::data::Batch;
use flipside::device::Device;
use flipside::fault::TrainingFault;
use flipside::models::Model;
use flipside::nn::Head;
use flipside::ops::RunState;
use flipside::progress::Silent;
use flipside::recipe::{Ema, OptimizerKind};
use flipside::rng::{self, Draw};
use flipside::tape::{Execution, FlipTarget, ParamId, PlanKind, Weights};
use flipside::train::{BatchPlace, EpochRecord, FlipDraws, Job, Trainer};

use super::{StopAtStep, job, tiny};
use crate::devices::{device, kernel_devices};

/// Flips that a network survives.
const MILD: [&str; 2] = [
    "site=output,rate=2e-6,bits=mantissa+sign",
    "site=weight,rate=1e-4,bits=0..29+31,layers=*.weight,epochs=2-3",
];

fn faults(texts: &[&str]) -> Vec<TrainingFault> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn run(folder: &Path, texts: &[&str]) -> Job {
    let mut job = job(tiny(folder), Head::Baseline, 55, Some(folder.join("run")));
    job.recipe.batch = 8;
    job.recipe.accumulate = 2;
    job.recipe.ema = Some(Ema { decay: 0.9, steps: 1 });
    job.faults = faults(texts);
    job
}

fn pixels(images: usize, side: usize) -> Batch {
    let mut draws = rng::stream(5, "pixels");
    Batch {
        images: (0..images * side * side * 3).map(|_| draws.between(-2.0, 2.0) as f32).collect(),
        labels: (0..images as u32).map(|image| image % 10).collect(),
        shares: None,
        indices: (0..images as u64).collect(),
        side,
    }
}

/// Just the bits that are drawn differ: of what a layer stores, of what the next one makes of it, and of parameters, which
/// are back afterwards. On the CPU and on kernels in every order of threads.
#[test]
fn what_is_drawn_flips_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let model = Model::new(&tiny(folder.path()), Head::Baseline, 10, 16, 0.0).unwrap();
    let batch = pixels(3, 16);
    let place = BatchPlace { epoch: 0, step: 0, batch: 0 };
    let rules = ["site=output,rate=1e-3", "site=weight,rate=3e-4"];
    let all = FlipDraws::new(&faults(&rules), &model.tape, 4).unwrap().draw(place, 3);
    let devices = [("the cpu".to_string(), Device::cpu())];
    for (name, device) in devices.into_iter().chain(kernel_devices()) {
        let mut weights = Weights::new(&model.tape, &device, true).unwrap();
        weights.initialize(1).unwrap();
        let clean_bytes = weights.sha256().unwrap();
        let values: Vec<_> = model.tape.injectable().iter().map(|layer| layer.node).collect();
        let mut execution =
            Execution::new(&model.tape, &device, PlanKind::Train, 3, &values).unwrap();
        execution.begin_training(RunState::default(), &batch.indices).unwrap();
        let bits = |execution: &Execution, node| -> Vec<u32> {
            execution.read(node).unwrap().iter().map(|value| value.to_bits()).collect()
        };
        // One layer at a time, so that what comes in is the same.
        for node in &values {
            let map = model.tape.node(*node).spec.map;
            let target = FlipTarget::Value(*node);
            let flips = &all.of_target[&target];
            execution.write(model.image, &batch.images).unwrap();
            execution.forward_training(&mut weights).unwrap();
            let mut expected = bits(&execution, *node);
            for flip in flips {
                expected[flip.image * map.elements() + map.memory_index(flip.element)] ^= flip.mask;
            }
            execution.flip(&mut weights, target, flips).unwrap();
            execution.write(model.image, &batch.images).unwrap();
            execution.forward_training(&mut weights).unwrap();
            assert!(bits(&execution, *node) == expected, "{name}: {}", model.tape.node(*node).name);
            execution.end_flips(&mut weights).unwrap();
        }
        weights.initialize(1).unwrap();
        for (target, flips) in &all.of_target {
            let FlipTarget::Param(id) = target else { continue };
            let spec = &model.tape.params()[id.0].spec;
            let before = weights.get(*id).unwrap();
            execution.flip(&mut weights, *target, flips).unwrap();
            let after = weights.get(*id).unwrap();
            let mut apart: Vec<(usize, u32)> = (before.iter().zip(&after).enumerate())
                .map(|(at, (a, b))| {
                    (spec.layout.stored_index(&spec.shape, at), a.to_bits() ^ b.to_bits())
                })
                .filter(|(_, mask)| *mask != 0)
                .collect();
            apart.sort_unstable();
            let drawn: Vec<(usize, u32)> = flips.iter().map(|f| (f.element, f.mask)).collect();
            assert_eq!(apart, drawn, "{name}: {}", model.tape.params()[id.0].name);
        }
        assert!(all.counts.weights > 0 && all.counts.outputs > 0);
        execution.end_flips(&mut weights).unwrap();
        assert_eq!(weights.sha256().unwrap(), clean_bytes, "{name}");
    }
}

fn trained(job: Job, device: &Device) -> Vec<EpochRecord> {
    let mut trainer = Trainer::new(job, device).unwrap();
    trainer.run(&Silent).unwrap();
    trainer.history().to_vec()
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
        let history = trained(run(whole.path(), &MILD), &Device::cpu());
        println!("{history:?}");
        assert_eq!(history[0].weight_flips, Some(0));
        for epoch in &history {
            assert!(epoch.output_flips > Some(0) && epoch.skipped_steps.is_some());
        }
        assert!(history[1].weight_flips > Some(0) && history[2].weight_flips > Some(0));
    });
    for steps in [1, 6, 11] {
        let folder = tempfile::tempdir().unwrap();
        on(4, &|| {
            let stop = AtomicBool::new(false);
            let mut trainer = Trainer::new(run(folder.path(), &MILD), &Device::cpu()).unwrap();
            assert!(!trainer.run_until(&StopAtStep::new(steps, &stop), &stop).unwrap());
            let mut trainer = Trainer::new(run(folder.path(), &MILD), &Device::cpu()).unwrap();
            trainer.resume().unwrap();
            trainer.run(&Silent).unwrap();
        });
        assert!(bytes(folder.path()) == bytes(whole.path()), "stopped after {steps} steps");
    }
    // It is another run than one without faults, or with others.
    for texts in [&MILD[..1], &[], &["site=output,rate=3e-6", MILD[1]]] {
        let error = Trainer::new(run(whole.path(), texts), &Device::cpu()).unwrap().resume();
        let said = error.unwrap_err().to_string();
        assert!(said.contains("faults was ["), "{said}");
    }
}

/// By kernels the same bits flip, so that weights differ by rounding alone, as they do without faults.
#[test]
fn kernels_flip_the_same_bits() {
    let weights = |device: &Device| {
        let folder = tempfile::tempdir().unwrap();
        let mut job =
            run(folder.path(), &["site=output,rate=1e-6", "site=weight,rate=1e-5,bits=0..29+31"]);
        job.recipe.epochs = 1;
        job.recipe.warmup_epochs = 0;
        job.recipe.learning_rate = 1e-3;
        let mut trainer = Trainer::new(job, device).unwrap();
        trainer.run(&Silent).unwrap();
        let record = trainer.history()[0];
        let ids = (0..trainer.weights().tape().params().len()).map(ParamId);
        let values: Vec<Vec<f32>> = ids.map(|id| trainer.weights().get(id).unwrap()).collect();
        ([record.output_flips, record.weight_flips, record.skipped_steps], values)
    };
    let (counts, expected) = weights(&Device::cpu());
    let (of_kernels, found) = weights(&device());
    println!("{counts:?}");
    assert_eq!(counts, of_kernels);
    assert!(counts[0] > Some(0) && counts[1] > Some(0));
    for (expected, found) in expected.iter().zip(&found) {
        let largest = expected.iter().fold(0f32, |most, value| most.max(value.abs()));
        for (e, f) in expected.iter().zip(found) {
            assert!((e - f).abs() <= 1e-4 * largest, "{e} and {f} of {largest}");
        }
    }
}

/// The highest bit of the exponent in half of the weights: nothing is finite, and nothing changes, the optimiser's
/// memory, running statistics and the average included.
#[test]
fn a_step_that_is_not_finite_changes_nothing() {
    for optimizer in [OptimizerKind::Sgd, OptimizerKind::AdamW] {
        let folder = tempfile::tempdir().unwrap();
        let mut job = run(folder.path(), &["site=weight,rate=0.5,bits=30,epochs=1"]);
        job.recipe = job.recipe.with_optimizer(optimizer);
        job.recipe.learning_rate = 0.01;
        let mut trainer = Trainer::new(job, &Device::cpu()).unwrap();
        let batch = pixels(8, 16);
        let before = trainer.weights().sha256().unwrap();
        for _ in 0..2 {
            let figures = trainer.step(&batch).unwrap();
            assert!(figures.skipped && figures.flips.weights > 0 && figures.flips.outputs == 0);
        }
        assert_eq!(trainer.weights().sha256().unwrap(), before);
        // An epoch of them ends the run.
        let said = trainer.run(&Silent).unwrap_err().to_string();
        assert!(said.contains("the last 4 steps, up to epoch 1, step 4, were skipped"), "{said}");
        assert!(said.contains("bits=0..29+31"), "{said}");
        assert_eq!(trainer.weights().sha256().unwrap(), before);
    }
}

/// Skipped steps aren't counted by AdamW's bias corrections, nor in an epoch's loss; where some are, others learn.
#[test]
fn a_run_goes_on_after_skipped_steps() {
    let folder = tempfile::tempdir().unwrap();
    let mut job = run(folder.path(), &["site=output,rate=1.5e-6,bits=30"]);
    job.recipe = job.recipe.with_optimizer(OptimizerKind::AdamW);
    job.recipe.learning_rate = 0.003;
    job.recipe.epochs = 6;
    let history = trained(job, &Device::cpu());
    println!("{history:?}");
    let skipped: u64 = history.iter().filter_map(|record| record.skipped_steps).sum();
    assert!((1..20).contains(&skipped), "{skipped}");
    assert!(history.iter().all(|record| record.loss.is_finite() && record.loss > 0.0));
    assert!(history[5].loss < history[0].loss);
}

#[test]
fn faults_that_make_no_sense_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (text, word) in [
        (
            "site=output,rate=1e-6,layers=fc.weight",
            "no layer for faults of the site output is called 'fc.weight'",
        ),
        ("site=weight,rate=1e-6,layers=*.running_mean", "no parameter"),
        ("site=output,rate=1e-6,epochs=2-9", "the run has 3 epochs"),
    ] {
        let error = Trainer::new(run(folder.path(), &[text]), &Device::cpu()).err().unwrap();
        assert!(error.to_string().contains(word), "{error}");
    }
}

/// Snapshots of runs without all this hold no word of it, so that older ones are gone on from.
#[test]
fn a_plain_run_says_nothing_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut job = run(folder.path(), &[]);
    job.recipe.accumulate = 1;
    trained(job, &Device::cpu());
    let snapshot = Checkpoint::open(&folder.path().join("run/last.safetensors")).unwrap();
    let said: Vec<&str> =
        ["flipside.run", "flipside.position"].map(|key| snapshot.metadata()[key].as_str()).to_vec();
    for word in ["faults", "freeze", "accumulate", "flips", "skipped_steps", "skipped_on_end"] {
        assert!(said.iter().all(|said| !said.contains(word)), "{word} in {said:?}");
    }
}
