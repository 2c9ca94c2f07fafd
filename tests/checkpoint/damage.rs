//! Damaged files, and files that are something else: an error each, never a panic.

use std::fs;
use std::path::Path;
use std::process::Command;

use flipside::checkpoint::{Checkpoint, write_safetensors};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::{READABLE, fixture, forge, open};

fn parse(bytes: &[u8]) -> Result<Checkpoint, String> {
    Checkpoint::parse(Path::new("damaged"), bytes).map_err(|e| e.to_string())
}

/// Every readable fixture, and one of them as safetensors.
fn samples() -> Vec<(String, Vec<u8>)> {
    let mut samples: Vec<_> =
        READABLE.map(|name| (name.to_string(), fs::read(fixture(name)).unwrap())).into();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    write_safetensors(&path, open("dtypes.pth").iter(), &Default::default()).unwrap();
    samples.push(("a.safetensors".into(), fs::read(path).unwrap()));
    samples
}

#[test]
fn a_truncated_file_is_an_error_wherever_it_ends() {
    for (name, bytes) in samples() {
        let ends = (0..bytes.len()).step_by(97).chain([1, 2, 4, 8, 9, bytes.len() - 1]);
        for end in ends {
            assert!(parse(&bytes[..end]).is_err(), "{name} cut to {end} bytes");
        }
    }
    let zip = fs::read(fixture("bare.pth")).unwrap();
    let error = parse(&zip[..zip.len() / 2]).unwrap_err();
    assert!(error.contains("truncated"), "{error}");
}

#[test]
fn a_flipped_bit_in_the_data_fails_its_checksum() {
    let mut bytes = fs::read(fixture("bare.pth")).unwrap();
    let one = 1f32.to_le_bytes();
    let at = bytes.windows(8).position(|w| w[..4] == [0; 4] && w[4..] == one).unwrap();
    bytes[at + 4] ^= 1;
    let error = parse(&bytes).unwrap_err();
    assert!(error.contains("`bare/data/0`") && error.contains("checksum"), "{error}");
}

#[test]
fn what_is_no_checkpoint_is_called_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut compressed = forge::zip(&[("a/data.pkl", b"N.")], false);
    let directory = compressed.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    compressed[directory + 10] = 8;
    let cases: [(&str, &[u8], &str); 10] = [
        ("empty.pth", b"", "empty"),
        ("text.pth", b"Not found\nsorry\n", "text file (it starts with `Not found`)"),
        ("lfs.pth", b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS"),
        ("short.pth", b"\x00\x01", "only 2 bytes"),
        ("noise.pth", &[0xff; 64], "unknown kind"),
        ("other.zip", &forge::zip(&[("readme.txt", b"hello")], false), "no data.pkl"),
        ("deflated.pth", &compressed, "compressed"),
        ("list.pth", b"\x80\x02].", "torch.save didn't write it"),
        ("none.pth", &forge::zip(&[("a/data.pkl", b"\x80\x02N.")], false), "holds None"),
        ("short.safetensors", b"\x40\0\0\0\0\0\0\0{\"a\":", "truncated"),
    ];
    for (name, bytes, part) in cases {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let error = Checkpoint::open(&path).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(part), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
    let error = Checkpoint::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("directory"), "{error}");
    let error = Checkpoint::open(&folder.path().join("gone.pth")).unwrap_err().to_string();
    assert!(error.contains("gone.pth") && error.contains("No such file"), "{error}");
}

/// Reads 2,000 mutations of each sample, and as many with the checksums taken out of the zip
/// directory, so that they reach the pickle reader.
fn read_mutations() -> usize {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut opened = 0;
    for (name, bytes) in samples() {
        let mut unchecked = bytes.clone();
        for at in 0..bytes.len() - 20 {
            if bytes[at..].starts_with(b"PK\x01\x02") {
                unchecked[at + 16..at + 20].fill(0);
            }
        }
        let pickle = bytes.len().min(if name.ends_with(".pth") { 1200 } else { 400 });
        for n in 0..4000 {
            let mut mutated = if n % 2 == 0 { bytes.clone() } else { unchecked.clone() };
            // Half of the unchecked ones in the first part of the file, where the pickle lies.
            let range = if n % 4 == 1 { pickle } else { mutated.len() };
            for _ in 0..1 + random.next_u32() % 3 {
                let at = random.next_u32() as usize % range;
                mutated[at] = match random.next_u32() % 4 {
                    0 => 0xff,
                    1 => mutated[at] ^ (1 << (random.next_u32() % 8)),
                    _ => random.next_u32() as u8,
                };
            }
            match parse(&mutated) {
                Ok(_) => opened += 1,
                Err(error) => assert!(error.len() < 1000, "{name}, mutation {n}: {error}"),
            }
        }
    }
    opened
}

/// The most memory that this process has held, in KiB; none where the system doesn't say.
fn peak_kib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Runs in a process of its own, see below: peaks of memory belong to a process.
#[test]
#[ignore = "started by mutated_files_neither_panic_nor_take_memory"]
fn mutations_in_a_process_of_their_own() {
    let opened = read_mutations();
    let peak = peak_kib().unwrap_or(0);
    println!("{opened} mutations still open; peak {peak} KiB");
    // 16 MiB of tensors from a small file are allowed, and a second copy for strided ones; the
    // rest is the test program itself.
    assert!(peak < 96 << 10, "peak {peak} KiB");
    assert!(opened > 0);
}

#[test]
fn mutated_files_neither_panic_nor_take_memory() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["checkpoint::damage::mutations_in_a_process_of_their_own", "--exact"])
        .args(["--ignored", "--nocapture"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{said}{}", String::from_utf8_lossy(&child.stderr));
    assert!(said.contains("1 passed"), "{said}");
}
