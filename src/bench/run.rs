//! One operation with memory to run it, alone or many times.

use crate::Result;
use crate::cases::OpCase;
use crate::device::{Device, Graph};
use crate::fault::FaultTable;
use crate::ops::RunState;
use crate::rng::{self, Draw};
use crate::tape::{Execution, NodeId, ParamId, PlanKind, Weights};
use crate::tensor::DType;

use super::{Effort, median};

/// Median and best of some timings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Times {
    pub median_ms: f64,
    pub best_ms: f64,
}

impl Times {
    pub fn of(mut times: Vec<f64>) -> Times {
        let median_ms = median(&mut times);
        Times { median_ms, best_ms: times.first().copied().unwrap_or(0.0) }
    }
}

/// Forward passes of one operation, to be timed.
pub struct Repeated {
    run: OpRun,
    graph: Option<Graph>,
    repeats: usize,
}

impl Repeated {
    /// Milliseconds of one pass.
    pub fn elapsed_ms(&mut self, device: &Device) -> Result<f64> {
        let Repeated { run, graph, repeats } = self;
        let all = device.elapsed_ms(|| match graph {
            // SAFETY: of launches over `run`'s own values, which are there as long as this.
            Some(graph) => unsafe { graph.replay() },
            None => run.forward(*repeats),
        })?;
        Ok(all / *repeats as f64)
    }

    /// Times of a pass, after one that isn't counted.
    pub fn times(&mut self, device: &Device, effort: Effort) -> Result<Times> {
        self.elapsed_ms(device)?;
        let times: Result<Vec<f64>> = (0..effort.rounds).map(|_| self.elapsed_ms(device)).collect();
        times.map(Times::of)
    }
}

/// A tape of one operation, with weights and inputs on a device.
pub struct OpRun {
    pub exec: Execution,
    pub weights: Weights,
    inputs: Vec<NodeId>,
    pub node: NodeId,
    /// The gradient of its output, where it is trained.
    gradient: Vec<f32>,
}

impl OpRun {
    /// For inference, or in training mode with what backward needs. Every image has the same inputs.
    pub fn new(case: &OpCase, device: &Device, trained: bool) -> Result<OpRun> {
        let (tape, inputs, node) = case.tape()?;
        let mut weights = Weights::new(&tape, device, trained)?;
        weights.initialize(1)?;
        let plan = if trained { PlanKind::Train } else { PlanKind::Infer };
        let mut exec = Execution::new(&tape, device, plan, case.batch, &[node])?;
        if trained {
            let samples: Vec<u64> = (0..case.batch as u64).collect();
            exec.begin_training(RunState::default(), &samples)?;
        } else {
            exec.begin(case.batch)?;
        }
        for (index, (id, input)) in inputs.iter().zip(&case.inputs).enumerate() {
            let of_one = input.words(1, &format!("{} {index}", case.name));
            exec.write(*id, &of_one.repeat(input.spec().maps(case.batch)))?;
        }
        let mut gradient = Vec::new();
        if trained {
            let spec = tape.node(node).spec;
            let mut draws = rng::stream(3, &case.name);
            let draw = |_| draws.between(-1.0, 1.0) as f32;
            let of_one: Vec<f32> = (0..spec.map.elements()).map(draw).collect();
            gradient = of_one.repeat(spec.maps(case.batch));
        }
        Ok(OpRun { exec, weights, inputs, node, gradient })
    }

    /// Arms it, or takes its faults away.
    pub fn arm(&mut self, table: Option<FaultTable>) -> Result<()> {
        self.exec.disarm();
        table.map_or(Ok(()), |table| self.exec.arm(self.node, table))
    }

    /// Forward passes, as many as fill a round; on devices that launch kernels as one graph, so that no
    /// launch is waited for.
    pub fn repeated(mut self, device: &Device, effort: Effort) -> Result<Repeated> {
        self.exec.forward_training(&mut self.weights)?;
        let once = device.elapsed_ms(|| self.exec.forward_training(&mut self.weights))?;
        let repeats = effort.repeats(once);
        let graph =
            if device.is_cpu() { None } else { Some(device.capture(|| self.forward(repeats))?) };
        Ok(Repeated { run: self, graph, repeats })
    }

    fn forward(&mut self, repeats: usize) -> Result<()> {
        (0..repeats).try_for_each(|_| self.exec.forward_training(&mut self.weights))
    }

    /// Times of a backward pass, by the clocks of the execution; `None` where nothing flows back.
    pub fn backward_times(&mut self, effort: Effort) -> Result<Option<Times>> {
        let mut times = Vec::with_capacity(effort.rounds);
        for round in 0..=effort.rounds {
            self.exec.start_clocks();
            self.passes()?;
            let taken: f64 = self.exec.timings().values().map(|time| time.backward_ms).sum();
            if round > 0 {
                times.push(taken);
            }
        }
        Ok(times.iter().any(|time| *time > 0.0).then(|| Times::of(times)))
    }

    /// A forward and, where it is trained, a backward pass.
    pub fn passes(&mut self) -> Result<()> {
        self.exec.forward_training(&mut self.weights)?;
        if self.gradient.is_empty() {
            return Ok(());
        }
        self.exec.backward(&mut self.weights, self.node, &self.gradient, |_| {})
    }

    /// What the last passes have made: the output and, where it is trained, each gradient.
    pub fn results(&self) -> Result<Vec<(String, Vec<f32>)>> {
        let mut results = vec![("the output".to_string(), self.exec.read(self.node)?)];
        if self.gradient.is_empty() {
            return Ok(results);
        }
        let tape = self.exec.tape();
        for (index, id) in self.inputs.iter().enumerate() {
            if tape.node(*id).spec.storage == DType::F32 {
                let gradient = self.exec.read_gradient(*id)?;
                results.push((format!("the gradient of input {index}"), gradient));
            }
        }
        for (index, param) in tape.params().iter().enumerate() {
            if param.spec.role.is_trained() {
                let gradient = self.weights.gradient(ParamId(index))?;
                results.push((format!("the gradient of {}", param.spec.name), gradient));
            }
        }
        Ok(results)
    }
}
