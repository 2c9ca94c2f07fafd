//! Examples at the end of each command's `--help`.

use anstyle::Style;
use clap::Command;
use clap::builder::StyledStr;

/// Commands, and of each what an example does and its line, less `flipside`.
const EXAMPLES: &[(&str, &[(&str, &str)])] = &[
    (
        "study",
        &[
            ("On the images that are built in", "study --out study"),
            ("A look at what it does, in a minute", "study --quick"),
            (
                "On a data set of your own",
                "study --model resnet18 --data data --text-features features.safetensors --class-list classes.tsv --out study",
            ),
        ],
    ),
    (
        "reproduce",
        &[
            (
                "Everything at a small scale, on the images that are built in",
                "reproduce --scale small --out reproduction",
            ),
            (
                "What two rows of the table take, and what is missing",
                "reproduce resnet50 swin_v2_t --checkpoints zoo --data imagenet --out reproduction --plan",
            ),
            (
                "The whole main table, trained, a part of it by each job of an array",
                "reproduce imagenet --train --data imagenet --text-features gpt3.safetensors --out reproduction --shard auto",
            ),
        ],
    ),
    (
        "train",
        &[
            ("A baseline", "train --model resnet18 --data data --out baseline"),
            (
                "A text-guided network, from the features of `flipside embed`",
                "train --model resnet18 --data data --text-features features.safetensors --out guided",
            ),
            (
                "Go on after an interruption",
                "train --model resnet18 --data data --out baseline --resume",
            ),
        ],
    ),
    (
        "eval",
        &[
            (
                "On validation images",
                "eval --checkpoint baseline/model.safetensors --data data/val",
            ),
            (
                "A torchvision checkpoint, with ImageNet's classes",
                "eval --model resnet50 --checkpoint resnet50.pth --data imagenet/val --class-list classes.tsv",
            ),
            (
                "With tensor cores",
                "eval --checkpoint baseline/model.safetensors --data data/val --device cuda --compute tf32",
            ),
        ],
    ),
    (
        "predict",
        &[
            ("The first five answers", "predict --checkpoint baseline/model.safetensors cat.jpg"),
            (
                "With the top exponent bit of an output flipped",
                "predict --checkpoint baseline/model.safetensors cat.jpg --fault layer=conv1,channel=3,row=4,column=5,bit=30",
            ),
            (
                "With a weight stuck at a value",
                "predict --checkpoint baseline/model.safetensors cat.jpg --fault layer=fc,site=weight,out=1,in=3,model=set,value=1.5",
            ),
        ],
    ),
    (
        "visualize",
        &[
            (
                "Where a network looks, without and with a flipped bit",
                "visualize --checkpoint baseline/model.safetensors cat.jpg --fault layer=conv1,channel=3,row=4,column=5,bit=30 --out maps",
            ),
            (
                "Two networks side by side",
                "visualize --checkpoint baseline/model.safetensors --against guided/model.safetensors cat.jpg --fault layer=conv1,channel=3,row=4,column=5,bit=30 --out maps",
            ),
            (
                "The faults of a campaign that did most harm",
                "visualize --checkpoint baseline/model.safetensors --campaign run.sqlite --worst 3 --data data --out maps",
            ),
        ],
    ),
    (
        "inject",
        &[
            (
                "Flip a bit in each of 500 inferences a layer, and keep the records",
                "inject --checkpoint baseline/model.safetensors --data data --injections 500 --out run.sqlite",
            ),
            (
                "Write its flags into a file instead, and run from it",
                "inject --checkpoint baseline/model.safetensors --data data --out run.sqlite --print-config > plan.toml; flipside inject --config plan.toml",
            ),
            ("Go on with it after an interruption", "inject --resume run.sqlite"),
            (
                "Look at one injection",
                "inject --checkpoint baseline/model.safetensors --data data --layer conv1 --only 17",
            ),
            (
                "The weights of convolutions, until SDC rates are known to 1 percentage point",
                "inject --checkpoint baseline/model.safetensors --data data --site weight --layer '*conv*.weight' --half-width 0.01 --out weights.sqlite",
            ),
            (
                "To be compared with another network's campaign, which is given this one's checkpoint",
                "inject --checkpoint guided/model.safetensors --data data --right-in baseline/model.safetensors --out guided.sqlite",
            ),
        ],
    ),
    (
        "rerun",
        &[
            ("A campaign", "rerun run.sqlite"),
            ("A training run or a study, on one thread", "rerun baseline --threads 1"),
            ("A campaign whose images lie elsewhere now", "rerun run.sqlite --data data"),
        ],
    ),
    (
        "merge",
        &[
            ("Two shards", "merge part-1-of-2.sqlite part-2-of-2.sqlite --out run.sqlite"),
            (
                "As many as there are",
                "merge part-1-of-3.sqlite part-2-of-3.sqlite part-3-of-3.sqlite --out run.sqlite",
            ),
            (
                "With what came of it as JSON",
                "merge part-1-of-2.sqlite part-2-of-2.sqlite --out run.sqlite --json",
            ),
        ],
    ),
    (
        "export",
        &[
            ("CSV", "export run.sqlite --out run.csv"),
            ("Parquet, for pandas or DuckDB", "export run.sqlite --out run.parquet"),
            ("A campaign that was merged", "export merged.sqlite --out merged.csv"),
        ],
    ),
    (
        "compare",
        &[
            ("Two networks, hit by the same faults", "compare baseline.sqlite guided.sqlite"),
            ("Layer by layer", "compare baseline.sqlite guided.sqlite --by layer"),
            ("Campaigns whose faults differ", "compare baseline.sqlite other.sqlite --unpaired"),
        ],
    ),
    (
        "plan",
        &[
            ("How many injections show a ratio of 1.2", "plan baseline.sqlite --ratio 1.2"),
            ("From a pilot of both networks", "plan baseline.sqlite guided.sqlite --ratio 1.2"),
            ("How many show 1 percentage point of SDC", "plan baseline.sqlite --points 1"),
        ],
    ),
    (
        "report",
        &[
            ("By bit", "report run.sqlite --by bit"),
            ("A page for a browser", "report baseline.sqlite guided.sqlite --html page.html"),
            (
                "Fail where a network is more fragile than it may be",
                "report run.sqlite --require 'sdc<2%'",
            ),
        ],
    ),
    (
        "cite",
        &[
            ("A campaign", "cite run.sqlite"),
            ("A comparison's table for LaTeX", "cite baseline.sqlite guided.sqlite --only table"),
            ("A study of `flipside study --out study`", "cite study"),
        ],
    ),
    (
        "prompts",
        &[
            (
                "Questions for a language model",
                "prompts --classes classes.tsv --out questions.jsonl",
            ),
            (
                "Descriptions without one",
                "prompts --classes classes.tsv --plain --out descriptions.jsonl",
            ),
            (
                "Templates of your own",
                "prompts --classes classes.tsv --templates templates.txt --plain --out descriptions.jsonl",
            ),
        ],
    ),
    #[cfg(feature = "http")]
    (
        "describe",
        &[
            (
                "A server on this machine",
                "describe --questions questions.jsonl --out answers.jsonl --base-url http://localhost:11434/v1 --model llama3",
            ),
            (
                "One that asks for a key",
                "describe --questions questions.jsonl --out answers.jsonl --base-url https://api.openai.com/v1 --model gpt-4o --key-env OPENAI_API_KEY",
            ),
            (
                "Without a limit to the length of answers",
                "describe --questions questions.jsonl --out answers.jsonl --base-url http://localhost:11434/v1 --model llama3 --max-tokens 0",
            ),
        ],
    ),
    (
        "embed",
        &[
            (
                "With CLIP's text encoder",
                "embed --descriptions answers.jsonl --classes classes.tsv --encoder clip.safetensors --out features.safetensors",
            ),
            (
                "Without one: hashed letters and words",
                "embed --descriptions descriptions.jsonl --classes classes.tsv --hashing --out features.safetensors",
            ),
            (
                "How alike the classes are",
                "embed --describe features.safetensors --picture cosines.svg",
            ),
        ],
    ),
    (
        "models",
        &[
            ("All of them", "models"),
            ("The layers of one", "models resnet18"),
            ("A model of your own, as JSON", "models own.toml --json"),
        ],
    ),
    (
        "convert",
        &[
            (
                "A torchvision checkpoint",
                "convert --model resnet50 --checkpoint resnet50.pth --out resnet50.safetensors",
            ),
            (
                "With names of its classes",
                "convert --model resnet50 --checkpoint resnet50.pth --class-list classes.tsv --out resnet50.safetensors",
            ),
            (
                "The moving average",
                "convert --model resnet50 --checkpoint training.pth --weights ema --out resnet50.safetensors",
            ),
        ],
    ),
    (
        "data info",
        &[
            ("A folder of images", "data info data"),
            ("Known sets where their downloads lie", "data info cifar-10-batches-py"),
            ("A large one, without decoding it", "data info imagenet --split val --headers --json"),
        ],
    ),
    (
        "data list",
        &[
            ("To be read", "data list data"),
            ("For --class-list, --classes", "data list tiny-imagenet-200 --out classes.tsv"),
            ("For another program", "data list food-101 --json"),
        ],
    ),
    (
        "data pack",
        &[
            ("A set as one file", "data pack data --out data.pack"),
            (
                "Pixels, for many epochs",
                "data pack cifar-10-batches-py --decoded --out cifar10.pack",
            ),
            ("One split", "data pack food-101 --split test --out food-test.pack"),
        ],
    ),
    (
        "data preview",
        &[
            ("What a recipe makes of images", "data preview data --model resnet50 --out seen.png"),
            (
                "CIFAR's usual augmentation, in the third epoch",
                "data preview cifar-10-batches-py --model resnet18 --image-size 32 --crop-padding 4 --epoch 3 --out seen.png",
            ),
            (
                "Mixed images",
                "data preview data --model resnet50 --mixup-alpha 0.2 --cutmix-alpha 1 --out seen.png",
            ),
        ],
    ),
    (
        "data synthesize",
        &[
            ("The images of `flipside study`", "data synthesize --out shapes"),
            ("Others, and fewer", "data synthesize --seed 2 --train 1000 --test 200 --out shapes"),
            (
                "To train on",
                "data synthesize --out shapes; flipside train --model resnet_small --data shapes --image-size 32 --out baseline",
            ),
        ],
    ),
    (
        "bench kernels",
        &[
            ("Every operation of a network", "bench kernels --model resnet50 --device cuda"),
            (
                "Convolutions alone, with backward passes",
                "bench kernels --model resnet50 --filter conv2d --backward",
            ),
            ("A trial", "bench kernels --model resnet18 --quick"),
        ],
    ),
    (
        "bench overhead",
        &[
            ("A network and some of its layers", "bench overhead --model resnet50 --device cuda"),
            ("One layer, at each of its sites", "bench overhead --model resnet50 --layer conv1"),
            ("A trial", "bench overhead --model resnet18 --quick"),
        ],
    ),
    (
        "bench inject",
        &[
            ("A campaign, and each layer alone", "bench inject --model resnet50"),
            ("Faults in weights", "bench inject --model resnet18 --site weight"),
            ("A trial", "bench inject --model resnet18 --quick"),
        ],
    ),
];

