//! A figure of a row, of one training seed or over several, beside what was published.

use serde::Serialize;

use crate::analysis::over_seeds;
use crate::statistics::{Estimate, RandomEffect};

/// A figure as a table shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RowFigure {
    /// Of the one seed, or the mean over seeds (of ratios the geometric one) with its interval.
    pub shown: Estimate,
    /// Over seeds, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub over_seeds: Option<RandomEffect>,
    /// Each with its interval over the sampling of faults.
    pub seeds: Vec<Estimate>,
    /// What was published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published: Option<f64>,
}

impl RowFigure {
    /// A figure of all seeds; `None` where a seed doesn't have it, or there is none.
    pub fn of(
        seeds: impl IntoIterator<Item = Option<Estimate>>,
        are_ratios: bool,
        published: Option<f64>,
    ) -> Option<RowFigure> {
        let seeds: Vec<Estimate> = seeds.into_iter().collect::<Option<_>>()?;
        let (shown, over) = match seeds.as_slice() {
            [] => return None,
            [one] => (*one, None),
            several => {
                let over = over_seeds(several, are_ratios);
                (over.mean, Some(over))
            }
        };
        Some(RowFigure { shown, over_seeds: over, seeds, published })
    }

    /// Whether what was published lies in the interval; `None` where there is no interval, or nothing was published.
    pub fn is_inside(&self) -> Option<bool> {
        let Estimate { low, high, .. } = self.shown;
        let is_known = low.is_finite() && high.is_finite();
        self.published.filter(|_| is_known).map(|published| self.shown.holds(published))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_published_lies_in_an_interval_or_not() {
        let one = Estimate { value: 2.0, low: 1.5, high: 2.6 };
        let inside = |published| RowFigure::of([Some(one)], true, published).unwrap().is_inside();
        assert_eq!(inside(Some(1.5)), Some(true));
        assert_eq!(inside(Some(2.87)), Some(false));
        assert_eq!(inside(None), None);
        let unknown = Estimate { low: f64::NAN, high: f64::NAN, ..one };
        assert_eq!(RowFigure::of([Some(unknown)], true, Some(2.0)).unwrap().is_inside(), None);
        assert!(RowFigure::of([Some(one), None], true, None).is_none());
        let eight = Estimate { value: 8.0, low: 7.0, high: 9.0 };
        let both = RowFigure::of([Some(one), Some(eight)], true, None).unwrap();
        assert!((both.shown.value - 4.0).abs() < 1e-12 && both.over_seeds.is_some());
    }
}
