//! The temperature of a classifier: what its logits are divided by, so that its probabilities are as often right as
//! they say.
//!
//! Guo, Pleiss, Sun and Weinberger (2017), *On Calibration of Modern Neural Networks*, section 4.2 (temperature
//! scaling): T minimises the mean negative log-likelihood over held-out images. In β = 1/T it is convex,
//! f(β) = mean of log Σ_j e^(β(z_j − z_y)), with f′ = mean of E[z] − z_y and f″ = mean of Var[z] under softmax(βz).

/// Why there is no temperature of least loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfitted {
    /// Every answer is right: the lower the temperature, the less the loss.
    AllRight,
    /// The labels' logits are no greater than others: the higher the temperature, the less the loss.
    NothingLearned,
}

/// The temperature at which answers, logits and label, have the least mean loss.
///
/// # Errors
/// Where there is none; of no answer at all, too.
pub fn fit_temperature(answers: &[(&[f32], usize)]) -> Result<f64, Unfitted> {
    if slopes(answers, 0.0).0 >= 0.0 || answers.is_empty() {
        return Err(Unfitted::NothingLearned);
    }
    let is_wrong = |(logits, label): &(&[f32], usize)| logits.iter().any(|z| *z > logits[*label]);
    if !answers.iter().any(is_wrong) {
        return Err(Unfitted::AllRight);
    }
    // The slope is below 0 at `low`, and not at `high`.
    let (mut low, mut high) = (0.0, 1.0);
    while slopes(answers, high).0 < 0.0 {
        (low, high) = (high, 2.0 * high);
        if high > f64::from(f32::MAX) {
            return Err(Unfitted::AllRight);
        }
    }
    let mut inverse = 0.5 * (low + high);
    for _ in 0..STEPS {
        let (slope, curvature) = slopes(answers, inverse);
        if slope < 0.0 {
            low = inverse
        } else {
            high = inverse
        }
        // Newton's step, or the middle where it leads out.
        let newton = inverse - slope / curvature;
        let next = if low < newton && newton < high { newton } else { 0.5 * (low + high) };
        let is_found = (next - inverse).abs() <= 1e-14 * inverse;
        inverse = next;
        if is_found {
            break;
        }
    }
    Ok(1.0 / inverse)
}

/// More than bisection alone takes from any bracket.
const STEPS: usize = 200;

/// f′ and f″ at β.
fn slopes(answers: &[(&[f32], usize)], inverse: f64) -> (f64, f64) {
    let (mut slope, mut curvature) = (0.0, 0.0);
    for (logits, label) in answers {
        let largest = logits.iter().fold(f64::NEG_INFINITY, |m, z| m.max(f64::from(*z)));
        let (mut total, mut mean, mut square) = (0.0, 0.0, 0.0);
        for z in *logits {
            let below = f64::from(*z) - largest;
            let share = (inverse * below).exp();
            total += share;
            mean += share * below;
            square += share * below * below;
        }
        mean /= total;
        slope += mean - (f64::from(logits[*label]) - largest);
        curvature += square / total - mean * mean;
    }
    let count = answers.len() as f64;
    (slope / count, curvature / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 40 answers over 5 classes, times a factor.
    fn answers(factor: f32) -> Vec<(Vec<f32>, usize)> {
        let logit = |i: usize, j: usize| ((i * 7 + j * 13 + i * j * 5) % 23) as f32 * 0.5 - 5.5;
        let of = |i: usize| {
            let logits: Vec<f32> = (0..5).map(|j| logit(i, j)).collect();
            let first = (0..5).fold(0, |best, j| if logits[j] > logits[best] { j } else { best });
            let label = if i.is_multiple_of(4) { (first + 1 + i % 3) % 5 } else { first };
            (logits.iter().map(|z| z * factor).collect(), label)
        };
        (0..40).map(of).collect()
    }

    fn fitted(answers: &[(Vec<f32>, usize)]) -> Result<f64, Unfitted> {
        let answers: Vec<_> = answers.iter().map(|(z, y)| (z.as_slice(), *y)).collect();
        fit_temperature(&answers)
    }

    /// `scipy.optimize.brentq` of the slope, by `scipy.special.softmax`, for the answers below. PyTorch's LBFGS on
    /// `cross_entropy(z / t, y)` ends at 3.000229502.
    const SCIPY: f64 = 3.0002295066733025;

    #[test]
    fn the_temperature_is_scipys() {
        let found = fitted(&answers(1.0)).unwrap();
        assert!((found - SCIPY).abs() < 1e-9, "{found}");
        // Logits of another scale have a temperature of that scale. By a power of two nothing is rounded.
        assert_eq!(fitted(&answers(4.0)).unwrap(), 4.0 * found);
        let scaled = fitted(&answers(1.42)).unwrap();
        assert!((scaled / found / 1.42 - 1.0).abs() < 1e-6, "{scaled}");
    }

    #[test]
    fn what_has_no_temperature_is_told() {
        let right = answers(1.0).into_iter().enumerate().filter(|(i, _)| !i.is_multiple_of(4));
        let right: Vec<_> = right.map(|(_, answer)| answer).collect();
        assert_eq!(fitted(&right), Err(Unfitted::AllRight));
        let turned: Vec<_> = answers(-1.0);
        assert_eq!(fitted(&turned), Err(Unfitted::NothingLearned));
        assert_eq!(fitted(&[]), Err(Unfitted::NothingLearned));
        // A constant network.
        assert_eq!(fitted(&[(vec![1.0; 5], 2), (vec![3.0; 5], 0)]), Err(Unfitted::NothingLearned));
        // Far from 1 in either direction.
        for factor in [1e-6f32, 1e6] {
            let found = fitted(&answers(factor)).unwrap() / f64::from(factor);
            assert!((found / SCIPY - 1.0).abs() < 1e-6, "{found}");
        }
    }
}
