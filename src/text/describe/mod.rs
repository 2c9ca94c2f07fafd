//! Descriptions from a language model: asks an OpenAI-compatible server each question once, and
//! keeps the answers in a file that any number of runs may continue.
//!
//! Workers ask and wait; one thread writes. What a server doesn't answer in a number of tries is
//! reported and left for the next run; what is answered is on the disk before it counts.

mod endpoint;
mod journal;
mod settings;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant, SystemTime};

pub use endpoint::Key;
pub use settings::{SYSTEM, Settings};

use self::endpoint::{Endpoint, Failure};
use self::journal::{Journal, ModelAnswer};
use super::questions::Question;
use crate::progress::Progress;
use crate::rng::{Draw, Stream, stream};
use crate::{Error, Result};

/// The longest wait between two tries, unless the server asks for more.
const MOST_BACKOFF: Duration = Duration::from_secs(60);

/// The longest wait that a server may ask for; beyond it the run ends.
const MOST_WAIT: Duration = Duration::from_secs(3600);

/// So many questions in a row that no server answered, and the rest is not tried.
const SILENT_QUESTIONS: usize = 3;

/// How often a waiting worker looks whether it should stop.
const LOOK: Duration = Duration::from_millis(20);

/// Whom to ask and how patiently.
pub struct DescribeOptions {
    /// The server, up to and without `/chat/completions`.
    pub base_url: String,
    pub key: Option<Key>,
    pub settings: Settings,
    /// Questions under way at the same time, at least 1.
    pub concurrency: usize,
    /// How often one question is asked at most, at least 1.
    pub tries: u32,
    /// The wait before the second try; it doubles for each further one, up to a minute, and a random
    /// part of up to half is taken off.
    pub backoff: Duration,
    /// For a request and all of its answer.
    pub timeout: Duration,
}

/// How a run ended that didn't fail as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribeOutcome {
    /// Questions that earlier runs had answered.
    pub before: usize,
    /// Questions that this run answered.
    pub answered: usize,
    /// Answers of this run that `max_tokens` cut off.
    pub cut_off: usize,
    /// Questions without an answer, given up ones included.
    pub left: usize,
    /// Whether it was told to stop.
    pub interrupted: bool,
    /// Why it ended early, if the server or the disk would have nothing more.
    pub refused: Option<String>,
}

/// What became of a question.
enum AskResult {
    Answered(ModelAnswer),
    /// Given up after all tries; whether the server never answered at all.
    GivenUp {
        why: String,
        silent: bool,
    },
    Refused(String),
    Interrupted,
}

/// Asks what `out` doesn't answer yet, until all is answered or `stop` is set: then nothing more is
/// asked, and what is under way is waited for and kept.
///
/// # Errors
/// [`Error::Usage`] for settings or a URL that make no sense; [`Error::File`] or [`Error::Io`] if
/// `out` can't be continued (a line of another model or question, another run at work).
pub fn run(
    questions: &[Question],
    out: &Path,
    options: &DescribeOptions,
    stop: &AtomicBool,
    progress: &dyn Progress,
) -> Result<DescribeOutcome> {
    let DescribeOptions { settings, concurrency, tries, .. } = options;
    settings.check()?;
    if *concurrency == 0 || *tries == 0 {
        return Err(Error::usage("concurrency and tries are at least 1"));
    }
    let endpoint = Endpoint::new(&options.base_url, options.key.as_ref(), options.timeout)?;
    let mut journal = Journal::open(out, questions, settings)?;
    if let Some(repaired) = &journal.repaired {
        progress.line(repaired);
    }
    let open: Vec<usize> = (0..questions.len()).filter(|&i| !journal.answered[i]).collect();
    let before = questions.len() - open.len();
    let mut outcome = DescribeOutcome { before, ..DescribeOutcome::default() };
    progress.begin("describe", "questions", before as u64, questions.len() as u64);
    let desk = Desk {
        endpoint: &endpoint,
        options,
        stop,
        halt: AtomicBool::new(false),
        next: AtomicUsize::new(0),
        retries: AtomicU64::new(0),
        closed_until: Mutex::new(Instant::now()),
    };
    // Workers wait for the writer: what is answered and not yet on the disk stays as little as can be.
    let (sender, receiver) = mpsc::sync_channel(0);
    std::thread::scope(|scope| {
        for worker in 0..(*concurrency).min(open.len()) {
            let (desk, open, sender) = (&desk, &open, sender.clone());
            scope.spawn(move || desk.work(worker, questions, open, &sender));
        }
        drop(sender);
        let (mut silent_questions, mut writable) = (0, true);
        for (place, asked) in receiver {
            let question: &Question = &questions[place];
            match asked {
                AskResult::Answered(answer) => {
                    silent_questions = 0;
                    if !writable {
                        continue;
                    }
                    if let Err(error) = journal.write(question, &answer, settings) {
                        writable = false;
                        desk.end(&mut outcome, error.to_string());
                        continue;
                    }
                    outcome.answered += 1;
                    outcome.cut_off += usize::from(answer.finish.as_deref() == Some("length"));
                    let retries = desk.retries.load(Ordering::Relaxed);
                    let note =
                        if retries > 0 { format!("{retries} retries") } else { String::new() };
                    progress.advance(1, &note);
                }
                AskResult::GivenUp { why, silent } => {
                    let Question { class, question, .. } = question;
                    progress.line(&format!("no answer for {class}, \"{question}\": {why}"));
                    silent_questions = if silent { silent_questions + 1 } else { 0 };
                    if silent_questions == SILENT_QUESTIONS {
                        let url = endpoint.url();
                        let detail = format!("{url}: {silent_questions} questions in a row: {why}");
                        desk.end(&mut outcome, detail);
                    }
                }
                AskResult::Refused(why) => desk.end(&mut outcome, why),
                AskResult::Interrupted => {}
            }
        }
    });
    progress.end();
    outcome.left = open.len() - outcome.answered;
    outcome.interrupted = outcome.left > 0 && stop.load(Ordering::Relaxed);
    Ok(outcome)
}

