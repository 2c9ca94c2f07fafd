//! `flipside describe`.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use super::common::{print_json, say, stop_flag};
use crate::progress::{Progress, Silent, for_stderr};
use crate::text::describe::{self, DescribeOptions, DescribeOutcome, Key, SYSTEM, Settings};
use crate::text::questions::Question;
use crate::{Error, Result};

/// The variable that a key is taken from where no flag names another.
const KEY: &str = "FLIPSIDE_API_KEY";

/// Ask a language model the questions of `prompts`, keep its answers
///
/// Any server with OpenAI's chat completions will do: a provider's, or your own (llama.cpp, vLLM, Ollama).
/// OUT is a JSON Lines file that each answer is appended to. A run that was stopped, for whatever reason, is
/// continued by the same command, and no question is asked twice. A file holds the answers of one model under
/// one set of settings; questions may be added but not removed. Servers that are busy, fail or don't answer
/// are asked again after growing delays; a refusal ends the run.
///
/// Without a server, write the file by hand or with another tool: `flipside embed` needs only a line
/// {"class": ID, "text": TEXT} for each description.
#[derive(clap::Args)]
pub struct Args {
    /// File of questions, from `flipside prompts`
    #[arg(long, value_name = "FILE")]
    questions: PathBuf,
    /// File of answers; an existing one is continued
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// URL of the server, without /chat/completions: https://api.openai.com/v1 or http://localhost:11434/v1
    #[arg(long, value_name = "URL", env = "FLIPSIDE_BASE_URL", hide_env_values = true)]
    base_url: String,
    /// Name of the model, as the server knows it
    #[arg(long, env = "FLIPSIDE_MODEL")]
    model: String,
    /// Environment variable that holds the API key; if absent, FLIPSIDE_API_KEY where it is set. The key is
    /// sent to the server, and never shown or stored
    #[arg(long, value_name = "NAME")]
    key_env: Option<String>,
    /// Number of questions that are asked at the same time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: u16,
    /// Attempts per question before it is left for the next run
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..))]
    tries: u32,
    /// Seconds before the second attempt; doubled for each further one, up to a minute
    #[arg(long, default_value_t = 1.0, value_parser = parse_seconds)]
    backoff: f64,
    /// Seconds that a request may take, including the answer
    #[arg(long, default_value_t = 120.0, value_parser = parse_seconds)]
    timeout: f64,
    /// Sampling temperature; none leaves it to the server
    #[arg(long, default_value = "0", value_parser = parse_temperature)]
    temperature: SentTemperature,
    /// Maximum number of tokens per answer; 0 leaves it to the server. CLIP reads 77 of its own tokens
    #[arg(long, default_value_t = 100)]
    max_tokens: u32,
    /// Seed of the server's sampling, where the server takes one
    #[arg(long)]
    seed: Option<i64>,
    /// System prompt; empty for none
    #[arg(long, default_value = SYSTEM)]
    system: String,
    /// Additional fields of the request, as a JSON object: '{"top_p": 0.9}'
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = parse_extra)]
    extra: Map<String, Value>,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
    /// Don't show progress
    #[arg(long, short)]
    quiet: bool,
}

/// A temperature, if one is to be sent: an `Option` itself would make the flag optional to clap.
#[derive(Clone, Copy)]
struct SentTemperature(Option<f64>);

fn parse_temperature(text: &str) -> std::result::Result<SentTemperature, String> {
    match (text, text.parse()) {
        ("none", _) => Ok(SentTemperature(None)),
        (_, Ok(number)) => Ok(SentTemperature(Some(number))),
        _ => Err("is a number, or none".into()),
    }
}

fn parse_seconds(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 86_400.0 => Ok(seconds),
        _ => Err("is a number of seconds above 0, up to a day".into()),
    }
}

fn parse_extra(text: &str) -> std::result::Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("is a JSON object: {error}"))
}

/// The key, from the variable that was named, or from the usual one if it is set.
fn key(name: Option<&str>) -> Result<Option<Key>> {
    let value = match (std::env::var(name.unwrap_or(KEY)), name) {
        (Ok(value), _) => value,
        (Err(std::env::VarError::NotPresent), None) => return Ok(None),
        (Err(_), _) => {
            let name = name.unwrap_or(KEY);
            return Err(Error::usage(format!("the variable {name} is not set, or not text")));
        }
    };
    let named = |error| Error::usage(format!("{}: {error}", name.unwrap_or(KEY)));
    Key::new(&value).map(Some).map_err(named)
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let questions = Question::open(&args.questions)?;
    let options = DescribeOptions {
        base_url: args.base_url.clone(),
        key: key(args.key_env.as_deref())?,
        settings: Settings {
            model: args.model.clone(),
            system: Some(args.system.clone()).filter(|system| !system.is_empty()),
            temperature: args.temperature.0,
            max_tokens: Some(args.max_tokens).filter(|&most| most > 0),
            seed: args.seed,
            extra: args.extra.clone(),
        },
        concurrency: args.concurrency.into(),
        tries: args.tries,
        backoff: Duration::from_secs_f64(args.backoff),
        timeout: Duration::from_secs_f64(args.timeout),
    };
    let progress: Box<dyn Progress> = if args.quiet { Box::new(Silent) } else { for_stderr() };
    let outcome = describe::run(&questions, &args.out, &options, stop_flag()?, progress.as_ref())?;
    let DescribeOutcome { before, answered, cut_off, left, interrupted, refused } = &outcome;
    if args.json {
        print_json(&serde_json::json!({
            "out": args.out, "questions": questions.len(), "answered_before": before,
            "answered": answered, "cut_off": cut_off, "left": left,
        }))?;
    } else {
        let (out, total) = (args.out.display(), questions.len());
        let cut_off = match cut_off {
            0 => String::new(),
            n => format!("; {n} were cut off at --max-tokens"),
        };
        say(&format!("{out}: {}/{total} answers, {answered} new{cut_off}", before + answered))?;
    }
    let why = match (refused, interrupted) {
        (Some(why), _) => format!("{why}; "),
        (None, true) => "stopped; ".into(),
        (None, false) => String::new(),
    };
    anyhow::ensure!(
        *left == 0,
        "{why}{left} questions have no answer; run the same command again to continue"
    );
    Ok(())
}
