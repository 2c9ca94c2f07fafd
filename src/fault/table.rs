//! The fault table: which element of which image is hit, in the form that a kernel reads.
//!
//! Layout, in bytes, little-endian: `count` (u32), `images` (u32), `images + 1` offsets (u32;
//! image i owns the entries offsets\[i\]..offsets\[i + 1\]), zeros up to a multiple of 32, then
//! `count` entries of 32 bytes, sorted by (image, element). `kernels/fault.cuh` reads the same.

use bytemuck::{Pod, Zeroable};

use super::{BitMasks, Site};
use crate::tensor::{Map, Region, Span};
use crate::{Error, Result};

/// One fault, as it lies in device memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct FaultEntry {
    /// Index within one image's output, in PyTorch's order (channel, row, column).
    pub element: u64,
    /// The term after which an accumulator is hit; 0 for the site `output`.
    pub k: u32,
    /// [`Site::code`].
    pub site: u16,
    /// Number format of the value; 0 is fp32.
    pub format: u16,
    pub and_mask: u32,
    pub or_mask: u32,
    pub xor_mask: u32,
    /// What the caller calls this fault.
    pub id: u32,
}

impl FaultEntry {
    /// A fault at the site `output`, at `element` (PyTorch's order) of an image.
    pub fn output(element: usize, masks: BitMasks, id: u32) -> Self {
        FaultEntry {
            element: element as u64,
            k: 0,
            site: Site::Output.code(),
            format: 0,
            and_mask: masks.and,
            or_mask: masks.or,
            xor_mask: masks.xor,
            id,
        }
    }

    /// What it does to a value's bits.
    pub fn masks(&self) -> BitMasks {
        BitMasks { and: self.and_mask, or: self.or_mask, xor: self.xor_mask }
    }
}

/// The faults of one layer for a batch. See the module for the layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultTable {
    images: usize,
    /// `images + 1` offsets into `entries`.
    offsets: Vec<u32>,
    entries: Vec<FaultEntry>,
}

impl FaultTable {
    /// The table of `faults` (image of the batch, entry) for a batch of `images`.
    ///
    /// # Errors
    /// [`Error::Usage`] where an image or element lies outside the batch or `map`; `layer` names
    /// the layer in the message.
    pub fn new(
        layer: &str,
        images: usize,
        map: Map,
        faults: &[(usize, FaultEntry)],
    ) -> Result<Self> {
        let mut sorted: Vec<(usize, FaultEntry)> = faults.to_vec();
        sorted.sort_by_key(|(image, entry)| (*image, entry.element));
        let mut offsets = vec![0u32; images + 1];
        for (image, entry) in &sorted {
            if *image >= images {
                return Err(Error::usage(format!(
                    "fault in layer '{layer}' names image {image}, but the batch has {images}"
                )));
            }
            if entry.element >= map.elements() as u64 {
                return Err(Error::usage(format!(
                    "fault in layer '{layer}' lies at element {}, outside its output of {map}",
                    entry.element
                )));
            }
            offsets[image + 1] += 1;
        }
        for image in 0..images {
            offsets[image + 1] += offsets[image];
        }
        Ok(FaultTable { images, offsets, entries: sorted.into_iter().map(|(_, e)| e).collect() })
    }

    /// Faults in all.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no fault.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The faults of one image, sorted by element.
    pub fn of_image(&self, image: usize) -> &[FaultEntry] {
        if image >= self.images {
            return &[];
        }
        &self.entries[self.offsets[image] as usize..self.offsets[image + 1] as usize]
    }

    /// The bytes that a kernel reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::byte_len(self.images, self.entries.len()));
        bytes.extend_from_slice(&(self.entries.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&(self.images as u32).to_le_bytes());
        bytes.extend_from_slice(bytemuck::cast_slice(&self.offsets));
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend_from_slice(bytemuck::cast_slice(&self.entries));
        bytes
    }

    /// Bytes of a table of `count` faults for a batch of `images`.
    pub fn byte_len(images: usize, count: usize) -> usize {
        (4 * (images + 3)).next_multiple_of(32) + 32 * count
    }

    /// Hits the faulted elements of `output` (a batch of `map`s, channels-last) that lie inside
    /// `region`: what the native operations do where a kernel's epilogue would.
    pub fn apply(&self, output: &mut [f32], map: Map, region: Region) {
        region.for_each_run(map, |offset| {
            let (image, pixel) = (offset / map.elements(), offset % map.elements() / map.channels);
            let run = &mut output[offset..offset + region.channels.len()];
            self.hit(map, image, pixel, region.channels.start, run);
        });
    }

    /// Hits the faulted ones among `values`, which are channels `channel`.. of pixel number `pixel`
    /// of an image of `map`: what a kernel's epilogue does.
    pub fn hit(&self, map: Map, image: usize, pixel: usize, channel: usize, values: &mut [f32]) {
        let faults = self.of_image(image);
        let hit = |entry: &FaultEntry, value: &mut f32| {
            *value = f32::from_bits(entry.masks().apply(value.to_bits()));
        };
        if faults.len() <= values.len() {
            for entry in faults {
                let element = entry.element as usize;
                let place = (element / map.pixels()).checked_sub(channel);
                if element % map.pixels() == pixel
                    && let Some(value) = place.and_then(|place| values.get_mut(place))
                {
                    hit(entry, value);
                }
            }
            return;
        }
        for (place, value) in values.iter_mut().enumerate() {
            let element = ((channel + place) * map.pixels() + pixel) as u64;
            let first = faults.partition_point(|entry| entry.element < element);
            faults[first..]
                .iter()
                .take_while(|entry| entry.element == element)
                .for_each(|entry| hit(entry, value));
        }
    }

    /// The smallest box of `map` that holds the faults of `image`; empty where there is none.
    pub fn hull(&self, image: usize, map: Map) -> Region {
        let empty = Span::new(0, 0);
        let none = Region { images: empty, rows: empty, columns: empty, channels: empty };
        self.of_image(image).iter().fold(none, |hull, entry| {
            let element = entry.element as usize;
            let (channel, pixel) = (element / map.pixels(), element % map.pixels());
            hull.hull(Region::element(image, pixel / map.width, pixel % map.width, channel))
        })
    }
}
