//! Mutations that know the opcodes of a pickle.

use std::ops::Range;

use super::{Dice, damage};

/// Opcodes that the reader knows, and some that it doesn't.
const OPCODES: &[u8] =
    b"(01234NJKMGXTUBCQR)tl]aed}suhjqrcib.VSpg\x80\x81\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x90\x91\x93\x94\x95\x96";

/// Names of the allow-list, and some that aren't on it.
const GLOBALS: [&str; 12] = [
    "torch._utils\n_rebuild_tensor_v2\n",
    "torch._utils\n_rebuild_tensor\n",
    "torch._utils\n_rebuild_parameter\n",
    "collections\nOrderedDict\n",
    "torch\nSize\n",
    "torch\nDoubleStorage\n",
    "torch\nBoolStorage\n",
    "torch\nComplexFloatStorage\n",
    "argparse\nNamespace\n",
    "builtins\nset\n",
    "posix\nsystem\n",
    "\n\n",
];

/// One to three mutations of what may be several pickles in a row.
pub fn mutate(dice: &mut Dice, pickle: &mut Vec<u8>) {
    for _ in 0..1 + dice.below(3) {
        let steps = steps(pickle);
        if steps.is_empty() {
            return;
        }
        let step = dice.pick(&steps).clone();
        let opcode = pickle[step.start];
        match dice.below(8) {
            0 => pickle[step.start] = *dice.pick(OPCODES),
            1 => drop(pickle.drain(step)),
            2 => {
                let other = pickle[dice.pick(&steps).clone()].to_vec();
                pickle.splice(step.start..step.start, other);
            }
            3 => {
                let gadget = gadget(dice);
                pickle.splice(step.start..step.start, gadget);
            }
            4 => {
                let global = format!("c{}", dice.pick(&GLOBALS));
                if let Some(named) = steps.iter().find(|step| pickle[step.start] == b'c') {
                    pickle.splice(named.clone(), global.into_bytes());
                }
            }
            5 => damage(dice, pickle, b"\x80\x02}."),
            // The numbers and lengths: shapes, strides, offsets, counts of elements, memo indices.
            _ => match opcode {
                b'K' | b'M' | b'J' => {
                    let number = *dice.pick(&[i32::MAX, i32::MIN, -1, 0, 1, 7, 1 << 16, 1 << 24]);
                    let replaced = [&b"J"[..], &number.to_le_bytes()].concat();
                    pickle.splice(step, replaced);
                }
                b'X' => {
                    let length = *dice.pick(&[0, 1, 0x7fff_ffff, u32::MAX]);
                    pickle[step.start + 1..step.start + 5].copy_from_slice(&length.to_le_bytes());
                }
                b'h' | b'q' => pickle[step.start + 1] = dice.below(256) as u8,
                _ => pickle[step.start] = *dice.pick(OPCODES),
            },
        }
    }
}

/// Something that costs little to write and may cost much to read.
fn gadget(dice: &mut Dice) -> Vec<u8> {
    let many = 1 + dice.below(4000);
    let repeated = |bytes: &[u8]| bytes.repeat(many);
    match dice.below(14) {
        0 => b"X\xff\xff\xff\xff".to_vec(),
        1 => b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f".to_vec(),
        2 => b"\x8a\xff".to_vec(),
        3 => b"\x8b\xff\xff\xff\x7f".to_vec(),
        4 => b"\x8e\x00\x00\x00\x00\x01\x00\x00\x00".to_vec(),
        5 => repeated(b"("),
        6 => [b")".to_vec(), repeated(b"\x85")].concat(),
        7 => repeated(b"}"),
        8 => repeated(b"]N\x85"),
        9 => [&b"N"[..], &repeated(b"2")].concat(),
        // A list and a dict that hold themselves, the latter as its state dict.
        10 => b"]q\xfeh\xfea".to_vec(),
        11 => b"}q\xfd(X\x05\x00\x00\x00modelh\xfdX\x06\x00\x00\x00modulNu".to_vec(),
        // The same list of pairs made into a dict again and again.
        12 => {
            let list = [&b"](N"[..], b"NN\x86", b"e"].concat();
            let again = repeated(b"ccollections\nOrderedDict\nh\xfc\x85R0");
            [list, b"q\xfc0".to_vec(), again].concat()
        }
        _ => (0..many as u32).flat_map(|n| [&b"Nr"[..], &n.to_le_bytes(), b"0"].concat()).collect(),
    }
}

/// Where each opcode lies with its argument, as far as the pickles can be followed.
fn steps(pickle: &[u8]) -> Vec<Range<usize>> {
    let mut steps = Vec::new();
    let mut at = 0;
    while let Some(end) = step_end(pickle, at) {
        steps.push(at..end);
        at = end;
    }
    steps
}

fn step_end(pickle: &[u8], at: usize) -> Option<usize> {
    let rest = pickle.get(at + 1..)?;
    let counted = |width: usize| {
        let mut length = [0; 8];
        length[..width].copy_from_slice(rest.get(..width)?);
        usize::try_from(u64::from_le_bytes(length)).ok()?.checked_add(width)
    };
    let argument = match pickle[at] {
        0x80 | b'K' | b'h' | b'q' => 1,
        b'M' => 2,
        b'J' | b'j' | b'r' => 4,
        b'G' | 0x95 => 8,
        0x8a | 0x8c | b'U' | b'C' => counted(1)?,
        0x8b | b'X' | b'T' | b'B' => counted(4)?,
        0x8d | 0x8e | 0x96 => counted(8)?,
        b'c' => {
            let first = rest.iter().position(|b| *b == b'\n')? + 1;
            first + rest[first..].iter().position(|b| *b == b'\n')? + 1
        }
        _ => 0,
    };
    (argument <= rest.len()).then_some(at + 1 + argument)
}
