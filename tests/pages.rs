//! What README and the pages of `docs/` show is so. Their commands are parsed as the program parses them, and run in
//! a folder of small images unless a comment above the block says why not: `<!-- not run: needs a GPU -->`. A comment
//! `<!-- first: flipside … -->` runs what a page takes for granted. Paths, links and figures are held to what there is.

use std::collections::BTreeSet;
use std::fs;

use clap::error::ErrorKind;
use flipside::models::ModelFile;

use crate::cli::Place;

/// A block of commands, or a hidden one.
struct Block {
    commands: Vec<(usize, String)>,
    /// Whether no comment says why it isn't run.
    is_run: bool,
}

/// A page by lines that are in no block, with their numbers, and its blocks of commands.
struct Page {
    name: &'static str,
    prose: Vec<(usize, String)>,
    blocks: Vec<Block>,
}

/// What stands in a comment of one line that begins with `key`.
fn comment<'t>(line: &'t str, key: &str) -> Option<&'t str> {
    line.trim().strip_prefix("<!-- ")?.strip_suffix(" -->")?.strip_prefix(key)
}

impl Page {
    fn read(name: &'static str) -> Page {
        let text = fs::read_to_string(crate::root().join(name)).unwrap();
        let mut page = Page { name, prose: Vec::new(), blocks: Vec::new() };
        let mut reason: Option<usize> = None;
        let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line)).peekable();
        while let Some((at, line)) = lines.next() {
            if let Some(language) = line.strip_prefix("```") {
                let inside = lines.by_ref().take_while(|(_, line)| *line != "```");
                let inside: Vec<(usize, String)> =
                    inside.map(|(at, line)| (at, line.to_string())).collect();
                assert!(!language.is_empty(), "{name}:{at}: the block names no language");
                if language == "sh" {
                    page.blocks.push(Block { commands: joined(inside), is_run: reason.is_none() });
                    reason = None;
                }
            } else if let Some(command) = comment(line, "first: ") {
                let commands = vec![(at, command.to_string())];
                page.blocks.push(Block { commands, is_run: true });
            } else if let Some(why) = comment(line, "not run: ") {
                assert!(why.len() > 5, "{name}:{at}: why isn't it run?");
                reason = Some(at);
            } else if line.starts_with("    ") {
                let mut inside = vec![(at, line.to_string())];
                while let Some(next) = lines.next_if(|(_, line)| line.starts_with("    ")) {
                    inside.push((next.0, next.1.to_string()));
                }
                // Others of them are drawings, or lines for other programs.
                inside.retain(|(_, line)| line.starts_with("    flipside "));
                if !inside.is_empty() {
                    page.blocks.push(Block { commands: joined(inside), is_run: reason.is_none() });
                    reason = None;
                }
            } else {
                page.prose.push((at, line.to_string()));
            }
            let is_idle = reason.filter(|from| at > from + 1);
            assert!(is_idle.is_none(), "{name}:{is_idle:?}: no block of commands follows");
        }
        page
    }
}

/// Lines that end in a backslash with those behind them.
fn joined(lines: Vec<(usize, String)>) -> Vec<(usize, String)> {
    let mut commands: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (at, line) in lines.into_iter().filter(|(_, line)| !line.trim().is_empty()) {
        let part = line.strip_suffix('\\').unwrap_or(&line).to_string();
        match commands.last_mut().filter(|_| goes_on) {
            Some((_, command)) => command.push_str(&part),
            None => commands.push((at, part)),
        }
        goes_on = line.ends_with('\\');
    }
    commands
}

