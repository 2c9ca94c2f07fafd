//! The moving average of the weights that is evaluated and saved in their place.

use std::sync::Arc;

use crate::Result;
use crate::device::Device;
use crate::recipe::Recipe;
use crate::tape::{Tape, Weights};

/// Averaged weights, as torchvision's reference takes them (its `ExponentialMovingAverage`): running
/// statistics are averaged, too, counters are the model's.
pub(super) struct Average {
    pub weights: Weights,
    /// Of the newcomers in an update.
    share: f64,
    /// Steps from one update to the next, from the first of each epoch on.
    steps: usize,
    /// Until the end of these epochs the average follows the weights.
    warmup_epochs: usize,
}

impl Average {
    /// The recipe's, if it has one, before the first step.
    ///
    /// # Errors
    /// Out of memory.
    pub fn new(recipe: &Recipe, tape: &Arc<Tape>, device: &Device) -> Result<Option<Average>> {
        let Some(ema) = recipe.ema else { return Ok(None) };
        Ok(Some(Average {
            weights: Weights::new(tape, device, false)?,
            share: recipe.ema_share(ema),
            steps: ema.steps,
            warmup_epochs: recipe.warmup_epochs,
        }))
    }

    /// Takes the weights in after a step, if it is one of those that count.
    ///
    /// # Errors
    /// Those of the device.
    pub fn after_step(&mut self, epoch: usize, step: usize, weights: &Weights) -> Result<()> {
        if !step.is_multiple_of(self.steps) {
            return Ok(());
        }
        // An average of one: in the warm-up, and at the first update after it.
        let copies = (epoch, step) <= (self.warmup_epochs, 0);
        self.weights.average(weights, if copies { 1.0 } else { self.share })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::scale::LogitScale;
    use crate::recipe::{Ema, Schedule};
    use crate::tape::ParamId;
    use crate::tensor::{Map, Spec};

    /// Ten steps an epoch, an epoch of warm-up, an update each four steps: torchvision's reference
    /// copies in the warm-up and once after it, then averages.
    #[test]
    fn an_average_follows_in_the_warm_up_and_lags_after_it() {
        let mut tape = Tape::new();
        let x = tape.input("x", Spec::f32(Map::vector(3)));
        tape.record("scale", LogitScale::default(), &[x]).unwrap();
        let tape = Arc::new(tape);
        let recipe = Recipe {
            warmup_epochs: 1,
            ema: Some(Ema { decay: 0.75, steps: 4 }),
            // The share is (1 − 0.75)·2·4/4 = 0.5.
            ..Recipe::new(4, 2, 0.1, Schedule::Cosine { minimum: 0.0 })
        };
        let device = Device::cpu();
        let mut average = Average::new(&recipe, &tape, &device).unwrap().unwrap();
        let mut weights = Weights::new(&tape, &device, true).unwrap();
        let mut after = |epoch, step, value: f32| {
            weights.set(ParamId(0), &[value]).unwrap();
            average.after_step(epoch, step, &weights).unwrap();
            average.weights.get(ParamId(0)).unwrap()[0]
        };
        assert_eq!(after(0, 0, 1.0), 1.0);
        assert_eq!(after(0, 3, 2.0), 1.0);
        assert_eq!(after(0, 4, 3.0), 3.0);
        assert_eq!(after(0, 8, 4.0), 4.0);
        assert_eq!(after(1, 0, 5.0), 5.0);
        assert_eq!(after(1, 4, 7.0), 6.0);
        assert_eq!(after(1, 5, 9.0), 6.0);
        assert_eq!(after(2, 0, 8.0), 7.0);
    }
}
