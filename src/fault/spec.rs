//! A fault as a user writes it: `layer=conv1,site=output,image=0,channel=3,row=4,column=5,bit=30`.

use std::str::FromStr;

use super::model::parse_bits;
use super::{BitMasks, FaultModel, Format, Site};
use crate::rng::{self, Draw};
use crate::{Error, Result};

/// Which elements of a layer's output are hit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// The one that is named.
    #[default]
    Element,
    /// All channels of its pixel: row m of the GEMM view.
    Row,
    /// All pixels of its channel: column n of the GEMM view.
    Column,
    /// The kernel's tile around it.
    Tile,
}

impl Shape {
    const ALL: [(&'static str, Shape); 4] = [
        ("element", Shape::Element),
        ("row", Shape::Row),
        ("column", Shape::Column),
        ("tile", Shape::Tile),
    ];
}

/// One fault, addressed by PyTorch's coordinates.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultSpec {
    /// State-dict name of the layer, with or without `backbone.`.
    pub layer: String,
    pub site: Site,
    /// Image of the batch, from 0.
    pub image: usize,
    pub channel: usize,
    pub row: usize,
    pub column: usize,
    /// The number of terms that an accumulator has added, or the term κ of an operand.
    pub k: usize,
    /// Attention's head, and the number of the key within its part; the query is at row and column.
    pub head: usize,
    pub key: usize,
    /// The site `weight`: last part of the entry's name; empty for the one that the layer is named by
    /// (`logit_scale`), or its `weight`.
    pub parameter: String,
    /// The site `weight`: index in PyTorch's order.
    pub index: usize,
    /// The site `store-astray`: the bit of the byte offset that is wrong.
    pub offset_bit: u32,
    pub model: FaultModel,
    pub shape: Shape,
    /// What [`FaultModel::Random`] draws by.
    pub seed: u64,
}

impl FaultSpec {
    /// What it does to element `index` of what `name` calls, a value of `format`; random values are keyed
    /// by (seed, name, index).
    ///
    /// # Errors
    /// Those of [`FaultModel::masks`].
    pub fn masks(&self, name: &str, index: u64, format: Format) -> Result<BitMasks> {
        let random = match self.model {
            FaultModel::Random => {
                let stream = rng::stream(self.seed, &format!("random value {name}"));
                stream.block(index).next_u64() as u32
            }
            _ => 0,
        };
        self.model.masks(format, random)
    }

    const KEYS: &'static str = "layer, site, image, channel, row, column, k, head, key, parameter, \
                                index, offset-bit, bit, model, value, shape, seed";
}

impl FromStr for FaultSpec {
    type Err = Error;

