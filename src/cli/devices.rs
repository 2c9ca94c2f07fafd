//! `flipside devices`.

use super::common::{print, print_json};
use crate::device;
use crate::report::kernel_list;
use crate::screen::{Ink, Screen};

/// List the devices, their kernels, and what others lack
#[derive(clap::Args)]
pub struct Args {
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,

    /// List the kernels instead: file, maximum number of threads of a block, bytes of shared memory
    #[arg(long, conflicts_with = "json")]
    kernels: bool,
}

/// One line a kernel of the GPU, by its name.
fn list_kernels() -> String {
    let mut kernels: Vec<_> = device::kernels().iter().filter(|info| !info.testing).collect();
    kernels.sort_by_key(|info| info.symbol);
    if let Some(screen) = Screen::stdout() {
        return kernel_list(screen, &kernels);
    }
    let lines: Vec<String> = kernels
        .iter()
        .map(|info| {
            let device::KernelInfo { symbol, file, max_threads, shared_bytes, .. } = info;
            format!("{symbol:<44} {file:<24} {max_threads:>5} {shared_bytes:>6}")
        })
        .collect();
    lines.join("\n")
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    if args.kernels {
        return print(&list_kernels());
    }
    let report = device::report();
    if args.json {
        let devices: Vec<serde_json::Value> = report
            .iter()
            .map(|d| {
                serde_json::json!({
                    "name": d.name, "available": d.available, "detail": d.detail,
                })
            })
            .collect();
        return print_json(&devices);
    }
    let screen = Screen::stdout();
    let lines: Vec<String> = report
        .iter()
        .map(|d| {
            let (state, ink) =
                if d.available { ("ready", Ink::Good) } else { ("missing", Ink::Warning) };
            let mark = format!("{:<10} {state:<8} ", d.name);
            match screen {
                None => mark + &d.detail,
                Some(screen) => {
                    let line = screen.wrap(&mark, &d.detail);
                    line.replacen(state, &screen.paint(ink, state), 1)
                }
            }
        })
        .collect();
    print(&lines.join("\n"))
}
