//! From the graph to a tape: each node as the engine's own operations.

mod arrange;
mod attention;
mod constants;
mod layers;
mod names;
mod pointwise;
mod pools;
mod products;
mod reductions;
mod resize;
mod view;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use self::names::{LayerNames, kind_of};
use self::view::{StridedView, is_run};
use super::array::{Array, Folded};
use super::graph::{Operand, OperatorGraph, OperatorNode, ValueId};
use super::op::{Binary, Operator};
use super::read::ReadNetwork;
use super::refusals::Refusals;
use crate::nn::Builder;
use crate::ops::slice::Slice;
use crate::tape::NodeId;
use crate::tensor::{Map, Span};

/// A recorded network.
#[derive(Debug)]
pub struct LoweredNetwork {
    /// The values of parameters, in PyTorch's order, by their names on the tape.
    pub weights: Vec<(String, Array)>,
    pub ending: NetworkEnd,
    /// The classes of its logits.
    pub classes: usize,
    pub notes: Vec<String>,
}

/// How a network ends.
#[derive(Clone, Debug)]
pub enum NetworkEnd {
    /// In a linear layer of this name, which isn't recorded: a head can stand in its place.
    Linear { name: String, feature: NodeId, bias: bool },
    /// Otherwise: in these logits.
    Logits(NodeId),
}

/// Records all nodes of `source` behind `image`, but for a linear layer at its end.
///
/// # Errors
/// Each node that is none of the engine's operations, with the reason.
pub fn record(source: &ReadNetwork, b: &mut Builder<'_>, image: NodeId) -> Folded<LoweredNetwork> {
    let view = StridedView::of_map(image, b.map(image));
    let view = if source.channels_last { view.transposed(&[0, 2, 3, 1]) } else { view };
    let mut lowering = Recorder {
        graph: &source.graph,
        views: HashMap::from([(source.image, view)]),
        names: LayerNames::of(&source.graph),
        weights: Vec::new(),
        weighed: HashSet::new(),
        notes: Vec::new(),
        b,
    };
    let Some(output) = source.output.value() else {
        return Err("its output doesn't depend on the image".into());
    };
    let shape = &source.graph.shapes[output.0];
    let classes = shape.iter().product();
    if shape.iter().any(|size| *size != 1 && *size != classes) {
        return Err(format!("gives {shape:?} of one image; logits of images × classes are taken"));
    }
    let mut refused = Refusals::default();
    let mut last = None;
    let nodes = &source.graph.nodes;
    for (at, node) in nodes.iter().enumerate() {
        if lowering.views.contains_key(&node.output) {
            continue; // computed with the node before it
        }
        if node.inputs.iter().filter_map(Operand::value).any(|v| !lowering.views.contains_key(&v)) {
            refused.behind += 1;
            continue;
        }
        let is_last = lowering.linear_output(at) == Some(output);
        let lowered = match is_last {
            true => lowering.last_linear(node, at).map(|ending| last = Some(ending)),
            false => lowering.node(node, at),
        };
        match lowered {
            Ok(()) if is_last => break,
            Ok(()) => {}
            Err(why) => refused.push(&node.name, kind_of(&node.op), &why),
        }
    }
    refused.check(nodes.len())?;
    let ending = match last {
        Some(ending) => ending,
        None => {
            let view = lowering.views.get(&output).cloned().ok_or("nothing makes its output")?;
            NetworkEnd::Logits(lowering.packed(&view, Map::vector(classes))?)
        }
    };
    Ok(LoweredNetwork { weights: lowering.weights, ending, classes, notes: lowering.notes })
}

struct Recorder<'g, 'b, 't> {
    graph: &'g OperatorGraph,
    /// Where each value lies.
    views: HashMap<ValueId, StridedView>,
    names: LayerNames,
    weights: Vec<(String, Array)>,
    /// Names of the file's constants that are layers' weights.
    weighed: HashSet<Arc<str>>,
    notes: Vec<String>,
    b: &'b mut Builder<'t>,
}

