//! Scalars as TensorBoard reads them: a file of TFRecords, each of which holds an `Event` message (event.proto and
//! summary.proto of TensorBoard 2, fields that aren't written left out).

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

use crate::checkpoint::atomic::unwritable;
use crate::{Error, Result};

/// What the first event of a file says.
const VERSION: &str = "brain.Event:2";

/// `SessionLog.START`: events of this step and later ones in older files of the folder don't count any more.
const START: i32 = 1;

/// `Event`.
#[derive(Clone, PartialEq, Message)]
struct EventProto {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<SummaryProto>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLogProto>,
}

/// `Summary`.
#[derive(Clone, PartialEq, Message)]
struct SummaryProto {
    #[prost(message, repeated, tag = "1")]
    value: Vec<ScalarProto>,
}

/// `Summary.Value`, of a scalar.
#[derive(Clone, PartialEq, Message)]
struct ScalarProto {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// `SessionLog`.
#[derive(Clone, PartialEq, Message)]
struct SessionLogProto {
    #[prost(int32, tag = "1")]
    status: i32,
}

impl EventProto {
    fn version(wall_time: f64) -> EventProto {
        EventProto { wall_time, file_version: Some(VERSION.into()), ..EventProto::default() }
    }

    fn start(wall_time: f64, step: u64) -> EventProto {
        let session_log = Some(SessionLogProto { status: START });
        EventProto { wall_time, step: step as i64, session_log, ..EventProto::default() }
    }

    fn scalars(wall_time: f64, step: u64, scalars: &[(&str, f64)]) -> EventProto {
        let value = |(tag, value): &(&str, f64)| ScalarProto {
            tag: (*tag).into(),
            simple_value: Some(*value as f32),
        };
        let summary = Some(SummaryProto { value: scalars.iter().map(value).collect() });
        EventProto { wall_time, step: step as i64, summary, ..EventProto::default() }
    }
}

/// Bytes as a TFRecord: their number, its checksum, the bytes, their checksum.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let parts =
        [&length[..], &masked_crc(&length).to_le_bytes(), data, &masked_crc(data).to_le_bytes()];
    parts.concat()
}

/// TFRecord's checksum: CRC-32C turned by 15 bits, plus a constant.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli) of each byte, least significant bit first.
static CRC32C: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut crc, mut bit) = (byte as u32, 0);
        while bit < 8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

fn crc32c(data: &[u8]) -> u32 {
    let next =
        |crc: u32, byte: &u8| (crc >> 8) ^ CRC32C[((crc ^ u32::from(*byte)) & 0xff) as usize];
    !data.iter().fold(!0, next)
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// The name of this machine.
fn host() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let named =
        ["HOSTNAME", "COMPUTERNAME"].into_iter().filter_map(|name| std::env::var(name).ok());
    let mut names = kernel.into_iter().chain(named);
    let name = names.find(|name| !name.trim().is_empty()).unwrap_or_else(|| "localhost".into());
    name.trim().replace(|c: char| !(c.is_alphanumeric() || c == '-'), "_")
}

/// A file of events: that of one process.
pub(super) struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// A new file in `folder`, named as TensorBoard looks for it, of a process that begins at step `step` of the run.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn create(folder: &Path, step: u64) -> Result<EventFile> {
        let wall_time = now();
        let name = format!(
            "events.out.tfevents.{:010}.{}.{}",
            wall_time as u64,
            host(),
            std::process::id()
        );
        let path = folder.join(name);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(|source| unwritable(&path, source))?;
        let mut events = EventFile { path, file };
        events.write(&EventProto::version(wall_time))?;
        events.write(&EventProto::start(wall_time, step))?;
        Ok(events)
    }

    /// Adds values of scalars, by their tags.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn scalars(&mut self, step: u64, scalars: &[(&str, f64)]) -> Result<()> {
        self.write(&EventProto::scalars(now(), step, scalars))
    }

    fn write(&mut self, event: &EventProto) -> Result<()> {
        let bytes = record(&event.encode_to_vec());
        let failed = |source| -> Error { unwritable(&self.path, source) };
        self.file.write_all(&bytes).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_castagnoli_s() {
        // RFC 3720, B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    /// The file that tests/oracle/tensorboard_events.py has TensorBoard's own writer write.
    #[test]
    fn events_have_the_bytes_of_tensorboard_s_writer() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = root.join("tests/fixtures/tensorboard/events.out.tfevents.fixture");
        let expected = std::fs::read(path).unwrap();
        let events = [
            EventProto::version(1.7e9 + 0.25),
            EventProto::start(1.7e9 + 0.5, 0),
            EventProto::scalars(1.7e9 + 1.125, 1, &[("train/loss", 2.345_678_9)]),
            EventProto::scalars(
                1.7e9 + 2.0,
                10,
                &[("train/loss", 0.0), ("train/top1", 12.5), ("train/lr", 1e-5)],
            ),
            EventProto::start(1.7e9 + 3.75, 11),
            EventProto::scalars(1.7e9 + 4.0, 3_000_000_000, &[("validation/loss", f64::NAN)]),
            EventProto::scalars(1.7e9 + 5.0, 300, &[("validation/top1", f64::INFINITY)]),
        ];
        let found: Vec<u8> =
            events.iter().flat_map(|event| record(&event.encode_to_vec())).collect();
        assert!(found == expected, "{found:02x?}\n{expected:02x?}");
    }

    #[test]
    fn a_file_begins_with_its_version_and_its_first_step() {
        let folder = tempfile::tempdir().unwrap();
        let mut events = EventFile::create(folder.path(), 7).unwrap();
        events.scalars(8, &[("train/loss", 0.5)]).unwrap();
        let name = events.path.file_name().unwrap().to_str().unwrap();
        let parts: Vec<&str> = name.split('.').collect();
        assert_eq!(parts[..3], ["events", "out", "tfevents"]);
        assert!(parts.len() == 6 && parts[3].len() == 10, "{name}");
        let mut bytes = &std::fs::read(&events.path).unwrap()[..];
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            found.push(EventProto::decode(&bytes[12..12 + length]).unwrap());
            bytes = &bytes[16 + length..];
        }
        assert_eq!(found[0].file_version.as_deref(), Some(VERSION));
        assert_eq!((found[1].step, found[1].session_log.as_ref().unwrap().status), (7, START));
        assert_eq!(found[2].summary.as_ref().unwrap().value[0].simple_value, Some(0.5));
    }
}
