//! A fault as text that [`FaultSpec`] reads again.

use crate::number::{FaultModel, bits_text};
use std::fmt;

use super::{FaultSpec, Place, Shape, Site};

impl fmt::Display for FaultSpec {
    /// As `--fault` takes it; keys with their default values are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "layer={}", self.layer)?;
        if self.site.has_term() {
            write!(f, ",site={}@{}", self.site.name(), self.k)?;
        } else if self.site != Site::Output {
            write!(f, ",site={}", self.site.name())?;
        }
        if !self.parameter.is_empty() {
            write!(f, ",parameter={}", self.parameter)?;
        }
        if self.shape != Shape::Element {
            write!(f, ",shape={}", self.shape)?;
        }
        if self.image != 0 {
            write!(f, ",image={}", self.image)?;
        }
        match &self.place {
            Place::Flat(number) => write!(f, ",index={number}")?,
            Place::Index(numbers) => {
                let numbers: Vec<String> = numbers.iter().map(usize::to_string).collect();
                write!(f, ",index={}", numbers.join("/"))?;
            }
            Place::Named(named) => {
                named.iter().try_for_each(|(name, number)| write!(f, ",{name}={number}"))?;
            }
        }
        if self.site == Site::StoreAstray {
            write!(f, ",offset-bit={}", self.offset_bit)?;
        }
        match self.model {
            _ if self.site.is_store() => Ok(()),
            FaultModel::Flip(mask) => write!(f, ",bit={}", bits_text(mask)),
            FaultModel::StuckAt0(mask) => write!(f, ",model=stuck-at-0,bit={}", bits_text(mask)),
            FaultModel::StuckAt1(mask) => write!(f, ",model=stuck-at-1,bit={}", bits_text(mask)),
            FaultModel::Set(value) => write!(f, ",model=set,value=0x{:08x}", value.to_bits()),
            FaultModel::Random => write!(f, ",model=random,seed={}", self.seed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_as_the_same_fault() {
        for text in [
            "layer=conv1,channel=3,row=4,column=5,bit=30",
            "layer=conv1,site=accumulator@37,image=2,channel=3,row=0,column=0,bit=2+30",
            "layer=fc,shape=row,row=0,column=0,model=set,value=0x7f800000",
            "layer=a,site=weight,index=9,model=stuck-at-1,bit=20+21+22+23",
            "layer=a,site=weight,parameter=bias,out=7,model=stuck-at-0,bit=0",
            "layer=a,index=5/0/2,model=random,seed=3",
            "layer=a,site=store-lost,channel=0,row=0,column=0",
            "layer=a,site=store-astray,channel=0,row=1,column=0,offset-bit=5",
            "layer=a,site=scores,head=1,row=2,column=3,key=40,bit=1",
        ] {
            let fault: FaultSpec = text.parse().unwrap();
            assert_eq!(fault.to_string(), text);
        }
    }
}
