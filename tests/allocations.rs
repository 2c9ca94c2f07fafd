//! How much memory a piece of code takes: the test binary's allocator counts, a thread for itself.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    /// Bytes that this thread has allocated less those that it has freed, and the most of it since
    /// the last question.
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    // A thread that ends may free after its counters are gone.
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + change);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

// SAFETY: every call goes to the system's allocator as it came; the counters don't allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's.
        unsafe { System.dealloc(memory, layout) }
    }

    /// Counted as if old and new stood side by side for a moment, as they may.
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize);
        count(-(layout.size() as isize));
        // SAFETY: the caller's.
        unsafe { System.realloc(memory, layout, size) }
    }
}

/// What `code` gives, and the most bytes that it held at once on this thread.
pub fn peak_of<T>(code: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.get();
    PEAK.set(before);
    let result = code();
    (result, (PEAK.get() - before) as usize)
}

#[test]
fn peaks_are_counted() {
    let (_, peak) = peak_of(|| {
        drop(vec![0u8; 1000]);
        let mut grown = vec![0u8; 500];
        grown.reserve_exact(1500);
        grown
    });
    // The old 500 and the new 2000 bytes.
    assert_eq!(peak, 2500);
}
