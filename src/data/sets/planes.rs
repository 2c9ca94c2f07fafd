//! Small images of one size that are held in memory as their files have them: a red, a green, a blue plane.

use crate::Result;
use crate::data::{ClassEntry, Dataset, Image8};

/// How the values of a plane follow one another.
#[derive(Clone, Copy)]
pub(super) enum PlaneOrder {
    /// Row after row, as CIFAR has them.
    Rows,
    /// Column after column, as MATLAB left those of STL-10.
    Columns,
}

/// The images of one file.
pub(super) struct PlanePart {
    /// What paths begin with.
    pub name: String,
    pub bytes: Vec<u8>,
    /// Bytes before the planes of an image, its labels say.
    pub skip: usize,
    pub labels: Vec<u16>,
    /// What the images were called, or nothing.
    pub file_names: Vec<String>,
}

/// Images of `side` × `side`.
pub(super) struct PlaneSet {
    pub side: usize,
    pub order: PlaneOrder,
    pub classes: Vec<ClassEntry>,
    pub parts: Vec<PlanePart>,
    pub fingerprint: String,
}

impl PlaneSet {
    /// The part of image `i` and its place there.
    fn place(&self, i: usize) -> (&PlanePart, usize) {
        let mut at = i;
        for part in &self.parts {
            match at.checked_sub(part.labels.len()) {
                None => return (part, at),
                Some(rest) => at = rest,
            }
        }
        panic!("image {i} of {}", self.len());
    }
}

impl Dataset for PlaneSet {
    fn len(&self) -> usize {
        self.parts.iter().map(|part| part.labels.len()).sum()
    }

    fn classes(&self) -> &[ClassEntry] {
        &self.classes
    }

    fn label(&self, i: usize) -> usize {
        let (part, at) = self.place(i);
        usize::from(part.labels[at])
    }

    fn image(&self, i: usize) -> Result<Image8> {
        let (part, at) = self.place(i);
        let (side, area) = (self.side, self.side * self.side);
        let start = at * (part.skip + 3 * area) + part.skip;
        let planes = &part.bytes[start..start + 3 * area];
        let mut pixels = Vec::with_capacity(3 * area);
        for y in 0..side {
            for x in 0..side {
                let place = match self.order {
                    PlaneOrder::Rows => y * side + x,
                    PlaneOrder::Columns => x * side + y,
                };
                pixels.extend([0, area, 2 * area].map(|plane| planes[plane + place]));
            }
        }
        Image8::new(side, side, pixels)
    }

    fn path(&self, i: usize) -> String {
        let (part, at) = self.place(i);
        match part.file_names.get(at) {
            Some(name) => format!("{}/{at}/{name}", part.name),
            None => format!("{}/{at}", part.name),
        }
    }

    fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }
}
