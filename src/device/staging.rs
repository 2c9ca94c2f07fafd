//! Where small copies to a GPU wait: a ring of pinned memory, so that they are queued without waiting
//! for the stream and the caller's slice may be reused at once all the same.

/// Places in a ring of bytes that a stream empties in order.
#[derive(Debug)]
pub(super) struct Ring {
    bytes: usize,
    used: usize,
}

/// A place in a [`Ring`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RingPlace {
    pub offset: usize,
    /// Whether earlier places are used again from here on: the stream must have read them.
    pub reuses: bool,
}

impl Ring {
    pub const fn new(bytes: usize) -> Ring {
        Ring { bytes, used: 0 }
    }

    /// Room for `bytes`, at a multiple of 16; `None` if that is more than the ring has.
    pub fn take(&mut self, bytes: usize) -> Option<RingPlace> {
        if bytes > self.bytes {
            return None;
        }
        let start = self.used.next_multiple_of(16);
        let reuses = start + bytes > self.bytes;
        let offset = if reuses { 0 } else { start };
        self.used = offset + bytes;
        Some(RingPlace { offset, reuses })
    }

    /// The stream has read everything.
    pub fn clear(&mut self) {
        self.used = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_dont_overlap_until_the_ring_says_so() {
        let mut ring = Ring::new(100);
        let mut live: Vec<(usize, usize)> = Vec::new();
        let mut wraps = 0;
        for round in 0..200 {
            let bytes = 1 + round * 7 % 40;
            let place = ring.take(bytes).unwrap();
            if place.reuses {
                live.clear();
                wraps += 1;
            }
            assert!(place.offset.is_multiple_of(16) && place.offset + bytes <= 100);
            assert!(
                live.iter()
                    .all(|(start, end)| place.offset >= *end || place.offset + bytes <= *start)
            );
            live.push((place.offset, place.offset + bytes));
        }
        assert!(wraps > 20);
        assert_eq!(ring.take(101), None);
        ring.clear();
        assert_eq!(ring.take(100), Some(RingPlace { offset: 0, reuses: false }));
    }
}
