//! In what two runs of one job differ, to the bit, by what lies in their folders.

use std::path::{Path, PathBuf};

use super::Output;
use super::summary::OF_EPOCH;
use crate::checkpoint::Checkpoint;
use crate::{Error, Result};

/// What two runs that are over came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunsCompared {
    /// Epochs and tensors of the first run.
    pub epochs: usize,
    pub tensors: usize,
    /// The first thing in which the second isn't the same, in words.
    pub difference: Option<String>,
}

/// Compares the epochs of two runs, without how long they took, then every tensor of the trained model, of the best
/// epoch's, of the last snapshot (weights, the optimizer's moments, the moving average) and of kept epochs. A snapshot
/// or best epoch that the first run no longer has isn't compared: whoever keeps many models deletes them.
///
/// # Errors
/// A run that isn't over; those of the files.
pub fn compare_runs(was: &Output, is: &Output) -> Result<RunsCompared> {
    for run in [was, is] {
        if !run.model().exists() {
            let detail = "holds no training run that is over: there is no model.safetensors";
            return Err(Error::file(&run.folder, detail));
        }
    }
    let rows = [was, is].map(|run| epochs(&run.summary()));
    let [was_rows, is_rows] = rows;
    let (was_rows, is_rows) = (was_rows?, is_rows?);
    let mut compared = RunsCompared {
        epochs: was_rows.len() - 1,
        tensors: 0,
        difference: row_difference(&was_rows, &is_rows),
    };
    let mut files: Vec<(PathBuf, PathBuf)> =
        [Output::best, Output::model, Output::snapshot].map(|file| (file(was), file(is))).into();
    // Those that either has kept.
    let epochs = (0..compared.epochs).map(|epoch| (was.epoch(epoch), is.epoch(epoch)));
    files.extend(epochs);
    let pruned = [was.best(), was.snapshot()];
    for (was, is) in files {
        // There is a best epoch only where there are validation images.
        if !was.exists() && (!is.exists() || pruned.contains(&was)) {
            continue;
        }
        let (count, difference) = tensor_difference(&was, &is)?;
        compared.tensors += count;
        compared.difference = compared.difference.or(difference);
    }
    Ok(compared)
}

/// A table's heading and rows, without what isn't of an epoch alone.
fn epochs(path: &Path) -> Result<Vec<Vec<String>>> {
    let failed = |error: csv::Error| Error::file(path, error.to_string());
    let mut table = csv::ReaderBuilder::new().has_headers(false).from_path(path).map_err(failed)?;
    let cells = |row: csv::StringRecord| row.iter().take(OF_EPOCH).map(String::from).collect();
    let rows: std::result::Result<Vec<Vec<String>>, _> =
        table.records().map(|row| row.map(cells)).collect();
    let rows = rows.map_err(failed)?;
    match rows.is_empty() {
        true => Err(Error::file(path, "is empty")),
        false => Ok(rows),
    }
}

fn row_difference(was: &[Vec<String>], is: &[Vec<String>]) -> Option<String> {
    let heading = &was[0];
    for (was, is) in was.iter().zip(is) {
        let names = heading.iter().zip(was.iter().zip(is));
        let differing = names.clone().find(|(_, (was, is))| was != is);
        if let Some((name, (from, to))) = differing {
            return Some(format!("in epoch {}, '{name}' is {from} and {to}", was[0]));
        }
    }
    let (was, is) = (was.len() - 1, is.len() - 1);
    (was != is).then(|| format!("there are {was} and {is} epochs"))
}

/// How many tensors the first file has, and the first in which the other isn't the same.
fn tensor_difference(was: &Path, is: &Path) -> Result<(usize, Option<String>)> {
    let name = was.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if was.exists() != is.exists() {
        let run = if was.exists() { "first" } else { "second" };
        return Ok((0, Some(format!("the {run} run alone has {name}"))));
    }
    let (was, is) = (Checkpoint::open(was)?, Checkpoint::open(is)?);
    let mut difference = None;
    for key in was.keys() {
        if !is.contains(key) {
            difference = Some(format!("tensor '{key}' of {name} is missing"));
            break;
        }
        let (from, to) = (was.get(key)?, is.get(key)?);
        let alike = from.dtype() == to.dtype() && from.shape == to.shape;
        if !alike || from.data.as_bytes() != to.data.as_bytes() {
            difference = Some(format!("tensor '{key}' of {name} differs"));
            break;
        }
    }
    let more = is.keys().find(|key| !was.contains(key));
    let more = more.map(|key| format!("tensor '{key}' of {name} is new"));
    Ok((was.len(), difference.or(more)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use super::*;
    use crate::checkpoint::{TensorView, write_safetensors};

    fn run(folder: PathBuf, loss: f32, weights: &[f32]) -> Output {
        std::fs::create_dir(&folder).unwrap();
        let run = Output::at(folder);
        let heading = "epoch,learning_rate,loss,train_top1_percent,validation_loss,validation_top1_percent,best,seconds";
        let rows = format!("{heading}\n1,0.1,{loss},50,,,,1.25\n2,0.1,0.5,60,,,yes,{loss}\n");
        std::fs::write(run.summary(), rows).unwrap();
        let tensors = [("weight", TensorView::f32(&[weights.len()], weights))];
        for path in [run.model(), run.snapshot()] {
            write_safetensors(&path, tensors.clone(), &BTreeMap::new()).unwrap();
        }
        run
    }

    #[test]
    fn the_first_difference_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let first = run(at("a"), 1.5, &[1.0, 0.0]);
        // Another time was taken for it.
        let same = run(at("b"), 1.5, &[1.0, 0.0]);
        let rows = std::fs::read_to_string(same.summary()).unwrap().replace("1.25", "9.75");
        std::fs::write(same.summary(), rows).unwrap();
        let compared = compare_runs(&first, &same).unwrap();
        assert_eq!(compared, RunsCompared { epochs: 2, tensors: 2, difference: None });
        let difference = |loss: f32, weights: &[f32], name: &str| {
            compare_runs(&first, &run(at(name), loss, weights)).unwrap().difference.unwrap()
        };
        let found = difference(2.5, &[1.0, 0.0], "c");
        assert_eq!(found, "in epoch 1, 'loss' is 1.5 and 2.5");
        // Equal as numbers.
        let found = difference(1.5, &[1.0, -0.0], "d");
        assert_eq!(found, "tensor 'weight' of model.safetensors differs");
        let found = difference(1.5, &[1.0, 0.0, 0.0], "e");
        assert_eq!(found, "tensor 'weight' of model.safetensors differs");
        std::fs::remove_file(same.model()).unwrap();
        let error = compare_runs(&first, &same).unwrap_err().to_string();
        assert!(error.contains("holds no training run that is over"), "{error}");
    }
}
