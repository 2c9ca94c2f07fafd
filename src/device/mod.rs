//! Where memory lives and how a kernel is launched: `cpu`, `cuda:N`, `emulated`.
//!
//! A [`Device`] owns nothing but a way to reach memory and kernels; a [`Buffer`] is memory on one.
//! The `cpu` device has memory only: operations run native code there. On the other two an
//! operation is a [launch](Device::launch): a kernel's name, a grid, a block, and one plain struct
//! ([`args`]) that the same CUDA source reads on either.

pub mod args;
mod buffer;
mod cublas;
mod cuda;
mod download;
mod driver;
mod emulated;
mod gpu;
mod graph;
pub mod kernels;
mod report;
mod staging;
mod timer;
mod work;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub use buffer::Buffer;
pub use cublas::{Gemm, GemmCall};
pub use download::Download;
pub use emulated::{EmulatorOptions, ThreadOrder};
pub use graph::Graph;
pub use kernels::{KernelArgs, KernelInfo, LaunchConfig, kernels};
pub use report::{DeviceReport, report};
pub use work::WorkDone;

use crate::number::Compute;
use crate::{Error, Result};

/// The most shared memory that a block may have, in bytes: what every GPU since sm_80 grants.
pub const MAX_SHARED_BYTES: u32 = 99 * 1024;

/// What a device is. Displays as [`Device::parse`] reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// The host's processor, running native code.
    Cpu,
    /// An NVIDIA GPU, by its number.
    Cuda(usize),
    /// The GPU's kernels on the host's processor.
    Emulated,
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceKind::Cpu => f.write_str("cpu"),
            DeviceKind::Cuda(0) => f.write_str("cuda"),
            DeviceKind::Cuda(index) => write!(f, "cuda:{index}"),
            DeviceKind::Emulated => f.write_str("emulated"),
        }
    }
}

/// A place to keep tensors and run operations, and how convolutions multiply there. Cheap to clone;
/// clones are the same device.
#[derive(Clone)]
pub struct Device(Arc<Inner>, Compute);

struct Inner {
    backend: Backend,
    capture: graph::Capture,
    counters: work::Counters,
}

enum Backend {
    Cpu,
    Emulated(EmulatorOptions),
    Cuda(cuda::StreamState),
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({})", self.kind())
    }
}

/// What a device is called on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    Cpu,
    Emulated,
    /// GPU of this number.
    Cuda(usize),
}

impl Name {
    /// Reads `cpu`, `emulated`, `cuda` or `cuda:N`; nothing is opened.
    ///
    /// # Errors
    /// [`Error::Usage`] for any other word.
    pub fn parse(spec: &str) -> Result<Name> {
        match spec {
            "cpu" => Ok(Name::Cpu),
            "emulated" => Ok(Name::Emulated),
            "cuda" => Ok(Name::Cuda(0)),
            _ => match spec.strip_prefix("cuda:").map(str::parse::<usize>) {
                Some(Ok(index)) => Ok(Name::Cuda(index)),
                _ => Err(Error::usage(format!(
                    "there is no device `{spec}`: say cpu, cuda, cuda:N or emulated"
                ))),
            },
        }
    }
}

impl Device {
    /// The device that `spec` names: `cpu`, `emulated`, `cuda` (the first GPU) or `cuda:N`.
    ///
    /// # Errors
    /// [`Error::Usage`] for any other word, [`Error::Device`] when the GPU can't be used; the text
    /// says what is missing.
    pub fn parse(spec: &str) -> Result<Device> {
        match Name::parse(spec)? {
            Name::Cpu => Ok(Device::cpu()),
            Name::Emulated => Ok(Device::emulated()),
            Name::Cuda(index) => Device::cuda(index),
        }
    }

    fn new(backend: Backend) -> Device {
        let inner = Inner {
            backend,
            capture: graph::Capture::default(),
            counters: work::Counters::default(),
        };
        Device(Arc::new(inner), Compute::Exact)
    }

    /// The host's processor.
    pub fn cpu() -> Device {
        Device::new(Backend::Cpu)
    }

    /// The kernels on the host's processor, threads in forward order, blocks in parallel.
    pub fn emulated() -> Device {
        Device::emulated_with(EmulatorOptions::default())
    }

    /// The kernels on the host's processor, with a given order of threads.
    pub fn emulated_with(options: EmulatorOptions) -> Device {
        Device::new(Backend::Emulated(options))
    }

    /// GPU number `index`: a stream of its own on it. Kernels are loaded when the process opens a GPU for
    /// the first time, and stay.
    ///
    /// # Errors
    /// [`Error::Device`] when there is no such GPU, no driver or one that is too old, a GPU that the
    /// kernels weren't compiled for, or the program was built without nvcc; the text says what to do.
    pub fn cuda(index: usize) -> Result<Device> {
        Ok(Device::new(Backend::Cuda(cuda::StreamState::new(index)?)))
    }

