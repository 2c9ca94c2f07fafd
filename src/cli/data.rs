//! `flipside data`.

mod info;
mod list;
mod pack;
mod preview;
mod synthesize;

use clap::Subcommand;

/// Look at data sets, pack them, make one
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Info(info::Args),
    List(list::Args),
    Pack(pack::Args),
    Preview(Box<preview::Args>),
    Synthesize(synthesize::Args),
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    match &args.command {
        Verb::Info(args) => info::run(args),
        Verb::List(args) => list::run(args),
        Verb::Pack(args) => pack::run(args),
        Verb::Preview(args) => preview::run(args),
        Verb::Synthesize(args) => synthesize::run(args),
    }
}
