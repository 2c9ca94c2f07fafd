//! From the file's nodes to the graph: each operator of any version in the form of [`Operator`](super::op::Operator).

mod arithmetic;
mod call;
mod constants;
mod images;
mod layers;
mod maps;
mod names;
mod shapes;

use std::collections::HashMap;
use std::sync::Arc;

use self::call::{Call, Made};
use self::images::image_dims;
use self::names::{name_of, scope_of};
use super::array::{Array, Folded, MOST_ELEMENTS};
use super::attributes::Attributes;
use super::external::External;
use super::graph::{NamedArray, Operand, OperatorGraph, OperatorNode, Origin, ValueId};
use super::op::{Binary, Function, Operator};
use super::proto;
use super::refusals::Refusals;
use super::simplify::simplify;
use crate::error::shorten;

pub use self::images::{ImageSizes, image, image_sizes};

/// A network as its file has it, for images of one size.
#[derive(Clone, Debug)]
pub struct ReadNetwork {
    pub graph: OperatorGraph,
    /// The images, 1 × channels × height × width, or with their channels last.
    pub image: ValueId,
    pub channels_last: bool,
    /// The logits.
    pub output: Operand,
    /// Whether a softmax of them, which is left out, was the file's output.
    pub has_softmax: bool,
}

struct Reader<'m> {
    graph: OperatorGraph,
    /// What names stand for; `None` is what a node makes that isn't understood, or that reads such a value.
    names: HashMap<&'m str, Option<Operand>>,
    external: &'m External,
    opset: i64,
    refused: Refusals,
    /// Elements of constants that nodes have made, and how many they may be.
    computed: usize,
    most_computed: usize,
    image: ValueId,
    channels_last: bool,
}

/// The newest version of ONNX's operators that is known.
const MOST_OPSET: i64 = 28;
/// The domains of ONNX's own operators.
const OWN_DOMAINS: [&str; 2] = ["", "ai.onnx"];

/// The version of ONNX's operators that a model is made of.
fn opset(model: &proto::ModelProto) -> Folded<i64> {
    let own = model.opset_import.iter().find(|set| OWN_DOMAINS.contains(&set.domain.as_str()));
    let own = own.ok_or("doesn't say which version of ONNX's operators it is made of")?;
    match own.version {
        1..=MOST_OPSET => Ok(own.version),
        other => Err(format!(
            "is made of version {other} of ONNX's operators; 1 to {MOST_OPSET} are known"
        )),
    }
}

/// Decodes the constants of a model, by their names.
///
/// # Errors
/// Which one is damaged, or of a type that isn't computed with.
pub fn constants(
    model: &proto::ModelProto,
    external: &External,
) -> Folded<HashMap<String, NamedArray>> {
    let graph = model.graph.as_ref().ok_or("holds no graph")?;
    if !graph.sparse_initializer.is_empty() {
        return Err("has sparse constants, which aren't read".into());
    }
    let mut constants = HashMap::new();
    for tensor in &graph.initializer {
        let of_it = |problem| format!("its constant {} {problem}", shorten(&tensor.name, 80));
        let array = Array::read(tensor, external).map_err(of_it)?;
        let constant = NamedArray { array, name: Some(Arc::from(tensor.name.as_str())) };
        if constants.insert(tensor.name.clone(), constant).is_some() {
            return Err(of_it("stands there twice".into()));
        }
    }
    Ok(constants)
}

/// Reads a model for images that are `size` high and wide.
///
/// # Errors
/// Each node that isn't understood, with its name, operator and reason.
pub fn read(
    model: &proto::ModelProto,
    constants: &HashMap<String, NamedArray>,
    external: &External,
    size: [usize; 2],
) -> Folded<ReadNetwork> {
    Reader::of(model, constants, external, size)?.read(model)
}

