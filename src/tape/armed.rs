//! What is armed on an execution: faults in kernels, in memory, and in parameters as single images see
//! them.

use std::collections::{BTreeMap, BTreeSet};

use super::faults::weight_entry;
use super::{Execution, Node, NodeId, ParamId, PlanKind, Weights};
use crate::device::{Buffer, Device};
use crate::fault::{FaultSpec, FaultTable, Site, SiteClass};
use crate::number::{BitMasks, Format};
use crate::ops::Role;
use crate::ops::memory_fault::{self, MemoryFaults, Pass};
use crate::ops::words::{WordFault, WordFaults};
use crate::tensor::{Span, Tensor};
use crate::{Error, Result};

/// Faults of one node, on the host and on the device.
pub(super) struct NodeFaults {
    pub table: FaultTable,
    memory: FaultMemory,
}

/// What a node's faults take up on the device.
pub(super) struct FaultMemory {
    /// The table's bytes; nothing on the CPU.
    table: Buffer,
    /// What inputs were before they were hit, an f32 a fault.
    saved: Buffer,
}

impl NodeFaults {
    /// Puts a table into memory that is kept from an earlier one, or into new memory with room for `room`
    /// faults at least.
    pub fn new(
        device: &Device,
        table: FaultTable,
        kept: Option<FaultMemory>,
        room: usize,
    ) -> Result<NodeFaults> {
        // Only faults in inputs have values saved, but at the number of the entry among all of the table.
        let has_inputs = table.count(Site::Input) > 0;
        let saved_bytes = |room: usize| if has_inputs { 4 * table.len().max(room) } else { 0 };
        if device.is_cpu() {
            if let Some(site) = table.inner_site() {
                return Err(device.unsupported(format!(
                    "the fault site {}, which is inside kernels (say --device cuda or emulated),",
                    site.name()
                )));
            }
            let (table_memory, saved) = (device.alloc(0)?, device.alloc(saved_bytes(0))?);
            return Ok(NodeFaults { table, memory: FaultMemory { table: table_memory, saved } });
        }
        let bytes = table.to_bytes();
        let holds = |memory: &FaultMemory| {
            memory.table.bytes() >= bytes.len() && memory.saved.bytes() >= saved_bytes(0)
        };
        let mut memory = match kept.filter(holds) {
            Some(memory) => memory,
            None => FaultMemory {
                table: device.alloc(bytes.len().max(FaultTable::byte_len(room, room)))?,
                saved: device.alloc(saved_bytes(room))?,
            },
        };
        memory.table.write(0, &bytes)?;
        Ok(NodeFaults { table, memory })
    }

    /// Its memory, for faults to come.
    pub fn into_memory(self) -> FaultMemory {
        self.memory
    }

    /// Where kernels read the table; nothing lies there on the CPU.
    pub fn address(&self) -> u64 {
        self.memory.table.address()
    }

    /// What of it a captured launch holds; the rest is read from memory.
    pub fn frozen(&self) -> FrozenFaults {
        FrozenFaults {
            addresses: [self.memory.table.address(), self.memory.saved.address()],
            images: self.table.images(),
            launches: [
                self.has_kernel_faults(),
                self.table.has_inner(),
                self.has(Site::Input),
                self.has(Site::StoreAstray),
            ],
        }
    }

    /// Whether a kernel, or the CPU's native code, has something to look for. An empty table is looked
    /// through like any other.
    pub fn has_kernel_faults(&self) -> bool {
        self.table.is_empty() || !self.table.is_only(SiteClass::Memory)
    }

    fn has(&self, site: Site) -> bool {
        self.table.count(site) > 0
    }

    /// For passes over memory.
    pub fn in_memory(&self) -> MemoryFaults<'_> {
        MemoryFaults {
            table: &self.table,
            address: self.address(),
            saved: self.memory.saved.address(),
        }
    }
}

/// What launches of an armed node hold of its faults: addresses, sizes, and which kernels they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrozenFaults {
    addresses: [u64; 2],
    images: usize,
    launches: [bool; 4],
}

/// A hit of an entry of a parameter, as one image sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParamHit {
    pub param: ParamId,
    /// Of the batch.
    pub image: usize,
    /// In PyTorch's order.
    pub index: usize,
    pub masks: BitMasks,
}

