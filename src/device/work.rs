//! What a device has been asked to do: counters, by which tests check that loops do no more than they should.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a device has done since it was opened, through any of its clones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkDone {
    /// Kernels that were queued one by one; those of a graph are not among them.
    pub launches: u64,
    /// Graphs that were replayed.
    pub replays: u64,
    /// Allocations of memory, empty ones left out.
    pub allocations: u64,
    /// Copies from the host.
    pub uploads: u64,
    /// The bytes of those.
    pub uploaded_bytes: u64,
    /// Copies to the host. Each waits until all that was queued has happened, but for those of
    /// [`Device::read_later`](super::Device::read_later).
    pub downloads: u64,
    /// The bytes of those.
    pub downloaded_bytes: u64,
    /// Copies and clearings within the device, but for those of a graph.
    pub moves: u64,
    /// Waits that were asked for, those for a copy of [`Device::read_later`](super::Device::read_later) among them.
    pub waits: u64,
}

/// The counters behind [`WorkDone`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub launches: WorkCounter,
    pub replays: WorkCounter,
    pub allocations: WorkCounter,
    pub uploads: WorkCounter,
    pub uploaded_bytes: WorkCounter,
    pub downloads: WorkCounter,
    pub downloaded_bytes: WorkCounter,
    pub moves: WorkCounter,
    pub waits: WorkCounter,
    /// Searches of fault tables by emulated kernels.
    pub fault_searches: AtomicU64,
}

#[derive(Debug, Default)]
pub(super) struct WorkCounter(AtomicU64);

impl WorkCounter {
    pub fn count(&self) {
        self.add(1);
    }

    fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub fn count_upload(&self, bytes: usize) {
        self.uploads.count();
        self.uploaded_bytes.add(bytes as u64);
    }

    pub fn count_download(&self, bytes: usize) {
        self.downloads.count();
        self.downloaded_bytes.add(bytes as u64);
    }

    pub fn read(&self) -> WorkDone {
        WorkDone {
            launches: self.launches.read(),
            replays: self.replays.read(),
            allocations: self.allocations.read(),
            uploads: self.uploads.read(),
            uploaded_bytes: self.uploaded_bytes.read(),
            downloads: self.downloads.read(),
            downloaded_bytes: self.downloaded_bytes.read(),
            moves: self.moves.read(),
            waits: self.waits.read(),
        }
    }
}
