//! Attention as the engine's one operation, or where it isn't one, as products and a softmax.

use super::Recorder;
use super::view::{Atom, StridedView, is_run, simplified, size_of};
use crate::onnx::array::{Array, Folded, spread_strides, strides_of};
use crate::onnx::graph::OperatorNode;
use crate::ops::attention::{Attention, Bias, Form, Partition};
use crate::ops::broadcast::BroadcastBy;
use crate::ops::constant::Constant;
use crate::ops::softmax::Softmax;
use crate::tape::NodeId;
use crate::tensor::Map;

/// Channels of a head that its kernels take.
const MOST_CHANNELS: usize = 64;

/// Queries, keys and values in one map, as the engine's operation wants them.
struct Projected {
    node: NodeId,
    heads: usize,
    partition: Partition,
    /// The queries; outputs lie alike, in a third of the channels.
    queries: StridedView,
}

impl Recorder<'_, '_, '_> {
    pub(super) fn attention(&mut self, node: &OperatorNode, scale: f32) -> Folded<StridedView> {
        let (q, k, v) = (self.view(node, 0)?, self.view(node, 1)?, self.view(node, 2)?);
        let rank = q.dims.len();
        let mut order: Vec<usize> = (0..rank).collect();
        order.swap(rank - 2, rank - 1);
        let k = k.transposed(&order);
        let bias = node.inputs[3].constant().map(|constant| constant.array.clone());
        let name = self.names.step(node);
        let is_one = q.sizes() == k.sizes()
            && k.sizes() == v.sizes()
            && size_of(&q.dims[rank - 1]) <= MOST_CHANNELS;
        let projected = if is_one { self.projected(&q, &k, &v) } else { None };
        match (projected, &bias) {
            (Some(projected), None) => return self.attended(&name, scale, projected, None),
            (Some(projected), Some(bias)) => {
                if let Some(table) = position_table(bias, &projected) {
                    return self.attended(&name, scale, projected, Some(table));
                }
            }
            (None, None) if is_one => {
                let projected = self.brought_together(&name, [&q, &k, &v])?;
                return self.attended(&name, scale, projected, None);
            }
            (None, _) => {}
        }
        self.written_out(node, &name, scale, [q, k, v], bias)
    }

    /// Queries, keys and values that are thirds of a map's channels, their tokens all of it, or its windows.
    fn projected(&self, q: &StridedView, k: &StridedView, v: &StridedView) -> Option<Projected> {
        let map = self.b.map(q.node);
        let rank = q.dims.len();
        let third = map.channels / 3;
        let follows = |a: &StridedView, b: &StridedView| {
            a.node == b.node && a.dims == b.dims && b.start == a.start + third
        };
        let channels = size_of(&q.dims[rank - 1]);
        if q.start != 0
            || map.channels != 3 * third
            || !follows(q, k)
            || !follows(k, v)
            || !is_run(&q.dims[rank - 1], channels)
        {
            return None;
        }
        let outer: Vec<Atom> = q.dims[..rank - 2].iter().flatten().copied().collect();
        let (heads, parts): (Vec<Atom>, Vec<Atom>) =
            outer.into_iter().partition(|atom| atom.stride < map.channels as isize);
        let heads = simplified(heads);
        let heads = match heads[..] {
            [] if channels == third => 1,
            // The last dimension before the tokens, as a bias has it.
            [Atom { size, stride }]
                if stride == channels as isize
                    && size * channels == third
                    && size_of(&q.dims[rank - 3]) == size
                    && q.dims[rank - 3].iter().all(|atom| atom.stride < map.channels as isize) =>
            {
                size
            }
            _ => return None,
        };
        let partition = partition_of(map, &parts, &q.dims[rank - 2])?;
        Some(Projected { node: q.node, heads, partition, queries: q.clone() })
    }

    /// Queries, keys and values side by side in a new map: a row for each part, the last dimension before the
    /// tokens as heads.
    fn brought_together(&mut self, name: &str, [q, k, v]: [&StridedView; 3]) -> Folded<Projected> {
        let sizes = q.sizes();
        let [outer @ .., tokens, channels] = &sizes[..] else {
            return Err("takes matrices".into());
        };
        let (heads, parts) = outer.split_last().ok_or("takes several heads")?;
        let third = heads * channels;
        let map = Map::new(parts.iter().product(), *tokens, 3 * third);
        let mut strides = strides_of(parts);
        strides.iter_mut().for_each(|stride| *stride *= map.width * map.channels);
        strides.extend([*channels, map.channels, 1]);
        let views = [(0, q), (third, k), (2 * third, v)];
        let node = self.placed(&format!("{name}.qkv"), map, &views, &strides)?;
        let dim = |(size, stride): (&usize, &usize)| {
            simplified(vec![Atom { size: *size, stride: *stride as isize }])
        };
        let dims = sizes.iter().zip(&strides).map(dim).collect();
        let queries = StridedView { node, start: 0, dims };
        let partition = Partition::Windows { size: [1, *tokens], shift: [0; 2] };
        Ok(Projected { node, heads: *heads, partition, queries })
    }

    fn attended(
        &mut self,
        name: &str,
        scale: f32,
        projected: Projected,
        table: Option<PositionTable>,
    ) -> Folded<StridedView> {
        let Projected { node, heads, partition, queries } = projected;
        let mut inputs = vec![node];
        let bias = table.is_some().then_some(Bias::Plain);
        if let Some(PositionTable { window, values, index }) = table {
            self.weigh(name, "relative_position_index", index);
            let name = format!("{name}.relative_position_bias_table");
            let table = Constant::position_bias(window, heads);
            let values = values.reshaped(table.param.shape.clone())?;
            inputs.push(self.b.constant(&name, table).map_err(|error| error.to_string())?);
            self.weights.push((self.b.name(&name), values));
        }
        let op = Attention { heads, form: Form::Dot { scale }, partition, bias };
        let y = self.recorded(name, op, &inputs)?;
        let all = self.b.map(node).channels as isize;
        let mut view = StridedView { node: y, start: 0, ..queries };
        for atom in view.dims.iter_mut().flatten().filter(|atom| atom.stride >= all) {
            atom.stride /= 3;
        }
        Ok(view)
    }

    /// scale · Q · K + bias, a softmax, · V.
    fn written_out(
        &mut self,
        node: &OperatorNode,
        name: &str,
        scale: f32,
        [q, k, v]: [StridedView; 3],
        bias: Option<Array>,
    ) -> Folded<StridedView> {
        let rank = q.dims.len();
        let mut order: Vec<usize> = (0..rank).collect();
        order.swap(rank - 2, rank - 1);
        let k = match scale {
            1.0 => k,
            _ => self.line_of(&format!("{name}.scaled"), &k, scale, 0.0)?,
        };
        let mut scores = self.product_of(&format!("{name}.scores"), &q, &k.transposed(&order))?;
        if let Some(bias) = bias {
            scores = self.broadcast(node, &scores, BroadcastBy::Add, &bias, None)?;
        }
        let y = self.recorded(&format!("{name}.probabilities"), Softmax, &[scores.node])?;
        self.product_of(name, &StridedView { node: y, ..scores }, &v)
    }
}