/// A parameter as one image sees it: a copy with faults.
struct Patch {
    param: ParamId,
    image: usize,
    values: Buffer,
}

/// A parameter, an image, and where the copy lies that the image sees.
pub(super) type PatchAddress = (ParamId, usize, u64);

/// The most bytes of fault-free copies that are kept for later faults.
const IDLE_PATCH_BYTES: usize = 1 << 30;

/// Everything that is armed.
#[derive(Default)]
pub(super) struct Armed {
    nodes: BTreeMap<usize, NodeFaults>,
    /// By node: of faults that were taken away.
    idle_memory: BTreeMap<usize, FaultMemory>,
    /// Parameters as single images see them.
    patches: Vec<Patch>,
    /// Copies without faults, each of the image that saw it last.
    idle_patches: Vec<Patch>,
    /// What hit the copies, in the order of the calls.
    hits: Vec<WordFaults>,
    /// Of hits that were taken back.
    idle_hits: Vec<Buffer>,
}

impl Armed {
    /// The faults of a node.
    pub fn node(&self, id: NodeId) -> Option<&NodeFaults> {
        self.nodes.get(&id.0)
    }

    /// The armed nodes, in order.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = (usize, &NodeFaults)> {
        self.nodes.iter().map(|(index, faults)| (*index, faults))
    }

    /// Whether an image sees parameters of its own.
    pub fn has_patches(&self) -> bool {
        !self.patches.is_empty()
    }

    /// What a captured launch holds of parameters that images see, in order.
    pub fn frozen_patches(&self) -> Vec<PatchAddress> {
        let address = |patch: &Patch| (patch.param, patch.image, patch.values.address());
        let mut patches: Vec<PatchAddress> = self.patches.iter().map(address).collect();
        patches.sort_unstable();
        patches
    }

    /// Gives an image back the copy of a parameter that it had before it was disarmed, if that is still there.
    fn see_again(&mut self, param: ParamId, image: usize) {
        let is_it = |patch: &Patch| (patch.param, patch.image) == (param, image);
        let idle = self.idle_patches.iter().position(is_it);
        if let Some(idle) = idle.filter(|_| !self.patches.iter().any(is_it)) {
            self.patches.push(self.idle_patches.swap_remove(idle));
        }
    }

    /// Where the copy lies that an image sees of a parameter: its own, an idle one, or a new one of `whole`.
    fn patch(
        &mut self,
        device: &Device,
        (param, image): (ParamId, usize),
        whole: Tensor,
    ) -> Result<u64> {
        let Armed { patches, idle_patches, .. } = self;
        if let Some(own) = patches.iter().find(|p| (p.param, p.image) == (param, image)) {
            return Ok(own.values.address());
        }
        let patch = match idle_patches.iter().position(|idle| idle.param == param) {
            Some(idle) => Patch { image, ..idle_patches.swap_remove(idle) },
            None => {
                let bytes = 4 * whole.map().elements();
                let values = device.alloc(bytes)?;
                // SAFETY: two allocations of this device, of the parameter's size.
                unsafe { device.copy(whole.address, values.address(), bytes)? };
                Patch { param, image, values }
            }
        };
        let address = patch.values.address();
        patches.push(patch);
        Ok(address)
    }
}

