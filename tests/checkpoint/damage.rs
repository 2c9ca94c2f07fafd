//! Damaged files, and files that are something else: an error each, never a panic.

use std::fs;
use std::path::Path;

use flipside::checkpoint::Checkpoint;

use super::{READABLE, fixture, forge, open, write};

fn parse(bytes: &[u8]) -> Result<Checkpoint, String> {
    Checkpoint::parse(Path::new("damaged"), bytes).map_err(|e| e.to_string())
}

/// Every readable fixture, and two of them as safetensors.
pub fn samples() -> Vec<(String, Vec<u8>)> {
    let mut samples: Vec<_> =
        READABLE.map(|name| (name.to_string(), fs::read(fixture(name)).unwrap())).into();
    let folder = tempfile::tempdir().unwrap();
    for name in ["dtypes", "state_dict"] {
        let path = folder.path().join(format!("{name}.safetensors"));
        write(&path, &open(&format!("{name}.pth")), &Default::default()).unwrap();
        samples.push((format!("{name}.safetensors"), fs::read(path).unwrap()));
    }
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
