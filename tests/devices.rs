//! The devices that tests run on. Kernels run on the emulator, or on the GPU that `FLIPSIDE_TEST_DEVICE`
//! names (`cuda`, `cuda:N`); a test that takes its devices elsewhere proves nothing about a GPU.

use flipside::device::{Device, ThreadOrder};

use crate::mutants;

/// The orders in which the emulator's threads take turns. Sanitizers look at addresses, which don't follow from the
/// order, and take their time.
const ORDERS: &[ThreadOrder] = match cfg!(sanitized) {
    true => &[ThreadOrder::Forward],
    false => &[ThreadOrder::Forward, ThreadOrder::Reverse, ThreadOrder::Shuffle(7)],
};

/// Those that run kernels: the emulator under several orders of its threads, or the one device that
/// `FLIPSIDE_TEST_DEVICE` names. Each call opens handles of its own.
pub fn kernel_devices() -> Vec<(String, Device)> {
    match std::env::var("FLIPSIDE_TEST_DEVICE") {
        Ok(name) if !mutants::on_trial() => {
            vec![(name.clone(), Device::parse(&name).unwrap())]
        }
        _ => {
            let open = |order: &ThreadOrder| (format!("{order:?}"), mutants::emulated(*order));
            ORDERS.iter().map(open).collect()
        }
    }
}

/// The first of them.
pub fn device() -> Device {
    kernel_devices().swap_remove(0).1
}

/// All of them, and the CPU.
pub fn devices() -> Vec<(String, Device)> {
    let mut devices = kernel_devices();
    devices.push(("cpu".into(), Device::cpu()));
    devices
}
