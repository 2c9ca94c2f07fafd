//! Texts a second of CLIP's text encoder: one by one, in one call, and in one call where every text is
//! padded to 77 tokens. With `--texts`, prints the texts instead, a line each, for another program.
//!
//! `cargo bench --bench encode -- [WIDTH] [TEXTS] [DEVICE]`

use std::time::Instant;

use flipside::data::builtin::descriptions;
use flipside::device::Device;
use flipside::rng::{self, Draw};
use flipside::text::tokenizer::CONTEXT;
use flipside::text::{TextEncoder, Tokenizer, Tokens};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

const LAYERS: usize = 12;

/// A tower under OpenAI's names, of random weights.
fn tensors(width: usize) -> Vec<(String, Vec<usize>)> {
    let mut tensors = vec![
        ("token_embedding.weight".to_string(), vec![49408, width]),
        ("positional_embedding".into(), vec![CONTEXT, width]),
        ("text_projection".into(), vec![width, width]),
        ("ln_final.weight".into(), vec![width]),
        ("ln_final.bias".into(), vec![width]),
    ];
    for layer in 0..LAYERS {
        let mut add = |name: &str, kinds: [&str; 2], outputs: usize, inputs: Option<usize>| {
            let name = format!("transformer.resblocks.{layer}.{name}");
            let weight = inputs.map_or(vec![outputs], |inputs| vec![outputs, inputs]);
            tensors.push((format!("{name}{}", kinds[0]), weight));
            tensors.push((format!("{name}{}", kinds[1]), vec![outputs]));
        };
        let kinds = ["weight", "bias"];
        add("ln_1.", kinds, width, None);
        add("ln_2.", kinds, width, None);
        add("attn.in_proj_", kinds, 3 * width, Some(width));
        add("attn.out_proj.", kinds, width, Some(width));
        add("mlp.c_fc.", kinds, 4 * width, Some(width));
        add("mlp.c_proj.", kinds, width, Some(4 * width));
    }
    tensors
}

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let number = |place: usize, default: usize| {
        args.get(place).and_then(|arg| arg.parse().ok()).unwrap_or(default)
    };
    let (width, count) = (number(0, 512), number(1, 256));
    let device = Device::parse(args.get(2).map_or("cpu", String::as_str))?;

    // Descriptions of the built-in classes, of one sentence to three.
    let answers: Vec<&str> = descriptions().iter().flat_map(|class| class.answers).collect();
    let text = |i: usize| -> String {
        (0..1 + i % 3)
            .map(|part| answers[(i + 7 * part) % answers.len()])
            .collect::<Vec<_>>()
            .join(" ")
    };
    if std::env::args().any(|arg| arg == "--texts") {
        (0..count).for_each(|i| println!("{}", text(i)));
        return Ok(());
    }
    let tokenizer = Tokenizer::clip();
    let texts: Vec<Tokens> = (0..count).map(|i| tokenizer.encode(&text(i))).collect();
    // What stands behind an end token doesn't count, so that these have the same embeddings.
    let padded: Vec<Tokens> = texts.iter().map(|t| Tokens { length: CONTEXT, ..*t }).collect();

    let folder = tempfile::tempdir()?;
    let path = folder.path().join("clip.safetensors");
    let mut draws = rng::stream(1, "benchmark");
    let filled: Vec<(String, Vec<usize>, Vec<f32>)> = tensors(width)
        .into_iter()
        .map(|(name, shape)| {
            let bound = 0.6 / (width as f64).sqrt();
            let values =
                (0..shape.iter().product::<usize>()).map(|_| draws.between(-bound, bound) as f32);
            (name, shape, values.collect())
        })
        .collect();
    let views = filled.iter().map(|(name, shape, values)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytemuck::cast_slice(values));
        (name, view.expect("bytes of the shape"))
    });
    safetensors::serialize_to_file(views, None, &path)?;

    let start = Instant::now();
    let mut encoder = TextEncoder::open(&path, &device)?;
    println!("opened in {:.2} s", start.elapsed().as_secs_f64());
    encoder.encode(&texts[..count.min(8)])?;
    let mut round = |name: &str, texts: &[Tokens], together: usize| -> flipside::Result<Vec<f32>> {
        let start = Instant::now();
        let mut embeddings = Vec::new();
        for batch in texts.chunks(together) {
            embeddings.extend(encoder.encode(batch)?);
        }
        let seconds = start.elapsed().as_secs_f64();
        let tokens: usize = texts.iter().map(|text| text.length).sum();
        let (texts, tokens) = (texts.len() as f64, tokens as f64);
        println!(
            "width {width}, {name}: {:.1} texts/s, {:.0} tokens/s ({:.1} tokens a text)",
            texts / seconds,
            tokens / seconds,
            tokens / texts
        );
        Ok(embeddings)
    };
    let one_by_one = round("one by one", &texts, 1)?;
    let together = round("in one call", &texts, count)?;
    let padded = round("in one call, padded to 77", &padded, count)?;
    assert!(one_by_one == together && together == padded, "embeddings must be equal to the bit");
    Ok(())
}
