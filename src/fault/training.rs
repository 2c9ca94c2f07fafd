//! Faults while training as a user writes them: `site=output,rate=1e-6,bits=mantissa+sign,layers=layer1.*,epochs=2-5`.

use std::fmt;
use std::str::FromStr;

use super::Site;
use crate::number::{Format, OnlyBits};
use crate::{Error, Result};

/// Bits that flip while a network is trained: each chosen bit of each value of the layers, on its own, in each pass
/// anew.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingFault {
    /// [`Site::Output`]: what convolutions and linear layers store, bias included, before batch norm and activation.
    /// [`Site::Weight`]: parameters, as forward and backward passes read them; updates move those without flips.
    pub site: Site,
    /// The bit error rate: with which probability each bit flips.
    pub rate: f64,
    /// The bits of an f32 that can flip.
    pub bits: OnlyBits,
    /// A pattern over names of layers or, for weights, of parameters, in which `*` stands for any characters; all of
    /// them if `None`.
    pub layers: Option<String>,
    /// The first and the last epoch with flips, from 1; every one if `None`.
    pub epochs: Option<[usize; 2]>,
}

/// The keys, of which `bit` is another word for `bits`.
const KEYS: [&str; 6] = ["site", "rate", "bits", "bit", "layers", "epochs"];

impl TrainingFault {
    /// The bits that can flip, as a mask.
    pub fn mask(&self) -> u32 {
        self.bits.within(Format::F32)
    }

    /// Whether there are flips in an epoch, from 0.
    pub fn is_in(&self, epoch: usize) -> bool {
        self.epochs.is_none_or(|[first, last]| (first..=last).contains(&(epoch + 1)))
    }
}

impl FromStr for TrainingFault {
    type Err = Error;

    fn from_str(text: &str) -> Result<TrainingFault> {
        read(text)
            .map_err(|detail| Error::usage(format!("faults while training '{text}': {detail}")))
    }
}

fn read(text: &str) -> std::result::Result<TrainingFault, String> {
    let mut given: Vec<(&str, &str)> = Vec::new();
    for part in text.split(',') {
        let (key, value) = part.split_once('=').ok_or_else(|| {
            format!("'{part}' isn't of the form key=value, as in site=output,rate=1e-6")
        })?;
        let key = KEYS
            .into_iter()
            .find(|known| *known == key)
            .ok_or_else(|| format!("unknown key '{key}'; known: {}", KEYS.join(", ")))?;
        let as_bits = |key| if key == "bit" { "bits" } else { key };
        if given.iter().any(|(known, _)| as_bits(known) == as_bits(key)) {
            return Err(format!("{} is given twice", as_bits(key)));
        }
        if value.is_empty() {
            return Err(format!("{key} is empty"));
        }
        given.push((key, value));
    }
    let get = |key: &str| given.iter().find(|(known, _)| *known == key).map(|(_, value)| *value);
    let bits = get("bits").or(get("bit"));
    // Commas part keys here.
    let bits = bits.map(|bits| bits.replace('+', ",").parse::<OnlyBits>());
    Ok(TrainingFault {
        site: site(get("site").ok_or("site is missing: output or weight")?)?,
        rate: rate(get("rate").ok_or("rate is missing: the probability with which a bit flips")?)?,
        bits: bits.transpose().map_err(|error| error.to_string())?.unwrap_or_default(),
        layers: get("layers").map(str::to_string),
        epochs: get("epochs").map(epochs).transpose()?,
    })
}

fn site(name: &str) -> std::result::Result<Site, String> {
    let known = |_| format!("unknown fault site '{name}'; known while training: output, weight");
    match Site::parse(name).map_err(known)? {
        site @ (Site::Output | Site::Weight) => Ok(site),
        site => Err(format!(
            "the site {name} is none of training: bits flip in what is stored, output or weight; {}",
            match site {
                Site::Input => "a layer's input is another one's output",
                Site::StoreLost | Site::StoreAstray => "a store that fails flips no bit",
                _ => "what lies inside of kernels is hit in inference alone",
            }
        )),
    }
}

fn rate(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate < 1.0 => Ok(rate),
        Ok(rate) => Err(format!("a rate lies between 0 and 1, not at {rate}")),
        Err(_) => Err(format!("rate takes a number, not '{text}'")),
    }
}

/// `3-5` or `3`.
fn epochs(text: &str) -> std::result::Result<[usize; 2], String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if 0 < first && first <= last => Ok([first, last]),
        _ => Err(format!("epochs are a first and a last one, from 1, as in 2-5, not '{text}'")),
    }
}

impl fmt::Display for TrainingFault {
    /// In the form that is parsed; keys with their default values are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "site={},rate={:e}", self.site.name(), self.rate)?;
        if !self.bits.is_all() {
            write!(f, ",bits={}", self.bits.to_string().replace(',', "+"))?;
        }
        if let Some(layers) = &self.layers {
            write!(f, ",layers={layers}")?;
        }
        match self.epochs {
            Some([first, last]) => write!(f, ",epochs={first}-{last}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_as_the_same() {
        for text in [
            "site=output,rate=1e-6",
            "site=weight,rate=2.5e-3,bits=30",
            "site=output,rate=1e-6,bits=0..22+sign,layers=layer1.*,epochs=2-5",
            "site=weight,rate=5e-1,bits=mantissa,layers=*.weight",
        ] {
            let fault: TrainingFault = text.parse().unwrap();
            assert_eq!(fault.to_string(), text);
        }
        let fault: TrainingFault =
            "rate=0.001,site=output,bit=23..24+mantissa,epochs=3".parse().unwrap();
        assert_eq!(fault.mask(), 0x01ff_ffff);
        assert_eq!([1, 2, 3].map(|epoch| fault.is_in(epoch)), [false, true, false]);
        assert_eq!("site=weight,rate=0.1".parse::<TrainingFault>().unwrap().mask(), u32::MAX);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (text, word) in [
            ("", "key=value"),
            ("rate=1e-6", "site is missing"),
            ("site=output", "rate is missing"),
            ("site=output,rate=0", "between 0 and 1, not at 0"),
            ("site=output,rate=1", "between 0 and 1"),
            ("site=output,rate=NaN", "between 0 and 1"),
            ("site=output,rate=-1e-3", "between 0 and 1"),
            ("site=output,rate=x", "takes a number"),
            ("site=input,rate=1e-6", "another one's output"),
            ("site=accumulator,rate=1e-6", "inside of kernels"),
            ("site=store-lost,rate=1e-6", "flips no bit"),
            ("site=heart,rate=1e-6", "unknown fault site 'heart'; known while training: output"),
            ("site=output,rate=1e-6,heat=3", "unknown key 'heat'; known: site, rate, bits"),
            ("site=output,rate=1e-6,bits=32", "from 0 to 31"),
            ("site=output,rate=1e-6,bits=tail", "is no bit"),
            ("site=output,rate=1e-6,bits=3,bit=4", "given twice"),
            ("site=output,rate=1e-6,layers=", "layers is empty"),
            ("site=output,rate=1e-6,epochs=0-3", "from 1"),
            ("site=output,rate=1e-6,epochs=4-3", "from 1"),
            ("site=output,rate=1e-6,epochs=a", "from 1"),
        ] {
            let said = text.parse::<TrainingFault>().unwrap_err().to_string();
            assert!(said.contains(word), "{text}: {said}");
        }
    }
}
