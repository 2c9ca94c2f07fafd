//! Rows of a report as they are asked for: of some layers, sorted, and the first of them.

use flipside::analysis::breakdown::{By, DeltaLoss, Figures, RunPart as Piece, breakdown};
use flipside::analysis::{Arrangement, ReportColumn};
use flipside::report::{View, arranged_text};

use super::*;

const BOTH: [Detector; 2] = [Detector::None, Detector::Range];

fn apart(run: &Run, by: By, layers: Option<&[&str]>) -> Vec<Figures> {
    breakdown(run, by, layers, &BOTH, &Intervals::default()).unwrap()
}

fn names(figures: &[Figures], detector: Detector) -> Vec<&str> {
    let of_detector = figures.iter().filter(|row| row.detector == detector);
    of_detector.filter_map(|row| row.layer.as_deref()).collect()
}

#[test]
fn layers_are_named_by_patterns_and_types() {
    let run = Bench::new(GUIDED).run(Plan::new(8, 40));
    let all = apart(&run, By::Layer, None);
    for (patterns, expected) in [
        (&["backbone.layer1.*"][..], "layer1."),
        (&["layer1.*"], "layer1."),
        (&["type:conv2d"], "conv"),
    ] {
        let rows = apart(&run, By::Layer, Some(patterns));
        let wanted: Vec<&str> = (run.manifest.layers.iter())
            .filter(|layer| match expected {
                "conv" => layer.kind == "conv2d",
                part => layer.name.contains(part),
            })
            .map(|layer| layer.name.as_str())
            .collect();
        assert!(wanted.len() > 1);
        assert_eq!(names(&rows, Detector::None), wanted);
        // Each has the figures that it has among all.
        for row in &rows {
            let is_it = |of: &&Figures| (of.detector, &of.layer) == (row.detector, &row.layer);
            let other = all.iter().find(is_it).unwrap();
            assert_eq!(format!("{row:?}"), format!("{other:?}"));
        }
    }
    // Several together count alike, the last layer once.
    let rows = apart(&run, By::Bit, Some(&["head*", "scale*", "conv1"]));
    let row = rows.iter().find(|row| row.detector == Detector::None).unwrap();
    assert_eq!(row.layer.as_deref(), Some("head*, scale*, conv1"));
    let Piece::Bit { bit } = row.part else { panic!("{row:?}") };
    let layers = &run.manifest.layers;
    let counted =
        [layers.iter().position(|l| l.name == "backbone.conv1").unwrap(), layers.len() - 1];
    assert_eq!(layers[counted[1]].part, Part::AfterScale);
    let of_bit = |r: &&Record| r.mask() == Some(1 << bit);
    let count = |layer: usize| run.of(layer, Detector::None).filter(of_bit).count() as u64;
    assert_eq!(row.rates.records, counted.map(count).iter().sum::<u64>());
    let refused = |pattern: &str| {
        breakdown(&run, By::Layer, Some(&[pattern]), &BOTH, &Intervals::default())
            .unwrap_err()
            .to_string()
    };
    assert!(refused("layer9.*").contains("a layer 'layer9.*'; its layers are: backbone.conv1, "));
    assert!(
        refused("type:foo").contains("of type 'foo'; the types there are: conv2d, linear, scale")
    );
}

#[test]
fn rows_are_sorted_and_cut_off() {
    let run = Bench::new(GUIDED).run(Plan::new(8, 60));
    let figures = apart(&run, By::Layer, None);
    let layers = run.manifest.layers.len();
    let sorted = |sort: ReportColumn| {
        Arrangement { sort: Some(sort), top: None }.of(figures.clone()).figures
    };
    let value = |row: &Figures, column: ReportColumn| match (&row.delta_loss, column) {
        (DeltaLoss::Quantiles(of), ReportColumn::DeltaLoss) => of.values[3],
        _ => column.of(row).unwrap().value,
    };
    for column in [
        ReportColumn::Sdc,
        ReportColumn::Masked,
        ReportColumn::Nonfinite,
        ReportColumn::DeltaP,
        ReportColumn::DeltaLoss,
    ] {
        let rows = sorted(column);
        assert_eq!(rows.len(), figures.len());
        for of_detector in rows.chunks(figures.len() / 2) {
            assert!(of_detector.iter().all(|row| row.detector == of_detector[0].detector));
            let (layers, network) = of_detector.split_at(layers);
            let values: Vec<f64> = layers.iter().map(|row| value(row, column)).collect();
            assert!(values.is_sorted_by(|a, b| a >= b || b.is_nan()), "{column:?} {values:?}");
            assert!(network.iter().all(|row| matches!(row.part, Piece::Network { .. })));
        }
    }
    let how = Intervals::default();
    let arrangement = Arrangement { sort: Some(ReportColumn::Sdc), top: Some(2) };
    let arranged = arrangement.of(figures.clone());
    let (rows, left_out) = (&arranged.figures, &arranged.left_out);
    assert_eq!(names(rows, Detector::Range).len(), 2);
    assert!(left_out.iter().map(|of| (of.detector, of.rows)).eq(BOTH.map(|d| (d, layers - 2))));
    assert_eq!(rows.iter().filter(|row| row.layer.is_none()).count(), 6);
    for view in [View::Text, View::Markdown] {
        let text = arranged_text(&run, &arranged, &how, view);
        let said = format!("{} more rows are left out (--top).", layers - 2);
        assert_eq!(text.matches(&said).count(), 2, "{text}");
        for part in ["network, weighted by neurons", "Outcomes: masked", "Rows are sorted by sdc, "]
        {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }
    // Without anything asked for, they are as they were; undefined ones come last.
    let same = Arrangement::default().of(figures.clone());
    assert_eq!((format!("{:?}", same.figures), same.left_out), (format!("{figures:?}"), vec![]));
    let mut odd = figures.clone();
    odd[0].rates.sdc.value = f64::NAN;
    let sort = Arrangement { sort: Some(ReportColumn::Sdc), top: None };
    assert!(sort.of(odd).figures[layers - 1].rates.sdc.value.is_nan());
    let bits = apart(&run, By::Bit, Some(&["conv1"]));
    let arrangement = Arrangement { sort: Some(ReportColumn::Sdc5), top: Some(3) };
    assert_eq!(arrangement.of(bits).figures.len(), 6);
}
