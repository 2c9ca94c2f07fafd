//! Statistics of plain numbers: intervals of rates, means, ratios and differences, random effects, and when to
//! stop.
//!
//! Nothing here knows of networks or campaigns; `analysis` makes figures of runs by it.

mod effective_rate;
mod interval;
mod mean;
mod proportions;
mod random_effects;
mod rate_difference;
mod sequence;
mod stopped_rate;
mod temperature;

pub use effective_rate::{EffectiveRate, RateCell};
pub use interval::{
    Confidence, Estimate, RateInterval, beta_quantile, clopper_pearson, normal_cdf,
    normal_quantile, regularized_beta, two_sided_normal, two_sided_student, wilson,
};
pub use mean::{FEWEST_CLUSTERS, Figure, Stratum, Tally, Unit, carriers, estimate, weighted_means};
pub use proportions::{mcnemar_exact, two_proportions};
pub use random_effects::{Effect, RandomEffect, random_effect};
pub use rate_difference::{PairedCell, RateDifference, discordance};
pub use sequence::{Look, Sequence, StoppingRule, Target};
pub use stopped_rate::Boundary;
pub use temperature::{Unfitted, fit_temperature};
