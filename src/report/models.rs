//! Tables of models: what there is, and the layers of one.

use serde::Serialize;

use super::sheet::{BY_PIPE, Fit, Sheet, View};
use crate::models::Model;
use crate::tape::{Injectable, ParamId};

/// A model in figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelRow {
    pub model: String,
    /// Height and width of its images.
    pub image_size: usize,
    /// Trained parameters.
    pub parameters: usize,
    /// Multiply-accumulates of one image.
    pub macs: u64,
    /// Convolutions and linear layers with an output for each image.
    pub injectable_layers: usize,
    /// Their output elements, of one image.
    pub neurons: u64,
    /// Convolutions and linear layers that forward hooks see in PyTorch.
    pub hooked_layers: usize,
    /// What each form of the head costs, where that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub heads: Vec<HeadCost>,
}

/// What a head costs: all that stands behind the features.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeadCost {
    /// `baseline`, or `text-guided` and the width of the text features.
    pub head: String,
    /// Features that it reads.
    pub features: usize,
    /// Trained parameters.
    pub parameters: usize,
    /// Multiply-accumulates of one image.
    pub macs: u64,
}

impl HeadCost {
    /// The costs of two forms of one network, which is the same up to its head: a baseline, and a text-guided one.
    pub fn of(baseline: &Model, guided: &Model) -> Vec<HeadCost> {
        let Some(last) = ModelLayer::of(baseline).pop() else { return Vec::new() };
        let trunk =
            (baseline.tape.parameter_count() - last.weight_sites, baseline.tape.macs() - last.macs);
        let cost = |model: &Model| HeadCost {
            head: model.head.to_string(),
            features: last.terms,
            parameters: model.tape.parameter_count() - trunk.0,
            macs: model.tape.macs() - trunk.1,
        };
        vec![cost(baseline), cost(guided)]
    }
}

/// A convolution or linear layer in figures. Sites are of one image; each has 32 bits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelLayer {
    /// State-dict name.
    pub layer: String,
    /// `conv2d` or `linear`.
    pub kind: &'static str,
    /// Channels, height, width.
    pub shape: [usize; 3],
    /// Terms K of an output's sum.
    pub terms: usize,
    /// Sites `output`: neurons.
    pub output_sites: u64,
    /// Sites `accumulator@k`.
    pub accumulator_sites: u64,
    /// Sites `weight`: elements of weight and bias.
    pub weight_sites: usize,
    /// Multiply-accumulates of one image.
    pub macs: u64,
    /// Whether `strict` injects into it; not into layers that all images share, which are a class
    /// of their own.
    pub strict: bool,
    /// Whether `goldeneye` does: whether PyTorch's forward hooks see it.
    pub goldeneye: bool,
}

impl ModelRow {
    /// The figures of `model`, called `name`.
    pub fn of(name: &str, model: &Model) -> ModelRow {
        let layers = ModelLayer::of(model);
        let strict = || layers.iter().filter(|layer| layer.strict);
        ModelRow {
            model: name.into(),
            image_size: model.image_size,
            parameters: model.tape.parameter_count(),
            macs: model.tape.macs(),
            injectable_layers: strict().count(),
            neurons: strict().map(|layer| layer.output_sites).sum(),
            hooked_layers: layers.iter().filter(|layer| layer.goldeneye).count(),
            heads: Vec::new(),
        }
    }
}

impl ModelLayer {
    /// The convolutions and linear layers of `model`, in order.
    pub fn of(model: &Model) -> Vec<ModelLayer> {
        let tape = &model.tape;
        let row = |layer: Injectable| {
            let node = tape.node(layer.node);
            let map = node.spec.map;
            let elements = |id: &ParamId| tape.params()[id.0].spec.elements();
            ModelLayer {
                layer: layer.name,
                kind: layer.kind,
                shape: [map.channels, map.height, map.width],
                terms: layer.gemm.k,
                output_sites: map.elements() as u64,
                accumulator_sites: map.elements() as u64 * layer.gemm.k as u64,
                weight_sites: node.params.iter().map(elements).sum(),
                macs: layer.macs,
                strict: !layer.shared,
                goldeneye: layer.hooked,
            }
        };
        tape.injectable().into_iter().map(row).collect()
    }
}

