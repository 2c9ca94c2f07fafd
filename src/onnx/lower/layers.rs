//! Layers with weights.

use super::view::{StridedView, size_of};
use super::{Binary, NOT_YET, NetworkEnd, Operand, Operator, Recorder};
use crate::error::shorten;
use crate::onnx::array::{Array, Folded};
use crate::onnx::graph::{OperatorNode, ValueId};
use crate::onnx::op::Sliding;
use crate::ops::Start;
use crate::ops::batch_norm::BatchNorm;
use crate::ops::conv2d::Conv2d;
use crate::ops::layer_norm::LayerNorm;
use crate::ops::linear::Linear;
use crate::ops::softmax::Softmax;
use crate::tape::NodeId;
use crate::tensor::{Map, Span};

/// PyTorch's weight of a batch in the running statistics, which no file says.
const MOMENTUM: f32 = 0.1;

impl Recorder<'_, '_, '_> {
    /// A constant input.
    fn constant(&self, node: &OperatorNode, at: usize) -> Folded<Array> {
        let constant = node.inputs.get(at).and_then(Operand::constant);
        constant.map(|c| c.array.clone()).ok_or_else(|| format!("its input {at} isn't a constant"))
    }

    pub(super) fn conv(
        &mut self,
        node: &OperatorNode,
        window: &Sliding,
        groups: usize,
    ) -> Folded<StridedView> {
        let view = self.view(node, 0)?;
        let (view, padding) = self.evenly(node, view, window, 0.0)?;
        let x = self.as_map(&view)?;
        let weight = self.constant(node, 1)?;
        let bias = self.constant(node, 2).ok();
        let conv = Conv2d {
            in_channels: self.b.map(x).channels,
            out_channels: weight.dims()[0],
            kernel: window.kernel,
            stride: window.stride,
            padding,
            dilation: window.dilation,
            groups,
            bias: bias.is_some(),
            silent_bias: Span::new(0, 0),
            start: Start::PyTorch,
            functional: false,
        };
        let name = self.layer(node);
        let y = self.recorded(&name, conv, &[x])?;
        self.weigh(&name, "weight", weight);
        if let Some(bias) = bias {
            self.weigh(&name, "bias", bias);
        }
        Ok(StridedView::of_map(y, self.b.map(y)))
    }

    /// The name of a layer with weights.
    fn layer(&mut self, node: &OperatorNode) -> String {
        let name = self.names.layer(node);
        let weight = node.inputs.get(1).and_then(|input| input.constant()?.name.clone());
        if let Some(weight) = weight.filter(|weight| !self.weighed.insert(weight.clone())) {
            let weight = shorten(&weight, 80);
            self.notes.push(format!(
                "{weight} is the weight of several layers; {name} has a copy of its own here, which faults hit apart"
            ));
        }
        name
    }

    /// The addition of a constant, one number an output, that alone reads the product at `at`.
    fn bias_of(&self, at: usize) -> Option<(&OperatorNode, Array)> {
        let product = self.graph.nodes.get(at)?;
        let outputs = *self.graph.shapes[product.output.0].last()?;
        let next = &self.graph.nodes[self.graph.only_reader(product.output)?];
        let constant = &next.beside_constant(Binary::Add)?.1.array;
        let is_vector = constant.dims().last() == Some(&outputs) && constant.len() == outputs;
        let bias = constant.reshaped(vec![outputs]).ok().filter(|_| is_vector)?;
        let same = self.graph.shapes[next.output.0] == self.graph.shapes[product.output.0];
        same.then_some((next, bias))
    }

    /// What the linear layer at `at` makes, its bias added; `None` for other nodes.
    pub(super) fn linear_output(&self, at: usize) -> Option<ValueId> {
        let node = &self.graph.nodes[at];
        let is_linear = node.op == Operator::MatMul && node.inputs[1].constant().is_some();
        is_linear.then(|| self.bias_of(at).map_or(node.output, |(add, _)| add.output))
    }

    /// The weight of a linear layer as PyTorch has it: outputs × inputs.
    fn rows(&self, node: &OperatorNode) -> Folded<Array> {
        let matrix = self.constant(node, 1)?;
        match matrix.dims().len() {
            2 => matrix.transposed(&[1, 0]),
            _ => Err(format!("multiplies by {:?}, which {NOT_YET}", matrix.dims())),
        }
    }

    /// A product with a constant matrix, and what is added to it.
    pub(super) fn linear(&mut self, node: &OperatorNode, at: usize) -> Folded<()> {
        let weight = self.rows(node)?;
        let (outputs, inputs) = (weight.dims()[0], weight.dims()[1]);
        let bias = self.bias_of(at).map(|(add, bias)| (add.output, bias));
        let view = self.view(node, 0)?;
        let dims = view.sizes();
        let axis = dims.len().checked_sub(1).ok_or("takes a vector")?;
        let name = self.layer(node);
        let map = self.b.map(view.node);
        let made = if is_flattened(&view, map) && dims[axis] == map.elements() {
            let op = Linear::flattened(map, outputs, bias.is_some()).starting(Start::PyTorch);
            let y = self.recorded(&name, op, &[view.node])?;
            let mut sizes = dims.clone();
            sizes[axis] = outputs;
            StridedView::row_major(y, &sizes)
        } else {
            let (x, from) = self.with_channels(&view, axis)?;
            let y = self.recorded(&name, Linear::new(inputs, outputs, bias.is_some()), &[x])?;
            with_new_channels(&from, y, axis, outputs)
        };
        self.weigh(&name, "weight", weight);
        if let Some((output, bias)) = bias {
            self.weigh(&name, "bias", bias);
            self.views.insert(output, made.clone());
        }
        self.views.insert(node.output, made);
        Ok(())
    }

    /// The linear layer that a network ends in, which is left to its head.
    pub(super) fn last_linear(&mut self, node: &OperatorNode, at: usize) -> Folded<NetworkEnd> {
        let weight = self.rows(node)?;
        let bias = self.bias_of(at).map(|(_, bias)| bias);
        let view = self.view(node, 0)?;
        let axis = view.sizes().len() - 1;
        if size_of(&view.dims[axis]) != size_of(&view.atoms()) {
            return Err(format!("gives logits of {:?} of one image", self.dims(node, 0)));
        }
        let map = self.b.map(view.node);
        if is_flattened(&view, map) {
            // As `linear`: the layer reads a flattened map, which a head can't.
            let name = self.layer(node);
            let op = Linear::flattened(map, weight.dims()[0], bias.is_some());
            let logits = self.recorded(&name, op, &[view.node])?;
            self.weigh(&name, "weight", weight);
            bias.into_iter().for_each(|bias| self.weigh(&name, "bias", bias));
            return Ok(NetworkEnd::Logits(logits));
        }
        let feature = self.packed(&view, Map::vector(weight.dims()[1]))?;
        let name = self.layer(node);
        self.weigh(&name, "weight", weight);
        let has_bias = bias.is_some();
        bias.into_iter().for_each(|bias| self.weigh(&name, "bias", bias));
        Ok(NetworkEnd::Linear { name, feature, bias: has_bias })
    }

    pub(super) fn batch_norm(&mut self, node: &OperatorNode, eps: f32) -> Folded<StridedView> {
        let view = self.view(node, 0)?;
        let (x, view) = self.with_channels(&view, 1)?;
        let channels = self.b.map(x).channels;
        let name = self.layer(node);
        let y = self.recorded(&name, BatchNorm { channels, eps, momentum: MOMENTUM }, &[x])?;
        for (at, param) in ["weight", "bias", "running_mean", "running_var"].iter().enumerate() {
            let values = self.constant(node, at + 1)?.reshaped(vec![channels])?;
            self.weigh(&name, param, values);
        }
        Ok(StridedView { node: y, ..view })
    }

    pub(super) fn layer_norm(
        &mut self,
        node: &OperatorNode,
        axis: usize,
        eps: f32,
    ) -> Folded<StridedView> {
        let view = self.view(node, 0)?;
        let sizes = view.sizes();
        let (view, axis) = match axis + 1 == view.dims.len() {
            true => (view, axis),
            // Several dimensions as one.
            false => {
                let (outer, inner) = sizes.split_at(axis);
                let flat = [outer.iter().product(), inner.iter().product()];
                (self.in_order(&view)?.reshaped(&flat).ok_or("isn't of rows")?, 1)
            }
        };
        let (x, view) = self.with_channels(&view, axis)?;
        let channels = self.b.map(x).channels;
        let weight = self.constant(node, 1)?.reshaped(vec![channels])?;
        let zeros = || Array::floats(vec![channels], vec![0.0; channels]);
        let bias = self.constant(node, 2).or_else(|_| zeros())?.reshaped(vec![channels])?;
        let name = self.layer(node);
        let y = self.recorded(&name, LayerNorm { channels, eps }, &[x])?;
        self.weigh(&name, "weight", weight);
        self.weigh(&name, "bias", bias);
        StridedView { node: y, ..view }.reshaped(&sizes).ok_or_else(|| "isn't of its shape".into())
    }

    /// Mean and variance over a group of channels and all behind them, as a layer norm of rows that hold a
    /// group each; then scale and shift of each channel.
    pub(super) fn group_norm(
        &mut self,
        node: &OperatorNode,
        groups: usize,
        eps: f32,
    ) -> Folded<StridedView> {
        let view = self.view(node, 0)?;
        let sizes = view.sizes();
        let elements: usize = sizes.iter().product();
        // The first dimension counts images, or windows.
        let groups = groups * sizes[0];
        let channels = elements / groups;
        let rows = view.reshaped(&[groups, channels]);
        let rows = match rows {
            Some(rows) => rows,
            None => self.in_order(&view)?.reshaped(&[groups, channels]).ok_or("isn't of groups")?,
        };
        let x = self.packed(&rows, Map::new(1, groups, channels))?;
        let name = self.layer(node);
        let norm = format!("{name}.groups");
        let y = self.recorded(&norm, LayerNorm { channels, eps }, &[x])?;
        for (param, value) in [("weight", 1.0), ("bias", 0.0)] {
            self.weigh(&norm, param, Array::floats(vec![channels], vec![value; channels])?);
        }
        let normal = StridedView::row_major(y, &sizes);
        let (weight, bias) = (self.constant(node, 1)?, self.constant(node, 2)?);
        self.affine(&name, &normal, 1, weight, bias)
    }

    /// x · scale + shift, of a number each along an axis: a batch norm that has seen mean 0 and variance 1.
    pub(super) fn affine(
        &mut self,
        name: &str,
        view: &StridedView,
        axis: usize,
        scale: Array,
        shift: Array,
    ) -> Folded<StridedView> {
        let (x, view) = self.with_channels(view, axis)?;
        let channels = self.b.map(x).channels;
        let y = self.recorded(name, BatchNorm { channels, eps: 0.0, momentum: MOMENTUM }, &[x])?;
        let fixed = |value: f32| Array::floats(vec![channels], vec![value; channels]);
        self.weigh(name, "weight", scale.reshaped(vec![channels])?);
        self.weigh(name, "bias", shift.reshaped(vec![channels])?);
        self.weigh(name, "running_mean", fixed(0.0)?);
        self.weigh(name, "running_var", fixed(1.0)?);
        Ok(StridedView { node: y, ..view })
    }

    pub(super) fn softmax(&mut self, node: &OperatorNode, axis: usize) -> Folded<StridedView> {
        let view = self.view(node, 0)?;
        let (x, view) = self.with_channels(&view, axis)?;
        let name = self.names.step(node);
        let y = self.recorded(&name, Softmax, &[x])?;
        Ok(StridedView { node: y, ..view })
    }
}

/// Whether a view is all of a map of several pixels in PyTorch's order, as after `flatten`.
fn is_flattened(view: &StridedView, map: Map) -> bool {
    let all = view.reshaped(&[1, map.channels, map.height, map.width]);
    map.pixels() > 1 && all == Some(StridedView::of_map(view.node, map))
}

/// The view of a node with the same pixels and other channels.
pub(super) fn with_new_channels(
    view: &StridedView,
    node: NodeId,
    axis: usize,
    channels: usize,
) -> StridedView {
    let old = size_of(&view.dims[axis]) as isize;
    let mut dims = view.dims.clone();
    for atom in dims.iter_mut().flatten() {
        atom.stride = atom.stride / old.max(1) * channels as isize;
    }
    dims[axis] = match channels {
        1 => vec![],
        size => vec![super::view::Atom { size, stride: 1 }],
    };
    StridedView { node, start: 0, dims }
}
