//! Shell completions and manual pages name every command and every flag.

use std::collections::BTreeSet;
use std::fs;

use crate::program::Folder;

/// Words of every command that isn't a group of others, with its flags.
fn commands() -> Vec<(String, Vec<String>)> {
    fn below(command: &clap::Command, name: &str, found: &mut Vec<(String, Vec<String>)>) {
        for command in command.get_subcommands() {
            let name = format!("{name} {}", command.get_name()).trim().to_string();
            let flags = command.get_arguments().filter_map(|arg| arg.get_long());
            found.push((name.clone(), flags.map(String::from).collect()));
            below(command, &name, found);
        }
    }
    let mut found = Vec::new();
    below(&flipside::cli::command(), "", &mut found);
    found
}

#[test]
fn completions_name_every_command_and_flag() {
    let folder = Folder::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = folder.done(&format!("completions {shell}"));
        for (command, flags) in commands() {
            let last = command.split(' ').next_back().unwrap_or_default();
            assert!(script.contains(last), "{shell}: nothing of {command}");
            for flag in flags {
                // fish writes `-l flag`.
                let is_named =
                    script.contains(&format!("--{flag}")) || script.contains(&format!("-l {flag}"));
                assert!(is_named, "{shell}: nothing of {command} --{flag}");
            }
        }
    }
    let refused = folder.run("completions tcl");
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("zsh"));
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = Folder::new();
    folder.done("man --out pages/man1");
    let mut expected = BTreeSet::from(["flipside.1".to_string()]);
    for (command, flags) in commands() {
        let name = format!("flipside-{}.1", command.replace(' ', "-"));
        let page = fs::read_to_string(folder.at("pages/man1").join(&name)).unwrap();
        // Hyphens are escaped.
        let page = page.replace("\\-", "-");
        for flag in flags {
            assert!(page.contains(&format!("--{flag}")), "{name}: nothing of --{flag}");
        }
        expected.insert(name);
    }
    let written = fs::read_dir(folder.at("pages/man1")).unwrap();
    let written = written.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    assert_eq!(written.collect::<BTreeSet<_>>(), expected);
    fs::write(folder.at("file"), "").unwrap();
    folder.fails("man --out file", 1, &["file"]);
}
