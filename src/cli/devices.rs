//! `flipside devices`.

use super::common::{print, print_json};
use crate::device;

/// Say which devices are here, with which kernels, and what the others lack
#[derive(clap::Args)]
pub struct Args {
    /// Print JSON for machines instead of text
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
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
    let lines: Vec<String> = report
        .iter()
        .map(|d| {
            let state = if d.available { "ready" } else { "missing" };
            format!("{:<10} {state:<8} {}", d.name, d.detail)
        })
        .collect();
    print(&lines.join("\n"))
}
