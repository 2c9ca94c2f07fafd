//! The text encoder against transformers' CLIPTextModelWithProjection (`tests/oracle/towers.py`).

use std::path::{Path, PathBuf};

use flipside::device::Device;
use flipside::ops::activation::Activation;
use flipside::text::{TextEncoder, Tokenizer, Tokens};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::Value;

use crate::devices::device;
use crate::formula;

/// Name, PyTorch's shape, values.
pub type Tensor = (String, Vec<usize>, Vec<f32>);

/// A tower of the fixture.
pub struct Tower {
    pub value: Value,
    pub texts: Vec<Tokens>,
}

pub fn tower(name: &str) -> Tower {
    let path = crate::root().join("tests/fixtures/text/towers.json");
    let fixture: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let tokenizer = Tokenizer::clip();
    let texts = fixture["texts"].as_array().unwrap().iter();
    let texts = texts.map(|text| tokenizer.encode(text.as_str().unwrap())).collect();
    let mut towers = fixture["towers"].as_array().unwrap().iter();
    let value = towers.find(|tower| tower["name"] == name).unwrap().clone();
    Tower { value, texts }
}

impl Tower {
    fn size(&self, key: &str) -> usize {
        self.value[key].as_u64().unwrap() as usize
    }

    pub fn activation(&self) -> Activation {
        match self.value["activation"].as_str().unwrap() {
            "quick_gelu" => Activation::QuickGelu,
            "gelu" => Activation::Gelu,
            other => panic!("no activation is called {other}"),
        }
    }

    /// The formula's weights under Hugging Face's names.
    pub fn tensors(&self) -> Vec<Tensor> {
        let [width, embedding] = ["width", "embedding"].map(|key| self.size(key));
        let mut shapes = vec![
            ("text_model.embeddings.token_embedding.weight".to_string(), vec![49408, width]),
            ("text_model.embeddings.position_embedding.weight".to_string(), vec![77, width]),
        ];
        let mut layer = |name: String, outputs: usize, inputs: Option<usize>| {
            let weight = inputs.map_or(vec![outputs], |inputs| vec![outputs, inputs]);
            shapes.push((format!("{name}.weight"), weight));
            shapes.push((format!("{name}.bias"), vec![outputs]));
        };
        for number in 0..self.size("layers") {
            let of = |name: &str| format!("text_model.encoder.layers.{number}.{name}");
            for part in ["k", "v", "q", "out"] {
                layer(of(&format!("self_attn.{part}_proj")), width, Some(width));
            }
            layer(of("layer_norm1"), width, None);
            layer(of("mlp.fc1"), 4 * width, Some(width));
            layer(of("mlp.fc2"), width, Some(4 * width));
            layer(of("layer_norm2"), width, None);
        }
        layer("text_model.final_layer_norm".into(), width, None);
        shapes.push(("text_projection.weight".into(), vec![embedding, width]));
        let filled = |(name, shape): (String, Vec<usize>)| {
            let values = formula::parameter(&name, &shape, &[]);
            (name, shape, values)
        };
        shapes.into_iter().map(filled).collect()
    }

    /// ‖embedding − reference‖ / ‖reference‖, the largest of the texts'.
    pub fn distance(&self, found: &[f32]) -> f64 {
        let rows = self.value["embeddings"].as_array().unwrap();
        let width = self.size("embedding");
        assert_eq!(found.len(), rows.len() * width);
        let distance = |(row, found): (&Value, &[f32])| {
            let expected = formula::decode_f24(row.as_str().unwrap()).unwrap();
            assert_eq!(expected.len(), width);
            let square = |sum: f64, v: f64| sum + v * v;
            let apart = expected.iter().zip(found).map(|(e, f)| e - f64::from(*f));
            (apart.fold(0.0, square) / expected.iter().copied().fold(0.0, square)).sqrt()
        };
        // `f64::max` would drop a NaN.
        rows.iter()
            .zip(found.chunks_exact(width))
            .map(distance)
            .fold(0.0, |worst, d| if d > worst || d.is_nan() { d } else { worst })
    }
}

/// Writes a safetensors file.
pub fn write<'t>(path: &Path, tensors: &'t [Tensor]) {
    let view = |(name, shape, values): &'t Tensor| {
        let bytes = bytemuck::cast_slice(values);
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    };
    let views = tensors.iter().map(view);
    safetensors::serialize_to_file(views, None, path).unwrap();
}

/// The file that `tensors` are written to, and the folder that it lies in alone.
pub fn file(tensors: &[Tensor]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    write(&path, tensors);
    (folder, path)
}

/// References are rounded to 17 bits, by 0.7e-5 of an embedding, which is what is measured; PyTorch's own f32
/// is 0.1e-5 off.
const TOLERANCE: f64 = 2e-5;

fn check(name: &str, device: &Device) {
    let tower = tower(name);
    let (_folder, path) = file(&tower.tensors());
    let mut encoder = TextEncoder::open_as(&path, device, Some(tower.activation())).unwrap();
    let config = encoder.config();
    let sizes = [config.channels, config.layers, config.heads, config.embedding];
    assert_eq!(sizes, ["width", "layers", "heads", "embedding"].map(|key| tower.size(key)));
    let distance = tower.distance(&encoder.encode(&tower.texts).unwrap());
    assert!(distance <= TOLERANCE, "{name} on {} is {distance:.1e} off", device.kind());
    println!("{name} on {}: {distance:.1e}", device.kind());
}

/// Whole towers: ViT-B/32 and B/16, ViT-L/14, RN50x4.
#[test]
fn the_three_sizes_equal_transformers() {
    ["vit_b", "vit_l", "rn50x4"].iter().for_each(|name| check(name, &Device::cpu()));
}

#[test]
fn a_small_tower_equals_transformers_by_its_kernels_too() {
    for name in ["small", "small_gelu"] {
        check(name, &Device::cpu());
        check(name, &device());
    }
}

/// A text's bits are its own: alone at its own length, among others, padded to any length.
#[test]
fn an_embedding_depends_on_its_own_text_alone() {
    let tower = tower("small");
    let (_folder, path) = file(&tower.tensors());
    let tokenizer = Tokenizer::clip();
    let lengths = [0, 1, 2, 5, 13, 14, 15, 16, 30, 31, 61, 62, 63, 74, 75, 90];
    let texts: Vec<Tokens> = lengths
        .iter()
        .map(|words| tokenizer.encode(&"shark fin tail ".repeat(30)[..5 * words]))
        .collect();
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<u32>>();
    for device in [Device::cpu(), device()] {
        let mut encoder = TextEncoder::open(&path, &device).unwrap();
        let width = encoder.width();
        let together = encoder.encode(&texts).unwrap();
        for (number, text) in texts.iter().enumerate() {
            let own = bits(&together[number * width..][..width]);
            assert_eq!(own, bits(&encoder.encode(&[*text]).unwrap()), "text {number} alone");
            // Beside the longest text, a batch is padded to 77 tokens.
            let pair = encoder.encode(&[*text, texts[lengths.len() - 1]]).unwrap();
            assert_eq!(own, bits(&pair[..width]), "text {number} padded");
        }
    }
}