/// The models as a table.
pub fn models_text(rows: &[ModelRow], view: View) -> String {
    let header =
        ["model", "image", "parameters", "MACs", "injectable layers", "neurons", "seen by hooks"];
    let cells = rows.iter().map(|row| {
        vec![
            row.model.clone(),
            format!("{0}×{0}", row.image_size),
            row.parameters.to_string(),
            short(row.macs),
            row.injectable_layers.to_string(),
            row.neurons.to_string(),
            row.hooked_layers.to_string(),
        ]
    });
    let mut sheet = Sheet::new(view);
    sheet.table(Fit::Keep(&[]), &header, cells.collect());
    heads(&mut sheet, rows);
    sheet.finish(BY_PIPE)
}

/// What the heads cost, a row a model.
fn heads(sheet: &mut Sheet, rows: &[ModelRow]) {
    let Some(first) = rows.iter().find(|row| !row.heads.is_empty()) else { return };
    let names = first
        .heads
        .iter()
        .flat_map(|head| [format!("{}: parameters", head.head), format!("{}: MACs", head.head)]);
    let header: Vec<String> =
        ["model".to_string(), "features".to_string()].into_iter().chain(names).collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let cells = rows.iter().filter(|row| !row.heads.is_empty()).map(|row| {
        let of = |head: &HeadCost| [head.parameters.to_string(), short(head.macs)];
        let front = [row.model.clone(), row.heads[0].features.to_string()];
        front.into_iter().chain(row.heads.iter().flat_map(of)).collect()
    });
    sheet.gap();
    sheet.prose(
        "The heads, of which each model has one: what stands behind its features. A baseline has features × classes \
         weights, a text-guided head features × width and width × classes. That is less where there are more classes than \
         the width, and more features than width × classes / (classes − width).",
    );
    sheet.gap();
    sheet.table(Fit::Keep(&[]), &header, cells.collect());
}

/// One model's layers as a table, and what it comes to.
pub fn layers_text(model: &ModelRow, layers: &[ModelLayer], view: View) -> String {
    let header = [
        "layer",
        "kind",
        "shape",
        "terms",
        "output sites",
        "accumulator sites",
        "weight sites",
        "MACs",
        "strict",
        "goldeneye",
    ];
    let cells = layers.iter().map(|row| {
        let [channels, height, width] = row.shape;
        vec![
            row.layer.clone(),
            row.kind.into(),
            format!("{channels}×{height}×{width}"),
            row.terms.to_string(),
            row.output_sites.to_string(),
            short(row.accumulator_sites),
            row.weight_sites.to_string(),
            short(row.macs),
            if row.strict { "yes" } else { "own class" }.into(),
            if row.goldeneye { "yes" } else { "no" }.into(),
        ]
    });
    let mut sheet = Sheet::new(view);
    let most = ["shape", "terms", "output sites", "weight sites", "MACs", "strict", "goldeneye"];
    sheet.table(Fit::Keep(&most), &header, cells.collect());
    sheet.gap();
    sheet.prose(&format!(
        "{}, {size}×{size}: {} parameters, {} multiply-accumulates an image, {} injectable \
         layers with {} neurons; {} layers are seen by hooks. Sites are of one image, 32 bits each; \
         a layer that all images share is a class of its own.",
        model.model,
        model.parameters,
        short(model.macs),
        model.injectable_layers,
        model.neurons,
        model.hooked_layers,
        size = model.image_size,
    ));
    sheet.finish(BY_PIPE)
}

/// A large number with a unit: `4.09 G`.
fn short(number: u64) -> String {
    let value = number as f64;
    match value {
        1e12.. => format!("{:.2} T", value / 1e12),
        1e9.. => format!("{:.2} G", value / 1e9),
        1e6.. => format!("{:.2} M", value / 1e6),
        _ => number.to_string(),
    }
}
