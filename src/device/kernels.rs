//! The table of all kernels: what the C++ compiler says about `kernels/`. Names and sizes come from the
//! compiled files, so that launches are held against them and not against a second copy.

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_void};
use std::sync::OnceLock;

use super::MAX_SHARED_BYTES;
use crate::{Error, Result};

/// A kernel, as its compiled file describes it.
#[derive(Clone, Copy, Debug)]
pub struct KernelInfo {
    /// Its name in the CUDA source.
    pub symbol: &'static str,
    /// Its file under `kernels/`.
    pub file: &'static str,
    /// The struct that it takes.
    pub args: &'static str,
    /// The size of that struct.
    pub args_bytes: usize,
    /// The shared memory that a block needs.
    pub shared_bytes: u32,
    /// The most threads that a block may have.
    pub max_threads: u32,
    /// A kernel of the emulator's own tests (`kernels/emulator/testing/`); not built for the GPU.
    pub testing: bool,
}

/// What a kernel takes as its one argument: a struct, or a number or an array in one. The build generates the structs
/// ([`super::args`]).
///
/// # Safety
/// `NAME` is a type of the CUDA source, `BYTES` its size there, and `write` lays it out as it is there.
pub unsafe trait KernelArgs {
    /// The type's name in CUDA, for a struct the same as in Rust.
    const NAME: &'static str;
    /// Its size.
    const BYTES: usize;

    /// Writes it to the first [`KernelArgs::BYTES`] bytes; those between and behind fields stay.
    fn write(&self, bytes: &mut [u8]);
}

macro_rules! numbers {
    ($($number:ident)*) => {$(
        // SAFETY: kernels/common/flipside.cuh has the same names; the bytes are those of this machine.
        unsafe impl KernelArgs for $number {
            const NAME: &'static str = stringify!($number);
            const BYTES: usize = size_of::<$number>();

            fn write(&self, bytes: &mut [u8]) {
                bytes[..Self::BYTES].copy_from_slice(&self.to_ne_bytes());
            }
        }
    )*};
}

numbers!(u64 i64 f64 u32 i32 f32);

// SAFETY: elements of an array follow each other, in both languages.
unsafe impl<A: KernelArgs, const N: usize> KernelArgs for [A; N] {
    const NAME: &'static str = A::NAME;
    const BYTES: usize = N * A::BYTES;

    fn write(&self, bytes: &mut [u8]) {
        self.iter().zip(bytes.chunks_exact_mut(A::BYTES)).for_each(|(a, bytes)| a.write(bytes));
    }
}

/// A kernel as the emulator calls it.
pub(super) type RunKernel = unsafe extern "C" fn(*const c_void, *mut c_void);

// Mirrors of the structs at the end of kernels/emulator/runtime.h.
#[repr(C)]
struct KernelEntry {
    symbol: *const c_char,
    args: *const c_char,
    run: RunKernel,
    args_bytes: u32,
    shared_bytes: u32,
    max_threads: u32,
}

/// The kernels of a compiled file, as the emulator calls them.
#[derive(Debug)]
#[repr(C)]
pub struct FileTable {
    kernels: *const KernelEntry,
    kernel_count: u64,
}

// SAFETY: a constant of a linked object, with pointers to more of them.
unsafe impl Sync for FileTable {}

/// One file under `kernels/`, as build.rs lists it.
pub(super) struct KernelFile {
    pub(super) name: &'static str,
    pub(super) testing: bool,
    /// What nvcc made of it; empty without nvcc.
    pub(super) fatbin: &'static [u8],
    /// The code for any processor.
    table: fn() -> *const FileTable,
    /// The code for processors with AVX2 and FMA, where there is one: the same bits, faster.
    wide: Option<fn() -> *const FileTable>,
}

/// Emulated kernels with one deliberate error, which the crate `flipside-mutants` has compiled for tests.
#[derive(Debug)]
pub struct Mutant {
    /// What messages call it.
    pub name: &'static str,
    /// The kernels that have the error. Others are the right ones.
    pub kernels: &'static FileTable,
}

impl PartialEq for Mutant {
    fn eq(&self, other: &Mutant) -> bool {
        std::ptr::eq(self.kernels, other.kernels)
    }
}

impl Eq for Mutant {}

include!(concat!(env!("OUT_DIR"), "/kernel_files.rs"));

struct KernelTable {
    kernels: Vec<KernelInfo>,
    run: Vec<RunKernel>,
    file: Vec<usize>,
    by_symbol: HashMap<&'static str, usize>,
}

#[cfg(target_arch = "x86_64")]
fn processor_is_wide() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

#[cfg(not(target_arch = "x86_64"))]
fn processor_is_wide() -> bool {
    false
}

