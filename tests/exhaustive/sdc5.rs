//! SDC-5 of a census: of SDC alone, and what is said of those that counted nonfinite answers, too.

use flipside::report::{View, census_text};

use super::*;

/// The events of cells that have no nonfinite answer are SDC; those of others in an old store aren't known.
#[test]
fn nonfinite_answers_are_no_sdc5() {
    let bench = Bench::new(Head::Baseline);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("census.sqlite");
    let runner = bench.exhaustive(Mode::Features);
    let manifest = CensusManifest::new(&runner, Labels::Data);
    let counted = runner.run(&Silent).unwrap();
    counted.save(&path, &manifest).unwrap();

    // Bit 30 makes numbers of 1 to 2 infinite; of any it takes numbers below them to the top.
    let [none, range] = [0, 1];
    let of_bit = |census: &Census, detector, bit: usize| {
        census.histograms[0].of_bits(detector, bit..bit + 1)
    };
    let all = counted.histograms[0].total(none);
    assert!(all.nonfinite > 0 && all.sdc5.unwrap() > 0 && all.sdc5.unwrap() <= all.sdc, "{all:?}");
    for bit in 0..BITS {
        let bit = of_bit(&counted, none, bit);
        assert!(bit.sdc5.unwrap() <= bit.sdc, "{bit:?}");
    }
    // Nonfinite answers are the worst there is, not left out.
    let sums = (0..BITS).map(|bit| of_bit(&counted, none, bit));
    let mean = sums.map(|bit| bit.delta_p * bit.faults as f64).sum::<f64>() / all.faults as f64;
    assert!(
        (all.delta_p - mean).abs() < 1e-12
            && all.delta_p >= all.nonfinite as f64 / all.faults as f64
    );
    let top = of_bit(&counted, none, 30);
    let is_most = |q: f64| top.nonfinite as f64 > (1.0 - q) * top.faults as f64;
    for (value, q) in top.quantiles.into_iter().zip([0.5, 0.9, 0.99, 0.999]) {
        assert_eq!(value.is_infinite(), is_most(q), "{q}: {top:?}");
    }

    // As a store of old has it: no word of what is counted, and nonfinite answers among it.
    let connection = rusqlite::Connection::open(&path).unwrap();
    let sql = "DELETE FROM exhaustive_manifest WHERE key IN ('sdc5', 'ranges_over')";
    assert_eq!(connection.execute(sql, []).unwrap(), 2);
    connection.execute("UPDATE exhaustive_cells SET sdc5 = sdc5 + nonfinite", []).unwrap();
    drop(connection);
    let (old, there) = Census::open(&path, Mode::Features).unwrap();
    assert!(of_bit(&old, none, 30).sdc5.is_none() && old.histograms[0].total(none).sdc5.is_none());
    for bit in 0..BITS {
        let (new, old) = (of_bit(&counted, none, bit), of_bit(&old, none, bit));
        assert!(old.sdc5 == if old.nonfinite > 0 { None } else { new.sdc5 }, "{bit}");
    }
    assert_eq!(old.histograms[0].total(range).sdc5, counted.histograms[0].total(range).sdc5);
    let text = |census: &Census, manifest: &CensusManifest| {
        census_text(census, manifest.setting.ranges_over.as_ref(), View::Markdown)
    };
    let (old, new) = (text(&old, &there), text(&counted, &manifest));
    assert!(old.contains(" – |") && old.contains("SDC-5 isn't known"), "{old}");
    assert!(!new.contains(" – |") && !new.contains("isn't known"), "{new}");
    assert!(new.contains("over 2 training images") && !old.contains("training images"), "{new}");
    let error = Census::resume(Mode::Features, &manifest, &path).unwrap_err().to_string();
    assert!(error.contains("counted some nonfinite answers as SDC-5"), "{error}");
}
