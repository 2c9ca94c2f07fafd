//! Words of the host's memory.

use super::WordFault;

/// # Safety
/// As [`super::read`], on the host.
pub unsafe fn read(addresses: u64, out: u64, count: usize) {
    let (addresses, out) = (addresses as *const u64, out as *mut u32);
    for at in 0..count {
        // SAFETY: the caller's.
        unsafe { *out.add(at) = *(*addresses.add(at) as *const u32) };
    }
}

/// # Safety
/// As [`super::WordFaults::hit`], of `count` hits at `faults`.
pub unsafe fn hit(faults: u64, count: usize) {
    // SAFETY: the caller's; nobody else has them.
    let faults = unsafe { std::slice::from_raw_parts_mut(faults as *mut WordFault, count) };
    for fault in faults {
        let word = fault.address as *mut u32;
        // SAFETY: the caller's.
        unsafe {
            fault.before = *word;
            *word = fault.masks().apply(*word);
        }
    }
}

/// # Safety
/// As [`super::WordFaults::undo`], of `count` hits at `faults`.
pub unsafe fn undo(faults: u64, count: usize) {
    // SAFETY: the caller's.
    let faults = unsafe { std::slice::from_raw_parts(faults as *const WordFault, count) };
    for fault in faults.iter().rev() {
        // SAFETY: the caller's.
        unsafe { *(fault.address as *mut u32) = fault.before };
    }
}
