//! What figures of a run are drawn from agrees with what `report` says of it.

use super::*;
use flipside::analysis::breakdown::{By, DeltaLoss, Figures, RunPart as Piece, breakdown};
use flipside::analysis::compare::Pairing;
use flipside::analysis::picture::{
    Outcomes, PlaceGroup, bits, distribution, outcomes, places, precision, values,
};
use flipside::analysis::quantile;
use flipside::campaign::FaultList;
use flipside::fault::Site;
use flipside::page as drawn;
use flipside::plan::{Flips, Protocol, Stratify};
use flipside::results::Direction;
use flipside::statistics::{Confidence, StoppingRule, Target};

const NONE: Detector = Detector::None;

fn apart(run: &Run, by: By, layer: Option<&str>) -> Vec<Figures> {
    let layer = layer.map(|name| [name]);
    let layers = layer.as_ref().map(|name| &name[..]);
    breakdown(run, by, layers, &[NONE], &Intervals::default()).unwrap()
}

fn near(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-12, "{a} {b}");
}

/// Bits drawn uniformly, and in turn with uneven weights.
fn runs() -> [Run; 2] {
    let bench = Bench::new(GUIDED);
    [Stratify::No, Stratify::Bit].map(|stratify| bench.run(Plan { stratify, ..Plan::new(8, 150) }))
}

/// Those, and a campaign whose layers and bits have as many injections as a pilot called for.
fn weighted() -> Vec<Run> {
    let bench = Bench::new(GUIDED);
    let allocated = bench.run(super::allocation::allocated(&bench, Plan::new(8, 400)));
    runs().into_iter().chain([allocated]).collect()
}

#[test]
fn bits_are_those_of_report() {
    for run in weighted() {
        let table = bits(&run, NONE).unwrap();
        assert_eq!((table.bits(), table.fraction, table.exponent), (0..32, 23, 8));
        assert!(table.has_directions);
        for layer in &table.layers {
            let name = Some(run.manifest.layers[layer.layer].name.as_str());
            for row in apart(&run, By::Bit, name) {
                let Piece::Bit { bit } = row.part else { panic!("{:?}", row.part) };
                let whole = layer.outcomes(bit, None);
                assert_eq!(row.rates.records, whole.n());
                near(row.rates.sdc.value, whole.sdc_rate());
                near(row.rates.masked.value, whole.masked as f64 / whole.n() as f64);
                let ways = [Direction::ZeroToOne, Direction::OneToZero];
                let ways = ways.map(|way| layer.outcomes(bit, Some(way)));
                let mut sum = ways[0];
                sum.join(ways[1]);
                assert_eq!(sum, whole);
            }
            for row in apart(&run, By::Direction, name) {
                let Piece::Direction { direction } = row.part else { panic!("{:?}", row.part) };
                let cells = layer.cells.iter().filter(|cell| cell.direction == Some(direction));
                assert_eq!(cells.map(|cell| cell.outcomes.n()).sum::<u64>(), row.rates.records);
            }
        }
        let network = apart(&run, By::Bit, None);
        let whole: Vec<_> = table.network.iter().filter(|of| of.direction.is_none()).collect();
        assert_eq!(network.len(), whole.len());
        for (row, of) in network.iter().zip(whole) {
            assert_eq!(row.part, Piece::Bit { bit: of.bit });
            near(row.rates.sdc.value, of.sdc);
        }
        assert!(table.network.len() > network.len());
    }
}

