//! `flipside plan`.

use std::path::{Path, PathBuf};

use super::common::{FormatArgs, print, print_json, refuse_idle};
use crate::analysis::compare::{Needed, Pairing, PilotForecast, Wish, seeds_for};
use crate::report::{Planned, plan_text};
use crate::results::Run;
use crate::statistics::{Confidence, Unit};
use crate::{Error, Result};

/// What is planned for where nothing is asked.
const RATIOS: [f64; 6] = [1.05, 1.1, 1.2, 1.5, 2.0, 3.0];
const POINTS: [f64; 5] = [0.1, 0.2, 0.5, 1.0, 2.0];

/// Plan how many injections and training seeds show a difference
///
/// Reads the stores of a pilot: one campaign, or better two, of whose paired faults the spread is taken. Prints how many
/// injections a layer it takes to show a ratio of mean ΔLoss, or a difference of SDC rates, and what the pilot's own
/// number shows. With the spread of training seeds it prints how many seeds it takes.
#[derive(clap::Args)]
pub struct Args {
    /// Store of a campaign
    run: PathBuf,
    /// Store of the other model's campaign
    other: Option<PathBuf>,
    /// A ratio of mean ΔLoss to plan for, as 1.2
    #[arg(long, value_name = "RATIO")]
    ratio: Option<f64>,
    /// A difference of SDC rates to plan for, in percentage points, as 0.5
    #[arg(long, value_name = "POINTS")]
    points: Option<f64>,
    /// The chance with which the difference is to be found
    #[arg(long, default_value_t = 0.8, value_name = "SHARE")]
    power: f64,
    /// Confidence level of the intervals; 0.95 if absent
    #[arg(long, value_name = "SHARE")]
    confidence: Option<Confidence>,
    /// What varies, for ratios: images (if absent), or injections
    #[arg(long, value_name = "UNIT")]
    unit: Option<Unit>,
    /// The two campaigns have other seeds or images; their numbers of injections must be the same
    #[arg(long, requires = "other")]
    unpaired: bool,
    /// Standard deviation of the logarithm of the ratio between training seeds, for the number of seeds
    #[arg(long, value_name = "SD")]
    seed_spread: Option<f64>,
    /// Take that of a study's JSON (study.json of `study --out`)
    #[arg(long, value_name = "FILE", conflicts_with = "seed_spread")]
    study: Option<PathBuf>,
    /// Which contrast of the study: text, form or both; text if absent
    #[arg(long, requires = "study", value_name = "CONTRAST")]
    contrast: Option<String>,
    #[command(flatten)]
    format: FormatArgs,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let confidence = args.confidence.unwrap_or_default();
    let wish = Wish::new(args.power, confidence)?;
    if let Some(ratio) = args.ratio
        && !(ratio > 0.0 && ratio.is_finite() && ratio != 1.0)
    {
        let detail = format!("--ratio is a positive number other than 1, not {ratio}");
        return Err(Error::usage(detail).into());
    }
    if let Some(points) = args.points
        && !(points > 0.0 && points < 100.0)
    {
        let detail = format!("--points lies between 0 and 100, not at {points}");
        return Err(Error::usage(detail).into());
    }
    let seed_spread = match &args.study {
        Some(path) => Some(spread_of(path, args.contrast.as_deref().unwrap_or("text"))?),
        None => args.seed_spread,
    };
    if let Some(spread) = seed_spread
        && !(spread > 0.0 && spread.is_finite())
    {
        let detail = format!("the spread of seeds is a positive number, not {spread}");
        return Err(Error::usage(detail).into());
    }
    let baseline = Run::open(&args.run)?;
    let other = args.other.as_deref().map(Run::open).transpose()?;
    let pairing = if args.unpaired { Pairing::Unpaired } else { Pairing::Paired };
    let pilot =
        PilotForecast::of(&baseline, other.as_ref(), pairing, args.unit.unwrap_or_default())?;
    let no_mean = match pilot.all_counted {
        true => {
            "on a pilot whose layers are all counted: their mean ΔLoss doesn't depend on the number of injections"
        }
        false => {
            "on a pilot that has no interval of mean ΔLoss: it takes injections under the range detector, 12 a bit in \
             each layer"
        }
    };
    refuse_idle([
        (
            "--ratio",
            args.ratio.is_some() && pilot.delta_loss.is_none() && seed_spread.is_none(),
            no_mean,
        ),
        (
            "--points",
            args.points.is_some() && pilot.sdc_standard_error_points.is_none(),
            "on a pilot without SDC in one run alone",
        ),
        ("--unit", args.unit == Some(Unit::Injections) && pilot.delta_loss.is_none(), no_mean),
    ])?;
    let ratios = asked(args.ratio, &RATIOS);
    let points = asked(args.points, &POINTS);
    let all = |effects: &[f64], needed: &dyn Fn(f64) -> Option<Needed>| {
        effects.iter().filter_map(|effect| needed(*effect)).collect()
    };
    let planned = Planned {
        ratios: all(&ratios, &|ratio| pilot.for_ratio(ratio, &wish)),
        asked_ratio: args.ratio,
        least_ratio: pilot.least_ratio(&wish),
        points: all(&points, &|points| pilot.for_points(points, &wish)),
        asked_points: args.points,
        least_points: pilot.least_points(&wish),
        seed_spread,
        seeds: seed_spread.map_or_else(Vec::new, |spread| {
            ratios.iter().map(|ratio| seeds_for(*ratio, spread, &wish)).collect()
        }),
        pilot,
        wish,
    };
    match args.format.view() {
        None => print_json(&planned),
        Some(view) => print(&plan_text(&planned, view)),
    }
}

