//! Sequences of launches that are recorded once and replayed: CUDA graphs by stream capture, and on
//! the emulator the list of what was asked for, so that whoever captures runs the same way on both.
//!
//! While a device captures, nothing runs. What a graph can't hold is refused there and then, with a
//! reason: memory that is allocated or freed, copies from and to the host, waiting. Arguments are frozen
//! with the launch; whatever changes between replays lies in device memory.

use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use super::cuda::CudaGraph;
use super::emulated;
use super::kernels::{KernelInfo, LaunchConfig};
use super::{Backend, Device};
use crate::Result;

/// One thing that a graph does, as the emulator keeps it.
pub(super) enum GraphStep {
    Launch { number: usize, info: &'static KernelInfo, config: LaunchConfig, args: Vec<u8> },
    Copy { from: u64, to: u64, bytes: usize },
    Zero { address: u64, bytes: usize },
}

/// What a device has recorded since its capture began.
struct Recording {
    /// Who captures; what other threads ask for meanwhile is refused.
    thread: ThreadId,
    /// On the emulator; on cuda the stream keeps them.
    steps: Vec<GraphStep>,
    launches: usize,
    /// The first operation that can't be part of a graph.
    refused: Option<String>,
    /// GPU memory whose owners gave it up meanwhile: it can't be freed before the capture ends.
    freed: Vec<u64>,
}

impl Recording {
    fn new() -> Recording {
        let thread = thread::current().id();
        Recording { thread, steps: Vec::new(), launches: 0, refused: None, freed: Vec::new() }
    }

    fn require_own(&self, device: &Device, what: &str) -> Result<()> {
        match self.thread == thread::current().id() {
            true => Ok(()),
            false => Err(device.failed(format!("{what} while another thread captures a graph"))),
        }
    }
}

/// A device's capture, if one is going on.
#[derive(Default)]
pub(super) struct Capture(Mutex<Option<Recording>>);

impl Capture {
    fn lock(&self) -> MutexGuard<'_, Option<Recording>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a step that the emulator keeps for later, or on cuda (no `step`) has put into the stream.
    /// Says whether a capture is going on.
    ///
    /// # Errors
    /// [`crate::Error::Device`] where another thread captures.
    pub fn note(
        &self,
        device: &Device,
        is_launch: bool,
        step: impl FnOnce() -> Option<GraphStep>,
    ) -> Result<bool> {
        let mut recording = self.lock();
        let Some(recording) = recording.as_mut() else { return Ok(false) };
        recording.require_own(device, "a launch or a copy")?;
        recording.launches += usize::from(is_launch);
        recording.steps.extend(step());
        Ok(true)
    }

    /// Refuses `what` while a capture is going on, which then gives no graph.
    pub fn refuse(&self, device: &Device, what: &str) -> Result<()> {
        let mut recording = self.lock();
        let Some(recording) = recording.as_mut() else { return Ok(()) };
        recording.require_own(device, what)?;
        let detail = format!("{what} can't be part of a graph");
        recording.refused.get_or_insert_with(|| detail.clone());
        Err(device.failed(detail))
    }

    /// Keeps GPU memory that is given up during a capture; says whether one is going on.
    pub fn defer_free(&self, address: u64) -> bool {
        let mut recording = self.lock();
        let Some(recording) = recording.as_mut() else { return false };
        recording.freed.push(address);
        recording.refused.get_or_insert_with(|| "freeing memory can't be part of a graph".into());
        true
    }
}

/// Ends a capture whichever way it is left.
struct Capturing<'a>(&'a Device);

impl Capturing<'_> {
    fn begin(device: &Device) -> Result<Capturing<'_>> {
        let mut recording = device.0.capture.lock();
        if recording.is_some() {
            return Err(device.failed("a graph is being captured already"));
        }
        match &device.0.backend {
            Backend::Cpu => {
                return Err(device.unsupported("capturing a graph of launches"));
            }
            Backend::Emulated(_) => {}
            Backend::Cuda(cuda) => cuda.begin_capture()?,
        }
        *recording = Some(Recording::new());
        drop(recording);
        Ok(Capturing(device))
    }

    /// Takes the recording, and on cuda what the stream has made of it.
    fn end(&self) -> (Recording, Result<Option<CudaGraph>>) {
        let mut recording = self.0.0.capture.lock().take().unwrap_or_else(Recording::new);
        let graph = match &self.0.0.backend {
            Backend::Cuda(cuda) => {
                let graph = cuda.end_capture();
                // SAFETY: buffers' memory, which their owners gave up.
                recording.freed.drain(..).for_each(|address| unsafe { cuda.free(address) });
                graph.map(Some)
            }
            _ => Ok(None),
        };
        (recording, graph)
    }
}

