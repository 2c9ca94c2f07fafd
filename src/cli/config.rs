//! A command's flags as a TOML file: a key for each flag, by its long name. What keys there are and what they take is
//! read off clap's description of the command, so that a new flag is there by itself.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::error::Error as _;
use std::ffi::OsString;
use std::num::ParseIntError;
use std::path::Path;

use clap::builder::{Resettable, StyledStr};
use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use toml::Value;

use crate::error::shorten;
use crate::models::onnx::is_onnx;
use crate::plan::Temperature;
use crate::statistics::Confidence;
use crate::{Error, Result};

/// Flags that were given, by their long names, with their values; one that takes no value has none.
pub type Given = BTreeMap<String, Vec<String>>;

/// The flag that only an .onnx model can do without.
const CHECKPOINT: &str = "checkpoint";

/// What a key's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyKind {
    Switch,
    Whole,
    Real,
    /// A number, or words.
    Either,
    Text,
}

impl KeyKind {
    fn of(arg: &Arg) -> KeyKind {
        if !arg.get_action().takes_values() {
            return KeyKind::Switch;
        }
        let parser = arg.get_value_parser().type_id();
        let is_one = |types: &[TypeId]| types.iter().any(|of| parser == *of);
        let whole =
            [TypeId::of::<u16>(), TypeId::of::<u32>(), TypeId::of::<u64>(), TypeId::of::<usize>()];
        match () {
            () if is_one(&whole) => KeyKind::Whole,
            () if is_one(&[
                TypeId::of::<f32>(),
                TypeId::of::<f64>(),
                TypeId::of::<Confidence>(),
            ]) =>
            {
                KeyKind::Real
            }
            () if is_one(&[TypeId::of::<Temperature>()]) => KeyKind::Either,
            () => KeyKind::Text,
        }
    }

    /// What it takes, in words.
    fn words(self, is_list: bool) -> &'static str {
        match (self, is_list) {
            (KeyKind::Switch, _) => "true or false",
            (KeyKind::Whole, false) => "a whole number",
            (KeyKind::Real, false) => "a number",
            (KeyKind::Either, false) => "a number or text in quotes",
            (KeyKind::Text, false) => "text in quotes",
            (KeyKind::Whole | KeyKind::Real, true) => "an array of numbers, as in [1, 2]",
            (KeyKind::Either, true) => {
                "an array of numbers and of texts in quotes, as in [1.5, \"fit\"]"
            }
            (KeyKind::Text, true) => "an array of texts in quotes, as in [\"a\", \"b\"]",
        }
    }

    /// One value as a word of the command line; `None` where it is of another type.
    fn read(self, value: &Value) -> Option<String> {
        match (self, value) {
            (KeyKind::Whole | KeyKind::Real | KeyKind::Either, Value::Integer(number)) => {
                Some(number.to_string())
            }
            (KeyKind::Real | KeyKind::Either, Value::Float(number)) => Some(number.to_string()),
            (KeyKind::Text | KeyKind::Either, Value::String(text)) => Some(text.clone()),
            // TOML's numbers end where an i64 does.
            (KeyKind::Whole, Value::String(text)) if is_large(text) => Some(text.clone()),
            _ => None,
        }
    }

    /// The reverse of [`KeyKind::read`].
    fn write(self, word: &str) -> Value {
        let text = || Value::String(word.into());
        let whole = || word.parse().ok().map(Value::Integer);
        let real = || word.parse().ok().map(Value::Float);
        match self {
            KeyKind::Switch => Value::Boolean(true),
            KeyKind::Whole => whole().unwrap_or_else(text),
            KeyKind::Real => real().unwrap_or_else(text),
            KeyKind::Either => whole().or_else(real).unwrap_or_else(text),
            KeyKind::Text => text(),
        }
    }
}

/// Whether a whole number has no place in an `i64`.
fn is_large(text: &str) -> bool {
    text.parse::<u64>().is_ok_and(|number| i64::try_from(number).is_err())
}

/// The flags of a command that a file can hold.
pub struct Flags {
    command: Command,
    /// Flags that no file holds.
    beside: &'static [&'static str],
}

