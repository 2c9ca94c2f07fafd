//! Each of the published networks by its own recipe, as the model file has it: two steps at 64 pixels, or the least
//! that the network takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use flipside::data::builtin::{Shapes, Split};
use flipside::data::transform::{TrainTransform, Transform};
use flipside::device::Device;
use flipside::models::{ModelFile, names};
use flipside::nn::Head;
use flipside::progress::Progress;
use flipside::tape::ParamId;
use flipside::train::{Job, Source, Trainer};

/// Images of a batch: a step of the published size takes minutes on a CPU.
const BATCH: usize = 4;

/// Sets a flag after two batches.
#[derive(Default)]
struct Two {
    steps: AtomicUsize,
    stop: Arc<AtomicBool>,
}

impl Progress for Two {
    fn begin(&self, _: &str, _: &'static str, _: u64, _: u64) {}

    fn advance(&self, items: u64, _: &str) {
        assert_eq!(items, BATCH as u64);
        if self.steps.fetch_add(1, Ordering::Relaxed) == 1 {
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    fn end(&self) {}
    fn line(&self, _: &str) {}
}

fn two_steps(name: &str, head: Head) {
    let file = ModelFile::open(name).unwrap();
    let mut recipe = file.recipe().unwrap().clone();
    recipe.batch = BATCH;
    let size = if name == "maxvit_t" { 224 } else { 64 };
    let transform = TrainTransform::of_folder(&file.input, size, &recipe.augmentation);
    let train = Source {
        dataset: Arc::new(Shapes::new(1, Split::Train, 4 * BATCH)),
        transform: Transform::Train(transform),
    };
    let job = Job {
        file,
        head,
        recipe,
        seed: 1,
        start: "random".into(),
        train,
        validation: None,
        workers: 2,
        output: None,
        freeze: Vec::new(),
        faults: Vec::new(),
    };
    let mut trainer = Trainer::new(job, &Device::cpu()).unwrap();
    // That of the first layer: whatever moves it has gone through all of the network.
    let first = ParamId(0);
    let before = trainer.weights().get(first).unwrap();
    let two = Two::default();
    let stop = two.stop.clone();
    assert!(!trainer.run_until(&two, &stop).unwrap(), "{name}");
    assert_eq!((trainer.position(), two.steps.into_inner()), ((0, 2), 2), "{name}");
    let after = trainer.weights().get(first).unwrap();
    assert!(after != before && after.iter().all(|value| value.is_finite()), "{name}");
}

#[test]
fn each_published_network_takes_two_steps_by_its_recipe() {
    let published = names().filter(|name| ModelFile::open(name).unwrap().published.is_some());
    let heads = [Head::Baseline, Head::text_guided(512)];
    let found = published.zip(heads.into_iter().cycle()).map(|(name, head)| two_steps(name, head));
    assert_eq!(found.count(), 14);
}