/// What a line of a shell asks of this program, or, where it asks another one, nothing.
fn words_for_flipside(command: &str) -> Result<Option<Vec<String>>, String> {
    let words = shlex::split(command).ok_or("quotation marks don't close")?;
    let is_assignment = |word: &&String| word.contains('=') && !word.starts_with('-');
    let words: Vec<String> = words.iter().skip_while(is_assignment).cloned().collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let exists = |path: &str| match crate::root().join(path).exists() {
        true => Ok(None),
        false => Err(format!("there is no {path}")),
    };
    match words[..] {
        ["flipside", ref rest @ ..] | ["cargo", "run", "--release", "--", ref rest @ ..] => {
            Ok(Some(rest.iter().map(|word| word.to_string()).collect()))
        }
        ["cargo", "run", "--release", "--example", name] => exists(&format!("examples/{name}.rs")),
        ["bash" | "python3", script, ..] => exists(script),
        ["cargo", "build" | "test" | "doc" | "install" | "fmt" | "clippy", ..]
        | ["pip", "install", ..] => Ok(None),
        _ => Err("it is unknown what this runs".into()),
    }
}

/// The command line before `> FILE`, and the file.
fn redirected(words: Vec<String>) -> (Vec<String>, Option<String>) {
    match words.iter().position(|word| word == ">") {
        Some(at) => (words[..at].to_vec(), words.get(at + 1).cloned()),
        None => (words, None),
    }
}

/// What the program would say of the words before it runs.
fn parsed(words: &[String]) -> Result<(), String> {
    let all = ["flipside".to_string()].into_iter().chain(words.iter().cloned());
    let mut program = flipside::cli::command();
    // What is needed may stand in a file.
    if words.iter().any(|word| ["--config", "--print-config", "--resume"].contains(&word.as_str()))
    {
        let needless = |arg: clap::Arg| arg.required(false);
        for name in ["inject", "train"] {
            program = program.mut_subcommand(name, |command| command.mut_args(needless));
        }
    }
    match program.try_get_matches_from(all) {
        Err(error) if error.kind() != ErrorKind::DisplayHelp => Err(error.to_string()),
        _ => Ok(()),
    }
}

/// Everything that is wrong with the page's commands; runs those that are to be run.
fn check_commands(page: &Page, faults: &mut Vec<String>) {
    let place = Place::new();
    for block in &page.blocks {
        for (at, command) in &block.commands {
            let mut fault = |what: String| {
                faults.push(format!("{}:{at}: {command}\n    {}", page.name, what.trim_end()));
            };
            let words = match words_for_flipside(command) {
                Err(what) => {
                    fault(what);
                    continue;
                }
                Ok(None) if block.is_run => {
                    fault("a comment has to say why it isn't run".into());
                    continue;
                }
                Ok(None) => continue,
                Ok(Some(words)) => words,
            };
            let (words, file) = redirected(words);
            if let Err(what) = parsed(&words) {
                fault(what);
            } else if block.is_run {
                let output = place.run(&words.join(" "));
                if !output.status.success() {
                    fault(String::from_utf8_lossy(&output.stderr).into_owned());
                }
                if let Some(file) = file {
                    fs::write(place.at(&file), &output.stdout).unwrap();
                }
            }
        }
    }
}

/// Long flags of a command and of those below it.
fn flags(command: &clap::Command, found: &mut BTreeSet<String>) {
    found.extend(command.get_arguments().filter_map(|arg| arg.get_long()).map(String::from));
    command.get_subcommands().for_each(|below| flags(below, found));
}

/// Folders of the project that prose names in code.
const FOLDERS: [&str; 9] =
    ["src/", "tests/", "kernels/", "docs/", "scripts/", "benches/", "examples/", "models/", ".ci/"];
/// What stands for a name in a path.
const STAND_INS: [&str; 3] = ["NAME", "FAMILY", "COMMAND"];

