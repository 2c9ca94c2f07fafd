//! What `-h` shows: the flags of everyday work, a clause each; `--help` has all of them, whole.

use std::collections::BTreeMap;

use clap::{Arg, Command};

/// The flags that `-h` shows of each command; of those that aren't here, every one.
const SHOWN: &[(&str, &[&str])] = &[
    (
        "study",
        &[
            "model",
            "data",
            "text_features",
            "class_list",
            "epochs",
            "seeds",
            "injections",
            "out",
            "resume",
            "quick",
            "device",
        ],
    ),
    (
        "reproduce",
        &[
            "rows",
            "data",
            "checkpoints",
            "train",
            "text_features",
            "scale",
            "ablate",
            "seeds",
            "shard",
            "plan",
            "out",
            "device",
        ],
    ),
    (
        "train",
        &[
            "model",
            "data",
            "text_features",
            "class_list",
            "epochs",
            "batch_size",
            "lr",
            "random_rows",
            "start",
            "keep",
            "out",
            "resume",
            "device",
        ],
    ),
    ("eval", &["model", "checkpoint", "data", "class_list", "batch", "device", "json"]),
    ("predict", &["model", "checkpoint", "images", "fault", "top", "class_list", "device", "json"]),
    (
        "visualize",
        &["checkpoint", "images", "against", "fault", "campaign", "worst", "data", "layer", "out"],
    ),
    (
        "inject",
        &[
            "checkpoint",
            "data",
            "injections",
            "half_width",
            "site",
            "layer",
            "only_bits",
            "only",
            "config",
            "out",
            "resume",
            "device",
        ],
    ),
    (
        "report",
        &[
            "runs", "by", "layer", "sort", "top", "partial", "detector", "html", "figures",
            "require", "format",
        ],
    ),
    ("compare", &["baseline", "others", "pairs", "unpaired", "by", "margin", "format"]),
    ("plan", &["run", "other", "ratio", "points", "power", "study", "format"]),
    ("describe", &["questions", "out", "base_url", "model", "key_env", "concurrency"]),
    (
        "embed",
        &["descriptions", "import", "describe", "classes", "encoder", "hashing", "out", "picture"],
    ),
    ("convert", &["model", "checkpoint", "weights", "out", "class_list"]),
    ("export", &["run", "out"]),
    (
        "data preview",
        &[
            "data",
            "model",
            "image_size",
            "crop_scale",
            "crop_padding",
            "mixup_alpha",
            "cutmix_alpha",
            "seed",
            "epoch",
            "count",
            "out",
        ],
    ),
    (
        "bench inject",
        &["model", "site", "batch", "images", "injections", "rounds", "quick", "device", "json"],
    ),
    ("bench kernels", &["model", "filter", "backward", "list", "batch", "quick", "device", "json"]),
    ("bench overhead", &["model", "layer", "batch", "image_size", "quick", "device", "json"]),
];

/// Columns of a terminal.
const WIDTH: usize = 80;

/// The fewest characters of help beside a flag.
const LEAST: usize = 24;

/// Makes `-h` of `command` short, which is called by `path` behind the program's name, and of its subcommands.
pub fn shorten(command: Command, path: &str) -> Command {
    let shown = SHOWN.iter().find(|(known, _)| *known == path).map(|(_, shown)| *shown);
    let is_shown = |arg: &Arg| shown.is_none_or(|shown| shown.iter().any(|id| arg.get_id() == id));
    // Help stands in one column under each heading.
    let mut columns: BTreeMap<Option<String>, usize> = BTreeMap::new();
    for arg in command.get_arguments().filter(|arg| is_shown(arg)) {
        let column = columns.entry(arg.get_help_heading().map(String::from)).or_insert(20);
        *column = (*column).max(columns_of(arg));
    }
    let command = command.mut_args(|arg| {
        let column = columns.get(&arg.get_help_heading().map(String::from)).copied().unwrap_or(20);
        let is_shown = is_shown(&arg);
        in_a_line(arg, WIDTH.saturating_sub(column)).hide_short_help(!is_shown)
    });
    command.mut_subcommands(|sub| {
        let path = format!("{path} {}", sub.get_name());
        shorten(sub, path.trim_start())
    })
}

