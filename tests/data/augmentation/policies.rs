//! Drawn parameters done again, and the tables that they are drawn from.

use super::{interpolation, picture, result, rows};
use flipside::data::transform::{AugmentPolicy, DrawnPolicy, Mixture, Operation, OperationKind};
use flipside::rng::stream;
use std::collections::{BTreeSet, HashMap};

/// The value of an f32's bits in hexadecimal.
fn value(bits: &str) -> f32 {
    f32::from_bits(u32::from_str_radix(bits, 16).unwrap())
}

fn operations(text: &str) -> Vec<Operation> {
    let operation = |text: &str| {
        let (name, magnitude) = text.split_once(':').unwrap();
        Operation { kind: name.parse().unwrap(), magnitude: value(magnitude).into() }
    };
    text.split(';').filter(|text| !text.is_empty()).map(operation).collect()
}

#[test]
fn what_torchvision_drew_gives_its_bytes() {
    let rows = rows("policies.tsv");
    assert_eq!(rows.len(), 180);
    for row in &rows {
        let [word, how, kind, height, width, drawn, expected] = &row[..] else { panic!("{row:?}") };
        let policy: AugmentPolicy = word.parse().unwrap();
        let augmentation = match drawn.split_once('|') {
            None => DrawnPolicy::Chain(operations(drawn)),
            Some((original, chains)) => {
                let chain = |text: &str| {
                    let (weight, text) = text.split_once('*').unwrap();
                    (value(weight), operations(text))
                };
                let chains = chains.split('|').map(chain).collect();
                DrawnPolicy::Mixture(Mixture { original: value(original), chains })
            }
        };
        let mut image = picture(kind, height.parse().unwrap(), width.parse().unwrap());
        policy.interpolated(interpolation(how)).apply(&augmentation, &mut image);
        assert_eq!(result(&image), *expected, "{row:?}");
    }
}

/// The sizes of all magnitudes that a policy draws in 20,000 draws, as bits.
fn sizes(policy: &AugmentPolicy, height: usize, width: usize) -> HashMap<String, BTreeSet<u32>> {
    let source = stream(1, "magnitudes");
    let mut found: HashMap<String, BTreeSet<u32>> = HashMap::new();
    for n in 0..20_000 {
        let chains = match policy.draw(height, width, &mut source.block(n)) {
            DrawnPolicy::Chain(operations) => vec![(1.0, operations)],
            DrawnPolicy::Mixture(mixture) => mixture.chains,
        };
        for Operation { kind, magnitude } in chains.into_iter().flat_map(|(_, chain)| chain) {
            let name: &str = kind.into();
            assert_eq!(f64::from(magnitude as f32), magnitude, "{name}");
            found.entry(name.into()).or_default().insert((magnitude as f32).abs().to_bits());
        }
    }
    found
}

/// The magnitudes of each operation, as bits, level by level.
type LevelTable = Vec<(String, Vec<u32>)>;

/// Where the magnitudes of one of the fixture's policies, made by `make` for a number of bins and a level, are
/// others than torchvision's.
fn differences(make: impl Fn(&str, usize, usize) -> AugmentPolicy) -> Vec<String> {
    let mut tables: Vec<([String; 4], LevelTable)> = Vec::new();
    for row in rows("magnitudes.tsv") {
        let of: [String; 4] = row[..4].to_vec().try_into().unwrap();
        let values = row[5].split(',').map(|bits| value(bits).to_bits()).collect();
        match tables.last_mut() {
            Some((last, table)) if *last == of => table.push((row[4].clone(), values)),
            _ => tables.push((of, vec![(row[4].clone(), values)])),
        }
    }
    assert_eq!(tables.len(), 7);
    let mut wrong = Vec::new();
    for ([word, bins, height, width], table) in tables {
        let [bins, height, width] = [bins, height, width].map(|n| n.parse::<usize>().unwrap());
        // RandAugment has one level at a time, the others draw it.
        let levels =
            if word == "ra" { (0..bins).step_by(7).chain([bins - 1]).collect() } else { vec![0] };
        for level in levels {
            let found = sizes(&make(&word, bins, level), height, width);
            for (name, values) in &table {
                let expected: BTreeSet<u32> = match word.as_str() {
                    "ra" => [values[level.min(values.len() - 1)]].into(),
                    _ => values.iter().copied().collect(),
                };
                if found.get(name) != Some(&expected) {
                    wrong.push(format!("{word} {bins} {level} {name}: {found:?}, {expected:?}"));
                }
            }
            if found.len() != table.len() {
                wrong.push(format!("{word}: {} operations", found.len()));
            }
        }
    }
    wrong
}

fn parameters(word: &str, bins: usize, level: usize) -> AugmentPolicy {
    let text = match word {
        "ra" => format!("num_magnitude_bins = {bins}\nmagnitude = {level}"),
        "ta_wide" => format!("num_magnitude_bins = {bins}"),
        _ => "severity = 10".into(),
    };
    toml::from_str(&format!("type = \"{word}\"\n{text}")).unwrap()
}

#[test]
fn magnitudes_are_torchvisions_bits() {
    let wrong = differences(parameters);
    assert!(wrong.is_empty(), "{} wrong, first {:?}", wrong.len(), wrong.first());
}

/// The comparison finds another number of bins, another level, and another table.
#[test]
fn wrong_magnitudes_are_found() {
    let other_bins = |word: &str, bins, level| parameters(word, bins + 1, level);
    assert!(differences(other_bins).len() > 50);
    let other_level = |word: &str, bins, level: usize| parameters(word, bins, level.abs_diff(1));
    assert!(differences(other_level).iter().all(|wrong| wrong.starts_with("ra ")));
    assert!(differences(other_level).len() > 50);
    let other_table = |word: &str, bins, level| match word {
        "augmix" => toml::from_str("type = \"augmix\"\nseverity = 9").unwrap(),
        word => parameters(word, bins, level),
    };
    // Ten operations have levels of which the last differs; posterising's last is that of the level before.
    assert_eq!(differences(other_table).len(), 10);
}

/// Only with all operations are colours changed.
#[test]
fn augmix_without_all_operations_has_nine() {
    let policy = toml::from_str("type = \"augmix\"\nall_ops = false").unwrap();
    let found = sizes(&policy, 8, 8);
    assert_eq!(found.len(), 9);
    let colour: &str = OperationKind::Color.into();
    assert!(!found.contains_key(colour));
}
