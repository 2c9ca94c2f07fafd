//! Statistics of plain numbers: intervals of rates, of means, ratios and differences, and when to stop.
//!
//! Nothing here knows of networks or campaigns; `analysis` makes figures of runs by it.

mod effective_rate;
mod interval;
mod mean;
mod sequence;

pub use effective_rate::{EffectiveRate, RateCell};
pub use interval::{
    Confidence, Estimate, RateInterval, beta_quantile, clopper_pearson, normal_cdf,
    normal_quantile, regularized_beta, two_sided_normal, two_sided_student, wilson,
};
pub use mean::{Figure, Stratum, Tally, Unit, carriers, estimate, weighted_means};
pub use sequence::{Look, Sequence, StoppingRule, Target};
