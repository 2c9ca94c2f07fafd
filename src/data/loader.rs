//! Batches, made ahead of their consumer.

use super::Dataset;
use super::mix::one_hot;
use super::transform::Transform;
use crate::recipe::Mixing;
use crate::rng::{Draw, DrawBlock, stream};
use crate::{Error, Result};
use rayon::prelude::*;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Images and labels that go through a network together.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// N × side × side × 3 normalised values, channels last.
    pub images: Vec<f32>,
    /// The class of each image; of a mixed one that of the larger part.
    pub labels: Vec<u32>,
    /// The shares of the classes of each image, N × classes, where images are mixed.
    pub shares: Option<Vec<f32>>,
    /// A number for each image, no two the same in an epoch: its place in its data set, plus the set's length for each
    /// time that it was there before.
    pub indices: Vec<u64>,
    /// Rows and columns of each image.
    pub side: usize,
}

impl Batch {
    /// N, the number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

/// An image of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochImage {
    /// Its place in the data set.
    pub image: usize,
    /// How often the image comes before it in the epoch: each time it is augmented by draws of its own.
    pub repetition: u32,
}

impl From<usize> for EpochImage {
    fn from(image: usize) -> EpochImage {
        EpochImage { image, repetition: 0 }
    }
}

/// How a pass over a data set is cut into batches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EpochPlan {
    /// Images a batch.
    pub batch_size: usize,
    /// Key of the order and of augmentation.
    pub seed: u64,
    /// Number of the epoch, the other half of that key.
    pub epoch: u64,
    /// Whether the order is shuffled; else it is the data set's.
    pub shuffle: bool,
    /// Whether a last batch that isn't full is left out.
    pub drop_last: bool,
    /// How the images of a batch are mixed.
    pub mixing: Mixing,
    /// Finished batches that may wait for the consumer, at least 1; one more is in the making.
    pub prefetch: usize,
    /// Threads that decode and transform, at least 1. No result depends on it.
    pub workers: usize,
}

impl EpochPlan {
    /// A shuffled training epoch: full batches only, two of them ahead, one worker a core.
    pub fn train(batch_size: usize, seed: u64, epoch: u64) -> Self {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let (shuffle, drop_last) = (true, true);
        let mixing = Mixing::default();
        EpochPlan { batch_size, seed, epoch, shuffle, drop_last, mixing, prefetch: 2, workers }
    }

    /// One pass in the data set's order, the last batch included.
    pub fn eval(batch_size: usize) -> Self {
        EpochPlan { shuffle: false, drop_last: false, ..EpochPlan::train(batch_size, 0, 0) }
    }
}

/// The order of a shuffled epoch over `n` samples: the permutation that the stream of `seed` and
/// `order/<epoch>` gives.
pub fn epoch_order(n: usize, seed: u64, epoch: u64) -> Vec<usize> {
    stream(seed, &format!("order/{epoch}")).permutation(n)
}

/// As [`epoch_order`], each image `repetitions` times in a batch of `batch`, cut off behind `n` images: repeated
/// augmentation (Hoffer et al., "Augment your batch", 2020). Copies don't lie side by side, where mixing would mix an image
/// with itself: a batch is what as many processes as there are repetitions take from torchvision's `RASampler`.
pub fn repeated_order(
    n: usize,
    (repetitions, batch): (u32, usize),
    seed: u64,
    epoch: u64,
) -> Vec<EpochImage> {
    let order = epoch_order(n, seed, epoch);
    let distinct = (batch / repetitions.max(1) as usize).max(1);
    let repeat = |images: &[usize]| -> Vec<EpochImage> {
        let copies = (0..repetitions.max(1)).flat_map(|repetition| {
            images.iter().map(move |&image| EpochImage { image, repetition })
        });
        copies.collect()
    };
    order.chunks(distinct).flat_map(repeat).take(n).collect()
}

/// The batches of one epoch, in order. A thread of its own keeps a bounded number of them ready.
///
/// The first error ends the iteration. Dropping it early stops the thread after the batch that is in
/// the making.
pub struct Batches {
    receiver: Option<Receiver<Result<Batch>>>,
    thread: Option<JoinHandle<()>>,
    left: usize,
}

impl Batches {
    /// Starts loading an epoch.
    ///
    /// # Errors
    /// [`Error::Usage`] if the data set is empty, the batch size 0, larger than a set whose short
    /// batches are dropped, or the transform makes no sense; [`Error::Io`] if no thread can be
    /// started. Images that can't be read show up in the iteration.
    pub fn new(
        dataset: Arc<dyn Dataset>,
        transform: impl Into<Transform>,
        plan: EpochPlan,
    ) -> Result<Self> {
        let order = if plan.shuffle {
            epoch_order(dataset.len(), plan.seed, plan.epoch)
        } else {
            (0..dataset.len()).collect()
        };
        Self::of(dataset, transform, plan, order)
    }

