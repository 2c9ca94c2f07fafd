//! Batches that are mixed with given shares and boxes, and their losses.

use super::{crc, noise, numbers, rows};
use flipside::data::mix::{BatchMix, cutmix, cutmix_area, one_hot};
use flipside::data::transform::Area;
use flipside::device::Device;
use flipside::ops::cross_entropy::CrossEntropy;
use flipside::tape::{Execution, PlanKind, Tape, Weights};
use flipside::tensor::{Map, Spec};
use std::sync::Arc;

fn values(count: usize, seed: u64) -> Vec<f32> {
    noise(count, seed).map(|byte| (f32::from(byte) - 128.0) / 32.0).collect()
}

/// Losses of distributions as the trainer computes them.
fn losses(logits: &[f32], targets: &[f32], classes: usize, smoothing: f32) -> Vec<f32> {
    let images = logits.len() / classes;
    let mut tape = Tape::new();
    let specs = Spec::f32(Map::vector(classes));
    let inputs = ["logits", "targets"].map(|name| tape.input(name, specs));
    let loss = tape.record("loss", CrossEntropy::new(smoothing), &inputs).unwrap();
    let (tape, device) = (Arc::new(tape), Device::cpu());
    let weights = Weights::new(&tape, &device, false).unwrap();
    let mut exec = Execution::new(&tape, &device, PlanKind::Infer, images, &[loss]).unwrap();
    exec.begin(images).unwrap();
    exec.write(inputs[0], logits).unwrap();
    exec.write(inputs[1], targets).unwrap();
    exec.forward(&weights).unwrap();
    exec.read(loss).unwrap()
}

#[test]
fn mixed_batches_are_torchvisions_bits() {
    let rows = rows("mixing.tsv");
    assert_eq!(rows.len(), 8);
    for row in &rows {
        let number = |at: usize| row[at].parse::<usize>().unwrap();
        let [count, height, width, classes] = [number(0), number(1), number(2), number(3)];
        let mut images = values(count * height * width * 3, 5);
        let labels: Vec<u32> = (0..count as u32).map(|i| i * 3 % classes as u32).collect();
        let mut targets = one_hot(&labels, classes);
        let mix = match row[4].as_str() {
            "mixup" => BatchMix::Mixup(row[5].parse().unwrap()),
            _ => {
                let [x1, y1, x2, y2] = numbers(&row[5])[..] else { panic!("{row:?}") };
                BatchMix::Cutmix(Area { top: y1, left: x1, height: y2 - y1, width: x2 - x1 })
            }
        };
        mix.apply([count, height, width], &mut images, &mut targets).unwrap();
        assert_eq!(crc(&images), row[6], "images of {row:?}");
        assert_eq!(crc(&targets), row[7], "targets of {row:?}");
        let logits = values(count * classes, 9);
        for (column, smoothing) in [(8, 0.0), (9, 0.1)] {
            let expected: Vec<f64> = numbers(&row[column]);
            let found = losses(&logits, &targets, classes, smoothing);
            for (found, expected) in found.iter().zip(&expected) {
                // Rounded to f32, of targets and a smoothing that are f32: 3 units in the last place.
                let error = (f64::from(*found) - expected).abs();
                assert!(error <= 4e-7 * expected.abs().max(1.0), "{row:?}: {found} {expected}");
            }
        }
    }
}

/// A box around a centre as torchvision cuts it: half sides rounded down, then the image's borders.
#[test]
fn boxes_are_cut_off_at_the_borders() {
    let area = |lambda, centre| cutmix_area(32, 48, lambda, centre);
    assert_eq!(area(1.0, [5, 5]), Area { top: 5, left: 5, height: 0, width: 0 });
    assert_eq!(area(0.0, [16, 24]), Area { top: 0, left: 0, height: 32, width: 48 });
    assert_eq!(area(0.75, [0, 47]), Area { top: 0, left: 35, height: 8, width: 13 });
    let (mut images, mut targets) = (vec![0.0; 32 * 48 * 3], vec![1.0]);
    let kept = cutmix([1, 32, 48], &mut images, &mut targets, area(0.75, [0, 47])).unwrap();
    assert_eq!(kept, 1.0 - (8.0 * 13.0) / (32.0 * 48.0));
}