impl<'m> Reader<'m> {
    fn of(
        model: &'m proto::ModelProto,
        constants: &HashMap<String, NamedArray>,
        external: &'m External,
        size: [usize; 2],
    ) -> Folded<Reader<'m>> {
        let graph = model.graph.as_ref().ok_or("holds no graph")?;
        let opset = opset(model)?;
        let mut names = HashMap::new();
        for tensor in &graph.initializer {
            if let Some(constant) = constants.get(&tensor.name) {
                names.insert(tensor.name.as_str(), Some(Operand::Constant(constant.clone())));
            }
        }
        let image = image(model, constants)?;
        let mut made = OperatorGraph::default();
        let id = made.input(image_dims(image, size)?);
        names.insert(image.name.as_str(), Some(Operand::Value(id)));
        let held: usize = constants.values().map(|constant| constant.array.len()).sum();
        Ok(Reader {
            graph: made,
            names,
            external,
            opset,
            refused: Refusals::default(),
            computed: 0,
            // Forms of weights, several times over, and tables of positions and masks.
            most_computed: 8 * held + MOST_ELEMENTS,
            image: id,
            channels_last: image_sizes(image)?.channels_last,
        })
    }

    fn read(mut self, model: &'m proto::ModelProto) -> Folded<ReadNetwork> {
        let graph = model.graph.as_ref().ok_or("holds no graph")?;
        for (at, node) in graph.node.iter().enumerate() {
            self.node(at, node);
        }
        let [output] = &graph.output[..] else {
            let count = graph.output.len();
            return Err(format!("has {count} outputs; a network of one, the logits, is taken"));
        };
        self.refused.check(graph.node.len())?;
        let output = match self.names.get(output.name.as_str()) {
            Some(Some(operand)) => operand.clone(),
            _ => return Err(format!("no node makes its output {}", shorten(&output.name, 80))),
        };
        let (output, has_softmax) = before_softmax(&self.graph, output);
        simplify(&mut self.graph, &output);
        let Reader { graph, image, channels_last, .. } = self;
        Ok(ReadNetwork { graph, image, channels_last, output, has_softmax })
    }

    fn node(&mut self, at: usize, node: &'m proto::NodeProto) {
        let made = match self.inputs(node) {
            Some(Ok(inputs)) => self.call(node, inputs),
            Some(Err(why)) => Err(why),
            None => {
                self.refused.behind += 1;
                node.output.iter().for_each(|name| {
                    self.names.insert(name, None);
                });
                return;
            }
        };
        let made = made.and_then(|made| {
            let again = |name: &&String| !name.is_empty() && self.names.contains_key(name.as_str());
            if let Some(name) = node.output.iter().find(again) {
                return Err(format!("makes {}, which is there already", shorten(name, 80)));
            }
            self.computed +=
                made.iter().filter_map(Operand::constant).map(|c| c.array.len()).sum::<usize>();
            if self.computed > self.most_computed {
                return Err("the constants that are computed are too large together".into());
            }
            // Outputs that nobody asks for have empty names.
            let asked = node.output.iter().skip(made.len()).any(|name| !name.is_empty());
            if asked { Err(format!("has {} outputs", node.output.len())) } else { Ok(made) }
        });
        if let Err(why) = &made {
            let name = if node.name.is_empty() { format!("node {at}") } else { node.name.clone() };
            self.refused.push(&name, &node.op_type, why);
        }
        for (at, name) in node.output.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            let operand = made.as_ref().ok().and_then(|made| made.get(at)).cloned();
            self.names.insert(name, operand);
        }
    }

    /// What a node reads; `None` where some of it isn't understood.
    fn inputs(&self, node: &proto::NodeProto) -> Option<Folded<Vec<Operand>>> {
        let mut inputs = Vec::with_capacity(node.input.len());
        for name in &node.input {
            inputs.push(match self.names.get(name.as_str()) {
                _ if name.is_empty() => Operand::Absent,
                Some(Some(operand)) => operand.clone(),
                Some(None) => return None,
                None => {
                    let name = shorten(name, 80);
                    return Some(Err(format!("reads {name}, which no node before it makes")));
                }
            });
        }
        Some(Ok(inputs))
    }

    fn call(&mut self, node: &'m proto::NodeProto, inputs: Vec<Operand>) -> Made {
        if !OWN_DOMAINS.contains(&node.domain.as_str()) {
            return Err(format!("is an operator of {}", shorten(&node.domain, 60)));
        }
        let mut call = Call {
            operator: &node.op_type,
            inputs,
            outputs: node.output.len(),
            attributes: Attributes::of(node)?,
            opset: self.opset,
            origin: Origin { name: name_of(node), scope: scope_of(node) },
            graph: &mut self.graph,
            external: self.external,
        };
        let made = operator(&mut call)?;
        call.attributes.finish()?;
        Ok(made)
    }
}

