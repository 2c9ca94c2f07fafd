//! The names that files have for a text tower, and what lies beside them.

use std::path::{Path, PathBuf};

use flipside::device::Device;
use flipside::ops::activation::Activation;
use flipside::text::TextEncoder;

use super::towers::{Tensor, file, tower, write};
use crate::checkpoint::forge;

/// Hugging Face's tensors as OpenAI has them: queries, keys and values in one, the projection a
/// matrix to be multiplied from the right.
fn as_openai(tensors: &[Tensor], prefix: &str) -> Vec<Tensor> {
    let find = |name: &str| tensors.iter().find(|(n, ..)| n == name).unwrap();
    let mut renamed = Vec::new();
    for (name, shape, values) in tensors {
        let name = name.trim_start_matches("text_model.");
        let (name, shape, values) = if name == "text_projection.weight" {
            let [rows, columns] = shape[..] else { panic!("{shape:?}") };
            let at = |i: usize| values[i % rows * columns + i / rows];
            let transposed = (0..values.len()).map(at).collect();
            ("text_projection".to_string(), vec![columns, rows], transposed)
        } else if let Some((layer, kind)) = name.split_once(".self_attn.k_proj.") {
            let of = |part| find(&format!("text_model.{layer}.self_attn.{part}_proj.{kind}"));
            let joined: Vec<f32> = ["q", "k", "v"].iter().flat_map(|p| of(p).2.clone()).collect();
            let mut shape = shape.clone();
            shape[0] *= 3;
            (format!("{layer}.attn.in_proj_{kind}"), shape, joined)
        } else if name.contains("self_attn.q_proj") || name.contains("self_attn.v_proj") {
            continue;
        } else {
            let name = match name {
                "embeddings.token_embedding.weight" => "token_embedding.weight".into(),
                "embeddings.position_embedding.weight" => "positional_embedding".into(),
                name => name
                    .replace("final_layer_norm", "ln_final")
                    .replace("layer_norm", "ln_")
                    .replace("self_attn", "attn")
                    .replace("fc1", "c_fc")
                    .replace("fc2", "c_proj"),
            };
            (name, shape.clone(), values.clone())
        };
        let name = name.replace("encoder.layers", "transformer.resblocks");
        renamed.push((format!("{prefix}{name}"), shape, values));
    }
    renamed
}

/// A tower of pictures, which every reader has to pass over.
fn pictures() -> Vec<Tensor> {
    let names = [
        "visual.transformer.resblocks.0.ln_1.weight",
        "visual.positional_embedding",
        "vision_model.encoder.layers.0.layer_norm1.weight",
        "visual_projection.weight",
        "logit_scale",
    ];
    names.map(|name| (name.to_string(), vec![3], vec![f32::NAN; 3])).into()
}

fn write_pth(path: &Path, tensors: &[Tensor]) {
    std::fs::write(path, forge::state_dict(tensors)).unwrap();
}

/// The three schemes, as safetensors and as `.pth`, with pictures' towers beside.
#[test]
fn every_scheme_loads_to_the_same_outputs() {
    let tower = tower("small");
    let with_pictures = |mut tensors: Vec<Tensor>| {
        tensors.extend(pictures());
        tensors
    };
    let hugging_face = with_pictures(tower.tensors());
    let openai = with_pictures(as_openai(&tower.tensors(), ""));
    let mut marked = openai.clone();
    marked.extend(["context_length", "vocab_size"].map(|n| (n.to_string(), vec![1], vec![77.0])));
    let own_tower = with_pictures(as_openai(&tower.tensors(), "text."));
    let wrapped = as_openai(&tower.tensors(), "module.");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write(&path("hugging-face.safetensors"), &hugging_face);
    write_pth(&path("pytorch_model.bin"), &hugging_face);
    write_pth(&path("openai.pth"), &openai);
    write(&path("marked.safetensors"), &marked);
    write(&path("open-clip.safetensors"), &openai);
    write_pth(&path("open_clip_pytorch_model.bin"), &openai);
    write(&path("own-tower.safetensors"), &own_tower);
    write_pth(&path("parallel.pth"), &wrapped);
    // File, and the activation that follows from it.
    let (quick, exact) = (Activation::QuickGelu, Activation::Gelu);
    let files = [
        ("hugging-face.safetensors", quick),
        ("pytorch_model.bin", quick),
        ("openai.pth", quick),
        ("marked.safetensors", quick),
        ("open-clip.safetensors", exact),
        ("open_clip_pytorch_model.bin", exact),
        ("own-tower.safetensors", exact),
        ("parallel.pth", quick),
    ];
    let mut seen: Vec<(Vec<f32>, String)> = Vec::new();
    for (name, activation) in files {
        let encoder = TextEncoder::open(&path(name), &Device::cpu()).unwrap();
        assert_eq!(encoder.config().activation, activation, "{name}");
        drop(encoder);
        let mut encoder = TextEncoder::open_as(&path(name), &Device::cpu(), Some(quick)).unwrap();
        let embeddings = encoder.encode(&tower.texts).unwrap();
        assert!(tower.distance(&embeddings) < 2e-5, "{name}");
        seen.push((embeddings, encoder.sha256().unwrap()));
    }
    assert!(seen.iter().all(|found| *found == seen[0]), "names must not change a bit");
}

