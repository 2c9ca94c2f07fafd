//! What came of requirements: for people, and as a JUnit file for the services that run tests.

use std::io::{self, Write};

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::sheet::{BY_FORMAT, Sheet, View};
use super::{any_size, interval};
use crate::analysis::breakdown::RunPart;
use crate::analysis::{Checked, Decision};

/// What a requirement was held against.
fn row(checked: &Checked) -> String {
    let part = match checked.part {
        RunPart::Network { weighting } => format!("network, {}", weighting.words()),
        _ => checked.layer.clone().unwrap_or_default(),
    };
    format!("{part}, detector {}", checked.detector.name())
}

/// The figure, and on how many records it stands.
fn figure(checked: &Checked) -> String {
    let Checked { estimate, records, is_share, .. } = checked;
    let words = match is_share {
        true => format!("{} %", interval(&estimate.times(100.0), 3)),
        false => any_size(estimate),
    };
    match estimate.low.is_nan() {
        true => format!("{words} without an interval, n = {records}"),
        false => format!("{words}, n = {records}"),
    }
}

/// A list of them.
pub fn requirements_text(all: &[Checked], view: View) -> String {
    let mut sheet = Sheet::new(view);
    sheet.gap();
    sheet.prose("Required, each decided by its own interval:");
    for checked in all {
        let Checked { requirement, decision, .. } = checked;
        sheet.item(&format!(
            "{requirement}: {} ({}: {})",
            decision.words(),
            row(checked),
            figure(checked)
        ));
    }
    sheet.finish(BY_FORMAT)
}

/// Writes a JUnit file: a test suite named `suite`, a test for each, failed where it isn't satisfied.
///
/// # Errors
/// What `out` says.
pub fn write_junit(suite: &str, all: &[Checked], out: &mut dyn Write) -> io::Result<()> {
    let cases = all.iter().map(|checked| {
        let status = match checked.decision {
            Decision::Satisfied => TestCaseStatus::success(),
            decision => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_type(decision.words()).set_message(figure(checked));
                status
            }
        };
        let mut case = TestCase::new(format!("{} ({})", checked.requirement, row(checked)), status);
        case.set_classname(suite).set_system_out(figure(checked));
        case
    });
    let mut tests = TestSuite::new(suite);
    tests.add_test_cases(cases);
    let mut report = Report::new("flipside report");
    report.add_test_suite(tests);
    let text = report.to_string().map_err(io::Error::other)?;
    out.write_all(text.as_bytes())
}
