//! How products are put to cuBLAS: a column-major product in plain Rust, given the same arguments, has the
//! results of the layer's passes on the CPU.

use flipside::Error;
use flipside::cases::{CaseInput, OpCase};
use flipside::device::{Device, Gemm, GemmCall};
use flipside::number::Compute;
use flipside::ops::conv2d::{Conv2d, LayerPass, ProductOperands};
use flipside::ops::linear::{Linear, as_conv2d};
use flipside::ops::{Op, RunState};
use flipside::rng::{self, Draw};
use flipside::tape::{Execution, ParamId, PlanKind, Weights};
use flipside::tensor::Map;

/// BLAS's definition, one element after the other.
fn column_major(call: &GemmCall) {
    let at = |matrix: u64, ld: i32, row: i32, column: i32| {
        (matrix as *mut f32).wrapping_add((row + column * ld) as usize)
    };
    let read = |matrix: u64, ld: i32, transposed: bool, row: i32, column: i32| {
        let (row, column) = if transposed { (column, row) } else { (row, column) };
        assert!(row < ld, "a column of {ld} has no row {row}");
        // SAFETY: the caller's matrices.
        f64::from(unsafe { *at(matrix, ld, row, column) })
    };
    for row in 0..call.m {
        for column in 0..call.n {
            let terms = (0..call.k).map(|k| {
                read(call.a, call.lda, call.a_transposed, row, k)
                    * read(call.b, call.ldb, call.b_transposed, k, column)
            });
            let sum: f64 = terms.sum();
            let c = at(call.c, call.ldc, row, column);
            // SAFETY: as above.
            unsafe { *c = (sum + f64::from(call.beta) * f64::from(*c)) as f32 };
        }
    }
}

fn random(count: usize, label: &str) -> Vec<f32> {
    let mut draws = rng::stream(7, label);
    (0..count).map(|_| draws.between(-1.0, 1.0) as f32).collect()
}

fn assert_close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
    for (a, b) in found.iter().zip(expected) {
        // Sums of at most some dozen terms, in f64 here.
        assert!((a - b).abs() <= 2e-6 * largest, "{what}: {a} for {b}");
    }
}

const IMAGES: usize = 3;

fn check(op: impl Op + 'static, map: Map) {
    let case = OpCase::new("product", op, vec![CaseInput::uniform(map)], IMAGES);
    let conv = *as_conv2d(case.op.as_ref()).unwrap();
    let (tape, inputs, node) = case.tape().unwrap();
    let cpu = Device::cpu();
    let mut weights = Weights::new(&tape, &cpu, true).unwrap();
    let terms = conv.kernel[0] * conv.kernel[1] * conv.in_channels;
    weights.set(ParamId(0), &random(conv.out_channels * terms, "weights")).unwrap();
    let mut exec = Execution::new(&tape, &cpu, PlanKind::Train, IMAGES, &[node]).unwrap();
    exec.begin_training(RunState::default(), &[0, 1, 2]).unwrap();
    let mut x = random(IMAGES * map.elements(), "x");
    exec.write(inputs[0], &x).unwrap();
    exec.forward_training(&mut weights).unwrap();
    let y = exec.read(node).unwrap();
    let mut dy = random(y.len(), "dy");
    exec.backward(&mut weights, node, &dy, |_| {}).unwrap();

    // In memory W is (terms, outputs), as `Layout::GemmB` stores it: read through the layout.
    let stored = |values: &[f32]| {
        let param = &tape.params()[0].spec;
        param.layout.store(&param.shape, values)
    };
    let mut w = stored(&weights.get(ParamId(0)).unwrap());
    let product = |pass, [x, w, y]: [&mut [f32]; 3], accumulate| {
        let address = |values: &mut [f32]| values.as_mut_ptr() as u64;
        let operands = ProductOperands { x: address(x), w: address(w), y: address(y) };
        let compute = Compute::Exact;
        let gemm = conv.product(map, IMAGES, pass, operands, accumulate, compute).unwrap();
        column_major(&gemm.call().unwrap());
    };
    let mut found = vec![0.0; y.len()];
    product(LayerPass::Forward, [&mut x, &mut w, &mut found], false);
    assert_close(&found, &y, "forward");
    product(LayerPass::Forward, [&mut x, &mut w, &mut found], true);
    assert_close(&found, &y.iter().map(|v| 2.0 * v).collect::<Vec<_>>(), "forward, added");
    let mut dx = vec![0.0; x.len()];
    product(LayerPass::InputGradient, [&mut dx, &mut w, &mut dy], false);
    assert_close(&dx, &exec.read_gradient(inputs[0]).unwrap(), "gradient of the input");
    let mut dw = vec![0.0; w.len()];
    product(LayerPass::WeightGradient, [&mut x, &mut dw, &mut dy], false);
    assert_close(&dw, &stored(&weights.gradient(ParamId(0)).unwrap()), "gradient of the weights");
}

#[test]
fn column_major_products_are_the_layers() {
    // No two sizes alike.
    check(Conv2d::square(5, 7, 1, 1, 0), Map::new(4, 3, 5));
    check(Linear::new(11, 6, false), Map::vector(11));
    check(Linear::flattened(Map::new(2, 3, 4), 5, false), Map::new(2, 3, 4));
}

#[test]
fn only_plain_layers_are_products() {
    let map = Map::new(8, 8, 6);
    let plain = Conv2d::square(6, 4, 1, 1, 0);
    assert_eq!(plain.plain_product(map, 2), Some([128, 4, 6]));
    for conv in [
        Conv2d::square(6, 4, 3, 1, 1),
        Conv2d::square(6, 4, 1, 2, 0),
        Conv2d::square(6, 4, 1, 1, 1),
        Conv2d { groups: 2, ..plain },
    ] {
        assert_eq!(conv.plain_product(map, 2), None, "{conv:?}");
    }
}

#[test]
fn products_are_refused_where_there_is_no_library() {
    let [a, b, c] = [0; 3];
    let (a_transposed, b_transposed, accumulate) = (false, false, false);
    let compute = Compute::Exact;
    let gemm = Gemm { m: 1, n: 1, k: 1, a, b, c, a_transposed, b_transposed, accumulate, compute };
    for device in [Device::cpu(), Device::emulated()] {
        // SAFETY: these devices have no cuBLAS.
        let error = unsafe { device.gemm(&gemm) }.unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    }
    let error = Gemm { m: 1 << 31, ..gemm }.call().unwrap_err();
    assert!(error.to_string().contains("2147483648"), "{error}");
    assert!(Gemm { k: 0, ..gemm }.call().is_err());
}