/// The standard ones, and what is asked for.
fn asked(one: Option<f64>, standard: &[f64]) -> Vec<f64> {
    let mut all: Vec<f64> = one.into_iter().chain(standard.iter().copied()).collect();
    all.sort_by(f64::total_cmp);
    all.dedup();
    all
}

/// The standard deviation of the logarithms of a contrast's ratios of mean ΔLoss, all layers alike, over the seeds of
/// a study.
fn spread_of(path: &Path, contrast: &str) -> Result<f64> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::io(path, source))?;
    let json: serde_json::Value = serde_json::from_str(&text)
        .map_err(|error| Error::file(path, format!("isn't a study's JSON: {error}")))?;
    let Some(contrasts) = json["contrasts"].as_array() else {
        return Err(Error::file(path, "isn't a study's JSON: it has no contrasts"));
    };
    let Some(wanted) = contrasts.iter().find(|of| of["contrast"] == contrast) else {
        let known: Vec<&str> = contrasts.iter().filter_map(|of| of["contrast"].as_str()).collect();
        let known = known.join(", ");
        return Err(Error::file(path, format!("has no contrast '{contrast}', but {known}")));
    };
    let figures = wanted["figures"].as_array().into_iter().flatten();
    let mut seeds = figures.filter(|of| of["figure"] == "all-layers").map(|of| &of["seeds"]);
    let seeds = seeds.next().and_then(|seeds| seeds.as_array());
    let logs: Option<Vec<f64>> = seeds.and_then(|seeds| {
        let log = |seed: &serde_json::Value| Some(seed["value"].as_f64()?.ln());
        seeds.iter().map(log).collect()
    });
    match logs {
        Some(logs) if logs.len() > 1 && logs.iter().all(|log| log.is_finite()) => {
            let mean = logs.iter().sum::<f64>() / logs.len() as f64;
            let squares: f64 = logs.iter().map(|log| (log - mean).powi(2)).sum();
            Ok((squares / (logs.len() as f64 - 1.0)).sqrt())
        }
        _ => Err(Error::file(path, "has no two seeds whose ratios of mean ΔLoss are known")),
    }
}
