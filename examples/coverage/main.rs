//! How often intervals hold the truth, where it is known: campaigns drawn out of a much larger one into a trained
//! network.
//!
//!     cargo run --release --example coverage [INJECTIONS…]
//!
//! trains resnet_small twice on the built-in images for some seconds, injects 60,000 faults into each layer of
//! both, and prints of 1,000 campaigns, seeds 0, 1, 2, …, how many intervals hold the figure of all. The
//! standard error of a coverage of 95 % is 0.7 points.

mod inner;
mod population;

use flipside::analysis::compare::Pairing;
use flipside::models::ModelFile;
use flipside::study::Inputs;

use inner::Row;
use population::{Drawing, Population};

fn main() {
    let inputs = Inputs::builtin(
        &ModelFile::open("resnet_small").unwrap(),
        1,
        [2000, 400],
        &Default::default(),
    )
    .unwrap();
    let networks = [1, 2].map(|seed| population::trained(&inputs, seed, 5));
    let mut experiments =
        networks.each_ref().map(|network| population::experiment(network, &inputs));
    // Images that both get right, so that their campaigns are of the same.
    let [a, b] =
        experiments.each_ref().map(|e| e.goldens.iter().map(|g| g.image).collect::<Vec<_>>());
    for experiment in &mut experiments {
        experiment.goldens.retain(|golden| a.contains(&golden.image) && b.contains(&golden.image));
    }
    println!(
        "resnet_small on built-in images, two trainings: {} images that both get right",
        experiments[0].goldens.len()
    );
    let populations =
        experiments.each_ref().map(|experiment| Population::new(experiment, 5, 60_000));
    let layers = [0, 3, 7, 9];
    let of = 1000;
    let mut all = Vec::new();
    println!(
        "\n| figure | injections a layer | truth | printed % | coverage % | above | below | width / truth |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let told: Vec<u64> = std::env::args().skip(1).map(|n| n.parse().expect("a number")).collect();
    let sizes = if told.is_empty() { vec![50, 200, 1000] } else { told };
    for injections in sizes {
        let mut rows = Vec::new();
        for drawing in Drawing::of(injections) {
            rows.extend(inner::of_layers(&populations[0], &layers, injections, drawing, of));
        }
        for drawing in Drawing::of(injections) {
            if drawing != Drawing::BitsInTurn {
                rows.extend(inner::of_networks(&populations[0], injections, drawing, of));
            }
        }
        for pairing in [Pairing::Unpaired, Pairing::Paired] {
            rows.extend(inner::of_pairs(populations.each_ref(), pairing, injections, of));
        }
        rows.iter().for_each(|row| println!("{}", row.line()));
        all.extend(rows);
    }
    println!("\n| kind of figure | injections a layer | coverage % |\n|---|---|---|");
    summary(&all).iter().for_each(|line| println!("{line}"));
}

/// Rows of one kind and size in a line: what share prints an interval, and the least and the most coverage.
fn summary(rows: &[Row]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut seen = Vec::new();
    for row in rows {
        let key = (&row.figure.kind, row.injections);
        if seen.contains(&key) {
            continue;
        }
        seen.push(key);
        let of_kind = || {
            rows.iter().filter(|row| (&row.figure.kind, row.injections) == key && row.printed > 0)
        };
        let coverages = || of_kind().map(Row::coverage);
        let coverage = match of_kind().count() {
            0 => "no interval".into(),
            _ => {
                let (least, most) =
                    (coverages().fold(100.0, f64::min), coverages().fold(0.0, f64::max));
                format!("{least:.1} to {most:.1}")
            }
        };
        lines.push(format!("| {} | {} | {coverage} |", key.0, key.1));
    }
    lines
}
