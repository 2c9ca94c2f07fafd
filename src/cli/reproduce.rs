//! `flipside reproduce`.

mod begun;
mod flags;
mod forecast;
mod small;
mod sources;
mod step;
mod steps;
mod walk;

pub use self::flags::Args;
use self::forecast::forecast;
use self::step::StepBlock;
use self::steps::AskedReproduction;
use self::walk::{Walked, walk};
use super::common::{create_folder, print, print_json, stop_flag, view};
use crate::checkpoint::atomic;
use crate::error::some_of;
use crate::page::reproduction_page;
use crate::plan::Shard;
use crate::report::{View, reproduction_text};
use crate::reproduce::{Reproduction, ReproductionFolder, RowName, gather, rows};
use crate::{Error, Result};

pub fn run(args: &Args) -> anyhow::Result<()> {
    args.check()?;
    let shard: Shard = args.shard.as_deref().map_or(Ok(Shard::WHOLE), str::parse)?;
    let asked = AskedReproduction::new(args, rows(args.scale, &args.rows)?, args.all_seeds()?)?;
    // Wrong words are better said now than by the first step.
    let device = args.run.start()?;
    let progress = args.run.progress();
    let blocks = part(asked.blocks()?, shard);
    if args.plan {
        let plan = forecast(&asked, &blocks, &device, &*progress)?;
        return if args.run.json { print_json(&plan) } else { print(&plan.text()) };
    }
    drop(device);
    let missing: Vec<&StepBlock> =
        blocks.iter().filter(|block| !block.missing.is_empty()).collect();
    for block in &missing {
        progress.line(&format!("{}: left out, lacks: {}", block.name(), block.lacks()));
    }
    if let (Some(block), true) = (missing.first(), missing.len() == blocks.len()) {
        return Err(Error::usage(format!(
            "every row lacks something, {} for one: {}. --plan says of each what helps",
            block.name(),
            block.lacks()
        ))
        .into());
    }
    create_folder(&args.out)?;
    begun::keep(args)?;
    let walked = walk(&blocks, stop_flag()?, &*progress)?;
    let found = gather(&asked.rows, &asked.ablated(), &asked.folder, &asked.seeds);
    write(args, &asked, &found)?;
    if args.run.json {
        print_json(&found)?;
    } else {
        print(&reproduction_text(&found, args.scale, view(View::Markdown)))?;
    }
    tell(&walked, &found.problems)
}

/// The blocks of a shard: what several rows need is every shard's.
fn part(blocks: Vec<StepBlock>, shard: Shard) -> Vec<StepBlock> {
    let (shared, rows): (Vec<StepBlock>, Vec<StepBlock>) =
        blocks.into_iter().partition(|block| block.row.is_none());
    let rows = (0..).zip(rows).filter(|(n, _)| shard.holds(*n)).map(|(_, block)| block);
    shared.into_iter().chain(rows).collect()
}

/// Writes the table and the page.
fn write(args: &Args, asked: &AskedReproduction<'_>, found: &Reproduction) -> anyhow::Result<()> {
    let text = reproduction_text(found, args.scale, View::Markdown);
    let mut files = vec![
        ("reproduction.md", text),
        ("reproduction.json", serde_json::to_string_pretty(found)?),
    ];
    if !args.no_html {
        let strips = strips(&asked.folder, &asked.rows, asked.seeds.first().copied())?;
        files.push(("reproduction.html", reproduction_page(found, args.scale, &strips)));
    }
    for (name, text) in files {
        atomic::write(&args.out.join(name), |out| out.write_all(text.as_bytes()))?;
    }
    Ok(())
}

/// The pictures that are there, each with its row's name.
fn strips(
    folder: &ReproductionFolder,
    rows: &[RowName],
    seed: Option<u64>,
) -> Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for (row, seed) in rows.iter().filter_map(|row| Some((row, seed?))) {
        let path = folder.strip(row, seed);
        if path.exists() {
            let text = std::fs::read_to_string(&path).map_err(|source| Error::io(&path, source))?;
            all.push((row.to_string(), text));
        }
    }
    Ok(all)
}

/// Says what isn't done, as an error.
fn tell(walked: &Walked, problems: &[String]) -> anyhow::Result<()> {
    let Walked { elsewhere, failed } = walked;
    if !problems.is_empty() {
        anyhow::bail!("not in the table: {}; what is deleted is made again", problems.join("; "));
    }
    if !failed.is_empty() {
        anyhow::bail!("not all steps could be taken: {}", some_of(failed, 3));
    }
    if !elsewhere.is_empty() {
        anyhow::bail!(
            "another process still works on {}: the same command prints the whole table when it is done",
            some_of(elsewhere, 3)
        );
    }
    Ok(())
}
