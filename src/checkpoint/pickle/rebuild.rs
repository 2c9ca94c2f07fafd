//! What the allowed names do when a pickle "calls" them: describe a storage, a tensor, a dict.
//!
//! | argument | what becomes of it |
//! |---|---|
//! | a storage's class, key, length | element type, place and length; one storage has one of each |
//! | its location | any device holds the same values; `meta` holds none and is refused |
//! | its view, before PyTorch 1.6 | a part of the storage; refused in zip archives |
//! | a tensor's storage, offset, size, strides | the values |
//! | `requires_grad` | a bool; changes no value |
//! | hooks | none; others are refused |
//! | metadata | `{"neg": True}` negates; all else (`conj`, of complex tensors) is refused |
//! | a parameter's attributes | dropped; those that would replace its values are refused |
//! | what is set on a dict (`_metadata`) | dropped, since no item changes; on a tensor refused |
//! | arguments of what isn't looked into | dropped: nothing in it can become a weight |

use super::super::tensor::Dtype;
use super::super::{Parsed, quote};
use super::value::{Arena, Global, PickleNode, StorageRef, TensorRef, Value, count};
use super::{Budget, arrays};

/// PyTorch's own limit on the number of dimensions.
const MOST_DIMS: usize = 64;

/// The value of `callable(*args)`, for an allowed callable.
pub(super) fn call<'a>(
    arena: &mut Arena<'a>,
    budget: &mut Budget,
    callable: Value<'a>,
    args: Value<'a>,
) -> Parsed<Value<'a>> {
    let Value::Global(global) = callable else {
        return Err(format!("its pickle calls {}, which is refused", arena.kind(callable)));
    };
    if let Global::Numpy(name) = global {
        return arrays::call(arena, budget, name, args);
    }
    let args = arena.tuple(args).ok_or("its pickle makes a call without arguments")?;
    match global {
        Global::Inert | Global::Numpy(_) => Ok(Value::Inert),
        Global::Storage(_) => Err("its pickle calls a storage class, which is refused".into()),
        Global::Dict => {
            let pairs = match args {
                [] => Vec::new(),
                // Python 2 hands over a list of [key, value] pairs.
                [items] => pairs_of(arena, *items)?,
                _ => return Err("its pickle makes a dict in an unknown way".into()),
            };
            arena.add(PickleNode::Dict(pairs), budget)
        }
        // The default factory is a class or None; the items follow.
        Global::DefaultDict => match args {
            [] | [Value::None | Value::Global(_)] => {
                arena.add(PickleNode::Dict(Vec::new()), budget)
            }
            _ => Err("its pickle makes a dict in an unknown way".into()),
        },
        Global::Size => match args {
            [items] if arena.tuple(*items).is_some() => Ok(*items),
            _ => Err("its pickle makes a torch.Size of something that isn't a tuple".into()),
        },
        Global::RebuildParameter => match args {
            [data, requires_grad, hooks] => parameter(arena, *data, *requires_grad, *hooks),
            _ => Err(wrong_arguments("parameter")),
        },
        Global::RebuildParameterWithState => match args {
            [data, requires_grad, hooks, state] => {
                let gone_through = check_attributes(arena, *state)?;
                let parameter = parameter(arena, *data, *requires_grad, *hooks)?;
                budget.charge(gone_through)?;
                Ok(parameter)
            }
            _ => Err(wrong_arguments("parameter")),
        },
        Global::RebuildTensor => match args {
            [storage, offset, shape, strides] => {
                let tensor = tensor(arena, *storage, *offset, *shape, *strides)?;
                arena.add(PickleNode::Tensor(Box::new(tensor)), budget)
            }
            _ => Err(wrong_arguments("tensor")),
        },
        Global::RebuildTensorV2 => match args {
            [storage, offset, shape, strides, requires_grad, hooks, rest @ ..] => {
                check_autograd(arena, *requires_grad, *hooks)?;
                let mut tensor = tensor(arena, *storage, *offset, *shape, *strides)?;
                tensor.negated = match rest {
                    [] | [Value::None] => false,
                    [metadata] => is_negated(arena, *metadata, tensor.storage.dtype)?,
                    _ => return Err(wrong_arguments("tensor")),
                };
                arena.add(PickleNode::Tensor(Box::new(tensor)), budget)
            }
            _ => Err(wrong_arguments("tensor")),
        },
    }
}

fn wrong_arguments(what: &str) -> String {
    format!("its pickle rebuilds a {what} from an unknown number of arguments")
}

/// A parameter is its data; whether it is trained is the model's business.
fn parameter<'a>(
    arena: &Arena<'a>,
    data: Value<'a>,
    requires_grad: Value<'a>,
    hooks: Value<'a>,
) -> Parsed<Value<'a>> {
    check_autograd(arena, requires_grad, hooks)?;
    match arena.tensor(data) {
        Some(_) => Ok(data),
        None => Err("its pickle makes a parameter of something that isn't a tensor".into()),
    }
}