#[test]
fn places_are_those_of_report() {
    for run in weighted() {
        let maps = places(&run, NONE).unwrap();
        assert_eq!(maps.layers.len(), run.manifest.layers.len());
        for map in &maps.layers {
            let layer = &run.manifest.layers[map.layer];
            assert_eq!(map.channel_axis.size, layer.shape[0]);
            let compare = |by: By, cells: &[PlaceGroup], group: &dyn Fn(Piece) -> usize| {
                let rows = apart(&run, by, Some(&layer.name));
                for cell in cells {
                    let rows: Vec<&Figures> =
                        rows.iter().filter(|row| group(row.part) == cell.group).collect();
                    assert_eq!(rows.iter().map(|row| row.rates.records).sum::<u64>(), cell.n);
                    // A group of one place has the rate that report gives it.
                    if let [row] = rows[..] {
                        near(row.rates.sdc.value, cell.rate);
                    }
                }
                let all: u64 = cells.iter().map(|cell| cell.n).sum();
                assert_eq!(all, run.of(map.layer, NONE).count() as u64);
                let sdc: u64 = cells.iter().map(|cell| cell.sdc).sum();
                assert_eq!(sdc, outcomes(run.of(map.layer, NONE)).sdc);
            };
            compare(By::Channel, &map.channels, &|part| match part {
                Piece::Channel { channel } => channel / map.channel_axis.of_a_group,
                part => panic!("{part:?}"),
            });
            compare(By::Position, &map.positions, &|part| match part {
                Piece::Position { row, column } => {
                    row / map.row_axis.of_a_group * map.column_axis.groups
                        + column / map.column_axis.of_a_group
                }
                part => panic!("{part:?}"),
            });
        }
    }
}

/// Points of a curve are where quantiles are; it begins at the share of zeros and ends below that of nonfinite answers.
#[test]
fn curves_are_those_of_quantiles() {
    for run in weighted() {
        for detector in Detector::ALL {
            let drawn = distribution(&run, detector).unwrap();
            for curve in drawn.layers.iter().chain([&drawn.network]) {
                let layers = curve.layer.map_or(Scope::ALL.layers(&run), |layer| vec![layer]);
                let mut values: Vec<(f64, f64)> = Vec::new();
                for layer in &layers {
                    // Layers count alike, however many injections they have.
                    let of_layer = || run.of(*layer, detector);
                    let whole: f64 = of_layer().map(|record| run.manifest.weight(record)).sum();
                    let of = |record: &Record| {
                        (record.worst_delta_loss(), run.manifest.weight(record) / whole)
                    };
                    values.extend(of_layer().map(of));
                }
                values.sort_by(|a, b| a.0.total_cmp(&b.0));
                let total: f64 = values.iter().map(|(_, weight)| weight).sum();
                let share = |is_in: &dyn Fn(f64) -> bool| {
                    let of = values.iter().filter(|(value, _)| is_in(*value));
                    of.map(|(_, weight)| weight).sum::<f64>() / total
                };
                near(curve.zeros, share(&|value| value == 0.0));
                near(curve.nonfinite, share(&f64::is_infinite));
                assert!(curve.points.len() <= 64 && curve.n == values.len() as u64);
                for (value, at) in &curve.points {
                    near(*at, share(&|other| other <= *value));
                    // Sums of weights differ by rounding.
                    assert!(quantile(&values, *at - 1e-9) <= *value);
                    assert!(quantile(&values, *at + 1e-9) >= *value);
                }
                if let Some((_, last)) = curve.points.last() {
                    near(*last, 1.0 - curve.nonfinite);
                }
            }
        }
    }
}

#[test]
fn values_are_all_there() {
    for run in runs() {
        let maps = values(&run, NONE).unwrap();
        for bins in &maps.layers {
            let layer = bins.layer.unwrap();
            let mut all = Outcomes::default();
            bins.cells.iter().for_each(|cell| all.join(cell.outcomes));
            assert_eq!(all, outcomes(run.of(layer, NONE)));
            for cell in &bins.cells {
                let is_in = |record: &&Record| {
                    let values = record.values().unwrap();
                    let number = |bits| f64::from(f32::from_bits(bits));
                    maps.before.bin(number(values.before)) == cell.before
                        && maps.after.bin(number(values.after)) == cell.after
                };
                assert_eq!(outcomes(run.of(layer, NONE).filter(is_in)), cell.outcomes);
            }
        }
        let network: u64 = maps.network.cells.iter().map(|cell| cell.outcomes.n()).sum();
        assert_eq!(network, 150 * Scope::ALL.layers(&run).len() as u64);
        // A sign that flips crosses the axis, and a value that isn't finite has a bin of its own.
        let crosses = |bit: u32| {
            run.records.iter().filter(move |record| record.mask() == Some(1 << bit)).all(|record| {
                let values = record.values().unwrap();
                let number = |bits| f64::from(f32::from_bits(bits));
                let (before, after) = (number(values.before), number(values.after));
                before == 0.0 || (before < 0.0) != (after < 0.0)
            })
        };
        assert!(crosses(31) && !crosses(30));
    }
}

