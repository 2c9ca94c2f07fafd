//! `flipside inject` of faults that are drawn or listed: a campaign, kept in a store.

use std::path::Path;

use super::super::common::{create_folder_of, print, print_json, stop_flag, view};
use super::ranges::Ranging;
use super::resume::Resumed;
use super::{Args, told};
use crate::analysis::Intervals;
use crate::analysis::breakdown::{By, breakdown};
use crate::campaign::{Campaign, Ending, Experiment, FaultList, Strategy};
use crate::census::{count_last_layer, finish};
use crate::data::Dataset;
use crate::error::{MOST_NAMED, some_of};
use crate::plan::{Flips, Plan, Protocol, Shard};
use crate::progress::Progress;
use crate::report::{
    Summary, Telling, View, injection_json, injections_table, injections_text, run_json, run_text,
    shell_word, summary_text,
};
use crate::results::{Counted, LayerRow, Manifest, Record, Run, Store, note_verified};
use crate::{Error, Result};

/// Classes of an answer that are named where an injection is told.
const TOLD: usize = 5;

/// What a campaign takes beside its plan and its experiment.
pub(super) struct CampaignInputs<'a> {
    /// The faults of a list.
    pub list: Option<&'a FaultList>,
    /// What ranges are taken by, where a detector asks for them.
    pub ranging: Option<&'a Ranging>,
    /// The classes' names.
    pub names: Vec<String>,
    /// The images.
    pub data: &'a dyn Dataset,
}

/// Where a campaign is kept.
pub(super) struct StorePlace<'p> {
    pub path: &'p Path,
    /// The part that it is to hold.
    pub shard: Shard,
    /// What it holds already, where that is gone on with.
    pub resumed: Option<Resumed>,
}

/// Injects into the images of the experiment and prints what came of it.
pub(super) fn run(
    args: &Args,
    plan: Plan,
    mut experiment: Experiment<'_>,
    &CampaignInputs { list, ranging, ref names, data }: &CampaignInputs<'_>,
    to: Option<StorePlace<'_>>,
    progress: &dyn Progress,
) -> anyhow::Result<()> {
    if let Some(ranging) = ranging {
        let layers = experiment.ranged_layers(&plan, list)?;
        ranging.take(&mut experiment, &layers, progress)?;
    }
    let resumed = to.as_ref().map(|to| to.path).filter(|_| args.is_resumed());
    let plan = match &args.allocate {
        Some(allocate) => {
            allocate.by_pilot(plan, &experiment, strategy(args), resumed, progress)?
        }
        None => plan,
    };
    // GoldenEye's ranges are rounded, and of what hooks see.
    if ranging.is_some() && plan.protocol == Protocol::Strict {
        let hit = campaign_of(&experiment, plan.clone(), list)?.layers().to_vec();
        experiment.count_false_alarms(&hit, progress)?;
    }
    let campaign = campaign_of(&experiment, plan, list)?;
    let manifest = Manifest { config: args.gathered.config.clone(), ..campaign.manifest() };
    say_small_layers(&manifest, progress);
    let (records, counted) = inject(args, &campaign, &manifest, to.as_ref(), progress)?;
    if args.verify > 0 {
        let checked = verify(&campaign, &manifest, &records, args.verify, progress)?;
        if let Some(to) = &to {
            note_verified(to.path, checked)?;
        }
    }
    let run = Run { manifest, records, counted };
    let (how, detectors) = (Intervals::default(), &run.manifest.plan.detectors);
    let figures = breakdown(&run, By::Layer, None, detectors, &how)?;
    let telling = Telling { classes: names, top: TOLD };
    if args.run.json {
        let mut json = run_json(&run, &figures, &how);
        if args.only.is_some() {
            let told = told::injections(&campaign, &run, data, true)?;
            let told: Vec<_> = told.iter().map(|one| injection_json(one, &telling)).collect();
            json["injections"] = told.into();
        }
        return print_json(&json);
    }
    if args.only.is_some() {
        let is_one = run.manifest.layers.len() == 1;
        let told = told::injections(&campaign, &run, data, is_one)?;
        let view = view(View::Markdown);
        return print(&match is_one {
            true => injections_text(&told, &telling, view),
            false => injections_table(&told, view),
        });
    }
    match view(View::Markdown) {
        View::Screen(screen) => {
            let (store, shard) = (to.as_ref().map(|to| to.path), to.as_ref().map(|to| to.shard));
            let is_shard = shard.is_some_and(|shard| shard != Shard::WHOLE);
            print(&summary_text(&run, &figures, &how, screen, &Summary { store, is_shard }))
        }
        whole => print(&run_text(&run, &figures, &how, whole)),
    }
}

