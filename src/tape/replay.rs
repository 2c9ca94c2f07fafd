//! Replay: after a clean run that kept every value, run again only what a fault can have reached.
//!
//! Two forms with the same bits. [`Execution::replay_from`] runs whole nodes, for the whole batch,
//! on any device. [`Execution::replay_image`] runs boxes of one image in place, remembers what it
//! overwrote, and stops where the values are the golden ones again; [`Execution::restore`] brings
//! the golden values back.

use super::graph::Sweep;
use super::{Execution, NodeId, PlanKind, Weights};
use crate::ops::memory_fault::Pass;
use crate::tensor::{Region, Span, Spec};
use crate::{Error, Result};

/// What a replay overwrote, and scratch memory that replays share.
#[derive(Default)]
pub struct Undo {
    /// Node, box, and where its golden bits start in `bits`.
    saved: Vec<(NodeId, Region, usize)>,
    bits: Vec<u32>,
    /// The box of each node that differs from the golden run.
    dirty: Vec<Region>,
}

/// What a replay did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// Nodes that were run, at least in part.
    pub nodes_run: usize,
    /// Output elements that were computed.
    pub elements: u64,
    /// Whether any output of the tape differs from the golden run.
    pub reached_output: bool,
}

impl Execution {
    /// Runs again what an earlier replay left changed elsewhere, then `from` and every node that depends
    /// on it, whole. Replays in descending order of `from` run the fewest nodes.
    ///
    /// # Errors
    /// [`Error::Usage`] for a plan without golden values and for weights on another device; those of the
    /// device.
    pub fn replay_from(&mut self, weights: &Weights, from: NodeId) -> Result<()> {
        self.require_golden(weights, &[PlanKind::Golden])?;
        let dependents = self.dependents(from);
        // None of these depends on `from`, so that their inputs are golden or among them.
        let stale = self.stale.iter().enumerate().filter(|(_, is_stale)| **is_stale);
        for (index, _) in stale.filter(|(index, _)| !dependents[*index]) {
            self.run_whole(weights, NodeId(index))?;
        }
        self.stale = dependents;
        self.sweep(weights, Sweep::From(from), &mut |_| ())
    }

    /// `from` and every node that its faults can change, one flag a node.
    pub(crate) fn dependents(&self, from: NodeId) -> Vec<bool> {
        let mut changed = vec![false; self.tape.nodes().len()];
        changed[from.0] = true;
        let hit = self.hit_input(from);
        for (index, node) in self.tape.nodes().iter().enumerate().skip(from.0 + 1) {
            // Every later reader of the input sees the fault.
            let reads_hit = |input: &NodeId| Some(*input) == hit;
            changed[index] = node.inputs.iter().any(|input| changed[input.0] || reads_hit(input));
        }
        changed
    }

