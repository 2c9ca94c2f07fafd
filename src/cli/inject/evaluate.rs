//! The images that faults hit: those that are right without any.

use std::path::Path;

use super::super::model::Loaded;
use super::Args;
use crate::campaign::{Experiment, FaultList, goldeneye};
use crate::models::Network;
use crate::plan::{Labels, Protocol, Temperature};
use crate::progress::Progress;
use crate::results::Golden;
use crate::train::Source;
use crate::{Error, Result};

/// Runs images fault-free: those of a list, or all, of which those are kept that the network, and every
/// other checkpoint asked for, gets right. `val_of` gives the images under a network's labels.
pub(super) fn run<'a>(
    args: &Args,
    labels: Labels,
    list: Option<&FaultList>,
    (network, val): (&'a Network, &'a Source),
    val_of: &dyn Fn(&Loaded) -> Result<Source>,
    progress: &dyn Progress,
) -> Result<Experiment<'a>> {
    let batch = args.batch as usize;
    let count = val.dataset.len();
    let chosen = match (list, args.protocol) {
        (Some(list), _) => list.images(),
        (None, Protocol::Goldeneye) => goldeneye::validation_fifth(count)?,
        (None, Protocol::Strict) => (0..count).collect(),
    };
    let path = |image| val.dataset.path(image);
    list.map_or(Ok(()), |list| list.check_images(count, path))?;
    let mut experiment = Experiment::evaluate(network, val, &chosen, labels, batch, progress)?;
    let Experiment { goldens, provenance, .. } = &mut experiment;
    progress.line(&format!(
        "{} of {} images are classified correctly",
        provenance.right, provenance.evaluated
    ));
    check_finite(args.model.weights_file(), goldens, progress)?;
    if args.temperature.contains(&Temperature::Fit) {
        experiment.fit_temperature()?;
    }
    let goldens = &mut experiment.goldens;
    if list.is_none() {
        goldens.retain(Golden::is_eligible);
    }
    for checkpoint in &args.right_in {
        let other = args.model.with(checkpoint).load(network.device(), progress)?;
        let (list, val): (Vec<usize>, _) =
            (goldens.iter().map(|golden| golden.image).collect(), val_of(&other)?);
        let answers =
            Experiment::evaluate(&other.network, &val, &list, labels, batch, progress)?.goldens;
        check_finite(checkpoint, &answers, progress)?;
        let mut answers = answers.iter();
        goldens.retain(|_| answers.next().is_some_and(Golden::is_eligible));
        progress.line(&format!(
            "{} of them are classified correctly by {}, too",
            goldens.len(),
            checkpoint.display()
        ));
    }
    if goldens.is_empty() {
        return Err(Error::NoImage);
    }
    Ok(experiment)
}

/// Says how many fault-free answers hold NaN or infinity; refuses a network that gives no other.
fn check_finite(checkpoint: &Path, goldens: &[Golden], progress: &dyn Progress) -> Result<()> {
    let (all, broken) = (goldens.len(), goldens.iter().filter(|golden| !golden.is_finite).count());
    let said =
        format!("NaN or infinity among the logits of {broken} of {all} images without any fault");
    match broken {
        0 => Ok(()),
        _ if broken == all => Err(Error::file(checkpoint, format!("gives {said}"))),
        _ => {
            progress.line(&format!("warning: {said}"));
            Ok(())
        }
    }
}
