//! Products of two values: what a change reaches, faults in them, and a value times itself.

use std::sync::Arc;

use flipside::cases::{self, CaseInput, OpCase};
use flipside::device::Device;
use flipside::ops::matmul::MatMul;
use flipside::ops::softmax::Softmax;
use flipside::tape::{PlanKind, Tape, Undo};
use flipside::tensor::{Map, Region};

use crate::devices::devices;
use crate::kernels::bits;
use crate::ops::{Bench, input_words, output_gradient};

/// NaN in a factor reaches what `reach` says, and all of it.
#[test]
fn a_change_reaches_its_row_or_its_column() {
    for case in cases::all().into_iter().filter(|case| case.op.kind() == "matmul") {
        let mut words = input_words(&case);
        let mut bench = Bench::new(&case, &Device::cpu(), PlanKind::Golden);
        let mut run = |words: &[Vec<u32>]| {
            bench.feed(&case, words);
            bench.exec.forward_training(&mut bench.weights).unwrap();
            bench.exec.read(bench.node).unwrap()
        };
        assert!(run(&words).iter().all(|value| value.is_finite()));
        let specs: Vec<_> = case.inputs.iter().map(|input| input.spec()).collect();
        let output = case.op.output(&specs).unwrap();
        for (input, spec) in specs.iter().enumerate() {
            for trial in 0..6 {
                let (map, image) = (spec.map, trial % spec.maps(case.batch));
                let element = trial * 7919 % map.elements();
                let [channel, row, column] = map.locate(element);
                let at = image * map.elements() + map.index(row, column, channel);
                let before = std::mem::replace(&mut words[input][at], f32::NAN.to_bits());
                let found = run(&words);
                words[input][at] = before;
                let place = Region::element(image, row, column, channel);
                let reach = case.op.reach(input, place, &specs, &output);
                let mut reached = vec![false; found.len()];
                reach.for_each_run(output.map, |at| {
                    reached[at..at + reach.channels.len()].fill(true);
                });
                let differs: Vec<bool> = found.iter().map(|value| value.is_nan()).collect();
                assert_eq!(differs, reached, "{}: input {input} at {place:?}", case.name);
            }
        }
    }
}

/// softmax(q·kᵀ)·v of heads that are rows of maps.
fn attention(batch: usize, device: &Device, kind: PlanKind) -> (OpCase, Bench) {
    let (q, k, v) = (Map::new(3, 9, 5), Map::new(3, 10, 5), Map::new(3, 10, 6));
    let inputs = [q, k, v].map(CaseInput::uniform).to_vec();
    // The case is there for its inputs.
    let case = OpCase::new("heads", MatMul::new(), inputs, batch).eval();
    let mut tape = Tape::new();
    let inputs = ["q", "k", "v"].iter().zip(&case.inputs);
    let inputs: Vec<_> = inputs.map(|(name, input)| tape.input(name, input.spec())).collect();
    let scores = tape.record("scores", MatMul::transposed(), &inputs[..2]).unwrap();
    let weights = tape.record("weights", Softmax, &[scores]).unwrap();
    let y = tape.record("values", MatMul::new(), &[weights, inputs[2]]).unwrap();
    let bench = Bench::of_tape(Arc::new(tape), inputs, y, batch, device, kind);
    (case, bench)
}

/// Every device, and the replay of a box, does the same with a fault in a product.
#[test]
fn faults_of_outputs_and_stores_are_the_same_everywhere() {
    for fault in [
        "layer=scores,channel=7,row=2,column=4,bit=30",
        "layer=scores,channel=9,row=0,column=8,bit=21",
        "layer=scores,row=1,column=3,shape=row,bit=26",
        "layer=scores,site=store-lost,channel=0,row=1,column=0",
        "layer=values,channel=5,row=2,column=8,bit=24",
        "layer=values,site=store-lost,channel=2,row=0,column=3",
    ] {
        let spec = [fault.parse().unwrap()];
        let mut expected: Option<Vec<u32>> = None;
        for (place, device) in devices() {
            let (case, mut bench) = attention(2, &device, PlanKind::Infer);
            let run = |bench: &mut Bench| {
                bench.feed(&case, &input_words(&case));
                bench.exec.forward_training(&mut bench.weights).unwrap();
                bits(&bench.exec.read(bench.node).unwrap())
            };
            let clean = run(&mut bench);
            bench.exec.arm_all(&bench.weights, &spec).unwrap();
            let found = run(&mut bench);
            assert_ne!(found, clean, "{fault} on {place}");
            // The fault is the first image's.
            assert_eq!(found[clean.len() / 2..], clean[clean.len() / 2..], "{fault} on {place}");
            let expected = expected.get_or_insert(found.clone());
            assert_eq!(&found, expected, "{fault} on {place}");
        }
        let (case, mut bench) = attention(2, &Device::cpu(), PlanKind::Golden);
        bench.feed(&case, &input_words(&case));
        bench.exec.forward_training(&mut bench.weights).unwrap();
        bench.exec.arm_all(&bench.weights, &spec).unwrap();
        let layer = bench.tape.find(&spec[0].layer).unwrap();
        let (outputs, mut undo) = ([bench.node], Undo::default());
        bench.exec.replay_image(&bench.weights, layer, 0, &outputs, &mut undo).unwrap();
        let found = bits(&bench.exec.read(bench.node).unwrap());
        assert_eq!(Some(found), expected, "{fault}, the replay of a box");
    }
}

/// x·xᵀ: both gradients go to one place, dx = dy·x + dyᵀ·x.
#[test]
fn a_product_of_a_value_with_itself_has_both_gradients() {
    let map = Map::new(2, 7, 5);
    let case = OpCase::new("itself", MatMul::transposed(), vec![CaseInput::uniform(map)], 2);
    let words = input_words(&case);
    let x: Vec<f64> = words[0].iter().map(|word| f64::from(f32::from_bits(*word))).collect();
    for (place, device) in devices() {
        let mut tape = Tape::new();
        let input = tape.input("x", case.inputs[0].spec());
        tape.want_gradient(input);
        let y = tape.record("y", MatMul::transposed(), &[input, input]).unwrap();
        let tape = Arc::new(tape);
        let mut bench = Bench::of_tape(tape, vec![input], y, 2, &device, PlanKind::Train);
        bench.feed(&case, &words);
        bench.exec.forward_training(&mut bench.weights).unwrap();
        let dy = output_gradient(&case, bench.exec.read(y).unwrap().len());
        bench.exec.backward(&mut bench.weights, y, &dy, |_| {}).unwrap();
        let dx = bench.exec.read_gradient(input).unwrap();
        for (at, found) in dx.iter().enumerate() {
            let (matrix, row, channel) = (at / 35, at / 5 % 7, at % 5);
            let both = |n: usize| {
                let gradient = |m, n| f64::from(dy[matrix * 49 + m * 7 + n]);
                (gradient(row, n) + gradient(n, row)) * x[matrix * 35 + n * 5 + channel]
            };
            let expected: f64 = (0..7).map(both).sum();
            // Fourteen terms of up to 1, each rounded by 6e-8 of the sum so far.
            let error = (f64::from(*found) - expected).abs();
            assert!(error < 4e-6, "{found} at {at} on {place}, expected {expected}");
        }
    }
}
