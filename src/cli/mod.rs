//! The command line: one file a subcommand, each parses, calls the library and prints.

mod args_file;
mod augment;
mod bench;
mod brief;
mod child;
mod cite;
mod common;
mod compare;
mod completions;
mod config;
mod convert;
mod data;
mod dataset;
#[cfg(feature = "http")]
mod describe;
mod devices;
mod embed;
mod eval;
mod examples;
mod export;
mod inject;
mod man;
mod merge;
mod model;
mod models;
mod pictures;
mod plan;
mod predict;
mod prompts;
mod recipe;
mod report;
mod reproduce;
mod rerun;
mod study;
mod topics;
mod train;
mod visualize;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::Error;
use crate::screen::{Ink, Screen};

/// Train text-guided image classifiers, measure what hardware bit flips do to them
#[derive(Parser)]
#[command(name = "flipside", version, max_term_width = 100, after_help = topics::LIST)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

// What each does stands above its `Args`.
#[derive(Subcommand)]
enum Command {
    Study(study::Args),
    Reproduce(reproduce::Args),
    Train(train::Args),
    Eval(eval::Args),
    Predict(predict::Args),
    Visualize(visualize::Args),
    Inject(Box<inject::Args>),
    Rerun(rerun::Args),
    Merge(merge::Args),
    Export(export::Args),
    Compare(compare::Args),
    Plan(plan::Args),
    Report(report::Args),
    Cite(cite::Args),
    Prompts(prompts::Args),
    #[cfg(feature = "http")]
    Describe(describe::Args),
    Embed(embed::Args),
    Data(data::Args),
    Models(models::Args),
    Convert(convert::Args),
    Devices(devices::Args),
    Bench(bench::Args),
    Completions(completions::Args),
    Man(man::Args),
    #[command(flatten)]
    Topic(topics::Topic),
}

/// The program's own help, in which every command has a line.
const WHOLE: &str = "{about}\n\n{usage-heading} {usage}\n\n{subcommands}{after-help}\n";

/// The exit code of a campaign without an image that its networks get right.
const NO_IMAGE: u8 = 4;

/// The program's commands and flags.
pub fn command() -> clap::Command {
    let command = examples::add(brief::shorten(Cli::command(), ""), "");
    command.help_template(WHOLE)
}

/// Parses, runs, and turns errors into exit codes: 0 done, 1 failed, 2 wrong usage, 3
/// requirements that aren't satisfied, or a run that comes out otherwise, 4 no image that
/// faults could hit.
pub fn main() -> ExitCode {
    let result = start(std::env::args_os().collect());
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if is_broken_pipe(&error) {
                return ExitCode::SUCCESS; // whoever read has read enough
            }
            complain(&sentence(&error));
            ExitCode::from(match error.downcast_ref::<Error>() {
                Some(Error::Usage { .. }) => 2,
                Some(Error::NoImage) => NO_IMAGE,
                None if error.is::<report::Unmet>() || error.is::<rerun::Unequal>() => 3,
                _ => 1,
            })
        }
    }
}

/// Runs the command line, with the flags that it takes from files.
fn start(words: Vec<OsString>) -> anyhow::Result<()> {
    let (words, flags) = args_file::gather(words, &command())?;
    match inject::gather(words, &command())? {
        inject::Todo::Run(words, gathered) => {
            let matches = command().get_matches_from(words);
            // Its own errors and help end the program here.
            let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
            run(cli.command, gathered, flags)
        }
        inject::Todo::Print(text) => common::print(&text),
    }
}

/// Runs a command; `gathered` says where the flags of a campaign come from, `flags` what those of a training run or a study are, as
/// a file of them.
fn run(command: Command, gathered: inject::Gathered, flags: Option<String>) -> anyhow::Result<()> {
    match command {
        Command::Study(args) => study::run(&args, flags.as_deref()),
        Command::Reproduce(args) => reproduce::run(&args),
        Command::Train(args) => train::run(&args, flags.as_deref()),
        Command::Eval(args) => eval::run(&args),
        Command::Predict(args) => predict::run(&args),
        Command::Visualize(args) => visualize::run(&args),
        Command::Inject(args) => inject::run(&args.with(gathered)),
        Command::Rerun(args) => rerun::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Cite(args) => cite::run(&args),
        Command::Prompts(args) => prompts::run(&args),
        #[cfg(feature = "http")]
        Command::Describe(args) => describe::run(&args),
        Command::Embed(args) => embed::run(&args),
        Command::Data(args) => data::run(&args),
        Command::Models(args) => models::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Devices(args) => devices::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
        Command::Topic(topic) => topic.run(),
    }
}

/// Tells the user what went wrong.
fn complain(text: &str) {
    match Screen::stderr() {
        None => eprintln!("flipside: {text}"),
        Some(screen) => {
            let told = screen.wrap("", &format!("flipside: {text}"));
            eprintln!("{}", told.replacen("flipside:", &screen.paint(Ink::Bad, "flipside:"), 1));
        }
    }
}

/// An error and its causes, less those that it has told already.
fn sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_once() {
        let source = std::io::Error::other("no such file");
        let error = anyhow::Error::from(Error::io("a.pth", source)).context("loading");
        assert_eq!(sentence(&error), "loading: a.pth: no such file");
    }
}
