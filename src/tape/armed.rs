//! What is armed on an execution: faults in kernels, in memory, and in parameters as single images see
//! them.

use super::faults::weight_entry;
use super::{Execution, Node, NodeId, ParamId, PlanKind, Weights};
use crate::device::Buffer;
use crate::fault::{FaultSpec, FaultTable, Site, SiteClass};
use crate::number::{BitMasks, Format};
use crate::ops::Role;
use crate::ops::memory_fault::{self, MemoryFaults, Pass};
use crate::tensor::{Span, Tensor};
use crate::{Error, Result};

/// Faults of one node, on the host and on the device.
pub(super) struct Armed {
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

impl Armed {
    /// Where kernels read the table; nothing lies there on the CPU.
    pub fn address(&self) -> u64 {
        self.memory.table.address()
    }

    /// What of it a captured launch holds; the rest is read from memory.
    pub fn frozen(&self) -> FrozenFaults {
        let count = |site| self.table.count(site) > 0;
        FrozenFaults {
            addresses: [self.memory.table.address(), self.memory.saved.address()],
            images: self.table.images(),
            launches: [
                self.has_kernel_faults(),
                self.table.has_inner(),
                count(Site::Input),
                count(Site::StoreAstray),
            ],
        }
    }

    /// Whether a kernel, or the CPU's native code, has something to look for. An empty table is looked
    /// through like any other.
    pub fn has_kernel_faults(&self) -> bool {
        self.table.is_empty() || !self.table.is_only(SiteClass::Memory)
    }

    fn in_memory(&self) -> MemoryFaults<'_> {
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

/// A parameter as one image sees it: a copy with faults.
pub(super) struct Patch {
    param: ParamId,
    image: usize,
    values: Buffer,
    /// Where the copy was hit, in bytes, and the bits that were there.
    hits: Vec<(usize, u32)>,
}

/// Bytes of copies without faults that are kept for faults to come.
const IDLE_PATCH_BYTES: usize = 1 << 30;

impl Execution {
    /// Arms a node with faults for the passes to come; its kernel's armed symbol is launched. The node
    /// keeps the table's memory, so that arming it again moves bytes and no more.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a site inside kernels on the CPU, whose native code has none;
    /// [`Error::Usage`] for one in memory where not every value is kept.
    pub fn arm(&mut self, id: NodeId, table: FaultTable) -> Result<()> {
        let (inputs, astray) = (table.count(Site::Input), table.count(Site::StoreAstray));
        // Elsewhere the input's memory may be another value's by the time that it is put right.
        let stays = |id: NodeId| self.plan.survives[self.tape.owner(id).0];
        let is_kept = match self.plan.kind {
            PlanKind::Golden => true,
            PlanKind::Train => inputs == 0 || stays(self.tape.node(id).inputs[0]),
            PlanKind::Infer | PlanKind::Replay => false,
        };
        if inputs + astray > 0 && !is_kept {
            return Err(Error::usage("faults in memory need a plan that keeps every value"));
        }
        let kept = self.armed.remove(&id.0).map(|armed| armed.memory);
        let kept = kept.or_else(|| self.fault_memory.remove(&id.0));
        let armed = self.armed_with(table, kept, self.capacity)?;
        self.armed.insert(id.0, armed);
        Ok(())
    }

    /// Puts a table into memory that is kept from an earlier one, or into new memory with room for `room`
    /// faults at least.
    fn armed_with(
        &self,
        table: FaultTable,
        kept: Option<FaultMemory>,
        room: usize,
    ) -> Result<Armed> {
        let inputs = table.count(Site::Input);
        // Nothing is saved for most tables.
        let saved_bytes = |room: usize| if inputs == 0 { 0 } else { 4 * inputs.max(room) };
        if self.device.is_cpu() {
            if let Some(site) = table.inner_site() {
                return Err(Error::Unsupported {
                    op: format!(
                        "the fault site {}, which is inside kernels (say --device cuda or emulated),",
                        site.name()
                    ),
                    device: "cpu".into(),
                });
            }
            let (table_memory, saved) = (self.device.alloc(0)?, self.device.alloc(saved_bytes(0))?);
            return Ok(Armed { table, memory: FaultMemory { table: table_memory, saved } });
        }
        let bytes = table.to_bytes();
        let holds = |memory: &FaultMemory| {
            memory.table.bytes() >= bytes.len() && memory.saved.bytes() >= saved_bytes(0)
        };
        let mut memory = match kept.filter(holds) {
            Some(memory) => memory,
            None => FaultMemory {
                table: self.device.alloc(bytes.len().max(FaultTable::byte_len(room, room)))?,
                saved: self.device.alloc(saved_bytes(room))?,
            },
        };
        memory.table.write(0, &bytes)?;
        Ok(Armed { table, memory })
    }

    /// Hits an entry of a parameter or buffer as one image sees it, in its whole inference.
    ///
    /// # Errors
    /// [`Error::Usage`] for a parameter that isn't there or isn't of floats, an index outside of it, or
    /// an image outside the batch; for one that all images' values follow from, beside other images.
    pub fn arm_weight(&mut self, weights: &Weights, fault: &FaultSpec) -> Result<()> {
        let (id, index) = weight_entry(&self.tape, fault)?;
        let masks = fault.masks(&self.tape.params()[id.0].name, index as u64, Format::F32)?;
        self.arm_parameter(weights, id, fault.image, index, masks)
    }

