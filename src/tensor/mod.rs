//! Shape, element type, layout and the views of device memory that operations work on.
//!
//! Every value of the tape is a batch of *maps*: N images of height × width × channels, stored
//! contiguous and channels-last (N, H, W, C). A vector is a map of 1×1. The batch is not part of
//! the shape: it is a capacity of the execution, and any n up to it runs.

mod region;

pub use region::{Region, Span};

use std::fmt;

/// The shape of one image's part of a value: height × width × channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Map {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
}

impl Map {
    /// A map of `height` × `width` × `channels`.
    pub const fn new(height: usize, width: usize, channels: usize) -> Self {
        Map { height, width, channels }
    }

    /// A vector of `channels` elements: a map of 1×1.
    pub const fn vector(channels: usize) -> Self {
        Map { height: 1, width: 1, channels }
    }

    /// Elements of one image.
    pub const fn elements(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Pixels of one image: height × width.
    pub const fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// Index of an element in memory order (row, column, channel).
    pub const fn index(&self, row: usize, column: usize, channel: usize) -> usize {
        (row * self.width + column) * self.channels + channel
    }

    /// Index of an element in PyTorch's order (channel, row, column).
    pub const fn pytorch_index(&self, channel: usize, row: usize, column: usize) -> usize {
        (channel * self.height + row) * self.width + column
    }

    /// Channel, row and column of an element of PyTorch's order: the inverse of [`Map::pytorch_index`].
    pub const fn locate(&self, element: usize) -> [usize; 3] {
        let pixel = element % self.pixels();
        [element / self.pixels(), pixel / self.width, pixel % self.width]
    }

    /// Index in memory order of an element of PyTorch's order.
    pub const fn memory_index(&self, element: usize) -> usize {
        element % self.pixels() * self.channels + element / self.pixels()
    }

    /// Index in PyTorch's order of an element of memory order: the inverse of [`Map::memory_index`].
    pub const fn element_at(&self, index: usize) -> usize {
        index % self.channels * self.pixels() + index / self.channels
    }
}

impl fmt::Display for Map {
    /// As PyTorch prints it: channels × height × width.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}×{}×{}", self.channels, self.height, self.width)
    }
}

/// How an element is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    F32,
    U32,
}

impl DType {
    /// Bytes of one element.
    pub const fn bytes(self) -> usize {
        4
    }
}

/// Shape and storage type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    pub map: Map,
    /// Whether there is one map for all images of a batch, such as a table of position biases.
    pub shared: bool,
    /// How the elements lie in memory.
    pub storage: DType,
}

impl Spec {
    /// A value of f32.
    pub const fn f32(map: Map) -> Self {
        Spec { map, shared: false, storage: DType::F32 }
    }

    /// A value of u32 (labels, say).
    pub const fn u32(map: Map) -> Self {
        Spec { map, shared: false, storage: DType::U32 }
    }

    /// The same value, one for all images.
    pub const fn shared(self) -> Self {
        Spec { shared: true, ..self }
    }

    /// Maps of a batch of `images`.
    pub const fn maps(&self, images: usize) -> usize {
        if self.shared { 1 } else { images }
    }

    /// Bytes of one image.
    pub const fn image_bytes(&self) -> usize {
        self.map.elements() * self.storage.bytes()
    }
}

/// A view of device memory: `images` maps of `spec`, contiguous from `address` on. It owns
/// nothing; whoever hands it out vouches for the memory behind it.
#[derive(Clone, Copy, Debug)]
pub struct Tensor {
    pub address: u64,
    pub spec: Spec,
    /// How many images the memory holds (the capacity, not what is valid).
    pub images: usize,
}

impl Tensor {
    /// The map of one image.
    pub fn map(&self) -> Map {
        self.spec.map
    }

    /// Elements of all images.
    pub fn elements(&self) -> usize {
        self.images * self.spec.map.elements()
    }

    /// The elements as a slice.
    ///
    /// # Safety
    /// At the address, which is aligned for `T`, lie [`Tensor::elements`] initialised `T`s (4 bytes each) of the host's
    /// memory, alive for `'a`, and nobody writes to them meanwhile.
    pub unsafe fn slice<'a, T: bytemuck::Pod>(&self) -> &'a [T] {
        debug_assert_eq!(size_of::<T>(), self.spec.storage.bytes());
        if self.elements() == 0 {
            return &[]; // which may have no address
        }
        // SAFETY: the caller's.
        unsafe { std::slice::from_raw_parts(self.address as *const T, self.elements()) }
    }

    /// The elements as a mutable slice.
    ///
    /// # Safety
    /// As [`Tensor::slice`], and nobody else reads the memory meanwhile.
    pub unsafe fn slice_mut<'a, T: bytemuck::Pod>(&self) -> &'a mut [T] {
        debug_assert_eq!(size_of::<T>(), self.spec.storage.bytes());
        if self.elements() == 0 {
            return &mut [];
        }
        // SAFETY: the caller's.
        unsafe { std::slice::from_raw_parts_mut(self.address as *mut T, self.elements()) }
    }
}

/// Where the elements of a strided tensor lie, row-major: `dims` with a distance in memory between neighbours each, from
/// `start` on. Along a dimension of 1 the distance may be any.
pub(crate) fn places(
    dims: &[usize],
    strides: &[isize],
    start: usize,
) -> impl ExactSizeIterator<Item = usize> {
    let mut index = vec![0; dims.len()];
    let mut next = start;
    (0..dims.iter().product::<usize>()).map(move |_| {
        let place = next;
        for dim in (0..dims.len()).rev() {
            index[dim] += 1;
            next = next.wrapping_add_signed(strides[dim]);
            if index[dim] < dims[dim] {
                break;
            }
            next = next.wrapping_sub(dims[dim].wrapping_mul(strides[dim] as usize));
            index[dim] = 0;
        }
        place
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_walked_by_any_strides() {
        let (dims, strides) = ([2, 1, 3], [1, isize::MIN, -2]);
        assert!(places(&dims, &strides, 4).eq([4, 2, 0, 5, 3, 1]));
        assert_eq!((places(&[], &[], 7).len(), places(&[3, 0], &[9, 9], 0).len()), (1, 0));
    }

    #[test]
    fn elements_are_found_in_both_orders() {
        let map = Map::new(3, 5, 4);
        for element in 0..map.elements() {
            let [channel, row, column] = map.locate(element);
            assert_eq!(map.pytorch_index(channel, row, column), element);
            let index = map.index(row, column, channel);
            assert_eq!((map.memory_index(element), map.element_at(index)), (index, element));
        }
    }
}
