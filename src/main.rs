//! The command-line program; see `flipside help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    flipside::cli::main()
}
