//! Any bytes as an image: a picture of the size that its header says, a part of which is cut from the whole, or
//! one sentence.

#![no_main]

use std::path::Path;

use flipside::data::transform::{Area, crop};
use flipside::data::{decode, decode_part, facts};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let path = Path::new("fuzzed");
    // Large pictures take long, and show nothing that small ones don't.
    let facts = facts(bytes, path);
    if facts.as_ref().is_ok_and(|facts| facts.width * facts.height > 1 << 20) {
        return;
    }
    let part = decode_part(bytes, path, &mut |height, width| Area {
        top: height / 2,
        left: width / 3,
        height: height.div_ceil(2),
        width: width.div_ceil(2),
    });
    match (decode(bytes, path), part) {
        (Ok(whole), Ok(part)) => {
            let facts = facts.expect("facts of an image that is read");
            assert_eq!((facts.height, facts.width), (whole.height, whole.width));
            let (height, width) = (whole.height, whole.width);
            let area = Area {
                top: height / 2,
                left: width / 3,
                height: height.div_ceil(2),
                width: width.div_ceil(2),
            };
            assert!(part == crop(&whole, area));
        }
        (whole, part) => assert!(whole.is_err() && part.is_err()),
    }
});
