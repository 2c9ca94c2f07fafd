//! What is drawn beside what torchvision draws: as many draws of each, told apart by a χ² test.

use super::rows;
use flipside::data::gamma;
use flipside::data::mix::BatchMix;
use flipside::data::transform::{
    Adjustment, AugmentPolicy, ColorJitter, DrawnPolicy, ErasedTo, Operation, RandomErasing,
    random_resized_area,
};
use flipside::recipe::Mixing;
use flipside::rng::{Stream, stream};
use flipside::statistics::normal_cdf;
use std::collections::BTreeMap;

/// Draws of each kind, as the script's.
const DRAWS: u64 = 20_000;

type Counted = BTreeMap<String, u64>;

/// Categories of each thing that is counted.
#[derive(Default)]
struct Counts(BTreeMap<String, Counted>);

impl Counts {
    fn torchvisions() -> Counts {
        let mut counts = Counts::default();
        for row in rows("counts.tsv") {
            let [what, category, count] = &row[..] else { panic!("{row:?}") };
            let of = counts.0.entry(what.clone()).or_default();
            of.insert(category.clone(), count.parse().unwrap());
        }
        counts
    }

    fn add(&mut self, what: &str, category: impl ToString) {
        let of = self.0.entry(what.into()).or_default();
        *of.entry(category.to_string()).or_default() += 1;
    }

    /// A number between 0 and 1 in equal bins.
    fn share(&mut self, what: &str, share: f64, bins: usize) {
        self.add(what, ((share * bins as f64) as usize).min(bins - 1));
    }

    /// Every distribution that is in both has a p above 0.001; they are named.
    fn agrees(&self, with: &Counts) -> Vec<String> {
        let mut named = Vec::new();
        for (what, counts) in &self.0 {
            let p = p_value(counts, &with.0[what]);
            assert!(p > 0.001, "{what}: p = {p}");
            named.push(what.clone());
        }
        named
    }
}

/// p of the χ² test that two samples of one size come from one distribution: Σ (a − b)² / (a + b). Categories of
/// fewer than 20 in both together make up one. The χ² quantile is Wilson and Hilferty's, 1931.
fn p_value(a: &Counted, b: &Counted) -> f64 {
    assert_eq!(a.values().sum::<u64>(), b.values().sum::<u64>());
    let mut pairs: BTreeMap<&str, [u64; 2]> = BTreeMap::new();
    for (i, counts) in [a, b].into_iter().enumerate() {
        for (category, count) in counts {
            pairs.entry(category).or_default()[i] += count;
        }
    }
    let (mut kept, mut rest) = (Vec::new(), [0; 2]);
    for [a, b] in pairs.into_values() {
        if a + b < 20 {
            rest = [rest[0] + a, rest[1] + b];
        } else {
            kept.push([a, b]);
        }
    }
    kept.extend((rest != [0; 2]).then_some(rest));
    let square: f64 =
        kept.iter().map(|&[a, b]| (a.abs_diff(b) as f64).powi(2) / (a + b) as f64).sum();
    let spread = 2.0 / (9.0 * (kept.len() - 1) as f64);
    let z = ((square / (kept.len() - 1) as f64).cbrt() - (1.0 - spread)) / spread.sqrt();
    normal_cdf(-z)
}

fn joined(operations: &[Operation]) -> String {
    let text = |operation: &Operation| {
        let name: &str = operation.kind.into();
        format!("{name}:{:08x}", (operation.magnitude as f32).to_bits())
    };
    operations.iter().map(text).collect::<Vec<_>>().join(";")
}

fn counted(policy: AugmentPolicy, source: &Stream) -> Counts {
    let mut counts = Counts::default();
    for n in 0..DRAWS {
        match policy.draw(33, 47, &mut source.block(n)) {
            DrawnPolicy::Chain(operations) => {
                let drawn = joined(&operations);
                let drawn = if drawn.is_empty() { "nothing".into() } else { drawn };
                counts.add(&policy.to_string(), drawn);
            }
            DrawnPolicy::Mixture(mixture) => {
                counts.share("augmix original", mixture.original.into(), 20);
                counts.share("augmix weight", mixture.chains[1].0.into(), 20);
                counts.add("augmix depth", mixture.chains[0].1.len());
                let last = mixture.chains[2].1.last().unwrap();
                counts.add("augmix operation", joined(&[*last]));
            }
        }
    }
    counts
}

#[test]
fn policies_draw_as_often_what_torchvision_draws() {
    let torchvisions = Counts::torchvisions();
    for word in ["ra", "ta_wide", "imagenet", "cifar10", "svhn", "augmix"] {
        let counts = counted(word.parse().unwrap(), &stream(1, word));
        let named = counts.agrees(&torchvisions);
        assert_eq!(named.len(), if word == "augmix" { 4 } else { 1 });
    }
}

