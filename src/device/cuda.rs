//! A stream of an NVIDIA GPU, on which everything that a handle asks for happens in order.

use std::ffi::c_void;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::{CudaEvent, CudaStream, DriverError, result, sys};

use super::cublas::{Cublas, GemmCall};
use super::driver::reason;
use super::gpu::Gpu;
use super::kernels::{self, KernelInfo, LaunchConfig};
use super::staging::Ring;
use crate::number::Compute;
use crate::{Error, Result};

/// Pinned memory for copies to the GPU; larger ones wait for the stream instead.
const STAGING_BYTES: usize = 1 << 20;

/// The fewest bytes of pinned memory for copies to the host.
const SMALLEST_LANDING: usize = 4 << 10;

/// A stream, with what belongs to it alone.
pub(super) struct StreamState {
    gpu: &'static Gpu,
    stream: Arc<CudaStream>,
    staging: Mutex<Staging>,
    /// Pinned memory that no copy to the host uses now.
    landings: Mutex<Vec<Pinned>>,
    /// Opened for its first product.
    cublas: Mutex<Option<Cublas>>,
}

/// Pinned host memory that the stream copies from.
struct Staging {
    /// An address of the host.
    memory: u64,
    ring: Ring,
}

/// Pinned host memory that the stream copies to. Freed by its stream alone.
struct Pinned {
    /// An address of the host.
    memory: u64,
    bytes: usize,
}

/// A queued copy to pinned memory.
pub(super) struct Landing {
    pinned: Pinned,
    /// Recorded in the stream after the copy.
    arrived: CudaEvent,
}

/// A captured graph of one GPU, ready to be launched.
pub(super) struct CudaGraph(cudarc::driver::CudaGraph);

// SAFETY: the driver's graphs may be used from any thread, by one at a time; `StreamState::replay` wants it
// mutable, and nothing looks at it otherwise.
unsafe impl Send for CudaGraph {}
// SAFETY: as above.
unsafe impl Sync for CudaGraph {}

impl StreamState {
    /// Bytes of the GPU's memory that aren't free.
    pub fn memory_used(&self) -> Option<u64> {
        let (free, total) = self.gpu.context.mem_get_info().ok()?;
        Some(total.saturating_sub(free) as u64)
    }

    /// A new stream of GPU number `index`.
    pub(super) fn new(index: usize) -> Result<StreamState> {
        let gpu = Gpu::open(index)?;
        let failed = |error: DriverError| Error::Device {
            device: format!("cuda:{index}"),
            detail: reason(&error),
        };
        let stream = gpu.context.new_stream().map_err(failed)?;
        // SAFETY: the context is bound to this thread; the memory is freed in `drop`.
        let memory = unsafe { result::malloc_host(STAGING_BYTES, 0) }.map_err(failed)? as u64;
        let staging = Mutex::new(Staging { memory, ring: Ring::new(STAGING_BYTES) });
        let (landings, cublas) = (Mutex::default(), Mutex::default());
        Ok(StreamState { gpu, stream, staging, landings, cublas })
    }

    pub(super) fn index(&self) -> usize {
        self.gpu.index
    }

    fn failed(&self, what: &str, error: DriverError) -> Error {
        Error::Device {
            device: format!("cuda:{}", self.gpu.index),
            detail: format!("{what}: {}", reason(&error)),
        }
    }

    /// Runs a driver call on this GPU, whichever thread calls.
    fn call<T>(
        &self,
        what: &str,
        call: impl FnOnce() -> std::result::Result<T, DriverError>,
    ) -> Result<T> {
        self.gpu
            .context
            .bind_to_thread()
            .and_then(|()| call())
            .map_err(|error| self.failed(what, error))
    }

    pub(super) fn alloc(&self, bytes: usize) -> Result<u64> {
        let address = self.call(&format!("an allocation of {bytes} bytes"), || {
            // SAFETY: the context is bound.
            unsafe { result::malloc_sync(bytes) }
        })?;
        // SAFETY: the range was just allocated.
        let zeroed = unsafe { self.zero(address, bytes) };
        // SAFETY: as above; nobody else knows of it.
        zeroed.inspect_err(|_| unsafe { self.free(address) })?;
        Ok(address)
    }

    /// Waits for the stream, which may still use the memory, then frees it. A failure is kept by the
    /// context, and reported by the next call of any handle of this GPU.
    ///
    /// # Safety
    /// `address` is from [`StreamState::alloc`] of this stream, is freed once, and is used by nobody from now on.
    pub(super) unsafe fn free(&self, address: u64) {
        let freed = self.gpu.context.bind_to_thread().and_then(|()| {
            self.stream.synchronize()?;
            // SAFETY: the caller's.
            unsafe { result::free_sync(address) }
        });
        self.gpu.context.record_err(freed);
    }