    /// The same device, where convolutions and linear layers multiply as `compute` says.
    ///
    /// # Errors
    /// [`Error::Usage`] for tensor cores on the CPU, which has none.
    pub fn with_compute(self, compute: Compute) -> Result<Device> {
        if self.is_cpu() && compute != Compute::Exact {
            return Err(Error::usage(format!(
                "compute {compute} is done by kernels: it needs the device cuda or emulated, not cpu"
            )));
        }
        Ok(Device(self.0, compute))
    }

    /// How convolutions and linear layers multiply.
    pub fn compute(&self) -> Compute {
        self.1
    }

    /// What this device is.
    pub fn kind(&self) -> DeviceKind {
        match &self.0.backend {
            Backend::Cpu => DeviceKind::Cpu,
            Backend::Emulated(_) => DeviceKind::Emulated,
            Backend::Cuda(cuda) => DeviceKind::Cuda(cuda.index()),
        }
    }

    /// Whether operations run native code here instead of kernels.
    pub fn is_cpu(&self) -> bool {
        matches!(self.0.backend, Backend::Cpu)
    }

    /// Whether addresses on this device are pointers of this process (cpu and emulated).
    pub fn host_memory(&self) -> bool {
        !matches!(self.0.backend, Backend::Cuda(_))
    }

