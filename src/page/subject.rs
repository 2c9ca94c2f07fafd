//! What a page is about: runs side by side, their layers, and the figures that tables have of them.

use crate::analysis::breakdown::{By, Figures, RunPart, breakdown};
use crate::analysis::compare::{Comparisons, Pairing, compare_all, is_one_place};
use crate::analysis::{Intervals, Scope, Weighting};
use crate::detector::Detector;
use crate::report::{plain_name, run_names, told_apart};
use crate::results::{LayerRow, Run};
use crate::tape::pair_name;
use crate::{Error, Result};

/// The most runs that stand side by side: there is no colour for another one.
pub const MOST_RUNS: usize = 4;

/// Runs, the first of which is the baseline where there are several.
pub struct Subject<'r> {
    pub sides: Vec<Side<'r>>,
    /// The layers of all runs, in the baseline's order; those that it hasn't follow. Their numbers here are what the
    /// page calls them by in attributes.
    pub layers: Vec<PageLayer>,
    /// Each other run against the baseline, in order.
    pub comparisons: Option<Comparisons>,
    pub how: Intervals,
    /// The detector that rates are of: none, where the runs have it.
    pub detector: Detector,
    /// One that bounds means of ΔLoss, where the runs have such.
    pub bounded: Option<Detector>,
}

/// One run.
pub struct Side<'r> {
    pub run: &'r Run,
    /// Its model and head, and what else tells it from the others.
    pub name: String,
    /// How many of its records were run again, whole, and came out with the same bits; 0 where that isn't known.
    pub verified: u64,
    /// Its figures by layer under each detector, as `report` has them.
    pub figures: Vec<Figures>,
}

/// A layer, in every run that has it.
pub struct PageLayer {
    pub name: String,
    /// Its name in drawings: without `backbone.`, unless another one is called so.
    pub label: String,
    /// Its index in the manifest of each run.
    pub indices: Vec<Option<usize>>,
}

impl<'r> Subject<'r> {
    /// What there is to tell of `runs`; of several as `compare` tells it.
    ///
    /// # Errors
    /// No run, or too many; those of [`compare_all`].
    pub fn new(runs: &[&'r Run], pairing: Pairing, how: &Intervals) -> Result<Subject<'r>> {
        let Some(first) = runs.first() else {
            return Err(Error::usage("a page is about one run at least"));
        };
        if runs.len() > MOST_RUNS {
            return Err(Error::usage(format!(
                "a page shows up to {MOST_RUNS} runs side by side, not {}",
                runs.len()
            )));
        }
        let comparisons = match &runs[1..] {
            [] => None,
            others => {
                let pairs: Vec<[&Run; 2]> = others.iter().map(|other| [*first, *other]).collect();
                Some(compare_all(&pairs, pairing, how)?)
            }
        };
        let names = run_names(runs);
        let side = |(run, name): (&&'r Run, String)| {
            let figures = breakdown(run, By::Layer, None, &run.manifest.plan.detectors, how)?;
            Ok(Side { run, name, verified: 0, figures })
        };
        let detectors = &first.manifest.plan.detectors;
        let is_bounded = |detector: &&Detector| detector.bounds_the_mean();
        Ok(Subject {
            sides: runs.iter().zip(names).map(side).collect::<Result<_>>()?,
            layers: layers(runs),
            comparisons,
            how: *how,
            detector: match detectors.contains(&Detector::None) {
                true => Detector::None,
                false => detectors.first().copied().unwrap_or(Detector::None),
            },
            bounded: detectors.iter().find(is_bounded).copied(),
        })
    }

    /// Tells runs of one model and head apart by `words`, one for each run, instead of by their checkpoints.
    pub fn tell_apart(&mut self, words: &[String]) {
        let plain = self.sides.iter().map(|side| plain_name(side.run)).collect();
        let names = told_apart(plain, |at| format!(", {}", words.get(at).map_or("", |word| word)));
        for (side, name) in self.sides.iter_mut().zip(names) {
            side.name = name;
        }
    }

    /// The baseline, or the one run.
    pub fn first(&self) -> &Side<'r> {
        &self.sides[0]
    }

    /// Whether images are the program's own, which are no files.
    pub fn has_own_images(&self) -> bool {
        let images = &self.first().run.manifest.images;
        images.first().is_some_and(|image| image.path.starts_with("shapes/"))
    }

    /// What manifests say of a layer: the first that has it.
    pub fn row(&self, place: &PageLayer) -> Option<&LayerRow> {
        let known = self.sides.iter().zip(&place.indices);
        known.filter_map(|(side, index)| side.run.manifest.layers.get((*index)?)).next()
    }

    /// The key of a column of a run: the first one's is `key` itself.
    pub fn key(&self, key: &str, side: usize) -> String {
        if side == 0 { key.into() } else { format!("{key}_{}", side + 1) }
    }

    /// The number of the layer whose rate of SDC is highest in the first run; `None` without a record.
    pub fn most_vulnerable(&self) -> Option<usize> {
        let rate = |place: &usize| {
            let figures = self.first().of_layer(self.layers[*place].indices[0]?, self.detector)?;
            (figures.rates.records > 0).then_some(figures.rates.sdc.value)
        };
        let rated = (0..self.layers.len()).filter_map(|place| Some((place, rate(&place)?)));
        // The first one of equals.
        rated.rev().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(place, _)| place)
    }
}