    pub(super) fn synchronize(&self) -> Result<()> {
        self.call("waiting for the GPU", || self.stream.synchronize())
    }

    /// # Safety
    /// As [`super::Device::write`].
    pub(super) unsafe fn write(&self, address: u64, bytes: &[u8]) -> Result<()> {
        let mut staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        let place = staging.ring.take(bytes.len());
        self.call("a copy to the GPU", || {
            let Some(place) = place else {
                // SAFETY: the caller's range; the slice is read before this returns.
                unsafe { result::memcpy_htod_async(address, bytes, self.stream.cu_stream())? };
                self.stream.synchronize()?;
                staging.ring.clear();
                return Ok(());
            };
            if place.reuses {
                self.stream.synchronize()?;
            }
            // SAFETY: the caller's range. The ring's place lies within its memory, which nobody else
            // has (the lock) and which no copy still in the stream reads (the ring).
            unsafe {
                let at = (staging.memory as *mut u8).add(place.offset);
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), at, bytes.len());
                let staged = std::slice::from_raw_parts(at, bytes.len());
                result::memcpy_htod_async(address, staged, self.stream.cu_stream())
            }
        })
    }

    /// # Safety
    /// As [`super::Device::read`].
    pub(super) unsafe fn read(&self, address: u64, out: &mut [u8]) -> Result<()> {
        self.call("a copy from the GPU", || {
            // SAFETY: the caller's range; the slice is written before this returns.
            unsafe { result::memcpy_dtoh_async(out, address, self.stream.cu_stream())? };
            self.stream.synchronize()
        })
    }

    /// # Safety
    /// As [`super::Device::read_later`].
    pub(super) unsafe fn read_later(&self, address: u64, bytes: usize) -> Result<Landing> {
        let pinned = self.pinned(bytes)?;
        let queued = self.call("a copy from the GPU", || {
            // SAFETY: the caller's range. The pinned memory is as large, and nobody else has it until the copy has
            // arrived: `arrive` and `abandon` wait for that before they give it back.
            unsafe {
                let landing = std::slice::from_raw_parts_mut(pinned.memory as *mut u8, bytes);
                result::memcpy_dtoh_async(landing, address, self.stream.cu_stream())?;
            }
            self.stream.record_event(None)
        });
        match queued {
            Ok(arrived) => Ok(Landing { pinned, arrived }),
            Err(error) => {
                // The copy may be in the stream without its event.
                if self.synchronize().is_ok() {
                    self.landings().push(pinned);
                }
                Err(error)
            }
        }
    }

    /// Waits for a copy, and moves its first bytes to `out`.
    pub(super) fn arrive(&self, landing: Landing, out: &mut [u8]) -> Result<()> {
        let Landing { pinned, arrived } = landing;
        // Where waiting fails, the memory is given up: the copy may still be on its way.
        self.call("waiting for a copy from the GPU", || arrived.synchronize())?;
        let bytes = out.len().min(pinned.bytes);
        // SAFETY: pinned memory of at least as many bytes, zeroed when it was allocated, to which nothing is
        // being copied any more.
        let landed = unsafe { std::slice::from_raw_parts(pinned.memory as *const u8, bytes) };
        out[..bytes].copy_from_slice(landed);
        self.landings().push(pinned);
        Ok(())
    }

    /// Waits for a copy that nobody wants any more, and takes its memory back.
    pub(super) fn abandon(&self, landing: Landing) {
        let waited = self.arrive(landing, &mut []);
        drop(waited);
    }

    fn landings(&self) -> MutexGuard<'_, Vec<Pinned>> {
        self.landings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pinned memory of at least `bytes`: the smallest that is there, or new one.
    fn pinned(&self, bytes: usize) -> Result<Pinned> {
        let mut idle = self.landings();
        let fits = idle.iter().enumerate().filter(|(_, pinned)| pinned.bytes >= bytes);
        if let Some((at, _)) = fits.min_by_key(|(_, pinned)| pinned.bytes) {
            return Ok(idle.swap_remove(at));
        }
        let bytes = bytes.next_power_of_two().max(SMALLEST_LANDING);
        let memory = self.call("pinned memory", || {
            // SAFETY: the context is bound; `drop` frees what lies among the landings.
            unsafe { result::malloc_host(bytes, 0) }
        })?;
        // SAFETY: as large as that; nobody else has it.
        unsafe { std::ptr::write_bytes(memory.cast::<u8>(), 0, bytes) };
        Ok(Pinned { memory: memory as u64, bytes })
    }

    /// # Safety
    /// As [`super::Device::copy`].
    pub(super) unsafe fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<()> {
        self.call("a copy on the GPU", || {
            // SAFETY: the caller's ranges.
            unsafe { result::memcpy_dtod_async(to, from, bytes, self.stream.cu_stream()) }
        })
    }

    /// # Safety
    /// As [`super::Device::zero`].
    pub(super) unsafe fn zero(&self, address: u64, bytes: usize) -> Result<()> {
        self.call("clearing GPU memory", || {
            // SAFETY: the caller's range.
            unsafe { result::memset_d8_async(address, 0, bytes, self.stream.cu_stream()) }
        })
    }

    pub(super) fn cublas_is_open(&self) -> bool {
        self.cublas.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// # Safety
    /// As [`Cublas::gemm`].
    pub(super) unsafe fn gemm(&self, call: &GemmCall, compute: Compute) -> Result<()> {
        let failed = |detail| Error::Device { device: format!("cuda:{}", self.gpu.index), detail };
        self.call("cuBLAS", || self.gpu.context.bind_to_thread())?;
        let mut cublas = self.cublas.lock().unwrap_or_else(PoisonError::into_inner);
        let library = match &mut *cublas {
            Some(library) => library,
            none => none.insert(Cublas::open(&self.stream).map_err(failed)?),
        };
        // SAFETY: the caller's.
        unsafe { library.gemm(call, compute) }.map_err(failed)
    }

    pub(super) fn elapsed_ms(&self, work: impl FnOnce() -> Result<()>) -> Result<f64> {
        let event = || {
            self.call("an event for timing", || {
                self.stream.record_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT))
            })
        };
        let start = event()?;
        work()?;
        let end = event()?;
        self.call("timing", || start.elapsed_ms(&end)).map(f64::from)
    }

    pub(super) fn begin_capture(&self) -> Result<()> {
        // Only calls of this thread can invalidate the capture; other devices of the process go on.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        self.call("capturing a graph", || self.stream.begin_capture(mode))
    }

    /// Ends the stream's capture and makes it ready to run, its resources on the GPU included.
    pub(super) fn end_capture(&self) -> Result<CudaGraph> {
        let what = "capturing a graph";
        let flags = sys::CUgraphInstantiate_flags(0);
        let graph = self.call(what, || self.stream.end_capture(flags))?;
        let graph = graph.ok_or_else(|| Error::Device {
            device: format!("cuda:{}", self.gpu.index),
            detail: "the driver gave up the graph that was being captured".into(),
        })?;
        self.call(what, || graph.upload())?;
        Ok(CudaGraph(graph))
    }

    /// # Safety
    /// The graph was captured on this stream; the addresses in it are as [`super::Device::launch`] says, now as they
    /// were then.
    pub(super) unsafe fn replay(&self, graph: &mut CudaGraph) -> Result<()> {
        self.call("a graph of launches", || graph.0.launch())
    }

    /// # Safety
    /// `number` and `info` are one kernel's, for which [`kernels::check_launch`] has passed the configuration and the
    /// type whose bytes `args` holds. Addresses in it are as [`super::Device::launch`] says.
    pub(super) unsafe fn launch(
        &self,
        number: usize,
        info: &KernelInfo,
        (grid, block): LaunchConfig,
        args: &[u8],
    ) -> Result<()> {
        let Some(function) = self.gpu.function(number) else {
            return Err(kernels::refused(info.symbol, "it isn't built for the GPU"));
        };
        let mut argument = [args.as_ptr().cast_mut().cast::<c_void>()];
        self.gpu
            .context
            .bind_to_thread()
            .and_then(|()| {
                // SAFETY: the function belongs to this context; it takes one struct, the caller's, and the driver
                // copies it before the call returns.
                unsafe {
                    result::launch_kernel(
                        function.cu_function(),
                        grid.into(),
                        block.into(),
                        info.shared_bytes,
                        self.stream.cu_stream(),
                        &mut argument,
                    )
                }
            })
            .map_err(|error| kernels::refused(info.symbol, reason(&error)))
    }
}

impl Drop for StreamState {
    fn drop(&mut self) {
        let staging = self.staging.get_mut().unwrap_or_else(PoisonError::into_inner);
        let landings = self.landings.get_mut().unwrap_or_else(PoisonError::into_inner);
        let freed = self.gpu.context.bind_to_thread().and_then(|()| {
            self.stream.synchronize()?;
            let pinned = landings.drain(..).map(|pinned| pinned.memory);
            // SAFETY: from `malloc_host`, freed once, and no copy uses it any more.
            pinned
                .chain([staging.memory])
                .try_for_each(|memory| unsafe { result::free_host(memory as *mut c_void) })
        });
        self.gpu.context.record_err(freed);
    }
}