    /// Runs the armed node `from` over the box of `image`'s faults, and what depends on it as far
    /// as values differ from the golden ones, in place. `outputs` are the nodes that are asked about:
    /// nothing behind the last of them is run.
    ///
    /// # Errors
    /// [`Error::Unsupported`] on devices other than the CPU, whose kernels compute whole maps.
    pub fn replay_image(
        &mut self,
        weights: &Weights,
        from: NodeId,
        image: usize,
        outputs: &[NodeId],
        undo: &mut Undo,
    ) -> Result<Replay> {
        self.require_golden(weights, &[PlanKind::Golden, PlanKind::Replay])?;
        if self.stale.contains(&true) {
            return Err(Error::usage("a replay of boxes needs a clean run before it"));
        }
        if !self.device.is_cpu() {
            return Err(self.device.unsupported("replay of boxes"));
        }
        let tape = self.tape.clone();
        let map = tape.node(from).spec.map;
        let image_of = |spec: &Spec| if spec.shared { 0 } else { image };
        let faulty = image_of(&tape.node(from).spec);
        let first = self.armed.node(from);
        let first = first.map_or(Region::EMPTY, |faults| faults.table.hull(faulty, map));
        undo.saved.clear();
        undo.bits.clear();
        undo.dirty.clear();
        undo.dirty.resize(tape.nodes().len(), Region::EMPTY);
        let mut replay = Replay::default();
        let first = if self.patched_images(&[from], Span::one(faulty)).is_empty() {
            first
        } else {
            Region { images: Span::one(faulty), ..self.whole(from) }
        };
        if let Some(input) = self.hit_input(from) {
            // Every later reader of it sees the fault, too.
            let image = image_of(&tape.node(input).spec);
            let region = Region { images: Span::one(image), ..self.whole(input) };
            undo.saved.push((input, region, undo.bits.len()));
            self.copy_out(input, region, &mut undo.bits);
            self.fault_input(from, Pass::Hit)?;
            undo.dirty[input.0] = self.changed(input, region, &undo.bits);
        }
        let start = self.lowering.runs_at(from.0);
        let end = outputs.iter().map(|output| output.0 + 1).max().unwrap_or(tape.nodes().len());
        for index in start..end {
            let id = NodeId(index);
            let node = tape.node(id);
            // Nodes inside a launch are computed with its last one; others may not run at all.
            let Some(head) = self.lowering.launch(index).first() else { continue };
            if node.op.is_none() {
                continue;
            }
            let mut region = if index == start { first } else { Region::EMPTY };
            if index != start || self.hit_input(from).is_some() {
                region = region.hull(self.reached(id, &undo.dirty));
            }
            if region.is_empty() {
                continue;
            }
            // A change of a value that all images share reaches all of them; only this image is replayed.
            let region = Region { images: Span::one(image_of(&node.spec)), ..region };
            let start = undo.bits.len();
            undo.saved.push((id, region, start));
            self.copy_out(id, region, &mut undo.bits);
            self.run(weights, id, region)?;
            self.send_astray(*head, self.value(id))?;
            replay.nodes_run += 1;
            replay.elements += region.elements() as u64;
            undo.dirty[index] = self.changed(id, region, &undo.bits[start..]);
        }
        replay.reached_output = outputs.iter().any(|output| !undo.dirty[output.0].is_empty());
        Ok(replay)
    }

    /// The part of a launch's value that can differ where the values that it reads differ in the boxes of
    /// `dirty`.
    fn reached(&self, last: NodeId, dirty: &[Region]) -> Region {
        let (mut region, mut before) = (Region::EMPTY, None);
        for id in self.lowering.launch(last.0) {
            let node = self.tape.node(*id);
            let Some(op) = &node.op else { continue };
            let changed = |input: &NodeId| {
                if before == Some(*input) { region } else { dirty[input.0] }
            };
            let changed: Vec<Region> = node.inputs.iter().map(changed).collect();
            region = Region::EMPTY;
            if changed.iter().any(|input| !input.is_empty()) {
                let specs = self.tape.input_specs(*id);
                let reach = |(n, input): (usize, &Region)| op.reach(n, *input, &specs, &node.spec);
                let inputs = changed.iter().enumerate().filter(|(_, input)| !input.is_empty());
                region = inputs.map(reach).fold(region, Region::hull);
            }
            before = Some(*id);
        }
        region
    }

    /// A box of a node's golden value, at the box's own places of `values`, which is made as long as one
    /// image's value (the rest of it means nothing). What lies inside a launch is computed anew. On the CPU,
    /// with nothing armed.
    ///
    /// # Errors
    /// [`Error::Usage`] for a box that reaches out of the value or over several images, and for a plan
    /// without golden values.
    pub fn golden_box(
        &mut self,
        weights: &Weights,
        id: NodeId,
        region: Region,
        values: &mut Vec<f32>,
    ) -> Result<()> {
        self.require_golden(weights, &[PlanKind::Golden, PlanKind::Replay])?;
        let node = self.tape.node(id);
        let map = node.spec.map;
        values.resize(map.elements(), 0.0);
        if region.is_empty() {
            return Ok(());
        }
        let image = if node.spec.shared { 0 } else { region.images.start };
        let region = Region { images: Span::new(image, image + region.images.len()), ..region };
        self.require_box(id, region)?;
        if region.images.len() > 1 || !self.device.is_cpu() {
            return Err(Error::usage("golden boxes are those of one image, on the CPU"));
        }
        let last = NodeId(self.lowering.runs_at(id.0));
        // All values of a launch have one shape.
        let tensor = self.value(last);
        let mut kept = Vec::new();
        if last != id {
            self.copy_out(last, region, &mut kept);
            let launch = self.lowering.launch(last.0);
            let inside = launch.iter().take_while(|member| **member != id).count() + 1;
            self.run_members(weights, &launch[..inside], tensor, region, None)?;
        }
        // SAFETY: host memory of this execution, which nobody else holds.
        let memory: &mut [u32] = unsafe { tensor.slice_mut() };
        let (mut at, length) = (0, region.channels.len());
        region.for_each_run(map, |offset| {
            let now = &mut memory[offset..offset + length];
            let to = offset - image * map.elements();
            values[to..to + length].copy_from_slice(bytemuck::cast_slice(now));
            if last != id {
                now.copy_from_slice(&kept[at..at + length]);
                at += length;
            }
        });
        Ok(())
    }

