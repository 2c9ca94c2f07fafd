//! Boxes: the part of a batch of maps that is computed, or that a fault can have reached.

use super::Map;

/// A half-open range of indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    /// `start..end`.
    pub const fn new(start: usize, end: usize) -> Self {
        Span { start, end }
    }

    /// `0..length`.
    pub const fn all(length: usize) -> Self {
        Span { start: 0, end: length }
    }

    /// The one index `at`.
    pub const fn one(at: usize) -> Self {
        Span { start: at, end: at + 1 }
    }

    /// Indices in it.
    pub const fn len(&self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// Whether no index is in it.
    pub const fn is_empty(&self) -> bool {
        self.end <= self.start
    }

    /// The indices.
    pub const fn range(&self) -> std::ops::Range<usize> {
        self.start..self.end
    }

    /// Whether `at` is in it.
    pub const fn contains(&self, at: usize) -> bool {
        self.start <= at && at < self.end
    }

    /// The smallest span that holds both.
    pub fn hull(self, other: Span) -> Span {
        if self.is_empty() {
            return other;
        }
        if other.is_empty() {
            return self;
        }
        Span::new(self.start.min(other.start), self.end.max(other.end))
    }

    /// The output positions of a sliding window (kernel, stride, padding, dilation; `outputs`
    /// positions in all) that read any input position of this span.
    pub fn through_window(
        self,
        kernel: usize,
        stride: usize,
        padding: usize,
        dilation: usize,
        outputs: usize,
    ) -> Span {
        if self.is_empty() {
            return Span::new(0, 0);
        }
        // Output o reads inputs o·stride − padding + t·dilation for t in 0..kernel.
        let reach = (kernel - 1) * dilation;
        let first = (self.start + padding).saturating_sub(reach).div_ceil(stride);
        let last = (self.end - 1 + padding) / stride + 1;
        Span::new(first.min(outputs), last.min(outputs))
    }
}

/// A box of a batch of maps: images × rows × columns × channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Region {
    pub images: Span,
    pub rows: Span,
    pub columns: Span,
    pub channels: Span,
}

impl Region {
    /// All of the first `images` images.
    pub const fn full(images: usize, map: Map) -> Self {
        Region {
            images: Span::all(images),
            rows: Span::all(map.height),
            columns: Span::all(map.width),
            channels: Span::all(map.channels),
        }
    }

    /// Nothing.
    pub const EMPTY: Region = {
        let empty = Span::new(0, 0);
        Region { images: empty, rows: empty, columns: empty, channels: empty }
    };

    /// One element of one image.
    pub const fn element(image: usize, row: usize, column: usize, channel: usize) -> Self {
        Region {
            images: Span::one(image),
            rows: Span::one(row),
            columns: Span::one(column),
            channels: Span::one(channel),
        }
    }

    /// Elements in the box.
    pub const fn elements(&self) -> usize {
        self.images.len() * self.rows.len() * self.columns.len() * self.channels.len()
    }

    /// Whether nothing is in it.
    pub const fn is_empty(&self) -> bool {
        self.elements() == 0
    }

    /// Whether it is all of its images' maps.
    pub fn is_whole(&self, map: Map) -> bool {
        *self == Region { images: self.images, ..Region::full(0, map) }
    }

    /// The same box with every channel.
    pub const fn all_channels(self, channels: usize) -> Self {
        Region { channels: Span::all(channels), ..self }
    }

    /// Rows of all its images.
    pub const fn row_count(&self) -> usize {
        self.images.len() * self.rows.len()
    }

    /// Image and row of its row number `index` below [`Region::row_count`], image after image.
    pub const fn row(&self, index: usize) -> (usize, usize) {
        let rows = self.rows.len();
        (self.images.start + index / rows, self.rows.start + index % rows)
    }

    /// The smallest box that holds both.
    pub fn hull(self, other: Region) -> Region {
        if self.is_empty() {
            return other;
        }
        if other.is_empty() {
            return self;
        }
        Region {
            images: self.images.hull(other.images),
            rows: self.rows.hull(other.rows),
            columns: self.columns.hull(other.columns),
            channels: self.channels.hull(other.channels),
        }
    }

    /// Calls `f(offset)` for each contiguous run (one pixel's channels) of the box, with the
    /// element offset of its start in a batch of `map`s; each run has `channels.len()` elements.
    pub fn for_each_run(&self, map: Map, mut f: impl FnMut(usize)) {
        for image in self.images.range() {
            for row in self.rows.range() {
                for column in self.columns.range() {
                    f(image * map.elements() + map.index(row, column, self.channels.start));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn through_window_is_exactly_the_readers() {
        for (kernel, stride, padding, dilation, size) in
            [(3, 1, 1, 1, 8), (3, 2, 1, 1, 9), (7, 2, 3, 1, 16), (1, 2, 0, 1, 7), (3, 1, 2, 2, 9)]
        {
            let outputs = (size + 2 * padding - (kernel - 1) * dilation - 1) / stride + 1;
            for at in 0..size {
                let readers: Vec<usize> = (0..outputs)
                    .filter(|o| (0..kernel).any(|t| o * stride + t * dilation == at + padding))
                    .collect();
                let span = Span::one(at).through_window(kernel, stride, padding, dilation, outputs);
                for reader in &readers {
                    assert!(span.contains(*reader), "{kernel} {stride} {padding} {dilation} {at}");
                }
                if dilation == 1 {
                    assert_eq!(span.len(), readers.len());
                }
            }
        }
    }
}
