//! Lowering: which nodes run together in one launch. Batch norm, addition and activation behind a
//! convolution or linear layer are done on its finished sums while they are still in cache; the
//! nodes keep their names, and the bits are those of nodes that run alone.

use super::{NodeId, Tape};
use crate::ops::{Sites, Step};

/// The launches of a pass: each runs a head and the steps behind it, and makes the value of its last
/// node; the values of the others are never in memory.
#[derive(Clone, Debug)]
pub struct Lowering {
    /// By node: the members of the launch that ends with it; empty for nodes inside a launch or that don't run.
    launches: Vec<Vec<NodeId>>,
    /// By node: the last node of its launch.
    last: Vec<usize>,
}

impl Lowering {
    /// Every node of `needed` alone.
    pub fn alone(needed: &[bool]) -> Lowering {
        let launch =
            |(index, runs): (usize, &bool)| runs.then_some(NodeId(index)).into_iter().collect();
        let launches = needed.iter().enumerate().map(launch).collect();
        Lowering { launches, last: (0..needed.len()).collect() }
    }

    /// Joins each head with the steps behind it, as long as no other node reads a value in between.
    /// `needed` are the nodes that run, `outputs` those whose values are asked for; `ordered`: steps
    /// come in the order that kernels take them in ([`Step::place`]), each at most once.
    pub fn fused(tape: &Tape, needed: &[bool], outputs: &[NodeId], ordered: bool) -> Lowering {
        let mut lowering = Lowering::alone(needed);
        let mut readers: Vec<Vec<usize>> = vec![Vec::new(); tape.nodes().len()];
        for (index, node) in tape.nodes().iter().enumerate().filter(|(i, _)| needed[*i]) {
            for input in &node.inputs {
                readers[input.0].push(index);
            }
        }
        for head in (0..tape.nodes().len()).filter(|i| needed[*i]) {
            if !matches!(tape.sites(NodeId(head)), Sites::Product { .. }) {
                continue;
            }
            let map = tape.nodes()[head].spec.map;
            let mut last = head;
            let mut before: Option<usize> = None;
            while let [reader] = readers[last][..] {
                let node = &tape.nodes()[reader];
                let place = node.op.as_ref().and_then(|op| op.step()).map(Step::place);
                let is_step = place.is_some() && !(ordered && before >= place);
                // A node that is another launch's already has more members than itself.
                let free = lowering.launches[reader].len() == 1;
                if outputs.contains(&NodeId(last)) || !is_step || !free || node.spec.map != map {
                    break;
                }
                let mut members = std::mem::take(&mut lowering.launches[last]);
                members.push(NodeId(reader));
                lowering.launches[reader] = members;
                last = reader;
                before = place;
            }
            for member in lowering.launches[last].clone() {
                lowering.last[member.0] = last;
            }
        }
        lowering
    }

    /// The members of the launch that ends with a node, its head first; none for a node inside one, or that doesn't run.
    pub fn launch(&self, index: usize) -> &[NodeId] {
        &self.launches[index]
    }

    /// When a node runs: the place of the last node of its launch.
    pub fn runs_at(&self, index: usize) -> usize {
        self.last[index]
    }

    /// Whether a node's value is in memory.
    pub fn keeps(&self, index: usize) -> bool {
        self.last[index] == index
    }
}