impl Flags {
    /// All flags of `command` but those `beside` it.
    pub fn of(command: Command, beside: &'static [&'static str]) -> Flags {
        Flags { command, beside }
    }

    /// The keys, in the order of their declaration.
    fn keys(&self) -> impl Iterator<Item = (&str, &Arg)> {
        let keys = self.command.get_arguments().filter_map(|arg| Some((arg.get_long()?, arg)));
        keys.filter(|(long, _)| *long != "help" && !self.beside.contains(long))
    }

    fn arg(&self, key: &str) -> Option<&Arg> {
        self.keys().find(|(known, _)| *known == key).map(|(_, arg)| arg)
    }

    /// The flags among `words`, the first of which is the command's name, whatever else they need or exclude; `None`
    /// where clap has something to say.
    pub fn look(&self, words: &[OsString]) -> Option<ArgMatches> {
        self.parse_freely(words.iter().cloned()).ok()
    }

    fn parse_freely(
        &self,
        words: impl IntoIterator<Item = OsString>,
    ) -> std::result::Result<ArgMatches, clap::Error> {
        let free = |arg: Arg| {
            let arg = arg.required(false);
            arg.conflicts_with(Resettable::Reset).requires(Resettable::Reset)
        };
        self.command.clone().mut_args(free).try_get_matches_from(words)
    }

    /// What was typed.
    ///
    /// # Errors
    /// A value that isn't Unicode, which TOML has no form for.
    pub fn given(&self, matches: &ArgMatches) -> Result<Given> {
        let mut given = Given::new();
        for (key, arg) in self.keys() {
            let id = arg.get_id().as_str();
            if matches.value_source(id) != Some(ValueSource::CommandLine) {
                continue;
            }
            let mut values = Vec::new();
            if KeyKind::of(arg) != KeyKind::Switch {
                for value in matches.get_raw(id).into_iter().flatten() {
                    let value = value.to_str().ok_or_else(|| {
                        let shown = value.to_string_lossy();
                        Error::usage(format!(
                            "--{key} {shown}: the value isn't Unicode, and can't be kept"
                        ))
                    })?;
                    values.push(value.to_string());
                }
            }
            given.insert(key.into(), values);
        }
        Ok(given)
    }

    /// Whether two flags exclude each other.
    pub fn conflict(&self, a: &str, b: &str) -> bool {
        let excludes = |a: &str, b: &str| {
            let Some(arg) = self.arg(a) else { return false };
            self.command.get_arg_conflicts_with(arg).iter().any(|arg| arg.get_long() == Some(b))
        };
        excludes(a, b) || excludes(b, a)
    }

    /// Flags that the command can't do without and that aren't among `given`.
    pub fn missing(&self, given: &Given) -> Vec<String> {
        let words = |key: &str| given.get(key).into_iter().flatten();
        // Such a model brings its own weights.
        let is_onnx = words("model").any(|model| is_onnx(Path::new(model)));
        let missing = self.keys().filter(|(key, arg)| {
            let is_needed = arg.is_required_set() || *key == CHECKPOINT && !is_onnx;
            is_needed && !given.contains_key(*key)
        });
        missing.map(|(key, _)| format!("--{key}")).collect()
    }

    /// The flags that `text` holds, which is what is in `path`.
    ///
    /// # Errors
    /// [`Error::File`] that names the key: text that isn't TOML, a key that is no flag, a value of another type or that
    /// the flag doesn't take, keys that exclude each other.
    pub fn read(&self, path: &Path, text: &str) -> Result<Given> {
        let refuse = |detail: String| Err(Error::file(path, detail));
        let table: toml::Table = match toml::from_str(text) {
            Ok(table) => table,
            Err(error) => {
                let before = error.span().map_or("", |span| &text[..span.start.min(text.len())]);
                let line = before.matches('\n').count() + 1;
                let told = error.message().lines().next().unwrap_or_default();
                return refuse(format!("line {line}: isn't TOML: {told}"));
            }
        };
        let mut given = Given::new();
        for (key, value) in &table {
            let Some(arg) = self.arg(key) else { return refuse(self.unknown(key)) };
            let (kind, is_list) = (KeyKind::of(arg), is_list(arg));
            let values = match value {
                Value::Array(items) if is_list && items.is_empty() => {
                    return refuse(format!(
                        "'{key}' has nothing in it: leave it out, or name some"
                    ));
                }
                Value::Boolean(false) if kind == KeyKind::Switch => continue,
                Value::Boolean(true) if kind == KeyKind::Switch => Some(Vec::new()),
                Value::Array(items) if is_list => {
                    items.iter().map(|item| kind.read(item)).collect()
                }
                // One of a list may stand alone, as on the command line.
                value => kind.read(value).map(|word| vec![word]),
            };
            let Some(values) = values else {
                return refuse(format!(
                    "'{key}' takes {}, not {}",
                    kind.words(is_list),
                    told(&value.to_string())
                ));
            };
            for value in &values {
                let words = ["flipside".into(), format!("--{key}={value}").into()];
                if let Err(error) = self.parse_freely(words) {
                    return refuse(format!(
                        "'{key}' can't be '{}': {}",
                        told(value),
                        shorten(&reason(&error), 300)
                    ));
                }
            }
            given.insert(key.clone(), values);
        }
        let mut pairs = given.keys().flat_map(|a| given.keys().map(move |b| (a, b)));
        match pairs.find(|(a, b)| a < b && self.conflict(a, b)) {
            Some((a, b)) => refuse(format!("'{a}' and '{b}' exclude each other")),
            None => Ok(given),
        }
    }

    fn unknown(&self, key: &str) -> String {
        let known: Vec<&str> = self.keys().map(|(key, _)| key).collect();
        let error = self.parse_freely(["flipside".into(), format!("--{key}=1").into()]).err();
        let nearest =
            error.as_ref().and_then(|error| match error.get(ContextKind::SuggestedArg)? {
                ContextValue::String(flag) => Some(flag.trim_start_matches('-')),
                _ => None,
            });
        let nearest = nearest.filter(|nearest| known.contains(nearest));
        let known = match nearest {
            Some(nearest) => format!("a similar one is '{nearest}'"),
            None => format!("known: {}", known.join(", ")),
        };
        format!("there is no key '{}'; {known}", told(key))
    }

    /// `own`, and what `given` says beside it that `own` neither says nor excludes.
    pub fn merge(&self, own: &Given, given: Given) -> Given {
        let mut merged = own.clone();
        for (key, values) in given {
            if !own.keys().any(|said| *said == key || self.conflict(said, &key)) {
                merged.insert(key, values);
            }
        }
        merged
    }

    /// The flags as words of a command line.
    pub fn words(given: &Given) -> impl Iterator<Item = OsString> {
        given.iter().flat_map(|(key, values)| {
            let switch = values.is_empty().then(|| format!("--{key}"));
            let valued = values.iter().map(move |value| format!("--{key}={value}"));
            switch.into_iter().chain(valued).map(OsString::from)
        })
    }

    /// The flags as such a file.
    pub fn write(&self, given: &Given) -> String {
        let lines = self.keys().filter_map(|(key, arg)| Some(line(key, arg, given.get(key)?)));
        lines.collect()
    }

    /// The flags as such a file, with what each of them is, and with those that weren't given as comments.
    pub fn template(&self, given: &Given, heading: &str) -> String {
        let mut text = format!("{}\n", comment(heading));
        for (key, arg) in self.keys() {
            let what = arg.get_long_help().or(arg.get_help()).map(StyledStr::to_string);
            text.push_str(&format!("\n{}\n", comment(&what.unwrap_or_default())));
            match given.get(key) {
                Some(values) => text.push_str(&line(key, arg, values)),
                None => text.push_str(&format!("# {}", self.absent(key, arg))),
            }
        }
        text
    }

    /// The line of a flag that wasn't given: its default, or what its value is called.
    fn absent(&self, key: &str, arg: &Arg) -> String {
        let default = arg.get_default_values().first().and_then(|value| value.to_str());
        match (KeyKind::of(arg), default) {
            (KeyKind::Switch, _) => format!("{key} = false\n"),
            (_, Some(default)) => line(key, arg, &[default.into()]),
            (_, None) => {
                let name = arg.get_value_names().and_then(|names| names.first());
                let name = name.map_or("VALUE", |name| name.as_str());
                let value = if is_list(arg) { format!("[{name}]") } else { name.into() };
                let needed = match key {
                    _ if arg.is_required_set() => "  # needed",
                    CHECKPOINT => "  # needed unless the model is an .onnx file",
                    _ => "",
                };
                format!("{key} = {value}{needed}\n")
            }
        }
    }
}