/// Flags, commands and paths in code within sentences.
fn check_prose(page: &Page, faults: &mut Vec<String>) {
    let program = flipside::cli::command();
    let mut all = BTreeSet::from(["help".to_string(), "version".to_string()]);
    flags(&program, &mut all);
    for (at, line) in &page.prose {
        let mut fault = |what: String| faults.push(format!("{}:{at}: {what}", page.name));
        for code in line.split('`').skip(1).step_by(2) {
            let words: Vec<&str> = code.split_whitespace().collect();
            let mut known = all.clone();
            if let ["flipside", name, ..] = words[..] {
                match program.find_subcommand(name) {
                    Some(command) => {
                        known.clear();
                        flags(command, &mut known);
                    }
                    None if name == "help" => {}
                    None => fault(format!("there is no flipside {name}")),
                }
            } else if !code.starts_with("--")
                && program.find_subcommand(words.first().copied().unwrap_or_default()).is_none()
            {
                known.extend(
                    words.iter().filter_map(|word| word.strip_prefix("--")).map(String::from),
                );
            }
            for flag in words.iter().filter_map(|word| word.strip_prefix("--")) {
                let flag = flag.split(['=', '|']).next().unwrap_or(flag);
                if !flag.is_empty() && !known.contains(flag) {
                    fault(format!("`{code}`: there is no --{flag}"));
                }
            }
            let path = words.last().copied().unwrap_or_default();
            let is_pattern =
                path.contains('*') || STAND_INS.iter().any(|stand_in| path.contains(stand_in));
            if FOLDERS.iter().any(|folder| path.starts_with(folder))
                && !is_pattern
                && !crate::root().join(path).exists()
            {
                fault(format!("there is no {path}"));
            }
        }
    }
}

/// A heading as links name it.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Links to files of the project, and to headings in them.
fn check_links(page: &Page, faults: &mut Vec<String>) {
    for (at, line) in &page.prose {
        for link in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("https://") {
                continue;
            }
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let own = crate::root().join(page.name);
            let target = match path {
                "" => own,
                path => own.parent().unwrap().join(path),
            };
            // Pictures are no text.
            let text = fs::read(&target);
            let has = |text: &str| {
                let headings = text.lines().filter(|line| line.starts_with('#'));
                heading.is_empty() || headings.map(anchor).any(|known| known == heading)
            };
            if !text.is_ok_and(|text| has(&String::from_utf8_lossy(&text))) {
                faults.push(format!("{}:{at}: nothing is at {link}", page.name));
            }
        }
    }
}

