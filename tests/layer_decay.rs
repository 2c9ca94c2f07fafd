//! Layer-wise learning-rate decay against timm's, by `tests/oracle/layer_decay.py`.

use flipside::models::{Model, ModelFile, depth};
use flipside::nn::Head;

use crate::formula;

#[test]
fn scales_are_timms() {
    let fixture = formula::fixture("layer_decay.json");
    let decay = fixture["decay"].as_f64().unwrap();
    let models = fixture["scales"].as_object().unwrap();
    assert!(models.len() >= 7);
    for (name, expected) in models {
        let file = ModelFile::open(name).unwrap();
        let model = Model::new(&file, Head::Baseline, 10, file.input.size, 0.0).unwrap();
        let scales = depth::rate_scales(&model, decay).unwrap();
        let mut seen = Vec::new();
        for (param, scale) in model.tape.params().iter().zip(scales) {
            let of = expected.as_object().unwrap().iter();
            let mut of = of.filter(|(prefix, _)| param.name.starts_with(prefix.as_str()));
            let (prefix, expected) = of.next().unwrap_or_else(|| panic!("{name} {}", param.name));
            assert!(of.next().is_none(), "{name} {}", param.name);
            let expected = expected.as_f64().unwrap();
            // Powers in f64, rounded once.
            let difference = (f64::from(scale) - expected).abs();
            assert!(difference <= 1e-7 * expected, "{name} {}: {scale}, {expected}", param.name);
            seen.push(prefix);
        }
        assert!(
            expected.as_object().unwrap().keys().all(|prefix| seen.contains(&prefix)),
            "{name}"
        );
    }
}