/// Columns of a terminal.
const COLUMNS: usize = 80;

/// Adds examples to `command`, which is called by `path` behind the program's name, and to its subcommands.
pub fn add(command: Command, path: &str) -> Command {
    let of = EXAMPLES.iter().find(|(known, _)| *known == path).map(|(_, examples)| *examples);
    let command = match of {
        Some(examples) => command.after_long_help(text(examples)),
        None => command,
    };
    command.mut_subcommands(|sub| {
        let path = format!("{path} {}", sub.get_name());
        add(sub, path.trim_start())
    })
}

/// A heading, and each example as a comment and a line for a shell.
fn text(examples: &[(&str, &str)]) -> StyledStr {
    let heading = Style::new().bold().underline();
    let lines = examples.iter().map(|(what, line)| format!("  # {what}\n  {}", folded(line)));
    format!("{heading}Examples:{heading:#}\n{}", lines.collect::<Vec<_>>().join("\n")).into()
}

/// A command line on several lines of a terminal, as a shell takes it.
fn folded(line: &str) -> String {
    let (mut text, mut column) = (String::from("flipside"), 10);
    for word in line.split(' ') {
        let width = word.chars().count() + 1;
        if column + width + 2 > COLUMNS {
            text.push_str(" \\\n     ");
            column = 5;
        }
        text.push(' ');
        text.push_str(word);
        column += width;
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The commands without further ones, by their paths.
    fn leaves(command: &Command, path: &str) -> Vec<String> {
        match command.has_subcommands() {
            false => vec![path.trim_start().to_string()],
            true => command
                .get_subcommands()
                .flat_map(|sub| leaves(sub, &format!("{path} {}", sub.get_name())))
                .collect(),
        }
    }

    #[test]
    fn every_command_has_three_that_parse() {
        let with: BTreeSet<&str> = EXAMPLES.iter().map(|(path, _)| *path).collect();
        let all = leaves(&crate::cli::command(), "");
        let few = ["devices", "completions", "man", "outcomes", "sites"];
        for path in all.iter().filter(|path| !few.contains(&path.as_str())) {
            assert!(with.contains(path.as_str()), "{path} has no examples");
        }
        for (path, examples) in EXAMPLES {
            assert!(all.iter().any(|known| known == path), "{path}");
            assert!(examples.len() >= 3, "{path}");
            for (_, line) in *examples {
                assert!(line.starts_with(path), "{line}");
                let typed = folded(line).replace("\\\n", " ");
                for command in typed.split(';').map(|part| part.split('>').next().unwrap()) {
                    let words = shlex::split(command).unwrap();
                    // Their flags are in a file.
                    if words.iter().any(|word| word == "--config" || word == "--resume")
                        && !words.iter().any(|word| word == "--data")
                    {
                        continue;
                    }
                    if let Err(error) = crate::cli::command().try_get_matches_from(words) {
                        panic!("{command}\n{error}");
                    }
                }
            }
        }
    }
}
