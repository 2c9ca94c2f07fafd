//! Tensors as they lie in a file's bytes, decoded when they are asked for.

use std::ops::{Deref, Range};

use memmap2::Mmap;

use super::tensor::{Dtype, HostTensor, TensorData, element_count};

/// The bytes of a file.
#[derive(Debug)]
pub(super) enum Bytes {
    Mapped(Mmap),
    InMemory(Vec<u8>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::InMemory(bytes) => bytes,
        }
    }
}

/// Where a tensor lies in a file, and of what type and shape it is. Every element is known to be
/// inside the file.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    layout: ElementOrder,
    /// The bytes from the first element to the end of the last.
    span: Range<usize>,
    big_endian: bool,
    /// Whether the values are the negatives of what is stored.
    negated: bool,
}

/// How the elements follow each other.
#[derive(Clone, Debug)]
enum ElementOrder {
    RowMajor,
    /// Elements between neighbours along each dimension.
    Strided(Vec<usize>),
}

impl Stored {
    /// A tensor whose elements fill `bytes` in row-major order; none when they don't.
    pub fn packed(dtype: Dtype, shape: Vec<usize>, bytes: Range<usize>) -> Option<Stored> {
        let len = element_count(&shape)?.checked_mul(dtype.size())?;
        let layout = ElementOrder::RowMajor;
        (len == bytes.len()).then_some(Stored {
            dtype,
            shape,
            layout,
            span: bytes,
            big_endian: false,
            negated: false,
        })
    }

    /// A tensor in the storage at `storage`, bytes of the file; `offset` and `strides` count
    /// elements. None when an element would lie outside.
    pub fn strided(
        dtype: Dtype,
        shape: &[usize],
        strides: &[usize],
        storage: Range<usize>,
        offset: usize,
        big_endian: bool,
    ) -> Option<Stored> {
        let count = element_count(shape)?;
        let (reach, layout) = if count == 0 {
            (0, ElementOrder::RowMajor)
        } else if is_row_major(shape, strides) {
            (count, ElementOrder::RowMajor)
        } else {
            (last_element(shape, strides)?.checked_add(1)?, ElementOrder::Strided(strides.to_vec()))
        };
        let start = storage.start.checked_add(offset.checked_mul(dtype.size())?)?;
        let end = start.checked_add(reach.checked_mul(dtype.size())?)?;
        // An empty tensor has no bytes, whatever the offset, which PyTorch leaves as it was.
        let span = if count == 0 { storage.start..storage.start } else { start..end };
        (span.end <= storage.end).then(|| Stored {
            dtype,
            shape: shape.to_vec(),
            layout,
            span,
            big_endian,
            negated: false,
        })
    }

    /// The same tensor, or the one of the negative values.
    pub fn negated(self, negated: bool) -> Stored {
        Stored { negated, ..self }
    }

    /// The dimensions, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The element type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Bytes of the decoded values; none where they overflow.
    pub fn decoded_len(&self) -> Option<usize> {
        element_count(&self.shape)?.checked_mul(self.dtype.size())
    }

    /// Decodes the tensor out of `file`, contiguous and row-major.
    pub fn read(&self, file: &[u8]) -> HostTensor {
        let bytes = &file[self.span.clone()];
        let mut data = match (&self.layout, self.big_endian) {
            (ElementOrder::RowMajor, false) => TensorData::from_bytes(self.dtype, bytes),
            (ElementOrder::RowMajor, true) => {
                let places = 0..bytes.len() / self.dtype.size();
                TensorData::gather(self.dtype, bytes, true, places)
            }
            (ElementOrder::Strided(strides), big_endian) => {
                let places = Places::new(&self.shape, strides);
                TensorData::gather(self.dtype, bytes, big_endian, places)
            }
        };
        if self.negated {
            data.negate();
        }
        HostTensor { shape: self.shape.clone(), data }
    }
}

fn is_row_major(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1usize;
    shape.iter().zip(strides).rev().all(|(&n, &stride)| {
        let fits = n == 1 || stride == expected;
        expected = expected.saturating_mul(n);
        fits
    })
}

/// The largest element index, from the first element, of a tensor without empty dimensions.
fn last_element(shape: &[usize], strides: &[usize]) -> Option<usize> {
    shape.iter().zip(strides).try_fold(0usize, |at, (&n, &stride)| {
        at.checked_add(n.checked_sub(1)?.checked_mul(stride)?)
    })
}

/// The places of a strided tensor's elements in row-major order.
struct Places<'a> {
    shape: &'a [usize],
    strides: &'a [usize],
    index: Vec<usize>,
    at: usize,
    left: usize,
}

impl<'a> Places<'a> {
    fn new(shape: &'a [usize], strides: &'a [usize]) -> Places<'a> {
        Places { shape, strides, index: vec![0; shape.len()], at: 0, left: shape.iter().product() }
    }
}

impl Iterator for Places<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let place = self.at;
        for d in (0..self.shape.len()).rev() {
            self.index[d] += 1;
            if self.index[d] < self.shape[d] {
                self.at += self.strides[d];
                break;
            }
            self.at -= (self.shape[d] - 1) * self.strides[d];
            self.index[d] = 0;
        }
        Some(place)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Places<'_> {}