/// What workers share.
struct Desk<'a> {
    endpoint: &'a Endpoint<'a>,
    options: &'a DescribeOptions,
    /// Set by the user.
    stop: &'a AtomicBool,
    /// Set by the run itself.
    halt: AtomicBool,
    next: AtomicUsize,
    retries: AtomicU64,
    /// When the server asked not to be asked before.
    closed_until: Mutex<Instant>,
}

impl Desk<'_> {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.halt.load(Ordering::Relaxed)
    }

    /// Ends the run for a reason, of which the first is told.
    fn end(&self, outcome: &mut DescribeOutcome, why: String) {
        outcome.refused.get_or_insert(why);
        self.halt.store(true, Ordering::Relaxed);
    }

    /// One worker: takes questions until there are no more.
    fn work(
        &self,
        worker: usize,
        questions: &[Question],
        open: &[usize],
        results: &mpsc::SyncSender<(usize, AskResult)>,
    ) {
        // Two runs against one server should not wait in step: their jitter is no matter of a seed.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut jitter = stream(now.as_nanos() as u64, &format!("describe/{worker}"));
        while !self.stopped() {
            let Some(&place) = open.get(self.next.fetch_add(1, Ordering::Relaxed)) else { return };
            let asked = self.ask(&questions[place].question, &mut jitter);
            if let AskResult::Refused(_) = asked {
                self.halt.store(true, Ordering::Relaxed); // before anyone asks again
            }
            if results.send((place, asked)).is_err() {
                return; // the writer is gone, and with it the run
            }
        }
    }

    /// Asks one question until it is answered or given up.
    fn ask(&self, question: &str, jitter: &mut Stream) -> AskResult {
        let DescribeOptions { settings, tries, backoff, .. } = self.options;
        let (mut wait, mut number) = (*backoff, 0);
        loop {
            if !self.wait_until_open() {
                return AskResult::Interrupted;
            }
            let (why, silent, after) = match self.endpoint.ask(settings, question) {
                Ok(answer) => return AskResult::Answered(answer),
                Err(Failure::Final(why)) => return AskResult::Refused(why),
                Err(Failure::Unusable(why)) => (why, false, None),
                Err(Failure::Passing { why, after }) => (why, true, after),
            };
            if let Some(after) = after {
                if after > MOST_WAIT {
                    let minutes = after.as_secs() / 60;
                    return AskResult::Refused(format!(
                        "{why}; to be asked again in {minutes} minutes"
                    ));
                }
                self.close_for(after);
            }
            number += 1;
            if number == *tries {
                return AskResult::GivenUp { why, silent };
            }
            self.retries.fetch_add(1, Ordering::Relaxed);
            if !self.sleep_until(Instant::now() + wait.mul_f64(jitter.between(0.5, 1.0))) {
                return AskResult::Interrupted;
            }
            wait = (wait * 2).min(MOST_BACKOFF);
        }
    }

    /// Keeps every worker from asking for a while.
    fn close_for(&self, wait: Duration) {
        let mut closed_until = self.closed_until.lock().unwrap_or_else(PoisonError::into_inner);
        *closed_until = (*closed_until).max(Instant::now() + wait);
    }

    fn wait_until_open(&self) -> bool {
        loop {
            let until = *self.closed_until.lock().unwrap_or_else(PoisonError::into_inner);
            if until <= Instant::now() {
                return !self.stopped();
            }
            if !self.sleep_until(until) {
                return false;
            }
        }
    }

    /// Sleeps, in short naps; false as soon as the run should end.
    fn sleep_until(&self, until: Instant) -> bool {
        loop {
            if self.stopped() {
                return false;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(LOOK));
        }
    }
}
