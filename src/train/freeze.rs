//! Parameters that training leaves as they are.

use std::sync::Arc;

use crate::glob::{matches, near};
use crate::models::Model;
use crate::nn::Head;
use crate::tape::{NodeId, ParamId, pair_name};
use crate::{Error, Result};

/// The word before the names of all layers but the head.
const BACKBONE: &str = "backbone.";

/// Freezes what the patterns name in `model`: see [`super::Job::freeze`].
///
/// # Errors
/// [`Error::Usage`] for a pattern that names no parameter, and where nothing is left to train.
pub(super) fn freeze(model: &mut Model, patterns: &[String]) -> Result<()> {
    if patterns.is_empty() {
        return Ok(());
    }
    let trained: Vec<(ParamId, String)> = trained(model);
    let mut frozen = Vec::new();
    for pattern in patterns {
        let before = frozen.len();
        let named = trained.iter().filter(|(_, name)| is_named(pattern, name));
        frozen.extend(named.map(|(id, _)| *id));
        if frozen.len() == before {
            let params = model.tape.params();
            let names: Vec<&str> = trained.iter().map(|(id, _)| &*params[id.0].name).collect();
            return Err(Error::usage(format!(
                "nothing to freeze is called '{pattern}'; parameters near it: {}",
                near(pattern, &names)
            )));
        }
    }
    frozen.sort();
    frozen.dedup();
    if frozen.len() == trained.len() {
        return Err(Error::usage(format!(
            "{} freezes all {} parameters of the model: nothing is left to train",
            patterns.join(", "),
            trained.len()
        )));
    }
    Arc::make_mut(&mut model.tape).freeze(&frozen);
    Ok(())
}

/// Whether a parameter, by its name with `backbone.`, is one of a pattern's.
fn is_named(pattern: &str, name: &str) -> bool {
    matches(pattern, name) || matches(pattern, pair_name(name))
}

/// The parameters, each with its state-dict name; in a baseline, where state dicts know no backbone, all but the last
/// layer's have `backbone.` before it.
fn trained(model: &Model) -> Vec<(ParamId, String)> {
    let params = model.tape.params();
    let mut named = Vec::new();
    for (index, node) in model.tape.nodes().iter().enumerate() {
        let is_head = model.head != Head::Baseline || NodeId(index) == model.last_layer;
        for id in node.params.iter().filter(|id| params[id.0].is_trained()) {
            let name = &params[id.0].name;
            named.push((*id, if is_head { name.clone() } else { format!("{BACKBONE}{name}") }));
        }
    }
    named
}
