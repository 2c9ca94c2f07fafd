//! Each distinct operation of the networks, alone: checked once against the CPU, then timed.

use std::time::Instant;

use serde::Serialize;

use super::attempts::Attempts;
use super::run::{OpRun, Times};
use super::{Effort, OpShape, PeerTime, Peers};
use crate::cases::{CaseInput, OpCase};
use crate::device::{Buffer, Device, Gemm};
use crate::number::{Compute, Format};
use crate::ops::ceiling::{self, Ceilings};
use crate::ops::conv2d::{Conv2d, LayerPass, ProductOperands};
use crate::ops::linear::as_conv2d;
use crate::progress::Progress;
use crate::tensor::{DType, Map, Spec};
use crate::{Error, Result};

/// The largest difference from the CPU, as a share of the tensor's largest value: sums over channels and
/// pixels are taken in other orders, exponentials differ by ulps.
const OUTPUT_BOUND: f32 = 1e-5;
/// The same of gradients, whose sums run over more and cancel.
const GRADIENT_BOUND: f32 = 1e-4;

/// What rounding the factors of a product may add to that: about half a unit in the last place of each, 2e-3 where
/// mantissas have 10 bits.
fn rounding(compute: Compute) -> f32 {
    match compute.operands() {
        Format::F32 => 0.0,
        operands => 2.048 / (1 << operands.mantissa_bits()) as f32,
    }
}

/// Images of the check.
const CHECKED: usize = 2;

/// A pass in figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PassTime {
    pub median_ms: f64,
    pub best_ms: f64,
    /// Bytes that must move, in 1e9 a second.
    pub gb_per_s: f64,
    /// Operations of multiply-adds (two each), in 1e9 a second.
    pub gflop_per_s: f64,
    /// The time that the nearer ceiling allows over the median, in percent; that of arithmetic is f32's
    /// multiply-adds, whatever the layers multiply in. Above 100 where caches give what the copy's ceiling
    /// counts as memory.
    pub share_percent: f64,
    /// Which ceiling that is: `memory` or `arithmetic`.
    pub bound: &'static str,
    /// This time over the peer's, of exact passes in true f32, of TF32's in TF32; below 1 is faster than
    /// the peer.
    pub ratio: Option<f64>,
}

/// A shape in figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KernelTime {
    pub id: String,
    pub name: String,
    pub kind: &'static str,
    pub models: Vec<(String, usize)>,
    /// Why there are no times: a result that isn't the CPU's, whose time is worth nothing, or what went wrong
    /// on the way to one.
    pub error: Option<String>,
    pub forward: Option<PassTime>,
    pub backward: Option<PassTime>,
    /// The largest difference from the CPU as a share of the largest value; absent on the CPU.
    pub difference: Option<f32>,
    /// cuBLAS's product alone, where the layer is one: f32 and TF32.
    pub cublas_ms: Option<[f64; 2]>,
    pub peer: Option<PeerTime>,
}

/// Where the time of the whole benchmark went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Seconds {
    pub total: f64,
    /// The ceilings.
    pub ceilings: f64,
    /// Results of small batches, here and on the CPU.
    pub checks: f64,
    /// Memory, random values and their way to the device, first launches, captures.
    pub setup: f64,
    /// What is timed.
    pub timing: f64,
    /// cuBLAS's set-up and timing.
    pub cublas: f64,
}

/// All of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KernelTimes {
    pub device: String,
    pub compute: Compute,
    /// Images of a batch.
    pub batch: usize,
    pub ceilings: Ceilings,
    pub peer: Option<String>,
    /// Why cuBLAS isn't beside them, where it could be.
    pub cublas_missing: Option<String>,
    pub seconds: Seconds,
    pub shapes: Vec<KernelTime>,
}

impl KernelTimes {
    /// How many shapes have an error instead of times.
    pub fn failed(&self) -> usize {
        self.shapes.iter().filter(|shape| shape.error.is_some()).count()
    }
}

