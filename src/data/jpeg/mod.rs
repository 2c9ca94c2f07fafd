//! JPEG, decoded to the very pixels that libjpeg-turbo's default gives, and so PIL's.
//!
//! Sequential and progressive files of 8 bits, grey, colour or CMYK, with any sampling factors that
//! divide each other. ARCHITECTURE.md says why no crate does this.
//!
//! A scan's data become coefficients (`bits`, `scan`), coefficients become samples (`inverse`), samples
//! become pixels (`pixels`); `frame` holds them together. Where a part of the image is asked for, all data are
//! read and judged, but only the blocks of the part are transformed. Names in parentheses are those of the
//! standard, ITU-T T.81.

mod bits;
mod frame;
mod inverse;
mod pixels;
mod scan;
mod tables;

use super::Image8;
use super::transform::ChooseArea;
use frame::Frame;
use tables::Tables;

/// Scans that are decoded before a file counts as hostile; encoders make about ten.
const MAX_SCANS: usize = 500;

type Decoded<T> = std::result::Result<T, String>;

/// How pixels are coded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ColourSpace {
    Grey,
    Rgb,
    Ycc,
    Cmyk,
    /// CMYK whose inverted colours are coded as luma and chroma.
    Ycck,
}

/// Decodes the part of a file of at most `max_pixels` that `choose` gives for its height and width; it is asked
/// once, and its answer lies inside the image. The whole file is judged.
///
/// # Errors
/// In words that follow the file's name: truncated, corrupt, of a kind that isn't read, too large.
pub(super) fn decode(
    bytes: &[u8],
    max_pixels: usize,
    choose: &mut ChooseArea<'_>,
) -> Decoded<Image8> {
    let mut area = None;
    let mut choose_once = |height, width| *area.get_or_insert_with(|| choose(height, width));
    // Where more scans come behind one that held everything, their coefficients count too.
    for at_once in [true, false] {
        if let Some(image) = read(bytes, max_pixels, &mut choose_once, at_once)? {
            return Ok(image);
        }
    }
    corrupt("it can't be read scan by scan")
}

/// Reads a file; nothing comes back where `at_once` was wrong, see [`Frame::scan`].
fn read(
    bytes: &[u8],
    max_pixels: usize,
    choose: &mut ChooseArea<'_>,
    at_once: bool,
) -> Decoded<Option<Image8>> {
    let mut tables = Tables::default();
    let mut frame: Option<Frame> = None;
    let (mut at, mut scans) = (0, 0);
    loop {
        let marker = next_marker(bytes, &mut at)?;
        match marker {
            0xd8 if at > 2 => return corrupt("it begins twice"),
            // Start of the image; TEM and restarts out of place: markers without a segment.
            0xd8 | 0x01 | 0xd0..=0xd7 => continue,
            0xd9 => break,
            _ => {}
        }
        let segment = segment(bytes, &mut at)?;
        match marker {
            0xc0..=0xc2 if frame.is_some() => return corrupt("it holds two frames"),
            0xc0..=0xc2 => {
                let frame = frame.insert(Frame::parse(segment, marker == 0xc2, max_pixels)?);
                frame.choose(choose(frame.height, frame.width));
            }
            0xc4 => tables.read_huffman(segment)?,
            0xdb => tables.read_quantisation(segment)?,
            0xdd => tables.restart_interval = usize::from(word(segment, 0)?),
            0xe0 => tables.jfif |= segment.starts_with(b"JFIF\0"),
            0xee if segment.starts_with(b"Adobe") => tables.adobe = segment.get(11).copied(),
            0xda => {
                scans += 1;
                if scans > MAX_SCANS {
                    return Err(format!("is refused: a JPEG of more than {MAX_SCANS} scans"));
                }
                let Some(frame) = &mut frame else {
                    return corrupt("a scan comes before the frame");
                };
                match frame.scan(segment, &tables, (bytes, at), at_once)? {
                    Some(end) => at = end,
                    None => return Ok(None),
                }
            }
            0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf | 0xde => {
                return Err(unread(marker));
            }
            _ => {}
        }
    }
    match frame {
        Some(frame) => frame.image(&tables).map(Some),
        None => corrupt("it holds no frame"),
    }
}

