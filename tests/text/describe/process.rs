//! `flipside describe` as a process that is stopped, killed, and runs out of disk.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::server::{Reply, Server};
use super::{all, answered, lines, questions, sorted};

const COUNT: usize = 60;

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let place = Place { folder: tempfile::tempdir().unwrap() };
        let text: String = questions(COUNT)
            .iter()
            .map(|question| serde_json::to_string(question).unwrap() + "\n")
            .collect();
        fs::write(place.folder.path().join("questions.jsonl"), text).unwrap();
        place
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("answers.jsonl")
    }

    fn command(&self, shell: &str, url: &str) -> Command {
        let words = format!(
            "{shell} exec {} describe --questions questions.jsonl --out answers.jsonl \
             --base-url {url} --model small --backoff 0.01 --quiet",
            env!("CARGO_BIN_EXE_flipside")
        );
        let mut command = Command::new("sh");
        command
            .args(["-c", &words])
            .current_dir(self.folder.path())
            .env("FLIPSIDE_API_KEY", "sk-secret")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, url: &str) -> Output {
        self.command("", url).output().unwrap()
    }
}

/// Waits until the server has been asked `count` times.
fn wait_for(server: &Server, count: usize) {
    let begun = Instant::now();
    while server.log().len() < count {
        assert!(begun.elapsed() < Duration::from_secs(60), "{} requests", server.log().len());
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

fn error(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!text.contains("panicked") && !text.contains("sk-secret"), "{text}");
    text
}

#[test]
fn ctrl_c_ends_after_what_is_under_way() {
    let (place, server) = (Place::new(), Server::echo(Duration::from_millis(20)));
    let child = place.command("", &server.url()).spawn().unwrap();
    wait_for(&server, 10);
    signal(&child, "-INT");
    let output = child.wait_with_output().unwrap();
    let text = error(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let (asked, done) = (sorted(server.asked()), answered(&lines(&place.out())));
    assert!(done.len() < COUNT);
    assert_eq!(asked, done, "what was asked is answered and kept");
    let left = COUNT - done.len();
    assert!(text.contains(&format!("stopped; {left} questions have no answer")), "{text}");

    let output = place.run(&server.url());
    assert!(output.status.success(), "{}", error(&output));
    assert_eq!(sorted(server.asked()), all(&questions(COUNT)), "asked once each");
    assert_eq!(answered(&lines(&place.out())), all(&questions(COUNT)));
}

#[test]
fn kill_9_loses_nothing_that_was_kept() {
    let (place, server) = (Place::new(), Server::echo(Duration::from_millis(3)));
    let mut kept = Vec::new();
    for round in 1..=5 {
        let asked = server.log().len();
        let mut child = place.command("", &server.url()).spawn().unwrap();
        wait_for(&server, asked + 3 + round);
        signal(&child, "-KILL");
        child.wait().unwrap();
        // Nothing that was in the file before this round was asked again in it.
        let again: Vec<String> =
            server.asked().split_off(asked).into_iter().filter(|q| kept.contains(q)).collect();
        assert_eq!(again, Vec::<String>::new(), "round {round}");
        let text = fs::read_to_string(place.out()).unwrap();
        kept = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|line| line["question"].as_str().unwrap().to_string())
            .collect();
    }
    let before = server.log().len();
    let output = place.run(&server.url());
    assert!(output.status.success(), "{}", error(&output));
    assert!(server.log().len() - before == COUNT - kept.len());
    assert_eq!(answered(&lines(&place.out())), all(&questions(COUNT)));
}

/// A limit on the file's size stands in for a full disk: the write that meets it is cut short.
#[test]
fn a_full_disk_ends_the_run_behind_a_whole_line() {
    let (place, server) = (Place::new(), Server::echo(Duration::ZERO));
    let output = place.command("trap '' XFSZ; ulimit -f 4;", &server.url()).output().unwrap();
    let text = error(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("answers.jsonl") && text.contains("too large"), "{text}");
    let kept = answered(&lines(&place.out()));
    assert!(!kept.is_empty() && kept.len() < COUNT);
    let before = server.log().len();
    let output = place.run(&server.url());
    assert!(output.status.success(), "{}", error(&output));
    assert_eq!(server.log().len() - before, COUNT - kept.len());
    assert_eq!(answered(&lines(&place.out())), all(&questions(COUNT)));
}

#[test]
fn says_what_is_missing_and_how_many() {
    let place = Place::new();
    let hopeless = questions(COUNT)[7].question.clone();
    let server = Server::new(move |_, request| match request.question() == hopeless {
        true => Reply::Say("".into()),
        false => Reply::Say("Fine.".into()),
    });
    let output = place.run(&server.url());
    let text = error(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("1 questions have no answer"), "{text}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("answers.jsonl: 59/60 answers, 59 new"), "{said}");
    assert_eq!(server.log()[0].authorization.as_deref(), Some("Bearer sk-secret"));

    let server = Server::new(|_, _| Reply::Status(401, "", "who are you, sk-secret?".into()));
    let output = place.run(&server.url());
    let text = error(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("401: who are you, [key]?"), "{text}");

    let unset = "unset FLIPSIDE_API_KEY;";
    let output = place.command(unset, &format!("{} --key-env NO_KEY", server.url())).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(error(&output).contains("NO_KEY"), "{}", error(&output));
}
