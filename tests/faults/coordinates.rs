//! Faults as text, on layers: of every site, shape and model, a key that is taken changes what is hit, and every
//! other one is refused by name.

use flipside::Result;
use flipside::fault::{FaultEntry, FaultSpec, Site};
use flipside::number::{Compute, Format};
use flipside::ops::attention::{Attention, Form, Partition};
use flipside::ops::conv2d::Conv2d;
use flipside::tape::{self, Tape};
use flipside::tensor::{Map, Spec};

/// Two convolutions of several tiles in both directions, and two attentions.
fn network() -> Tape {
    let mut tape = Tape::new();
    let conv = Conv2d { bias: true, ..Conv2d::square(5, 150, 3, 1, 1) };
    let attention = Attention {
        heads: 4,
        form: Form::Dot { scale: 0.25 },
        partition: Partition::Whole { causal: false },
        bias: None,
    };
    let x = tape.input("x", Spec::f32(Map::new(3, 300, 5)));
    let tokens = tape.input("tokens", Spec::f32(Map::new(4, 5, 96)));
    for name in ["a", "b"] {
        tape.record(name, conv, &[x]).unwrap();
        tape.record(&format!("{name}.attention"), attention, &[tokens]).unwrap();
    }
    tape
}

/// What a fault hits, and how: layer or parameter, image, entries.
type Hit = (usize, usize, Vec<FaultEntry>);

fn hit(tape: &Tape, spec: &FaultSpec, compute: Compute) -> Result<Hit> {
    if spec.site == Site::Weight {
        let (id, index) = tape::weight_entry(tape, spec)?;
        let masks = spec.masks(&spec.layer, index as u64, Format::F32)?;
        let entry = FaultEntry::at(Site::Weight, index as u64, 0, masks);
        return Ok((id.0, spec.image, vec![entry]));
    }
    let node = tape.find(&spec.layer)?;
    Ok((node.0, spec.image, tape::entries(tape, node, spec, compute)?))
}

/// Two values of a key that mean different places, bits or values to the network, in either tile.
fn values(key: &str, site: Site) -> [&'static str; 2] {
    let is_map = !matches!(site, Site::Weight | Site::Scores | Site::Probabilities);
    match key {
        "layer" if matches!(site, Site::Scores | Site::Probabilities) => {
            ["a.attention", "b.attention"]
        }
        "layer" => ["a", "b"],
        "channel" if site == Site::Input => ["1", "4"],
        "channel" => ["1", "140"],
        "column" if is_map => ["2", "290"],
        "row" => ["0", "2"],
        "bit" => ["30", "14..15"],
        "value" => ["1.5", "-2"],
        "offset-bit" => ["5", "6"],
        "parameter" => ["weight", "bias"],
        "index" if is_map && site != Site::Input => ["126000", "0"],
        "index" => ["7", "0"],
        "shape" => ["row", "tile"],
        "model" => ["stuck-at-1", "set"],
        "site" => [site.name(), site.name()],
        _ => ["1", "2"],
    }
}

fn places(site: Site, shape: &str) -> &'static [&'static str] {
    match (site, shape) {
        (Site::Weight, _) => &["out", "in", "row", "column"],
        (Site::Scores | Site::Probabilities, _) => &["head", "row", "column", "key"],
        (_, "row") => &["row", "column"],
        (_, "column") => &["channel"],
        _ => &["channel", "row", "column"],
    }
}

/// Keys of a whole fault and what they are given.
fn whole(site: Site, shape: &str, model: &str) -> Vec<(&'static str, String)> {
    let mut keys = vec!["layer", "site", "image"];
    keys.extend(places(site, shape));
    keys.extend(site.has_term().then_some("k"));
    keys.extend((site == Site::StoreAstray).then_some("offset-bit"));
    let is_store = matches!(site, Site::StoreLost | Site::StoreAstray);
    match model {
        _ if is_store => {}
        "set" => keys.push("value"),
        "random" => keys.push("seed"),
        _ => keys.push("bit"),
    }
    let mut pairs: Vec<(&str, String)> =
        keys.into_iter().map(|key| (key, values(key, site)[0].to_string())).collect();
    pairs.extend((shape != "element").then(|| ("shape", shape.to_string())));
    pairs.extend((!is_store && model != "flip").then(|| ("model", model.to_string())));
    pairs
}