    /// Like [`new`](Self::new), but over the given samples in the given order; `plan.shuffle` is not
    /// looked at.
    ///
    /// # Errors
    /// Those of [`new`](Self::new), and [`Error::Usage`] if a sample is out of range.
    pub fn of(
        dataset: Arc<dyn Dataset>,
        transform: impl Into<Transform>,
        plan: EpochPlan,
        samples: Vec<impl Into<EpochImage>>,
    ) -> Result<Self> {
        let mut samples: Vec<EpochImage> = samples.into_iter().map(Into::into).collect();
        let transform = transform.into();
        transform.validate()?;
        if plan.batch_size == 0 {
            return Err(Error::usage("the batch size must be at least 1"));
        }
        if let Some(sample) = samples.iter().find(|sample| sample.image >= dataset.len()) {
            let detail = format!("there is no image {} among {}", sample.image, dataset.len());
            return Err(Error::usage(detail));
        }
        if plan.drop_last {
            samples.truncate(samples.len() / plan.batch_size * plan.batch_size);
        }
        if samples.is_empty() {
            let detail = format!(
                "{} images don't fill a single batch of {}",
                dataset.len(),
                plan.batch_size
            );
            return Err(Error::usage(detail));
        }
        let left = samples.len().div_ceil(plan.batch_size);
        let workers = rayon::ThreadPoolBuilder::new()
            .num_threads(plan.workers.max(1))
            .thread_name(|i| format!("loader-{i}"))
            .build()
            .map_err(|source| Error::io("loader threads", std::io::Error::other(source)))?;
        let (sender, receiver) = sync_channel(plan.prefetch.max(1));
        let maker = Maker {
            dataset,
            transform,
            draws: EpochDraws { seed: plan.seed, epoch: plan.epoch },
            mixing: plan.mixing,
            batch_size: plan.batch_size,
            workers,
        };
        let thread = std::thread::Builder::new()
            .name("loader".to_string())
            .spawn(move || maker.run(&samples, &sender))
            .map_err(|source| Error::io("loader thread", source))?;
        Ok(Batches { receiver: Some(receiver), thread: Some(thread), left })
    }
}

impl Iterator for Batches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let batch = match self.receiver.as_ref()?.recv() {
            Ok(batch) => batch,
            Err(_) => Err(Error::shape("loader", "its thread ended before the last batch")),
        };
        self.left = if batch.is_ok() { self.left - 1 } else { 0 };
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left))
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        // Without a receiver the thread's next send fails, so that it ends.
        drop(self.receiver.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported as an error by `next`, or nobody asked.
            let _ = thread.join();
        }
    }
}

/// The class of the largest share, the first of equals.
fn largest(shares: &[f32]) -> u32 {
    let mut best = 0;
    for (class, share) in shares.iter().enumerate() {
        if *share > shares[best] {
            best = class;
        }
    }
    best as u32
}

/// Where the draws of an epoch come from.
struct EpochDraws {
    seed: u64,
    epoch: u64,
}

impl EpochDraws {
    /// What belongs to a sample: block i of the stream `<what>/<epoch>` of its image i, or, where it comes again,
    /// of `<what>/<epoch>/<repetition>`.
    fn block(&self, what: &str, sample: EpochImage) -> DrawBlock {
        let EpochDraws { seed, epoch } = self;
        let label = match sample.repetition {
            0 => format!("{what}/{epoch}"),
            again => format!("{what}/{epoch}/{again}"),
        };
        stream(*seed, &label).block(sample.image as u64)
    }
}

/// What the loading thread works with. The pool is its own: a consumer that waits inside the global
/// pool could otherwise starve the loader.
struct Maker {
    dataset: Arc<dyn Dataset>,
    transform: Transform,
    draws: EpochDraws,
    mixing: Mixing,
    batch_size: usize,
    workers: rayon::ThreadPool,
}

impl Maker {
    fn run(&self, samples: &[EpochImage], sender: &SyncSender<Result<Batch>>) {
        for samples in samples.chunks(self.batch_size) {
            let batch = self.workers.install(|| self.batch(samples));
            let failed = batch.is_err();
            if sender.send(batch).is_err() || failed {
                return;
            }
        }
    }

    fn batch(&self, samples: &[EpochImage]) -> Result<Batch> {
        let side = self.transform.size();
        let values = side * side * 3;
        let mut images = vec![0f32; samples.len() * values];
        let results: Vec<Result<()>> = images
            .par_chunks_exact_mut(values)
            .zip(samples)
            .map(|(out, &sample)| self.image(sample, out))
            .collect();
        // The first failure in batch order, whichever thread was faster.
        results.into_iter().collect::<Result<()>>()?;
        let all = self.dataset.len() as u64;
        let index = |sample: &EpochImage| sample.image as u64 + u64::from(sample.repetition) * all;
        let indices = samples.iter().map(index).collect();
        let labels = samples.iter().map(|of| self.dataset.label(of.image) as u32).collect();
        let batch = Batch { images, labels, shares: None, indices, side };
        Ok(match self.mixing.is_none() {
            true => batch,
            false => self.mixed(batch, samples[0])?,
        })
    }

    /// A batch whose images are mixed by the draws of its first.
    fn mixed(&self, mut batch: Batch, first: EpochImage) -> Result<Batch> {
        let (classes, side) = (self.dataset.classes().len(), batch.side);
        let mut shares = one_hot(&batch.labels, classes);
        let mut draws = self.draws.block("mix", first);
        if let Some(mix) = self.mixing.draw(side, side, &mut draws) {
            mix.apply([batch.len(), side, side], &mut batch.images, &mut shares)?;
        }
        for (label, row) in batch.labels.iter_mut().zip(shares.chunks_exact(classes)) {
            *label = largest(row);
        }
        Ok(Batch { shares: Some(shares), ..batch })
    }

    fn image(&self, sample: EpochImage, out: &mut [f32]) -> Result<()> {
        let mut draws = self.draws.block("augment", sample);
        let made = self.transform.apply_to(&*self.dataset, sample.image, &mut draws, out);
        made.map_err(|error| match error {
            Error::Shape { detail, .. } => Error::shape(self.dataset.path(sample.image), detail),
            other => other,
        })
    }
}