/// The columns before a flag's help: `      --flag <VALUE>  `.
fn columns_of(arg: &Arg) -> usize {
    let names = arg.get_value_names().unwrap_or_default();
    let values = names.iter().map(|name| name.chars().count() + 3);
    let name = arg.get_long().unwrap_or_default().chars().count();
    6 + 2 + name + values.sum::<usize>() + 2
}

/// The flag with the first clause of its help for `-h`, or as much of it as fits `width`; with the whole for `--help`.
fn in_a_line(arg: Arg, width: usize) -> Arg {
    let Some(whole) = arg.get_help().map(ToString::to_string) else { return arg };
    let values: Vec<String> = arg
        .get_default_values()
        .iter()
        .map(|value| format!(" [default: {}]", value.to_string_lossy()))
        .collect();
    let possible: Vec<String> = match arg.get_action().takes_values() {
        true => arg.get_possible_values().iter().map(|value| value.get_name().into()).collect(),
        false => Vec::new(),
    };
    let mut beside: usize = values.iter().map(|value| value.chars().count()).sum();
    if !possible.is_empty() {
        beside += format!(" [possible values: {}]", possible.join(", ")).chars().count();
    }
    let first = clause(&whole, width.saturating_sub(beside).max(LEAST));
    if first == whole {
        return arg;
    }
    match arg.get_long_help() {
        Some(_) => arg.help(first),
        None => arg.help(first).long_help(whole),
    }
}

/// The first clause of a text, or whole words of it and an ellipsis.
fn clause(whole: &str, width: usize) -> String {
    let end = ["; ", ". "].into_iter().filter_map(|end| whole.find(end)).min();
    let first = &whole[..end.unwrap_or(whole.len())];
    if first.chars().count() <= width {
        return first.into();
    }
    let mut line = String::new();
    for word in first.split(' ') {
        if line.chars().count() + 1 + word.chars().count() + 2 > width {
            break;
        }
        line += if line.is_empty() { "" } else { " " };
        line += word;
    }
    format!("{} …", line.trim_end_matches([',', ':', '(']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(command: &mut Command, path: &str) {
        let (help, path) = (command.render_help().to_string(), path.trim_start());
        let lines = help.lines().count();
        // The program itself has a line for each command.
        let most = if path.is_empty() { 31 } else { 24 };
        assert!(lines <= most, "flipside {path} -h has {lines} lines\n{help}");
        let lines = help.lines().filter(|line| !line.starts_with("Usage:"));
        let widest = lines.map(|line| line.chars().count()).max();
        assert!(widest <= Some(80), "flipside {path} -h is {widest:?} wide\n{help}");
        // `help` has the same lines as the program.
        let subs = command.get_subcommands_mut().filter(|sub| sub.get_name() != "help");
        for sub in subs {
            fits(sub, &format!("{path} {}", sub.get_name()));
        }
    }

    #[test]
    fn every_screen_of_help_fits_a_terminal() {
        let mut command = crate::cli::command().term_width(80);
        command.build();
        fits(&mut command, "");
    }

    #[test]
    fn a_clause_is_cut_between_words() {
        assert_eq!(
            clause("Weights, .pth or .safetensors; whether they", 40),
            "Weights, .pth or .safetensors"
        );
        assert_eq!(clause("Class list: tab-separated lines of index", 24), "Class list …");
        assert_eq!(clause("Batch size", 24), "Batch size");
    }

    #[test]
    fn what_is_shown_is_there() {
        let command = crate::cli::command();
        for (path, shown) in SHOWN {
            let sub = path.split(' ').fold(&command, |command, name| {
                command.find_subcommand(name).unwrap_or_else(|| panic!("no command {path}"))
            });
            for id in *shown {
                assert!(sub.get_arguments().any(|arg| arg.get_id() == id), "{path} has no {id}");
            }
        }
    }
}
