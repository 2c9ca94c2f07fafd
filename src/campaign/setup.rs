//! A campaign over one model: its layers, the faults of each, and what is known of the values that they hit.

use super::draw::{Draws, Space};
use super::experiment::Experiment;
use super::goldeneye;
use super::layers::{self, Layer};
use super::list::{FaultList, Listed};
use super::ranges::greatest;
use super::trial::{Fault, InjectionId, Trial};
use crate::detector::Detector;
use crate::fault::{FaultEntry, Site, ValueKind};
use crate::models::{Model, Network};
use crate::number::{BitMasks, Compute, Format};
use crate::plan::{Plan, Protocol, Stratify};
use crate::results::{Effect, Golden, Part};
use crate::tape::{Execution, NodeId, ParamHit, WordPlace, format_at};
use crate::{Error, Result, logits};

/// A campaign over one model.
pub struct Campaign<'a> {
    pub(super) experiment: &'a Experiment<'a>,
    /// Whether a device other than the CPU captures each layer's replay once and then runs the graph;
    /// on from the start. Records don't depend on it.
    pub graphs: bool,
    plan: Plan,
    layers: Vec<Layer>,
    /// The faults of each layer.
    faults: Vec<Faults>,
    /// The range of each layer; infinite where no detector needs it.
    max: Vec<f32>,
    /// What the plan's temperatures come to.
    temperatures: Vec<f64>,
}

/// The faults of one layer.
enum Faults {
    Drawn { draws: Box<Draws>, format: Format },
    Listed(Vec<Listed>),
}

impl Faults {
    fn image(&self, n: u64) -> usize {
        match self {
            Faults::Drawn { draws, .. } => draws.image(n),
            Faults::Listed(rows) => row(rows, n).map_or(0, |row| row.image),
        }
    }
}

/// Rows are in the order of their numbers.
fn row(rows: &[Listed], n: u64) -> Option<&Listed> {
    rows.binary_search_by_key(&n, |row| row.n).ok().map(|at| &rows[at])
}

impl<'a> Campaign<'a> {
    /// A campaign over the images of the experiment's `goldens`.
    ///
    /// # Errors
    /// A plan that makes no sense, a layer that the model doesn't have, a range that is missing.
    pub fn new(experiment: &'a Experiment<'a>, plan: Plan) -> Result<Self> {
        let Network { model, weights } = experiment.network;
        let layers = layers_asked(model, &plan)?;
        let compute = weights.device().compute();
        let images = experiment.goldens.len();
        let draws = |layer: &Layer| {
            let (space, format) = space_of(model, layer, &plan, compute)?;
            let draws = Box::new(Draws::new(&plan, &layer.pair_key, space, images));
            Ok(Faults::Drawn { draws, format })
        };
        if let Stratify::Allocated(allocation) = &plan.stratify {
            let bits =
                |layer: &Layer| Ok(space_of(model, layer, &plan, compute)?.0.bits.count_ones());
            let bits = layers.iter().map(bits).collect::<Result<Vec<u32>>>()?;
            let keys = layers.iter().map(|layer| layer.pair_key.as_str());
            allocation.check(keys.zip(bits))?;
        }
        let faults = layers.iter().map(draws).collect::<Result<_>>()?;
        Campaign::with(experiment, plan, layers, faults)
    }

    /// Refuses what [`Campaign::new`] would refuse of drawn faults whatever the images are, before any is run.
    ///
    /// # Errors
    /// A layer or site that the model doesn't have; bits that a number format doesn't have.
    pub fn check(network: &Network, plan: &Plan) -> Result<()> {
        let (model, compute) = (&network.model, network.device().compute());
        let layers = layers_asked(model, plan)?;
        layers.iter().try_for_each(|layer| space_of(model, layer, plan, compute).map(drop))
    }

    /// A campaign over the faults of a list, which names images by their numbers: each of them must be
    /// among the experiment's `goldens`. What the plan says of drawing has no effect.
    ///
    /// # Errors
    /// Those of [`Campaign::new`]; the row of a fault that can't be put where it says.
    pub fn of_list(experiment: &'a Experiment<'a>, plan: Plan, list: &FaultList) -> Result<Self> {
        let Experiment { network, goldens, .. } = experiment;
        let model = &network.model;
        let plan = Plan { list: Some(list.sha256.clone()), ..plan };
        let (layers, rows): (Vec<Layer>, Vec<_>) =
            list.place(model, goldens, network.device().compute())?.into_iter().unzip();
        if plan.protocol == Protocol::Goldeneye {
            goldeneye::check_layers(model, &layers)?;
        }
        let faults = Vec::into_iter(rows).map(Faults::Listed).collect();
        Campaign::with(experiment, plan, layers, faults)
    }

