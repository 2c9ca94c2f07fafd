//! The search for weights among the names of a group's tensors: under which first parts they stand, and
//! which of several sets is taken.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::wanted::{ModelFit, Wanted, WeightsKind};
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

/// How many wrappers are followed at most, in dicts and in names.
pub(super) const MOST_DEEP: usize = 6;

/// The entry that only PyTorch's own average has: how many sets of weights it averages.
pub(super) const AVERAGED: &str = "n_averaged";
/// Numbers that averages keep beside their weights.
const COUNTERS: [&str; 6] = [AVERAGED, "num_updates", "updates", "decay", "initted", "step"];

/// Tensors of one group that fit what is wanted.
pub(super) struct Candidate<'n> {
    pub group: usize,
    pub path: Vec<&'n str>,
    pub kind: WeightsKind,
    fit: ModelFit,
    entries: Vec<usize>,
    /// Bytes of a name that lead to the bare one.
    offset: usize,
}

impl Candidate<'_> {
    fn place(&self) -> String {
        match self.path.is_empty() {
            true => "at the top".into(),
            false => format!("under {}", quote(&self.path.join("."))),
        }
    }

    /// Bare names and tensors, with what is `left` of the group under its own names: the model
    /// has no such tensors and says so.
    pub fn tensors<T: Copy>(
        &self,
        names: &[(Cow<'_, str>, T)],
        left: &[usize],
        with_average: bool,
    ) -> Parsed<Vec<(String, T)>> {
        let counts = |name: &str| {
            with_average && COUNTERS.contains(&name.rsplit('.').next().unwrap_or(name))
        };
        let own = self.entries.iter().map(|&entry| (entry, self.offset));
        let mut places: Vec<(usize, usize)> = own
            .filter(|&(entry, offset)| names[entry].0[offset..] != *AVERAGED)
            .chain(left.iter().filter(|&&entry| !counts(&names[entry].0)).map(|&entry| (entry, 0)))
            .collect();
        places.sort_unstable();
        let mut seen = HashSet::with_capacity(places.len());
        let mut tensors = Vec::with_capacity(places.len());
        for (entry, offset) in places {
            let (name, tensor) = &names[entry];
            if !seen.insert(&name[offset..]) {
                let (name, place) = (quote(&name[offset..]), self.place());
                return Err(format!("it has the key {name} twice, at the top and {place}"));
            }
            tensors.push((name[offset..].to_string(), *tensor));
        }
        Ok(tensors)
    }
}

/// Where a search stands: some entries of a group, whose names share their first `offset` bytes.
pub(super) struct Here<'n> {
    pub entries: Vec<usize>,
    pub offset: usize,
    pub path: Vec<&'n str>,
    pub kind: WeightsKind,
}

pub(super) struct Search<'s, 'n, T> {
    pub names: &'n [(Cow<'n, str>, T)],
    pub group: usize,
    pub wanted: &'s Wanted<'s>,
    pub found: &'s mut Vec<Candidate<'n>>,
}

impl<'n, T> Search<'_, 'n, T> {
    fn rest(&self, entry: usize, offset: usize) -> &'n str {
        &self.names[entry].0[offset..]
    }

    /// Finds what fits among the entries, averages beside the weights, too; gives those that are in
    /// nothing that fits.
    pub fn look(&mut self, here: Here<'n>, depth: usize) -> Vec<usize> {
        let Here { entries, offset, path, mut kind } = here;
        if entries.iter().any(|&entry| self.rest(entry, offset) == AVERAGED) {
            kind = WeightsKind::Ema;
        }
        let is_beside =
            |entry: &usize| first_part(self.rest(*entry, offset)).is_some_and(is_average);
        let (beside, own): (Vec<usize>, Vec<usize>) = entries.into_iter().partition(is_beside);
        let rests: Vec<&str> = own.iter().map(|&entry| self.rest(entry, offset)).collect();
        let fit = (self.wanted.fit)(&rests);
        let mut left = Vec::new();
        if fit == ModelFit::No {
            left = self.look_inside(Here { entries: own, offset, path: path.clone(), kind }, depth);
        } else {
            let (group, path) = (self.group, path.clone());
            self.found.push(Candidate { group, path, kind, fit, entries: own, offset });
        }
        let kind = WeightsKind::Ema;
        left.extend(self.look_inside(Here { entries: beside, offset, path, kind }, depth));
        left
    }

    /// As [`look`](Search::look), under each first part of the names.
    fn look_inside(&mut self, here: Here<'n>, depth: usize) -> Vec<usize> {
        let Here { entries, offset, path, kind } = here;
        if depth == MOST_DEEP {
            return entries;
        }
        let mut left = Vec::new();
        let mut parts: Vec<(&str, Vec<usize>)> = Vec::new();
        let mut places = HashMap::new();
        for entry in entries {
            match first_part(self.rest(entry, offset)) {
                Some(part) if !is_training_state(part) => {
                    let place = *places.entry(part).or_insert(parts.len());
                    if place == parts.len() {
                        parts.push((part, Vec::new()));
                    }
                    parts[place].1.push(entry);
                }
                _ => left.push(entry),
            }
        }
        for (part, entries) in parts {
            let offset = offset + part.len() + 1;
            let path = [&path[..], &[part]].concat();
            left.extend(self.look(Here { entries, offset, path, kind }, depth + 1));
        }
        left
    }
}

