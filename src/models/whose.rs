//! Whose weights a file holds: told by names and shapes, before anything is loaded.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::LazyLock;

use super::Model;
use super::dialect::{BACKBONE, Dialect, Keys};
use super::file::{ModelFile, names};
use crate::Result;
use crate::checkpoint::{Checkpoint, ModelFit, Wanted, WeightsKind};
use crate::nn::{HEAD_ROWS, Head, LOGIT_SCALE};
use crate::ops::Role;

/// Opens a checkpoint for the model of `file`: its weights are found under whatever entries and shared
/// first parts of names they stand. Of a file with plain weights and their moving average, `kind` says
/// which are read; absent, the plain ones. [`Checkpoint::note`] tells.
///
/// # Errors
/// As [`Checkpoint::open_fitting`]. A file in which nothing fits is opened nevertheless;
/// [`load_state`](super::load_state) says what is wrong with it.
pub fn open_checkpoint(
    path: &Path,
    file: &ModelFile,
    kind: Option<WeightsKind>,
) -> Result<Checkpoint> {
    let expected = BaselineTensors::of(file)?;
    Checkpoint::open_fitting(path, &Wanted { kind, fit: &|names| expected.fit(names) })
}

/// What a baseline's file has: names and shapes, those of the last layer for one class.
struct BaselineTensors {
    shapes: HashMap<String, Vec<usize>>,
    /// Names without those of counters, which old files lack.
    count: usize,
    last_layer: String,
    dialect: Option<&'static Dialect>,
}

impl BaselineTensors {
    fn of(file: &ModelFile) -> Result<BaselineTensors> {
        let model = Model::new(file, Head::Baseline, 1, file.input.size, 0.0)?;
        let params = model.tape.params();
        Ok(BaselineTensors {
            shapes: params.iter().map(|p| (p.name.clone(), p.spec.shape.clone())).collect(),
            count: params.iter().filter(|param| param.spec.role != Role::Counter).count(),
            last_layer: format!("{}.", model.tape.node(model.last_layer).name),
            dialect: file.dialect(),
        })
    }

    /// Whether these are the names and shapes of `model`, the last layer's rows left aside.
    fn is_of(&self, model: &Model) -> bool {
        let prefix = model.head.backbone_prefix();
        let params = model.tape.params().iter().filter_map(|param| {
            let bare = param.name.strip_prefix(prefix)?;
            (![HEAD_ROWS, LOGIT_SCALE].contains(&&*param.name)).then_some((bare, param))
        });
        let mut same = 0;
        for (name, param) in params {
            match self.shapes.get(name) {
                Some(shape) if name.starts_with(&self.last_layer) || *shape == param.spec.shape => {
                    same += 1;
                }
                _ => return false,
            }
        }
        same == self.shapes.len()
    }

    /// How well tensors of such names fit either head.
    fn fit(&self, names: &[&str]) -> ModelFit {
        let prefix = backbone_prefix(|name| names.contains(&name));
        let sign = self.dialect.map(|dialect| (format!("{prefix}{}", dialect.sign), dialect));
        let spoken = sign.filter(|(sign, _)| names.contains(&sign.as_str()));
        let (mut found, mut others) = (0, 0);
        for name in names {
            let Some(bare) = name.strip_prefix(prefix) else {
                others += usize::from(![HEAD_ROWS, LOGIT_SCALE].contains(name));
                continue;
            };
            let ours = match &spoken {
                Some((_, dialect)) => (dialect.rename)(bare),
                None => Cow::Borrowed(bare),
            };
            match self.shapes.contains_key(&*ours) {
                true => found += usize::from(!is_counter(&ours)),
                false => others += 1,
            }
        }
        match found {
            found if found == self.count && others == 0 => ModelFit::Wholly,
            found if found == self.count => ModelFit::WithOthers,
            found if 2 * found >= self.count => ModelFit::Partly,
            _ => ModelFit::No,
        }
    }

    /// The share of names, here and in the file, that are in both with the same shape, the last layer's
    /// rows left aside.
    fn shared(&self, checkpoint: &Checkpoint) -> Result<f64> {
        let prefix = backbone_prefix(|name| checkpoint.contains(name));
        let keys = Keys::of(checkpoint, self.dialect);
        let mut same = 0;
        for (name, shape) in &self.shapes {
            let Some(key) = keys.find(&format!("{prefix}{name}")) else { continue };
            let fits =
                name.starts_with(&self.last_layer) || keys.fits(shape, checkpoint.shape(key)?);
            same += usize::from(fits && !is_counter(name));
        }
        let theirs = checkpoint.keys().filter(|key| !is_counter(key)).count();
        Ok(same as f64 / self.count.max(theirs).max(1) as f64)
    }
}

fn is_counter(name: &str) -> bool {
    name.ends_with("num_batches_tracked")
}

/// What stands before the backbone's names, where `has` says which names there are.
fn backbone_prefix(has: impl Fn(&str) -> bool) -> &'static str {
    if has(HEAD_ROWS) && has(LOGIT_SCALE) { BACKBONE } else { "" }
}

/// Of the models that come with the program, the one whose weights these are by names and shapes, where
/// it isn't `asked`: the end of a sentence; empty where no model shares nine tenths of them.
pub(super) fn looks_like(checkpoint: &Checkpoint, asked: &Model) -> String {
    // What comes with the program are models.
    static KNOWN: LazyLock<Vec<(&str, BaselineTensors)>> = LazyLock::new(|| {
        let expected =
            |name| ModelFile::open(name).and_then(|file| BaselineTensors::of(&file)).ok();
        names().filter_map(|name| Some((name, expected(name)?))).collect()
    });
    let mut best = (0.9, None);
    for (name, expected) in KNOWN.iter() {
        let shared = expected.shared(checkpoint).unwrap_or(0.0);
        if shared > best.0 {
            best = (shared, Some((name, expected)));
        }
    }
    match best.1 {
        Some((name, expected)) if !expected.is_of(asked) => {
            format!("; it looks like {name} (--model {name})")
        }
        _ => String::new(),
    }
}
