//! Mutations of a safetensors header, its length field right again.

use super::{Dice, damage, text};

/// What may stand where a value stood.
const VALUES: [&str; 12] = [
    "-1",
    "18446744073709551615",
    "9223372036854775807",
    "1e400",
    "0.5",
    "null",
    "[]",
    "{}",
    "[0,1]",
    "[18446744073709551615,1]",
    "\"F32\"",
    "\"F4\"",
];

/// The file with one to three mutations of its header.
pub fn mutate(dice: &mut Dice, file: &[u8]) -> Vec<u8> {
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let (mut header, data) = (file[8..8 + length].to_vec(), &file[8 + length..]);
    for _ in 0..1 + dice.below(3) {
        match dice.below(5) {
            0 => damage(dice, &mut header, b"{}"),
            1 => {
                let many = 1 + dice.below(4000);
                let opened = dice.pick(&["[", "{\"a\":"]).repeat(many);
                let at = dice.below(header.len() + 1);
                header.splice(at..at, opened.into_bytes());
            }
            _ => {
                let Ok(text) = std::str::from_utf8(&header) else { break };
                let numbers = text::numbers(text);
                if numbers.is_empty() {
                    break;
                }
                let number = dice.pick(&numbers).clone();
                header.splice(number, dice.pick(&VALUES).bytes());
            }
        }
    }
    let mut mutated = (header.len() as u64).to_le_bytes().to_vec();
    mutated.extend(header);
    mutated.extend(data);
    mutated
}
