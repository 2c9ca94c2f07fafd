//! Rows of a benchmark that may fail one by one, on a device that may fail for good.

use std::result::Result as Either;

use crate::Result;
use crate::device::Device;

/// What stands in the rows after the device's failure.
const NOT_RUN: &str = "not run: the device failed before";

/// Measures one row after the other. A row's failure is its own as long as the device still works: a GPU
/// that met an illegal address refuses every later call of the process, and what is asked of it then says
/// nothing about the row.
pub struct Attempts<'d> {
    device: &'d Device,
    is_lost: bool,
}

impl<'d> Attempts<'d> {
    pub fn new(device: &'d Device) -> Attempts<'d> {
        Attempts { device, is_lost: false }
    }

    /// What `work` gives, or why a row has no figures.
    pub fn row<T>(&mut self, work: impl FnOnce() -> Result<T>) -> Either<T, String> {
        if self.is_lost {
            return Err(NOT_RUN.into());
        }
        work().map_err(|error| {
            self.look();
            error.to_string()
        })
    }

    /// Finds out whether the device still works, after a failure.
    fn look(&mut self) {
        // Of two times: the first may tell of memory that couldn't be freed, which is reported once.
        self.is_lost = (0..2).all(|_| self.device.synchronize().is_err());
    }
}