/// The campaign of a list's faults, or of drawn ones.
fn campaign_of<'a>(
    experiment: &'a Experiment<'a>,
    plan: Plan,
    list: Option<&FaultList>,
) -> Result<Campaign<'a>> {
    match list {
        Some(list) => Campaign::of_list(experiment, plan, list),
        None => Campaign::new(experiment, plan),
    }
}

/// Says which layers have fewer values than are hit at once.
fn say_small_layers(manifest: &Manifest, progress: &dyn Progress) {
    let Flips::Count(count) = manifest.plan.flips else { return };
    let values = |layer: &LayerRow| {
        let shape = layer.shape_at(manifest.plan.site)?;
        Some(shape.iter().map(|size| *size as u64).product::<u64>())
    };
    let is_small = |layer: &&LayerRow| values(layer).is_some_and(|n| n < u64::from(count));
    let small = manifest.layers.iter().filter(is_small);
    let names: Vec<String> = small.map(|layer| layer.name.clone()).collect();
    if !names.is_empty() {
        let names = some_of(&names, MOST_NAMED);
        progress.line(&format!(
            "these layers have fewer than {count} values, all of which are hit: {names}"
        ));
    }
}

/// How campaigns are run.
fn strategy(args: &Args) -> impl Fn(&Campaign<'_>) -> Strategy {
    let batch = args.batch as usize;
    move |campaign| match campaign.best_strategy() {
        Strategy::Whole { .. } => Strategy::Whole { batch },
        boxes => boxes,
    }
}

/// Runs the campaign, or what the store lacks of its part; the part's records, and what is counted of the last layer,
/// which is the first part's task.
fn inject(
    args: &Args,
    campaign: &Campaign<'_>,
    manifest: &Manifest,
    to: Option<&StorePlace<'_>>,
    progress: &dyn Progress,
) -> anyhow::Result<(Vec<Record>, Counted)> {
    let strategy = strategy(args)(campaign);
    // From here on there is something to keep; before, ctrl-C ends the program at once.
    let stop = stop_flag()?;
    let Some(&StorePlace { path, shard, ref resumed }) = to else {
        let (records, ending) = campaign.run_until(strategy, progress, stop)?;
        anyhow::ensure!(
            ending == Ending::Complete,
            "stopped; nothing was kept, since there is no --out FILE"
        );
        return Ok((records, count_last_layer(campaign.experiment(), manifest)?));
    };
    resumed.as_ref().map_or(Ok(()), |resumed| resumed.grow(manifest, progress))?;
    let (store, work) = Store::begin(path, manifest, shard, args.is_resumed())?;
    let ending = campaign.run_part(strategy, &work, &store, progress, stop)?;
    let found = finish(store, campaign.experiment(), manifest, shard, ending)?;
    if ending == Ending::Stopped {
        let name = shell_word(&path.display().to_string());
        anyhow::bail!(
            "stopped; {} holds the injections so far, and `flipside inject --resume {name}` goes on from there",
            path.display()
        );
    }
    Ok(found)
}

/// Refuses a store that would be overwritten, or a place where none can be.
pub(super) fn check_store(path: &Path, resume: bool) -> Result<()> {
    if path.exists() && !resume {
        return Err(Error::usage(format!(
            "{} is there already: --resume goes on with it",
            path.display()
        )));
    }
    create_folder_of(path)
}

/// Runs `count` injections again, and says how many that were; other bits are an error.
fn verify(
    campaign: &Campaign<'_>,
    manifest: &Manifest,
    records: &[Record],
    count: usize,
    progress: &dyn Progress,
) -> Result<usize> {
    let verification = campaign.verify(records, count)?;
    let Some(record) = verification.different.first() else {
        progress.line(&format!(
            "{} injections re-run as full inferences: all logits match bit for bit",
            verification.checked
        ));
        return Ok(verification.checked);
    };
    Err(Error::Device {
        device: manifest.setting.device.clone(),
        detail: format!(
            "{} of {} injections gave other logits when re-run as full inferences; the first of them is number {} of layer '{}'",
            verification.different.len(),
            verification.checked,
            record.n,
            manifest.layers[record.layer].name,
        ),
    })
}
