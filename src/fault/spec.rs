//! A fault as a user writes it: `layer=conv1,site=output,image=0,channel=3,row=4,column=5,bit=30`.

use std::ops::RangeInclusive;
use std::str::FromStr;

use super::{Addressed, Place, Shape, Site, place};
use crate::number::{BitMasks, FaultModel, Format, parse_bits};
use crate::rng::{self, Draw};
use crate::{Error, Result};

/// One fault, addressed by PyTorch's coordinates.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultSpec {
    /// State-dict name of the layer, with or without `backbone.`.
    pub layer: String,
    pub site: Site,
    /// Image of the batch, from 0.
    pub image: usize,
    /// channel, row, column of a map; head, row, column (of the query) and key (within its part) of
    /// attention; an entry of a parameter ([`super::place::of_parameter`]).
    pub place: Place,
    /// The number of terms that an accumulator has added, or the term κ of an operand.
    pub k: u32,
    /// For the site `weight`: the last part of the parameter's name. Empty means the layer's `weight`, or
    /// the parameter that has the layer's own name (`logit_scale`).
    pub parameter: String,
    /// The site `store-astray`: the bit of the byte offset that is wrong.
    pub offset_bit: u32,
    pub model: FaultModel,
    pub shape: Shape,
    /// What [`FaultModel::Random`] draws by.
    pub seed: u64,
}

/// Fault models by name.
const MODELS: [&str; 5] = ["flip", "stuck-at-0", "stuck-at-1", "set", "random"];

impl FaultSpec {
    /// Every key, whichever site it is for.
    pub const KEYS: [&'static str; 19] = [
        "layer",
        "site",
        "image",
        "channel",
        "row",
        "column",
        "k",
        "head",
        "key",
        "parameter",
        "out",
        "in",
        "index",
        "offset-bit",
        "shape",
        "model",
        "bit",
        "value",
        "seed",
    ];

    /// The keys that say where within the layer's site a fault of this shape lies.
    pub fn place_keys(site: Site, shape: Shape) -> &'static [&'static str] {
        match (site.addressed(), shape) {
            (Addressed::Parameter, _) => &["out", "in", "row", "column", "index"],
            (Addressed::Score, _) => &["head", "row", "column", "key", "index"],
            (_, Shape::Row) => &["row", "column"],
            (_, Shape::Column) => &["channel"],
            _ => &["channel", "row", "column", "index"],
        }
    }

    /// The keys that change a fault of this kind.
    fn keys(site: Site, shape: Shape, model: &str) -> Vec<&'static str> {
        let of_model = match model {
            _ if site.is_store() => &[][..],
            "set" => &["model", "value"],
            "random" => &["model", "seed"],
            _ => &["model", "bit"],
        };
        let of_site = match site {
            Site::Weight => &["parameter"][..],
            Site::StoreAstray => &["offset-bit"],
            Site::Output | Site::StoreLost => &["shape"],
            site if site.has_term() => &["k"],
            _ => &[],
        };
        let parts =
            [&["layer", "site", "image"], of_site, FaultSpec::place_keys(site, shape), of_model];
        parts.concat()
    }

    /// The masks for element `index`, of `format`, of the tensor `name`; random values are keyed by
    /// (seed, name, index).
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
        let named = |error| Error::usage(format!("'{name}': {error}"));
        self.model.masks(format, random).map_err(named)
    }

    /// The fault that keys and their values describe. `layer` is required, and what the site needs: a
    /// place, a term, bits. The site is `output`, the model `flip`, the shape `element`, the image 0 and so
    /// are row and column of a map, unless said otherwise. A key that the fault has no use for is an error.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn of_pairs<'t>(
        pairs: impl IntoIterator<Item = (&'t str, &'t str)>,
    ) -> std::result::Result<FaultSpec, String> {
        let mut given = KeyValues(Vec::new());
        for (key, value) in pairs {
            given.add(key, value)?;
        }
        if let Some((site, term)) = given.get("site").and_then(|site| site.split_once('@')) {
            given.set("site", site);
            given.add("k", term)?;
        }
        let site = Site::parse(given.get("site").unwrap_or("output"));
        let site = site.map_err(|error| error.to_string())?;
        let shape = given.get("shape").map_or(Ok(Shape::Element), str::parse);
        let shape = shape.map_err(|error: Error| error.to_string())?;
        let model = given.get("model").unwrap_or("flip");
        if !MODELS.contains(&model) {
            return Err(format!("unknown model '{model}'; known: {}", MODELS.join(", ")));
        }
        let keys = FaultSpec::keys(site, shape, model);
        if let Some((key, _)) = given.0.iter().find(|(key, _)| !keys.contains(key)) {
            let of_shape = match shape {
                Shape::Element => String::new(),
                shape => format!(", shape {shape}"),
            };
            return Err(format!(
                "{key} means nothing to a fault of the site {}{of_shape}, model {model}, which takes {}",
                site.name(),
                keys.join(", ")
            ));
        }
        let layer = given.get("layer").filter(|name| !name.is_empty());
        if given.get("parameter") == Some("") {
            return Err("parameter is empty".into());
        }
        Ok(FaultSpec {
            layer: layer.ok_or("layer is missing")?.to_string(),
            site,
            image: given.size("image")?.unwrap_or(0),
            place: given.place(site, shape)?,
            k: match given.number("k", 0..=u32::MAX.into())? {
                None if site.has_term() => {
                    return Err(format!("the site {} needs its term, k", site.name()));
                }
                k => k.unwrap_or(0) as u32,
            },
            parameter: given.get("parameter").unwrap_or_default().to_string(),
            offset_bit: match given.number("offset-bit", 0..=63)? {
                None if site == Site::StoreAstray => return Err("offset-bit is missing".into()),
                bit => bit.unwrap_or(0) as u32,
            },
            model: given.model(site, model)?,
            shape,
            seed: given.number("seed", 0..=u64::MAX)?.unwrap_or(0),
        })
    }
}

