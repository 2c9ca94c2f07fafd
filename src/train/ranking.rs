//! The order of logits: the greatest first, a NaN before everything, as in PyTorch's `topk`; the
//! lower index wins ties.

/// Whether class `i` with logit `a` stands before class `j` with logit `b`.
pub fn before(a: f32, i: usize, b: f32, j: usize) -> bool {
    match (a.is_nan(), b.is_nan()) {
        (true, false) => true,
        (false, true) => false,
        (true, true) => i < j,
        _ => a > b || (a == b && i < j),
    }
}

/// The class that stands first.
pub fn argmax(logits: &[f32]) -> usize {
    (1..logits.len()).fold(0, |best, k| {
        let wins = before(logits[k], k, logits[best], best);
        if wins { k } else { best }
    })
}

/// How many classes stand before `class`: 0 is top-1, below 5 is in the top-5.
pub fn rank(logits: &[f32], class: usize) -> usize {
    (0..logits.len()).filter(|k| before(logits[*k], *k, logits[class], class)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_lower_index_and_nan_is_greatest() {
        assert_eq!(argmax(&[1.0, 3.0, 3.0]), 1);
        assert_eq!(argmax(&[1.0, f32::INFINITY, f32::NAN, -f32::NAN]), 2);
        let logits = [2.0, 5.0, 2.0, f32::NAN];
        assert_eq!([0, 1, 2, 3].map(|class| rank(&logits, class)), [2, 1, 3, 0]);
    }
}
