//! What is measured on the network without faults beside its answers: temperatures, and a detector's false alarms.

use super::experiment::{Experiment, forward_passes};
use super::layers::Layer;
use super::ranges::is_left;
use crate::plan::{Plan, Temperature};
use crate::progress::Progress;
use crate::results::{FalseAlarms, FaultFree, mean_logit_range};
use crate::statistics::{Unfitted, fit_temperature};
use crate::tape::NodeId;
use crate::{Error, Result};

/// The most images that false alarms are looked for in: of more, so many spread evenly.
const MOST_IMAGES: usize = 2048;

/// The fewest answers that a temperature is fitted to.
pub const FEWEST_FITTED: usize = 100;

impl Experiment<'_> {
    /// Fits the temperature of least mean loss ([`fit_temperature`]) to the answers in `goldens`: to all evaluated
    /// images, right and wrong, where it is done before those that are right are picked. With those alone there is
    /// none. Answers that aren't finite are left out.
    ///
    /// The images that faults hit are among them. One number is fitted to all of them, so that this moves it far
    /// less than it would to leave out images by whether they are right.
    ///
    /// # Errors
    /// Fewer than [`FEWEST_FITTED`] answers; answers of which no temperature has the least loss.
    pub fn fit_temperature(&mut self) -> Result<()> {
        let refuse = |detail: String| Err(Error::usage(detail));
        let finite = self.goldens.iter().filter(|golden| golden.is_finite);
        let answers: Vec<(&[f32], usize)> =
            finite.map(|golden| (&*golden.logits, golden.label as usize)).collect();
        let images = answers.len();
        if images < FEWEST_FITTED {
            return refuse(format!(
                "a temperature is fitted to {FEWEST_FITTED} images at least, and there are {images} evaluated ones: \
                 give a number or range=R"
            ));
        }
        match fit_temperature(&answers) {
            Ok(temperature) => {
                self.fitted_temperature = Some(temperature);
                Ok(())
            }
            Err(Unfitted::AllRight) => refuse(format!(
                "no temperature can be fitted: all {images} evaluated images are right, and the lower the temperature, \
                 the less their loss. Give a number or range=R"
            )),
            Err(Unfitted::NothingLearned) => refuse(format!(
                "no temperature can be fitted: over {images} evaluated images the labels' logits are no greater than \
                 the others, and the higher the temperature, the less the loss. The network is no better than guessing"
            )),
        }
    }

    /// Counts the images of `goldens` in which some value of `layers` lies outside the layer's range or is NaN: on
    /// which the range detector finds a fault where there is none. One forward pass an image, of up to 2048, which are
    /// spread evenly. Ranges have to be there ([`Experiment::measure_ranges`]).
    ///
    /// # Errors
    /// What loading or running says; a range that is missing.
    pub fn count_false_alarms(&mut self, layers: &[Layer], progress: &dyn Progress) -> Result<()> {
        let nodes: Vec<NodeId> = layers.iter().map(|layer| layer.node).collect();
        let max: Vec<f32> =
            layers.iter().map(|layer| self.ranges.of(layer)).collect::<Result<_>>()?;
        let list: Vec<usize> = self.spread(MOST_IMAGES).iter().map(|golden| golden.image).collect();
        let mut alarms = 0;
        let (network, images) = (self.network, self.images);
        progress.begin("false alarms", "images", 0, list.len() as u64);
        forward_passes(network, images, &list, self.batch, &nodes, |execution, part, _| {
            let mut has_alarm = vec![false; part.len()];
            for (node, max) in nodes.iter().zip(&max) {
                let spec = network.model.tape.node(*node).spec;
                let values = execution.read(*node)?;
                if spec.shared {
                    let of_all = is_left(&values, *max);
                    has_alarm.iter_mut().for_each(|alarm| *alarm |= of_all);
                    continue;
                }
                for (alarm, values) in has_alarm.iter_mut().zip(values.chunks(spec.map.elements()))
                {
                    *alarm = *alarm || is_left(values, *max);
                }
            }
            alarms += has_alarm.into_iter().filter(|alarm| *alarm).count();
            progress.advance(part.len() as u64, "");
            Ok(())
        })?;
        progress.end();
        self.false_alarms = Some(FalseAlarms { alarms, images: list.len() });
        Ok(())
    }

    /// What is known of the network without faults, as a manifest has it.
    pub(super) fn fault_free(&self, plan: &Plan) -> Option<FaultFree> {
        let is_asked = plan.needs_ranges() || !plan.temperatures.is_empty();
        is_asked.then(|| FaultFree {
            logit_range: mean_logit_range(&self.goldens),
            fitted_temperature: self.fitted_temperature,
            false_alarms: self.false_alarms.filter(|_| plan.needs_ranges()),
        })
    }

    /// What the temperatures of a plan come to.
    ///
    /// # Errors
    /// One to be fitted where none was ([`Experiment::fit_temperature`]); a range to be had of logits without any.
    pub(super) fn temperatures(&self, plan: &Plan) -> Result<Vec<f64>> {
        let of = |temperature: &Temperature| match temperature {
            Temperature::Number(value) => Ok(*value),
            Temperature::Fit => self
                .fitted_temperature
                .ok_or_else(|| Error::usage("the plan asks for a temperature that wasn't fitted")),
            Temperature::Range(range) => {
                let own = mean_logit_range(&self.goldens).filter(|own| *own > 0.0);
                own.map(|own| own / range).ok_or_else(|| {
                    let detail = "no temperature gives the logits a range: they are all the same, or none is finite";
                    Error::usage(detail)
                })
            }
        };
        plan.temperatures.iter().map(of).collect()
    }
}
