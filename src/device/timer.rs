//! How long a device takes.

use std::time::Instant;

use super::{Backend, Device};
use crate::Result;

impl Device {
    /// Milliseconds that the device takes for what `work` queues: between two events of the stream on
    /// cuda, so that the host's part counts only where the GPU waits for it; by the clock elsewhere.
    ///
    /// # Errors
    /// Those of `work` and of the device; waiting can't be part of a graph.
    pub fn elapsed_ms(&self, work: impl FnOnce() -> Result<()>) -> Result<f64> {
        self.0.capture.refuse(self, "waiting")?;
        if let Backend::Cuda(cuda) = &self.0.backend {
            self.0.counters.waits.count();
            return cuda.elapsed_ms(work);
        }
        let start = Instant::now();
        work()?;
        Ok(1e3 * start.elapsed().as_secs_f64())
    }
}