/// What stands before a softmax over the classes, which is the output's maker.
fn before_softmax(graph: &OperatorGraph, output: Operand) -> (Operand, bool) {
    let Some(value) = output.value() else { return (output, false) };
    let dims = &graph.shapes[value.0];
    match graph.maker(value) {
        Some(OperatorNode { op: Operator::Softmax { axis, .. }, inputs, .. })
            if dims.len() == axis + 1 =>
        {
            (inputs[0].clone(), true)
        }
        _ => (output, false),
    }
}

/// Runs the rule of an operator.
fn operator(call: &mut Call<'_>) -> Made {
    match call.operator {
        "Constant" => constants::constant(call),
        "ConstantOfShape" => constants::constant_of_shape(call),
        "Shape" => constants::shape(call),
        "Size" => constants::size(call),
        "Range" => constants::range(call),
        "Cast" | "CastLike" => constants::cast(call),
        "ScatterND" => constants::scatter_nd(call),
        "GatherND" => constants::gather_nd(call),
        "CumSum" => constants::cumulated(call),
        "OneHot" => constants::one_hot(call),
        "Trilu" => constants::trilu(call),
        "Identity" => Ok(vec![call.wanted(0)?]),
        "Dropout" => dropout(call),
        "Conv" => layers::conv(call),
        "Gemm" => layers::gemm(call),
        "MatMul" => layers::matmul(call),
        "Einsum" => layers::einsum(call),
        "BatchNormalization" => layers::batch_norm(call),
        "LayerNormalization" => layers::layer_norm(call),
        "GroupNormalization" => layers::group_norm(call),
        "InstanceNormalization" => layers::instance_norm(call),
        "LpNormalization" => arithmetic::lp_normalization(call),
        "Softmax" | "LogSoftmax" => arithmetic::softmax(call),
        "MaxPool" | "AveragePool" => maps::pool(call),
        "GlobalAveragePool" | "GlobalMaxPool" => maps::global_pool(call),
        "Pad" => maps::pad(call),
        "Resize" | "Upsample" => maps::resize(call),
        "Reshape" => shapes::reshape(call),
        "Flatten" => shapes::flatten(call),
        "Squeeze" => shapes::squeeze(call),
        "Unsqueeze" => shapes::unsqueeze(call),
        "Transpose" => shapes::transpose(call),
        "Expand" => shapes::expand(call),
        "Tile" => shapes::tile(call),
        "Concat" => shapes::concat(call),
        "Split" => shapes::split(call),
        "Slice" => shapes::slice(call),
        "Gather" => shapes::gather(call),
        "DepthToSpace" | "SpaceToDepth" => shapes::blocks(call),
        "LeakyRelu" | "Elu" | "HardSigmoid" | "Selu" | "Swish" | "Gelu" => {
            arithmetic::with_attributes(call)
        }
        "Clip" => arithmetic::clip(call),
        "PRelu" => arithmetic::prelu(call),
        "Mod" => arithmetic::modulo(call),
        "Sum" | "Mean" => arithmetic::variadic(call, Binary::Add),
        "Max" => arithmetic::variadic(call, Binary::Max),
        "Min" => arithmetic::variadic(call, Binary::Min),
        "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceProd" | "ReduceL1"
        | "ReduceL2" | "ReduceSumSquare" => arithmetic::reduce(call),
        "Where" => arithmetic::choose(call),
        "QuantizeLinear"
        | "DequantizeLinear"
        | "QLinearConv"
        | "QLinearMatMul"
        | "ConvInteger"
        | "MatMulInteger"
        | "DynamicQuantizeLinear" => {
            Err("is a quantised operator; export the network in float32".into())
        }
        other => match (other.parse::<Function>(), other.parse::<Binary>()) {
            (Ok(function), _) => arithmetic::unary(call, function),
            (_, Ok(function)) => arithmetic::binary(call, function),
            _ => Err("isn't an operator that this program knows".into()),
        },
    }
}

/// `Dropout`, which leaves everything as it is in evaluation.
fn dropout(call: &mut Call<'_>) -> Made {
    call.attributes.ignore(&["ratio", "seed", "is_test"]);
    let trains = match call.constant(2)? {
        Some(flag) => flag.array.as_bools()?.contains(&true),
        None => false,
    };
    match trains {
        true => Err("drops values at random: export the network in evaluation mode".into()),
        false => Ok(vec![call.wanted(0)?]),
    }
}