/// What a file says before its first scan.
pub(super) struct JpegHeader<'a> {
    pub width: usize,
    pub height: usize,
    /// 1, 3 or 4.
    pub components: usize,
    /// The first segment of Exif data.
    pub exif: Option<&'a [u8]>,
}

/// Reads what stands before the first scan of a file of at most `max_pixels`.
///
/// # Errors
/// As [`decode`].
pub(super) fn header(bytes: &[u8], max_pixels: usize) -> Decoded<JpegHeader<'_>> {
    let (mut at, mut found, mut exif) = (2, None, None);
    loop {
        let marker = next_marker(bytes, &mut at)?;
        if matches!(marker, 0x01 | 0xd0..=0xd8) {
            continue;
        }
        if marker == 0xd9 {
            return corrupt("it holds no scan");
        }
        let segment = segment(bytes, &mut at)?;
        match marker {
            0xc0..=0xc2 => found = Some(Frame::parse(segment, marker == 0xc2, max_pixels)?),
            0xe1 if segment.starts_with(b"Exif\0\0") => exif = exif.or(Some(segment)),
            0xda => break,
            0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf | 0xde => return Err(unread(marker)),
            _ => {}
        }
    }
    let Some(frame) = found else { return corrupt("a scan comes before the frame") };
    let components = frame.component_count();
    Ok(JpegHeader { width: frame.width, height: frame.height, components, exif })
}

/// What is said of a frame's marker that isn't read.
fn unread(marker: u8) -> String {
    let coding = coding(marker);
    format!(
        "is a JPEG of {coding} coding; only Huffman-coded sequential and progressive ones are read"
    )
}

/// What a frame's marker that isn't read stands for.
fn coding(marker: u8) -> &'static str {
    match marker {
        0xc3 => "lossless",
        0xc9 | 0xca => "arithmetic",
        0xcb => "lossless arithmetic",
        0xcd..=0xcf => "hierarchical arithmetic",
        _ => "hierarchical",
    }
}

fn corrupt<T>(why: &str) -> Decoded<T> {
    Err(format!("is a corrupt JPEG: {why}"))
}

/// Goes past the next marker and returns its second byte. Bytes before it are skipped, as libjpeg
/// does.
fn next_marker(bytes: &[u8], at: &mut usize) -> Decoded<u8> {
    while let Some(&[first, second]) = bytes.get(*at..*at + 2) {
        // 0xff may be repeated before a marker; 0xff and 0 are data.
        let is_marker = first == 0xff && second != 0xff && second != 0;
        *at += if is_marker { 2 } else { 1 };
        if is_marker {
            return Ok(second);
        }
    }
    Err("is a truncated JPEG: its end-of-image marker is missing".into())
}

/// Goes past a segment and returns what follows its length.
fn segment<'a>(bytes: &'a [u8], at: &mut usize) -> Decoded<&'a [u8]> {
    let rest = &bytes[*at..];
    let length =
        rest.first_chunk::<2>().map_or(2, |&length| usize::from(u16::from_be_bytes(length)));
    if length < 2 {
        return corrupt("a segment has an impossible length");
    }
    *at += length;
    rest.get(2..length).ok_or_else(|| "is a truncated JPEG: it ends inside a segment".into())
}

fn byte(segment: &[u8], at: usize) -> Decoded<u8> {
    segment.get(at).copied().ok_or_else(|| "is a corrupt JPEG: a segment is too short".into())
}

fn word(segment: &[u8], at: usize) -> Decoded<u16> {
    Ok(u16::from_be_bytes([byte(segment, at)?, byte(segment, at + 1)?]))
}
