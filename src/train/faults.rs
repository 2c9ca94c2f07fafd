//! Which bits flip while training.
//!
//! The bits of a target (of all valid images' values, or of a parameter's) that can flip are numbered: image by image,
//! element by element, the lowest bit first. The stream of (seed, `training faults <rule>/<epoch>/<step>/<batch>
//! <name>`), all from 0, gives the gaps from one that flips to the next ([`Draw::gap`]), so that it takes as many draws as
//! there are flips. What flips in a batch follows from its place in the run and from nothing else.

use std::collections::BTreeMap;

use crate::fault::{Site, TrainingFault};
use crate::glob::{matches, near};
use crate::rng::{self, Draw};
use crate::tape::{BitFlip, FlipTarget, Injectable, ParamId, Tape, pair_name};
use crate::{Error, Result};

/// A batch's place in a run; all from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPlace {
    pub epoch: usize,
    pub step: usize,
    /// Of the step.
    pub batch: usize,
}

/// Bits that have flipped, by what they are of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlipCounts {
    pub outputs: u64,
    pub weights: u64,
}

/// The flips of one batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DrawnFlips {
    /// Each target's in order, no element twice.
    pub of_target: BTreeMap<FlipTarget, Vec<BitFlip>>,
    pub counts: FlipCounts,
}

/// What faults draw on a network.
#[derive(Clone, Debug)]
pub struct FlipDraws {
    seed: u64,
    rules: Vec<(TrainingFault, Vec<FlipSpace>)>,
}

/// A tensor in which a rule's bits can flip.
#[derive(Clone, Debug)]
struct FlipSpace {
    target: FlipTarget,
    name: String,
    /// Of one image.
    elements: usize,
    /// One for all images.
    is_shared: bool,
}

impl FlipDraws {
    /// Those of `faults` on a tape.
    ///
    /// # Errors
    /// [`Error::Usage`] for a pattern that names no layer or parameter.
    pub fn new(faults: &[TrainingFault], tape: &Tape, seed: u64) -> Result<FlipDraws> {
        let rule = |fault: &TrainingFault| Ok((fault.clone(), spaces(fault, tape)?));
        Ok(FlipDraws { seed, rules: faults.iter().map(rule).collect::<Result<_>>()? })
    }

    /// The flips of a batch of so many images.
    pub fn draw(&self, place: BatchPlace, images: usize) -> DrawnFlips {
        let mut drawn = DrawnFlips::default();
        let BatchPlace { epoch, step, batch } = place;
        for (number, (fault, spaces)) in self.rules.iter().enumerate() {
            for space in spaces.iter().filter(|_| fault.is_in(epoch)) {
                let label =
                    format!("training faults {number}/{epoch}/{step}/{batch} {}", space.name);
                let maps = if space.is_shared { 1 } else { images };
                let (flips, count) = flips(self.seed, &label, fault, (maps, space.elements));
                match fault.site {
                    Site::Weight => drawn.counts.weights += count,
                    _ => drawn.counts.outputs += count,
                }
                drawn.of_target.entry(space.target).or_default().extend(flips);
            }
        }
        drawn.of_target.values_mut().for_each(join);
        drawn.of_target.retain(|_, flips| !flips.is_empty());
        drawn
    }
}

/// The flips of a rule in a tensor, and how many bits they are.
fn flips(
    seed: u64,
    label: &str,
    fault: &TrainingFault,
    (maps, elements): (usize, usize),
) -> (Vec<BitFlip>, u64) {
    let mask = fault.mask();
    let bits: Vec<u32> = (0..u32::BITS).filter(|bit| mask >> bit & 1 == 1).collect();
    let of_element = bits.len() as u64;
    let end = (maps * elements) as u64 * of_element;
    let mut draws = rng::stream(seed, label);
    let (mut at, mut found, mut count) = (0u64, Vec::<BitFlip>::new(), 0);
    loop {
        at = at.saturating_add(draws.gap(fault.rate));
        if at >= end {
            return (found, count);
        }
        let place = (at / of_element) as usize;
        let (image, element) = (place / elements, place % elements);
        let mask = 1 << bits[(at % of_element) as usize];
        match found.last_mut().filter(|last| (last.image, last.element) == (image, element)) {
            Some(last) => last.mask |= mask,
            None => found.push(BitFlip { image, element, mask }),
        }
        count += 1;
        at += 1;
    }
}

