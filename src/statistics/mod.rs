//! Statistics of plain numbers: intervals of rates, the bootstrap of means and ratios, random effects, and when
//! to stop.
//!
//! Nothing here knows of networks or campaigns; `analysis` makes figures of runs by it.

mod bootstrap;
mod effective_rate;
mod interval;
mod proportions;
mod random_effects;
mod sequence;

pub use bootstrap::{Resampling, Stratum, Tally, Unit, bootstrap, ratio};
pub use effective_rate::{EffectiveRate, RateCell};
pub use interval::{
    Confidence, Estimate, RateInterval, beta_quantile, clopper_pearson, normal_cdf,
    normal_quantile, regularized_beta, two_sided_normal, wilson,
};
pub use proportions::{mcnemar_exact, two_proportions};
pub use random_effects::{Effect, RandomEffect, random_effect, student_quantile};
pub use sequence::{Look, Sequence, StoppingRule, Target};