    fn with(
        experiment: &'a Experiment<'a>,
        plan: Plan,
        layers: Vec<Layer>,
        faults: Vec<Faults>,
    ) -> Result<Self> {
        let Experiment { network, goldens, ranges, .. } = experiment;
        plan.check()?;
        if goldens.is_empty() {
            return Err(Error::usage("a campaign needs at least one image"));
        }
        let ranged = plan.needs_ranges();
        let max = layers.iter().map(|layer| match &layer.parameter {
            _ if !ranged => Ok(f32::INFINITY),
            Some(parameter) => Ok(greatest(&network.weights.get(parameter.id)?)),
            None if plan.protocol == Protocol::Goldeneye => ranges.of(layer).map(goldeneye::range),
            None => ranges.of(layer),
        });
        let max = max.collect::<Result<_>>()?;
        let temperatures = experiment.temperatures(&plan)?;
        Ok(Campaign { experiment, graphs: true, plan, layers, faults, max, temperatures })
    }

    pub(super) fn model(&self) -> &Model {
        &self.experiment.network.model
    }

    /// What it injects into.
    pub fn experiment(&self) -> &'a Experiment<'a> {
        self.experiment
    }

    /// The layers that are injected into; records name them by their place here.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// What is injected.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The range that a detector holds a value of a layer to; infinite where none does.
    pub fn max(&self, layer: usize) -> f32 {
        self.max[layer]
    }

    /// What logits are divided by to judge ΔLoss a further time each.
    pub fn temperatures(&self) -> &[f64] {
        &self.temperatures
    }