impl Execution {
    /// Arms a node with faults for the passes to come; its kernel's armed symbol is launched. The node
    /// keeps the table's memory, so that arming it again moves bytes and no more.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a site inside kernels on the CPU, whose native code has none;
    /// [`Error::Usage`] for places that the node doesn't have, and for a site in memory where the plan doesn't keep the
    /// value that is hit; [`Error::Shape`] for more images than the capacity.
    pub fn arm(&mut self, id: NodeId, table: FaultTable) -> Result<()> {
        let (node, sites) = (self.tape.node(id), self.tape.sites(id));
        table.require_within(&node.name, |site| sites.space(site))?;
        let hit = node.inputs.first().filter(|_| table.count(Site::Input) > 0);
        let hit = hit.map(|input| self.tape.node(*input).spec);
        let maps = [Some(node.spec), hit].into_iter().flatten().map(|of| of.maps(self.capacity()));
        if maps.min().is_some_and(|maps| table.images() > maps) {
            let detail = format!("a table of {} images doesn't fit the batch", table.images());
            return Err(Error::shape(&node.name, detail));
        }
        let (inputs, astray) = (table.count(Site::Input), table.count(Site::StoreAstray));
        // By other plans the input's memory may hold another value by the time that the fault is undone.
        let is_kept = match self.plan().kind {
            PlanKind::Golden => true,
            PlanKind::Train => inputs == 0 || self.plan().survives[self.tape.node(id).inputs[0].0],
            PlanKind::Infer | PlanKind::Replay => false,
        };
        if inputs + astray > 0 && !is_kept {
            return Err(Error::usage("faults in memory need a plan that keeps every value"));
        }
        let Armed { nodes, idle_memory, .. } = &mut self.armed;
        let kept = nodes.remove(&id.0).map(|faults| faults.memory);
        let kept = kept.or_else(|| idle_memory.remove(&id.0));
        let faults = NodeFaults::new(&self.device, table, kept, self.capacity())?;
        self.armed.nodes.insert(id.0, faults);
        Ok(())
    }

    /// Hits an entry of a parameter or buffer as one image sees it, in its whole inference.
    ///
    /// # Errors
    /// [`Error::Usage`] for a parameter that isn't there or isn't of floats, an index outside of it, or
    /// an image outside the batch; in a batch of several, for a parameter of a value that all images share.
    pub fn arm_weight(&mut self, weights: &Weights, fault: &FaultSpec) -> Result<()> {
        let (id, index) = weight_entry(&self.tape, fault)?;
        let masks = fault.masks(&self.tape.params()[id.0].name, index as u64, Format::F32)?;
        self.arm_parameters(weights, &[ParamHit { param: id, image: fault.image, index, masks }])
    }

    /// As [`Execution::arm_weight`], for all of `hits`; those of one entry are applied in order. On devices with
    /// kernels they are queued together, without waiting for them. If one is refused, none is applied.
    ///
    /// # Errors
    /// As there.
    pub fn arm_parameters(&mut self, weights: &Weights, hits: &[ParamHit]) -> Result<()> {
        weights.require_for(&self.tape, &self.device)?;
        hits.iter().try_for_each(|hit| self.check_hit(hit))?;
        if hits.is_empty() {
            return Ok(());
        }
        // Images get the copies back that they had before others take what is left: addresses stay the same, so that
        // captured graphs can be replayed.
        hits.iter().for_each(|hit| self.armed.see_again(hit.param, hit.image));
        let mut words = Vec::with_capacity(hits.len());
        for ParamHit { param: id, image, index, masks } in hits {
            let whole = weights.tensor(*id);
            let address = self.armed.patch(&self.device, (*id, *image), whole)?;
            let spec = &self.tape.params()[id.0].spec;
            let at = spec.layout.stored_index(&spec.shape, *index);
            words.push(WordFault::new(address + 4 * at as u64, *masks));
        }
        let faults = WordFaults::new(&self.device, words, self.armed.idle_hits.pop())?;
        // SAFETY: words of copies that are this execution's, which lives until all that it queued has happened.
        unsafe { faults.hit()? };
        self.armed.hits.push(faults);
        Ok(())
    }

    /// Refuses a hit of what isn't there, or can't be one image's.
    fn check_hit(&self, hit: &ParamHit) -> Result<()> {
        let ParamHit { param: id, image, index, .. } = *hit;
        let param = &self.tape.params()[id.0];
        if matches!(param.spec.role, Role::Counter | Role::Index) {
            let detail = format!("'{}' holds whole numbers: faults hit f32 only", param.name);
            return Err(Error::usage(detail));
        }
        if index >= param.spec.elements() {
            return Err(Error::usage(format!(
                "fault lies outside '{}': index {index}, but its shape is {:?}",
                param.name, param.spec.shape
            )));
        }
        if image >= self.images() {
            return Err(Error::usage(format!(
                "fault in '{}' names image {image}, but the batch has {}",
                param.name,
                self.images()
            )));
        }
        let reads = |node: &&Node| node.spec.shared && node.params.contains(&id);
        let shared = self.tape.nodes().iter().find(reads);
        if let Some(node) = shared.filter(|_| self.images() > 1) {
            return Err(Error::usage(format!(
                "'{}' makes '{}', one value for all images: a fault that one image sees needs a batch of \
                 that image alone",
                param.name, node.name
            )));
        }
        Ok(())
    }

