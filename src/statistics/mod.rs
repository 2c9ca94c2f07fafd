//! Statistics of plain numbers: intervals of rates, means, ratios and differences, random effects, several tests at
//! once, their power, what a number of draws knows, how to allocate draws, and when to stop.
//!
//! Nothing here knows of networks or campaigns; `analysis` makes figures of runs by it.

mod allocation;
mod effective_rate;
mod interval;
mod linearized;
mod mean;
mod multiple;
mod power;
mod proportions;
mod random_effects;
mod rate_difference;
mod sample_size;
mod sequence;
mod stopped_rate;
mod temperature;

pub use allocation::{AllocationStratum, allocated};
pub use effective_rate::{EffectiveRate, RateCell};
pub use interval::{
    Confidence, Estimate, RateInterval, beta_quantile, clopper_pearson, normal_cdf,
    normal_quantile, regularized_beta, two_sided_normal, two_sided_student, two_sided_student_p,
    wilson,
};
pub use linearized::Linearized;
pub use mean::{
    FEWEST_CLUSTERS, MeanFigure, Stratum, Tally, Unit, carriers, estimate, linearize, plain_mean,
    weighted_means,
};
pub use multiple::holm;
pub use power::{detectable, detectable_normal, fewest, measurements, noncentral_t_cdf, power};
pub use proportions::{mcnemar_exact, two_proportions};
pub use random_effects::{MeasuredEffect, RandomEffect, random_effect};
pub use rate_difference::{PairedCell, RateDifference, discordance};
pub use sample_size::{SampleMargin, sample_margin};
pub use sequence::{Look, Sequence, StoppingRule, Target};
pub use stopped_rate::Boundary;
pub use temperature::{Unfitted, fit_temperature};