#[test]
fn configurations_beside_a_file_are_read() {
    let tower = tower("small");
    let (folder, path) = file(&tower.tensors());
    let open = |path: &Path| TextEncoder::open(path, &Device::cpu());
    let config = folder.path().join("config.json");

    let text = r#"{"text_config": {"hidden_act": "gelu", "num_attention_heads": 4,
        "layer_norm_eps": 1e-6, "eos_token_id": 49407}, "vision_config": {"hidden_act": "relu"}}"#;
    std::fs::write(&config, text).unwrap();
    let found = open(&path).unwrap().config().clone();
    assert_eq!((found.activation, found.heads, found.eps), (Activation::Gelu, 4, 1e-6));
    assert_eq!(found.end_token, Some(49407));

    // The text model's own file; 2 stands for the largest id.
    std::fs::write(&config, r#"{"hidden_act": "quick_gelu", "eos_token_id": 2}"#).unwrap();
    let found = open(&path).unwrap().config().clone();
    assert_eq!((found.activation, found.end_token), (Activation::QuickGelu, None));

    for (text, expected) in [
        (r#"{"hidden_act": "swish"}"#, "swish"),
        (r#"{"num_attention_heads": 3}"#, "3 heads"),
        (r#"{"num_attention_heads": 0}"#, "0 heads"),
        ("{", "isn't JSON"),
    ] {
        std::fs::write(&config, text).unwrap();
        let error = open(&path).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }

    // Another end token pools another row; one that no text has is an error.
    std::fs::write(&config, r#"{"eos_token_id": 320}"#).unwrap();
    let mut encoder = open(&path).unwrap();
    assert!(tower.distance(&encoder.encode(&tower.texts[..1]).unwrap().repeat(3)) > 0.1);
    let error = encoder.encode(&tower.texts[2..]).err().unwrap().to_string();
    assert!(error.contains("no token 320"), "{error}");

    let (folder, path) = file(&as_openai(&tower.tensors(), ""));
    let config = folder.path().join("open_clip_config.json");
    for (quick, activation) in [("true", Activation::QuickGelu), ("false", Activation::Gelu)] {
        let text =
            format!(r#"{{"model_cfg": {{"quick_gelu": {quick}, "text_cfg": {{"heads": 4}}}}}}"#);
        std::fs::write(&config, text).unwrap();
        let found = open(&path).unwrap().config().clone();
        assert_eq!((found.activation, found.heads), (activation, 4));
    }
}

#[test]
fn what_is_missing_or_misshapen_is_named() {
    let whole = as_openai(&tower("small").tensors(), "");
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("clip.safetensors");
    let without = |name: &str| {
        let mut tensors = whole.clone();
        tensors.retain(|(n, ..)| n != name);
        tensors
    };
    let misshapen = |name: &str, shape: &[usize]| {
        let mut tensors = without(name);
        tensors.push((name.into(), shape.to_vec(), vec![0.0; shape.iter().product()]));
        tensors
    };
    let block = "transformer.resblocks.1";
    let cases = [
        (without("token_embedding.weight"), "holds no text encoder of CLIP", ""),
        (without("positional_embedding"), "positional_embedding", "[77, width]"),
        (without("text_projection"), "text_projection", "[width, embedding]"),
        (without("ln_final.bias"), "ln_final.bias", "[128]"),
        (without("transformer.resblocks.0.ln_1.weight"), "resblocks.0.ln_1.weight", "[128]"),
        (without(&format!("{block}.mlp.c_fc.bias")), "resblocks.1.mlp.c_fc.bias", "[512]"),
        (
            misshapen(&format!("{block}.attn.in_proj_weight"), &[384, 64]),
            "in_proj_weight",
            "[384, 128]",
        ),
        (misshapen("positional_embedding", &[64, 128]), "positional_embedding", "[77, 128]"),
        (misshapen("text_projection", &[64, 48]), "text_projection", "[128, 48]"),
        (misshapen("text_projection", &[128]), "text_projection", "[width, embedding]"),
    ];
    for (tensors, key, shape) in cases {
        write(&path, &tensors);
        let error = TextEncoder::open(&path, &Device::cpu()).err().unwrap().to_string();
        let names = ["clip.safetensors", key, shape];
        assert!(names.iter().all(|name| error.contains(name)), "{error}");
    }
    write(&path, &[whole, vec![("cls_emb".into(), vec![1], vec![0.0])]].concat());
    let error = TextEncoder::open(&path, &Device::cpu()).err().unwrap().to_string();
    assert!(error.contains("other than CLIP's"), "{error}");
}

#[test]
fn tokens_and_numbers_that_the_tower_cant_take_are_refused() {
    let tower = tower("small");
    let mut tensors = tower.tensors();
    // A table of 600 tokens: fewer than texts have.
    tensors[0].1[0] = 600;
    tensors[0].2.truncate(600 * 128);
    let (_folder, path) = file(&tensors);
    let mut encoder = TextEncoder::open(&path, &Device::cpu()).unwrap();
    let error = encoder.encode(&tower.texts).err().unwrap().to_string();
    assert!(error.contains("text 0 has the token 49406"), "{error}");
    assert!(encoder.encode(&[]).unwrap().is_empty());

    let mut tensors = tower.tensors();
    tensors.last_mut().unwrap().2[5] = f32::INFINITY;
    let (_folder, path) = file(&tensors);
    let mut encoder = TextEncoder::open(&path, &Device::cpu()).unwrap();
    let error = encoder.encode(&tower.texts).err().unwrap().to_string();
    assert!(error.contains("model.safetensors") && error.contains("isn't finite"), "{error}");
}
