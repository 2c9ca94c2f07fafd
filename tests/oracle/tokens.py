"""Token ids of two thousand strings, by transformers' CLIPTokenizer, made of the public vocabulary.

The vocabulary is the file that the crate instant-clip-tokenizer carries in cargo's registry (after any
build); nothing is downloaded. Writes tests/fixtures/text/tokens.json.gz: lines of [text, truncated,
ids], start and end among the ids. Random choices are from a seed.

    venv/bin/pip install transformers
    venv/bin/python tests/oracle/tokens.py --classes imagenet_classes.tsv
"""

import argparse
import gzip
import json
import os
import pathlib
import random
import sys

CONTEXT = 77
MERGES = 49152 - 256 - 2

TEMPLATES = [
    "a photo of a {}.", "a photo of the {}", "Describe a photo of a {}", "A photo of many {}.",
    "itap of my {}!", "a black-and-white photo of one {}", "the {} in a video game", "art of the {};",
    "a {} (2 of 3)", "a low-res photo of a {}, taken at 7:45", "This is a {} -- isn't it?", "{}", "{}S",
    "a close-up photo of a dirty {} & a clean {}", "the toy {}'s box", 'graffiti of "{}"',
    "\ta   rendering of\na {} ", "#{} @home", "a {}, which they've drawn; I'll say we're sure it'd fit",
    "MY {}'S COLOUR ISN'T WHAT YOU'D EXPECT",
]  # fmt: skip