/// Checks and times every shape for batches of `batch` images. A shape that fails has a row that says so, and
/// the others go on; after a failure of the device itself the remaining ones aren't run.
///
/// # Errors
/// Those of the device while its ceilings are measured.
pub fn kernel_times(
    shapes: &[OpShape],
    device: &Device,
    batch: usize,
    with_backward: bool,
    effort: Effort,
    peers: Option<&Peers>,
    progress: &dyn Progress,
) -> Result<KernelTimes> {
    let start = Instant::now();
    let mut seconds = Seconds::default();
    let ceilings = clocked(&mut seconds.ceilings, || ceiling::measure(device))?;
    let mut rows = Vec::with_capacity(shapes.len());
    let mut cublas_missing = None;
    let mut attempts = Attempts::new(device);
    progress.begin("bench", "shapes", 0, shapes.len() as u64);
    for shape in shapes {
        let figures =
            attempts.row(|| figures(shape, device, batch, with_backward, effort, &mut seconds));
        let (figures, error) = match figures {
            Ok(figures) => (Some(figures), None),
            Err(error) => (None, Some(error)),
        };
        let mut cublas_ms = None;
        if figures.is_some() && !device.host_memory() && cublas_missing.is_none() {
            let taken = clocked(&mut seconds.cublas, || {
                attempts.row(|| cublas(shape, device, batch, effort))
            });
            match taken {
                Ok(taken) => cublas_ms = taken,
                Err(error) => cublas_missing = Some(error),
            }
        }
        let peer = peers.and_then(|peers| peers.times.get(&shape.id));
        let [forward_peer_ms, backward_peer_ms] = peer_ms(peer, device.compute());
        let [of_forward, of_backward] = work(shape, &shape.case(batch));
        let forward = figures.as_ref().map(|figures| figures.forward);
        let backward = figures.as_ref().and_then(|figures| figures.backward);
        rows.push(KernelTime {
            id: shape.id.clone(),
            name: shape.name.clone(),
            kind: shape.op.kind(),
            models: shape.models.clone(),
            error,
            forward: forward.map(|taken| of_forward.at(taken, &ceilings, forward_peer_ms)),
            backward: backward.map(|taken| of_backward.at(taken, &ceilings, backward_peer_ms)),
            difference: figures.and_then(|figures| figures.difference),
            cublas_ms,
            peer: peer.cloned(),
        });
        progress.advance(1, &shape.name);
    }
    progress.end();
    seconds.total = start.elapsed().as_secs_f64();
    Ok(KernelTimes {
        device: device.kind().to_string(),
        compute: device.compute(),
        batch,
        ceilings,
        peer: peers.map(|peers| peers.peer.clone()),
        cublas_missing,
        seconds,
        shapes: rows,
    })
}

/// What is measured of a shape.
struct ShapeFigures {
    difference: Option<f32>,
    forward: Times,
    backward: Option<Times>,
}

fn figures(
    shape: &OpShape,
    device: &Device,
    batch: usize,
    with_backward: bool,
    effort: Effort,
    seconds: &mut Seconds,
) -> Result<ShapeFigures> {
    let mut difference = None;
    if !device.is_cpu() {
        difference = Some(clocked(&mut seconds.checks, || check(shape, device, with_backward))?);
    }
    let case = shape.case(batch);
    let mut run =
        clocked(&mut seconds.setup, || OpRun::new(&case, device, false)?.repeated(device, effort))?;
    let forward = clocked(&mut seconds.timing, || run.times(device, effort))?;
    // Its memory makes room for the backward pass's.
    drop(run);
    let mut backward = None;
    if with_backward {
        let mut run = clocked(&mut seconds.setup, || OpRun::new(&case, device, true))?;
        backward = clocked(&mut seconds.timing, || run.backward_times(effort))?;
    }
    Ok(ShapeFigures { difference, forward, backward })
}

/// Adds to `seconds` what `work` takes.
fn clocked<T>(seconds: &mut f64, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let done = work();
    *seconds += start.elapsed().as_secs_f64();
    done
}

/// A peer's times of both passes that ours stand beside.
fn peer_ms(peer: Option<&PeerTime>, compute: Compute) -> [Option<f64>; 2] {
    let Some(peer) = peer else { return [None, None] };
    match compute {
        Compute::Exact => [Some(peer.forward_ms), peer.backward_ms],
        Compute::Tf32 => [peer.forward_tf32_ms, None],
        _ => [None, None],
    }
}

/// What a pass has to do for a batch.
#[derive(Clone, Copy)]
struct PassWork {
    bytes: f64,
    flops: f64,
}