/// Of the tests above: a severity of 4 instead of 3, and the level 10 instead of 9, are told apart.
#[test]
fn other_policies_are_told_apart() {
    let torchvisions = Counts::torchvisions();
    let p = |text: &str, what: &str| {
        let counts = counted(toml::from_str(text).unwrap(), &stream(1, "other"));
        p_value(&counts.0[what], &torchvisions.0[what])
    };
    assert!(p("type = \"augmix\"\nseverity = 4", "augmix operation") < 1e-9);
    assert!(p("type = \"augmix\"\nalpha = 0.9", "augmix original") < 1e-3);
    assert!(p("type = \"ra\"\nmagnitude = 10", "ra") < 1e-9);
    assert!(p("type = \"ta_wide\"\nnum_magnitude_bins = 30", "ta_wide") < 1e-9);
}

#[test]
fn jitter_draws_torchvisions_factors_and_orders() {
    let mut counts = Counts::default();
    let jitter = ColorJitter::of(0.4, 0.8, 1.2, 0.5);
    let source = stream(2, "jitter");
    for n in 0..DRAWS {
        let mut order = String::new();
        for adjustment in jitter.draw(&mut source.block(n)).into_iter().flatten() {
            let (at, factor, [low, high]) = match adjustment {
                Adjustment::Brightness(factor) => (0, factor, jitter.brightness.unwrap()),
                Adjustment::Contrast(factor) => (1, factor, jitter.contrast.unwrap()),
                Adjustment::Saturation(factor) => (2, factor, jitter.saturation.unwrap()),
                Adjustment::Hue(factor) => (3, factor, jitter.hue.unwrap()),
            };
            counts.share(&format!("jitter {at}"), (factor - low) / (high - low), 20);
            order += &at.to_string();
        }
        counts.add("jitter order", order);
    }
    assert_eq!(counts.agrees(&Counts::torchvisions()).len(), 5);
}

#[test]
fn erasing_and_cuts_draw_torchvisions_areas() {
    let mut counts = Counts::default();
    let source = stream(3, "areas");
    let always = RandomErasing { probability: 1.0, ..RandomErasing::default() };
    let sometimes = RandomErasing { probability: 0.25, ..always };
    let random =
        RandomErasing { scale: [0.1, 0.2], ratio: [0.5, 2.0], value: ErasedTo::Random, ..always };
    let part = |value: usize, of: usize| value as f64 / of as f64;
    for n in 0..DRAWS {
        let mut draws = source.block(n);
        let erased = sometimes.draw(64, 48, &mut draws).is_some();
        counts.add("erasing whether", if erased { "True" } else { "False" });
        let area = always.draw(64, 48, &mut draws).unwrap();
        counts.share("erasing share", part(area.height * area.width, 64 * 48), 60);
        counts.share("erasing height", part(area.height, 64), 32);
        counts.share("erasing width", part(area.width, 48), 24);
        counts.share("erasing top", part(area.top, 64 - area.height + 1), 16);
        counts.share("erasing left", part(area.left, 48 - area.width + 1), 16);
        let area = random.draw(64, 48, &mut draws).unwrap();
        let mut values = vec![9.0; 64 * 48 * 3];
        random.erase(area, 48, &mut values, &mut draws);
        let value = values[(area.top * 48 + area.left) * 3];
        counts.add("erasing value", ((2.0 * value).floor() as i32).clamp(-4, 3));
        let (scale, ratio) = ([0.08, 1.0], [3.0 / 4.0, 4.0 / 3.0]);
        let area = random_resized_area(200, 160, scale, ratio, &mut draws);
        counts.share("crop share", part(area.height * area.width, 200 * 160), 40);
        counts.share("crop ratio", (part(area.width, area.height) - 0.7) / 0.7, 40);
        counts.share("crop top", part(area.top, 200 - area.height + 1), 16);
        counts.share("crop left", part(area.left, 160 - area.width + 1), 16);
    }
    assert_eq!(counts.agrees(&Counts::torchvisions()).len(), 11);
}

#[test]
fn shares_of_mixing_are_pytorchs_beta_numbers() {
    let mut counts = Counts::default();
    let source = stream(4, "beta");
    let cutmix = Mixing { mixup_alpha: 0.0, cutmix_alpha: 1.0 };
    for n in 0..DRAWS {
        let mut draws = source.block(n);
        for (name, alpha) in [("0.2", 0.2), ("0.8", 0.8), ("1.0", 1.0), ("3.0", 3.0)] {
            counts.share(&format!("beta {name}"), gamma::beta(alpha, alpha, &mut draws), 40);
        }
        let Some(BatchMix::Cutmix(area)) = cutmix.draw(32, 48, &mut draws) else { panic!() };
        let kept = 1.0 - (area.height * area.width) as f64 / (32 * 48) as f64;
        counts.share("cutmix share", kept, 40);
        counts.add("cutmix left", area.left);
        counts.add("cutmix bottom", area.top + area.height);
    }
    let torchvisions = Counts::torchvisions();
    assert_eq!(counts.agrees(&torchvisions).len(), 7);
    // And the test tells an α of 0.8 from one of 1.
    assert!(p_value(&counts.0["beta 0.8"], &torchvisions.0["beta 1.0"]) < 1e-6);
}
