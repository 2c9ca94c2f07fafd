//! Makes `.pth` files by hand, honest ones and others.

/// What a dict of a forged checkpoint holds.
pub enum Entry {
    /// A tensor of one f32.
    Value(f32),
    Dict(Vec<(String, Entry)>),
}

/// A dict of entries.
pub fn dict<const N: usize>(entries: [(&str, Entry); N]) -> Entry {
    Entry::Dict(entries.into_iter().map(|(name, entry)| (name.to_string(), entry)).collect())
}

/// Tensors whose values are `first`, `first` + 1 and so on, `prefix` before their names.
pub fn values(prefix: &str, names: &[&str], first: f32) -> Entry {
    let value =
        |(i, name): (usize, &&str)| (format!("{prefix}{name}"), Entry::Value(first + i as f32));
    Entry::Dict(names.iter().enumerate().map(value).collect())
}

/// The entries of several dicts in one.
pub fn together<const N: usize>(dicts: [Entry; N]) -> Entry {
    let entries = dicts.into_iter().flat_map(|entry| match entry {
        Entry::Dict(entries) => entries,
        Entry::Value(_) => panic!("a tensor has no entries"),
    });
    Entry::Dict(entries.collect())
}

/// A `.pth` file that holds `entry`.
pub fn checkpoint(entry: &Entry) -> Vec<u8> {
    let (mut pickle, mut storages) = (b"\x80\x02".to_vec(), Vec::new());
    write_entry(&mut pickle, &mut storages, entry);
    pickle.push(b'.');
    let mut entries: Vec<(&str, &[u8])> = vec![("a/data.pkl", &pickle)];
    entries
        .extend(storages.iter().map(|(name, bytes): &(String, [u8; 4])| (&name[..], &bytes[..])));
    zip(&entries, false)
}

fn write_entry(pickle: &mut Vec<u8>, storages: &mut Vec<(String, [u8; 4])>, entry: &Entry) {
    match entry {
        Entry::Value(value) => {
            let storage = storages.len().to_string();
            rebuilt(pickle, &storage, "FloatStorage", 1, 0, &[1], &[1]);
            storages.push((format!("a/data/{storage}"), value.to_le_bytes()));
        }
        Entry::Dict(entries) => {
            pickle.extend(b"}(");
            for (name, entry) in entries {
                text(pickle, name);
                write_entry(pickle, storages, entry);
            }
            pickle.push(b'u');
        }
    }
}

/// The pickle of one bare tensor over storage `0`.
pub fn tensor(class: &str, len: i32, offset: i32, shape: &[i32], strides: &[i32]) -> Vec<u8> {
    let mut p = b"\x80\x02".to_vec();
    rebuilt(&mut p, "0", class, len, offset, shape, strides);
    p.push(b'.');
    p
}

/// A `.pth` file of a state dict of f32 tensors, each with a storage of its own.
pub fn state_dict(tensors: &[(String, Vec<usize>, Vec<f32>)]) -> Vec<u8> {
    let mut p = b"\x80\x02}(".to_vec();
    let mut storages = Vec::new();
    for (number, (name, shape, values)) in tensors.iter().enumerate() {
        text(&mut p, name);
        let shape: Vec<i32> = shape.iter().map(|n| *n as i32).collect();
        let strides: Vec<i32> = (0..shape.len()).map(|d| shape[d + 1..].iter().product()).collect();
        let storage = number.to_string();
        rebuilt(&mut p, &storage, "FloatStorage", values.len() as i32, 0, &shape, &strides);
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        storages.push((format!("a/data/{storage}"), bytes));
    }
    p.extend(b"u.");
    let mut entries: Vec<(&str, &[u8])> = vec![("a/data.pkl", &p), ("a/byteorder", b"little")];
    entries.extend(storages.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())));
    zip(&entries, false)
}