/// Of the forward and the backward pass: everything that must be read is read once, everything that is
/// asked for written once; backward multiplies for the input's gradient and for the weights'.
fn work(shape: &OpShape, case: &OpCase) -> [PassWork; 2] {
    let images = |spec: &Spec| (spec.maps(case.batch) * spec.image_bytes()) as f64;
    let params = shape.op.params();
    let param_bytes = |trained: bool| {
        params
            .iter()
            .filter(|param| !trained || param.role.is_trained())
            .map(|param| (4 * param.elements()) as f64)
            .sum::<f64>()
    };
    let cost = shape.op.cost(&shape.inputs);
    let maps = shape.output.maps(case.batch) as f64;
    let flops = 2.0 * maps * cost.macs as f64;
    let shared: f64 = shape.inputs.iter().filter(|spec| spec.shared).map(images).sum();
    let of_images: f64 = maps * cost.bytes as f64;
    // `cost` counts a shared input in each image.
    let repeated = shared * (maps - 1.0);
    let forward = PassWork { bytes: of_images - repeated + param_bytes(false), flops };
    let mut needs = shape.op.needs();
    needs.inputs.resize(shape.inputs.len(), false);
    let read: f64 = shape
        .inputs
        .iter()
        .zip(&needs.inputs)
        .filter(|(_, needed)| **needed)
        .map(|(spec, _)| images(spec))
        .sum();
    let written: f64 =
        shape.inputs.iter().filter(|spec| spec.storage == DType::F32).map(images).sum();
    let output = images(&shape.output);
    let of_output = if needs.output { 2.0 * output } else { output };
    let bytes = read + of_output + written + 2.0 * param_bytes(true);
    [forward, PassWork { bytes, flops: 2.0 * flops }]
}

impl PassWork {
    fn at(self, taken: Times, ceilings: &Ceilings, peer_ms: Option<f64>) -> PassTime {
        // 1e9 a second is 1e6 a millisecond.
        let memory_ms = self.bytes / (1e6 * ceilings.gb_per_s);
        let arithmetic_ms = self.flops / (1e6 * ceilings.gflop_per_s);
        let Times { median_ms, best_ms } = taken;
        let per_ms = |count: f64| if median_ms > 0.0 { count / median_ms } else { 0.0 };
        PassTime {
            median_ms,
            best_ms,
            gb_per_s: per_ms(self.bytes / 1e6),
            gflop_per_s: per_ms(self.flops / 1e6),
            share_percent: 100.0 * per_ms(memory_ms.max(arithmetic_ms)),
            bound: if memory_ms >= arithmetic_ms { "memory" } else { "arithmetic" },
            ratio: peer_ms.filter(|ms| *ms > 0.0).map(|ms| median_ms / ms),
        }
    }
}

/// The largest difference from the CPU over all results of a small batch.
fn check(shape: &OpShape, device: &Device, with_backward: bool) -> Result<f32> {
    let case = shape.case(CHECKED);
    let results = |device: &Device| {
        let mut run = OpRun::new(&case, device, with_backward)?;
        run.passes()?;
        run.results()
    };
    let (expected, found) = (results(&Device::cpu())?, results(device)?);
    let mut largest = 0f32;
    for (index, ((what, expected), (_, found))) in expected.iter().zip(&found).enumerate() {
        let rounding = as_conv2d(shape.op.as_ref()).map_or(0.0, |_| rounding(device.compute()));
        let bound = rounding + if index == 0 { OUTPUT_BOUND } else { GRADIENT_BOUND };
        let difference = difference(expected, found);
        // A NaN isn't within any bound.
        if difference.is_nan() || difference > bound {
            return Err(Error::Kernel {
                kernel: shape.name.clone(),
                detail: format!(
                    "{what} is {difference:e} of its largest value off the CPU's; {bound:e} is allowed"
                ),
            });
        }
        largest = largest.max(difference);
    }
    Ok(largest)
}

/// The largest |a − b| as a share of the largest |a|.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    let largest = a.iter().fold(0f32, |m, v| m.max(v.abs()));
    let apart = a.iter().zip(b).map(|(a, b)| if a == b { 0.0 } else { (a - b).abs() });
    // `max` would pass over a NaN.
    let apart = apart.fold(0f32, |m, v| if v.is_nan() || v > m { v } else { m });
    if a.len() != b.len() {
        f32::NAN
    } else if apart == 0.0 {
        0.0
    } else {
        apart / largest
    }
}