fn table() -> &'static KernelTable {
    static TABLE: OnceLock<KernelTable> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table = KernelTable {
            kernels: Vec::new(),
            run: Vec::new(),
            file: Vec::new(),
            by_symbol: HashMap::new(),
        };
        for (number, file) in FILES.iter().enumerate() {
            let compiled = match file.wide {
                Some(wide) if processor_is_wide() => wide(),
                _ => (file.table)(),
            };
            // SAFETY: a table that build.rs has generated.
            for entry in unsafe { contents(compiled) } {
                // SAFETY: names in it.
                let [symbol, args] = [entry.symbol, entry.args].map(|name| unsafe { text(name) });
                table.by_symbol.insert(symbol, table.kernels.len());
                table.kernels.push(KernelInfo {
                    symbol,
                    file: file.name,
                    args,
                    args_bytes: entry.args_bytes as usize,
                    shared_bytes: entry.shared_bytes,
                    max_threads: entry.max_threads,
                    testing: file.testing,
                });
                table.run.push(entry.run);
                table.file.push(number);
            }
        }
        table
    })
}

/// What one of the tables that build.rs has generated holds.
///
/// # Safety
/// It is one of those.
unsafe fn contents(compiled: *const FileTable) -> &'static [KernelEntry] {
    // SAFETY: the caller's: a constant of a linked object, an array of the stated length.
    unsafe {
        let FileTable { kernels, kernel_count } = *compiled;
        match kernel_count {
            0 => &[],
            count => std::slice::from_raw_parts(kernels, count as usize),
        }
    }
}

/// A name in such a table.
///
/// # Safety
/// It is one of those.
unsafe fn text(name: *const c_char) -> &'static str {
    // SAFETY: the caller's: a string of a linked object that ends in a zero byte.
    unsafe { CStr::from_ptr(name) }.to_str().expect("C++ identifiers are ASCII")
}

/// Every kernel that the program has.
pub fn kernels() -> &'static [KernelInfo] {
    &table().kernels
}

/// A kernel's number in the table, and its entry.
pub(super) fn find(symbol: &str) -> Result<(usize, &'static KernelInfo)> {
    let table = table();
    match table.by_symbol.get(symbol) {
        Some(&number) => Ok((number, &table.kernels[number])),
        None => Err(refused(symbol, "no file in kernels/ defines it")),
    }
}

/// The emulated code of a kernel, and the shared memory of a block; with a mutant's error, if this is one
/// of its kernels.
pub(super) fn code_of(number: usize, mutant: Option<&Mutant>) -> (RunKernel, u32) {
    let table = table();
    let info = &table.kernels[number];
    let mutated = mutant.and_then(|mutant| {
        // SAFETY: a table that a build script has generated: nobody else can fill in its fields.
        let mut entries = unsafe { contents(mutant.kernels) }.iter();
        // SAFETY: names in it.
        entries.find(|entry| unsafe { text(entry.symbol) } == info.symbol)
    });
    match mutated {
        Some(entry) => (entry.run, entry.shared_bytes),
        None => (table.run[number], info.shared_bytes),
    }
}

/// The numbers of the kernels that stand in file number `file`.
pub(super) fn of_file(file: usize) -> impl Iterator<Item = usize> {
    let files = &table().file;
    (0..files.len()).filter(move |&number| files[number] == file)
}

/// Every file, in the order of their numbers.
pub(super) fn files() -> &'static [KernelFile] {
    FILES
}

pub(super) fn refused(kernel: &str, detail: impl Into<String>) -> Error {
    Error::Kernel { kernel: kernel.into(), detail: detail.into() }
}

/// The grid of a launch in blocks and the block in threads, along x, y and z.
pub type LaunchConfig = ([u32; 3], [u32; 3]);

/// Refuses a launch that doesn't fit the kernel or exceeds the limits of a GPU. Its argument is of the type
/// `args_type`, which takes `args_bytes`.
pub(super) fn check_launch(
    info: &KernelInfo,
    (grid, block): LaunchConfig,
    args_type: &str,
    args_bytes: usize,
) -> Result<()> {
    let refuse = |detail: String| Err(refused(info.symbol, detail));
    if (args_type, args_bytes) != (info.args, info.args_bytes) {
        let (takes, bytes) = (&info.args, info.args_bytes);
        let given = format!("{args_type} ({args_bytes} bytes)");
        return refuse(format!("it takes {takes} ({bytes} bytes), not {given}"));
    }
    let threads: u64 = block.iter().map(|&n| u64::from(n.min(4096))).product();
    let limit = u64::from(info.max_threads.min(1024));
    if threads == 0 || threads > limit || block[2] > 64 {
        return refuse(format!(
            "a block of {}×{}×{} threads; it runs with 1 to {limit}",
            block[0], block[1], block[2]
        ));
    }
    if grid.contains(&0) || grid[0] > i32::MAX as u32 || grid[1] > 65535 || grid[2] > 65535 {
        return refuse(format!(
            "a grid of {}×{}×{} blocks; the limits are 2147483647×65535×65535",
            grid[0], grid[1], grid[2]
        ));
    }
    if info.shared_bytes > MAX_SHARED_BYTES {
        return refuse(format!(
            "{} bytes of shared memory; the limit is {MAX_SHARED_BYTES}",
            info.shared_bytes
        ));
    }
    Ok(())
}