impl Drop for Capturing<'_> {
    fn drop(&mut self) {
        let unfinished = self.0.0.capture.lock().is_some();
        if unfinished {
            let _ = self.end();
        }
    }
}

/// A captured sequence of launches, copies and clearings of one device.
pub struct Graph {
    device: Device,
    launches: usize,
    work: LaunchedWork,
}

enum LaunchedWork {
    Emulated(Vec<GraphStep>),
    Cuda(CudaGraph),
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Graph({} launches on {})", self.launches, self.device.kind())
    }
}

impl Device {
    /// Records what `work` queues on this device instead of running it: launches, and copies and
    /// clearings within the device. What other threads ask of the device meanwhile is refused.
    ///
    /// # Errors
    /// [`crate::Error::Unsupported`] on the cpu device, which launches nothing. [`crate::Error::Device`] where a
    /// capture is going on already, and where `work` allocates or frees memory, copies from or to the
    /// host, or waits. Those of `work`.
    pub fn capture(&self, work: impl FnOnce() -> Result<()>) -> Result<Graph> {
        let capturing = Capturing::begin(self)?;
        let done = work();
        let (recording, graph) = capturing.end();
        done?;
        if let Some(detail) = recording.refused {
            return Err(self.failed(detail));
        }
        let work = match graph? {
            Some(graph) => LaunchedWork::Cuda(graph),
            None => LaunchedWork::Emulated(recording.steps),
        };
        Ok(Graph { device: self.clone(), launches: recording.launches, work })
    }
}

impl Graph {
    /// Kernels of one replay.
    pub fn launches(&self) -> usize {
        self.launches
    }

    /// Queues all of it again, in order.
    ///
    /// # Safety
    /// What was owed for each launch, copy and clearing when it was captured holds still: the addresses are live, and
    /// nobody else uses what is written.
    ///
    /// # Errors
    /// As [`Device::launch`]; [`crate::Error::Device`] while another graph is being captured.
    pub unsafe fn replay(&mut self) -> Result<()> {
        let device = &self.device;
        device.0.capture.refuse(device, "replaying another graph")?;
        device.0.counters.replays.count();
        match (&mut self.work, &device.0.backend) {
            // SAFETY: captured on this device; the addresses are the caller's.
            (LaunchedWork::Cuda(graph), Backend::Cuda(cuda)) => unsafe { cuda.replay(graph) },
            (LaunchedWork::Emulated(steps), Backend::Emulated(options)) => {
                let searches = &device.0.counters.fault_searches;
                // SAFETY: as above.
                steps.iter().try_for_each(|step| unsafe { run(step, options, searches) })
            }
            // A graph is made by the backend of its own device.
            _ => Err(device.failed("this graph is another device's")),
        }
    }
}

/// Runs one step on the emulator.
///
/// # Safety
/// As [`Graph::replay`], of this step.
unsafe fn run(
    step: &GraphStep,
    options: &emulated::EmulatorOptions,
    searches: &AtomicU64,
) -> Result<()> {
    match step {
        GraphStep::Launch { number, info, config, args } => {
            // SAFETY: `Device::launch` has checked it; its addresses are the caller's.
            unsafe { emulated::launch(options, *number, info, *config, args, searches) }
        }
        GraphStep::Copy { from, to, bytes } => {
            // SAFETY: the caller's.
            unsafe { std::ptr::copy(*from as *const u8, *to as *mut u8, *bytes) };
            Ok(())
        }
        GraphStep::Zero { address, bytes } => {
            // SAFETY: as above.
            unsafe { std::ptr::write_bytes(*address as *mut u8, 0, *bytes) };
            Ok(())
        }
    }
}
