//! CLIP's byte-pair tokenizer: what Hugging Face's `CLIPTokenizer` gives (transformers 5, `tokenizers`).
//!
//! A text is composed (Unicode's NFC), put in lower case character by character and parted at white
//! space into contractions (`'s`), runs of letters, single digits and runs of anything else. The
//! bytes of each part are merged pair by pair, the earliest rule of the vocabulary first. The
//! markers `<|startoftext|>` and `<|endoftext|>` in a text are the tokens that they name.
//!
//! Nothing else is cleaned: HTML entities, mis-decoded letters and control characters stay as they
//! are. (OpenAI's own tokenizer first runs `ftfy` and undoes HTML entities; older tokenizers of
//! transformers ran `ftfy` where it was installed and dropped control characters where it wasn't.)

use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use instant_clip_tokenizer::{Token, Tokenizer as Merger};
use unicode_normalization::UnicodeNormalization;

use crate::{Error, Result};

/// Tokens of a text, start and end among them.
pub const CONTEXT: usize = 77;

/// Tokens of CLIP's vocabulary: 2 · 256 bytes, 48,894 merges, start and end.
const VOCABULARY: u16 = 49408;

/// More bytes of a word than these aren't looked at: they are several times those of [`CONTEXT`]
/// tokens of 32 bytes, the longest that there are, and merging takes the square of their number.
const LONGEST_WORD: usize = 1 << 14;

/// What a vocabulary may have after decompression; CLIP's has 3 MB.
const LARGEST_FILE: u64 = 64 << 20;

const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";

/// Markers under other names, which only the crate that merges knows.
const FOREIGN_MARKERS: [&str; 2] = ["<start_of_text>", "<end_of_text>"];

/// A text as the encoder reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Token ids: start, the text's, end; then more ends, which no encoder looks at.
    pub ids: [u32; CONTEXT],
    /// Tokens up to the first end behind the text, start and end counted: 2 to [`CONTEXT`].
    pub length: usize,
    /// Whether the text had more tokens than fit; its first ones are here, and an end.
    pub truncated: bool,
}

impl Tokens {
    /// The tokens that count.
    pub fn used(&self) -> &[u32] {
        &self.ids[..self.length]
    }
}

/// Splits texts into tokens.
pub struct Tokenizer {
    merger: Merger,
    start: u32,
    end: u32,
}

impl Tokenizer {
    /// With CLIP's own vocabulary, which the crate `instant-clip-tokenizer` has inside.
    pub fn clip() -> Tokenizer {
        Tokenizer::over(Merger::new())
    }

    /// With the merges of a text file: a heading, then two tokens a line, as in OpenAI's
    /// `bpe_simple_vocab_16e6.txt` (also gzipped) and Hugging Face's `merges.txt`. Ids follow from
    /// the lines' order; lines beyond CLIP's 48,894 are left out, as CLIP does.
    ///
    /// # Errors
    /// [`Error::Io`] when the file can't be read, [`Error::File`] with the line that is no merge.
    pub fn from_file(path: &Path) -> Result<Tokenizer> {
        let bytes = read(path)?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::file(path, "isn't a text file of merges (or a .gz of one)"))?;
        let mut lines: Vec<&str> = text.trim_end().lines().collect();
        // A heading has no rule that it could be taken for: `#` is never merged with a `v`.
        if !lines.first().is_some_and(|line| line.contains("#version")) {
            lines.insert(0, "#version: none");
        }
        lines.truncate(1 + usize::from(VOCABULARY) - 512 - 2);
        if lines.len() < 2 {
            return Err(Error::file(path, "holds no merges"));
        }
        for (number, line) in lines.iter().enumerate().skip(1) {
            let tokens = line.split_whitespace().count();
            if tokens != 2 {
                let detail = format!("merge {number} should be two tokens, found {tokens}");
                return Err(Error::file(path, detail));
            }
        }
        let merger = Merger::with_vocabulary(lines.join("\n").as_bytes(), VOCABULARY)
            .map_err(|e| Error::file(path, format!("isn't a list of merges: {e}")))?;
        Ok(Tokenizer::over(merger))
    }

    fn over(merger: Merger) -> Tokenizer {
        let id = |token: Token| u32::from(token.to_u16());
        Tokenizer { start: id(merger.start_of_text()), end: id(merger.end_of_text()), merger }
    }

    /// Number of tokens; ids are below it.
    pub fn vocabulary(&self) -> usize {
        self.end as usize + 1
    }

    /// The tokens of a text.
    pub fn encode(&self, text: &str) -> Tokens {
        let mut ids = vec![self.start];
        for part in parts(text) {
            match part {
                START => ids.push(self.start),
                END => ids.push(self.end),
                plain => self.push_words(plain, &mut ids),
            }
            if ids.len() >= CONTEXT {
                break;
            }
        }
        let truncated = ids.len() >= CONTEXT;
        ids.truncate(CONTEXT - 1);
        ids.push(self.end);
        let length = ids.len();
        ids.resize(CONTEXT, self.end);
        let mut tokens = Tokens { ids: [self.end; CONTEXT], length, truncated };
        tokens.ids.copy_from_slice(&ids);
        tokens
    }

    /// Adds the tokens of a text without markers, until there are enough of them.
    fn push_words(&self, text: &str, ids: &mut Vec<u32>) {
        let mut tokens = Vec::new();
        // No token reaches over white space, so that a word is merged like the text.
        for word in text.split_whitespace() {
            let mut room = LONGEST_WORD;
            let fits = |c: &char| {
                room = room.saturating_sub(c.len_utf8());
                room > 0
            };
            let mut word: String =
                word.nfc().flat_map(char::to_lowercase).take_while(fits).collect();
            for marker in FOREIGN_MARKERS {
                if word.contains(marker) {
                    // The space stands where the parts of a word end anyway.
                    word = word.replace(marker, &marker.replacen('<', "< ", 1));
                }
            }
            tokens.clear();
            self.merger.encode(&word, &mut tokens);
            ids.extend(tokens.iter().map(|token| u32::from(token.to_u16())));
            if ids.len() >= CONTEXT {
                return;
            }
        }
    }
}

/// A text as markers and what lies between them.
fn parts(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        if text.is_empty() {
            return None;
        }
        let found =
            [START, END].into_iter().filter_map(|marker| Some((text.find(marker)?, marker)));
        let cut = match found.min() {
            Some((0, marker)) => marker.len(),
            Some((at, _)) => at,
            None => text.len(),
        };
        let (part, rest) = text.split_at(cut);
        text = rest;
        Some(part)
    })
}

/// A file's bytes, unzipped where they begin like those of gzip.
fn read(path: &Path) -> Result<Vec<u8>> {
    let io = |e| Error::io(path, e);
    let mut bytes = Vec::new();
    File::open(path).map_err(io)?.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut unzipped = Vec::new();
        let mut reader = GzDecoder::new(bytes.as_slice()).take(LARGEST_FILE + 1);
        reader
            .read_to_end(&mut unzipped)
            .map_err(|e| Error::file(path, format!("can't be unzipped: {e}")))?;
        bytes = unzipped;
    }
    if bytes.len() as u64 > LARGEST_FILE {
        let detail = format!("has more than {} MiB, too many for merges", LARGEST_FILE >> 20);
        return Err(Error::file(path, detail));
    }
    Ok(bytes)
}
