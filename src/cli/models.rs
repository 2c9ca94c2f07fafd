//! `flipside models`.

use anyhow::Context;

use super::common::{print, print_json, view};
use crate::models::{Model, ModelFile, names};
use crate::nn::Head;
use crate::report::{HeadCost, ModelLayer, ModelRow, View, layers_text, models_text};

/// List the models, or the layers of one
///
/// Without a name: every model with its parameters, multiply-accumulates per image, injectable layers and
/// neurons, and what both forms of its head cost. With a name, a .toml or an .onnx file: its layers with their shapes, fault sites and multiply-accumulates,
/// and which of them the two protocols inject into: strict (every Conv2d and Linear, by what it computes) and
/// goldeneye (what PyTorch's forward hooks would see).
#[derive(clap::Args)]
pub struct Args {
    /// Model name, .toml file or .onnx file
    model: Option<String>,
    /// Height and width of the images; the model file's if absent
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    image_size: Option<u16>,
    /// Number of classes; 1000 if absent, of an .onnx file its own
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    classes: Option<u32>,
    /// Use the text-guided head, for text features of this width
    #[arg(long, value_name = "WIDTH", num_args = 0..=1, default_missing_value = "512",
          value_parser = clap::value_parser!(u16).range(1..))]
    text_guided: Option<u16>,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

/// The width of CLIP's text features, which the published networks have.
const WIDTH: u16 = 512;

impl Args {
    fn head(&self) -> Head {
        self.text_guided.map_or(Head::Baseline, |width| Head::text_guided(width.into()))
    }

    fn record(&self, name: &str, head: Head) -> crate::Result<(String, Model)> {
        let file = ModelFile::open(name)?;
        let size = self.image_size.map_or(file.input.size, usize::from);
        let classes = match (self.classes, file.onnx()) {
            (Some(classes), _) => classes as usize,
            (None, Some(network)) => network.classes(size)?,
            (None, None) => 1000,
        };
        let model = Model::new(&file, head, classes, size, 0.0)?;
        if model.classes != classes {
            return Err(crate::Error::usage(format!(
                "{} has {} classes: it doesn't end in a linear layer that others could take the place of",
                file.name, model.classes
            )));
        }
        Ok((file.name, model))
    }
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    if let Some(name) = &args.model {
        let (name, model) = args.record(name, args.head())?;
        let (row, layers) = (ModelRow::of(&name, &model), ModelLayer::of(&model));
        if args.json {
            return print_json(&serde_json::json!({ "model": row, "layers": layers }));
        }
        return print(&layers_text(&row, &layers, view(View::Markdown)));
    }
    let mut rows = Vec::new();
    for name in names() {
        let width = args.text_guided.unwrap_or(WIDTH).into();
        let (name, baseline) =
            args.record(name, Head::Baseline).with_context(|| name.to_string())?;
        let (_, guided) = args.record(&name, Head::text_guided(width))?;
        let listed = if args.text_guided.is_some() { &guided } else { &baseline };
        let heads = HeadCost::of(&baseline, &guided);
        rows.push(ModelRow { heads, ..ModelRow::of(&name, listed) });
    }
    if args.json {
        return print_json(&rows);
    }
    print(&models_text(&rows, view(View::Markdown)))
}
