//! Questions about classes, and the command that writes them.

use std::fs;

use flipside::text::questions::{PLACEHOLDER, PLAIN, QUESTIONS, Question, Templates};
use serde_json::{Value, json};

use crate::program::Folder;

const CLASSES: &str = "0\tn1\ttench\n1\tn2\tgreat white shark\n2\tn3\tcrane\n3\tn4\tcrane\n";

fn folder() -> Folder {
    let folder = Folder::new();
    fs::write(folder.at("classes.tsv"), CLASSES).unwrap();
    folder
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn shipped_templates_are_what_a_file_may_hold() {
    assert!(QUESTIONS.contains(&"Describe a photo of a {class}"));
    for (shipped, all) in [(Templates::questions(), &QUESTIONS[..]), (Templates::plain(), &PLAIN)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("templates.txt");
        fs::write(&path, format!("\u{feff}# Ours\n\n{}\r\n", all.join("\r\n"))).unwrap();
        assert_eq!(Templates::open(&path).unwrap(), shipped);
        assert!(all.iter().all(|template| template.matches(PLACEHOLDER).count() == 1));
    }
}

#[test]
fn every_question_about_every_class() {
    let folder = folder();
    let said = folder.done("prompts --classes classes.tsv --out q.jsonl");
    assert_eq!(said, "q.jsonl: 40 questions (4 classes × 10)\n");
    let text = fs::read_to_string(folder.at("q.jsonl")).unwrap();
    assert_eq!(folder.done("prompts --classes classes.tsv"), text);
    let lines = lines(&text);
    assert_eq!(lines.len(), 4 * QUESTIONS.len());
    let expected = json!({"class": "n2", "name": "great white shark", "template": 0,
                          "question": "Describe a photo of a great white shark"});
    assert_eq!(lines[10], expected);
    let read = Question::open(&folder.at("q.jsonl")).unwrap();
    assert_eq!(read[39].question, QUESTIONS[9].replace(PLACEHOLDER, "crane"));
    // Two classes of one name are pointed out.
    let output = folder.run("prompts --classes classes.tsv --out q.jsonl");
    let note = String::from_utf8(output.stderr).unwrap();
    assert!(note.contains("n3 and n4") && note.contains("\"crane\""), "{note}");
}

#[test]
fn plain_templates_are_descriptions() {
    let folder = folder();
    let line = json!({"class": "n1", "name": "tench", "template": 0, "text": "a photo of a tench"});
    let text = folder.done("prompts --classes classes.tsv --plain --out p.jsonl");
    assert_eq!(text, "p.jsonl: 4 descriptions (4 classes × 1)\n");
    assert_eq!(lines(&fs::read_to_string(folder.at("p.jsonl")).unwrap())[0], line);
    fs::write(folder.at("t.txt"), "# two\nthe {class}\n{class}, a {class}\n").unwrap();
    let two = lines(&folder.done("prompts --classes classes.tsv --plain --templates t.txt"));
    assert_eq!(two.len(), 8);
    assert_eq!(two[1]["text"], "tench, a tench");
    folder.done("embed --descriptions p.jsonl --classes classes.tsv --hashing --out f.safetensors");
    folder.fails(
        "describe --questions p.jsonl --out a.jsonl --base-url http://localhost --model m",
        1,
        &["p.jsonl: line 1: missing field `question`"],
    );
}

#[test]
fn errors_name_the_file_and_the_line() {
    let folder = folder();
    for (name, text, parts) in [
        ("t.txt", "a {class}\n\nno place\n", ["line 3", "{class}"]),
        ("t.txt", "a {class}\nan {Class}\n", ["line 2", "{class}"]),
        ("t.txt", "# 1\na {class}\nb {class}\na {class} \n", ["line 4", "line 2"]),
        ("t.txt", "# nothing\n", ["t.txt", "no templates"]),
    ] {
        fs::write(folder.at(name), text).unwrap();
        folder.fails("prompts --classes classes.tsv --templates t.txt", 1, &parts);
    }
    for (text, parts) in [
        ("0\tn1\t \n", ["line 1", "empty"]),
        ("0\tn1\ta\n1\tn1\tb\n", ["line 2", "n1"]),
        ("tench\n", ["line 1", "tab"]),
    ] {
        fs::write(folder.at("bad.tsv"), text).unwrap();
        folder.fails("prompts --classes bad.tsv", 1, &["bad.tsv", parts[0], parts[1]]);
    }
    folder.fails("prompts --classes nowhere.tsv", 1, &["nowhere.tsv"]);
    fs::write(folder.at("one.tsv"), "0\tn1\ttench\n").unwrap();
    folder.fails("prompts --classes one.tsv --out no/q.jsonl", 1, &["no/q.jsonl", "no folder"]);
    let question = json!({"class": "n1", "question": "What?"});
    for (text, parts) in [
        (format!("{question}\n\n{question}\n"), ["line 3", "line 1"]),
        (format!("{question}\n{{\"class\": \"n1\"}}\n"), ["line 2", "question"]),
        (format!("{question}\n{{\"class\": \"\", \"question\": \"x\"}}\n"), ["line 2", "empty"]),
        ("nothing\n".into(), ["line 1", "column"]),
        ("\n".into(), ["q.jsonl", "no questions"]),
    ] {
        fs::write(folder.at("q.jsonl"), text).unwrap();
        let error = Question::open(&folder.at("q.jsonl")).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
}
