//! Token ids against transformers' CLIPTokenizer (`tests/oracle/tokens.py`).

use std::io::Read;
use std::io::Write;

use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use flipside::text::Tokenizer;

/// Text, whether it was cut, ids.
type Row = (String, bool, Vec<u32>);

fn rows() -> Vec<Row> {
    let path = crate::root().join("tests/fixtures/text/tokens.json.gz");
    let mut text = String::new();
    GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What differs, all of it, so that one run shows every text.
fn differences(tokenizer: &Tokenizer, rows: &[Row]) -> Vec<String> {
    let differs = |(text, truncated, ids): &Row| {
        let found = tokenizer.encode(text);
        let same = found.used() == ids
            && found.truncated == *truncated
            && found.ids[found.length..].iter().all(|id| *id == 49407);
        (!same).then(|| format!("{text:?}: {:?}, not {ids:?}", found.used()))
    };
    rows.iter().filter_map(differs).collect()
}

#[test]
fn two_thousand_texts_have_the_ids_of_transformers() {
    let rows = rows();
    assert_eq!(rows.len(), 2000);
    assert!(rows.iter().filter(|(_, truncated, _)| *truncated).count() > 100);
    let tokenizer = Tokenizer::clip();
    assert_eq!(tokenizer.vocabulary(), 49408);
    let wrong = differences(&tokenizer, &rows);
    assert!(wrong.is_empty(), "{} texts:\n{}", wrong.len(), wrong.join("\n"));
}

/// The first merges of the vocabulary: ids follow from the lines' order.
const MERGES: &str = "#version: 0.2\ni n\nt h\na n\nr e\nth e</w>\n";

#[test]
fn a_file_of_merges_is_read_in_each_form() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("merges.txt"), MERGES).unwrap();
    std::fs::write(path("headless.txt"), MERGES.split_once('\n').unwrap().1).unwrap();
    std::fs::write(path("windows.txt"), MERGES.replace('\n', "\r\n")).unwrap();
    let mut zipped = GzEncoder::new(Vec::new(), flate2::Compression::best());
    zipped.write_all(MERGES.as_bytes()).unwrap();
    std::fs::write(path("vocabulary.txt.gz"), zipped.finish().unwrap()).unwrap();
    for name in ["merges.txt", "headless.txt", "windows.txt", "vocabulary.txt.gz"] {
        let tokenizer = Tokenizer::from_file(&path(name)).unwrap();
        assert_eq!(tokenizer.vocabulary(), 512 + 5 + 2, "{name}");
        // 512 bytes with and without the end of a word, then `in`, `th`, `an`, `re`, `the</w>`.
        let tokens = tokenizer.encode("The  inn");
        let n_at_the_end = 256 + u32::from(b'n' - b'!');
        assert_eq!(tokens.used(), [517, 516, 512, n_at_the_end, 518], "{name}");
    }
}

#[test]
fn a_file_that_is_no_list_of_merges_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("merges.txt");
    let mut zip = vec![0x1f, 0x8b];
    zip.extend([8; 40]);
    let cases: [(&[u8], &str); 6] = [
        (b"", "no merges"),
        (b"#version: 0.2\n", "no merges"),
        (b"#version: 0.2\ni n\nt h e\n", "merge 2 should be two tokens, found 3"),
        (b"#version: 0.2\ni n\nxyz n\n", "isn't a list of merges"),
        (b"\xff\xfe\x00\x01", "isn't a text file"),
        (&zip, "can't be unzipped"),
    ];
    for (bytes, expected) in cases {
        std::fs::write(&path, bytes).unwrap();
        let error = Tokenizer::from_file(&path).err().unwrap().to_string();
        assert!(error.contains("merges.txt") && error.contains(expected), "{error}");
    }
    assert!(Tokenizer::from_file(&folder.path().join("none.txt")).is_err());
}

/// Merging takes the square of a word's length: a megabyte without a space must not take hours.
#[test]
fn a_huge_word_takes_no_huge_time() {
    let tokenizer = Tokenizer::clip();
    let huge: String = (0..1u32 << 20).map(|i| char::from(b'a' + (i * i % 26) as u8)).collect();
    let tokens = tokenizer.encode(&huge);
    assert!(tokens.truncated && tokens.length == 77);
    assert_eq!(tokens, tokenizer.encode(&huge[..5000]));
    assert_eq!(tokenizer.encode(&"word ".repeat(1 << 18)).length, 77);
}
