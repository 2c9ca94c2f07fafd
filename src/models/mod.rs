//! Families of backbones, and the models made of them.

mod alexnet;
mod bounds;
mod classifier;
pub mod depth;
mod dialect;
mod facts;
mod file;
mod focalnet;
pub mod focalnet_names;
mod maxvit;
mod mobilenet;
mod network;
pub(crate) mod onnx;
mod pretrained;
mod resnet;
pub mod state;
mod swin_v2;
mod vgg;
mod whose;

use std::sync::Arc;

pub use dialect::Dialect;
pub use facts::Facts;
pub use file::{Input, ModelFile, Published, SaliencyAt, SmallSet, names};
pub use network::Network;
pub use pretrained::{Pretrained, Taken};
pub use state::{detect_head, load_state, save_state, save_state_as, set_head_rows};
pub use whose::open_checkpoint;

pub use crate::recipe::LossKind;

use crate::nn::{Builder, Head, HeadNodes, LastLayer};
use crate::ops::binary_cross_entropy::BinaryCrossEntropy;
use crate::ops::cross_entropy::CrossEntropy;
use crate::tape::{NodeId, Tape};
use crate::tensor::{Map, Spec};
use crate::{Error, Result};

/// No model takes larger images; sizes computed from it can't overflow.
const MAX_IMAGE_SIZE: usize = 1 << 13;

/// A recorded classifier: a backbone with a head, and the loss behind it.
#[derive(Clone, Debug)]
pub struct Model {
    pub tape: Arc<Tape>,
    pub head: Head,
    pub classes: usize,
    /// Height of its images; the files' networks take square ones.
    pub image_size: usize,
    /// Input: normalised images, N × height × width × channels (3 for the files' networks).
    pub image: NodeId,
    /// Input: labels (u32), one an image, or the shares of the classes where [`targets`](Model::targets) says so;
    /// only the loss needs them.
    pub labels: NodeId,
    /// What the loss is taken against.
    pub targets: Targets,
    /// The last layer, before `logit_scale` where there is one.
    pub last_layer: NodeId,
    /// Output: N × classes.
    pub logits: NodeId,
    /// Output: the loss of each image.
    pub loss: NodeId,
    /// Other names under which its checkpoints may hold its tensors.
    pub dialect: Option<&'static Dialect>,
}

/// What a model's loss is taken against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Targets {
    /// A class an image: N × 1 of u32.
    #[default]
    Classes,
    /// A share of each class, an image: N × classes of f32 that sum to 1 in each row, as mixed images have them.
    Shares,
}

/// The loss that a model is trained by. What evaluation says of a model is always its cross-entropy.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Loss {
    /// At least 0 and below 1.
    pub label_smoothing: f32,
    pub targets: Targets,
    pub kind: LossKind,
}

impl From<f32> for Loss {
    /// The cross-entropy of classes, with this label smoothing.
    fn from(label_smoothing: f32) -> Loss {
        Loss { label_smoothing, ..Loss::default() }
    }
}

impl Loss {
    /// Records it behind `logits`.
    fn record(self, tape: &mut Tape, logits: NodeId, targets: NodeId) -> Result<NodeId> {
        let (inputs, label_smoothing) = ([logits, targets], self.label_smoothing);
        match self.kind {
            LossKind::CrossEntropy {} => {
                tape.record("loss", CrossEntropy::new(label_smoothing), &inputs)
            }
            LossKind::BinaryCrossEntropy { sum, target_threshold } => {
                let op = BinaryCrossEntropy { label_smoothing, sum, target_threshold };
                tape.record("loss", op, &inputs)
            }
        }
    }
}

impl Model {
    /// Records the model of `file` for `classes` classes and square images of `image_size`. A network out of
    /// an ONNX file that doesn't end in a linear layer has the classes that it has.
    ///
    /// # Errors
    /// Where the architecture can't take images of that size, or its numbers don't fit.
    pub fn new(
        file: &ModelFile,
        head: Head,
        classes: usize,
        image_size: usize,
        loss: impl Into<Loss>,
    ) -> Result<Model> {
        let image = Map::new(image_size, image_size, 3);
        let model = Model::record_all(head, image, loss, |builder, image| {
            builder.smooth = file.is_smooth();
            match file.onnx() {
                Some(network) => network.record(builder, image, classes, head),
                None => {
                    let last = file.record_backbone(builder, image)?;
                    builder.head(&last, classes, head)
                }
            }
        })?;
        Ok(Model { dialect: file.dialect(), ..model })
    }

    /// Records a network of one's own for `classes` classes: `backbone` is given the node of the images,
    /// each an `image`, and records all but the last layer, which the head makes.
    ///
    /// Names that the builder is given become names of the state dict, `backbone.` before them under a
    /// text-guided head.
    ///
    /// # Errors
    /// Images without a pixel or of more than 8192 a side, and what `backbone` says.
    pub fn record(
        head: Head,
        classes: usize,
        image: Map,
        loss: impl Into<Loss>,
        backbone: impl FnOnce(&mut Builder<'_>, NodeId) -> Result<LastLayer>,
    ) -> Result<Model> {
        Model::record_all(head, image, loss, |builder, image| {
            let last = backbone(builder, image)?;
            builder.head(&last, classes, head)
        })
    }

    /// As [`Model::record`], where `network` records the head, too.
    fn record_all(
        head: Head,
        image: Map,
        loss: impl Into<Loss>,
        network: impl FnOnce(&mut Builder<'_>, NodeId) -> Result<HeadNodes>,
    ) -> Result<Model> {
        let Map { height, width, channels } = image;
        let sizes = 1..=MAX_IMAGE_SIZE;
        if !sizes.contains(&height) || !sizes.contains(&width) || !sizes.contains(&channels) {
            return Err(Error::usage(format!(
                "images of {height}×{width}×{channels}: each size must lie between 1 and {MAX_IMAGE_SIZE}"
            )));
        }
        let mut tape = Tape::new();
        let image = tape.input("image", Spec::f32(image));
        let loss = loss.into();
        // Random masks are keyed by the numbers of nodes, so that the order of the inputs is kept.
        let labels = match loss.targets {
            Targets::Classes => Some(tape.input("labels", Spec::u32(Map::vector(1)))),
            Targets::Shares => None,
        };
        let mut builder =
            Builder { tape: &mut tape, prefix: head.backbone_prefix().into(), smooth: false };
        let nodes = network(&mut builder, image)?;
        let classes = tape.node(nodes.logits).spec.map.channels;
        let labels =
            labels.unwrap_or_else(|| tape.input("targets", Spec::f32(Map::vector(classes))));
        let targets = loss.targets;
        let loss = loss.record(&mut tape, nodes.logits, labels)?;
        Ok(Model {
            tape: Arc::new(tape),
            head,
            classes,
            image_size: height,
            image,
            labels,
            targets,
            last_layer: nodes.last_layer,
            logits: nodes.logits,
            loss,
            dialect: None,
        })
    }

    /// Values of an image: height × width × channels.
    pub fn image_elements(&self) -> usize {
        self.tape.node(self.image).spec.map.elements()
    }
}
