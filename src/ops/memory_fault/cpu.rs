//! Faults in memory on the CPU.

use super::{MemoryFaults, Pass};
use crate::fault::Site;
use crate::tensor::Tensor;

/// # Safety
/// As [`super::run`], on the host.
pub unsafe fn run(faults: MemoryFaults<'_>, values: Tensor, pass: Pass) {
    let map = values.map();
    // SAFETY: the caller's.
    let all: &mut [f32] = unsafe { values.slice_mut() };
    let saved = faults.saved as *mut f32;
    let mut number = 0;
    for image in 0..faults.table.images() {
        let values = &mut all[image * map.elements()..][..map.elements()];
        let entries = faults.table.of_image(image);
        let of_site = |site: Site| {
            let entries = entries.iter().enumerate();
            entries.filter(move |(_, entry)| entry.site() == Some(site))
        };
        match pass {
            Pass::Hit => {
                for (index, entry) in of_site(Site::Input) {
                    let value = &mut values[map.memory_index(entry.element as usize)];
                    if !saved.is_null() {
                        // SAFETY: an f32 a fault.
                        unsafe { *saved.add(number + index) = *value };
                    }
                    *value = f32::from_bits(entry.masks().apply(value.to_bits()));
                }
            }
            Pass::Undo => {
                for (index, entry) in of_site(Site::Input).rev() {
                    // SAFETY: as above.
                    values[map.memory_index(entry.element as usize)] =
                        unsafe { *saved.add(number + index) };
                }
            }
            Pass::Astray => {
                for (_, entry) in of_site(Site::StoreAstray) {
                    if let Some(to) = entry.lands_at(map) {
                        let from = map.memory_index(entry.element as usize);
                        values[map.memory_index(to)] = values[from];
                        values[from] = 0.0;
                    }
                }
            }
        }
        number += entries.len();
    }
}