    /// Takes all faults away.
    pub fn disarm(&mut self) {
        let Armed { nodes, idle_memory, patches, idle_patches, hits, idle_hits } = &mut self.armed;
        let nodes = std::mem::take(nodes).into_iter();
        idle_memory.extend(nodes.map(|(index, faults)| (index, faults.memory)));
        // SAFETY: each was hit, and its copy is still there.
        let mut undone = hits.iter().rev().map(|faults| unsafe { faults.undo() });
        // Copies that can't be restored aren't used again.
        if !(self.options.keep_patches && undone.all(|undone| undone.is_ok())) {
            patches.clear();
        }
        idle_hits.extend(hits.drain(..).map(WordFaults::into_memory));
        idle_patches.append(patches);
        let bytes = |patches: &[Patch]| patches.iter().map(|p| p.values.bytes()).sum::<usize>();
        while bytes(idle_patches) > IDLE_PATCH_BYTES {
            idle_patches.remove(0);
        }
    }

    /// The value that faults of the site `input` of a node hit.
    pub(super) fn hit_input(&self, id: NodeId) -> Option<NodeId> {
        self.armed.node(id).filter(|faults| faults.has(Site::Input))?;
        Some(self.tape.node(id).inputs[0])
    }

    /// Hits the faults of the site `input` in what a node reads, or takes them back.
    pub(super) fn fault_input(&self, id: NodeId, pass: Pass) -> Result<()> {
        let hit = self.armed.node(id).zip(self.hit_input(id));
        let Some((faults, input)) = hit else { return Ok(()) };
        // SAFETY: a value of this execution, which nothing else uses now.
        unsafe { memory_fault::run(&self.device, faults.in_memory(), self.value(input), pass) }
    }

    /// Applies a node's faults at the site `store-astray` to `output`, its value.
    pub(super) fn send_astray(&self, id: NodeId, output: Tensor) -> Result<()> {
        let astray = self.armed.node(id).filter(|faults| faults.has(Site::StoreAstray));
        let Some(faults) = astray else { return Ok(()) };
        // SAFETY: as above.
        unsafe { memory_fault::run(&self.device, faults.in_memory(), output, Pass::Astray) }
    }

    /// The images among `images` that see other parameters of these nodes.
    pub(super) fn patched_images(&self, nodes: &[NodeId], images: Span) -> BTreeSet<usize> {
        let reads = |patch: &&Patch| {
            nodes.iter().any(|id| self.tape.node(*id).params.contains(&patch.param))
        };
        let patched = self.armed.patches.iter().filter(reads).map(|patch| patch.image);
        patched.filter(|image| images.range().contains(image)).collect()
    }

    /// A parameter as an image sees it, or all of them.
    pub(super) fn param_for(&self, weights: &Weights, id: ParamId, alone: Option<usize>) -> Tensor {
        let tensor = weights.tensor(id);
        let of_image = |patch: &&Patch| patch.param == id && Some(patch.image) == alone;
        match self.armed.patches.iter().find(of_image) {
            Some(patch) => Tensor { address: patch.values.address(), ..tensor },
            None => tensor,
        }
    }

    /// A value: all images', or one's as a batch of one.
    pub(super) fn value_for(&self, id: NodeId, alone: Option<usize>) -> Tensor {
        let tensor = self.value(id);
        match alone {
            Some(image) if !tensor.spec.shared => Tensor {
                address: tensor.address + (image * tensor.spec.image_bytes()) as u64,
                images: 1,
                ..tensor
            },
            _ => tensor,
        }
    }

    /// The faults of one image of a node, as those of a batch of one.
    pub(super) fn faults_alone(&self, id: NodeId, image: usize) -> Result<Option<NodeFaults>> {
        let armed = self.armed.node(id).filter(|armed| armed.has_kernel_faults());
        armed
            .map(|armed| NodeFaults::new(&self.device, armed.table.alone(image), None, 0))
            .transpose()
    }
}
