//! `flipside completions`.

use clap_complete::Shell;

use super::common::print;

/// Print a script that completes commands and flags in a shell
///
/// For bash: `flipside completions bash > ~/.local/share/bash-completion/completions/flipside`; for zsh,
/// a file `_flipside` in a folder of $fpath; for fish, ~/.config/fish/completions/flipside.fish.
#[derive(clap::Args)]
pub struct Args {
    /// The shell
    shell: Shell,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::topics::command(), "flipside", &mut script);
    print(String::from_utf8(script)?.trim_end())
}
