//! Operations one by one, at the sizes of a network: the same cases that tests are made of.
//!
//! `cargo bench --bench ops -- [DEVICE] [NAME]`: cpu, cuda or emulated; only cases whose name holds
//! NAME. Medians of seven warm runs; operations and bytes are those that the operation declares.

use std::time::Instant;

use flipside::device::Device;
use flipside::ops::RunState;
use flipside::ops::case::{self, OpCase};
use flipside::tape::{Execution, PlanKind, Weights};

const RUNS: usize = 7;

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let device = Device::parse(&args.next().unwrap_or_else(|| "cpu".into()))?;
    let name = args.next().unwrap_or_default();
    println!("{:<44} {:>9} {:>9} {:>9} {:>9}", "", "forward", "GFLOP/s", "GB/s", "backward");
    for case in case::benchmarks().iter().filter(|case| case.name.contains(&name)) {
        measure(case, &device)?;
    }
    Ok(())
}

/// The median of seven runs, in milliseconds.
fn median_ms(
    device: &Device,
    mut run: impl FnMut() -> flipside::Result<()>,
) -> flipside::Result<f64> {
    let mut times = Vec::new();
    for _ in 0..=RUNS {
        let start = Instant::now();
        run()?;
        device.synchronize()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.remove(0); // the first one warms up
    times.sort_by(f64::total_cmp);
    Ok(times[RUNS / 2])
}

fn measure(case: &OpCase, device: &Device) -> flipside::Result<()> {
    let (tape, inputs, node) = case.tape()?;
    let mut weights = Weights::new(&tape, device, true)?;
    weights.initialize(1)?;
    let mut exec = Execution::new(&tape, device, PlanKind::Train, case.batch, &[node])?;
    if case.training {
        let samples: Vec<u64> = (0..case.batch as u64).collect();
        exec.begin_training(RunState::default(), &samples)?;
    } else {
        exec.begin(case.batch)?;
    }
    for (index, input) in case.inputs.iter().enumerate() {
        exec.write(inputs[index], &input.words(case.batch, &format!("input {index}")))?;
    }
    let forward = median_ms(device, || exec.forward(&weights))?;
    let gradient = vec![0.5f32; case.batch * tape.node(node).spec.map.elements()];
    let backward = median_ms(device, || exec.backward(&mut weights, node, &gradient, |_| ()))?;
    let cost = case.op.cost(&tape.input_specs(node));
    let rate = |count: u64| count as f64 * case.batch as f64 / forward / 1e6;
    let name = if case.training { case.name.clone() } else { format!("{}, eval", case.name) };
    println!(
        "{name:<44} {forward:>6.2} ms {:>9.1} {:>9.1} {backward:>6.2} ms",
        rate(2 * cost.macs),
        rate(cost.bytes)
    );
    Ok(())
}