    /// As [`Execution::arm_weight`], the entry by its place: `index` in PyTorch's order.
    ///
    /// # Errors
    /// As there.
    pub fn arm_parameter(
        &mut self,
        weights: &Weights,
        id: ParamId,
        image: usize,
        index: usize,
        masks: BitMasks,
    ) -> Result<()> {
        weights.require_on(&self.device)?;
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
        let at = 4 * param.spec.layout.stored_index(&param.spec.shape, index);
        let known = self.patches.iter().position(|p| (p.param, p.image) == (id, image));
        let known = match (known, self.idle_patches.iter().position(|p| p.param == id)) {
            (Some(known), _) => known,
            (None, Some(idle)) => {
                let idle = self.idle_patches.swap_remove(idle);
                self.patches.push(Patch { image, ..idle });
                self.patches.len() - 1
            }
            (None, None) => {
                let whole = weights.tensor(id);
                let values = self.device.alloc(4 * whole.elements())?;
                // SAFETY: two allocations of this device, of the parameter's size.
                unsafe {
                    self.device.copy(whole.address, values.address(), 4 * whole.elements())?;
                }
                self.patches.push(Patch { param: id, image, values, hits: Vec::new() });
                self.patches.len() - 1
            }
        };
        let patch = &mut self.patches[known];
        let mut bits = [0u32];
        patch.values.read(at, bytemuck::cast_slice_mut(&mut bits))?;
        patch.values.write(at, bytemuck::bytes_of(&masks.apply(bits[0])))?;
        patch.hits.push((at, bits[0]));
        Ok(())
    }

    /// Takes all faults away.
    pub fn disarm(&mut self) {
        let memory = self.armed.drain().map(|(node, armed)| (node, armed.memory));
        self.fault_memory.extend(memory);
        let mut patches = std::mem::take(&mut self.patches);
        if !self.keep_patches {
            return;
        }
        let bytes = |patches: &[Patch]| patches.iter().map(|p| p.values.bytes()).sum::<usize>();
        for patch in &mut patches {
            let undone = patch
                .hits
                .drain(..)
                .rev()
                .try_for_each(|(at, bits)| patch.values.write(at, bytemuck::bytes_of(&bits)));
            // A copy that can't be put right isn't used again.
            if undone.is_err() {
                patch.hits.push((0, 0));
            }
        }
        self.idle_patches.extend(patches.into_iter().filter(|patch| patch.hits.is_empty()));
        while bytes(&self.idle_patches) > IDLE_PATCH_BYTES {
            self.idle_patches.remove(0);
        }
    }

    /// The faults of a node.
    pub(super) fn faults(&self, id: NodeId) -> Option<&FaultTable> {
        self.armed.get(&id.0).map(|armed| &armed.table)
    }

    /// The value that faults of the site `input` of a node hit.
    pub(super) fn hit_input(&self, id: NodeId) -> Option<NodeId> {
        let armed = self.armed.get(&id.0).filter(|armed| armed.table.count(Site::Input) > 0);
        armed.map(|_| self.tape.node(id).inputs[0])
    }

    /// Hits the faults of the site `input` in what a node reads, or takes them back.
    pub(super) fn fault_input(&self, id: NodeId, pass: Pass) -> Result<()> {
        let Some(armed) = self.armed.get(&id.0) else { return Ok(()) };
        if armed.table.count(Site::Input) == 0 {
            return Ok(());
        }
        let input = self.value(self.tape.node(id).inputs[0]);
        // SAFETY: a value of this execution, which nothing else uses now.
        unsafe { memory_fault::run(&self.device, armed.in_memory(), input, pass) }
    }

    /// Sends the stores of a node astray that are to go there. `output` is its value.
    pub(super) fn send_astray(&self, id: NodeId, output: Tensor) -> Result<()> {
        let Some(armed) = self.armed.get(&id.0) else { return Ok(()) };
        if armed.table.count(Site::StoreAstray) == 0 {
            return Ok(());
        }
        // SAFETY: as above.
        unsafe { memory_fault::run(&self.device, armed.in_memory(), output, Pass::Astray) }
    }

    /// The images among `images` that see other parameters of these nodes.
    pub(super) fn patched_images(&self, nodes: &[NodeId], images: Span) -> Vec<usize> {
        if self.patches.is_empty() {
            return Vec::new();
        }
        let reads = |patch: &Patch| {
            nodes.iter().any(|id| self.tape.node(*id).params.contains(&patch.param))
        };
        let patched = self.patches.iter().filter(|patch| reads(patch)).map(|patch| patch.image);
        let mut patched: Vec<usize> =
            patched.filter(|image| images.range().contains(image)).collect();
        patched.sort_unstable();
        patched.dedup();
        patched
    }

    /// A parameter as an image sees it, or all of them.
    pub(super) fn param_for(&self, weights: &Weights, id: ParamId, alone: Option<usize>) -> Tensor {
        let tensor = weights.tensor(id);
        let of_image = |patch: &&Patch| patch.param == id && Some(patch.image) == alone;
        match self.patches.iter().find(of_image) {
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
    pub(super) fn faults_alone(&self, id: NodeId, image: usize) -> Result<Option<Armed>> {
        let armed = self.armed.get(&id.0).filter(|armed| armed.has_kernel_faults());
        armed.map(|armed| self.armed_with(armed.table.alone(image), None, 0)).transpose()
    }
}