/// Whether a flag can have several values.
fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

/// `key = value`.
fn line(key: &str, arg: &Arg, values: &[String]) -> String {
    let kind = KeyKind::of(arg);
    let value = match values {
        _ if is_list(arg) => Value::Array(values.iter().map(|value| kind.write(value)).collect()),
        [value, ..] => kind.write(value),
        [] => Value::Boolean(true),
    };
    format!("{key} = {value}\n")
}

/// The columns of a comment.
const COLUMNS: usize = 100;

fn comment(text: &str) -> String {
    let how = textwrap::Options::new(COLUMNS).initial_indent("# ").subsequent_indent("# ");
    textwrap::fill(text, how)
}

/// What a file says, made fit for a message.
fn told(text: &str) -> String {
    shorten(text, 100)
}

/// Why clap doesn't take a value.
fn reason(error: &clap::Error) -> String {
    if let Some(source) = error.source() {
        return match source.is::<ParseIntError>() {
            true => "it takes whole numbers from 0 on".into(),
            false => source.to_string(),
        };
    }
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(known)) if !known.is_empty() => {
            format!("known: {}", known.join(", "))
        }
        _ => error.kind().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inject() -> Flags {
        let command = crate::cli::command();
        Flags::of(command.find_subcommand("inject").unwrap().clone(), &["config"])
    }

    fn given(flags: &Flags, words: &str) -> Given {
        let words: Vec<OsString> = words.split_whitespace().map(OsString::from).collect();
        flags.given(&flags.look(&words).unwrap()).unwrap()
    }

    /// Of every flag that takes a number, text or nothing, written and read again.
    #[test]
    fn flags_are_read_as_they_are_written() {
        let flags = inject();
        let typed = "inject --data a --checkpoint b.pth --injections 7 --half-width .5 --confidence 0.9 --ber 1e-6 \
                     --seed 18446744073709551615 --layer fc --layer type:conv2d --detector none,range --verify 3 \
                     --temperature fit,1.5,range=20 --right-in c --json -q --threads 2 --site weight";
        let given = given(&flags, typed);
        assert_eq!(given["detector"], ["none", "range"]);
        assert!(given["quiet"].is_empty() && !given.contains_key("bits"));
        let text = flags.write(&given);
        for line in [
            "ber = 0.000001",
            "half-width = 0.5",
            "injections = 7",
            "json = true",
            "layer = [\"fc\", \"type:conv2d\"]",
            "seed = \"18446744073709551615\"",
            "temperature = [\"fit\", 1.5, \"range=20\"]",
        ] {
            assert!(text.lines().any(|known| known == line), "{line}: {text}");
        }
        let back = flags.read("a.toml".as_ref(), &text).unwrap();
        let numbers = |given: &Given, key: &str| given[key][0].parse::<f64>().unwrap();
        for key in ["half-width", "ber", "confidence"] {
            assert_eq!(numbers(&back, key), numbers(&given, key));
        }
        assert_eq!(flags.write(&back), text);
        // The template says the same, and nothing else.
        let template = flags.template(&given, "A campaign");
        assert_eq!(flags.read("a.toml".as_ref(), &template).unwrap(), back);
        assert!(template.lines().all(|line| line.chars().count() <= COLUMNS), "{template}");
        // And every line that is a default can be one that isn't.
        let uncommented: String = template
            .lines()
            .filter_map(|line| line.strip_prefix("# "))
            .filter(|line| line.starts_with("batch = ") || line.starts_with("labels = "))
            .map(|line| format!("{line}\n"))
            .collect();
        let defaults = flags.read("a.toml".as_ref(), &uncommented).unwrap();
        assert_eq!((&defaults["batch"][0][..], &defaults["labels"][0][..]), ("50", "data"));
    }

    #[test]
    fn what_isn_t_understood_is_refused() {
        let flags = inject();
        for (text, parts) in [
            ("sed = 1", &["no key 'sed'", "similar one is 'seed'"][..]),
            ("config = 'a'", &["no key 'config'", "known: model, checkpoint"]),
            ("help = true", &["no key 'help'"]),
            ("[inject]\nseed = 1", &["no key 'inject'"]),
            ("\"\\u001b[2J\" = 1", &["no key '\\u{1b}[2J'"]),
            ("injections = 'many'", &["'injections' takes a whole number, not \"many\""]),
            ("injections = 1.5", &["'injections' takes a whole number, not 1.5"]),
            ("injections = -1", &["'injections' can't be '-1': it takes whole numbers from 0 on"]),
            ("data = 5", &["'data' takes text in quotes, not 5"]),
            ("layer = 1", &["'layer' takes an array of texts", "not 1"]),
            ("layer = []", &["'layer' has nothing in it"]),
            ("layer = [1]", &["'layer' takes an array of texts", "not [1]"]),
            ("json = 'yes'", &["'json' takes true or false"]),
            ("site = 'nowhere'", &["'site' can't be 'nowhere'", "known: output"]),
            ("stratify = 'layer'", &["'stratify' can't be 'layer'", "known: bit"]),
            ("only = 1\ninjections = 2", &["'injections' and 'only' exclude each other"]),
            ("seed = 1\n\nseed = ", &["line 3: isn't TOML"]),
        ] {
            let error = flags.read("plan.toml".as_ref(), text).unwrap_err().to_string();
            assert!(error.starts_with("plan.toml: "), "{error}");
            assert!(parts.iter().all(|part| error.contains(part)), "{text}: {error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
        assert!(flags.read("a.toml".as_ref(), "json = false").unwrap().is_empty());
        assert_eq!(flags.read("a.toml".as_ref(), "layer = 'fc'").unwrap()["layer"], ["fc"]);
    }
}
