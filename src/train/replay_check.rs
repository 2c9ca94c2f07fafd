//! A step taken twice from the same state, which has to come to the same bits.

use crate::Result;
use crate::device::Buffer;
use crate::tape::{Optimizer, ParamId, Slot, Weights};
use crate::tensor::DType;

/// What a step changes, as it lies in memory.
pub(super) struct StepState {
    weights: Vec<u8>,
    moments: Vec<Vec<u8>>,
    average: Option<Vec<u8>>,
}

/// What a step came to.
pub(super) struct StepOutcome {
    pub mean_loss: f64,
    /// Of each image.
    pub losses: Vec<f32>,
    pub logits: Vec<f32>,
    gradients: Vec<u8>,
    state: StepState,
}

fn bytes(buffer: &Buffer) -> Result<Vec<u8>> {
    let mut bytes = vec![0; buffer.bytes()];
    buffer.read(0, &mut bytes)?;
    Ok(bytes)
}

impl StepState {
    /// Copies what a step changes to the host.
    ///
    /// # Errors
    /// Those of the device.
    pub fn read(
        weights: &Weights,
        optimizer: &Optimizer,
        average: Option<&Weights>,
    ) -> Result<StepState> {
        Ok(StepState {
            weights: bytes(weights.values())?,
            moments: optimizer.moments().map(|(_, moment)| bytes(moment)).collect::<Result<_>>()?,
            average: average.map(|average| bytes(average.values())).transpose()?,
        })
    }

    /// Copies it back.
    ///
    /// # Errors
    /// Those of the device.
    pub fn restore(
        &self,
        weights: &mut Weights,
        optimizer: &mut Optimizer,
        average: Option<&mut Weights>,
    ) -> Result<()> {
        weights.write(0, &self.weights)?;
        for (index, bytes) in self.moments.iter().enumerate() {
            optimizer.write_moment(index, 0, bytes)?;
        }
        match (average, &self.average) {
            (Some(average), Some(bytes)) => average.write(0, bytes),
            _ => Ok(()),
        }
    }
}

impl StepOutcome {
    /// What the step that is just over came to.
    ///
    /// # Errors
    /// Those of the device.
    pub fn read(
        (mean_loss, losses, logits): (f64, Vec<f32>, Vec<f32>),
        weights: &Weights,
        optimizer: &Optimizer,
        average: Option<&Weights>,
    ) -> Result<StepOutcome> {
        let gradients = weights.gradients().map_or_else(|| Ok(Vec::new()), bytes)?;
        let state = StepState::read(weights, optimizer, average)?;
        Ok(StepOutcome { mean_loss, losses, logits, gradients, state })
    }

    /// The first tensor that another outcome has otherwise, in the order in which a step makes them, with the first of
    /// its entries that differs.
    pub fn difference(
        &self,
        again: &StepOutcome,
        weights: &Weights,
        optimizer: &Optimizer,
    ) -> Option<String> {
        let differ = |what: &str, a: &[f32], b: &[f32]| {
            let bits =
                |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            differing(what, &bits(a), &bits(b), false)
        };
        let (of, other) = (&self.state, &again.state);
        let every = |what: &str, a: &[u8], b: &[u8]| arena(what, weights, a, b);
        differ("the losses of the images", &self.losses, &again.losses)
            .or_else(|| differ("the logits", &self.logits, &again.logits))
            .or_else(|| {
                let differs = self.mean_loss.to_bits() != again.mean_loss.to_bits();
                differs.then(|| format!("the loss: {} and {}", self.mean_loss, again.mean_loss))
            })
            .or_else(|| every("the gradient of ", &self.gradients, &again.gradients))
            .or_else(|| every("", &of.weights, &other.weights))
            .or_else(|| {
                let names = optimizer.moments().map(|(name, _)| name);
                let pairs = of.moments.iter().zip(&other.moments);
                let mut pairs = names.zip(pairs);
                pairs.find_map(|(name, (a, b))| every(&format!("the {name} of "), a, b))
            })
            .or_else(|| match (&of.average, &other.average) {
                (Some(a), Some(b)) => every("the average of ", a, b),
                _ => None,
            })
    }
}

/// The first parameter, of those that an arena holds, that differs between two copies of it.
fn arena(what: &str, weights: &Weights, a: &[u8], b: &[u8]) -> Option<String> {
    weights.tape().params().iter().enumerate().find_map(|(index, param)| {
        let Slot { offset, bytes } = weights.slot(ParamId(index));
        let range = offset..offset + bytes;
        // Gradients and moments are of trained parameters alone.
        let (a, b) = (a.get(range.clone())?, b.get(range)?);
        if a == b {
            return None;
        }
        let load = |bytes: &[u8]| -> Vec<u32> {
            let stored: Vec<f32> =
                bytes.chunks_exact(4).map(bytemuck::pod_read_unaligned).collect();
            let values = param.spec.layout.load(&param.spec.shape, &stored);
            values.into_iter().map(f32::to_bits).collect()
        };
        let is_whole = param.spec.dtype() == DType::U32;
        differing(&format!("{what}{}", param.name), &load(a), &load(b), is_whole)
    })
}

