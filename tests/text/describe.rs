//! Descriptions from a model: a server of the test's own, which keeps a log of what it was asked.

mod file;
mod process;
pub mod server;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use flipside::Result;
use flipside::progress::{Progress, Silent};
use flipside::text::describe::{self, DescribeOptions, DescribeOutcome, Key, Settings};
use flipside::text::questions::Question;
use serde_json::{Map, Value, json};

use server::{Reply, Server};

/// Questions about classes c0, c1, …
fn questions(count: usize) -> Vec<Question> {
    let question = |i: usize| Question {
        class: format!("c{}", i / 2),
        name: format!("class {}", i / 2),
        template: i % 2,
        question: format!("Question {} about class {}?", i % 2, i / 2),
    };
    (0..count).map(question).collect()
}

fn options(url: &str) -> DescribeOptions {
    DescribeOptions {
        base_url: url.into(),
        key: None,
        settings: Settings {
            model: "small".into(),
            system: Some("Be short.".into()),
            temperature: Some(0.5),
            max_tokens: Some(50),
            seed: Some(7),
            extra: Map::new(),
        },
        concurrency: 3,
        tries: 4,
        backoff: Duration::from_millis(5),
        timeout: Duration::from_secs(20),
    }
}

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place { folder: tempfile::tempdir().unwrap() }
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("answers.jsonl")
    }

    fn run(&self, questions: &[Question], options: &DescribeOptions) -> Result<DescribeOutcome> {
        describe::run(questions, &self.out(), options, &AtomicBool::new(false), &Silent)
    }

    /// The lines of the file, each whole.
    fn lines(&self) -> Vec<Value> {
        lines(&self.out())
    }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is torn: {text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The questions of lines or of a log, sorted.
fn sorted(questions: impl IntoIterator<Item = impl ToString>) -> Vec<String> {
    let mut sorted: Vec<String> = questions.into_iter().map(|q| q.to_string()).collect();
    sorted.sort();
    sorted
}

fn answered(lines: &[Value]) -> Vec<String> {
    sorted(lines.iter().map(|line| line["question"].as_str().unwrap()))
}

fn all(questions: &[Question]) -> Vec<String> {
    sorted(questions.iter().map(|q| &q.question))
}

/// Stops a run after so many answers, and keeps what it is told.
struct StopAfter {
    left: AtomicU64,
    stop: AtomicBool,
    lines: Mutex<Vec<String>>,
}

impl StopAfter {
    fn new(answers: u64) -> StopAfter {
        StopAfter { left: answers.into(), stop: false.into(), lines: Mutex::default() }
    }
}

impl Progress for StopAfter {
    fn begin(&self, _: &str, _: &'static str, _: u64, _: u64) {}
    fn advance(&self, items: u64, _: &str) {
        if self.left.fetch_sub(items, Ordering::SeqCst) == 1 {
            self.stop.store(true, Ordering::SeqCst);
        }
    }
    fn end(&self) {}
    fn line(&self, text: &str) {
        self.lines.lock().unwrap().push(text.into());
    }
}

#[test]
fn asks_each_question_once_and_records_how() {
    let (place, server) = (Place::new(), Server::echo(Duration::ZERO));
    let questions = questions(12);
    let key = "sk-secret-0123456789";
    let options = DescribeOptions { key: Some(Key::new(key).unwrap()), ..options(&server.url()) };
    let outcome = place.run(&questions, &options).unwrap();
    assert_eq!(outcome, DescribeOutcome { answered: 12, ..DescribeOutcome::default() });
    assert_eq!(sorted(server.asked()), all(&questions));
    assert_eq!(answered(&place.lines()), all(&questions));

    let request = &server.log()[0];
    assert_eq!(request.line, "POST /v1/chat/completions HTTP/1.1");
    assert_eq!(request.authorization.as_deref(), Some("Bearer sk-secret-0123456789"));
    let body = json!({
        "model": "small", "temperature": 0.5, "max_tokens": 50, "seed": 7,
        "messages": [{"role": "system", "content": "Be short."},
                     {"role": "user", "content": request.question()}],
    });
    assert_eq!(request.body, body);
    let line = place.lines().into_iter().find(|l| l["class"] == "c3" && l["template"] == 1);
    let expected = json!({
        "class": "c3", "name": "class 3", "template": 1, "question": "Question 1 about class 3?",
        "text": "Seen: Question 1 about class 3?", "model": "small", "system": "Be short.",
        "temperature": 0.5, "max_tokens": 50, "seed": 7, "extra": {}, "finish": "stop",
    });
    assert_eq!(line, Some(expected));
    assert!(!std::fs::read_to_string(place.out()).unwrap().contains(key));

    // Done is done; and a set that has grown asks for what is new.
    assert_eq!(place.run(&questions, &options).unwrap().before, 12);
    assert_eq!(server.log().len(), 12);
    let more = self::questions(15);
    assert_eq!(place.run(&more, &options).unwrap().answered, 3);
    assert_eq!(sorted(server.asked()), all(&more));
}

#[test]
fn what_is_left_out_is_not_sent() {
    let (place, server) = (Place::new(), Server::echo(Duration::ZERO));
    let mut options = options(&server.url());
    let none = Settings {
        system: None,
        temperature: None,
        max_tokens: None,
        seed: None,
        ..options.settings.clone()
    };
    let extra = json!({"top_p": 0.9, "max_completion_tokens": 60}).as_object().unwrap().clone();
    options.settings = Settings { extra, ..none };
    place.run(&questions(1), &options).unwrap();
    let body = json!({
        "model": "small", "top_p": 0.9, "max_completion_tokens": 60,
        "messages": [{"role": "user", "content": "Question 0 about class 0?"}],
    });
    assert_eq!(server.log()[0].body, body);
    assert_eq!(server.log()[0].authorization, None);
}

#[test]
fn a_stopped_run_keeps_what_is_under_way_and_is_continued() {
    let (place, server) = (Place::new(), Server::echo(Duration::from_millis(15)));
    let questions = questions(40);
    let options = options(&server.url());
    let mut runs = 0;
    loop {
        let progress = StopAfter::new(7);
        let outcome =
            describe::run(&questions, &place.out(), &options, &progress.stop, &progress).unwrap();
        runs += 1;
        // Whatever the server was asked is in the file.
        assert_eq!(answered(&place.lines()), sorted(server.asked()));
        assert_eq!(outcome.before + outcome.answered + outcome.left, 40);
        assert!(outcome.answered <= 7 + options.concurrency, "{outcome:?}");
        assert_eq!(outcome.interrupted, outcome.left > 0);
        if outcome.left == 0 {
            break;
        }
    }
    assert!(runs > 3, "{runs} runs");
    assert_eq!(sorted(server.asked()), all(&questions), "asked once each");
}

/// The first tries of a question go wrong in every way that may pass; the last one is answered.
#[test]
fn what_may_pass_is_asked_again() {
    let wrong: [fn() -> Reply; 9] = [
        || Reply::Status(500, "", "{\"error\": {\"message\": \"oops\"}}".into()),
        || Reply::Status(503, "", "busy".into()),
        || Reply::Status(429, "", "".into()),
        || Reply::Status(200, "", "{\"choices\": [".into()),
        || Reply::Status(200, "", "{\"error\": \"no model\"}".into()),
        || Reply::Say("  \n".into()),
        || Reply::Half,
        || Reply::Silence,
        || Reply::Drip(Duration::from_millis(20)),
    ];
    let (place, questions) = (Place::new(), questions(6));
    let first = questions[0].question.clone();
    let server = Server::new(move |_, request| {
        static TRIES: AtomicU64 = AtomicU64::new(0);
        if request.question() != first {
            return Reply::Say("Fine.".into());
        }
        let number = TRIES.fetch_add(1, Ordering::SeqCst) as usize;
        wrong.get(number).map_or_else(|| Reply::Say("At last.".into()), |reply| reply())
    });
    let timeout = Duration::from_millis(1000);
    let options = DescribeOptions { tries: 10, timeout, ..options(&server.url()) };
    let outcome = place.run(&questions, &options).unwrap();
    assert_eq!(outcome, DescribeOutcome { answered: 6, ..DescribeOutcome::default() });
    let times = |i: usize| server.asked().iter().filter(|&q| *q == questions[i].question).count();
    assert_eq!((0..6).map(times).collect::<Vec<_>>(), [10, 1, 1, 1, 1, 1]);
    assert_eq!(answered(&place.lines()), all(&questions));
    let line = place.lines().into_iter().find(|l| l["question"] == *questions[0].question);
    assert_eq!(line.unwrap()["text"], "At last.");
}

#[test]
fn waits_as_long_as_the_server_asks() {
    let (place, questions) = (Place::new(), questions(8));
    let server = Server::new(|number, _| match number {
        2 => Reply::Status(429, "Retry-After: 1\r\n", "slow down".into()),
        _ => Reply::Say("Fine.".into()),
    });
    let options = DescribeOptions { concurrency: 1, ..options(&server.url()) };
    assert_eq!(place.run(&questions, &options).unwrap().answered, 8);
    let log = server.log();
    assert_eq!(log.len(), 9);
    assert_eq!(log[2].question(), log[3].question());
    assert!(log[3].at - log[2].at >= Duration::from_secs(1), "{:?}", log[3].at - log[2].at);

    let server =
        Server::new(|_, _| Reply::Status(503, "Retry-After: 86400\r\n", "tomorrow".into()));
    let place = Place::new();
    let outcome =
        place.run(&questions, &DescribeOptions { base_url: server.url(), ..options }).unwrap();
    let refused = outcome.refused.unwrap();
    assert!(refused.contains("tomorrow") && refused.contains("1440 minutes"), "{refused}");
}

#[test]
fn backs_off_ever_more_slowly() {
    let place = Place::new();
    let server = Server::new(|_, _| Reply::Status(500, "", "".into()));
    let backoff = Duration::from_millis(80);
    let options = DescribeOptions { concurrency: 1, tries: 4, backoff, ..options(&server.url()) };
    let outcome = place.run(&questions(1), &options).unwrap();
    assert_eq!((outcome.answered, outcome.left, outcome.refused), (0, 1, None));
    let log = server.log();
    let waits: Vec<u128> = log.windows(2).map(|w| (w[1].at - w[0].at).as_millis()).collect();
    // 80, 160 and 320 ms less up to half; a busy machine may add to each.
    assert!(waits.len() == 3 && waits.iter().zip([40, 80, 160]).all(|(a, b)| *a >= b), "{waits:?}");
}

#[test]
fn one_hopeless_question_leaves_the_rest_alone() {
    let (place, questions) = (Place::new(), questions(10));
    let hopeless = questions[4].question.clone();
    let server = Server::new(move |_, request| match request.question() == hopeless {
        true => Reply::Status(200, "", "<html>".into()),
        false => Reply::Say("Fine.".into()),
    });
    let progress = StopAfter::new(100);
    let options = options(&server.url());
    let outcome =
        describe::run(&questions, &place.out(), &options, &progress.stop, &progress).unwrap();
    assert_eq!(outcome, DescribeOutcome { answered: 9, left: 1, ..DescribeOutcome::default() });
    assert_eq!(server.log().len(), 9 + 4);
    let lines = progress.lines.lock().unwrap();
    assert!(lines.len() == 1 && lines[0].contains(&questions[4].question), "{lines:?}");
    assert!(lines[0].contains("isn't JSON"), "{lines:?}");
}

#[test]
fn a_refusal_ends_the_run_in_the_servers_words_without_the_key() {
    let (place, key) = (Place::new(), "sk-secret-0123456789");
    for (status, parts) in [(401, "wrong key"), (404, "no such model"), (302, "redirect")] {
        let server = Server::new(move |_, _| {
            let said = format!("wrong key {key}: no such model");
            let body = json!({"error": {"message": said}}).to_string();
            Reply::Status(status, "Location: http://127.0.0.1:1/\r\n", body)
        });
        let key = Some(Key::new(key).unwrap());
        let options = DescribeOptions { key, concurrency: 1, ..options(&server.url()) };
        let outcome = place.run(&questions(30), &options).unwrap();
        let refused = outcome.refused.unwrap();
        assert!(refused.contains(parts) && refused.contains(&status.to_string()), "{refused}");
        assert!(!refused.contains("secret"), "{refused}");
        assert_eq!((server.log().len(), outcome.left), (1, 30));
    }
    assert_eq!(place.lines().len(), 0);
}

#[test]
fn gives_up_on_a_server_that_is_not_there() {
    let place = Place::new();
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let options =
        DescribeOptions { tries: 2, concurrency: 1, ..options(&format!("http://{gone}/v1")) };
    let progress = StopAfter::new(100);
    let outcome =
        describe::run(&questions(100), &place.out(), &options, &progress.stop, &progress).unwrap();
    assert_eq!((outcome.answered, outcome.left), (0, 100));
    let refused = outcome.refused.unwrap();
    assert!(refused.contains(&gone.to_string()) && refused.contains("efused"), "{refused}");
    assert_eq!(progress.lines.lock().unwrap().len(), 3);
}

#[test]
fn nonsense_is_refused_before_anything_is_asked() {
    let place = Place::new();
    for (url, part) in [
        ("localhost:80/v1", "https://HOST/v1"),
        ("ftp://localhost/v1", "https://HOST/v1"),
        ("http:///v1", "https://HOST/v1"),
        ("http://user:secret@localhost/v1", "--key-env"),
        ("http://localhost/v1?key=secret", "https://HOST/v1"),
    ] {
        let error = place.run(&questions(1), &options(url)).unwrap_err().to_string();
        assert!(error.contains(part), "{url}: {error}");
        assert!(!error.contains("user:secret"), "{error}");
    }
    for key in ["", " \n", "two words", "zwölf", "a\nb"] {
        assert!(Key::new(key).is_err(), "{key}");
    }
    let mut wrong = options("http://localhost/v1");
    wrong.settings.extra.insert("messages".into(), json!([]));
    let error = place.run(&questions(1), &wrong).unwrap_err().to_string();
    assert!(error.contains("messages"), "{error}");
    wrong.settings = Settings { temperature: Some(f64::NAN), ..options("").settings };
    assert!(place.run(&questions(1), &wrong).unwrap_err().to_string().contains("temperature"));
    assert!(!place.out().exists());
}