    /// Whether memory and queued work of one handle may be used through the other: clones of one
    /// device, or any two `cpu` devices. A GPU that is opened twice has two streams, whose work isn't
    /// ordered; the emulator is held to the same rule.
    pub fn same(&self, other: &Device) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.is_cpu() && other.is_cpu()
    }

    /// Refuses work on this device that uses memory of another one.
    ///
    /// # Errors
    /// [`Error::Usage`] unless [`Device::same`] holds: for memory of another device, or of the same one
    /// opened another time. `what` names the memory in the message.
    pub fn require_same(&self, other: &Device, what: &str) -> Result<()> {
        if self.same(other) {
            return Ok(());
        }
        let (here, there) = (self.kind(), other.kind());
        Err(Error::usage(if here == there {
            format!(
                "{what} are on {there}, opened another time: each opening is a stream of its own, so open \
                 the device once and clone it"
            )
        } else {
            format!("{what} are on {there}, not on {here}")
        }))
    }

    /// [`Error::Device`] of this one.
    pub(crate) fn failed(&self, detail: impl Into<String>) -> Error {
        Error::Device { device: self.kind().to_string(), detail: detail.into() }
    }

    /// [`Error::Unsupported`] on this one.
    pub(crate) fn unsupported(&self, op: impl Into<String>) -> Error {
        Error::Unsupported { op: op.into(), device: self.kind().to_string() }
    }

    /// What it has done so far.
    pub fn work_done(&self) -> WorkDone {
        self.0.counters.read()
    }

    /// How often emulated kernels have searched a fault table for an element since the device was opened. No other
    /// device counts them.
    pub fn fault_searches(&self) -> u64 {
        self.0.counters.fault_searches.load(Ordering::Relaxed)
    }

    /// Bytes of a GPU's memory that are in use, by whomever; `None` elsewhere, and where the driver doesn't say.
    pub fn memory_used(&self) -> Option<u64> {
        match &self.0.backend {
            Backend::Cuda(cuda) => cuda.memory_used(),
            Backend::Cpu | Backend::Emulated(_) => None,
        }
    }

    /// Fresh zeroed memory, aligned to 64 bytes (256 on cuda). Zero bytes are allowed.
    ///
    /// # Errors
    /// [`Error::Device`] when there isn't that much.
    pub fn alloc(&self, bytes: usize) -> Result<Buffer> {
        Buffer::new(self, bytes)
    }

    /// Queues `kernel` with its one argument; shared memory is what the kernel declares. Kernels and
    /// copies of one device happen in the order of the calls. On `emulated` the kernel has run when
    /// this returns; on cuda an error inside it may surface in a later call. While the device
    /// [captures](Device::capture), it is recorded instead.
    ///
    /// # Safety
    /// The addresses in `args` are of memory of this device that lives until the kernel has run, as large as the kernel
    /// reads and writes for the sizes in `args`, and nobody else uses what it writes meanwhile. Nothing here can check
    /// that (the emulated tests under AddressSanitizer do).
    ///
    /// # Errors
    /// [`Error::Kernel`] when the kernel doesn't exist, `A` isn't its argument, the grid or the block
    /// is out of bounds, or the threads of a block can't go on (emulated); [`Error::Unsupported`] on
    /// the cpu device, which runs no kernels.
    pub unsafe fn launch<A: KernelArgs>(
        &self,
        kernel: &'static str,
        config: LaunchConfig,
        args: &A,
    ) -> Result<()> {
        let mut bytes = vec![0; A::BYTES];
        args.write(&mut bytes);
        // SAFETY: the caller's.
        unsafe { self.launch_bytes(kernel, config, A::NAME, &bytes) }
    }

    /// As [`Device::launch`], with the bytes of an argument of the type `args_type`: compiled once for all types.
    ///
    /// # Safety
    /// As there.
    unsafe fn launch_bytes(
        &self,
        kernel: &'static str,
        config: LaunchConfig,
        args_type: &str,
        args: &[u8],
    ) -> Result<()> {
        let (number, info) = kernels::find(kernel)?;
        kernels::check_launch(info, config, args_type, args.len())?;
        match &self.0.backend {
            Backend::Cpu => Err(self.unsupported(kernel)),
            Backend::Emulated(options) => {
                let step =
                    || graph::GraphStep::Launch { number, info, config, args: args.to_vec() };
                if self.0.capture.note(self, true, || Some(step()))? {
                    return Ok(());
                }
                self.0.counters.launches.count();
                let searches = &self.0.counters.fault_searches;
                // SAFETY: the launch was checked; the addresses are the caller's.
                unsafe { emulated::launch(options, number, info, config, args, searches) }
            }
            Backend::Cuda(cuda) => {
                if !self.0.capture.note(self, true, || None)? {
                    self.0.counters.launches.count();
                }
                // SAFETY: as above.
                unsafe { cuda.launch(number, info, config, args) }
            }
        }
    }

    /// Waits until all that was queued has happened.
    ///
    /// # Errors
    /// [`Error::Device`] if any of it failed.
    pub fn synchronize(&self) -> Result<()> {
        self.0.capture.refuse(self, "waiting")?;
        self.0.counters.waits.count();
        match &self.0.backend {
            Backend::Cuda(cuda) => cuda.synchronize(),
            _ => Ok(()),
        }
    }

    /// Copies `bytes` to `address`; the slice may be reused at once.
    ///
    /// # Safety
    /// `address .. address + bytes.len()` lies in one live allocation of this device, and no other
    /// thread reads or writes it meanwhile.
    pub unsafe fn write(&self, address: u64, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.0.capture.refuse(self, "a copy from the host")?;
        self.0.counters.count_upload(bytes.len());
        match &self.0.backend {
            // SAFETY: the caller's.
            Backend::Cuda(cuda) => unsafe { cuda.write(address, bytes) },
            _ => {
                // SAFETY: the caller's; addresses are pointers here.
                unsafe {
                    std::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len())
                };
                Ok(())
            }
        }
    }

    /// Fills `out` from `address`, after all that was queued.
    ///
    /// # Safety
    /// `address .. address + out.len()` lies in one live allocation of this device, and no other
    /// thread writes it meanwhile.
    pub unsafe fn read(&self, address: u64, out: &mut [u8]) -> Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        self.0.capture.refuse(self, "a copy to the host")?;
        self.0.counters.count_download(out.len());
        match &self.0.backend {
            // SAFETY: the caller's.
            Backend::Cuda(cuda) => unsafe { cuda.read(address, out) },
            _ => {
                // SAFETY: the caller's; addresses are pointers here.
                unsafe {
                    std::ptr::copy_nonoverlapping(address as *const u8, out.as_mut_ptr(), out.len())
                };
                Ok(())
            }
        }
    }

    /// Copies within the device. On host memory the two may overlap, on cuda they may not.
    ///
    /// # Safety
    /// Both ranges lie in live allocations of this device, and no other thread uses them meanwhile.
    pub unsafe fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<()> {
        if bytes == 0 || self.moves(|| graph::GraphStep::Copy { from, to, bytes })? {
            return Ok(());
        }
        match &self.0.backend {
            // SAFETY: the caller's.
            Backend::Cuda(cuda) => unsafe { cuda.copy(from, to, bytes) },
            _ => {
                // SAFETY: the caller's; addresses are pointers here.
                unsafe { std::ptr::copy(from as *const u8, to as *mut u8, bytes) };
                Ok(())
            }
        }
    }

    /// Sets a range to zero.
    ///
    /// # Safety
    /// `address .. address + bytes` lies in one live allocation of this device, and no other thread
    /// uses it meanwhile.
    pub unsafe fn zero(&self, address: u64, bytes: usize) -> Result<()> {
        if bytes == 0 || self.moves(|| graph::GraphStep::Zero { address, bytes })? {
            return Ok(());
        }
        match &self.0.backend {
            // SAFETY: the caller's.
            Backend::Cuda(cuda) => unsafe { cuda.zero(address, bytes) },
            _ => {
                // SAFETY: the caller's; addresses are pointers here.
                unsafe { std::ptr::write_bytes(address as *mut u8, 0, bytes) };
                Ok(())
            }
        }
    }

    /// Counts a copy or clearing within the device; true where the emulator keeps it for a graph.
    fn moves(&self, step: impl FnOnce() -> graph::GraphStep) -> Result<bool> {
        // On cuda it goes into the stream, where a capture records it.
        let kept = matches!(self.0.backend, Backend::Emulated(_));
        let captured = self.0.capture.note(self, false, || kept.then(step))?;
        if !captured {
            self.0.counters.moves.count();
        }
        Ok(captured && kept)
    }
}
