//! Which tensors of a file are the weights that are wanted, and what stands before their names.
//!
//! A file's tensors come in groups: the dicts of a pickle that hold tensors, or the whole of a
//! safetensors file. Inside of a group, too, a first part of the names may part weights from their
//! moving average (`model.conv1.weight`, `ema.conv1.weight`).

use std::borrow::Cow;
use std::collections::HashSet;

use super::search::{AVERAGED, Choice, Here, MOST_DEEP, Search, is_average, pick, usual_order};
use super::wanted::{Wanted, WeightsKind};
use super::{Parsed, quote};

/// Parts of names that PyTorch's compiler and sharded training put in, anywhere.
const INSERTED: [&str; 4] =
    ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"];

/// What DataParallel and averages put before every name.
const MODULE: &str = "module.";
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
        // Nothing fits. The likeliest tensors are taken, so that the error can say more.
        None => {
            let largest = || groups.iter().max_by_key(|group| group.tensors.len());
            let chosen = known_place(groups).or_else(largest).map(bare).transpose()?;
            Ok(chosen.map(without_shared_parts))
        }
    }
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