    /// Numbers of the injections of a layer; with a rule to stop at, of those that there may be.
    pub fn numbers(&self, layer: usize) -> impl Iterator<Item = u64> + '_ {
        let (range, rows) = match &self.faults[layer] {
            Faults::Drawn { .. } => {
                (self.plan.numbers(&self.layers[layer].pair_key), &[] as &[Listed])
            }
            Faults::Listed(rows) => (0..0, rows.as_slice()),
        };
        range.chain(rows.iter().map(|row| row.n))
    }

    /// The image that an injection hits, by its place in the image list.
    pub(super) fn image_of(&self, injection: InjectionId) -> usize {
        self.faults[injection.layer].image(injection.n)
    }

    /// The fault of an injection.
    pub(super) fn fault(&self, injection: InjectionId) -> Result<Fault> {
        match &self.faults[injection.layer] {
            Faults::Drawn { draws, format } => {
                let site = self.plan.site;
                let entry = |hit: super::draw::Hit| {
                    let masks = BitMasks::flip(hit.mask << format.shift());
                    FaultEntry::at(site, hit.element, hit.k, masks)
                };
                let entries = draws.get(injection.n).hits.into_iter().map(entry).collect();
                Ok(Fault { site, entries })
            }
            Faults::Listed(rows) => match row(rows, injection.n) {
                Some(row) => Ok(row.fault.clone()),
                None => Err(Error::usage(format!("the list has no fault number {}", injection.n))),
            },
        }
    }

    /// Whether a fault hits a value in memory between two nodes: then every node's output has to be there.
    pub(crate) fn needs_every_value(&self) -> bool {
        self.faults.iter().any(|faults| match faults {
            Faults::Drawn { .. } => self.plan.site.is_between_nodes(),
            Faults::Listed(rows) => rows.iter().any(|row| row.fault.site.is_between_nodes()),
        })
    }

    /// The node whose golden values a fault at a site of a layer hits; `None` where they are inside a
    /// kernel or a parameter.
    pub(super) fn hit_node(&self, layer: &Layer, site: Site) -> Option<NodeId> {
        self.model().tape.node_at(layer.node, site).filter(|_| site.value() == ValueKind::Known)
    }

    /// The word that an entry hits in an image of a batch; `None` where it is inside a kernel.
    pub(super) fn word_hit(
        &self,
        layer: &Layer,
        image: usize,
        site: Site,
        entry: &FaultEntry,
    ) -> Option<WordPlace> {
        let element = entry.element as usize;
        match &layer.parameter {
            Some(parameter) => Some(WordPlace::Param { param: parameter.id, index: element }),
            None => {
                let node = self.hit_node(layer, site)?;
                Some(WordPlace::Value { node, image, element })
            }
        }
    }

    /// The golden bits of what an entry hits: a parameter's, or among one image's `values` of node `hit`.
    pub(super) fn golden_bits(
        &self,
        layer: &Layer,
        hit: Option<NodeId>,
        entry: &FaultEntry,
        values: Option<&[f32]>,
    ) -> Option<u32> {
        if let Some(parameter) = &layer.parameter {
            return self.experiment.network.weights.bits(parameter.id, entry.element as usize).ok();
        }
        let map = self.model().tape.node(hit?).spec.map;
        values?.get(map.memory_index(entry.element as usize)).map(|value| value.to_bits())
    }

    /// Batch size of [`Strategy::Whole`](super::Strategy::Whole) where `batch` is asked for: no more than there
    /// are images, and 1 where a layer's output is shared by all images, since only one fault fits into it.
    pub fn capacity(&self, batch: usize) -> usize {
        let is_shared = |layer: &Layer| self.model().tape.node(layer.node).spec.shared;
        let most = self.experiment.goldens.len();
        if self.layers.iter().any(is_shared) { 1 } else { batch.clamp(1, most) }
    }

    /// Arms injections of a layer, each (image of the batch, number) whichever image it is drawn for: a
    /// round, to be timed.
    pub(crate) fn arm_round(
        &self,
        execution: &mut Execution,
        layer: usize,
        injections: impl Iterator<Item = (usize, u64)>,
    ) -> Result<()> {
        let mut trials = Vec::new();
        for (image, n) in injections {
            let injection = InjectionId { layer, n };
            let trial = Trial::of(
                injection,
                &self.fault(injection)?,
                f32::INFINITY,
                &[Detector::None],
                |_| None,
            );
            trials.extend(trial.into_iter().map(|trial| (image, trial)));
        }
        let trials: Vec<(usize, &Trial)> =
            trials.iter().map(|(image, trial)| (*image, trial)).collect();
        self.arm(execution, &self.layers[layer], &trials)
    }

    /// Arms trials of one layer, each in its image of the batch.
    pub(super) fn arm(
        &self,
        execution: &mut Execution,
        layer: &Layer,
        trials: &[(usize, &Trial)],
    ) -> Result<()> {
        if let Some(parameter) = &layer.parameter {
            let hits = trials.iter().flat_map(|(image, trial)| {
                trial.entries.iter().map(|entry| ParamHit {
                    param: parameter.id,
                    image: *image,
                    index: entry.element as usize,
                    masks: entry.masks(),
                })
            });
            let hits: Vec<ParamHit> = hits.collect();
            return execution.arm_parameters(&self.experiment.network.weights, &hits);
        }
        let entries: Vec<(usize, FaultEntry)> = trials
            .iter()
            .flat_map(|(image, trial)| trial.entries.iter().map(|entry| (*image, *entry)))
            .collect();
        let table = execution.table_of(layer.node, &entries)?;
        execution.arm(layer.node, table)
    }

    /// The effect of a fault that made an image's logits `faulty`, by the plan's protocol.
    pub(super) fn effect(&self, golden: &Golden, faulty: &[f32]) -> Effect {
        let mut effect = Effect::of(golden, faulty).at(&self.temperatures, golden, faulty);
        if self.plan.protocol == Protocol::Goldeneye {
            effect.score.loss = goldeneye::loss(faulty, golden.label);
        }
        effect
    }

    /// The effect of a fault that left an image's logits as they are.
    pub(super) fn unchanged(&self, golden: &Golden) -> Effect {
        Effect::unchanged(golden).at(&self.temperatures, golden, &golden.logits)
    }

    /// Fails where the logits of a golden run have other bits than the evaluation's.
    pub(super) fn check_golden(&self, image: usize, logits: &[f32]) -> Result<()> {
        let golden = &self.experiment.goldens[image];
        if logits::hash(logits) == golden.hash {
            return Ok(());
        }
        Err(Error::usage(format!(
            "image {}: the golden run's logits differ from the evaluation's in bits: the answers \
             are of other weights, images or another device",
            golden.image
        )))
    }
}