/// Flips of several rules as one an element: what flips twice is as it was.
fn join(flips: &mut Vec<BitFlip>) {
    flips.sort();
    let mut joined: Vec<BitFlip> = Vec::with_capacity(flips.len());
    for flip in flips.drain(..) {
        match joined.last_mut().filter(|l| (l.image, l.element) == (flip.image, flip.element)) {
            Some(last) => last.mask ^= flip.mask,
            None => joined.push(flip),
        }
    }
    joined.retain(|flip| flip.mask != 0);
    *flips = joined;
}

/// The tensors that a rule names.
fn spaces(fault: &TrainingFault, tape: &Tape) -> Result<Vec<FlipSpace>> {
    let (what, all) = match fault.site {
        Site::Weight => ("parameter", params(tape)),
        _ => ("layer", layers(tape)),
    };
    let Some(pattern) = &fault.layers else { return Ok(all) };
    let is_named = |space: &FlipSpace| {
        matches(pattern, &space.name) || matches(pattern, pair_name(&space.name))
    };
    let (named, others): (Vec<_>, Vec<_>) = all.into_iter().partition(is_named);
    if named.is_empty() {
        let names: Vec<&str> = others.iter().map(|space| space.name.as_str()).collect();
        return Err(Error::usage(format!(
            "no {what} for faults of the site {} is called '{pattern}'; near it: {}",
            fault.site.name(),
            near(pattern, &names)
        )));
    }
    Ok(named)
}

/// Every convolution and linear layer.
fn layers(tape: &Tape) -> Vec<FlipSpace> {
    let space = |layer: Injectable| FlipSpace {
        target: FlipTarget::Value(layer.node),
        name: layer.name,
        elements: tape.node(layer.node).spec.map.elements(),
        is_shared: layer.shared,
    };
    tape.injectable().into_iter().map(space).collect()
}