# Written out: what rules of cleaning and splitting could get wrong.
ODD = [
    "", " ", "\n\t \r\n", "a", "A", "!", "''", "'", "'s", "'S", "s'", "x's'", "x''s", "it's IT'S It'S",
    "don't DON'T won't've y'all'd've", "don\u2019t it\u2019s \u2018quoted\u2019", "!'s ?'t", "'re're 'll'll",
    "rock'n'roll o'clock", "'m'd't", "a'b'c", "1's 22's", "\u00e9's", "'sunny 'tis 'dear", "can' t",
    "tab\there", "line\nbreak", "cr\r\nlf", "v\vt f\ff", "nbsp\u00a0here", "em\u2003space thin\u2009space",
    "ideographic\u3000space", "next\u0085line", "line\u2028sep para\u2029sep", "zero\u200bwidth", "bom\ufeffhere",
    "word\u2060joiner", "ogham\u1680space", "mongolian\u180evowel", "fs\x1cgs\x1drs\x1eus\x1f.", "nul\x00here",
    "bell\x07 back\x08space esc\x1b[0m del\x7f", "c1\x80\x9f\x9c", "soft\u00adhyphen", "rtl\u202eoverride\u202c",
    "&amp; &lt;b&gt; &quot;x&quot; &#39;s &nbsp; &#x1F600; &copy; &amp;amp;", "AT&T R&D &c.", "<b>bold</b> <br/>",
    "100% 3.14 1,000,000 1e-5 0x1F 1st 2nd", "007 42 2024-01-31 12:34:56", "\u0661\u0662\u0663 \u09e7\u09e8",
    "\u2160\u2167 \u2177 \u216f", "\u00bd \u00bc \u2153 x\u00b2 H\u2082O", "\u2460\u2461\u24b6 \u3007\u4e00\u4e8c",
    "\uff11\uff12\uff21\uff22", "\U0001d7d8\U0001d400", "<|startoftext|>", "<|endoftext|>", "a<|endoftext|>b c",
    "a <|startoftext|> b", "<|ENDOFTEXT|> <|StartOfText|>", "<start_of_text>", "x<start_of_text>y<end_of_text>z",
    "!<end_of_text>! <END_OF_TEXT>", "<<start_of_text>><start_of_text", "<|endoftext|><|endoftext|>",
    "<|endoftext", "|endoftext|>", "<|start\u00a0oftext|>", "caf\u00e9 cafe\u0301 CAF\u00c9 CAFE\u0301",
    "\u1e9b\u0323 \u1e9b\u0323", "A\u030a \u00c5 \u212b", "\u2126 \u03a9", "q\u0307\u0323 q\u0323\u0307",
    "\u0130stanbul I\u0131 i\u0307", "STRASSE Stra\u00dfe STRA\u1e9eE", "\u039f\u0394\u039f\u03a3 \u03a3 \u03a3\u0391\u03a3",
    "\u01c4 \u01c5 \u01c6 \u01f1", "\ufb01ne o\ufb03ce \ufb05", "\u1fb3 \u1fbc \u1f80", "\u10d0 \u1c90 \u10a0", "\ua64a \u13a0 \uab70",
    "\u1100\u1161\u11a8 \uac01 \ud55c\uad6d\uc5b4", "\u0b95\u0bcb \u0b95\u0bc7\u0bbe", "\u0928\u093f \u0915\u094d\u0937",
    "\u0e40\u0e2a\u0e37\u0e49\u0e2d", "\u6f22\u5b57\u304b\u306a\u30ab\u30ca \uff76\uff85", "\u5b57cat\u5b57", "\u05e9\u05b8\u05dc\u05d5\u05b9\u05dd",
    "\u0645\u064e\u0631\u0652\u062d\u064e\u0628\u064b\u0627", "\U0001f600", "\U0001f602" * 9, "\U0001f60d" * 40, "cat\U0001f431cat",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7", "\U0001f44d\U0001f3fd", "\u2764\ufe0f \u2764",
    "1\ufe0f\u20e3 #\ufe0f\u20e3", "\U0001f3f4\U000e0067\U000e0062\U000e007f", "\u00c3\u00a9 \u00e2\u20ac\u2122 mojibake", "\ufffd \ufffe \uffff",
    "\ue000 \U0010ffff \U000f0000", "\u0378 \U000e1000", "\U00010400 \U00010428 \U0001e900", "\u212a\u017f \u1e9e",
    "http://example.org/a_b?c=d&e=f#g user@host.net", "C:\\dir\\file.txt ~/x $HOME ${a} {b} [c] (d)",
    "__init__ snake_case camelCase kebab-case", "...!!!???", "-- --- \u2013 \u2014 \u2026", "=== *** ///", "a/b\\c|d", "a.b.c.", "$5 \u00a35 \u20ac5 \u00a55",
    "\u00a1hola! \u00bfqu\u00e9? \u00ab\u00e0\u00bb", "^_^ :-) <3 ;)", "a" * 200, "ha" * 300, "a" * 5000, "!" * 5000, "1" * 300, "\u00e9" * 500,
    "a b " * 60, "x " * 74, "x " * 75, "x " * 76, "x " * 77, "x" * 31 + " " + "y" * 3000,
]  # fmt: skip

RANGES = [
    (0x20, 0x7E), (0x20, 0x7E), (0x20, 0x7E), (0xA0, 0x17F), (0x180, 0x24F), (0x250, 0x36F), (0x370, 0x3FF),
    (0x400, 0x52F), (0x530, 0x58F), (0x590, 0x6FF), (0x900, 0xDFF), (0xE00, 0x11FF), (0x1E00, 0x1FFF),
    (0x2000, 0x206F), (0x2070, 0x21FF), (0x2200, 0x27FF), (0x3000, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3),
    (0xF900, 0xFAFF), (0xFB00, 0xFFEF), (0x10300, 0x105FF), (0x1D400, 0x1D7FF), (0x1F300, 0x1FAFF), (0x0, 0x1F),
]  # fmt: skip