/// Where the faults of a plan can lie in a layer, and the format of what they hit.
///
/// # Errors
/// [`Error::Usage`] for bits that the format doesn't have.
fn space_of(
    model: &Model,
    layer: &Layer,
    plan: &Plan,
    compute: Compute,
) -> Result<(Space, Format)> {
    let site = plan.site;
    let allowed = |format: Format| {
        let mask = plan.only_bits.checked(format, plan.bits).map_err(|error| {
            Error::usage(format!("layer '{}', site {}: {error}", layer.name, site.name()))
        })?;
        Ok(mask >> format.shift())
    };
    if let Some(parameter) = &layer.parameter {
        let bits = allowed(Format::F32)?;
        return Ok((Space { bits, ..Space::of_parameter(parameter.elements()) }, Format::F32));
    }
    let tape = &model.tape;
    let inputs = tape.input_specs(layer.node);
    let map = tape.node_at(layer.node, site).map_or(layer.map, |id| tape.node(id).spec.map);
    let op = tape.node(layer.node).op.as_deref();
    let format = op.map_or(Format::F32, |op| format_at(op, &inputs, site, compute));
    let space = match tape.sites(layer.node).space(site) {
        Some(space) => Space::of_site(space, map, allowed(format)?),
        None => Space { bits: allowed(format)?, ..Space::of_map(map) },
    };
    Ok((space, format))
}

/// The layers that a plan injects into: those that its site is in, and of these the ones that it names.
///
/// # Errors
/// A site that no layer has; a pattern that none is called by.
fn layers_asked(model: &Model, plan: &Plan) -> Result<Vec<Layer>> {
    let all = layers_of(model, plan);
    if all.is_empty() {
        let has = |site: &Site| {
            let of_site = Plan { site: *site, ..plan.clone() };
            *site != Site::StoreAstray && !layers_of(model, &of_site).is_empty()
        };
        let sites: Vec<&str> = Site::ALL.into_iter().filter(has).map(Site::name).collect();
        return Err(Error::usage(format!(
            "no layer has the site {} for a campaign to draw faults at; the sites there are: {}. `predict --fault` and \
             lists (--faults) reach attention's scores and probabilities",
            plan.site.name(),
            sites.join(", ")
        )));
    }
    match (plan.protocol, plan.layers.as_deref()) {
        // Hooks see layers that all images share like any other.
        (Protocol::Goldeneye, None) => Ok(all),
        (_, patterns) => layers::choose(all, patterns),
    }
}

impl Experiment<'_> {
    /// The layers whose ranges a campaign of `plan` asks for, or one of a list's faults: those whose outputs it hits.
    /// Faults of the last layer before and after the scale are counted together, wherever one of both is hit.
    /// Parameters have ranges of their own.
    ///
    /// # Errors
    /// What [`Campaign::new`] and [`Campaign::of_list`] say of layers.
    pub fn ranged_layers(&self, plan: &Plan, list: Option<&FaultList>) -> Result<Vec<Layer>> {
        let model = &self.network.model;
        let hit = match list {
            None => layers_asked(model, plan)?,
            Some(list) => {
                let placed = list.place(model, &self.goldens, self.network.device().compute())?;
                placed.into_iter().map(|(layer, _)| layer).collect()
            }
        };
        let is_last = |layer: &Layer| matches!(layer.part, Part::LastLayer | Part::AfterScale);
        let counts = hit.iter().any(is_last);
        let mut layers = layers::layers(model);
        layers.retain(|layer| hit.contains(layer) || (counts && is_last(layer)));
        Ok(layers)
    }
}

/// The layers that a plan's site is in: [`layers::layers`] that have it, [`layers::parameters`], or what hooks see.
pub fn layers_of(model: &Model, plan: &Plan) -> Vec<Layer> {
    if plan.protocol == Protocol::Goldeneye {
        return goldeneye::layers(model);
    }
    if plan.site == Site::Weight {
        return layers::parameters(model);
    }
    let mut layers = layers::layers(model);
    layers.retain(|layer| {
        plan.site == Site::Output || model.tape.sites(layer.node).space(plan.site).is_some()
    });
    layers
}