/// With as many injections as there are the interval is report's; with more it is narrower. Variances add up.
#[test]
fn precision_is_that_of_report() {
    let how = Intervals::default();
    for run in runs() {
        let known = precision(&run, NONE, &how).unwrap();
        let rows = apart(&run, By::Layer, None);
        near(known.injections, 150.0);
        for weighted in &known.weightings {
            let weighting = weighted.weighting;
            let row = rows.iter().find(|row| row.part == Piece::Network { weighting }).unwrap();
            let at = |times| weighted.at.iter().find(|at| at.times == times).unwrap();
            assert_eq!(at(1.0).estimate, row.rates.sdc);
            let widths: Vec<f64> = weighted.at.iter().map(|at| at.half_width).collect();
            assert!(widths.is_sorted_by(|a, b| a > b), "{widths:?}");
            // Wilson's, of many trials, is half as wide with four times as many.
            let ratio = at(10.0).half_width / at(40.0).half_width;
            assert!((1.9..2.1).contains(&ratio), "{ratio}");
            near(weighted.shares.iter().map(|share| share.variance).sum(), 1.0);
            near(weighted.shares.iter().map(|share| share.weight).sum(), 1.0);
        }
        // Of bits in turn each has four injections, as an allocation needs.
        match run.manifest.plan.stratify {
            Stratify::No => assert!(known.allocation.unwrap_err().contains("4 at least")),
            _ => assert_eq!(known.allocation.unwrap().len(), run.manifest.layers.len()),
        }
    }
    let run = Bench::new(Head::Baseline).run(Plan { stratify: Stratify::Bit, ..Plan::new(8, 400) });
    let more = precision(&run, NONE, &how).unwrap().allocation.unwrap();
    let mean = more.iter().map(|(_, times)| times).sum::<f64>() / more.len() as f64;
    assert!(more.len() == run.manifest.layers.len() && (mean - 1.0).abs() < 0.01, "{more:?}");
}

/// Tables of the page's figures have report's numbers.
#[test]
fn tables_are_those_of_report() {
    let run = Bench::new(GUIDED).run(Plan::new(8, 150));
    let drawn = drawn(&run);
    let table = |id: &str| &drawn.iter().find(|figure| figure.id == id).unwrap().table;
    let value = |cell: &drawn::Cell| match cell {
        drawn::Cell::Number(of) => of.value,
        drawn::Cell::Count(count) => *count as f64,
        _ => f64::NAN,
    };
    let names: Vec<&str> = run.manifest.layers.iter().map(|layer| layer.name.as_str()).collect();
    let mut checked = 0;
    for row in &table("bits").rows {
        for figures in apart(&run, By::Bit, row.layer.map(|layer| names[layer])) {
            let Piece::Bit { bit } = figures.part else { panic!("{:?}", figures.part) };
            near(value(&row.cells[3 + 31 - bit as usize]), figures.rates.sdc.value);
            checked += 1;
        }
    }
    let rows = apart(&run, By::Layer, None);
    for row in table("delta-loss").rows.iter().filter(|row| row.cells[2] == "none".into()) {
        let is_meant = |figures: &&Figures| match row.layer {
            Some(layer) => figures.layer.as_deref() == Some(names[layer]),
            None => figures.part == Piece::Network { weighting: Weighting::Uniform },
        };
        let figures = rows.iter().find(is_meant).unwrap();
        let DeltaLoss::Quantiles(of) = figures.delta_loss else { panic!("no detector") };
        near(value(&row.cells[5]), figures.rates.nonfinite.value);
        for (cell, quantile) in row.cells[6..].iter().zip(of.values) {
            assert_eq!(value(cell), quantile);
            checked += 1;
        }
    }
    let networks = rows.iter().filter(|row| row.layer.is_none());
    let known = table("precision").rows.iter().filter(|row| row.cells[3] == 1.0.into());
    for (row, network) in known.zip(networks) {
        assert_eq!(row.cells[4], network.rates.sdc.into());
        checked += 1;
    }
    assert!(checked > 200, "{checked}");
}