fn read(pairs: &[(&'static str, String)]) -> std::result::Result<FaultSpec, String> {
    FaultSpec::of_pairs(pairs.iter().map(|(key, value)| (*key, value.as_str())))
}

#[test]
fn every_key_that_is_taken_changes_what_is_hit() {
    let tape = network();
    let mut taken = 0;
    let shapes = |site| match site {
        Site::Output | Site::StoreLost => &["element", "row", "column", "tile"][..],
        _ => &["element"],
    };
    let cases = Site::ALL.into_iter().flat_map(|site| shapes(site).iter().map(move |s| (site, *s)));
    for (site, shape) in cases {
        for model in ["flip", "stuck-at-0", "stuck-at-1", "set", "random"] {
            for compute in [Compute::Exact, Compute::Tf32] {
                let base = whole(site, shape, model);
                let golden = hit(&tape, &read(&base).unwrap(), compute).unwrap();
                for key in FaultSpec::KEYS {
                    let given = base.iter().any(|(known, _)| *known == key);
                    let value = values(key, site)[usize::from(given)].to_string();
                    let mut changed = base.clone();
                    changed.retain(|(known, _)| *known != key);
                    match key {
                        // These choose which keys there are: that is tried where they are read.
                        "site" | "shape" | "model" => continue,
                        // In place of coordinates, which not every parameter has.
                        "index" if matches!(shape, "element" | "tile") => {
                            without_place(&mut changed, site)
                        }
                        "parameter" if site == Site::Weight => {
                            without_place(&mut changed, site);
                            changed.push(("index", "7".into()));
                            changed.push(("parameter", "bias".into()));
                            assert_ne!(
                                hit(&tape, &read(&changed).unwrap(), compute).unwrap(),
                                golden
                            );
                            changed.pop();
                        }
                        _ => {}
                    }
                    changed.push((key, value));
                    match read(&changed) {
                        Ok(spec) => {
                            taken += 1;
                            let found = hit(&tape, &spec, compute);
                            let found =
                                found.unwrap_or_else(|error| panic!("{changed:?}: {error}"));
                            assert_ne!(found, golden, "{key} changes nothing: {changed:?}");
                        }
                        Err(said) => {
                            assert!(!given, "{changed:?}: {said}");
                            assert!(said.starts_with(&format!("{key} means nothing")), "{said}");
                        }
                    }
                }
            }
        }
    }
    assert!(taken > 700, "{taken}");
}

fn without_place(pairs: &mut Vec<(&'static str, String)>, site: Site) {
    pairs.retain(|(known, _)| !places(site, "element").contains(known));
}

/// Coordinates, an index a dimension and the number in PyTorch's order are one place.
#[test]
fn coordinates_and_indices_agree() {
    let tape = network();
    let of = |text: &str| hit(&tape, &text.parse().unwrap(), Compute::Exact).unwrap();
    for (site, [named, index, flat]) in [
        ("output,bit=1", ["channel=7,row=2,column=31", "index=7/2/31", "index=6931"]),
        ("input,bit=1", ["channel=4,row=1,column=31", "index=4/1/31", "index=3931"]),
        ("accumulator@4,bit=1", ["channel=7,row=2,column=31", "index=7/2/31", "index=6931"]),
        ("store-lost", ["channel=7,row=2,column=31", "index=7/2/31", "index=6931"]),
        ("weight,bit=1", ["out=5,in=3,row=2,column=1", "index=5/3/2/1", "index=259"]),
        ("weight,parameter=bias,bit=1", ["out=149", "index=149", "index=149"]),
    ] {
        let expected = of(&format!("layer=a,site={site},{named}"));
        assert_eq!(of(&format!("layer=a,site={site},{index}")), expected);
        assert_eq!(of(&format!("layer=a,site={site},{flat}")), expected);
    }
    let scores = "layer=a.attention,site=scores,bit=1";
    // ((head · height + row) · width + column) · keys + key of 4 heads, 4×5 queries, 20 keys.
    let expected = of(&format!("{scores},head=3,row=2,column=4,key=17"));
    assert_eq!(expected.2[0].element, ((3 * 4 + 2) * 5 + 4) * 20 + 17);
    assert_eq!(of(&format!("{scores},index=3/2/4/17")), expected);
}

/// Bits of operands are numbered as exports number them.
#[test]
fn bits_of_operands_are_those_of_the_word_that_holds_them() {
    let tape = network();
    for (compute, first, last) in [
        (Compute::Exact, 0, 31),
        (Compute::Tf32, 13, 31),
        (Compute::Bf16, 0, 15),
        (Compute::F16, 0, 15),
    ] {
        for (site, bit) in ["operand-a", "operand-b", "shared-a", "shared-b"]
            .iter()
            .flat_map(|s| (0..32).map(move |b| (s, b)))
        {
            let text = format!("layer=a,site={site}@3,channel=1,bit={bit}");
            let found = hit(&tape, &text.parse().unwrap(), compute);
            if (first..=last).contains(&bit) {
                assert_eq!(found.unwrap().2[0].masks().xor, 1 << bit, "{text} {compute}");
            } else {
                let said = found.unwrap_err().to_string();
                assert!(said.contains(&format!("bits {first} to {last}")), "{said}");
            }
        }
    }
}