/// Keys, none of them twice, with their values.
struct KeyValues<'t>(Vec<(&'static str, &'t str)>);

impl<'t> KeyValues<'t> {
    fn add(&mut self, key: &str, value: &'t str) -> std::result::Result<(), String> {
        let Some(key) = FaultSpec::KEYS.into_iter().find(|known| *known == key) else {
            return Err(format!("unknown key '{key}'; known: {}", FaultSpec::KEYS.join(", ")));
        };
        if self.get(key).is_some() {
            return Err(format!("{key} is given twice"));
        }
        self.0.push((key, value));
        Ok(())
    }

    fn set(&mut self, key: &str, value: &'t str) {
        self.0.iter_mut().filter(|(known, _)| *known == key).for_each(|pair| pair.1 = value);
    }

    fn get(&self, key: &str) -> Option<&'t str> {
        self.0.iter().find(|(known, _)| *known == key).map(|(_, value)| *value)
    }

    fn number(
        &self,
        key: &str,
        range: RangeInclusive<u64>,
    ) -> std::result::Result<Option<u64>, String> {
        self.get(key).map(|text| place::number(key, text, range)).transpose()
    }

    fn size(&self, key: &str) -> std::result::Result<Option<usize>, String> {
        self.get(key).map(|text| size(key, text)).transpose()
    }

    fn place(&self, site: Site, shape: Shape) -> std::result::Result<Place, String> {
        let names = FaultSpec::place_keys(site, shape).iter().filter(|key| **key != "index");
        let mut named = Vec::new();
        for name in names {
            named.extend(self.size(name)?.map(|number| (*name, number)));
        }
        let has = |name: &str| named.iter().any(|(known, _)| *known == name);
        if let Some(index) = self.get("index") {
            if let Some((name, _)) = named.first() {
                return Err(format!("index says where, so that {name} has to go"));
            }
            let numbers: Vec<&str> = index.split('/').collect();
            let numbers = numbers.into_iter().map(|text| size("index", text));
            let numbers: Vec<usize> = numbers.collect::<std::result::Result<_, _>>()?;
            return Ok(match numbers[..] {
                [number] => Place::Flat(number),
                _ => Place::Index(numbers),
            });
        }
        if site != Site::Weight {
            let is_map = site.addressed() != Addressed::Score;
            if is_map && shape != Shape::Row && !has("channel") {
                return Err("channel is missing".into());
            }
            let others = FaultSpec::place_keys(site, shape).iter().filter(|key| **key != "index");
            let absent: Vec<&str> = others.filter(|key| !has(key)).copied().collect();
            named.extend(absent.into_iter().map(|key| (key, 0)));
        }
        Ok(Place::Named(named))
    }

    fn model(&self, site: Site, model: &str) -> std::result::Result<FaultModel, String> {
        if site.is_store() {
            return Ok(FaultModel::Flip(0));
        }
        let bits = || parse_bits(self.get("bit").ok_or("bit is missing")?);
        Ok(match model {
            "stuck-at-0" => FaultModel::StuckAt0(bits()?),
            "stuck-at-1" => FaultModel::StuckAt1(bits()?),
            "set" => FaultModel::Set(parse_value(self.get("value").ok_or("value is missing")?)?),
            "random" => FaultModel::Random,
            _ => FaultModel::Flip(bits()?),
        })
    }
}