/// How the tokens of a part, and the parts, lie on a map's pixels.
fn partition_of(map: Map, parts: &[Atom], tokens: &[Atom]) -> Option<Partition> {
    if size_of(parts) * size_of(tokens) != map.pixels() {
        return None;
    }
    // A token's number counts columns first.
    let mut last = isize::MAX;
    if !tokens.iter().all(|atom| std::mem::replace(&mut last, atom.stride) > atom.stride) {
        return None;
    }
    let (part_rows, part_columns) = (along(map, parts, 0)?, along(map, parts, 1)?);
    let (token_rows, token_columns) = (along(map, tokens, 0)?, along(map, tokens, 1)?);
    let size = [token_rows.size, token_columns.size];
    let is = |atom: Atom, stride: usize| atom.size == 1 || atom.stride == stride as isize;
    if part_rows.size == 1 && part_columns.size == 1 {
        return (is(token_rows, 1) && is(token_columns, 1))
            .then_some(Partition::Whole { causal: false });
    }
    let lies = |token: [usize; 2], part: [usize; 2]| {
        is(token_rows, token[0])
            && is(token_columns, token[1])
            && is(part_rows, part[0])
            && is(part_columns, part[1])
    };
    if lies([1, 1], size) {
        return Some(Partition::Windows { size, shift: [0; 2] });
    }
    let apart = [part_rows.size, part_columns.size];
    lies(apart, [1, 1]).then_some(Partition::Grid { size })
}