def random_texts(count, words, seed=7):
    """Strings of one script, of several, of words with noise, and long ones, in turn."""
    draw = random.Random(seed)

    def from_range(span, length):
        return "".join(chr(draw.randint(*span)) for _ in range(length))

    def noisy():
        text = list(" ".join(draw.choices(words, k=draw.randint(2, 12))))
        for _ in range(draw.randint(1, 6)):
            text.insert(draw.randint(0, len(text)), from_range(draw.choice(RANGES), 1))
        return "".join(text)

    def cased():
        return "".join(draw.choice([str.upper, str.lower])(c) for c in " ".join(draw.choices(words, k=4)))

    def letters():
        return "".join(draw.choices("etaoinshrdlucmfwypvbgkjqxz", k=draw.randint(20, 300)))

    kinds = [
        lambda: from_range(draw.choice(RANGES), draw.randint(1, 20)),
        lambda: " ".join(from_range(draw.choice(RANGES), draw.randint(1, 4)) for _ in range(6)),
        noisy, noisy, cased, letters,
        lambda: " ".join(draw.choices(words, k=draw.randint(55, 90))),
        lambda: draw.choice(["", " "]).join(draw.choices(words + ["'s", "'t", "7", "\U0001f600", "&amp;", "\t"], k=20)),
    ]  # fmt: skip
    return [kinds[i % len(kinds)]() for i in range(count)]


def strings(classes):
    names = [line.split("\t")[2] for line in classes.read_text(encoding="utf8").splitlines()]
    named = [TEMPLATES[i % len(TEMPLATES)].replace("{}", name) for i, name in enumerate(names)]
    words = sorted({word for name in names for word in name.split()})
    texts = named + ODD
    return texts + random_texts(2000 - len(texts), words)


def vocabulary(path):
    """(token -> id, merges) as OpenAI's tokenizer makes them of its file."""
    lines = path.read_text(encoding="utf8").split("\n")
    merges = [tuple(line.split()) for line in lines[1 : 1 + MERGES]]
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    bytes_as = [chr(b) for b in shown] + [chr(256 + n) for n in range(len(hidden))]
    tokens = bytes_as + [c + "</w>" for c in bytes_as] + ["".join(m) for m in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return {token: i for i, token in enumerate(tokens)}, merges


def bundled():
    home = pathlib.Path(os.environ.get("CARGO_HOME", "~/.cargo")).expanduser()
    found = sorted(home.glob("registry/src/*/instant-clip-tokenizer-*/bpe_simple_vocab_16e6.txt"))
    if not found:
        raise SystemExit("cargo's registry has no instant-clip-tokenizer: build the crate first")
    return found[-1]


def slow(vocab, merges, folder, without_ftfy):
    """The tokenizer in Python that transformers had before version 5."""
    if without_ftfy:
        sys.modules["ftfy"] = None
    from transformers.models.clip.tokenization_clip import CLIPTokenizer

    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(m) for m in merges))
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    home = pathlib.Path(__file__).resolve().parents[1] / "fixtures" / "text"
    parser.add_argument("--classes", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, default=home / "tokens.json.gz")
    parser.add_argument("--vocabulary", type=pathlib.Path)
    parser.add_argument("--slow", choices=["ftfy", "plain"], help="count what transformers 4's differs in, write nothing")
    args = parser.parse_args()
    vocab, merges = vocabulary(args.vocabulary or bundled())
    if args.slow:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            tokenizer = slow(vocab, merges, pathlib.Path(folder), args.slow == "plain")
        with gzip.open(args.out, "rt", encoding="utf8") as lines:
            rows = [json.loads(line) for line in lines]
        differ = [text for text, _, ids in rows if tokenizer(text, truncation=True, max_length=CONTEXT)["input_ids"] != ids]
        named = sum(text in set(r[0] for r in rows[:1000]) for text in differ)
        print(f"{len(differ)} of {len(rows)} differ, {named} of the class names; such as {differ[:12]}")
        return
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer(vocab=vocab, merges=merges)
    texts = strings(args.classes)
    rows = []
    for text in texts:
        whole = tokenizer(text)["input_ids"]
        ids = tokenizer(text, truncation=True, max_length=CONTEXT)["input_ids"]
        rows.append(json.dumps([text, len(whole) > CONTEXT, ids], separators=(",", ":")))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    # No time stamp: the same strings give the same file.
    with open(args.out, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as out:
        out.write("\n".join(rows).encode())
    print(f"{len(rows)} texts, {sum(json.loads(r)[1] for r in rows)} of them cut, {args.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
