//! Moves elements: transposes, slices, repeats, mirrors, concatenates, pads. What is moved, and where to, is
//! given by pieces, which are strided blocks.

mod cpu;
mod cuda;

use super::{Cost, Op, passes};
use crate::tensor::{Map, Region, Spec};
use crate::{Error, Result};

/// Most steps of a piece; kernels have room for so many.
pub const MOST_STEPS: usize = 8;

/// One dimension of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoveStep {
    /// How many there are.
    pub size: usize,
    /// How far apart they lie in what is read; 0 where one is repeated.
    pub from: isize,
    /// How far apart they lie in the output.
    pub to: usize,
}

/// A part of the output and where it comes from. Places count elements of one image, in the order of
/// memory: rows, columns, channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Number of the input.
    pub input: usize,
    /// The first place read.
    pub from: usize,
    /// The first place written.
    pub to: usize,
    /// The outermost first.
    pub steps: Vec<MoveStep>,
}

impl Piece {
    /// Elements of the output.
    fn elements(&self) -> usize {
        self.steps.iter().map(|step| step.size).product()
    }

    /// The last place, and the first, that are read.
    fn reads(&self) -> Option<[usize; 2]> {
        let reach = |sign: isize| {
            let steps = self.steps.iter().filter(|step| step.from.signum() == sign);
            let sum: isize = steps.map(|step| (step.size as isize - 1) * step.from).sum();
            self.from.checked_add_signed(sum)
        };
        Some([reach(1)?, reach(-1)?])
    }

    /// The last place that is written.
    fn last_written(&self) -> usize {
        self.to + self.steps.iter().map(|step| (step.size - 1) * step.to).sum::<usize>()
    }

    /// Runs `each` for the places of every element, (read, written), in order.
    fn for_each(&self, mut each: impl FnMut(usize, usize)) {
        for_each_place(&self.steps, self.from, self.to, &mut each);
    }
}

/// Runs `each` for the places of every element of `steps`, in order.
pub(super) fn for_each_place(
    steps: &[MoveStep],
    from: usize,
    to: usize,
    each: &mut impl FnMut(usize, usize),
) {
    let Some((step, inner)) = steps.split_first() else { return each(from, to) };
    for at in 0..step.size {
        let from = from.wrapping_add_signed(at as isize * step.from);
        for_each_place(inner, from, to + at * step.to, each);
    }
}

/// A map of elements of its inputs. Inputs may be one for all images.
#[derive(Clone, Debug, PartialEq)]
pub struct Rearrange {
    map: Map,
    pieces: Vec<Piece>,
    /// What stands where no piece writes.
    fill: f32,
    /// Whether pieces write everywhere.
    covers: bool,
}

impl Rearrange {
    /// The output map, made of `pieces`; `fill` stands where none writes.
    ///
    /// # Errors
    /// [`Error::Shape`] for pieces that write beyond the map or twice to one place, or have more than
    /// [`MOST_STEPS`] steps.
    pub fn new(map: Map, pieces: Vec<Piece>, fill: f32) -> Result<Rearrange> {
        let wrong = |detail: String| Err(Error::shape("rearrange", detail));
        let mut written = vec![false; map.elements()];
        for piece in &pieces {
            let sizes = piece.steps.iter().map(|step| step.size);
            if piece.steps.len() > MOST_STEPS || sizes.into_iter().any(|size| size == 0) {
                return wrong(format!("a piece of {} steps can't be moved", piece.steps.len()));
            }
            if piece.last_written() >= written.len() {
                return wrong(format!("writes beyond its map of {map}"));
            }
            let mut twice = false;
            piece.for_each(|_, to| twice |= std::mem::replace(&mut written[to], true));
            if twice {
                return wrong(format!("writes twice to one place of {map}"));
            }
        }
        let covers = written.into_iter().all(|written| written);
        Ok(Rearrange { map, pieces, fill, covers })
    }

    /// Whether every element stays in its pixel, in maps of the same pixels.
    fn keeps_pixels(&self, inputs: &[Spec]) -> bool {
        let to = self.map;
        self.pieces.iter().all(|piece| {
            let from = inputs[piece.input].map;
            let mut channels = (piece.from % from.channels, piece.to % to.channels);
            let stays = piece.steps.iter().all(|step| {
                let within = step.from.unsigned_abs() < from.channels && step.to < to.channels;
                if within {
                    // The last channel that it reaches; pixels have more than it.
                    channels.0 += (step.size - 1) * step.from.max(0) as usize;
                    channels.1 += (step.size - 1) * step.to;
                    return step.from >= 0;
                }
                let is_pixel = step.from > 0
                    && (step.from as usize).is_multiple_of(from.channels)
                    && step.to.is_multiple_of(to.channels);
                is_pixel && step.from as usize / from.channels == step.to / to.channels
            });
            [from.height, from.width] == [to.height, to.width]
                && stays
                && piece.from / from.channels == piece.to / to.channels
                && channels.0 < from.channels
                && channels.1 < to.channels
        })
    }
}

