//! What the allowed names do when a pickle "calls" them: describe a storage, a tensor, a dict.

use super::super::Parsed;
use super::machine::Machine;
use super::value::{Arena, Global, Node, StorageRef, TensorRef, Value};

/// PyTorch's own limit on the number of dimensions.
const MOST_DIMS: usize = 64;

/// The value of `callable(*args)`, for an allowed callable.
pub(super) fn call<'a>(
    machine: &mut Machine<'a, '_>,
    callable: Value<'a>,
    args: Value<'a>,
) -> Parsed<Value<'a>> {
    let arena = &machine.arena;
    let Value::Global(global) = callable else {
        return Err(format!("its pickle calls {}, which is refused", arena.kind(callable)));
    };
    let args = arena.tuple(args).ok_or("its pickle makes a call without arguments")?;
    match global {
        Global::Inert => Ok(Value::Inert),
        Global::Storage(_) => Err("its pickle calls a storage class, which is refused".into()),
        Global::OrderedDict => {
            let pairs = match args {
                [] => Vec::new(),
                // Python 2 hands over a list of [key, value] pairs.
                [items] => pairs_of(arena, *items)?,
                _ => return Err("its pickle makes a dict in an unknown way".into()),
            };
            machine.add_node(Node::Dict(pairs))
        }
        Global::Size => match args {
            [items] if arena.tuple(*items).is_some() => Ok(*items),
            _ => Err("its pickle makes a torch.Size of something that isn't a tuple".into()),
        },
        // A parameter is its data; whether it is trained is the model's business.
        Global::RebuildParameter => match args {
            [data, ..] if arena.tensor(*data).is_some() => Ok(*data),
            _ => Err("its pickle makes a parameter of something that isn't a tensor".into()),
        },
        Global::RebuildTensor | Global::RebuildTensorV2 => {
            let tensor = tensor(arena, args)?;
            machine.add_node(Node::Tensor(Box::new(tensor)))
        }
    }
}

fn pairs_of<'a>(arena: &Arena<'a>, items: Value<'a>) -> Parsed<Vec<(Value<'a>, Value<'a>)>> {
    let Some(Node::List(items) | Node::Tuple(items)) = arena.get(items) else {
        return Err("its pickle makes a dict of something that isn't a list".into());
    };
    let pair = |item: &Value<'a>| match arena.get(*item) {
        Some(Node::List(pair) | Node::Tuple(pair)) if pair.len() == 2 => Some((pair[0], pair[1])),
        _ => None,
    };
    let pairs: Option<Vec<_>> = items.iter().map(pair).collect();
    pairs.ok_or_else(|| "its pickle makes a dict of items that aren't pairs".into())
}

/// `_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks, ...)`.
fn tensor<'a>(arena: &Arena<'a>, args: &[Value<'a>]) -> Parsed<TensorRef<'a>> {
    let [storage, offset, shape, strides, ..] = args else {
        return Err("its pickle rebuilds a tensor from too few arguments".into());
    };
    let Some(Node::Storage(storage)) = arena.get(*storage) else {
        return Err("its pickle rebuilds a tensor without a storage".into());
    };
    let dims = |value: Value<'a>| -> Option<Vec<usize>> {
        let items = arena.tuple(value).filter(|items| items.len() <= MOST_DIMS)?;
        items.iter().map(|&item| count(item)).collect()
    };
    match (count(*offset), dims(*shape), dims(*strides)) {
        (Some(offset), Some(shape), Some(strides)) if shape.len() == strides.len() => {
            Ok(TensorRef { storage: (**storage).clone(), offset, shape, strides })
        }
        _ => Err("its pickle rebuilds a tensor of an impossible shape".into()),
    }
}

/// The storage that a persistent id names: `("storage", class, key, device, elements)`, and
/// before PyTorch 1.6 a view of it: `(key of the view, offset, elements)` or `None`.
pub(super) fn storage<'a>(arena: &Arena<'a>, id: Value<'a>) -> Parsed<StorageRef<'a>> {
    let unknown = || "its pickle refers to data of an unknown kind".to_string();
    let items = arena.tuple(id).ok_or_else(unknown)?;
    if let [Value::Str("module"), ..] = items {
        return Err("it holds a whole model and its source; save its state_dict() instead".into());
    }
    let [
        Value::Str("storage"),
        Value::Global(Global::Storage(dtype)),
        Value::Str(key),
        _,
        len,
        rest @ ..,
    ] = items
    else {
        return Err(unknown());
    };
    let view = match rest {
        [] | [Value::None] => None,
        [view] => match arena.tuple(*view) {
            Some([_, offset, len]) => {
                Some((count(*offset).ok_or_else(unknown)?, count(*len).ok_or_else(unknown)?))
            }
            _ => return Err(unknown()),
        },
        _ => return Err(unknown()),
    };
    Ok(StorageRef { key, dtype: *dtype, len: count(*len).ok_or_else(unknown)?, view })
}

fn count(value: Value<'_>) -> Option<usize> {
    match value {
        Value::Int(n) => usize::try_from(n).ok(),
        _ => None,
    }
}
