//! Which tokens of a map attend to each other.

use crate::tensor::{Map, Region, Span};
use crate::{Error, Result};

/// How a map is parted. Tokens of a part are in row-major order of their places within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partition {
    /// Windows of `size` (rows, columns) of the map rolled by −`shift` along its axes. Tokens of a
    /// rolled window that weren't neighbours see each other through a mask of −100. No shift
    /// along an axis on which one window is all (torchvision's `shifted_window_attention`).
    Windows { size: [usize; 2], shift: [usize; 2] },
    /// A part has `size` tokens, as far apart as the map allows: MaxViT's grid attention.
    Grid { size: [usize; 2] },
    /// All tokens; with `causal`, none sees those behind it (a mask of −∞).
    Whole { causal: bool },
}

/// What is added to the score of tokens of a window that weren't neighbours.
pub(super) const MASK: f32 = -100.0;

/// One axis of a map.
#[derive(Clone, Copy)]
pub(super) struct PartAxis {
    pub length: usize,
    /// Tokens of a part along it.
    pub size: usize,
    pub shift: usize,
    /// Whether a part's tokens stand as far apart as the axis allows.
    pub strided: bool,
}

impl PartAxis {
    fn groups(self) -> usize {
        self.length / self.size
    }

    /// The place of token `index` of group `group`.
    fn at(self, group: usize, index: usize) -> usize {
        if self.strided {
            return index * self.groups() + group;
        }
        let at = group * self.size + index + self.shift;
        if at < self.length { at } else { at - self.length }
    }

    fn group_of(self, at: usize) -> usize {
        if self.strided {
            return at % self.groups();
        }
        (at + self.length - self.shift) % self.length / self.size
    }

    /// The stretch of the unrolled axis that a token of a window comes from: 0, 1 or 2.
    fn label(self, group: usize, index: usize) -> u32 {
        let rolled = group * self.size + index;
        match self.shift {
            0 => 0,
            _ if rolled < self.length - self.size => 0,
            shift if rolled < self.length - shift => 1,
            _ => 2,
        }
    }

    /// The hull of the groups that hold a place of `span`.
    fn reach(self, span: Span) -> Span {
        let mut reached = Span::new(0, 0);
        for group in span.range().map(|at| self.group_of(at)) {
            for index in 0..self.size {
                reached = reached.hull(Span::one(self.at(group, index)));
            }
        }
        reached
    }
}

/// A token of a part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub row: usize,
    pub column: usize,
    /// Tokens of unequal labels see each other through [`MASK`].
    pub label: u32,
}

impl Partition {
    /// Rows and columns of a part, where they are the partition's to say.
    pub fn window(self) -> Option<[usize; 2]> {
        match self {
            Partition::Windows { size, .. } | Partition::Grid { size } => Some(size),
            Partition::Whole { .. } => None,
        }
    }

    pub(super) fn axes(self, map: Map) -> [PartAxis; 2] {
        let axis = |i: usize| {
            let length = [map.height, map.width][i];
            match self {
                Partition::Windows { size, shift } => {
                    let shift = if size[i] < length { shift[i] } else { 0 };
                    PartAxis { length, size: size[i], shift, strided: false }
                }
                Partition::Grid { size } => {
                    PartAxis { length, size: size[i], shift: 0, strided: true }
                }
                Partition::Whole { .. } => {
                    PartAxis { length, size: length, shift: 0, strided: false }
                }
            }
        };
        [axis(0), axis(1)]
    }

    /// Whether `map` falls into whole parts.
    pub(super) fn check(self, map: Map) -> Result<()> {
        let Some(size) = self.window() else { return Ok(()) };
        let fits =
            |length: usize, size: usize| size > 0 && length > 0 && length.is_multiple_of(size);
        if !fits(map.height, size[0]) || !fits(map.width, size[1]) {
            let [rows, columns] = size;
            let detail = format!("{map} doesn't fall into windows of {rows}×{columns}");
            return Err(Error::shape("attention", detail));
        }
        match self {
            Partition::Windows { size, shift } if shift[0] >= size[0] || shift[1] >= size[1] => {
                let detail = format!("a shift of {shift:?} isn't below the window's {size:?}");
                Err(Error::shape("attention", detail))
            }
            _ => Ok(()),
        }
    }

    /// Parts of a map.
    pub(super) fn parts(self, map: Map) -> usize {
        self.axes(map).map(PartAxis::groups).iter().product()
    }

    /// Tokens of a part.
    pub(super) fn tokens(self, map: Map) -> usize {
        self.axes(map).map(|axis| axis.size).iter().product()
    }

    /// Whether a token sees only itself and those before it.
    pub(super) fn is_causal(self) -> bool {
        self == Partition::Whole { causal: true }
    }

    /// The tokens of part number `part`, in order.
    pub(super) fn fill(self, map: Map, part: usize, tokens: &mut Vec<Token>) {
        let [rows, columns] = self.axes(map);
        let (group_row, group_column) = (part / columns.groups(), part % columns.groups());
        tokens.clear();
        for i in 0..rows.size {
            let (row, label) = (rows.at(group_row, i), 3 * rows.label(group_row, i));
            tokens.extend((0..columns.size).map(|j| Token {
                row,
                column: columns.at(group_column, j),
                label: label + columns.label(group_column, j),
            }));
        }
    }

    /// The hull of the parts that hold a token of `region`, with its images and channels.
    pub(super) fn reach(self, region: Region, map: Map) -> Region {
        let [rows, columns] = self.axes(map);
        Region { rows: rows.reach(region.rows), columns: columns.reach(region.columns), ..region }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every partition of a 6×12 map with parts of 2×3, or its like.
    fn partitions() -> Vec<Partition> {
        let size = [2, 3];
        let mut partitions = vec![Partition::Grid { size }, Partition::Whole { causal: false }];
        for shift in [[0, 0], [1, 2], [0, 1], [1, 0]] {
            partitions.push(Partition::Windows { size, shift });
        }
        partitions
    }

    #[test]
    fn parts_tile_the_map_and_reach_is_their_hull() {
        let map = Map::new(6, 12, 1);
        for partition in partitions() {
            let mut seen = vec![0; map.pixels()];
            let mut tokens = Vec::new();
            for part in 0..partition.parts(map) {
                partition.fill(map, part, &mut tokens);
                assert_eq!(tokens.len(), partition.tokens(map));
                let places =
                    tokens.iter().map(|token| Region::element(0, token.row, token.column, 0));
                let hull = places.clone().reduce(Region::hull).unwrap();
                for (place, token) in places.zip(&tokens) {
                    assert_eq!(partition.reach(place, map), hull, "{partition:?}");
                    seen[map.index(token.row, token.column, 0)] += 1;
                }
            }
            assert!(seen.iter().all(|count| *count == 1), "{partition:?}");
        }
    }

    #[test]
    fn labels_part_what_the_roll_brought_together() {
        let map = Map::new(8, 4, 1);
        let partition = Partition::Windows { size: [4, 4], shift: [1, 3] };
        let mut tokens = Vec::new();
        // One window is all of the width, so nothing is rolled along it.
        partition.fill(map, 1, &mut tokens);
        let rows: Vec<(usize, u32)> =
            tokens.iter().step_by(4).map(|token| (token.row, token.label)).collect();
        assert_eq!(rows, [(5, 3), (6, 3), (7, 3), (0, 6)]);
        assert!(tokens.iter().enumerate().all(|(t, token)| token.column == t % 4));
    }
}
