//! The command-line program; see `flipside help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    flipside::commit::set(flipside::commit::checked_out!());
    flipside::cli::main()
}