    /// Puts the golden values back that the last [`Execution::replay_image`] overwrote.
    ///
    /// # Panics
    /// On another device than the CPU, and for what another network's replay has overwritten.
    pub fn restore(&mut self, undo: &mut Undo) {
        assert!(self.device.is_cpu(), "boxes are replayed on the CPU");
        for (id, region, start) in undo.saved.drain(..).rev() {
            let tensor = self.value(id);
            // SAFETY: host memory of this execution, which nobody else holds.
            let values: &mut [u32] = unsafe { tensor.slice_mut() };
            let (mut at, length) = (start, region.channels.len());
            region.for_each_run(tensor.map(), |offset| {
                values[offset..offset + length].copy_from_slice(&undo.bits[at..at + length]);
                at += length;
            });
        }
    }

    /// The values of one image as they are now, on a device whose memory is the host's.
    pub fn image_values(&self, id: NodeId, image: usize) -> &[f32] {
        assert!(self.device.is_cpu(), "only the CPU's memory can be looked at");
        let tensor = self.value(id);
        assert_ne!(tensor.address, 0, "a value inside a launch");
        let elements = tensor.map().elements();
        // SAFETY: host memory of this execution, borrowed with it.
        let values: &[f32] = unsafe { tensor.slice() };
        &values[image * elements..(image + 1) * elements]
    }

    fn copy_out(&self, id: NodeId, region: Region, bits: &mut Vec<u32>) {
        let tensor = self.value(id);
        // SAFETY: host memory of this execution, which nobody writes to now.
        let values: &[u32] = unsafe { tensor.slice() };
        let length = region.channels.len();
        region.for_each_run(tensor.map(), |offset| {
            bits.extend_from_slice(&values[offset..offset + length]);
        });
    }

    /// The smallest box within `region` whose bits differ from `golden`.
    fn changed(&self, id: NodeId, region: Region, golden: &[u32]) -> Region {
        let tensor = self.value(id);
        let map = tensor.map();
        // SAFETY: as above.
        let values: &[u32] = unsafe { tensor.slice() };
        let length = region.channels.len();
        let (mut at, mut changed) = (0, Region::EMPTY);
        region.for_each_run(map, |offset| {
            let now = &values[offset..offset + length];
            let before = &golden[at..at + length];
            at += length;
            if now == before {
                return;
            }
            let differs = |c: &usize| now[*c] != before[*c];
            let first = (0..length).find(differs).unwrap_or(0);
            let last = (0..length).rev().find(differs).unwrap_or(0);
            let pixel = (offset % map.elements()) / map.channels;
            let image = offset / map.elements();
            let channel = region.channels.start;
            let run = Region {
                channels: Span::new(channel + first, channel + last + 1),
                ..Region::element(image, pixel / map.width, pixel % map.width, 0)
            };
            changed = changed.hull(run);
        });
        changed
    }

    /// Refuses a replay in training mode, or by a plan that is none of `kinds`.
    fn require_golden(&self, weights: &Weights, kinds: &[PlanKind]) -> Result<()> {
        if !kinds.contains(&self.plan().kind) {
            return Err(Error::usage("replay needs a plan that keeps golden values"));
        }
        self.require_eval()?;
        weights.require_for(&self.tape, &self.device)
    }
}
