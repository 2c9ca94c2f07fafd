//! An image with something around it, so that interpolation needn't look for the border.

use crate::data::Image8;

/// A pixel as four values: four go through the processor faster than three.
pub(super) type Lanes<T> = [T; 4];

/// An image with two rows and columns around it.
pub(super) struct Framed {
    stride: usize,
    pixels: Vec<Lanes<u8>>,
}

/// Rows and columns on each side.
const FRAME: usize = 2;

impl Framed {
    /// The image's border is repeated outwards. The fourth value is 0.
    pub(super) fn in_its_border(image: &Image8) -> Framed {
        let mut framed = Framed::empty(image);
        for row in image.pixels.chunks_exact(image.width * 3) {
            let lanes = |pixel: &[u8]| [pixel[0], pixel[1], pixel[2], 0];
            let is_first = framed.pixels.is_empty();
            framed.pixels.extend([lanes(row); FRAME]);
            framed.pixels.extend(row.chunks_exact(3).map(lanes));
            framed.pixels.extend([lanes(&row[row.len() - 3..]); FRAME]);
            if is_first {
                (0..FRAME).for_each(|_| framed.pixels.extend_from_within(..framed.stride));
            }
        }
        let last = framed.pixels.len() - framed.stride;
        (0..FRAME).for_each(|_| framed.pixels.extend_from_within(last..));
        framed
    }

    /// All values around are 0. The fourth value is 1 inside of the image.
    pub(super) fn in_nothing(image: &Image8) -> Framed {
        let mut framed = Framed::empty(image);
        let nothing = [[0; 4]; FRAME];
        framed.pixels.resize(framed.stride * FRAME, [0; 4]);
        for row in image.pixels.chunks_exact(image.width * 3) {
            framed.pixels.extend(nothing);
            framed.pixels.extend(row.chunks_exact(3).map(|at| [at[0], at[1], at[2], 1]));
            framed.pixels.extend(nothing);
        }
        framed.pixels.resize(framed.pixels.len() + framed.stride * FRAME, [0; 4]);
        framed
    }

    fn empty(image: &Image8) -> Framed {
        let stride = image.width + 2 * FRAME;
        Framed { stride, pixels: Vec::with_capacity(stride * (image.height + 2 * FRAME)) }
    }

    /// N pixels of a row from a column on, both counted from the image's first: from −2 to one behind the last.
    #[inline(always)]
    pub(super) fn pixels<const N: usize, T: From<u8>>(
        &self,
        row: isize,
        column: isize,
    ) -> [Lanes<T>; N] {
        let row = row.wrapping_add_unsigned(FRAME) as usize;
        let column = column.wrapping_add_unsigned(FRAME) as usize;
        let from = &self.pixels[row * self.stride + column..][..N];
        std::array::from_fn(|i| from[i].map(T::from))
    }
}
