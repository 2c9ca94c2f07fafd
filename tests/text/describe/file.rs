//! The file of answers, whatever state an earlier run or a person left it in.

use std::fs;
use std::io::Write;
use std::time::Duration;

use flipside::text::describe::{DescribeOptions, DescribeOutcome, Settings};
use serde_json::json;

use super::server::Server;
use super::{Place, all, answered, options, questions};

/// Every cut of the last line, and zeros behind it, are mended; only that line is asked again.
#[test]
fn a_torn_last_line_is_cut_off_wherever_it_is_torn() {
    let (place, server) = (Place::new(), Server::echo(Duration::ZERO));
    let questions = questions(4);
    let options = DescribeOptions { concurrency: 1, ..options(&server.url()) };
    place.run(&questions, &options).unwrap();
    let whole = fs::read(place.out()).unwrap();
    let last = whole[..whole.len() - 1].iter().rposition(|&byte| byte == b'\n').unwrap() + 1;
    for cut in last..whole.len() {
        let asked = server.log().len();
        let mut torn = whole[..cut].to_vec();
        if cut % 3 == 0 {
            torn.extend([0; 100]);
        }
        fs::write(place.out(), &torn).unwrap();
        let outcome = place.run(&questions, &options).unwrap();
        // All but its line feed is all of the line.
        let lost = usize::from(cut < whole.len() - 1 || cut % 3 == 0);
        assert_eq!((outcome.before, outcome.answered), (4 - lost, lost), "cut at {cut}");
        assert_eq!(fs::read(place.out()).unwrap(), whole, "cut at {cut}");
        let again = &server.asked()[asked..];
        assert_eq!(again, &[questions[3].question.clone()][..lost], "cut at {cut}");
    }
}

#[test]
fn other_files_are_refused_and_left_as_they_are() {
    let (place, server) = (Place::new(), Server::echo(Duration::ZERO));
    let questions = questions(4);
    let options = options(&server.url());
    place.run(&questions[..2], &options).unwrap();
    let good = fs::read_to_string(place.out()).unwrap();
    let other = |from: &str, to: &str| good.replace(from, to);
    let repeated = good.lines().next().unwrap().to_string();
    let strange = json!({"class": "c0", "question": "What?", "text": "That."});
    for (text, parts) in [
        ("my notes".to_string(), vec!["isn't the beginning"]),
        ("my notes\n".to_string(), vec!["line 1"]),
        (format!("{good}notes\n{repeated}\n"), vec!["line 3"]),
        (format!("{good}{{\"classes\": 3"), vec!["isn't the beginning"]),
        (other("\"model\":\"small\"", "\"model\":\"large\""), vec!["line 1", "large", "small"]),
        (other("\"seed\":7", "\"seed\":8"), vec!["line 1", "seed 8, not 7"]),
        (format!("{good}{repeated}\n"), vec!["line 3", "line 1"]),
        (format!("{good}{strange}\n"), vec!["line 3", "c0, What?"]),
        (format!("{good}{{\"class\":\"c1\",\"text\":\"x\"}}\n"), vec!["line 3", "lacks"]),
        (other("Seen: Question 0 about class 0?", " "), vec!["empty text"]),
    ] {
        fs::write(place.out(), &text).unwrap();
        let error = place.run(&questions, &options).unwrap_err().to_string();
        for part in parts.iter().chain(&["answers.jsonl"]) {
            assert!(error.contains(part), "no '{part}' in: {error}");
        }
        assert_eq!(fs::read_to_string(place.out()).unwrap(), text);
    }
    assert_eq!(server.log().len(), 2);
    let folder = Place { folder: tempfile::tempdir().unwrap() };
    fs::create_dir(folder.out()).unwrap();
    assert!(folder.run(&questions, &options).is_err());
}

#[test]
fn answers_by_hand_count() {
    let (place, server) = (Place::new(), Server::echo(Duration::ZERO));
    let questions = questions(4);
    let hand = json!({"class": "c0", "question": questions[0].question, "text": "By hand."});
    // The last line without its end, as editors leave it.
    fs::write(place.out(), format!("\n{hand}")).unwrap();
    let outcome = place.run(&questions, &options(&server.url())).unwrap();
    assert_eq!(outcome, DescribeOutcome { before: 1, answered: 3, ..DescribeOutcome::default() });
    assert!(!server.asked().contains(&questions[0].question));
    let text = fs::read_to_string(place.out()).unwrap();
    let rest = text.strip_prefix(&format!("\n{hand}\n")).unwrap();
    assert_eq!(rest.lines().count(), 3);
}

#[test]
fn two_runs_do_not_write_one_file() {
    let (place, server) = (Place::new(), Server::echo(Duration::ZERO));
    let mut file = fs::File::create(place.out()).unwrap();
    file.write_all(b"").unwrap();
    file.lock().unwrap();
    let error = place.run(&questions(4), &options(&server.url())).unwrap_err().to_string();
    assert!(error.contains("another run"), "{error}");
    drop(file);
    place.run(&questions(4), &options(&server.url())).unwrap();
    assert_eq!(answered(&place.lines()), all(&questions(4)));
}

/// A value that JSON numbers could lose on their way is compared as it was written.
#[test]
fn settings_survive_the_file() {
    let (place, server) = (Place::new(), Server::echo(Duration::ZERO));
    let extra = json!({"top_p": 0.1, "stop": ["\n", "ü"]}).as_object().unwrap().clone();
    let settings = Settings {
        temperature: Some(0.1 + 0.2),
        seed: Some(i64::MIN),
        system: Some("Sag \"es\"\nkurz 🦀".into()),
        extra,
        ..options("").settings
    };
    let options = DescribeOptions { settings, ..options(&server.url()) };
    place.run(&questions(2), &options).unwrap();
    assert_eq!(place.run(&questions(2), &options).unwrap().before, 2);
}