/// A tensor over `storage`, as PyTorch pickles it.
fn rebuilt(
    p: &mut Vec<u8>,
    storage: &str,
    class: &str,
    len: i32,
    offset: i32,
    shape: &[i32],
    strides: &[i32],
) {
    p.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    text(p, "storage");
    p.extend(format!("ctorch\n{class}\n").bytes());
    text(p, storage);
    text(p, "cpu");
    int(p, len);
    p.extend(b"tQ");
    int(p, offset);
    for dims in [shape, strides] {
        p.push(b'(');
        dims.iter().for_each(|&n| int(p, n));
        p.push(b't');
    }
    p.extend(b"\x89ccollections\nOrderedDict\n)RtR");
}

fn int(pickle: &mut Vec<u8>, value: i32) {
    pickle.push(b'J');
    pickle.extend(value.to_le_bytes());
}

pub fn text(pickle: &mut Vec<u8>, text: &str) {
    pickle.push(b'X');
    pickle.extend((text.len() as u32).to_le_bytes());
    pickle.extend(text.bytes());
}

/// A `.pth` file of a pickle and the bytes of storage `0`.
pub fn pth(pickle: &[u8], storage: &[u8], byte_order: &str) -> Vec<u8> {
    let order = byte_order.as_bytes();
    zip(&[("a/data.pkl", pickle), ("a/byteorder", order), ("a/data/0", storage)], false)
}

/// A zip archive of stored entries with their checksums; with `zip64`, every length and offset
/// stands in the 64-bit fields.
pub fn zip(entries: &[(&str, &[u8])], zip64: bool) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let (len, offset) = (data.len() as u64, file.len() as u64);
        let crc = crc32fast::hash(data).to_le_bytes();
        file.extend(b"PK\x03\x04");
        file.extend([0; 10]);
        file.extend(crc);
        file.extend([0; 8]);
        file.extend((name.len() as u16).to_le_bytes());
        file.extend([0; 2]);
        file.extend(name.bytes());
        file.extend(*data);

        let narrow = |n: u64| if zip64 { u32::MAX } else { n as u32 }.to_le_bytes();
        directory.extend(b"PK\x01\x02");
        directory.extend([0; 12]);
        directory.extend(crc);
        directory.extend(narrow(len));
        directory.extend(narrow(len));
        directory.extend((name.len() as u16).to_le_bytes());
        directory.extend(if zip64 { 28u16 } else { 0 }.to_le_bytes());
        directory.extend([0; 10]);
        directory.extend(narrow(offset));
        directory.extend(name.bytes());
        if zip64 {
            directory.extend([1, 0, 24, 0]);
            [len, len, offset].iter().for_each(|n| directory.extend(n.to_le_bytes()));
        }
    }
    let (start, len, count) = (file.len() as u64, directory.len() as u64, entries.len() as u64);
    file.extend(directory);
    if zip64 {
        let record = file.len() as u64;
        file.extend(b"PK\x06\x06");
        file.extend(44u64.to_le_bytes());
        file.extend([0; 12]);
        [count, count, len, start].iter().for_each(|n| file.extend(n.to_le_bytes()));
        file.extend(b"PK\x06\x07\0\0\0\0");
        file.extend(record.to_le_bytes());
        file.extend([1, 0, 0, 0]);
    }
    let (count, len, start) = match zip64 {
        true => (u16::MAX, u32::MAX, u32::MAX),
        false => (count as u16, len as u32, start as u32),
    };
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend(count.to_le_bytes());
    file.extend(count.to_le_bytes());
    file.extend(len.to_le_bytes());
    file.extend(start.to_le_bytes());
    file.extend([0; 2]);
    file
}

/// Names and bytes of the entries of an honest archive.
pub fn entries(file: &[u8]) -> Vec<(String, Vec<u8>)> {
    let short = |at: usize| usize::from(u16::from_le_bytes([file[at], file[at + 1]]));
    let long = |at: usize| short(at) + (short(at + 2) << 16);
    let end = file.len() - 22;
    let mut at = long(end + 16);
    let mut entries = Vec::new();
    for _ in 0..short(end + 10) {
        let (len, name_len, local) = (long(at + 24), short(at + 28), long(at + 42));
        let name = String::from_utf8(file[at + 46..at + 46 + name_len].to_vec()).unwrap();
        let start = local + 30 + short(local + 26) + short(local + 28);
        entries.push((name, file[start..start + len].to_vec()));
        at += 46 + name_len + short(at + 30) + short(at + 32);
    }
    entries
}
