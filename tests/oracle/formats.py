"""Makes tests/fixtures/formats: small WebP, BMP, GIF and JPEG files of every kind, and what PIL reads in them.

Run from the repository root in an environment with pillow (13.0.0 made the committed files) and numpy:

    python tests/oracle/formats.py

What PIL doesn't write is written here byte by byte. files.bin holds all files, one after the other. A line of
cases.tsv is: the name, the file's length, then width, height and the pixels of `Image.open(f).convert("RGB")`, in
hexadecimal where they are few, else as `sha256:` and their hash; or `-` and the error by which PIL refuses the file.
tests/data/formats.rs says where the decoders differ. Pictures are made of waves and random numbers.
"""

import hashlib
import io
import random
import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

OUT = Path("tests/fixtures/formats")


def picture(height, width, seed=5):
    """Gradients, an edge, little noise."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    red = 128 + 90 * np.sin(x / 5) * np.cos(y / 7)
    green = 255 * y / height + 0 * x
    blue = np.where((x - width / 2) ** 2 + (y - height / 2) ** 2 < (width / 4) ** 2, 200, 60)
    noise = np.random.default_rng(seed).normal(0, 4, (height, width, 3))
    return np.clip(np.stack([red, green, blue], -1) + noise, 0, 255).astype(np.uint8)


def with_alpha(pixels):
    alpha = np.random.default_rng(9).integers(0, 256, pixels.shape[:2]).astype(np.uint8)
    alpha[: len(alpha) // 3] = 0
    return np.concatenate([pixels, alpha[:, :, None]], -1)


def saved(image, kind, **options):
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


# --- WebP


def riff(*chunks):
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def chunk(name, data):
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def three(number):
    return struct.pack("<I", number)[:3]


def features(flags, width, height):
    return chunk(b"VP8X", bytes([flags, 0, 0, 0]) + three(width - 1) + three(height - 1))


def frame(stream, width, height, left=0, top=0, flags=0):
    head = three(left // 2) + three(top // 2) + three(width - 1) + three(height - 1) + three(100)
    return chunk(b"ANMF", head + bytes([flags]) + stream)


def webps():
    small, odd = Image.fromarray(picture(24, 32)), Image.fromarray(picture(19, 33))
    clear = Image.fromarray(with_alpha(picture(19, 33)))
    for quality in (5, 50, 90):
        yield f"lossy_{quality}", saved(odd, "webp", quality=quality)
    yield "lossy_filtered", saved(small, "webp", quality=30, method=6)
    yield "lossy_fast", saved(small, "webp", quality=30, method=0)
    yield "lossy_alpha", saved(clear, "webp", quality=60)
    yield "lossy_alpha_exact", saved(clear, "webp", quality=60, exact=True)
    yield "lossy_pixel", saved(small.crop((0, 0, 1, 1)), "webp", quality=80)
    yield "lossy_column", saved(small.crop((0, 0, 1, 18)), "webp", quality=80)
    yield "lossy_row", saved(small.crop((0, 0, 18, 1)), "webp", quality=80)
    yield "lossy_grey", saved(small.convert("L"), "webp", quality=80)
    yield "lossless", saved(odd, "webp", lossless=True)
    yield "lossless_alpha", saved(clear, "webp", lossless=True, exact=True)
    yield "lossless_alpha_cleared", saved(clear, "webp", lossless=True)
    yield "lossless_palette", saved(odd.quantize(7).convert("RGB"), "webp", lossless=True)
    yield "lossless_two_colours", saved(odd.quantize(2).convert("RGB"), "webp", lossless=True)
    yield "lossless_pixel", saved(small.crop((0, 0, 1, 1)), "webp", lossless=True)
    exif = Image.Exif()
    exif[0x112] = 6
    yield "exif", saved(odd, "webp", quality=50, exif=exif, icc_profile=b"not a profile")
    other = Image.fromarray(picture(24, 32, 6))
    yield "animated", saved(small, "webp", save_all=True, append_images=[other], quality=60)
    yield "animated_lossless", saved(small, "webp", save_all=True, append_images=[other], lossless=True)
    clear2 = Image.fromarray(with_alpha(picture(24, 32)))
    options = dict(save_all=True, append_images=[small.convert("RGBA")], background=(200, 10, 90, 255))
    yield "animated_alpha", saved(clear2, "webp", quality=60, **options)
    # A first frame that is smaller than the canvas, with a coloured background.
    lossy, lossless = saved(small, "webp", quality=50)[12:], saved(clear2, "webp", lossless=True, exact=True)
    lossless = lossless[lossless.index(b"VP8L") :]
    animation = chunk(b"ANIM", bytes([90, 10, 200, 255, 0, 0]))
    for flags in (0, 1, 2, 3):
        yield f"frame_small_{flags}", riff(features(2, 40, 30), animation, frame(lossy, 32, 24, 6, 4, flags))
        yield f"frame_alpha_{flags}", riff(features(18, 40, 30), animation, frame(lossless, 32, 24, 8, 6, flags))
    yield "frame_outside", riff(features(2, 40, 30), animation, frame(lossy, 32, 24, 10, 4))
    yield "frame_of_other_size", riff(features(2, 40, 30), animation, frame(lossy, 31, 24))
    yield "frame_none", riff(features(2, 40, 30), animation)
    yield "frame_not_animated", riff(features(0, 40, 30), animation, frame(lossy, 32, 24))
    yield "extended", riff(features(0, 32, 24), lossy)
    yield "extended_unknown", riff(features(0, 32, 24), chunk(b"abcd", b"xyz"), lossy, chunk(b"efgh", b"xyz"))
    yield "extended_other_size", riff(features(0, 33, 24), lossy)
    yield "extended_lossless_no_flag", riff(features(0, 32, 24), lossless)
    yield "extended_twice", riff(features(0, 32, 24), lossy, lossy)
    yield "extended_none", riff(features(0, 32, 24))
    yield "extended_large", riff(features(0, 1 << 24, 1 << 24), lossy)
    yield "trailing", riff(lossy) + b"junk" * 5
    whole = riff(lossy)
    yield "cut", whole[:-20]
    yield "cut_and_mended", whole[:4] + struct.pack("<I", len(whole) - 28) + whole[8:-20]
    yield "cut_inside", riff(lossy[:4] + struct.pack("<I", len(lossy) - 108) + lossy[8:-100])
    yield "empty", riff()
    yield "no_image", riff(chunk(b"abcd", b"xyz"))
    yield "no_start", whole.replace(b"\x9d\x01\x2a", b"\x9d\x01\x2b")
    yield "no_lossless_start", riff(lossless[:8] + b"\x2e" + lossless[9:])
    yield "no_width", whole.replace(b"\x9d\x01\x2a\x20", b"\x9d\x01\x2a\0")
    yield "not_webp", whole.replace(b"WEBP", b"WAVE")


# --- BMP


def bmp(width, height, bits, data, palette=b"", header=40, compression=0, colours=0, masks=b"", offset=None, extra=b""):
    if header == 12:
        info = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        info = struct.pack("<IIiHHIIiiII", header, width, height, 1, bits, compression, len(data), 2835, 2835, colours, 0)
        info = (info + masks + bytes(header))[: max(header, 40 + len(masks) if header == 40 else header)]
    body = info + palette + extra
    offset = 14 + len(body) if offset is None else offset
    return b"BM" + struct.pack("<IHHI", 14 + len(body) + len(data), 0, 0, offset) + body + data


def rows(width, height, bits, seed=1, most=None):
    """Rows of samples of `bits`, padded to four bytes."""
    draw = random.Random(f"{width} {height} {bits} {seed}")
    out = b""
    for _ in range(height):
        if bits >= 8:
            limit = 255 if most is None else most
            row = bytes(draw.choice([0, limit, draw.randint(0, limit), draw.randint(0, limit)]) for _ in range(width * bits // 8))
        else:
            limit = 2**bits - 1 if most is None else most
            text = "".join(format(draw.randint(0, limit), f"0{bits}b") for _ in range(width))
            text += "0" * (-len(text) % 8)
            row = bytes(int(text[at : at + 8], 2) for at in range(0, len(text), 8))
        out += row + b"\xee" * (-len(row) % 4)
    return out


def colours(count, entry=4, seed=3):
    draw = random.Random(f"{count} {seed}")
    return b"".join(bytes(draw.randrange(256) for _ in range(3)) + b"\x77" * (entry - 3) for _ in range(count))


def ramp(count, step=1, entry=4):
    return b"".join(bytes([i * step] * 3) + bytes(entry - 3) for i in range(count))


def longs(*values):
    return struct.pack(f"<{len(values)}I", *values)


def bmps():
    width, height = 7, 5
    for bits in (1, 4, 8):
        yield f"bmp{bits}", bmp(width, height, bits, rows(width, height, bits), colours(2**bits))
        yield f"bmp{bits}_top_down", bmp(width, -height, bits, rows(width, height, bits), colours(2**bits))
        yield f"bmp{bits}_core", bmp(width, height, bits, rows(width, height, bits), colours(2**bits, 3), header=12)
        few = max(1, 2**bits // 3)
        yield f"bmp{bits}_few", bmp(width, height, bits, rows(width, height, bits), colours(few), colours=few)
        yield f"bmp{bits}_no_offset", bmp(width, height, bits, rows(width, height, bits), colours(2**bits), offset=0)
        yield f"bmp{bits}_offset_of_palette", bmp(width, height, bits, rows(width, height, bits), colours(2**bits), offset=54)
        yield f"bmp{bits}_gap", bmp(width, height, bits, rows(width, height, bits), colours(2**bits), extra=b"gap!")
        yield f"bmp{bits}_two_greys", bmp(width, height, bits, rows(width, height, bits, most=1), ramp(2, 255), colours=2)
        yield f"bmp{bits}_two_greys_turned", bmp(width, height, bits, rows(width, height, bits, most=1), ramp(2, 255)[::-1][3:] + b"\xff" * 3 + ramp(1), colours=2)
        yield f"bmp{bits}_one_grey", bmp(width, height, bits, rows(width, height, bits, most=1), ramp(1), colours=1)
        yield f"bmp{bits}_many", bmp(width, height, bits, rows(width, height, bits), colours(300), colours=300)
    yield "bmp1_greys", bmp(width, height, 1, rows(width, height, 1), ramp(2, 255))
    yield "bmp4_greys", bmp(width, height, 4, rows(width, height, 4), ramp(16, 17))
    yield "bmp4_ramp", bmp(width, height, 4, rows(width, height, 4), ramp(16))
    yield "bmp8_greys", bmp(width, height, 8, rows(width, height, 8), ramp(256))
    yield "bmp8_few_greys", bmp(width, height, 8, rows(width, height, 8), ramp(9), colours=9)
    yield "bmp8_dark", bmp(width, height, 8, rows(width, height, 8, most=20), ramp(256)[:-4] + b"\xfe\xfe\xfd\0")
    for bits in (16, 24, 32):
        data = rows(width, height, bits)
        yield f"bmp{bits}", bmp(width, height, bits, data)
        yield f"bmp{bits}_top_down", bmp(width, -height, bits, data)
        yield f"bmp{bits}_core", bmp(width, height, bits, data, header=12)
        yield f"bmp{bits}_palette", bmp(width, height, bits, data, colours(5), colours=5)
        for header in (52, 56, 64, 108, 124):
            yield f"bmp{bits}_header{header}", bmp(width, height, bits, data, header=header)
    for bits, name, masks in [
        (16, "565", (0xF800, 0x7E0, 0x1F)), (16, "555", (0x7C00, 0x3E0, 0x1F)), (16, "444", (0xF00, 0xF0, 0xF)),
        (24, "bgr", (0xFF0000, 0xFF00, 0xFF)), (24, "rgb", (0xFF, 0xFF00, 0xFF0000)),
        (32, "bgrx", (0xFF0000, 0xFF00, 0xFF)), (32, "xbgr", (0xFF000000, 0xFF0000, 0xFF00)),
        (32, "bgxr", (0xFF000000, 0xFF00, 0xFF)), (32, "rgbx", (0xFF, 0xFF00, 0xFF0000)), (32, "none", (0, 0, 0)),
        (32, "101010", (0x3FF00000, 0xFFC00, 0x3FF)), (8, "bits", (0xFF0000, 0xFF00, 0xFF)),
    ]:
        data = rows(width, height, bits)
        for header in (40, 52):
            yield f"bmp{bits}_{name}_{header}", bmp(width, height, bits, data, header=header, compression=3, masks=longs(*masks))
    for name, masks in [
        ("abgr", (0xFF000000, 0xFF0000, 0xFF00, 0xFF)), ("rgba", (0xFF, 0xFF00, 0xFF0000, 0xFF000000)),
        ("bgra", (0xFF0000, 0xFF00, 0xFF, 0xFF000000)), ("bgar", (0xFF000000, 0xFF00, 0xFF, 0xFF0000)),
        ("argb", (0xFF00, 0xFF0000, 0xFF000000, 0xFF)), ("none", (0, 0, 0, 0)),
    ]:
        for header in (56, 64, 124):
            yield f"bmp32_{name}_{header}", bmp(width, height, 32, rows(width, height, 32), header=header, compression=3, masks=longs(*masks))
    yield "bmp16_565_124", bmp(width, height, 16, rows(width, height, 16), header=124, compression=3, masks=longs(0xF800, 0x7E0, 0x1F, 0))
    every = bytes(range(256)) * 2
    words = b"".join(struct.pack("<H", (i * 2654435761 >> 7) & 0xFFFF) for i in range(64))
    yield "bmp16_words", bmp(32, 2, 16, words)
    yield "bmp16_words_565", bmp(32, 2, 16, words, compression=3, masks=longs(0xF800, 0x7E0, 0x1F))
    yield from runs(width, height)
    whole = bmp(width, height, 24, rows(width, height, 24))
    yield "bmp_cut", whole[:-8]
    yield "bmp_last_padding_cut", whole[:-3]
    yield "bmp_last_byte_cut", whole[:-4]
    yield "bmp_trailing", whole + b"junk" * 9
    yield "bmp_header_alone", whole[:54]
    yield "bmp_header_cut", whole[:40]
    yield "bmp_start", whole[:12]
    yield "bmp_no_width", bmp(0, 5, 24, every)
    yield "bmp_no_height", bmp(5, 0, 24, every)
    yield "bmp_large", bmp(20000, 20000, 24, every)
    yield "bmp_negative_width", bmp(0xFFFFFFF9, 5, 24, every)
    yield "bmp_header_41", bmp(width, height, 24, every, header=41)
    for bits in (0, 2, 48):
        yield f"bmp_{bits}_bits", bmp(width, height, bits, every, colours(4))
    for compression in (4, 5, 6, 11):
        yield f"bmp_compression_{compression}", bmp(width, height, 24, every, compression=compression)
    yield "bmp_offset_outside", bmp(width, height, 24, every, offset=99999)


def runs(width, height):
    """RLE: runs, pixels by themselves, skipped ones, rows and files that end early."""
    eight = [
        ("runs", [7, 3, 0, 0] * 5 + [0, 1]),
        ("mixed", [3, 9, 0, 4, 1, 2, 3, 4, 0, 0, 0, 7, 9, 8, 7, 6, 5, 4, 3, 0, 0, 0, 2, 1, 5, 2, 0, 0, 7, 7, 0, 0, 7, 8, 0, 1]),
        ("three", [0, 3, 1, 2, 3, 0, 4, 9, 0, 0] + [7, 5, 0, 0] * 4 + [0, 1]),
        ("short_rows", [2, 3, 0, 0] * 5 + [0, 1]),
        ("skips", [2, 3, 0, 2, 1, 1, 3, 4, 0, 0, 0, 2, 0, 2, 7, 7, 0, 1]),
        ("skips_all", [0, 2, 0, 5, 0, 1]),
        ("long_run", [200, 3, 0, 0] * 5 + [0, 1]),
        ("long_pixels", [0, 20] + list(range(20)) + [0, 0] + [7, 9, 0, 0] * 3 + [0, 1]),
        ("no_ends", [7, 3] * 5 + [0, 1]),
        ("no_mark", [7, 3, 0, 0] * 5),
        ("early", [7, 3, 0, 0] * 2 + [0, 1]),
        ("cut", [7, 3, 0, 0] * 2),
        ("cut_pixels", [7, 3, 0, 0] * 4 + [0, 7, 1, 2]),
        ("cut_skip", [7, 3, 0, 0] * 4 + [0, 2, 1]),
        ("more", [7, 3, 0, 0] * 9 + [0, 1]),
        ("empty_rows", [0, 0] * 5 + [0, 1]),
    ]
    for name, data in eight:
        yield f"rle8_{name}", bmp(width, height, 8, bytes(data), colours(256), compression=1)
        yield f"rle4_{name}", bmp(width, height, 4, bytes(data), colours(16), compression=2)
    data = bytes(eight[1][1])
    yield "rle8_greys", bmp(width, height, 8, data, ramp(256), compression=1)
    yield "rle8_few", bmp(width, height, 8, data, colours(5), compression=1, colours=5)
    yield "rle8_odd_offset", bmp(width, height, 8, data, colours(256), compression=1, extra=b"!")
    yield "rle8_top_down", bmp(width, -height, 8, data, colours(256), compression=1)
    yield "rle8_two_greys", bmp(width, height, 8, bytes([7, 1, 0, 0, 3, 0, 4, 1, 0, 0] + [7, 0] * 3), ramp(2, 255), compression=1, colours=2)
    yield "rle4_greys", bmp(width, height, 4, data, ramp(16), compression=2)
    yield "rle4_of_8_bits", bmp(width, height, 8, data, colours(256), compression=2)
    yield "rle8_of_4_bits", bmp(width, height, 4, data, colours(16), compression=1)
    yield "rle8_of_1_bit", bmp(width, height, 1, bytes([7, 1, 0, 0] * 5), colours(2), compression=1)
    yield "rle8_of_24_bits", bmp(width, height, 24, data, compression=1)
    yield "rle8_large", bmp(20000, 20000, 8, data, colours(256), compression=1)


# --- GIF


def lzw(indices, size, clear_first=True, end=True, clear_often=0):
    """Codes of LZW, dictionary and all."""
    clear, stop = 1 << size, (1 << size) + 1
    bits, count = 0, 0
    width = size + 1
    table = {(i,): i for i in range(clear)}
    following = clear + 2

    def put(code):
        nonlocal bits, count
        bits |= code << count
        count += width

    if clear_first:
        put(clear)
    prefix = ()
    for place, index in enumerate(indices):
        if clear_often and place and place % clear_often == 0:
            put(table[prefix])
            if following == 1 << width and width < 12:
                width += 1
            put(clear)
            table = {(i,): i for i in range(clear)}
            following, width, prefix = clear + 2, size + 1, ()
        if prefix + (index,) in table:
            prefix += (index,)
            continue
        put(table[prefix])
        if following < 4096:
            table[prefix + (index,)] = following
            if following == 1 << width and width < 12:
                width += 1
            following += 1
        prefix = (index,)
    put(table[prefix])
    if end:
        if following == 1 << width and width < 12:
            width += 1
        put(stop)
    return bits.to_bytes((count + 7) // 8, "little")


def blocks(data, size=255):
    out = b""
    for at in range(0, len(data), size):
        part = data[at : at + size]
        out += bytes([len(part)]) + part
    return out + b"\0"


def entries(count, seed=4):
    draw = random.Random(f"{count} {seed}")
    return bytes(draw.randrange(256) for _ in range(3 * count))


def indices(count, most, seed=2):
    draw = random.Random(f"{count} {most} {seed}")
    return [draw.choice([0, most, draw.randint(0, most), draw.randint(0, most)]) for _ in range(count)]


def gif(width, height, image, palette=entries(8), extensions=b"", screen=None, background=5, end=b";", version=b"89a"):
    flags = 0x80 | (len(palette) // 3).bit_length() - 2 if palette else 0
    head = b"GIF" + version + struct.pack("<HHBBB", *(screen or (width, height)), flags, background, 0)
    return head + palette + extensions + image + end


def image(width, height, data=None, size=3, left=0, top=0, palette=b"", interlaced=False, most=None, block=255, **options):
    if data is None:
        data = lzw(indices(width * height, 2**size - 1 if most is None else most), size, **options)
    flags = (0x80 | (len(palette) // 3).bit_length() - 2 if palette else 0) | (0x40 if interlaced else 0)
    return b"," + struct.pack("<HHHHB", left, top, width, height, flags) + palette + bytes([size]) + blocks(data, block)


def control(transparent=None, dispose=0):
    return b"!\xf9\4" + struct.pack("<BHBB", dispose << 2 | (transparent is not None), 7, transparent or 0, 0)


def gifs():
    width, height = 6, 5
    grey = lambda count: bytes(i for i in range(count) for _ in range(3))
    yield "gif", gif(width, height, image(width, height))
    yield "gif87", gif(width, height, image(width, height), version=b"87a")
    yield "gif88", gif(width, height, image(width, height), version=b"88a")
    for size in range(1, 9):
        colours = entries(2**size)
        yield f"gif_{size}_bits", gif(17, 13, image(17, 13, size=max(size, 2), most=2**size - 1), colours)
    yield "gif_code_1", gif(width, height, image(width, height, size=1), entries(2))
    for size in (0, 9, 11, 12, 13):
        data = lzw(indices(width * height, 7), min(max(size, 3), 11))
        yield f"gif_code_{size}", gif(width, height, image(width, height, data, size=size))
    yield "gif_interlaced", gif(7, 19, image(7, 19, interlaced=True))
    yield "gif_interlaced_flat", gif(7, 1, image(7, 1, interlaced=True))
    yield "gif_interlaced_three", gif(7, 3, image(7, 3, interlaced=True))
    yield "gif_local", gif(width, height, image(width, height, palette=entries(8, 7)))
    yield "gif_local_alone", gif(width, height, image(width, height, palette=entries(8, 7)), b"")
    yield "gif_no_palette", gif(width, height, image(width, height, size=8), b"")
    yield "gif_greys", gif(width, height, image(width, height, size=8), grey(256))
    yield "gif_few_greys", gif(width, height, image(width, height, size=8), grey(8))
    yield "gif_local_greys", gif(width, height, image(width, height, size=8, palette=grey(4)))
    yield "gif_behind_palette", gif(width, height, image(width, height, size=8), entries(8))
    yield "gif_transparent", gif(width, height, image(width, height), extensions=control(3))
    yield "gif_small", gif(width, height, image(3, 2, left=2, top=1))
    yield "gif_small_transparent", gif(width, height, image(3, 2, left=2, top=1), extensions=control(3))
    yield "gif_small_transparent_behind", gif(width, height, image(3, 2, left=2, top=1), extensions=control(200))
    yield "gif_small_dispose", gif(width, height, image(3, 2, left=2, top=1), extensions=control(dispose=2))
    yield "gif_small_greys", gif(width, height, image(3, 2, left=2, top=1), grey(8), extensions=control(3))
    yield "gif_two_controls", gif(width, height, image(3, 2, left=2, top=1), extensions=control(3) + control())
    yield "gif_larger", gif(width, height, image(9, 4, left=2, top=3))
    yield "gif_no_screen", gif(width, height, image(width, height), screen=(0, 0))
    yield "gif_no_width", gif(width, height, image(0, height, b"\x44\1"))
    yield "gif_animated", gif(width, height, control(dispose=2) + image(width, height) + control(1) + image(3, 2, left=1))
    comment = b"!\xfe" + blocks(b"a comment")
    yield "gif_comment", gif(width, height, image(width, height), extensions=comment)
    application = b"!\xff\x0bNETSCAPE2.0\3\1\0\0\0"
    yield "gif_application", gif(width, height, image(width, height), extensions=application)
    yield "gif_text", gif(width, height, image(width, height), extensions=b"!\1\x0c" + bytes(12) + blocks(b"text"))
    yield "gif_unknown", gif(width, height, image(width, height), extensions=b"!\x77" + blocks(b"unknown"))
    yield "gif_junk_before", gif(width, height, image(width, height), extensions=b"junk")
    yield "gif_control_short", gif(width, height, image(width, height), extensions=b"!\xf9\2\1\1\0")
    yield "gif_control_without_index", gif(width, height, image(width, height), extensions=b"!\xf9\3\1\1\1\0")
    yield "gif_control_empty", gif(width, height, image(width, height), extensions=b"!\xf9\0")
    yield "gif_small_blocks", gif(width, height, image(width, height, block=1))
    yield "gif_no_clear", gif(width, height, image(width, height, clear_first=False))
    yield "gif_clear_often", gif(width, height, image(width, height, clear_often=7))
    yield "gif_no_end_code", gif(width, height, image(width, height, end=False))
    yield "gif_full_table", gif(90, 80, image(90, 80, size=8), entries(256))
    yield "gif_repeats", gif(30, 30, image(30, 30, lzw([3] * 900, 3)))
    yield "gif_long", gif(width, height, image(width, height, lzw(indices(90, 7), 3)))
    yield "gif_short", gif(width, height, image(width, height, lzw(indices(20, 7), 3)))
    yield "gif_short_no_end", gif(width, height, image(width, height, lzw(indices(20, 7), 3, end=False)))
    yield "gif_wrong_code", gif(width, height, image(width, height, bytes([0x08, 0xFE, 0xFF, 0xFF])))
    yield "gif_no_data", gif(width, height, image(width, height, b""))
    whole = gif(width, height, image(width, height))
    yield "gif_no_trailer", gif(width, height, image(width, height), end=b"")
    yield "gif_no_terminator", gif(width, height, image(width, height), end=b"")[:-1]
    yield "gif_cut", whole[:-9]
    yield "gif_cut_in_image", whole[:45]
    yield "gif_cut_in_palette", whole[:20]
    yield "gif_start", whole[:9]
    yield "gif_no_image", gif(width, height, b"")
    yield "gif_large", gif(width, height, image(20000, 20000, b"\x44\1"))
    yield "gif_large_screen", gif(width, height, image(width, height), screen=(20000, 20000))


# --- JPEG


def jpegs():
    photo = Image.fromarray(picture(21, 27))
    cmyk = photo.convert("CMYK")
    for subsampling in (0, 1, 2):
        data = bytearray(saved(cmyk, "jpeg", quality=85, subsampling=subsampling))
        yield f"cmyk_{subsampling}", bytes(data)
        data[data.find(b"Adobe") + 11] = 2
        yield f"ycck_{subsampling}", bytes(data)
    data = bytearray(saved(cmyk, "jpeg", quality=85, progressive=True))
    data[data.find(b"Adobe") + 11] = 2
    yield "ycck_progressive", bytes(data)
    adobe = bytes(data)
    at = adobe.find(b"\xff\xee")
    yield "cmyk_without_adobe", adobe[:at] + adobe[at + 16 :]
    yield "grey_progressive", saved(photo.convert("L"), "jpeg", quality=70, progressive=True)
    yield "restarts_422", saved(photo, "jpeg", quality=80, subsampling=1, restart_marker_blocks=2)
    exif = Image.Exif()
    exif[0x112] = 8
    whole = saved(photo, "jpeg", quality=80, exif=exif)
    yield "exif_orientation", whole
    frame = whole.find(b"\xff\xc0")
    for marker, name in [(0xC3, "lossless"), (0xC5, "hierarchical"), (0xC9, "arithmetic"), (0xCA, "arithmetic_progressive"), (0xCB, "arithmetic_lossless")]:
        yield name, whole[: frame + 1] + bytes([marker]) + whole[frame + 2 :]
    yield "bits_12", whole[: frame + 1] + b"\xc1" + whole[frame + 2 : frame + 4] + b"\x0c" + whole[frame + 5 :]
    yield "extended_sequential", whole[: frame + 1] + b"\xc1" + whole[frame + 2 :]


def read(data):
    """What PIL says: pixels, or an error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data)).convert("RGB")
        pixels = image.tobytes()
        shown = pixels.hex() if len(pixels) <= 120 else "sha256:" + hashlib.sha256(pixels).hexdigest()
        return f"{image.width}\t{image.height}\t{shown}"
    except Exception as error:
        return f"-\t{type(error).__name__}"


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    lines, files = [], b""
    for group, kind in [(webps, "webp"), (bmps, "bmp"), (gifs, "gif"), (jpegs, "jpg")]:
        for name, data in group():
            lines.append(f"{name}.{kind}\t{len(data)}\t{read(data)}\n")
            files += data
    (OUT / "cases.tsv").write_text("".join(lines))
    (OUT / "files.bin").write_bytes(files)


if __name__ == "__main__":
    main()