/// What stands before a name's first dot.
fn first_part(name: &str) -> Option<&str> {
    name.split_once('.').map(|(part, _)| part)
}

/// Whether an entry's name says that it is a moving average.
pub(super) fn is_average(name: &str) -> bool {
    const WORDS: [&str; 7] = ["ema", "averaged", "average", "avg", "swa", "polyak", "shadow"];
    let name = name.to_ascii_lowercase();
    name.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| WORDS.contains(&word))
}

/// Whether an entry's name says that it is what an optimiser or the like keeps, whose tensors may have
/// the names of the weights.
pub(super) fn is_training_state(name: &str) -> bool {
    const PARTS: [&str; 6] = ["optim", "sched", "scaler", "exp_avg", "momentum", "grad"];
    let name = name.to_ascii_lowercase();
    PARTS.iter().any(|part| name.contains(part))
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

/// The candidate to take, with what is to be said of it; none where there are no candidates.
///
/// The best fit is taken, unless another set may be meant as well: one that fits as well, one that has all
/// of the model's names and others, or one that stands in a likelier place.
pub(super) fn pick<'f, 'n, T: Copy + PartialEq>(
    found: &'f [Candidate<'n>],
    names: &[Vec<(Cow<'_, str>, T)>],
    asked: Option<WeightsKind>,
) -> Parsed<Option<(&'f Candidate<'n>, Option<Choice>)>> {
    let best_of = |kind: WeightsKind| -> Vec<&Candidate<'n>> {
        let of_kind = || found.iter().filter(|candidate| candidate.kind == kind);
        let best = of_kind().map(|candidate| candidate.fit).max();
        of_kind().filter(|candidate| Some(candidate.fit) == best).collect()
    };
    let (plain, average) = (best_of(WeightsKind::Plain), best_of(WeightsKind::Ema));
    let Some(&any) = plain.first().or(average.first()) else { return Ok(None) };
    let kind = asked.unwrap_or(any.kind);
    let (candidates, others) = match kind {
        WeightsKind::Plain => (plain, average),
        WeightsKind::Ema => (average, plain),
    };
    let Some(&first) = candidates.first() else {
        let (wanted, there) = (kind.described(), any.kind.described());
        return Err(format!(
            "holds no {wanted} that fit (--weights {kind}), only {there}, {}",
            any.place()
        ));
    };
    let tensors = |of: &Candidate<'_>| -> HashMap<String, T> {
        let names = &names[of.group];
        let bare = |&entry: &usize| (names[entry].0[of.offset..].to_string(), names[entry].1);
        of.entries.iter().map(bare).collect()
    };
    let taken = tensors(first);
    let differs = |other: &&&Candidate<'_>| tensors(other) != taken;
    if let Some(other) = candidates[1..].iter().find(differs) {
        return Err(format!(
            "holds two sets of {} that fit, {} and {}; save the one that is meant in a file of its \
             own",
            kind.described(),
            first.place(),
            other.place()
        ));
    }
    let place = first.place();
    let passed = || found.iter().filter(|other| other.kind == kind && other.fit < first.fit);
    for other in passed() {
        let theirs = tensors(other);
        let mut shared =
            taken.iter().filter_map(|(name, tensor)| Some((tensor, theirs.get(name)?))).peekable();
        let is_the_same = shared.peek().is_some() && shared.all(|(ours, theirs)| ours == theirs);
        if !is_the_same && (other.fit == ModelFit::WithOthers || is_likelier(other, first)) {
            let what = match other.fit {
                ModelFit::WithOthers => "has all of the model's tensors and others",
                _ => "has some of the model's tensors",
            };
            return Err(format!(
                "holds two sets of {} that may be meant: the one {place} fits, but another, {}, {what}; \
                 save the one that is meant in a file of its own",
                kind.described(),
                other.place()
            ));
        }
    }
    let passed_over = passed().next().map(|other| {
        let more = match passed().count() {
            1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        format!("tensors that fit less well are passed over, {}{more}", other.place())
    });
    let note = match (kind, others.first()) {
        (WeightsKind::Plain, None) => match passed_over {
            None => return Ok(Some((first, None))),
            Some(_) => format!("the weights {place} are read"),
        },
        (WeightsKind::Ema, None) => {
            format!("the weights that are read, {place}, are a moving average; there are no others")
        }
        (WeightsKind::Plain, Some(other)) => format!(
            "the plain weights, {place}, are read; --weights ema reads their moving average, {}",
            other.place()
        ),
        (WeightsKind::Ema, Some(other)) => format!(
            "the moving average of the weights, {place}, is read; --weights plain reads the plain \
             ones, {}",
            other.place()
        ),
    };
    let note = [note].into_iter().chain(passed_over).collect::<Vec<_>>().join("; ");
    Ok(Some((first, Some(Choice { kind, has_both: !others.is_empty(), note }))))
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

/// Whether weights are likelier where `other` stands than where `first` does.
fn is_likelier(other: &Candidate<'_>, first: &Candidate<'_>) -> bool {
    match (usual_order(&other.path), usual_order(&first.path)) {
        (Some(other), Some(first)) => other < first,
        (other, _) => other.is_some(),
    }
}
