//! Faults inside the chains of depthwise convolutions: kernels against scalar chains.

use flipside::cases::{CaseInput, OpCase};
use flipside::fault::{FaultEntry, FaultTable, Site};
use flipside::number::{BitMasks, Compute};
use flipside::ops::GemmView;
use flipside::ops::conv2d::Conv2d;
use flipside::tape::{ParamId, PlanKind};
use flipside::tensor::Map;

use crate::devices::kernel_devices;
use crate::kernels::bits;
use crate::ops::{Bench, input_words};

/// A convolution with its numbers as the chains read them.
struct Chains {
    conv: Conv2d,
    input: Map,
    map: Map,
    x: Vec<f32>,
    /// PyTorch's order: (channel, row, column).
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Chains {
    /// y\[m, n\] of an image. `touch(κ, a, b)` may change the operands of a term, `after(k, sum)` the sum
    /// after k terms.
    fn sum(
        &self,
        (image, m, n): (usize, usize, usize),
        touch: impl Fn(usize, &mut f32, &mut f32),
        after: impl Fn(usize, &mut f32),
    ) -> f32 {
        let conv = &self.conv;
        let mut sum = 0f32;
        for term in 0..conv.kernel[0] * conv.kernel[1] {
            let at = |axis: usize, output: usize, tap: usize| {
                (output * conv.stride[axis] + tap * conv.dilation[axis])
                    .wrapping_sub(conv.padding[axis])
            };
            let row = at(0, m / self.map.width, term / conv.kernel[1]);
            let column = at(1, m % self.map.width, term % conv.kernel[1]);
            let mut a = match row < self.input.height && column < self.input.width {
                true => self.x[image * self.input.elements() + self.input.index(row, column, n)],
                false => 0.0,
            };
            let mut b = self.weight[n * conv.kernel[0] * conv.kernel[1] + term];
            touch(term, &mut a, &mut b);
            sum = a.mul_add(b, sum);
            after(term + 1, &mut sum);
        }
        if self.bias.is_empty() { sum } else { sum + self.bias[n] }
    }
}

fn flipped(value: f32, bit: u32) -> f32 {
    f32::from_bits(value.to_bits() ^ 1 << bit)
}

/// An accumulator and an operand of A reach one result; an operand of B reaches the strip of its
/// thread, as the layer's `KernelVariant` says, in its image alone.
#[test]
fn faults_inside_depthwise_chains_reach_what_their_thread_computes() {
    let square = |channels, kernel, stride, padding| Conv2d {
        groups: channels,
        bias: true,
        ..Conv2d::square(channels, channels, kernel, stride, padding)
    };
    const BATCH: usize = 3;
    for (conv, input, strip) in [
        (square(8, 3, 1, 1), Map::new(4, 11, 8), 4),
        (square(12, 3, 2, 1), Map::new(7, 14, 12), 4),
        (square(4, 5, 1, 2), Map::new(6, 7, 4), 4),
        (square(36, 7, 1, 3), Map::new(5, 19, 36), 8),
        (square(5, 3, 1, 1), Map::new(4, 9, 5), 4),
        (Conv2d { dilation: [1, 2], ..square(8, 3, 1, 2) }, Map::new(4, 10, 8), 4),
    ] {
        let case = OpCase::new("inner", conv, vec![CaseInput::uniform(input)], BATCH);
        let words = input_words(&case);
        for (place, device) in kernel_devices() {
            let mut bench = Bench::new(&case, &device, PlanKind::Golden);
            bench.feed(&case, &words);
            let node = bench.tape.node(bench.node);
            let (map, op) = (node.spec.map, node.op.clone().unwrap());
            let inputs = [case.inputs[0].spec()];
            let view: GemmView = op.sites(&inputs).gemm_view().unwrap();
            let variant = op.variant(&inputs, Compute::Exact).unwrap();
            let chains = Chains {
                conv,
                input,
                map,
                x: words[0].iter().copied().map(f32::from_bits).collect(),
                weight: bench.weights.get(ParamId(0)).unwrap(),
                bias: bench.weights.get(ParamId(1)).unwrap(),
            };
            // The last pixel of a row, where strips are cut off, and one in the middle.
            for (image, m, n, term, bit) in [
                (1, 2 * map.width - 1, map.channels - 1, view.k / 2, 22),
                (2, map.width + map.width / 2, 1, view.k - 1, 30),
                (0, 0, 0, view.k / 2, 12),
            ] {
                for site in [Site::Accumulator, Site::OperandA, Site::OperandB] {
                    let k = if site == Site::Accumulator { term + 1 } else { term };
                    let element = (n * view.m + m) as u64;
                    let entry = FaultEntry::at(site, element, k as u32, BitMasks::flip(1 << bit));
                    let space = |site| op.sites(&inputs).space(site);
                    let table =
                        FaultTable::of_sites("op", BATCH, space, &[(image, entry)]).unwrap();
                    bench.exec.arm(bench.node, table).unwrap();
                    bench.exec.forward_training(&mut bench.weights).unwrap();
                    bench.exec.disarm();
                    let found = bench.exec.read(bench.node).unwrap();
                    let expected: Vec<f32> = (0..found.len())
                        .map(|at| {
                            let (of_image, rest) = (at / map.elements(), at % map.elements());
                            let (of_m, of_n) = (rest / map.channels, rest % map.channels);
                            let same_column = of_image == image && of_n == n;
                            let own = same_column && of_m == m;
                            let shared = same_column
                                && of_m / map.width == m / map.width
                                && of_m % map.width / strip == m % map.width / strip;
                            assert_eq!(shared, same_column && variant.rows.same_owner(m, of_m));
                            let touch = |of_term: usize, a: &mut f32, b: &mut f32| {
                                if of_term == term && own && site == Site::OperandA {
                                    *a = flipped(*a, bit);
                                }
                                if of_term == term && shared && site == Site::OperandB {
                                    *b = flipped(*b, bit);
                                }
                            };
                            let after = |of_k: usize, sum: &mut f32| {
                                if of_k == k && own && site == Site::Accumulator {
                                    *sum = flipped(*sum, bit);
                                }
                            };
                            chains.sum((of_image, of_m, of_n), touch, after)
                        })
                        .collect();
                    assert_eq!(
                        bits(&found),
                        bits(&expected),
                        "{conv:?} on {place}: {} at image {image}, m {m}, n {n}, κ {term}",
                        site.name()
                    );
                }
            }
        }
    }
}

/// Depthwise kernels keep nothing in shared memory, so no fault can sit there.
#[test]
fn depthwise_layers_have_no_shared_tiles() {
    let conv = Conv2d { groups: 8, ..Conv2d::square(8, 8, 3, 1, 1) };
    let case = OpCase::new("sites", conv, vec![CaseInput::uniform(Map::new(4, 4, 8))], 1);
    let inputs = [case.inputs[0].spec()];
    for site in [Site::SharedA, Site::SharedB] {
        assert!(case.op.sites(&inputs).space(site).is_none());
    }
    assert!(case.op.sites(&inputs).space(Site::OperandB).is_some());
}
