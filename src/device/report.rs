//! What `flipside devices` prints.

use super::gpu::Gpu;
use super::{driver, kernels};
use crate::Error;

/// One device, as a person wants to know it.
#[derive(Clone, Debug)]
pub struct DeviceReport {
    /// What to give as `--device`.
    pub name: String,
    /// Whether it can be used now.
    pub available: bool,
    /// What it is, or in one sentence what is missing.
    pub detail: String,
}

/// Every device that this program knows of; those that can't be used say why.
pub fn report() -> Vec<DeviceReport> {
    let threads = rayon::current_num_threads();
    let kernel_count = kernels::kernels().iter().filter(|kernel| !kernel.testing).count();
    let mut reports = vec![
        DeviceReport {
            name: "cpu".into(),
            available: true,
            detail: format!("native code, {threads} threads"),
        },
        DeviceReport {
            name: "emulated".into(),
            available: true,
            detail: format!("{kernel_count} CUDA kernels on the processor, {threads} threads"),
        },
    ];
    match driver::gpus() {
        Err(detail) => {
            reports.push(DeviceReport { name: "cuda".into(), available: false, detail });
        }
        Ok(count) => reports.extend((0..count).map(|index| {
            // Only a GPU that has loaded the kernels is ready.
            let (available, detail) = match Gpu::open(index) {
                Ok(gpu) => (true, gpu.describe()),
                Err(Error::Device { detail, .. }) => (false, detail),
                Err(error) => (false, error.to_string()),
            };
            DeviceReport { name: format!("cuda:{index}"), available, detail }
        })),
    }
    reports
}