impl Recorder<'_, '_, '_> {
    /// Records a node.
    fn node(&mut self, node: &OperatorNode, at: usize) -> Folded<()> {
        let dims = self.graph.shapes[node.output.0].clone();
        let view = match &node.op {
            Operator::Conv { window, groups } => self.conv(node, window, *groups)?,
            Operator::MatMul if node.inputs[1].constant().is_some() => {
                return self.linear(node, at);
            }
            Operator::MatMul => self.product(node)?,
            Operator::Attention { scale } => self.attention(node, *scale)?,
            Operator::BatchNorm { eps } => self.batch_norm(node, *eps)?,
            Operator::LayerNorm { axis, eps } => self.layer_norm(node, *axis, *eps)?,
            Operator::Unary(function) => self.unary(node, *function)?,
            Operator::Binary(function) => self.binary(node, *function)?,
            Operator::MaxPool { window } => self.max_pool(node, window)?,
            Operator::AvgPool { window, count_include_pad } => {
                self.avg_pool(node, window, *count_include_pad)?
            }
            Operator::Reduce { reduction, axes, .. } => {
                let view = self.reduce(node, *reduction, axes)?;
                view.reshaped(&dims).ok_or("can't be of its shape")?
            }
            Operator::Softmax { axis, log: false } => self.softmax(node, *axis)?,
            Operator::Reshape { .. } => {
                let view = self.view(node, 0)?;
                match view.reshaped(&dims) {
                    Some(view) => view,
                    None => self.in_order(&view)?.reshaped(&dims).ok_or("can't be of its shape")?,
                }
            }
            Operator::Transpose { order } => self.view(node, 0)?.transposed(order),
            Operator::Slice { cuts } => {
                let view = self.view(node, 0)?;
                match view.cut(cuts) {
                    Some(view) => view,
                    None => self.in_order(&view)?.cut(cuts).ok_or("can't be cut so")?,
                }
            }
            Operator::Expand { dims } => self.view(node, 0)?.spread(dims),
            Operator::Pad { before, value, .. } => self.pad(node, before, *value)?,
            Operator::Concat { axis } => self.concat(node, *axis)?,
            Operator::Take { axis, indices } | Operator::PadFrom { axis, indices } => {
                let view = self.view(node, 0)?;
                self.take(node, view, *axis, indices)?
            }
            Operator::GroupNorm { groups, eps } => self.group_norm(node, *groups, *eps)?,
            Operator::Resize { sampling, rows, columns } => {
                self.resize(node, *sampling, [rows, columns])?
            }
            Operator::Softmax { log: true, .. } | Operator::Where => return Err(NOT_YET.into()),
        };
        if view.sizes() != dims {
            return Err(format!("became {:?} instead of {dims:?}", view.sizes()));
        }
        self.views.insert(node.output, view);
        Ok(())
    }

    /// Where input number `at` of a node lies.
    fn view(&self, node: &OperatorNode, at: usize) -> Folded<StridedView> {
        let value =
            node.value(at).ok_or_else(|| format!("its input {at} doesn't depend on the image"))?;
        self.views.get(&value).cloned().ok_or_else(|| format!("its input {at} isn't known"))
    }

    /// The shape of input number `at` of a node.
    fn dims(&self, node: &OperatorNode, at: usize) -> Vec<usize> {
        node.inputs.get(at).map_or(Vec::new(), |input| self.graph.dims(input).to_vec())
    }

    /// A node that holds exactly the view's elements, row-major, as `map`.
    fn packed(&mut self, view: &StridedView, map: Map) -> Folded<NodeId> {
        let own = self.b.map(view.node);
        let atoms = view::simplified(view.atoms());
        if view.start == 0 && own == map && is_run(&atoms, map.elements()) {
            return Ok(view.node);
        }
        // A range of the channels.
        let rows = [own.height, own.width] == [map.height, map.width];
        let strided = map.pixels() == 1
            || atoms
                .first()
                .is_some_and(|a| a.size == map.pixels() && a.stride == own.channels as isize);
        let inner = if map.pixels() == 1 { &atoms[..] } else { atoms.get(1..).unwrap_or_default() };
        if rows
            && strided
            && is_run(inner, map.channels)
            && view.start + map.channels <= own.channels
        {
            let channels = Span::new(view.start, view.start + map.channels);
            let name = format!("{}.{}", self.b.tape.node(view.node).name, channels_name(channels));
            if let Some(known) = self.b.tape.nodes().iter().position(|node| node.name == name) {
                return Ok(NodeId(known));
            }
            return self.recorded(&name, Slice { channels }, &[view.node]);
        }
        self.gathered(view, map)
    }

    /// The view, 1 × channels × rows × columns, as a node's map.
    fn as_map(&mut self, view: &StridedView) -> Folded<NodeId> {
        let [1, channels, height, width] = view.sizes()[..] else {
            return Err(format!("takes maps with rows and columns, not {:?}", view.sizes()));
        };
        self.packed(&view.transposed(&[0, 2, 3, 1]), Map::new(height, width, channels))
    }

    /// A node whose channels are dimension `axis` of the view, whatever the order of its pixels; its other
    /// dimensions are those of the view that comes with it.
    fn with_channels(&mut self, view: &StridedView, axis: usize) -> Folded<(NodeId, StridedView)> {
        let map = self.b.map(view.node);
        let size = view.sizes()[axis];
        if map.channels == size && is_run(&view.dims[axis], size) && view.is_whole(map) {
            return Ok((view.node, view.clone()));
        }
        let sizes = view.sizes();
        let mut order: Vec<usize> = (0..sizes.len()).filter(|dim| *dim != axis).collect();
        order.push(axis);
        let moved = view.transposed(&order);
        let pixels: usize = moved.sizes()[..sizes.len() - 1].iter().product();
        let maps = match sizes[..] {
            [1, _, height, width] if axis == 1 => Map::new(height, width, size),
            [1, height, width, _] if axis == 3 => Map::new(height, width, size),
            _ => Map::new(1, pixels, size),
        };
        let node = self.packed(&moved, maps)?;
        let mut back: Vec<usize> = (0..axis).collect();
        back.push(sizes.len() - 1);
        back.extend(axis..sizes.len() - 1);
        Ok((node, StridedView::row_major(node, &moved.sizes()).transposed(&back)))
    }

    /// Records an operation.
    fn recorded(
        &mut self,
        name: &str,
        op: impl crate::ops::Op + 'static,
        inputs: &[NodeId],
    ) -> Folded<NodeId> {
        self.b.record(name, op, inputs).map_err(|error| error.to_string())
    }

    /// Notes the values of a parameter.
    fn weigh(&mut self, layer: &str, param: &str, array: Array) {
        self.weights.push((self.b.name(&format!("{layer}.{param}")), array));
    }
}

/// What a range of channels adds to a node's name.
fn channels_name(channels: Span) -> String {
    format!("channels{}to{}", channels.start, channels.end)
}

/// Why a node is refused that is understood.
const NOT_YET: &str = "is understood, but the engine has no operation for it yet";
