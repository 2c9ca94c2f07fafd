//! Which tensors of a file are the weights that are wanted, and what stands before their names.
//!
//! A file's tensors come in groups: the dicts of a pickle that hold tensors, or the whole of a
//! safetensors file. Inside of a group, too, a first part of the names may part weights from their
//! moving average (`model.conv1.weight`, `ema.conv1.weight`).

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use super::search::{AVERAGED, Here, Search, is_average, pick};
use super::{Parsed, quote};

/// The usual entries of a training checkpoint under which weights stand, in this order, whatever stands
/// beside them.
const WRAPPERS: [&str; 4] = ["model", "state_dict", "module", "model_ema"];

/// Others, looked for where no tensors stand beside them.
const RARER_WRAPPERS: [&str; 11] = [
    "model_state_dict",
    "model_state",
    "net",
    "network",
    "weights",
    "params",
    "state_dict_ema",
    "ema_state_dict",
    "model_ema_state_dict",
    "ema_model",
    "ema",
];

/// Parts of names that PyTorch's compiler and sharded training put in, anywhere.
const INSERTED: [&str; 4] =
    ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"];

/// What DataParallel and averages put before every name.
const MODULE: &str = "module.";
/// So deep are wrappers followed, in dicts and in names.
pub(super) const MOST_DEEP: usize = 6;

/// Which of a training run's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightsKind {
    /// Those that the optimiser changes.
    Plain,
    /// Their moving average.
    Ema,
}

impl fmt::Display for WeightsKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WeightsKind::Plain => "plain",
            WeightsKind::Ema => "ema",
        })
    }
}

impl FromStr for WeightsKind {
    type Err = String;

    fn from_str(text: &str) -> Result<WeightsKind, String> {
        match text {
            "plain" => Ok(WeightsKind::Plain),
            "ema" => Ok(WeightsKind::Ema),
            _ => Err("is plain or ema".into()),
        }
    }
}

impl WeightsKind {
    pub(super) fn described(self) -> &'static str {
        match self {
            WeightsKind::Plain => "plain weights",
            WeightsKind::Ema => "averaged weights",
        }
    }
}

/// How well tensors of some names fit a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    No,
    /// Most of the model's names are there.
    Partly,
    /// All of the model's names are there, and others.
    WithOthers,
    /// All of the model's names are there, and no others.
    Wholly,
}

/// What is looked for in a file.
pub struct Wanted<'w> {
    /// Which weights, of a file with both; absent, the plain ones where there are any.
    pub kind: Option<WeightsKind>,
    /// How well tensors of such names fit.
    pub fit: &'w dyn Fn(&[&str]) -> Fit,
}

/// Named tensors that stand together in a file, and the entries that lead to them. `T` is a tensor;
/// equal ones have the same values.
pub(super) struct Group<'n, T> {
    pub path: Vec<&'n str>,
    pub tensors: Vec<(&'n str, T)>,
}

/// The weights of a file, under their bare names.
pub(super) struct Chosen<T> {
    pub wrappers: Vec<String>,
    pub tensors: Vec<(String, T)>,
    pub choice: Option<Choice>,
}

/// Which weights were taken of a file that holds more than plain ones.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub kind: WeightsKind,
    /// Whether the file holds those of the other kind, too.
    pub has_both: bool,
    /// A sentence about it.
    pub note: String,
}

