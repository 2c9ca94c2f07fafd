"""Makes tests/fixtures/png: small PNG files of every kind, and what PIL reads in them.

Run from the repository root in an environment with pillow (13.0.0 made the committed files):

    python tests/oracle/png.py

Files are written chunk by chunk, since PIL itself writes few of the kinds. A line of cases.tsv is: the
name, width and height, and the pixels of `Image.open(f).convert("RGB")` in hexadecimal; or the name, `-`, and
the error by which PIL refuses the file. tests/data/png.rs says which files that PIL reads are refused.
"""

import io
import random
import struct
import warnings
import zlib
from pathlib import Path

from PIL import Image

OUT = Path("tests/fixtures/png")
WIDTH, HEIGHT = 5, 4
SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
KINDS = [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (3, 1), (3, 2), (3, 4), (3, 8)]
KINDS += [(4, 8), (4, 16), (6, 8), (6, 16)]
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
NAMES = {0: "grey", 2: "rgb", 3: "palette", 4: "grey_alpha", 6: "rgba"}


def chunk(kind, data, crc=0):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ crc)


def header(colour, depth, width=WIDTH, height=HEIGHT, interlace=0, compression=0, filters=0):
    fields = (width, height, depth, colour, compression, filters, interlace)
    return chunk(b"IHDR", struct.pack(">IIBBBBB", *fields))


def values(colour, depth, width=WIDTH, height=HEIGHT):
    """Rows of pixels of samples: noise, with the extremes among it, and values of 16 bits below 256."""
    draw = random.Random(f"{colour} {depth} {width} {height}")
    most = 2**depth - 1
    sample = lambda: draw.choice([0, most, draw.randint(0, most), draw.randint(0, most), draw.randint(0, min(most, 300))])
    return [[[sample() for _ in range(CHANNELS[colour])] for _ in range(width)] for _ in range(height)]


def packed(row, depth):
    bits = "".join(format(sample, f"0{depth}b") for pixel in row for sample in pixel)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))


