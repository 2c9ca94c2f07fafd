//! Memory plans: where each value, gradient and saved value lies in one arena, shared by those
//! whose lives don't overlap.
//!
//! Time runs over the forward steps 0..n (step i runs node i) and, for training, over the
//! backward steps n..2n (step 2n − 1 − i runs node i back).

use super::{Lowering, NodeId, ParamId, Tape};
use crate::ops::PassBytes;

/// What a plan keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanKind {
    /// What backward needs, and gradients.
    Train,
    /// Buffers are shared by lifetime; only the outputs survive.
    Infer,
    /// Every value is kept, for replay.
    Golden,
    /// The value of every launch is kept, for replay on the CPU: what lies inside of one is computed anew
    /// where it is asked for.
    Replay,
}

/// Bytes of the arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    pub offset: usize,
    pub bytes: usize,
}

/// Slots for a capacity of images. Nodes that aren't run have empty slots.
#[derive(Clone, Debug)]
pub struct MemoryPlan {
    pub kind: PlanKind,
    /// One a node.
    pub values: Vec<Slot>,
    pub saved: Vec<Slot>,
    /// One a node; empty where no gradient flows.
    pub gradients: Vec<Slot>,
    pub workspace: Slot,
    /// Whether a node's value is there until the end of the pass.
    pub survives: Vec<bool>,
    /// Bytes of the arena.
    pub bytes: usize,
    /// The most bytes that live at once: what no plan can go below.
    pub largest_live_set: usize,
}

/// A piece of memory and the steps, both included, at which it must be there.
struct Life {
    bytes: usize,
    first: usize,
    last: usize,
}

/// Slots start at multiples of this, so that vectors of every instruction set are aligned.
const ALIGNMENT: usize = 256;

impl MemoryPlan {
    /// Plans the nodes of `needed` (see [`Tape::needed_for`]) for `capacity` images; `outputs`
    /// are there after the pass. Values inside a launch of `lowering` have no memory.
    pub fn new(
        tape: &Tape,
        kind: PlanKind,
        capacity: usize,
        needed: &[bool],
        outputs: &[NodeId],
        lowering: &Lowering,
    ) -> MemoryPlan {
        let count = tape.nodes().len();
        let training = kind == PlanKind::Train;
        let end = if training { 2 * count } else { count };
        let back = |index: usize| 2 * count - 1 - index;
        let mut lives: Vec<Life> = Vec::new();
        let mut value_life = vec![None; count];
        let mut saved_life = vec![None; count];
        let mut gradient_life = vec![None; count];
        let gradient_flows = if training { gradient_flows(tape) } else { vec![false; count] };
        let mut workspace_bytes = 0;

        for index in (0..count).filter(|i| needed[*i]) {
            let id = NodeId(index);
            let node = tape.node(id);
            let specs = tape.input_specs(id);
            let bytes = node.op.as_ref().map(|op| op.bytes(&specs, capacity, training));
            let PassBytes { saved, workspace } = bytes.unwrap_or_default();
            workspace_bytes = workspace_bytes.max(workspace);
            if lowering.keeps(index) {
                // Inputs are fed before the first step.
                let first = if node.op.is_some() { index } else { 0 };
                let kept = matches!(kind, PlanKind::Golden | PlanKind::Replay);
                let last = if kept { end } else { index };
                let bytes = node.spec.maps(capacity) * node.spec.image_bytes();
                value_life[index] = begin(&mut lives, Life { bytes, first, last });
            }
            for input in &node.inputs {
                extend(&mut lives, value_life[input.0], lowering.runs_at(index));
            }
            if training {
                let life = Life { bytes: saved, first: index, last: back(index) };
                saved_life[index] = begin(&mut lives, life);
            }
            if gradient_flows[index] {
                let needs = tape.needs(id);
                if needs.output {
                    extend(&mut lives, value_life[index], back(index));
                }
                for (input, _) in node.inputs.iter().zip(needs.inputs).filter(|(_, needed)| *needed)
                {
                    extend(&mut lives, value_life[input.0], back(index));
                }
            }
        }
        for output in outputs {
            extend(&mut lives, value_life[output.0], end);
        }
        // A gradient is born at the backward step of its value's last reader.
        for index in (0..count).filter(|i| needed[*i] && gradient_flows[*i]) {
            let (id, spec) = (NodeId(index), tape.nodes()[index].spec);
            let reader =
                (0..count).rev().find(|r| needed[*r] && tape.nodes()[*r].inputs.contains(&id));
            // The end of the chain (the loss) gets its gradient before backward begins.
            let first = reader.map_or(count, back);
            let bytes = spec.maps(capacity) * spec.image_bytes();
            gradient_life[index] = begin(&mut lives, Life { bytes, first, last: back(index) });
        }
        let workspace = begin(&mut lives, Life { bytes: workspace_bytes, first: 0, last: end });

        let (slots, bytes) = assign(&lives);
        let slot = |life: &Option<usize>| life.map_or(Slot::default(), |l| slots[l]);
        MemoryPlan {
            kind,
            values: value_life.iter().map(slot).collect(),
            saved: saved_life.iter().map(slot).collect(),
            gradients: gradient_life.iter().map(slot).collect(),
            workspace: slot(&workspace),
            survives: value_life.iter().map(|l| l.is_some_and(|l| lives[l].last >= end)).collect(),
            bytes,
            largest_live_set: largest_live_set(&lives, end),
        }
    }
}

/// Whether the gradient of each node's value is needed for that of anything trained.
fn gradient_flows(tape: &Tape) -> Vec<bool> {
    let mut flows: Vec<bool> = Vec::with_capacity(tape.nodes().len());
    for node in tape.nodes() {
        let trained = |id: &ParamId| tape.params()[id.0].is_trained();
        let flows_here = node.wants_gradient
            || node.params.iter().any(trained)
            || node.inputs.iter().any(|input| flows[input.0]);
        flows.push(flows_here);
    }
    flows
}

fn begin(lives: &mut Vec<Life>, life: Life) -> Option<usize> {
    lives.push(life);
    Some(lives.len() - 1)
}

fn extend(lives: &mut [Life], life: Option<usize>, step: usize) {
    if let Some(life) = life {
        lives[life].last = lives[life].last.max(step);
    }
}

fn largest_live_set(lives: &[Life], end: usize) -> usize {
    (0..=end)
        .map(|step| {
            lives.iter().filter(|l| l.first <= step && step <= l.last).map(|l| l.bytes).sum()
        })
        .max()
        .unwrap_or(0)
}

/// Largest first, each at the lowest offset that is free for all of its life.
fn assign(lives: &[Life]) -> (Vec<Slot>, usize) {
    let mut order: Vec<usize> = (0..lives.len()).collect();
    order.sort_by_key(|i| (std::cmp::Reverse(lives[*i].bytes), lives[*i].first));
    let mut slots = vec![Slot::default(); lives.len()];
    let mut placed: Vec<usize> = Vec::new(); // by offset
    let mut total = 0;
    for index in order {
        let life = &lives[index];
        if life.bytes == 0 {
            continue;
        }
        let mut offset = 0;
        for other in &placed {
            let overlaps = lives[*other].first <= life.last && life.first <= lives[*other].last;
            let slot = slots[*other];
            if overlaps && offset + life.bytes > slot.offset {
                offset = offset.max((slot.offset + slot.bytes).next_multiple_of(ALIGNMENT));
            }
        }
        slots[index] = Slot { offset, bytes: life.bytes };
        let position = placed.partition_point(|other| slots[*other].offset < offset);
        placed.insert(position, index);
        total = total.max(offset + life.bytes);
    }
    (slots, total)
}