/// Every parameter, frozen ones included; no running statistics.
fn params(tape: &Tape) -> Vec<FlipSpace> {
    let params = tape.params().iter().enumerate();
    params
        .filter(|(_, param)| param.spec.role.is_trained())
        .map(|(index, param)| FlipSpace {
            target: FlipTarget::Param(ParamId(index)),
            name: param.name.clone(),
            elements: param.spec.elements(),
            is_shared: true,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::linear::Linear;
    use crate::tensor::{Map, Spec};

    const FIRST: BatchPlace = BatchPlace { epoch: 0, step: 0, batch: 0 };

    fn tape() -> Tape {
        let mut tape = Tape::new();
        let x = tape.input("x", Spec::f32(Map::vector(20)));
        let y = tape.record("backbone.first", Linear::new(20, 50, true), &[x]).unwrap();
        tape.record("last", Linear::new(50, 8, true), &[y]).unwrap();
        tape
    }

    fn draws(faults: &[&str]) -> FlipDraws {
        let faults: Vec<TrainingFault> = faults.iter().map(|text| text.parse().unwrap()).collect();
        FlipDraws::new(&faults, &tape(), 3).unwrap()
    }

    /// Counts are binomial: of n bits n·p flip, within five standard deviations; each image, element and bit has its
    /// share, and what is counted is what is drawn.
    #[test]
    fn as_many_bits_flip_as_the_rate_says() {
        for (text, bits, all) in [
            ("site=output,rate=0.01", 32, 100 * (50 + 8)),
            ("site=output,rate=0.3,bits=exponent,layers=last", 8, 100 * 8),
            ("site=weight,rate=0.02", 32, 20 * 50 + 50 + 50 * 8 + 8),
            ("site=weight,rate=0.001,bits=mantissa,layers=*.weight", 23, 20 * 50 + 50 * 8),
        ] {
            let fault: TrainingFault = text.parse().unwrap();
            let draws = draws(&[text]);
            let (mut total, mut of_bit) = (0u64, [0u64; 32]);
            for step in 0..50 {
                let drawn = draws.draw(BatchPlace { step, ..FIRST }, 100);
                let flips = drawn.of_target.values().flatten();
                let mut counted = 0;
                for flip in flips {
                    counted += u64::from(flip.mask.count_ones());
                    assert_eq!(flip.mask & !fault.mask(), 0, "{text}");
                    (0..32).for_each(|bit| of_bit[bit] += u64::from(flip.mask >> bit & 1));
                }
                let FlipCounts { outputs, weights } = drawn.counts;
                assert_eq!(outputs + weights, counted);
                assert_eq!(weights > 0, fault.site == Site::Weight);
                total += counted;
            }
            let check = |count: u64, trials: usize| {
                let (n, p) = (trials as f64, fault.rate);
                let apart = (count as f64 - n * p).abs();
                assert!(apart <= 5.0 * (n * p * (1.0 - p)).sqrt(), "{text}: {count} of {trials}");
            };
            check(total, 50 * all * bits);
            for (bit, count) in
                of_bit.iter().enumerate().filter(|(bit, _)| fault.mask() >> bit & 1 == 1)
            {
                println!("{bit}: {count}");
                check(*count, 50 * all);
            }
        }
    }

    #[test]
    fn draws_belong_to_a_place_in_the_run() {
        let all = draws(&["site=output,rate=0.01", "site=weight,rate=0.01,epochs=1-2"]);
        let drawn = all.draw(FIRST, 4);
        assert_eq!(drawn, all.draw(FIRST, 4));
        for other in [
            BatchPlace { epoch: 1, ..FIRST },
            BatchPlace { step: 1, ..FIRST },
            BatchPlace { batch: 1, ..FIRST },
        ] {
            assert_ne!(drawn, all.draw(other, 4));
        }
        assert_eq!(all.draw(BatchPlace { epoch: 2, ..FIRST }, 4).counts.weights, 0);
        // An image more changes nothing of those before it.
        let first = FlipTarget::Value(crate::tape::NodeId(1));
        let more = all.draw(FIRST, 5);
        let before = more.of_target[&first].iter().filter(|flip| flip.image < 4);
        assert!(before.eq(&drawn.of_target[&first]));
    }

    #[test]
    fn flips_of_two_rules_are_joined() {
        let both = draws(&["site=output,rate=0.4", "site=output,rate=0.4,layers=last"]);
        let drawn = both.draw(FIRST, 3);
        let last = &drawn.of_target[&FlipTarget::Value(crate::tape::NodeId(2))];
        assert!(
            last.windows(2)
                .all(|pair| (pair[0].image, pair[0].element) < (pair[1].image, pair[1].element))
        );
        let present: u32 = last.iter().map(|flip| flip.mask.count_ones()).sum();
        // 24 values of 32 bits: of those that both flip nothing is left.
        assert!(f64::from(present) < 0.6 * 24.0 * 32.0, "{present}");
    }

    #[test]
    fn a_pattern_without_a_layer_is_refused() {
        let fault = |text: &str| FlipDraws::new(&[text.parse().unwrap()], &tape(), 1);
        assert!(fault("site=output,rate=0.1,layers=first").is_ok());
        assert!(fault("site=output,rate=0.1,layers=backbone.*").is_ok());
        let said = fault("site=output,rate=0.1,layers=last.weight").unwrap_err().to_string();
        assert!(
            said.contains("no layer for faults of the site output is called 'last.weight'"),
            "{said}"
        );
        assert!(said.contains("near it: last, backbone.first"), "{said}");
        let said = fault("site=weight,rate=0.1,layers=last").unwrap_err().to_string();
        assert!(said.contains("no parameter"), "{said}");
    }
}
