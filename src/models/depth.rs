//! How deep a parameter lies in its network: the layers of layer-wise learning-rate decay, as timm's
//! `param_groups_layer_decay` means them.
//!
//! - Layer 0 is the stem: what comes before the first block.
//! - Every block is a layer, in the network's order: a residual block of a ResNet (`layer1.0`), an inverted
//!   residual of MobileNetV2 (`features.1`), a block of Swin (`features.1.0`), FocalNet (`layers.0.blocks.1`) or
//!   MaxViT (`blocks.3.layers.1`).
//! - What lies between two blocks, as Swin's and FocalNet's downsampling does, belongs to the block behind it, and
//!   what comes after the last one (a norm, MobileNetV2's last convolution) to that.
//! - AlexNet and VGG have no blocks: each convolution is a layer, with the norm behind it; the first is layer 0.
//! - The head is the last layer, with all of a classifier's hidden layers. A text-guided head has the
//!   backbone's last layer with it, which stands where the classifier was, and `logit_scale`.
//!
//! timm has the same layers of ResNets, MobileNetV2, Swin V2 and FocalNet. Of VGG it takes norms for layers of
//! their own, and of MaxViT whole stages.

use super::Model;
use crate::nn::{Head, LOGIT_SCALE};
use crate::ops::Role;
use crate::tape::{NodeId, ParamId};
use crate::{Error, Result};

/// The layer of each of the tape's parameters, in its order; the head's is the largest.
///
/// # Errors
/// A network without blocks of such names, which says nothing of its layers.
pub fn layers_of(model: &Model) -> Result<Vec<usize>> {
    let places = places(model)?;
    let mut layers = vec![0; places.len()];
    let (mut last, mut block) = (0, None);
    let is_plain = places.iter().any(|place| matches!(place, LayerPlace::Convolution(_)));
    for (layer, place) in layers.iter_mut().zip(&places) {
        if let LayerPlace::Block(name) | LayerPlace::Convolution(name) = place {
            if block.is_some_and(|block| block != name) || block.is_none() && !is_plain {
                last += 1;
            }
            block = Some(name);
        }
        *layer = last;
    }
    // Backwards: what lies between two blocks goes to the next.
    let mut next = None;
    for (layer, place) in layers.iter_mut().zip(&places).rev() {
        match place {
            LayerPlace::Block(_) | LayerPlace::Convolution(_) => next = Some(*layer),
            LayerPlace::Between if *layer > 0 => *layer = next.unwrap_or(*layer),
            LayerPlace::Between => (),
            LayerPlace::Head => *layer = last + 1,
        }
    }
    Ok(layers)
}

/// What the learning rate of each of the tape's parameters is multiplied by: `decay` once for every layer between
/// its own and the head, which keeps the rate.
///
/// # Errors
/// Those of [`layers_of`].
pub fn rate_scales(model: &Model, decay: f64) -> Result<Vec<f32>> {
    let layers = layers_of(model)?;
    let last = layers.iter().max().copied().unwrap_or(0);
    Ok(layers.into_iter().map(|layer| decay.powi((last - layer) as i32) as f32).collect())
}

/// Where a parameter stands.
#[derive(Clone, Debug, PartialEq)]
enum LayerPlace {
    /// In the block of this name.
    Block(String),
    /// With the convolution of this name, in a network without blocks.
    Convolution(String),
    /// In the head.
    Head,
    /// Before, between or after the blocks.
    Between,
}

/// The place of each parameter.
fn places(model: &Model) -> Result<Vec<LayerPlace>> {
    let params = model.tape.params();
    let prefix = model.head.backbone_prefix();
    let heads = head_params(model);
    let mut places: Vec<LayerPlace> = Vec::with_capacity(params.len());
    for (index, param) in params.iter().enumerate() {
        let name = param.name.strip_prefix(prefix).unwrap_or(&param.name);
        let parts: Vec<&str> = name.split('.').collect();
        let is_head = heads.contains(&ParamId(index)) || param.name == LOGIT_SCALE;
        let place = match parts.as_slice() {
            _ if is_head => LayerPlace::Head,
            ["classifier", ..] => LayerPlace::Head,
            ["features", number, _] if is_number(number) => {
                // A norm goes with the convolution before it; its buffers, too.
                let is_convolution = matches!(param.spec.role, Role::Weight | Role::Bias);
                match (is_convolution, places.last()) {
                    (false, Some(before)) => before.clone(),
                    _ => LayerPlace::Convolution(format!("features.{number}")),
                }
            }
            _ => block_of(&parts).map_or(LayerPlace::Between, LayerPlace::Block),
        };
        places.push(place);
    }
    if places.iter().all(|place| matches!(place, LayerPlace::Between | LayerPlace::Head)) {
        return Err(Error::usage(
            "the learning rate can't be scaled by layer: this network's parameters don't have names by which its \
             blocks are known (such as layer1.0.conv1.weight or layers.0.blocks.1.mlp.fc1.weight)",
        ));
    }
    Ok(places)
}

/// The parameters of the last layer, and of that before it where the head is text-guided.
fn head_params(model: &Model) -> Vec<ParamId> {
    let input_of = |node: NodeId| model.tape.node(node).inputs.first().copied();
    let mut nodes = vec![model.last_layer];
    if let Head::TextGuided { normalized, .. } = model.head {
        let read = input_of(model.last_layer);
        // Before the normalisation, where there is one.
        nodes.extend(if normalized { read.and_then(input_of) } else { read });
    }
    nodes.into_iter().flat_map(|node| model.tape.node(node).params.clone()).collect()
}