fn drawn(run: &Run) -> Vec<drawn::Figure> {
    let subject = drawn::Subject::new(&[run], Pairing::Paired, &Intervals::default()).unwrap();
    drawn::figures(&subject).unwrap()
}

/// What a campaign can't show it says, each figure for itself.
#[test]
fn figures_say_what_they_can_t_show() {
    let bench = Bench::new(Head::Baseline);
    let how = Intervals::default();
    let two_bits = bench.run(Plan { bits: 2, ..Plan::new(8, 4) });
    assert!(bits(&two_bits, NONE).unwrap_err().contains("Faults of 2 bits"));
    assert!(places(&two_bits, NONE).is_ok() && values(&two_bits, NONE).is_ok());
    for (flips, word) in
        [(Flips::Count(2), "hit 2 values at once"), (Flips::Rate(1e-3), "at a bit error rate")]
    {
        let run = bench.run(Plan { flips, ..Plan::new(8, 4) });
        assert!(bits(&run, NONE).unwrap_err().contains(word));
        assert!(places(&run, NONE).unwrap_err().contains(word));
        assert!(values(&run, NONE).unwrap_err().contains(word));
        let all = drawn(&run);
        for id in ["bits", "places", "values"] {
            let figure = all.iter().find(|figure| figure.id == id).unwrap();
            let text = figure.svg.finish("x", "", "", "");
            assert!(text.contains("Not shown: faults") && figure.table.rows.is_empty(), "{text}");
        }
        assert!(distribution(&run, NONE).is_ok());
    }
    let plan = Plan { site: Site::Weight, ..Plan::new(8, 4) };
    let weights = bench.run(plan);
    assert!(places(&weights, NONE).unwrap_err().contains("in a map"));
    assert!(bits(&weights, NONE).unwrap().has_directions);
    let goldeneye =
        Plan { detectors: vec![Detector::Range], protocol: Protocol::Goldeneye, ..Plan::new(8, 8) };
    let run = bench.run(goldeneye);
    assert!(precision(&run, Detector::Range, &how).unwrap_err().contains("GoldenEye"));
    assert!(bits(&run, Detector::Range).is_ok());
    assert!(bits(&run, NONE).unwrap_err().contains("no detector 'none'"));
    let rule = StoppingRule { target: Target::Sdc, half_width: 0.3, confidence: Confidence::P95 };
    let stopped = bench.run(Plan { until: Some(rule), ..Plan::new(8, 64) });
    assert!(precision(&stopped, NONE, &how).unwrap_err().contains("stopped where"));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("faults.csv");
    fs::write(&path, "layer,image,channel,row,column,bit\nconv1,0,3,2,5,30\n").unwrap();
    let list = FaultList::open(&path).unwrap();
    let plan = Plan { detectors: vec![NONE], ..Plan::new(1, 1) };
    let campaign = Campaign::of_list(&bench.experiment, plan, &list).unwrap();
    let mut run = campaign.results(campaign.run(Strategy::Boxes, &Silent).unwrap());
    assert!(precision(&run, NONE, &how).unwrap_err().contains("list"));
    assert_eq!(bits(&run, NONE).unwrap().layers.iter().map(|l| l.cells.len()).sum::<usize>(), 1);
    assert!(distribution(&run, NONE).is_ok() && places(&run, NONE).is_ok());
    run.records.clear();
    assert!(bits(&run, NONE).unwrap_err().contains("No fault"));
    assert!(distribution(&run, NONE).unwrap_err().contains("No fault"));
}
