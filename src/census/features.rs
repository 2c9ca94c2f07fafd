//! Every element of the feature × bit × image.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::answer::GoldenAnswer;
use super::histogram::{BITS, Histogram};
use super::tail::Clean;
use super::verify::{Expected, PopulationFault};
use super::{CensusRunner, answers, flipped};
use crate::detector::Detector;
use crate::device::Device;
use crate::logits::hash as hash_logits;
use crate::tape::{Execution, NodeId, PlanKind, Tape, Weights};
use crate::{Error, Result};

/// Rows of a pass at most.
const ROWS: usize = 512;
/// Images of a pass: with their bits enough rows for a matrix product to run at its speed.
const IMAGES: usize = 8;

/// The model behind the feature, on the CPU, and its counts.
pub(super) struct Features {
    tape: Arc<Tape>,
    weights: Weights,
    logits: NodeId,
    /// Executions that tasks borrow.
    idle: Mutex<Vec<Execution>>,
    /// One.
    pub histograms: Vec<Histogram>,
}

/// A row of a pass.
struct PassRow {
    /// Place in the list of images.
    image: usize,
    bit: usize,
    /// The places of the detectors that let its number through.
    detectors: Range<usize>,
}

impl Features {
    /// Takes the model apart.
    pub fn new(census: &CensusRunner<'_>) -> Result<Features> {
        let tail = &census.tail;
        let (tape, weights, logits) = tail.alone(census.experiment.network)?;
        let units = tail.feature.map.elements();
        let histogram = Histogram::new(&tail.feature.name, units, &census.detectors);
        let histograms = vec![histogram];
        Ok(Features { tape, weights, logits, idle: Mutex::default(), histograms })
    }

    pub fn count(&mut self, census: &CensusRunner<'_>, clean: &[Clean<'_>]) -> Result<()> {
        let answers = answers(clean);
        let Features { tape, weights, logits, idle, histograms } = self;
        let idle = &*idle;
        let lock = || idle.lock().unwrap_or_else(PoisonError::into_inner);
        let borrowed = || match lock().pop() {
            Some(execution) => Ok(execution),
            None => execution_of(tape, *logits),
        };
        let mut first = borrowed()?;
        for clean in clean {
            let found = run(&mut first, weights, *logits, &clean.input)?;
            if hash_logits(&found) != clean.golden.hash {
                return Err(Error::usage(format!(
                    "image {}: the logits that follow from its feature on the CPU aren't the golden ones \
                     in bits",
                    clean.golden.image
                )));
            }
        }
        lock().push(first);
        histograms[0].add(|unit, tally| {
            let mut execution = borrowed()?;
            let (mut trials, mut rows) = (Vec::new(), Vec::new());
            for (part, clean) in clean.chunks(IMAGES).enumerate() {
                trials.clear();
                rows.clear();
                for (image, clean) in clean.iter().enumerate() {
                    let (image, input) = (part * IMAGES + image, &clean.input);
                    for bit in 0..BITS {
                        let after = flipped(input[unit], bit);
                        for (detectors, seen) in seen(&census.detectors, after, census.max[0]) {
                            rows.extend_from_slice(input);
                            let at = rows.len() - input.len() + unit;
                            rows[at] = seen;
                            trials.push(PassRow { image, bit, detectors });
                        }
                    }
                }
                let width = (rows.len() / trials.len().max(1)).max(1);
                for (trials, rows) in trials.chunks(ROWS).zip(rows.chunks(ROWS * width)) {
                    let found = run(&mut execution, weights, *logits, rows)?;
                    let classes = found.len() / trials.len();
                    for (trial, logits) in trials.iter().zip(found.chunks(classes)) {
                        let answer = &answers[trial.image];
                        let faulty = answer.of(logits);
                        for detector in trial.detectors.clone() {
                            tally.count(detector, trial.bit, &answer.golden().score, &faulty);
                        }
                    }
                }
            }
            lock().push(execution);
            Ok(())
        })
    }

    /// One fault.
    pub fn expect(
        &mut self,
        census: &CensusRunner<'_>,
        clean: &Clean<'_>,
        fault: &PopulationFault,
    ) -> Result<Expected> {
        let Features { tape, weights, logits, idle, .. } = self;
        let idle = idle.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut execution = match idle.pop() {
            Some(execution) => execution,
            None => execution_of(tape, *logits)?,
        };
        let before = clean.input[fault.unit];
        let detector = census.detectors[fault.detector];
        let seen = detector.see(flipped(before, fault.bit), census.max[0]);
        let mut row = clean.input.clone();
        row[fault.unit] = seen;
        let found = run(&mut execution, weights, *logits, &row)?;
        idle.push(execution);
        Ok(Expected { before, seen, faulty: GoldenAnswer::new(clean.golden).of(&found) })
    }
}

/// What detectors let through of a faulty number: neighbours in the list that agree together.
fn seen(detectors: &[Detector], after: f32, max: f32) -> Vec<(Range<usize>, f32)> {
    let mut runs: Vec<(Range<usize>, f32)> = Vec::with_capacity(detectors.len());
    for (place, detector) in detectors.iter().enumerate() {
        let seen = detector.see(after, max);
        match runs.last_mut() {
            Some((places, known)) if known.to_bits() == seen.to_bits() => places.end = place + 1,
            _ => runs.push((place..place + 1, seen)),
        }
    }
    runs
}

fn execution_of(tape: &Arc<Tape>, logits: NodeId) -> Result<Execution> {
    let mut execution = Execution::new(tape, &Device::cpu(), PlanKind::Infer, ROWS, &[logits])?;
    // Tasks run side by side.
    execution.options.parallel = false;
    Ok(execution)
}

/// The logits of rows of features.
fn run(
    execution: &mut Execution,
    weights: &Weights,
    logits: NodeId,
    rows: &[f32],
) -> Result<Vec<f32>> {
    let input = NodeId(0);
    let width = execution.tape().node(input).spec.map.elements();
    execution.begin(rows.len() / width.max(1))?;
    execution.write(input, rows)?;
    execution.forward(weights)?;
    execution.read(logits)
}