fn is_number(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())
}

/// The block that a name of these parts lies in.
fn block_of(parts: &[&str]) -> Option<String> {
    let length = match parts {
        [layer, block, _, ..] if layer.strip_prefix("layer").is_some_and(is_number) => {
            is_number(block).then_some(2)
        }
        ["layers", stage, "blocks", block, ..] | ["blocks", stage, "layers", block, ..] => {
            (is_number(stage) && is_number(block)).then_some(4)
        }
        ["features", block, "conv", ..] => is_number(block).then_some(2),
        ["features", stage, block, part, _, ..] => {
            (is_number(stage) && is_number(block) && !is_number(part)).then_some(3)
        }
        _ => None,
    };
    length.map(|length| parts[..length].join("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{ModelFile, names};

    const HEADS: [Head; 3] =
        [Head::Baseline, Head::text_guided(32), Head::TextGuided { width: 32, normalized: false }];

    fn model(name: &str, head: Head) -> Model {
        let file = ModelFile::open(name).unwrap();
        Model::new(&file, head, 10, file.input.size, 0.0).unwrap()
    }

    /// The layer of a parameter, which may be given without the text-guided prefix.
    fn layer(model: &Model, layers: &[usize], name: &str) -> usize {
        let name = format!("{}{name}", model.head.backbone_prefix());
        let index = model.tape.params().iter().position(|param| param.name == name);
        layers[index.unwrap_or_else(|| panic!("{name} is missing"))]
    }

    /// Layers follow the network's order, none is left out, and the head's alone is the last.
    #[test]
    fn every_model_has_layers_in_order() {
        for name in names() {
            for head in HEADS {
                let model = model(name, head);
                let layers = layers_of(&model).unwrap();
                assert_eq!(layers[0], 0, "{name}");
                let steps =
                    layers.windows(2).all(|pair| pair[0] <= pair[1] && pair[1] <= pair[0] + 1);
                assert!(steps, "{name}: {layers:?}");
                let last = *layers.last().unwrap();
                let scales = rate_scales(&model, 0.5).unwrap();
                for (param, (layer, scale)) in
                    model.tape.params().iter().zip(layers.iter().zip(&scales))
                {
                    assert_eq!(*scale, 0.5f32.powi((last - layer) as i32), "{name} {}", param.name);
                    let is_head = ["head", "fc", "classifier", LOGIT_SCALE].iter().any(|head| {
                        param.name.trim_start_matches("backbone.").split('.').next() == Some(*head)
                    });
                    assert_eq!(*layer == last, is_head, "{name} {}", param.name);
                }
            }
        }
    }

    /// As many layers as blocks, convolutions of VGG and AlexNet, and two more or one.
    #[test]
    fn layers_are_counted_by_blocks() {
        let counts = [
            ("alexnet", 5),
            ("vgg16_bn", 13),
            ("vgg19_bn", 16),
            ("resnet18", 9),
            ("resnet50", 17),
            ("resnet152", 51),
            ("mobilenet_v2", 18),
            ("maxvit_t", 12),
            ("swin_v2_t", 13),
            ("swin_v2_s", 25),
            ("focalnet_tiny", 13),
            ("focalnet_small", 25),
        ];
        for (name, last) in counts {
            let layers = layers_of(&model(name, Head::text_guided(32))).unwrap();
            assert_eq!(layers.last(), Some(&last), "{name}");
        }
    }

    #[test]
    fn parts_between_blocks_go_with_their_neighbours() {
        let of = [
            (
                "vgg16_bn",
                vec![("features.0.weight", 0), ("features.1.bias", 0), ("features.3.weight", 1)],
            ),
            (
                "alexnet",
                vec![("features.0.weight", 0), ("features.10.bias", 4), ("classifier.1.weight", 5)],
            ),
            (
                "mobilenet_v2",
                vec![
                    ("features.0.1.weight", 0),
                    ("features.17.conv.3.bias", 17),
                    ("features.18.0.weight", 17),
                ],
            ),
            (
                "swin_v2_t",
                vec![
                    ("features.0.2.bias", 0),
                    ("features.1.1.norm2.bias", 2),
                    ("features.2.reduction.weight", 3),
                    ("features.3.0.attn.qkv.weight", 3),
                    ("norm.weight", 12),
                ],
            ),
            (
                "focalnet_tiny",
                vec![
                    ("stem.proj.weight", 0),
                    ("layers.1.downsample.proj.weight", 3),
                    ("layers.1.blocks.0.norm1.bias", 3),
                    ("norm.bias", 12),
                ],
            ),
            ("maxvit_t", vec![("stem.1.0.weight", 0), ("classifier.3.weight", 12)]),
        ];
        for (name, expected) in of {
            for head in HEADS {
                let model = model(name, head);
                let layers = layers_of(&model).unwrap();
                for (param, expected) in &expected {
                    assert_eq!(layer(&model, &layers, param), *expected, "{name} {param}");
                }
            }
        }
    }

    #[test]
    fn a_network_without_known_blocks_is_refused() {
        use crate::nn::LastLayer;
        use crate::ops::Start;
        use crate::tensor::Map;
        let model = Model::record(Head::Baseline, 4, Map::new(8, 8, 3), 0.0, |b, image| {
            let feature = b.adaptive_avg_pool("pool", 1, image)?;
            Ok(LastLayer { name: "out".into(), bias: true, start: Start::PyTorch, feature })
        });
        let error = layers_of(&model.unwrap()).unwrap_err().to_string();
        assert!(error.contains("can't be scaled by layer"), "{error}");
    }
}
