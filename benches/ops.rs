//! How long each operation takes: medians of forward and backward passes over the cases of
//! [`case::benchmarks`].
//!
//! `cargo bench --bench ops -- [--device cpu|cuda[:N]|emulated] [--filter TEXT] [--repeats N]`

use std::time::Instant;

use clap::Parser;

use flipside::device::Device;
use flipside::ops::RunState;
use flipside::ops::case::{self, OpCase};
use flipside::rng::{self, Draw};
use flipside::tape::{Execution, PlanKind, Weights};

/// Times the operations.
#[derive(Parser)]
struct Args {
    /// cpu, cuda, cuda:N or emulated
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Only cases whose name holds this text
    #[arg(long, default_value = "")]
    filter: String,
    /// Passes of each case; the first is not counted
    #[arg(long, default_value_t = 15)]
    repeats: usize,
    /// Forward passes only
    #[arg(long)]
    forward: bool,
    /// What cargo bench passes on
    #[arg(long, hide = true)]
    bench: bool,
}

/// Median milliseconds of forward and backward passes.
fn time(case: &OpCase, device: &Device, args: &Args) -> flipside::Result<[f64; 2]> {
    let (tape, inputs, node) = case.tape()?;
    let mut weights = Weights::new(&tape, device, true)?;
    weights.initialize(1)?;
    let plan = if args.forward { PlanKind::Infer } else { PlanKind::Train };
    let mut exec = Execution::new(&tape, device, plan, case.batch, &[node])?;
    if case.training && !args.forward {
        let samples: Vec<u64> = (0..case.batch as u64).collect();
        exec.begin_training(RunState::default(), &samples)?;
    } else {
        exec.begin(case.batch)?;
    }
    for (index, (id, input)) in inputs.iter().zip(&case.inputs).enumerate() {
        exec.write(*id, &input.words(case.batch, &format!("{} {index}", case.name)))?;
    }
    let mut draws = rng::stream(3, &case.name);
    let count = case.batch * tape.node(node).spec.map.elements();
    let gradient: Vec<f32> = (0..count).map(|_| draws.between(-1.0, 1.0) as f32).collect();
    let mut times = [Vec::new(), Vec::new()];
    for pass in 0..=args.repeats.max(1) {
        exec.start_clocks();
        exec.forward(&weights)?;
        if !args.forward {
            exec.backward(&mut weights, node, &gradient, |_| {})?;
        }
        let timings = exec.timings();
        if pass > 0 {
            times[0].push(timings.values().map(|kind| kind.forward_ms).sum::<f64>());
            times[1].push(timings.values().map(|kind| kind.backward_ms).sum::<f64>());
        }
    }
    Ok(times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    }))
}

/// What all cores multiply and add at most, in GFLOP/s; `None` where there is no AVX-512, for
/// which the loop is written.
#[cfg(target_arch = "x86_64")]
fn peak_gflops() -> Option<f64> {
    use std::arch::x86_64::*;
    const ROUNDS: usize = 1_000_000;
    /// Enough chains to hide the latency.
    const CHAINS: usize = 12;
    #[target_feature(enable = "avx512f")]
    fn chains() -> f32 {
        let (a, b) = (_mm512_set1_ps(std::hint::black_box(0.5)), _mm512_set1_ps(1.0));
        let mut chains = [_mm512_setzero_ps(); CHAINS];
        for _ in 0..ROUNDS {
            for chain in &mut chains {
                *chain = _mm512_fmadd_ps(a, *chain, b);
            }
        }
        chains.iter().map(|chain| _mm512_reduce_add_ps(*chain)).sum()
    }
    if !is_x86_feature_detected!("avx512f") {
        return None;
    }
    let flops = (rayon::current_num_threads() * ROUNDS * CHAINS * 16 * 2) as f64;
    // The best of a few: cores that sleep don't count.
    let rate = |_| {
        let start = Instant::now();
        // SAFETY: the instructions are there.
        rayon::broadcast(|_| std::hint::black_box(unsafe { chains() }));
        flops / start.elapsed().as_secs_f64() / 1e9
    };
    (0..5).map(rate).max_by(f64::total_cmp)
}

#[cfg(not(target_arch = "x86_64"))]
fn peak_gflops() -> Option<f64> {
    None
}

fn main() -> flipside::Result<()> {
    let args = Args::parse();
    let device = Device::parse(&args.device)?;
    let peak = if device.is_cpu() { peak_gflops() } else { None };
    if let Some(peak) = peak {
        println!("multiply-add peak {peak:.0} GFLOP/s");
    }
    println!("{:<46} {:>5}  {:>10}  {:>11}  rate", "case", "batch", "forward ms", "backward ms");
    for case in case::benchmarks() {
        if !case.name.contains(&args.filter) {
            continue;
        }
        let [forward, backward] = time(&case, &device, &args)?;
        let specs: Vec<_> = case.inputs.iter().map(|input| input.spec()).collect();
        let cost = case.op.cost(&specs);
        print!("{:<46} {:>5}  {forward:>10.3}  {backward:>11.3}  ", case.name, case.batch);
        // 1e6 a millisecond is 1e9 a second.
        let giga = |count: u64, ms: f64| case.batch as f64 * count as f64 / (1e6 * ms);
        if cost.macs > 0 {
            // Backward multiplies twice: for the input's gradient and for the weights'.
            let macs = cost.macs;
            let rates = [giga(2 * macs, forward), giga(4 * macs, backward)];
            print!("{:.0} / {:.0} GFLOP/s", rates[0], rates[1]);
            match peak {
                Some(peak) => {
                    println!(" ({:.0} / {:.0} %)", 100.0 * rates[0] / peak, 100.0 * rates[1] / peak)
                }
                None => println!(),
            }
        } else {
            println!("{:.1} GB/s forward", giga(cost.bytes, forward));
        }
    }
    Ok(())
}