/// The one atom of atoms over pixels along the rows (0) or columns (1) of `map`, counted in rows or columns; `None`
/// where there are several.
fn along(map: Map, atoms: &[Atom], axis: usize) -> Option<Atom> {
    let (pixel, row) = (map.channels as isize, (map.width * map.channels) as isize);
    let mut found = Vec::new();
    for atom in atoms {
        let (size, stride) = (atom.size, atom.stride);
        if stride >= row {
            if stride % row != 0 {
                return None;
            }
            found.push((0, Atom { size, stride: stride / row }));
            continue;
        }
        if stride % pixel != 0 {
            return None;
        }
        // It may go on in the rows below.
        let columns = (row / stride) as usize;
        if size > columns {
            if row % stride != 0 || !size.is_multiple_of(columns) {
                return None;
            }
            found.push((0, Atom { size: size / columns, stride: 1 }));
        }
        found.push((1, Atom { size: size.min(columns), stride: stride / pixel }));
    }
    let atoms: Vec<Atom> =
        found.into_iter().filter(|(own, _)| *own == axis).map(|(_, atom)| atom).collect();
    match simplified(atoms)[..] {
        [] => Some(Atom { size: 1, stride: 0 }),
        [atom] => Some(atom),
        _ => None,
    }
}

/// A bias for each offset of two tokens of a window, and head.
struct PositionTable {
    window: [usize; 2],
    /// Offsets × heads.
    values: Array,
    /// The offset of each two tokens.
    index: Array,
}

/// The table that a bias of heads × tokens × tokens follows from, if it depends on tokens' offsets alone.
fn position_table(bias: &Array, projected: &Projected) -> Option<PositionTable> {
    let (Partition::Windows { size, .. } | Partition::Grid { size }) = projected.partition else {
        return None;
    };
    let (heads, tokens) = (projected.heads, size[0] * size[1]);
    let rank = bias.dims().len();
    if rank > 3 && bias.dims()[..rank - 3].iter().any(|size| *size != 1) {
        return None;
    }
    let own = &bias.dims()[rank.saturating_sub(3)..];
    let strides = spread_strides(own, &[heads, tokens, tokens])?;
    let values = bias.as_floats().ok()?;
    let across = 2 * size[1] - 1;
    let offsets = (2 * size[0] - 1) * across;
    let mut table: Vec<Option<f32>> = vec![None; offsets * heads];
    let offset = |i: usize, j: usize| {
        let row = i / size[1] + size[0] - 1 - j / size[1];
        row * across + i % size[1] + size[1] - 1 - j % size[1]
    };
    for head in 0..heads {
        for i in 0..tokens {
            for j in 0..tokens {
                let at =
                    head as isize * strides[0] + i as isize * strides[1] + j as isize * strides[2];
                let entry = &mut table[offset(i, j) * heads + head];
                let value = values[at as usize];
                if entry.is_some_and(|entry| entry.to_bits() != value.to_bits()) {
                    return None;
                }
                *entry = Some(value);
            }
        }
    }
    let values = table.into_iter().collect::<Option<Vec<f32>>>()?;
    let index: Vec<i64> =
        (0..tokens * tokens).map(|at| offset(at / tokens, at % tokens) as i64).collect();
    Some(PositionTable {
        window: size,
        values: Array::floats(vec![offsets, heads], values).ok()?,
        index: Array::ints(&index).reshaped(vec![tokens, tokens]).ok()?,
    })
}
