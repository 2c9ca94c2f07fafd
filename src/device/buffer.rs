//! Memory on a device, freed when dropped.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::fmt;

use super::{Backend, Device};
use crate::Result;

/// What an address on the host is aligned to: a cache line, and the widest vector.
const HOST_ALIGNMENT: usize = 64;

/// Owned memory of a [`Device`]. On the host each buffer is a heap allocation of its own, so that
/// AddressSanitizer knows where it ends.
pub struct Buffer {
    device: Device,
    address: u64,
    bytes: usize,
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes on {})", self.bytes, self.device.kind())
    }
}

impl Buffer {
    pub(super) fn new(device: &Device, bytes: usize) -> Result<Buffer> {
        if bytes > 0 {
            device.0.capture.refuse(device, "an allocation")?;
            device.0.counters.allocations.count();
        }
        let address = match &device.0.backend {
            // No byte lies here, so that any aligned address will do.
            _ if bytes == 0 => 256,
            Backend::Cuda(cuda) => cuda.alloc(bytes)?,
            _ => {
                let failed =
                    || device.failed(format!("out of memory: {bytes} bytes were asked for"));
                let layout =
                    Layout::from_size_align(bytes, HOST_ALIGNMENT).map_err(|_| failed())?;
                // SAFETY: the layout isn't empty.
                let memory = unsafe { alloc_zeroed(layout) };
                if memory.is_null() {
                    return Err(failed());
                }
                memory as u64
            }
        };
        Ok(Buffer { device: device.clone(), address, bytes })
    }

    /// Where it starts, as a kernel's argument carries it.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// How large it is.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The device that it lies on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Copies `bytes` to `offset`.
    ///
    /// # Errors
    /// [`crate::Error::Device`] when they don't fit, or the device fails.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<()> {
        self.check(offset, bytes.len())?;
        // SAFETY: within this allocation; `&mut self` keeps other users of the buffer away.
        unsafe { self.device.write(self.address + offset as u64, bytes) }
    }

    /// Fills `out` from `offset`.
    ///
    /// # Errors
    /// [`crate::Error::Device`] when there isn't as much, or the device fails.
    pub fn read(&self, offset: usize, out: &mut [u8]) -> Result<()> {
        self.check(offset, out.len())?;
        // SAFETY: within this allocation; writers need `&mut self`.
        unsafe { self.device.read(self.address + offset as u64, out) }
    }

    fn check(&self, offset: usize, bytes: usize) -> Result<()> {
        if offset.checked_add(bytes).is_some_and(|end| end <= self.bytes) {
            return Ok(());
        }
        let detail = format!("{bytes} bytes at {offset} reach past a buffer of {}", self.bytes);
        Err(self.device.failed(detail))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        // On the host it can be freed all the same; the graph that is being captured is refused.
        let deferred = self.device.0.capture.defer_free(self.address);
        match &self.device.0.backend {
            Backend::Cuda(_) if deferred => {}
            // SAFETY: from `alloc`, in `new`; its owner is going.
            Backend::Cuda(cuda) => unsafe { cuda.free(self.address) },
            _ => {
                // SAFETY: the layout that `new` allocated with, which it has checked.
                unsafe {
                    let layout = Layout::from_size_align_unchecked(self.bytes, HOST_ALIGNMENT);
                    dealloc(self.address as *mut u8, layout);
                }
            }
        }
    }
}
