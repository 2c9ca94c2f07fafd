//! A fault as a user writes it: `layer=conv1,site=output,image=0,channel=3,row=4,column=5,bit=30`.

use std::str::FromStr;

use super::{BitMasks, FaultEntry, Site};
use crate::tensor::Map;
use crate::{Error, Result};

/// One fault, addressed by PyTorch's coordinates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultSpec {
    /// State-dict name of the layer, with or without `backbone.`.
    pub layer: String,
    pub site: Site,
    /// Image of the batch, from 0.
    pub image: usize,
    pub channel: usize,
    pub row: usize,
    pub column: usize,
    /// Bits to flip; bit 0 is the least significant.
    pub mask: u32,
}

impl FaultSpec {
    /// The entry for a layer whose output is `map`.
    ///
    /// # Errors
    /// [`Error::Usage`] where a coordinate lies outside `map`.
    pub fn entry(&self, map: Map, id: u32) -> Result<FaultEntry> {
        for (name, value, size) in [
            ("channel", self.channel, map.channels),
            ("row", self.row, map.height),
            ("column", self.column, map.width),
        ] {
            if value >= size {
                return Err(Error::usage(format!(
                    "fault lies outside the tensor: {name} {value}, but the output of layer '{}' \
                     is {map} (channels×height×width)",
                    self.layer
                )));
            }
        }
        let element = map.pytorch_index(self.channel, self.row, self.column);
        Ok(FaultEntry::output(element, BitMasks::flip(self.mask), id))
    }
}

impl FromStr for FaultSpec {
    type Err = Error;

    /// Parses `key=value` pairs separated by commas. `layer`, `channel` and `bit` are required;
    /// `bit` takes several bits joined by `+` (`bit=30+2`); the rest is 0, or `output`.
    fn from_str(text: &str) -> Result<Self> {
        let bad = |detail: String| Error::usage(format!("fault '{text}': {detail}"));
        let (mut layer, mut channel, mut mask) = (None, None, None);
        let (mut site, mut image, mut row, mut column) = (Site::Output, 0, 0, 0);
        for pair in text.split(',') {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| bad(format!("'{pair}' is not of the form key=value")))?;
            let (key, value) = (key.trim(), value.trim());
            let number = || {
                value
                    .parse::<usize>()
                    .map_err(|_| bad(format!("{key} takes a whole number, not '{value}'")))
            };
            match key {
                "layer" => layer = Some(value.to_string()),
                "site" => site = Site::parse(value)?,
                "image" => image = number()?,
                "channel" => channel = Some(number()?),
                "row" => row = number()?,
                "column" => column = number()?,
                "bit" => {
                    let mut bits = 0u32;
                    for bit in value.split('+') {
                        let bit: u32 = bit.parse().ok().filter(|b| *b < 32).ok_or_else(|| {
                            bad(format!("bit takes numbers from 0 to 31, not '{bit}'"))
                        })?;
                        if bits & (1 << bit) != 0 {
                            return Err(bad(format!("bit {bit} is named twice")));
                        }
                        bits |= 1 << bit;
                    }
                    mask = Some(bits);
                }
                other => {
                    return Err(bad(format!(
                        "unknown key '{other}'; known: layer, site, image, channel, row, column, bit"
                    )));
                }
            }
        }
        Ok(FaultSpec {
            layer: layer.ok_or_else(|| bad("layer is missing".into()))?,
            site,
            image,
            channel: channel.ok_or_else(|| bad("channel is missing".into()))?,
            row,
            column,
            mask: mask.ok_or_else(|| bad("bit is missing".into()))?,
        })
    }
}