/// A layer's forward product for cuBLAS, with memory of its own.
struct CublasProduct<'s> {
    conv: &'s Conv2d,
    input: Map,
    images: usize,
    /// X, W and Y.
    operands: [Buffer; 3],
}

impl<'s> CublasProduct<'s> {
    /// With the same random values in each image, as ours has them; `None` for layers that aren't plain ones.
    fn of(shape: &'s OpShape, device: &Device, batch: usize) -> Result<Option<CublasProduct<'s>>> {
        let Some(conv) = as_conv2d(shape.op.as_ref()) else { return Ok(None) };
        let input = shape.inputs[0].map;
        let images = shape.inputs[0].maps(batch);
        let Some([m, n, k]) = conv.plain_product(input, images) else { return Ok(None) };
        let random = |map: Map, copies: usize| -> Result<Buffer> {
            let words = CaseInput::uniform(map).words(1, &shape.name).repeat(copies);
            let mut buffer = device.alloc(4 * words.len())?;
            buffer.write(0, bytemuck::cast_slice(&words))?;
            Ok(buffer)
        };
        let x = random(Map::new(1, m / images, k), images)?;
        let w = random(Map::new(1, k, n), 1)?;
        let y = device.alloc(4 * m * n)?;
        Ok(Some(CublasProduct { conv, input, images, operands: [x, w, y] }))
    }

    fn gemm(&self, compute: Compute) -> Option<Gemm> {
        let [x, w, y] = self.operands.each_ref().map(Buffer::address);
        let operands = ProductOperands { x, w, y };
        self.conv.product(self.input, self.images, LayerPass::Forward, operands, false, compute)
    }
}

/// cuBLAS's times for the forward product in f32 and TF32; `None` for layers that aren't plain ones.
fn cublas(
    shape: &OpShape,
    device: &Device,
    batch: usize,
    effort: Effort,
) -> Result<Option<[f64; 2]>> {
    let Some(product) = CublasProduct::of(shape, device, batch)? else { return Ok(None) };
    let mut medians = [0.0; 2];
    for (median_ms, compute) in medians.iter_mut().zip([Compute::Exact, Compute::Tf32]) {
        let Some(gemm) = product.gemm(compute) else { return Ok(None) };
        // SAFETY: the operands are `product`'s, of the sizes that it was made for.
        let multiply = || unsafe { device.gemm(&gemm) };
        multiply()?;
        let repeats = effort.repeats(device.elapsed_ms(multiply)?);
        let mut graph = device.capture(|| (0..repeats).try_for_each(|_| multiply()))?;
        let mut times = Vec::with_capacity(effort.rounds);
        for round in 0..=effort.rounds {
            // SAFETY: as above.
            let all = device.elapsed_ms(|| unsafe { graph.replay() })?;
            // A graph's first launch isn't counted, as ours isn't.
            if round > 0 {
                times.push(all / repeats as f64);
            }
        }
        *median_ms = Times::of(times).median_ms;
    }
    Ok(Some(medians))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{Model, ModelFile};
    use crate::nn::Head;

    /// On zeros a processor draws less power and clocks higher.
    #[test]
    fn cublas_multiplies_random_values() {
        let file = ModelFile::open("resnet_small").unwrap();
        let model = Model::new(&file, Head::Baseline, 10, 32, 0.0).unwrap();
        let shapes = super::super::shapes(&[("resnet_small".into(), model)]);
        let device = Device::cpu();
        let products: Vec<CublasProduct> = shapes
            .iter()
            .filter_map(|shape| CublasProduct::of(shape, &device, 2).unwrap())
            .collect();
        // Two shortcuts are 1×1 with stride 2: that leaves the linear layer.
        assert_eq!(products.len(), 1);
        for CublasProduct { operands: [x, w, _], .. } in &products {
            let [x, w] = [x, w].map(|buffer| {
                let mut values = vec![0f32; buffer.bytes() / 4];
                buffer.read(0, bytemuck::cast_slice_mut(&mut values)).unwrap();
                values
            });
            assert_eq!((x.len(), w.len()), (2 * 64, 64 * 10));
            assert_eq!(x[..64], x[64..]);
            for values in [&x[..64], &w] {
                let distinct: std::collections::HashSet<u32> =
                    values.iter().map(|value| value.to_bits()).collect();
                assert_eq!(distinct.len(), values.len());
                assert!(values.iter().all(|value| (0.05..1.0).contains(&value.abs())));
            }
        }
    }
}