fn check(name: &'static str) {
    let page = Page::read(name);
    let mut faults = Vec::new();
    check_commands(&page, &mut faults);
    check_prose(&page, &mut faults);
    check_links(&page, &mut faults);
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

macro_rules! pages {
    ($($test:ident: $name:literal,)*) => {
        const PAGES: &[&str] = &[$($name),*];
        $(#[test]
        fn $test() {
            check($name);
        })*
    };
}

pages! {
    readme: "README.md",
    contributing: "CONTRIBUTING.md",
    campaigns: "docs/campaigns.md",
    data: "docs/data.md",
    gpu: "docs/gpu.md",
    intervals: "docs/intervals.md",
    kernels_and_faults: "docs/kernels-and-faults.md",
    library: "docs/library.md",
    measuring: "docs/measuring.md",
    models: "docs/models.md",
    onnx: "docs/onnx.md",
    published_code: "docs/published-code.md",
    reading_results: "docs/reading-results.md",
    reproduce: "docs/reproduce.md",
    saliency: "docs/saliency.md",
    study: "docs/study.md",
    text_features: "docs/text-features.md",
    training: "docs/training.md",
}

#[test]
fn every_page_is_checked() {
    for entry in fs::read_dir(crate::root().join("docs")).unwrap() {
        let name = format!("docs/{}", entry.unwrap().file_name().to_string_lossy());
        assert!(!name.ends_with(".md") || PAGES.contains(&name.as_str()), "{name}");
    }
    let readme = fs::read_to_string(crate::root().join("README.md")).unwrap();
    assert!(readme.lines().count() <= 130, "README is for readers in a hurry");
}

/// Cells of the rows of a page whose first one is a model's name.
fn model_rows(page: &str) -> Vec<(Vec<String>, ModelFile)> {
    let text = fs::read_to_string(crate::root().join(page)).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows = rows.map(|row| row.split(" | ").map(|cell| cell.trim().to_string()).collect());
    let named = |cells: Vec<String>| {
        let file = flipside::models::names().find(|name| *name == cells[0])?;
        Some((cells, ModelFile::open(file).unwrap()))
    };
    rows.filter_map(named).collect()
}

#[test]
fn published_figures_are_those_of_the_model_files() {
    let rows = model_rows("README.md");
    assert_eq!(rows.len(), 14);
    for (cells, file) in rows {
        let figures = file.published.unwrap();
        let [baseline, guided] = figures.accuracy;
        let mut expected = vec![format!("{baseline:.2} → {guided:.2}")];
        let improvements = [figures.last_layer, figures.overall, figures.top2diff];
        expected.extend(improvements.map(|figure| format!("{figure:.2}")));
        assert_eq!(cells[1..5], expected, "{}", cells[0]);
    }
}

/// `2.41 [1.91, 3.11]` wherever it stands in a text.
fn figures_with_intervals(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices(" [") {
        let is_number = |c: char| c.is_ascii_digit() || c == '.' || c == '-';
        let start = text[..at].rfind(|c| !is_number(c)).map_or(0, |before| before + 1);
        let Some(end) = text[at..].find(']') else { continue };
        let interval = &text[at + 2..at + end];
        if start < at && interval.chars().all(|c| is_number(c) || c == ',' || c == ' ') {
            found.insert(text[start..=at + end].to_string());
        }
    }
    found
}

#[test]
fn figures_of_readme_and_its_picture_are_ones_that_were_printed() {
    let read = |name: &str| fs::read_to_string(crate::root().join(name)).unwrap();
    let printed = figures_with_intervals(&read("docs/study.md"));
    for (name, least) in [("README.md", 3), ("docs/improvement.svg", 8)] {
        let shown = figures_with_intervals(&read(name));
        assert!(shown.len() >= least, "{name}: {shown:?}");
        let invented: Vec<_> = shown.difference(&printed).collect();
        assert!(invented.is_empty(), "{name}: {invented:?}");
    }
}

#[test]
fn what_a_page_gets_wrong_is_found() {
    let parse = |command: &str| {
        words_for_flipside(command).and_then(|words| parsed(&redirected(words.unwrap()).0))
    };
    assert_eq!(parse("flipside merge a.sqlite --out 'b c' # both > c"), Ok(()));
    assert_eq!(parse("cargo run --release -- study --quick > table"), Ok(()));
    assert_eq!(parse("flipside help inject"), Ok(()));
    for (command, word) in [
        ("flipside inject --checkpoint a --data b --injection 3", "--injection"),
        ("cargo run --release -- inject --checkpoint a", "--data"),
        ("flipside enject", "enject"),
        ("flipside merge 'a.sqlite", "quotation"),
        ("bash scripts/nowhere.sh", "there is no scripts/nowhere.sh"),
        ("rm -r data", "unknown"),
    ] {
        let said = parse(command).unwrap_err();
        assert!(said.contains(word), "{command}: {said}");
    }
    let prose = |line: &str| {
        let prose = vec![(1, line.to_string())];
        let page = Page { name: "docs/page.md", prose, blocks: Vec::new() };
        let mut faults = Vec::new();
        check_prose(&page, &mut faults);
        check_links(&page, &mut faults);
        faults
    };
    for good in [
        "`flipside help COMMAND`, `--half-width 0.01` and `inject --shard auto/N`",
        "`cargo build --no-default-features`, `src/ops/NAME/cpu.rs`, `tests/pages.rs`",
        "[one](gpu.md), [two](campaigns.md#how-faults-are-counted), [three](https://example.org/x)",
    ] {
        assert_eq!(prose(good), Vec::<String>::new());
    }
    for bad in [
        "`flipside train --resumes`",
        "`--half-wide 0.01`",
        "`inject --shards auto/N`",
        "`flipside trains`",
        "`tests/page.rs`",
        "[one](cpu.md)",
        "[two](campaigns.md#how-faults-are-told)",
    ] {
        assert_eq!(prose(bad).len(), 1, "{bad}: {:?}", prose(bad));
    }
}
