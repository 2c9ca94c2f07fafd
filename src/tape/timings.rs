//! Where the time of the passes goes, by kind of operation.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::Result;
use crate::device::Device;

/// What one kind of operation took, over all of its nodes and all passes since the clock was set.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct KindTime {
    pub forward_ms: f64,
    pub backward_ms: f64,
    /// Multiply-accumulates done in the forward passes.
    pub forward_macs: u64,
}

/// Clocks by kind of operation. The device is waited for after each operation, so that a pass on a
/// GPU takes longer than one that isn't timed.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    kinds: Mutex<BTreeMap<&'static str, KindTime>>,
}

/// Which way an operation is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// With this many multiply-accumulates.
    Forward {
        macs: u64,
    },
    Backward,
}

impl Clocks {
    /// Runs `pass` of an operation of `kind` and adds its time.
    pub fn time(
        &self,
        kind: &'static str,
        way: Way,
        device: &Device,
        pass: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let elapsed_ms = device.elapsed_ms(pass)?;
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let time = kinds.entry(kind).or_default();
        match way {
            Way::Forward { macs } => {
                time.forward_ms += elapsed_ms;
                time.forward_macs += macs;
            }
            Way::Backward => time.backward_ms += elapsed_ms,
        }
        Ok(())
    }

    /// The times so far.
    pub fn read(&self) -> BTreeMap<&'static str, KindTime> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
