//! The fault table: which element of which image is hit, in the form that a kernel reads.
//!
//! Layout, in bytes, little-endian: `count` (u32), `images` (u32), `images + 1` offsets (u32;
//! image i owns the entries offsets\[i\]..offsets\[i + 1\]), zeros up to a multiple of 32, then
//! `count` entries of 32 bytes, sorted by (image, element). `kernels/fault/fault.cuh` reads the same.

use bytemuck::{Pod, Zeroable};

use super::{Site, SiteClass, SiteSpace};
use crate::number::BitMasks;
use crate::tensor::{Map, Region};
use crate::{Error, Result};

/// One fault, as it lies in device memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct FaultEntry {
    /// Index within one image, in PyTorch's order (channel, row, column): of the output for most
    /// sites, of the input for `input`. For `scores` and `probabilities` (head · pixels + query) · keys +
    /// key: the query's pixel on the map as it is, the key's number within its part.
    pub element: u64,
    /// `accumulator`: the number of terms that were added, from 1. `operand-*` and `shared-*`: the term
    /// κ. `store-astray`: the bit of the byte offset. Else 0.
    pub k: u32,
    /// [`Site::code`].
    pub site: u16,
    unused: u16,
    /// This mask and the two below are those of the word that holds the value.
    pub and_mask: u32,
    pub or_mask: u32,
    pub xor_mask: u32,
    unused_end: u32,
}

impl FaultEntry {
    /// A fault at the site `output`, at `element` (PyTorch's order) of an image.
    pub fn output(element: usize, masks: BitMasks) -> Self {
        FaultEntry::at(Site::Output, element as u64, 0, masks)
    }

    /// A fault at any site, by the masks of the word that holds its value; `store-lost`, which makes it +0, takes none.
    pub fn at(site: Site, element: u64, k: u32, masks: BitMasks) -> Self {
        let masks = if site == Site::StoreLost { BitMasks::set(0) } else { masks };
        FaultEntry {
            element,
            k,
            site: site.code(),
            unused: 0,
            and_mask: masks.and,
            or_mask: masks.or,
            xor_mask: masks.xor,
            unused_end: 0,
        }
    }

    /// Where it sits.
    pub fn site(&self) -> Option<Site> {
        Site::of_code(self.site)
    }

    /// Where a misdirected store lands within an image of `map`, as an element: bit k of the byte
    /// offset in memory (channels-last) is wrong. `None` outside the image's output.
    pub fn lands_at(&self, map: Map) -> Option<usize> {
        let from = map.memory_index(self.element as usize);
        let to = ((4 * from as u64) ^ 1u64.checked_shl(self.k)?) / 4;
        let to = usize::try_from(to).ok().filter(|to| *to < map.elements())?;
        Some(map.element_at(to))
    }

    /// Refuses a place that `layer` doesn't have; `space` says how many each site has.
    fn require_within(
        &self,
        layer: &str,
        space: &impl Fn(Site) -> Option<SiteSpace>,
    ) -> Result<()> {
        let named = self.site().and_then(|site| space(site).map(|space| (site, space)));
        let Some((site, SiteSpace { elements, k: [first, end] })) = named else {
            let site = self.site().map_or("of an unknown code", Site::name);
            return Err(Error::usage(format!("layer '{layer}' has no fault site {site}")));
        };
        let (element, k, site) = (self.element, self.k, site.name());
        if element >= elements {
            return Err(Error::usage(format!(
                "fault in layer '{layer}' lies at element {element} of {elements} of the site {site}"
            )));
        }
        if k < first || k >= end {
            let last = end.saturating_sub(1);
            return Err(Error::usage(format!(
                "fault in layer '{layer}' has k = {k}; the site {site} takes {first} to {last}"
            )));
        }
        Ok(())
    }

    /// Whether the end of a kernel handles it.
    fn is_epilogue(&self) -> bool {
        self.site().is_some_and(|site| site.class() == SiteClass::Epilogue)
    }

    /// The same place with other masks.
    pub fn with(self, masks: BitMasks) -> Self {
        FaultEntry { and_mask: masks.and, or_mask: masks.or, xor_mask: masks.xor, ..self }
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
    /// The table of `faults` (image of the batch, entry) of outputs for a batch of `images`.
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
        let space = SiteSpace { elements: map.elements() as u64, k: [0, 1] };
        let of_site = |site: Site| (site.class() == SiteClass::Epilogue).then_some(space);
        FaultTable::of_sites(layer, images, of_site, faults)
    }