impl Side<'_> {
    /// The figures of a layer of its manifest.
    pub fn of_layer(&self, index: usize, detector: Detector) -> Option<&Figures> {
        let name = &self.run.manifest.layers.get(index)?.name;
        self.figures.iter().find(|row| {
            row.detector == detector
                && row.part == RunPart::Layer {}
                && row.layer.as_ref() == Some(name)
        })
    }

    /// The figures of the network.
    pub fn of_network(&self, weighting: Weighting, detector: Detector) -> Option<&Figures> {
        let part = RunPart::Network { weighting };
        self.figures.iter().find(|row| row.detector == detector && row.part == part)
    }
}

/// The layers of all runs.
fn layers(runs: &[&Run]) -> Vec<PageLayer> {
    let first = &runs[0].manifest;
    let own = |(index, layer): (usize, &LayerRow)| PageLayer {
        name: layer.name.clone(),
        label: pair_name(&layer.name).into(),
        indices: [Some(index)].into_iter().chain(runs[1..].iter().map(|_| None)).collect(),
    };
    let mut places: Vec<PageLayer> = first.layers.iter().enumerate().map(own).collect();
    for (side, run) in runs.iter().enumerate().skip(1) {
        let manifests = [first, &run.manifest];
        // After the scale comes before it, as where runs are compared.
        let counted = Scope::ALL.layers(run);
        let mut order: Vec<usize> = (0..run.manifest.layers.len()).collect();
        order.sort_by_key(|index| !counted.contains(index));
        let mut alone = Vec::new();
        for index in order {
            let layer = &run.manifest.layers[index];
            let counterpart = first.layers.iter().position(|of| is_one_place(manifests, of, layer));
            match counterpart.map(|at| &mut places[at].indices[side]) {
                Some(free @ None) => *free = Some(index),
                _ => alone.push(index),
            }
        }
        alone.sort();
        for index in alone {
            let name = &run.manifest.layers[index].name;
            let known = places[first.layers.len()..].iter_mut().find(|place| place.name == *name);
            match known {
                Some(place) => place.indices[side] = Some(index),
                None => {
                    let mut indices = vec![None; runs.len()];
                    indices[side] = Some(index);
                    let label = pair_name(name).into();
                    places.push(PageLayer { name: name.clone(), label, indices });
                }
            }
        }
    }
    let labels: Vec<String> = places.iter().map(|place| place.label.clone()).collect();
    for place in &mut places {
        if labels.iter().filter(|label| **label == place.label).count() > 1 {
            place.label = place.name.clone();
        }
    }
    places
}