/// The first entry in which two tensors differ, in words.
fn differing(what: &str, a: &[u32], b: &[u32], is_whole: bool) -> Option<String> {
    let at = a.iter().zip(b).position(|(a, b)| a != b)?;
    let word = |bits: u32| match is_whole {
        true => bits.to_string(),
        false => format!("{} ({bits:#010x})", f32::from_bits(bits)),
    };
    Some(format!("{what}, entry {at}: {} and {}", word(a[at]), word(b[at])))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::Error;
    use crate::data::builtin::{Shapes, Split};
    use crate::data::transform::{EvalTransform, Filter, Transform};
    use crate::device::Device;
    use crate::models::ModelFile;
    use crate::nn::Head;
    use crate::progress::Silent;
    use crate::recipe::{Ema, OptimizerKind};
    use crate::train::{Job, Output, Source, Trainer};

    const MODEL: &str = "family = 'resnet'\n\
        [architecture]\nblock = 'basic'\nstages = [1, 1]\nwidths = [4, 8]\nstem = 'small'\n\
        [input]\nsize = 16\nmean = [0.5, 0.5, 0.5]\nstd = [0.25, 0.25, 0.25]\n\
        [recipe]\nepochs = 2\nbatch = 8\nlearning_rate = 0.01\nschedule = { kind = 'cosine' }\n";

    /// Two epochs of three steps, AdamW with an average, of which every other step is checked.
    fn trainer(folder: &std::path::Path) -> Trainer {
        let path = folder.join("tiny.toml");
        std::fs::write(&path, MODEL).unwrap();
        let file = ModelFile::open(path.to_str().unwrap()).unwrap();
        let mut recipe = file.recipe().unwrap().clone();
        recipe.optimizer = OptimizerKind::AdamW;
        recipe.clip_grad_norm = Some(1.0);
        recipe.ema = Some(Ema { decay: 0.9, steps: 1 });
        let (mean, std) = (file.input.mean, file.input.std);
        let eval =
            EvalTransform { resize: Some(16), crop: 16, filter: Filter::Bilinear, mean, std };
        let train = Source {
            dataset: Arc::new(Shapes::new(1, Split::Train, 24)),
            transform: Transform::Eval(eval),
        };
        let job = Job {
            file,
            head: Head::Baseline,
            recipe,
            seed: 1,
            start: "random".into(),
            train,
            validation: None,
            workers: 1,
            output: Some(Output { snapshot_steps: Some(1), ..Output::at(folder.join("run")) }),
            freeze: Vec::new(),
            faults: Vec::new(),
        };
        let mut trainer = Trainer::new(job, &Device::cpu()).unwrap();
        trainer.check_replays(2);
        trainer
    }

    /// Flips the lowest bit of the first entry of a buffer.
    fn flip(weights: &mut Weights, offset: usize) {
        let mut word = [0u32];
        weights.values().read(offset, bytemuck::cast_slice_mut(&mut word)).unwrap();
        weights.write(offset, bytemuck::bytes_of(&(word[0] ^ 1))).unwrap();
    }

    fn offset(weights: &Weights, name: &str) -> usize {
        weights.slot(weights.find(name).unwrap()).offset
    }

    fn said(how: fn(&mut Weights, &mut Optimizer)) -> String {
        let folder = tempfile::tempdir().unwrap();
        let mut trainer = trainer(folder.path());
        trainer.disturb(how);
        let error = trainer.run(&Silent).unwrap_err();
        // The snapshot is that of the step before, from which the run goes on.
        let mut again = self::trainer(folder.path());
        again.resume().unwrap();
        assert_eq!(again.position(), (0, 1));
        assert!(matches!(error, Error::Unrepeatable { epoch: 1, step: 2, .. }), "{error}");
        error.to_string()
    }

    #[test]
    fn a_step_that_comes_out_otherwise_ends_the_run() {
        // A bit that reaches the logits.
        let said_of = said(|weights, _| {
            let at = offset(weights, "fc.bias");
            let mut word = [0u32];
            weights.values().read(at, bytemuck::cast_slice_mut(&mut word)).unwrap();
            weights.write(at, bytemuck::bytes_of(&(word[0] ^ (1 << 30)))).unwrap();
        });
        assert!(said_of.contains("two values of the losses of the images, entry 0: "), "{said_of}");
        // Running statistics aren't read by a step, but moved by it.
        let said_of = said(|weights, _| {
            let at = offset(weights, "bn1.running_mean");
            weights.write(at, bytemuck::bytes_of(&3f32)).unwrap();
        });
        assert!(said_of.contains("two values of bn1.running_mean, entry 0: "), "{said_of}");
        // A counter.
        let said_of = said(|weights, _| {
            let at = offset(weights, "bn1.num_batches_tracked");
            flip(weights, at);
        });
        assert!(said_of.contains("bn1.num_batches_tracked, entry 0: "), "{said_of}");
        assert!(said_of.contains("in epoch 1, step 2 was taken twice"), "{said_of}");
        // A moment that is large enough to be seen in the weights, and one that isn't.
        let said_of = said(|weights, optimizer| {
            let at = offset(weights, "conv1.weight");
            optimizer.write_moment(0, at, bytemuck::bytes_of(&5f32)).unwrap();
        });
        assert!(said_of.contains("two values of conv1.weight, entry 0: "), "{said_of}");
        let said_of = said(|weights, optimizer| {
            let at = offset(weights, "conv1.weight");
            let (index, (_, moment)) = optimizer.moments().enumerate().last().unwrap();
            let mut word = [0u32];
            moment.read(at, bytemuck::cast_slice_mut(&mut word)).unwrap();
            let changed = f32::from_bits(word[0]) * 1.000_01 + 1e-12;
            optimizer.write_moment(index, at, bytemuck::bytes_of(&changed)).unwrap();
        });
        assert!(said_of.contains("conv1.weight, entry 0: "), "{said_of}");
    }

    #[test]
    fn steps_that_repeat_are_as_if_taken_once() {
        let snapshot = |every: usize| {
            let folder = tempfile::tempdir().unwrap();
            let mut trainer = trainer(folder.path());
            trainer.check_replays(every);
            trainer.run(&Silent).unwrap();
            std::fs::read(folder.path().join("run/last.safetensors")).unwrap()
        };
        assert!(snapshot(1) == snapshot(1000));
    }
}