    /// The table of `faults` (image of the batch, entry) for a batch of `images`; `space` says how
    /// many places each site has in the layer ([`crate::ops::Sites::space`]).
    ///
    /// # Errors
    /// [`Error::Usage`] for an image outside the batch, a place outside the site's, a site that the
    /// layer doesn't have; `layer` names the layer in the message.
    pub fn of_sites(
        layer: &str,
        images: usize,
        space: impl Fn(Site) -> Option<SiteSpace>,
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
            entry.require_within(layer, &space)?;
            offsets[image + 1] += 1;
        }
        for image in 0..images {
            offsets[image + 1] += offsets[image];
        }
        Ok(FaultTable { images, offsets, entries: sorted.into_iter().map(|(_, e)| e).collect() })
    }

    /// Refuses faults that lie elsewhere than in a layer of this `space` (as in [`FaultTable::of_sites`]).
    ///
    /// # Errors
    /// As there.
    pub fn require_within(
        &self,
        layer: &str,
        space: impl Fn(Site) -> Option<SiteSpace>,
    ) -> Result<()> {
        self.entries.iter().try_for_each(|entry| entry.require_within(layer, &space))
    }

    /// Faults in all.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no fault.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the inner loop of a kernel has to look for faults.
    pub fn has_inner(&self) -> bool {
        self.inner_site().is_some()
    }

    /// A site in the inner loop of a kernel, if there is a fault at one.
    pub fn inner_site(&self) -> Option<Site> {
        self.sites().find(|site| site.class() == SiteClass::Inner)
    }

    /// Whether every fault is of one class.
    pub fn is_only(&self, class: SiteClass) -> bool {
        self.sites().all(|site| site.class() == class)
    }

    /// Faults at a site.
    pub fn count(&self, site: Site) -> usize {
        self.sites().filter(|of_entry| *of_entry == site).count()
    }

    fn sites(&self) -> impl Iterator<Item = Site> {
        self.entries.iter().filter_map(FaultEntry::site)
    }

    /// The faults of one image, for a batch of that image alone.
    pub fn alone(&self, image: usize) -> FaultTable {
        let entries = self.of_image(image).to_vec();
        FaultTable { images: 1, offsets: vec![0, entries.len() as u32], entries }
    }

    /// Images that it is for.
    pub fn images(&self) -> usize {
        self.images
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
    /// of an image of `map`: what a kernel's epilogue does. Faults at other sites are ignored.
    pub fn hit(&self, map: Map, image: usize, pixel: usize, channel: usize, values: &mut [f32]) {
        let faults = self.of_image(image);
        let first = pixel * map.channels + channel;
        let hit = |entry: &FaultEntry, value: &mut f32| {
            *value = f32::from_bits(entry.masks().apply(value.to_bits()));
        };
        if faults.len() <= values.len() {
            for entry in faults.iter().filter(|entry| entry.is_epilogue()) {
                let place = map.memory_index(entry.element as usize).checked_sub(first);
                if let Some(value) = place.and_then(|place| values.get_mut(place)) {
                    hit(entry, value);
                }
            }
            return;
        }
        for (place, value) in values.iter_mut().enumerate() {
            let element = map.element_at(first + place) as u64;
            let from = faults.partition_point(|entry| entry.element < element);
            faults[from..]
                .iter()
                .take_while(|entry| entry.element == element)
                .filter(|entry| entry.is_epilogue())
                .for_each(|entry| hit(entry, value));
        }
    }

    /// The smallest box of `map` that holds the outputs that the faults of `image` hit, and those where
    /// misdirected stores land; empty where there is none.
    pub fn hull(&self, image: usize, map: Map) -> Region {
        let of_element = |element: usize| {
            let [channel, row, column] = map.locate(element);
            Region::element(image, row, column, channel)
        };
        let mut hull = Region::EMPTY;
        for entry in self.of_image(image) {
            let is_astray = entry.site() == Some(Site::StoreAstray);
            if entry.is_epilogue() || is_astray {
                hull = hull.hull(of_element(entry.element as usize));
            }
            if let Some(to) = entry.lands_at(map).filter(|_| is_astray) {
                hull = hull.hull(of_element(to));
            }
        }
        hull
    }
}