def filtered(rows, bytes_a_pixel, first=0):
    """The rows under the filters 0 to 4 in turn."""
    out, above = b"", bytes(len(rows[0]))
    for y, row in enumerate(rows):
        kind = (y + first) % 5
        line = []
        for x, value in enumerate(row):
            a = row[x - bytes_a_pixel] if x >= bytes_a_pixel else 0
            b, c = above[x], above[x - bytes_a_pixel] if x >= bytes_a_pixel else 0
            nearest = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
            line.append((value - [0, a, b, (a + b) // 2, nearest][kind]) & 255)
        out, above = out + bytes([kind]) + bytes(line), row
    return out


def image_data(pixels, colour, depth, interlaced):
    step = max(1, CHANNELS[colour] * depth // 8)
    passes = ADAM7 if interlaced else [(0, 0, 1, 1)]
    out = b""
    for x, y, across, down in passes:
        rows = [packed(row[x::across], depth) for row in pixels[y::down] if row[x::across]]
        out += filtered(rows, step, first=1) if rows else b""
    return out


def palette(count):
    draw = random.Random(count)
    return chunk(b"PLTE", bytes(draw.randrange(256) for _ in range(3 * count)))


def png(colour, depth, extra=b"", after=b"", interlace=0, entries=None, end=None, raw=None, idat=None, **head):
    """A file; `extra` goes before the image data, `after` behind them."""
    width, height = head.get("width", WIDTH), head.get("height", HEIGHT)
    if raw is None:
        raw = image_data(values(colour, depth, width, height), colour, depth, interlace)
    data = idat if idat is not None else chunk(b"IDAT", zlib.compress(raw, 9))
    colours = palette(min(2**depth, 256) if entries is None else entries) if colour == 3 else b""
    end = chunk(b"IEND", b"") if end is None else end
    return SIGNATURE + header(colour, depth, interlace=interlace, **head) + colours + extra + data + after + end


def frame(number, width=WIDTH, height=HEIGHT, left=0, top=0, dispose=0, blend=0):
    return chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, width, height, left, top, 1, 10, dispose, blend))


def animation(frames):
    return chunk(b"acTL", struct.pack(">II", frames, 0))


def frame_data(number, colour, depth, width=WIDTH, height=HEIGHT):
    raw = image_data(values(colour, depth, width, height)[::-1], colour, depth, 0)
    return chunk(b"fdAT", struct.pack(">I", number) + zlib.compress(raw))


def kinds():
    """Every colour type and depth, interlaced or not, with a transparent colour."""
    for colour, depth in KINDS:
        name = f"{NAMES[colour]}{depth}"
        yield name, png(colour, depth)
        yield f"{name}_interlaced", png(colour, depth, interlace=1)
        first = values(colour, depth)[0][0]
        if colour in (0, 2):
            transparent = chunk(b"tRNS", b"".join(struct.pack(">H", sample) for sample in first))
            yield f"{name}_tRNS", png(colour, depth, transparent)
        if colour == 3:
            yield f"{name}_tRNS", png(colour, depth, chunk(b"tRNS", bytes(range(0, 2**depth))))
            yield f"{name}_tRNS_one", png(colour, depth, chunk(b"tRNS", b"\xff\0"))
            yield f"{name}_short", png(colour, depth, entries=2**depth // 2)
            yield f"{name}_interlaced_short", png(colour, depth, interlace=1, entries=1)
    yield "grey1_wide", png(0, 1, width=19, height=3)
    yield "grey2_interlaced_wide", png(0, 2, width=17, height=9, interlace=1)
    yield "grey16_interlaced_wide", png(0, 16, width=9, height=9, interlace=1)
    yield "one_pixel", png(2, 8, width=1, height=1)
    yield "one_pixel_interlaced", png(2, 8, width=1, height=1, interlace=1)
    yield "one_column_interlaced", png(3, 4, width=1, height=9, interlace=1)


def chunks():
    """What stands beside the pixels."""
    profile = chunk(b"iCCP", b"name\0\0" + zlib.compress(b"not a profile" * 9))
    yield "gamma", png(2, 8, chunk(b"gAMA", struct.pack(">I", 220000)) + chunk(b"sRGB", b"\0"))
    yield "gamma16", png(0, 16, chunk(b"gAMA", struct.pack(">I", 45455)))
    yield "cHRM", png(2, 8, chunk(b"cHRM", struct.pack(">8I", *range(30000, 38000, 1000))))
    yield "iCCP", png(2, 8, profile)
    yield "iCCP_broken", png(2, 8, chunk(b"iCCP", b"name\0\0broken"))
    yield "iCCP_method", png(2, 8, chunk(b"iCCP", b"name\0\1broken"))
    yield "iCCP_empty", png(2, 8, chunk(b"iCCP", b""))
    yield "background", png(6, 8, chunk(b"bKGD", struct.pack(">HHH", 255, 0, 0)))
    yield "significant_bits", png(2, 16, chunk(b"sBIT", b"\5\6\5"))
    yield "exif_orientation", png(2, 8, chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"))
    yield "text", png(2, 8, chunk(b"tEXt", b"a\0b"), chunk(b"tEXt", b"c\0d") + chunk(b"zTXt", b"e\0\0" + zlib.compress(b"f")))
    yield "zTXt_method", png(2, 8, chunk(b"zTXt", b"a\0\1b"))
    yield "zTXt_broken", png(2, 8, chunk(b"zTXt", b"a\0\0b"))
    yield "unknown_ancillary", png(2, 8, chunk(b"abCd", b"xyz"))
    yield "unknown_critical", png(2, 8, chunk(b"ABCD", b"xyz"))
    yield "no_chunk_name", png(2, 8, chunk(b"a.Cd", b"xyz"))
    yield "palette_of_rgb", png(2, 8, palette(7))
    yield "palette_of_grey", png(0, 4, palette(7))
    yield "palette_too_long", png(3, 4, entries=200)
    yield "palette_of_300", png(3, 8, entries=300)
    yield "palette_twice", png(3, 2, palette(2))
    yield "palette_uneven", png(3, 2, chunk(b"PLTE", b"abcdefgh"), entries=0)
    yield "palette_none", png(3, 2, entries=0)
    yield "palette_behind", png(3, 2, after=palette(3))
    yield "no_palette", png(3, 8).replace(palette(256), b"")
    for kind, length in [("gAMA", 3), ("cHRM", 31), ("sRGB", 0), ("pHYs", 8), ("acTL", 7), ("fcTL", 25), ("tRNS", 5)]:
        short = chunk(kind.encode(), bytes(length))
        yield f"{kind}_short", png(2, 8, short)
        yield f"{kind}_short_behind", png(2, 8, after=short)
    yield "tRNS_short_of_grey", png(0, 8, chunk(b"tRNS", b"\0"))
    yield "tRNS_of_rgba", png(6, 8, chunk(b"tRNS", b"\0"))
    yield "two_headers", png(2, 8, header(2, 8))
    yield "header_long", SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0) + b"more") + png(2, 8)[33:]
    yield "header_short", SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBB", WIDTH, HEIGHT, 8, 2, 0, 0)) + png(2, 8)[33:]
    yield "header_behind", SIGNATURE + chunk(b"tEXt", b"a\0b") + png(2, 8)[8:]
    yield "no_header", SIGNATURE + png(2, 8)[33:]
    yield "no_width", png(2, 8, raw=b"\0", width=0)
    yield "depth_3", png(0, 8).replace(header(0, 8), header(0, 3))
    yield "colour_5", png(0, 8).replace(header(0, 8), header(5, 8))
    yield "rgb_of_4_bits", png(2, 8).replace(header(2, 8), header(2, 4))
    yield "compression_1", png(2, 8, compression=1)
    yield "filters_1", png(2, 8, filters=1)
    yield "interlace_2", png(2, 8, interlace=2)
    yield "too_many_pixels", png(2, 8, raw=b"\0").replace(header(2, 8), header(2, 8, 20000, 20000))


def animations():
    later = frame(1) + frame_data(2, 2, 8)
    yield "animated", png(2, 8, animation(2) + frame(0), later)
    yield "animated_palette", png(3, 4, animation(2) + frame(0), frame(1) + frame_data(2, 3, 4))
    yield "animated_apart", png(2, 8, animation(1), frame(0) + frame_data(1, 2, 8))
    yield "animated_blend", png(6, 8, animation(2) + frame(0, dispose=1, blend=1), frame(1, blend=1) + frame_data(2, 6, 8))
    yield "animated_previous", png(6, 8, animation(2) + frame(0, dispose=2), frame(1) + frame_data(2, 6, 8))
    small = dict(width=3, height=2, left=1, top=1)
    for colour, depth in [(2, 8), (3, 4), (0, 16), (6, 8)]:
        raw = image_data(values(colour, depth, 3, 2), colour, depth, 0)
        name = f"animated_small_{NAMES[colour]}{depth}"
        yield name, png(colour, depth, animation(1) + frame(0, **small), raw=raw)
    raw = image_data(values(2, 8, 3, 2), 2, 8, 1)
    yield "animated_small_interlaced", png(2, 8, animation(1) + frame(0, **small), raw=raw, interlace=1)
    yield "animated_outside", png(2, 8, animation(1) + frame(0, left=1))
    yield "animated_empty", png(2, 8, animation(1) + frame(0, width=0))
    yield "animated_out_of_order", png(2, 8, animation(2) + frame(1), later)
    yield "animated_later_out_of_order", png(2, 8, animation(2) + frame(0), frame(5) + frame_data(6, 2, 8))
    yield "animated_one_frame_out_of_order", png(2, 8, animation(1) + frame(0), frame(5))
    yield "animated_no_frames", png(2, 8, animation(0))
    yield "animated_twice", png(2, 8, animation(2) + animation(2) + frame(0), later)
    yield "frame_alone", png(2, 8, frame(0), later)
    yield "animated_data_alone", png(2, 8, animation(1) + frame(0), idat=frame_data(1, 2, 8))


def damage():
    whole, raw = png(2, 8), image_data(values(2, 8), 2, 8, 0)
    packed_raw = zlib.compress(raw, 9)
    half = len(packed_raw) // 2
    yield "trailing_garbage", whole + b"junk" * 9
    yield "no_end", png(2, 8, end=b"")
    yield "no_end_but_text", png(2, 8, end=chunk(b"tEXt", b"a\0b"))
    yield "end_cut", whole[:-1]
    yield "behind_end", whole + chunk(b"gAMA", b"")
    yield "cut_behind_image_data", png(2, 8, end=chunk(b"tEXt", b"a\0bcdefgh")[:-9])
    yield "garbage_for_end", png(2, 8, end=b"\xff" * 20)
    yield "crc_of_header", SIGNATURE + chunk(b"IHDR", whole[16:29], 1) + whole[33:]
    yield "crc_of_text", png(2, 8, chunk(b"tEXt", b"a\0b", 1))
    yield "crc_of_text_behind", png(2, 8, after=chunk(b"tEXt", b"a\0b", 1))
    yield "crc_of_unknown", png(2, 8, chunk(b"abCd", b"b", 1))
    yield "crc_of_palette", png(3, 8, entries=0).replace(palette(0), chunk(b"PLTE", bytes(768), 1))
    yield "crc_of_image_data", png(2, 8, idat=chunk(b"IDAT", packed_raw, 1))
    yield "crc_of_end", png(2, 8, end=chunk(b"IEND", b"", 1))
    yield "adler", png(2, 8, idat=chunk(b"IDAT", packed_raw[:-1] + bytes([packed_raw[-1] ^ 1])))
    yield "no_adler", png(2, 8, idat=chunk(b"IDAT", packed_raw[:-4]))
    yield "image_data_in_pieces", png(2, 8, idat=b"".join(chunk(b"IDAT", packed_raw[i : i + 7]) for i in range(0, len(packed_raw), 7)))
    yield "image_data_empty_pieces", png(2, 8, idat=chunk(b"IDAT", b"") + chunk(b"IDAT", packed_raw) + chunk(b"IDAT", b""))
    parted = chunk(b"IDAT", packed_raw[:half]) + chunk(b"tEXt", b"a\0b") + chunk(b"IDAT", packed_raw[half:])
    yield "image_data_parted", png(2, 8, idat=parted)
    yield "image_data_cut", whole[: whole.index(b"IDAT") + 30]
    yield "image_data_short", png(2, 8, raw=raw[:-1])
    yield "image_data_a_row_short", png(2, 8, raw=raw[: -len(raw) // HEIGHT])
    yield "image_data_long", png(2, 8, raw=raw + b"more" * 9)
    yield "image_data_missing", png(2, 8, idat=b"")
    yield "image_data_empty", png(2, 8, idat=chunk(b"IDAT", b""))
    yield "image_data_of_no_stream", png(2, 8, idat=chunk(b"IDAT", b"this is no stream of zlib's"))
    yield "filter_5", png(2, 8, raw=b"\5" + raw[1:])
    yield "signature_alone", SIGNATURE
    yield "other_signature", b"\x89PNG\n\n\x1a\n" + whole[8:]


def read(data):
    """What PIL says: pixels, or an error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data)).convert("RGB")
        return f"{image.width}\t{image.height}\t{image.tobytes().hex()}"
    except Exception as error:
        return f"-\t{type(error).__name__}"


def cases():
    for group in (kinds, chunks, animations, damage):
        yield from group()


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for old in OUT.glob("*"):
        old.unlink()
    lines = []
    for name, data in cases():
        (OUT / f"{name}.png").write_bytes(data)
        lines.append(f"{name}\t{read(data)}\n")
    (OUT / "cases.tsv").write_text("".join(lines))


if __name__ == "__main__":
    main()
