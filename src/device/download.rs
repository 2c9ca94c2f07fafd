//! Copies to the host that nobody waits for at once.

use bytemuck::Pod;

use super::cuda::Landing;
use super::{Backend, Device};
use crate::Result;

/// Bytes on their way from a device to the host. Dropping it waits for them, where the device is a GPU.
#[must_use]
pub struct Download {
    device: Device,
    bytes: usize,
    /// `None` once it was waited for.
    copy: Option<HostCopy>,
}

enum HostCopy {
    /// The bytes, on devices where copies aren't queued.
    Here(Vec<u8>),
    Queued(Landing),
}

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Download({} bytes of {})", self.bytes, self.device.kind())
    }
}

impl Device {
    /// Queues a copy of `bytes` at `address` to memory of the host, and returns: [`Download::wait`] gives them. They are
    /// what lies there after all that was queued before, whatever is queued behind it.
    ///
    /// # Safety
    /// `address .. address + bytes` lies in one live allocation of this device, which only what is queued on it writes
    /// until the copy has happened. It may be freed before: a [`Buffer`](super::Buffer) waits for what is queued.
    ///
    /// # Errors
    /// [`crate::Error::Device`] without pinned memory for it, and while the device captures.
    pub unsafe fn read_later(&self, address: u64, bytes: usize) -> Result<Download> {
        let download = |copy| Download { device: self.clone(), bytes, copy: Some(copy) };
        if bytes == 0 {
            return Ok(download(HostCopy::Here(Vec::new())));
        }
        self.0.capture.refuse(self, "a copy to the host")?;
        self.0.counters.count_download(bytes);
        let copy = match &self.0.backend {
            // SAFETY: the caller's range.
            Backend::Cuda(cuda) => HostCopy::Queued(unsafe { cuda.read_later(address, bytes)? }),
            // SAFETY: the same; all that was queued has happened.
            _ => HostCopy::Here(
                unsafe { std::slice::from_raw_parts(address as *const u8, bytes) }.to_vec(),
            ),
        };
        Ok(download(copy))
    }
}

impl Download {
    /// Waits for the copy alone, not for what was queued behind it: its bytes as values of `T`, as many as it has.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if anything before it failed, and while the device captures.
    pub fn wait<T: Pod>(mut self) -> Result<Vec<T>> {
        let mut values = vec![T::zeroed(); self.bytes / size_of::<T>()];
        let Some(copy) = self.copy.take() else { return Ok(values) };
        let out: &mut [u8] = bytemuck::cast_slice_mut(&mut values);
        if self.bytes > 0 {
            if let Err(error) = self.device.0.capture.refuse(&self.device, "waiting") {
                self.copy = Some(copy);
                return Err(error);
            }
            self.device.0.counters.waits.count();
        }
        match (copy, &self.device.0.backend) {
            (HostCopy::Queued(landing), Backend::Cuda(cuda)) => cuda.arrive(landing, out)?,
            (HostCopy::Here(bytes), _) => out.copy_from_slice(&bytes[..out.len()]),
            // Only a GPU queues copies, and it is its own.
            (HostCopy::Queued(_), _) => return Err(self.device.failed("a copy of another device")),
        }
        Ok(values)
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        if let (Some(HostCopy::Queued(landing)), Backend::Cuda(cuda)) =
            (self.copy.take(), &self.device.0.backend)
        {
            cuda.abandon(landing);
        }
    }
}