/// Whether a tensor is trained doesn't change its values, and PyTorch writes no hooks.
fn check_autograd<'a>(arena: &Arena<'a>, requires_grad: Value<'a>, hooks: Value<'a>) -> Parsed<()> {
    if !matches!(requires_grad, Value::Bool(_)) {
        let kind = arena.kind(requires_grad);
        return Err(format!("its pickle says by {kind} whether a tensor is trained"));
    }
    match (hooks, arena.dict(hooks)) {
        (Value::None, _) | (_, Some([])) => Ok(()),
        _ => Err("it holds a tensor with hooks, which are refused".into()),
    }
}

/// Attributes that a program has given a parameter: a dict, or a pair of it and one for slots. They are
/// dropped, and refused where setting them in Python would change the values. Gives the bytes of what
/// was gone through.
fn check_attributes<'a>(arena: &Arena<'a>, state: Value<'a>) -> Parsed<usize> {
    let both = [state];
    let parts = match arena.tuple(state) {
        Some(parts @ [_, _]) => parts,
        _ => &both,
    };
    let mut gone_through = 0;
    for &part in parts.iter().filter(|part| !matches!(part, Value::None)) {
        let pairs = arena.dict(part).ok_or("its pickle gives a parameter unknown attributes")?;
        gone_through += size_of_val(pairs);
        for (name, _) in pairs {
            match name {
                Value::Str("data" | "real" | "imag" | "__class__" | "__dict__") => {
                    return Err("its pickle replaces a parameter's values".into());
                }
                Value::Str(_) => {}
                _ => return Err("its pickle gives a parameter unknown attributes".into()),
            }
        }
    }
    Ok(gone_through)
}

/// Whether the metadata of a tensor, `{"neg": True}`, say that its values are the negatives of what
/// is stored. PyTorch knows `conj` besides, of complex tensors alone.
fn is_negated<'a>(arena: &Arena<'a>, metadata: Value<'a>, dtype: Dtype) -> Parsed<bool> {
    match arena.dict(metadata) {
        Some([]) => Ok(false),
        Some([(Value::Str("neg"), Value::Bool(true))]) if dtype != Dtype::Bool => Ok(true),
        Some(pairs) => {
            let keys: Vec<String> = pairs
                .iter()
                .take(3)
                .map(|(key, _)| match key {
                    Value::Str(key) => quote(key),
                    other => arena.kind(*other).into(),
                })
                .collect();
            let keys = keys.join(", ");
            Err(format!("it holds a tensor of type {dtype:?} with unknown metadata ({keys})"))
        }
        None => Err("it holds a tensor with metadata that aren't a dict".into()),
    }
}

fn pairs_of<'a>(arena: &Arena<'a>, items: Value<'a>) -> Parsed<Vec<(Value<'a>, Value<'a>)>> {
    let Some(PickleNode::List(items) | PickleNode::Tuple(items)) = arena.get(items) else {
        return Err("its pickle makes a dict of something that isn't a list".into());
    };
    let pair = |item: &Value<'a>| match arena.get(*item) {
        Some(PickleNode::List(pair) | PickleNode::Tuple(pair)) if pair.len() == 2 => {
            Some((pair[0], pair[1]))
        }
        _ => None,
    };
    let pairs: Option<Vec<_>> = items.iter().map(pair).collect();
    pairs.ok_or_else(|| "its pickle makes a dict of items that aren't pairs".into())
}

/// `_rebuild_tensor(storage, offset, size, stride)`.
fn tensor<'a>(
    arena: &Arena<'a>,
    storage: Value<'a>,
    offset: Value<'a>,
    shape: Value<'a>,
    strides: Value<'a>,
) -> Parsed<TensorRef<'a>> {
    let Some(PickleNode::Storage(storage)) = arena.get(storage) else {
        return Err("its pickle rebuilds a tensor without a storage".into());
    };
    let dims = |value: Value<'a>| -> Option<Vec<usize>> {
        let items = arena.tuple(value).filter(|items| items.len() <= MOST_DIMS)?;
        items.iter().map(|&item| count(item)).collect()
    };
    match (count(offset), dims(shape), dims(strides)) {
        (Some(offset), Some(shape), Some(strides)) if shape.len() == strides.len() => {
            Ok(TensorRef { storage: (**storage).clone(), offset, shape, strides, negated: false })
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
        return Err("it holds a whole model: save model.state_dict() instead".into());
    }
    let [
        Value::Str("storage"),
        Value::Global(Global::Storage(dtype)),
        Value::Str(key),
        Value::Str(location),
        len,
        rest @ ..,
    ] = items
    else {
        return Err(unknown());
    };
    // Any other device holds the same values.
    if *location == "meta" {
        return Err("it holds a tensor without values (device meta)".into());
    }
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
