//! Elementary functions made of additions, multiplications and divisions only, so that their bits
//! are the same on every machine; the system's `exp` and `sin` differ between C libraries.
//!
//! All are accurate to about 1e-15 over the small arguments that augmentation and drawing use.

/// ln 2, for range reduction.
const LN_2: f64 = std::f64::consts::LN_2;

/// eˣ for |x| up to about 700: halved until below 1/8, a Taylor series of 12 terms, squared back.
pub fn exp(x: f64) -> f64 {
    let mut reduced = x;
    let mut halvings = 0;
    while reduced.abs() > 0.125 {
        reduced *= 0.5;
        halvings += 1;
    }
    let mut sum = 1.0;
    for n in (1..=12).rev() {
        sum = 1.0 + sum * reduced / f64::from(n);
    }
    for _ in 0..halvings {
        sum *= sum;
    }
    sum
}

/// ln x for positive, finite x: scaled by powers of two into [2/3, 4/3], then
/// 2·artanh((x − 1)/(x + 1)) as a series.
pub fn ln(x: f64) -> f64 {
    let mut reduced = x;
    let mut power = 0.0;
    while reduced > 4.0 / 3.0 {
        reduced *= 0.5;
        power += 1.0;
    }
    while reduced < 2.0 / 3.0 {
        reduced *= 2.0;
        power -= 1.0;
    }
    let t = (reduced - 1.0) / (reduced + 1.0);
    let square = t * t;
    let mut sum = 0.0;
    for n in (0..13).rev() {
        sum = sum * square + 1.0 / f64::from(2 * n + 1);
    }
    2.0 * t * sum + power * LN_2
}

/// (sine, cosine) of an angle given in turns: a quarter turn at a time is taken off exactly, the
/// rest goes through Taylor series.
pub fn sin_cos_turns(turns: f64) -> (f64, f64) {
    let quarters = (turns * 4.0).round();
    let angle = (turns * 4.0 - quarters) * std::f64::consts::FRAC_PI_2;
    let square = angle * angle;
    let (mut sine, mut cosine) = (1.0, 1.0);
    for n in (1..=9).rev() {
        let n = f64::from(n);
        sine = 1.0 - sine * square / ((2.0 * n) * (2.0 * n + 1.0));
        cosine = 1.0 - cosine * square / ((2.0 * n - 1.0) * (2.0 * n));
    }
    sine *= angle;
    match quarters.rem_euclid(4.0) as u8 {
        0 => (sine, cosine),
        1 => (cosine, -sine),
        2 => (-sine, -cosine),
        _ => (-cosine, sine),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1e-14 relative: a few dozen roundings of 1.1e-16 each, against the system's functions.
    #[test]
    fn close_to_the_system_library() {
        for i in -200..=200 {
            let x = f64::from(i) * 0.037;
            assert!((exp(x) / x.exp() - 1.0).abs() < 1e-14, "exp {x}");
            assert!((ln(x.exp()) - x).abs() < 1e-14 * (1.0 + x.abs()), "ln e^{x}");
            let (sine, cosine) = sin_cos_turns(x);
            let angle = x * std::f64::consts::TAU;
            // The reference itself loses |angle|·1.1e-16 when the turns are multiplied out.
            assert!((sine - angle.sin()).abs() < 2e-14, "sin {x}");
            assert!((cosine - angle.cos()).abs() < 2e-14, "cos {x}");
        }
    }
}