fn size(key: &str, text: &str) -> std::result::Result<usize, String> {
    let number = place::number(key, text, 0..=u32::MAX.into())?;
    Ok(number as usize)
}

/// A number, or an f32's bits in hex behind 0x.
fn parse_value(text: &str) -> std::result::Result<f32, String> {
    if let Some(hex) = text.strip_prefix("0x") {
        // Fewer digits may be meant for 16 bits, or as the leading ones.
        let is_whole = hex.len() == 8 && hex.bytes().all(|digit| digit.is_ascii_hexdigit());
        return match u32::from_str_radix(hex, 16) {
            Ok(bits) if is_whole => Ok(f32::from_bits(bits)),
            _ => Err(format!("value: '{text}' isn't the 8 hex digits of an f32's bits")),
        };
    }
    let value: f32 = text.parse().map_err(|_| format!("value takes a number, not '{text}'"))?;
    if value.is_infinite() && !text.to_ascii_lowercase().contains("inf") {
        return Err(format!("value: {text} is more than an f32 holds; inf is a value"));
    }
    Ok(value)
}

impl FromStr for FaultSpec {
    type Err = Error;

    /// Parses `key=value` pairs separated by commas, see [`FaultSpec::of_pairs`]. `bit` takes numbers joined by
    /// `+` and bursts (`bit=30+2`, `bit=20..23`), `site` its term behind an `@` (`site=accumulator@37`), `index`
    /// one number or one a dimension (`index=5/0/2/1`).
    fn from_str(text: &str) -> Result<Self> {
        let bad = |detail: String| Error::usage(format!("fault '{text}': {detail}"));
        let mut pairs = Vec::new();
        for pair in text.split(',') {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(bad(format!("'{pair}' is not of the form key=value")));
            };
            pairs.push((key.trim(), value.trim()));
        }
        FaultSpec::of_pairs(pairs).map_err(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<FaultSpec> {
        text.parse()
    }

    fn named(numbers: &[(&'static str, usize)]) -> Place {
        Place::Named(numbers.to_vec())
    }

    #[test]
    fn a_fault_is_read() {
        let fault = parse("layer=conv1, site=accumulator@37, channel=3,bit=30+2").unwrap();
        assert_eq!((fault.layer.as_str(), fault.site, fault.k), ("conv1", Site::Accumulator, 37));
        assert_eq!(fault.place, named(&[("channel", 3), ("row", 0), ("column", 0)]));
        assert_eq!((fault.image, fault.model), (0, FaultModel::Flip(1 << 30 | 1 << 2)));
        let fault = parse("layer=fc,model=set,value=0x7f800000,shape=row").unwrap();
        assert_eq!(fault.model, FaultModel::Set(f32::INFINITY));
        assert_eq!((fault.shape, fault.place), (Shape::Row, named(&[("row", 0), ("column", 0)])));
        let fault = parse("layer=a,site=weight,index=9,model=stuck-at-1,bit=20..23").unwrap();
        assert_eq!((fault.place, fault.model), (Place::Flat(9), FaultModel::StuckAt1(0xf << 20)));
        let fault = parse("layer=a,site=weight,out=5,in=0,row=2,column=1,bit=0").unwrap();
        assert_eq!(fault.place, named(&[("out", 5), ("in", 0), ("row", 2), ("column", 1)]));
        let fault = parse("layer=a,index=5/0/2,bit=0").unwrap();
        assert_eq!(fault.place, Place::Index(vec![5, 0, 2]));
        assert!(parse("layer=a,site=store-lost,channel=0").is_ok());
        assert_eq!(
            parse("layer=a,channel=0,model=random,seed=18446744073709551615").unwrap().seed,
            u64::MAX
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, word) in [
            ("channel=0,bit=1", "layer is missing"),
            ("layer=a,channel=0", "bit is missing"),
            ("layer=a,bit=0", "channel is missing"),
            ("layer=a,channel=0,bit=32", "0 to 31"),
            ("layer=a,channel=0,model=set,value=0x3f80", "8 hex digits"),
            ("layer=a,channel=0,model=set,value=0x+3f80000", "8 hex digits"),
            ("layer=a,channel=0,bit=1,bit=2", "twice"),
            ("layer=a,site=accumulator@4,k=3,channel=0,bit=1", "k is given twice"),
            ("layer=a,k=3,site=accumulator@4,channel=0,bit=1", "k is given twice"),
            ("layer=a,site=accumulator@,channel=0,bit=1", "k takes a whole number"),
            ("layer=a,channel=0,model=set", "value is missing"),
            ("layer=a,channel=0,model=set,value=1e39", "more than an f32"),
            ("layer=a,channel=0,model=set,value=x", "value takes a number"),
            ("layer=a,channel=0,model=heat,bit=1", "unknown model"),
            ("layer=a,site=operand-a,channel=0,bit=1", "needs its term"),
            (
                "layer=a,site=output@4,channel=0,bit=1",
                "k means nothing to a fault of the site output",
            ),
            ("layer=a,site=input,shape=row,channel=0,bit=1", "shape means nothing"),
            (
                "layer=a,site=weight,channel=5,row=2,column=1,bit=1",
                "which takes layer, site, image, parameter, out, in",
            ),
            ("layer=a,site=weight,index=1,out=2,bit=1", "index says where"),
            ("layer=a,site=weight,parameter=,index=1,bit=1", "parameter is empty"),
            ("layer=a,site=store-astray,channel=0", "offset-bit is missing"),
            ("layer=a,site=store-astray,channel=0,offset-bit=4294967302", "from 0 to 63"),
            ("layer=a,site=accumulator,k=4294967297,channel=0,bit=1", "from 0 to 4294967295"),
            ("layer=a,channel=18446744073709551617,bit=1", "not '18446744073709551617'"),
            ("layer=a,channel=-1,bit=1", "not '-1'"),
            ("layer=a,channel=1.0,bit=1", "not '1.0'"),
            ("layer=a,index=1/,bit=1", "not ''"),
            ("layer=a,colour=0", "unknown key"),
            ("layer", "key=value"),
        ] {
            let said = parse(text).unwrap_err().to_string();
            assert!(said.contains(word), "{text}: {said}");
        }
    }

    /// For every site, shape and model, a fault accepts its own keys and no others.
    #[test]
    #[cfg_attr(miri, ignore = "slow, and all of it safe")]
    fn a_key_is_taken_where_it_means_something() {
        let value = |key: &str| match key {
            "layer" => "a",
            "parameter" => "bias",
            "index" => "1",
            "value" => "1.5",
            _ => "2",
        };
        for site in Site::ALL {
            let shapes = match site {
                Site::Output | Site::StoreLost => &["element", "row", "column", "tile"][..],
                _ => &["element"],
            };
            for (shape, model) in shapes.iter().flat_map(|s| MODELS.map(|m| (*s, m))) {
                let is_kind = |key: &str| matches!(key, "site" | "shape" | "model");
                let keys = FaultSpec::keys(site, shape.parse().unwrap(), model);
                let of_kind = |key: &str| match key {
                    "site" => site.name(),
                    "shape" => shape,
                    _ => model,
                };
                let kind =
                    || ["site", "shape", "model"].into_iter().filter(|key| keys.contains(key));
                let base: Vec<(&str, &str)> = kind().map(|key| (key, of_kind(key))).collect();
                let whole: Vec<(&str, &str)> = (keys.iter())
                    .filter(|key| !is_kind(key) && **key != "index")
                    .map(|key| (*key, value(key)))
                    .chain(base.iter().copied())
                    .collect();
                let fault = FaultSpec::of_pairs(whole.iter().copied()).unwrap();
                for key in FaultSpec::KEYS.into_iter().filter(|key| !is_kind(key)) {
                    let mut changed = whole.clone();
                    match changed.iter_mut().find(|(known, _)| *known == key) {
                        Some(pair) => pair.1 = if key == "layer" { "b" } else { "3" },
                        None => changed.push((key, value(key))),
                    }
                    if key == "index" && keys.contains(&key) {
                        let places = FaultSpec::place_keys(site, shape.parse().unwrap());
                        changed.retain(|(known, _)| *known == key || !places.contains(known));
                    }
                    let what = format!("{changed:?}");
                    let read = FaultSpec::of_pairs(changed);
                    match keys.contains(&key) {
                        true => assert_ne!(read.expect(&what), fault, "{what}"),
                        false => assert!(read.unwrap_err().contains(key), "{what}"),
                    }
                }
                for key in ["shape", "model"].into_iter().filter(|key| !keys.contains(key)) {
                    let mut changed = whole.clone();
                    changed.push((key, of_kind(key)));
                    let said = FaultSpec::of_pairs(changed).unwrap_err();
                    assert!(said.contains(&format!("{key} means nothing")), "{said}");
                }
            }
        }
    }
}