    /// Parses `key=value` pairs separated by commas. `layer` is required, and `bit` where the model
    /// flips or sticks bits; the site is `output`, the model `flip`, the shape `element` and every
    /// number 0 unless said otherwise. `bit` takes numbers joined by `+` and bursts (`bit=30+2`,
    /// `bit=20..23`), `site` its term behind an `@` (`site=accumulator@37`).
    fn from_str(text: &str) -> Result<Self> {
        let bad = |detail: String| Error::usage(format!("fault '{text}': {detail}"));
        let mut fault = FaultSpec {
            layer: String::new(),
            site: Site::Output,
            image: 0,
            channel: 0,
            row: 0,
            column: 0,
            k: 0,
            head: 0,
            key: 0,
            parameter: String::new(),
            index: 0,
            offset_bit: 0,
            model: FaultModel::Flip(0),
            shape: Shape::Element,
            seed: 0,
        };
        let mut seen: Vec<&str> = Vec::new();
        let (mut mask, mut value, mut model) = (None, None, "flip");
        for pair in text.split(',') {
            let (key, given) = pair
                .split_once('=')
                .ok_or_else(|| bad(format!("'{pair}' is not of the form key=value")))?;
            let (key, given) = (key.trim(), given.trim());
            if seen.contains(&key) {
                return Err(bad(format!("{key} is given twice")));
            }
            seen.push(key);
            let number = |given: &str| {
                let number: Option<usize> = given.parse().ok();
                number.ok_or_else(|| bad(format!("{key} takes a whole number, not '{given}'")))
            };
            match key {
                "layer" => fault.layer = given.to_string(),
                "site" => {
                    let (site, term) = given.split_once('@').unwrap_or((given, ""));
                    fault.site = Site::parse(site)?;
                    if !term.is_empty() {
                        if !fault.site.has_term() {
                            return Err(bad(format!("the site {site} has no term '@{term}'")));
                        }
                        seen.push("k");
                        fault.k = number(term)?;
                    }
                }
                "image" => fault.image = number(given)?,
                "channel" => fault.channel = number(given)?,
                "row" => fault.row = number(given)?,
                "column" => fault.column = number(given)?,
                "k" => fault.k = number(given)?,
                "head" => fault.head = number(given)?,
                "key" => fault.key = number(given)?,
                "parameter" => fault.parameter = given.to_string(),
                "index" => fault.index = number(given)?,
                "offset-bit" => fault.offset_bit = number(given)? as u32,
                "seed" => fault.seed = number(given)? as u64,
                "bit" => mask = Some(parse_bits(given).map_err(bad)?),
                "model" => model = given,
                "value" => {
                    let bits = given.strip_prefix("0x").map(|hex| u32::from_str_radix(hex, 16));
                    value = Some(match bits {
                        Some(bits) => f32::from_bits(
                            bits.map_err(|_| bad(format!("value: '{given}' is no f32 in hex")))?,
                        ),
                        None => given
                            .parse()
                            .map_err(|_| bad(format!("value takes a number, not '{given}'")))?,
                    });
                }
                "shape" => {
                    let known = Shape::ALL.into_iter().find(|(name, _)| *name == given);
                    let names = Shape::ALL.map(|(name, _)| name).join(", ");
                    fault.shape = known
                        .ok_or_else(|| bad(format!("unknown shape '{given}'; known: {names}")))?
                        .1;
                }
                other => {
                    return Err(bad(format!("unknown key '{other}'; known: {}", FaultSpec::KEYS)));
                }
            }
        }
        if fault.layer.is_empty() {
            return Err(bad("layer is missing".into()));
        }
        let stores = matches!(fault.site, Site::StoreLost | Site::StoreAstray);
        let bits = || mask.ok_or_else(|| bad("bit is missing".into()));
        fault.model = match model {
            // A store that is lost or goes astray has no bits of its own.
            "flip" if stores => FaultModel::Flip(0),
            "flip" => FaultModel::Flip(bits()?),
            "stuck-at-0" => FaultModel::StuckAt0(bits()?),
            "stuck-at-1" => FaultModel::StuckAt1(bits()?),
            "set" => FaultModel::Set(value.ok_or_else(|| bad("value is missing".into()))?),
            "random" => FaultModel::Random,
            other => {
                return Err(bad(format!(
                    "unknown model '{other}'; known: flip, stuck-at-0, stuck-at-1, set, random"
                )));
            }
        };
        if fault.site.has_term() && !seen.contains(&"k") {
            return Err(bad(format!("the site {} needs its term, k", fault.site.name())));
        }
        let wants_channel =
            !matches!(fault.site, Site::Weight | Site::Scores | Site::Probabilities);
        if wants_channel && !seen.contains(&"channel") {
            return Err(bad("channel is missing".into()));
        }
        if fault.shape != Shape::Element && !matches!(fault.site, Site::Output | Site::StoreLost) {
            return Err(bad("a shape is of the output: site=output or store-lost".into()));
        }
        Ok(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<FaultSpec> {
        text.parse()
    }

    #[test]
    fn a_fault_is_read() {
        let fault = parse("layer=conv1, site=accumulator@37, channel=3,bit=30+2").unwrap();
        assert_eq!((fault.layer.as_str(), fault.site, fault.k), ("conv1", Site::Accumulator, 37));
        assert_eq!((fault.channel, fault.row, fault.image), (3, 0, 0));
        assert_eq!(fault.model, FaultModel::Flip(1 << 30 | 1 << 2));
        let fault = parse("layer=fc,channel=1,model=set,value=0x7f800000,shape=row").unwrap();
        assert_eq!(fault.model, FaultModel::Set(f32::INFINITY));
        assert_eq!(fault.shape, Shape::Row);
        let fault = parse("layer=a,site=weight,index=9,model=stuck-at-1,bit=20..23").unwrap();
        assert_eq!((fault.index, fault.model), (9, FaultModel::StuckAt1(0xf << 20)));
        assert!(parse("layer=a,site=store-lost,channel=0").is_ok());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, word) in [
            ("channel=0,bit=1", "layer is missing"),
            ("layer=a,channel=0", "bit is missing"),
            ("layer=a,bit=0", "channel is missing"),
            ("layer=a,channel=0,bit=32", "0 to 31"),
            ("layer=a,channel=0,bit=1,bit=2", "twice"),
            ("layer=a,channel=0,model=set", "value is missing"),
            ("layer=a,channel=0,model=heat,bit=1", "unknown model"),
            ("layer=a,site=operand-a,channel=0,bit=1", "needs its term"),
            ("layer=a,site=output@4,channel=0,bit=1", "no term"),
            ("layer=a,site=input,shape=row,channel=0,bit=1", "shape"),
            ("layer=a,colour=0", "unknown key"),
            ("layer", "key=value"),
        ] {
            let said = parse(text).unwrap_err().to_string();
            assert!(said.contains(word), "{text}: {said}");
        }
    }
}