/// The weights among `groups`; none where there are no tensors in a known place.
pub(super) fn choose<T: Copy + PartialEq>(
    groups: &[Group<'_, T>],
    wanted: Option<&Wanted<'_>>,
) -> Parsed<Option<Chosen<T>>> {
    let Some(wanted) = wanted else {
        return known_place(groups).map(bare).transpose();
    };
    let mut names = Vec::with_capacity(groups.len());
    for group in groups {
        names.push(without_inserted(group)?);
    }
    let mut found = Vec::new();
    let mut left = Vec::with_capacity(groups.len());
    for (group, names) in names.iter().enumerate() {
        let path: Vec<&str> = groups[group].path.clone();
        let averaged = path.iter().any(|entry| is_average(entry));
        let kind = if averaged { WeightsKind::Ema } else { WeightsKind::Plain };
        let mut search = Search { names, group, wanted, found: &mut found };
        let here = Here { entries: (0..names.len()).collect(), offset: 0, path, kind };
        left.push(search.look(here, 0));
    }
    match pick(&found, &names, wanted.kind)? {
        Some((candidate, choice)) => {
            let with_average = found
                .iter()
                .any(|other| other.group == candidate.group && other.kind == WeightsKind::Ema);
            let tensors =
                candidate.tensors(&names[candidate.group], &left[candidate.group], with_average)?;
            let wrappers = candidate.path.iter().map(ToString::to_string).collect();
            Ok(Some(Chosen { wrappers, tensors, choice }))
        }
        // Nothing fits. What is likeliest meant is taken, for an error that can say more.
        None => {
            let largest = || groups.iter().max_by_key(|group| group.tensors.len());
            let chosen = known_place(groups).or_else(largest).map(bare).transpose()?;
            Ok(chosen.map(without_shared_parts))
        }
    }
}

/// Where a path stands among the usual ones, the likeliest first: entries in their order, the rarer ones
/// behind tensors that stand beside them. None for a path of other entries.
pub(super) fn usual_order(path: &[&str]) -> Option<Vec<usize>> {
    let here = WRAPPERS.len();
    let place = |entry: &&str| {
        let rarer = || RARER_WRAPPERS.iter().position(|name| name == entry);
        let usual = WRAPPERS.iter().position(|name| name == entry);
        usual.or_else(|| Some(here + 1 + rarer()?))
    };
    path.iter().map(place).chain([Some(here)]).collect()
}

/// The group under the usual entries, or at the top.
fn known_place<'g, 'n, T>(groups: &'g [Group<'n, T>]) -> Option<&'g Group<'n, T>> {
    let usual = groups.iter().filter_map(|group| Some((usual_order(&group.path)?, group)));
    usual.min_by(|(a, _), (b, _)| a.cmp(b)).map(|(_, group)| group)
}

/// The tensors of a group without what PyTorch's own wrappers put before their names.
fn bare<T: Copy>(group: &Group<'_, T>) -> Parsed<Chosen<T>> {
    let mut names = without_inserted(group)?;
    let under_module = |names: &[(Cow<'_, str>, T)]| {
        names.iter().any(|(name, _)| name.starts_with(MODULE))
            && names.iter().all(|(name, _)| name.starts_with(MODULE) || name == AVERAGED)
    };
    for _ in 0..MOST_DEEP {
        if !under_module(&names) {
            break;
        }
        // An average counts its steps beside the `module.` that it wraps.
        names = names
            .iter()
            .filter_map(|(name, tensor)| {
                Some((Cow::Owned(name.strip_prefix(MODULE)?.to_string()), *tensor))
            })
            .collect();
    }
    Ok(Chosen {
        wrappers: group.path.iter().map(ToString::to_string).collect(),
        tensors: names.into_iter().map(|(name, tensor)| (name.into_owned(), tensor)).collect(),
        choice: None,
    })
}

/// The names of a group without the parts that mean nothing, wherever they stand.
fn without_inserted<'n, T: Copy>(group: &Group<'n, T>) -> Parsed<Vec<(Cow<'n, str>, T)>> {
    let mut seen = HashSet::with_capacity(group.tensors.len());
    let mut names = Vec::with_capacity(group.tensors.len());
    for &(name, tensor) in &group.tensors {
        let shown = match INSERTED.iter().any(|part| name.contains(part)) {
            true => {
                let parts: Vec<&str> =
                    name.split('.').filter(|part| !INSERTED.contains(part)).collect();
                Cow::Owned(parts.join("."))
            }
            false => Cow::Borrowed(name),
        };
        if !seen.insert(shown.clone()) {
            let (name, shown) = (quote(name), quote(&shown));
            return Err(format!("its key {name} stands for {shown}, which it has, too"));
        }
        names.push((shown, tensor));
    }
    Ok(names)
}

/// Drops first parts that all names share.
fn without_shared_parts<T>(mut chosen: Chosen<T>) -> Chosen<T> {
    for _ in 0..MOST_DEEP {
        let Some((first, _)) = chosen.tensors.first() else { break };
        let Some((part, _)) = first.split_once('.') else { break };
        let (part, prefix) = (part.to_string(), format!("{part}."));
        if !chosen.tensors.iter().all(|(name, _)| name.starts_with(&prefix)) {
            break;
        }
        chosen.tensors.iter_mut().for_each(|(name, _)| drop(name.drain(..prefix.len())));
        chosen.wrappers.push(part);
    }
    chosen
}
