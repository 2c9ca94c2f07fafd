//! The columns of a report, by the words that commands have for them, and its rows in their order.

use std::cmp::Ordering;

use serde::Serialize;
use strum::{EnumIter, EnumString, IntoStaticStr};

use super::breakdown::{DeltaLoss, Figures, RunPart};
use crate::Error;
use crate::detector::Detector;
use crate::statistics::Estimate;

/// A column of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[derive(EnumIter, EnumString, IntoStaticStr)]
#[strum(serialize_all = "kebab-case", parse_err_ty = Error, parse_err_fn = unknown)]
pub enum ReportColumn {
    Masked,
    Benign,
    Sdc,
    Nonfinite,
    SdcOrNonfinite,
    Sdc5,
    DeltaP,
    DeltaLoss,
}

fn unknown(word: &str) -> Error {
    Error::unknown::<ReportColumn>("figure of a report", word)
}

impl ReportColumn {
    /// The word on the command line.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Its estimate in a row; `None` where the row's detector doesn't bound its mean.
    pub fn of(self, row: &Figures) -> Option<Estimate> {
        let rates = &row.rates;
        Some(match self {
            ReportColumn::Masked => rates.masked,
            ReportColumn::Benign => rates.benign,
            ReportColumn::Sdc => rates.sdc,
            ReportColumn::Nonfinite => rates.nonfinite,
            ReportColumn::SdcOrNonfinite => rates.sdc_or_nonfinite,
            ReportColumn::Sdc5 => rates.sdc5,
            ReportColumn::DeltaP => row.delta_p,
            ReportColumn::DeltaLoss => match row.delta_loss {
                DeltaLoss::Mean(mean) => mean,
                DeltaLoss::Quantiles(_) => return None,
            },
        })
    }

    /// What rows are sorted by: the estimate's value, or ΔLoss' quantiles where there is no mean, the last one first.
    fn key(self, row: &Figures) -> Vec<f64> {
        match (self, &row.delta_loss) {
            (ReportColumn::DeltaLoss, DeltaLoss::Quantiles(of)) => {
                of.values.iter().rev().copied().collect()
            }
            _ => vec![self.of(row).map_or(f64::NAN, |estimate| estimate.value)],
        }
    }
}

/// In which order a report has its rows, and how many of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Arrangement {
    /// By this column, the largest first and what isn't defined last; in the network's order without one.
    pub sort: Option<ReportColumn>,
    /// The first so many under each detector; rows of the whole network don't count.
    pub top: Option<usize>,
}

/// How many rows under a detector a report leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    pub detector: Detector,
    pub rows: usize,
}

/// Rows as they were asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Arranged {
    pub figures: Vec<Figures>,
    /// What they are sorted by.
    pub sort: Option<ReportColumn>,
    /// Under each detector, where a number of rows was asked for.
    pub left_out: Vec<LeftOut>,
}

impl Arrangement {
    /// Arranges rows, those of a detector beside each other; rows of the whole network stay behind the others.
    pub fn of(&self, figures: Vec<Figures>) -> Arranged {
        let (mut arranged, mut left_out) = (Vec::with_capacity(figures.len()), Vec::new());
        let mut rest = figures.into_iter().peekable();
        while let Some(detector) = rest.peek().map(|row| row.detector) {
            let of_detector = std::iter::from_fn(|| rest.next_if(|row| row.detector == detector));
            let (network, mut parts): (Vec<Figures>, Vec<Figures>) =
                of_detector.partition(|row| matches!(row.part, RunPart::Network { .. }));
            if let Some(column) = self.sort {
                let key = |row: &Figures| column.key(row);
                parts.sort_by(|a, b| {
                    let (a, b) = (key(a), key(b));
                    let first =
                        |(a, b): (&f64, &f64)| a.is_nan().cmp(&b.is_nan()).then(b.total_cmp(a));
                    a.iter().zip(&b).map(first).fold(Ordering::Equal, Ordering::then)
                });
            }
            if let Some(most) = self.top {
                left_out.push(LeftOut { detector, rows: parts.len().saturating_sub(most) });
                parts.truncate(most);
            }
            arranged.extend(parts);
            arranged.extend(network);
        }
        Arranged { figures: arranged, sort: self.sort, left_out }
    }
}