// SAFETY: the passes stay within the views that these declarations ask for.
unsafe impl Op for Rearrange {
    passes!("rearrange", op => op);

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        for piece in &self.pieces {
            let Some(input) = inputs.get(piece.input) else {
                return Err(Error::shape("rearrange", format!("has no input {}", piece.input)));
            };
            let elements = input.map.elements();
            if piece.reads().is_none_or(|[last, first]| last >= elements || first >= elements) {
                return Err(Error::shape("rearrange", format!("reads beyond {}", input.map)));
            }
        }
        Ok(Spec::f32(self.map))
    }

    fn takes_shared(&self, _input: usize) -> bool {
        true
    }

    fn cost(&self, _inputs: &[Spec]) -> Cost {
        let moved: usize = self.pieces.iter().map(Piece::elements).sum();
        Cost { macs: 0, bytes: ((moved + self.map.elements()) * size_of::<f32>()) as u64 }
    }

    fn reach(&self, _input: usize, region: Region, inputs: &[Spec], output: &Spec) -> Region {
        match self.keeps_pixels(inputs) {
            true => region.all_channels(output.map.channels),
            false => Region { images: region.images, ..Region::full(0, output.map) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(size: usize, from: isize, to: usize) -> MoveStep {
        MoveStep { size, from, to }
    }

    #[test]
    fn pieces_that_overlap_or_leave_the_map_are_refused() {
        let map = Map::new(2, 2, 3);
        let piece = |to, steps| Piece { input: 0, from: 0, to, steps };
        let new = |pieces| Rearrange::new(map, pieces, 0.0);
        assert!(new(vec![piece(0, vec![step(12, 1, 1)])]).unwrap().covers);
        assert!(!new(vec![piece(1, vec![step(11, 1, 1)])]).unwrap().covers);
        for pieces in [
            vec![piece(1, vec![step(12, 1, 1)])],
            vec![piece(0, vec![step(2, 1, 0)])],
            vec![piece(0, vec![step(4, 1, 3)]), piece(6, vec![step(1, 1, 1)])],
            vec![piece(0, vec![step(1, 1, 1); 9])],
        ] {
            assert!(new(pieces).is_err());
        }
        let reads_on = Rearrange::new(map, vec![piece(0, vec![step(12, 2, 1)])], 0.0).unwrap();
        let small = Spec::f32(Map::new(1, 1, 23));
        let large = Spec::f32(Map::new(1, 1, 24));
        assert!(reads_on.output(&[large]).is_ok());
        assert!(reads_on.output(&[Spec::f32(Map::new(1, 1, 22))]).is_err());
        assert!(reads_on.output(&[small]).is_ok());
    }

    #[test]
    fn a_shuffle_of_channels_stays_in_its_pixels_and_a_transpose_does_not() {
        let map = Map::new(3, 5, 6);
        let shuffle = vec![step(15, 6, 6), step(3, 1, 2), step(2, 3, 1)];
        let piece = |steps| vec![Piece { input: 0, from: 0, to: 0, steps }];
        let input = [Spec::f32(map)];
        let shuffle = Rearrange::new(map, piece(shuffle), 0.0).unwrap();
        assert!(shuffle.keeps_pixels(&input));
        let turned = vec![step(5, 6, 18), step(3, 30, 6), step(6, 1, 1)];
        let turned = Rearrange::new(Map::new(5, 3, 6), piece(turned), 0.0).unwrap();
        assert!(!turned.keeps_pixels(&input));
        let mirrored = vec![step(15, 6, 6), step(6, -1, 1)];
        let pieces = vec![Piece { input: 0, from: 5, to: 0, steps: mirrored }];
        let region = Region::element(0, 1, 2, 3);
        let reach = |op: &Rearrange, map| op.reach(0, region, &input, &Spec::f32(map));
        assert_eq!(reach(&shuffle, map), region.all_channels(6));
        let all = Region { images: region.images, ..Region::full(0, map) };
        assert_eq!(reach(&Rearrange::new(map, pieces, 0.0).unwrap(), map), all);
    }
}
