//! Statistics of plain numbers: intervals of rates and their differences, the bootstrap of means and ratios, and when to stop.
//!
//! Nothing here knows of networks or campaigns; `analysis` makes figures of runs by it.

mod bootstrap;
mod effective_rate;
mod interval;
mod rate_difference;
mod sequence;
mod stopped_rate;

pub use bootstrap::{Resampling, Stratum, Tally, Unit, bootstrap, ratio};
pub use effective_rate::{EffectiveRate, RateCell};
pub use interval::{
    Confidence, Estimate, RateInterval, beta_quantile, clopper_pearson, normal_cdf,
    normal_quantile, regularized_beta, two_sided_normal, wilson,
};
pub use rate_difference::{PairedCell, RateDifference, discordance, mcnemar};
pub use sequence::{Look, Sequence, StoppingRule, Target};
pub use stopped_rate::Boundary;
