//! Tensors as they lie in a file's bytes, decoded when they are asked for.

use std::ops::{Deref, Range};

use memmap2::Mmap;

use super::tensor::{Dtype, HostTensor, TensorData, element_count};
use crate::tensor::places;

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
    /// The element type.
    pub dtype: Dtype,
    /// The dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Elements between neighbours along each dimension; none where they follow each other row-major.
    strides: Option<Vec<isize>>,
    /// The bytes from the first element to the end of the last.
    span: Range<usize>,
    big_endian: bool,
    /// Whether the values are the negatives of what is stored.
    negated: bool,
}

impl Stored {
    /// A tensor whose elements fill `bytes` in row-major order; none when they don't.
    pub fn packed(dtype: Dtype, shape: Vec<usize>, bytes: Range<usize>) -> Option<Stored> {
        let len = element_count(&shape)?.checked_mul(dtype.size())?;
        (len == bytes.len()).then_some(Stored {
            dtype,
            shape,
            strides: None,
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
        let (reach, strides) = if count == 0 || is_row_major(shape, strides) {
            (count, None)
        } else {
            let reach = last_element(shape, strides)?.checked_add(1)?;
            (reach, Some(strides.iter().map(|stride| *stride as isize).collect()))
        };
        let start = storage.start.checked_add(offset.checked_mul(dtype.size())?)?;
        let end = start.checked_add(reach.checked_mul(dtype.size())?)?;
        // An empty tensor has no bytes, whatever the offset, which PyTorch leaves as it was.
        let span = if count == 0 { storage.start..storage.start } else { start..end };
        (span.end <= storage.end).then(|| Stored {
            dtype,
            shape: shape.to_vec(),
            strides,
            span,
            big_endian,
            negated: false,
        })
    }

    /// The same tensor, or the one of the negative values.
    pub fn negated(self, negated: bool) -> Stored {
        Stored { negated, ..self }
    }

    /// Bytes of the decoded values; none where they overflow.
    pub fn decoded_len(&self) -> Option<usize> {
        element_count(&self.shape)?.checked_mul(self.dtype.size())
    }

    /// Decodes the tensor out of `file`, contiguous and row-major.
    pub fn read(&self, file: &[u8]) -> HostTensor {
        let bytes = &file[self.span.clone()];
        let mut data = match (&self.strides, self.big_endian) {
            (None, false) => TensorData::from_bytes(self.dtype, bytes),
            (None, true) => {
                let places = 0..bytes.len() / self.dtype.size();
                TensorData::gather(self.dtype, bytes, true, places)
            }
            (Some(strides), big_endian) => {
                let places = places(&self.shape, strides, 0);
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
