//! Mutations of text that know its numbers and lines: TOML.

use std::ops::Range;

use super::Dice;

const VALUES: [&str; 19] = [
    "0",
    "-1",
    "3",
    "257",
    "1000",
    "65536",
    "1000000000",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "0.5",
    "1e308",
    "-1e-320",
    "nan",
    "inf",
    "true",
    "\"text\"",
    "[]",
    "{}",
];

/// The text with one to three mutations.
pub fn mutate(dice: &mut Dice, sample: &str, other: &str) -> String {
    let mut text = sample.to_string();
    for _ in 0..1 + dice.below(3) {
        let mut lines: Vec<&str> = text.lines().collect();
        if lines.is_empty() {
            break;
        }
        let line = dice.below(lines.len());
        match dice.below(8) {
            0 => drop(lines.remove(line)),
            1 => lines.push(lines[line]),
            2 => lines.insert(line, *dice.pick(&other.lines().collect::<Vec<_>>())),
            3 => lines[line] = *dice.pick(&other.lines().collect::<Vec<_>>()),
            choice => {
                let numbers = numbers(&text);
                if numbers.is_empty() {
                    break;
                }
                let number = dice.pick(&numbers).clone();
                let value = match choice {
                    4 => "[".repeat(1 + dice.below(4000)),
                    // More of the same: a longer list of stages.
                    5 => [&text[number.clone()]].repeat(1 + dice.below(2000)).join(", "),
                    _ => dice.pick(&VALUES).to_string(),
                };
                text.replace_range(number, &value);
                continue;
            }
        }
        text = lines.join("\n");
    }
    text
}

/// Where numbers stand.
pub fn numbers(text: &str) -> Vec<Range<usize>> {
    let mut numbers: Vec<Range<usize>> = Vec::new();
    for (at, byte) in text.bytes().enumerate() {
        let part = byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
        match numbers.last_mut() {
            Some(last) if part && last.end == at => last.end += 1,
            _ if byte.is_ascii_digit() => numbers.push(at..at + 1),
            _ => {}
        }
    }
    numbers
}
