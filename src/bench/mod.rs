//! Measurement: how long every operation of the networks takes on a device, beside what the device can
//! do at most and what others take; and the overhead of fault-capable kernels.

mod attempts;
mod inject;
mod kernels;
mod overhead;
mod peers;
mod run;
mod shapes;

pub use inject::{InjectLoad, InjectTimes, LayerInjections, inject_times};
pub use kernels::{KernelTime, KernelTimes, PassTime, Seconds, kernel_times};
pub use overhead::{LayerCost, LayerTimes, Overhead, PassCost, overhead};
pub use peers::{PeerTime, Peers};
pub use shapes::{OpShape, shapes};

/// How long to measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effort {
    /// Timings whose median is taken, after one that touches cold memory.
    pub rounds: usize,
    /// What one timing should take at least, by repeating what is timed.
    pub round_ms: f64,
}

impl Effort {
    /// For figures to report.
    pub const FULL: Effort = Effort { rounds: 15, round_ms: 2.0 };
    /// For a look, and for tests.
    pub const QUICK: Effort = Effort { rounds: 3, round_ms: 0.0 };
}

impl Effort {
    /// How often to repeat what takes `once_ms` alone.
    fn repeats(&self, once_ms: f64) -> usize {
        (self.round_ms / once_ms.max(1e-3)).ceil().clamp(1.0, 200.0) as usize
    }
}

/// The middle of some timings, the lower of two; they are sorted by it. 0 for none.
fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}
