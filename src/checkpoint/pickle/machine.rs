//! The stack machine: one match over the opcodes.

use std::collections::HashMap;

use super::super::Parsed;
use super::value::{Arena, Global, PickleNode, Value};
use super::{AllowedNames, Budget, Pickle, arrays, rebuild};

/// Bytes of a value on the stack. Vectors double as they grow, and the old one may stand beside the
/// new one for a moment: three times their elements is what they may take.
const VALUE: usize = 3 * size_of::<Value<'_>>();
/// Bytes of a remembered value: a hash table is half full after it has grown, and its predecessor
/// still there while it grows.
const MEMO_ENTRY: usize = 3 * (size_of::<(u32, Value<'_>)>() + 1);
/// The least number of elements that a vector makes room for.
const LEAST_ROOM: usize = 4;

pub(super) struct Machine<'a, 'b> {
    input: &'a [u8],
    at: usize,
    stack: Vec<Value<'a>>,
    marks: Vec<usize>,
    /// The most values and marks that have stood on the stack.
    deepest: usize,
    memo: HashMap<u32, Value<'a>>,
    arena: Arena<'a>,
    budget: &'b mut Budget,
    names: AllowedNames,
}

impl<'a, 'b> Machine<'a, 'b> {
    pub fn new(
        input: &'a [u8],
        start: usize,
        budget: &'b mut Budget,
        names: AllowedNames,
    ) -> Machine<'a, 'b> {
        Machine {
            input,
            at: start,
            stack: Vec::new(),
            marks: Vec::new(),
            deepest: 0,
            memo: HashMap::new(),
            arena: Arena::default(),
            budget,
            names,
        }
    }

    pub fn run(mut self) -> Parsed<Pickle<'a>> {
        loop {
            let opcode = self.bytes(1)?[0];
            if opcode == b'.' {
                let root = self.pop()?;
                return Ok(Pickle { root, arena: self.arena, end: self.at });
            }
            self.step(opcode)?;
            let depth = self.stack.len() + self.marks.len();
            if depth > self.deepest {
                self.charge((depth - self.deepest) * VALUE)?;
                self.deepest = depth;
            }
        }
    }

    /// Carries out one opcode; the letters are those of Python's `pickletools`.
    fn step(&mut self, opcode: u8) -> Parsed<()> {
        match opcode {
            // PROTO, FRAME
            0x80 => {
                let version = self.bytes(1)?[0];
                if version > 5 {
                    return Err(format!("its pickle protocol {version} is unknown"));
                }
            }
            0x95 => drop(self.bytes(8)?),
            // MARK, POP, POP_MARK, DUP
            b'(' => self.marks.push(self.stack.len()),
            b'0' => {
                // POP also takes a mark when one is on top.
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                } else {
                    self.pop()?;
                }
            }
            b'1' => drop(self.pop_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            // NONE, NEWTRUE, NEWFALSE
            b'N' => self.stack.push(Value::None),
            0x88 | 0x89 => self.stack.push(Value::Bool(opcode == 0x88)),
            // BININT, BININT1, BININT2, LONG1, LONG4, BINFLOAT
            b'J' => {
                let n = self.number(4)? as i32;
                self.stack.push(Value::Int(n.into()));
            }
            b'K' | b'M' => {
                let n = self.number(if opcode == b'K' { 1 } else { 2 })?;
                self.stack.push(Value::Int(n as i64));
            }
            0x8a => self.long(1)?,
            0x8b => self.long(4)?,
            b'G' => {
                self.bytes(8)?;
                self.stack.push(Value::Float);
            }
            // SHORT_BINUNICODE, BINUNICODE, BINUNICODE8
            0x8c => self.text(1, false)?,
            b'X' => self.text(4, false)?,
            0x8d => self.text(8, false)?,
            // SHORT_BINSTRING, BINSTRING: Python 2's str
            b'U' => self.text(1, true)?,
            b'T' => self.text(4, true)?,
            // SHORT_BINBYTES, BINBYTES, BINBYTES8, BYTEARRAY8
            b'C' => self.push_bytes(1)?,
            b'B' => self.push_bytes(4)?,
            0x8e | 0x96 => self.push_bytes(8)?,
            // EMPTY_TUPLE, TUPLE1..3, TUPLE
            b')' => self.push_tuple(0)?,
            0x85..=0x87 => self.push_tuple(usize::from(opcode - 0x84))?,
            b't' => {
                let items = self.pop_mark()?;
                self.push_node(PickleNode::Tuple(items))?;
            }
            // EMPTY_LIST, LIST, APPEND, APPENDS
            b']' => self.push_node(PickleNode::List(Vec::new()))?,
            b'l' => {
                let items = self.pop_mark()?;
                self.push_node(PickleNode::List(items))?;
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(vec![item])?;
            }
            b'e' => {
                let items = self.pop_mark()?;
                self.extend(items)?;
            }
            // EMPTY_DICT, DICT, SETITEM, SETITEMS
            b'}' => self.push_node(PickleNode::Dict(Vec::new()))?,
            b'd' => {
                let items = self.pop_mark()?;
                self.push_node(PickleNode::Dict(Vec::new()))?;
                self.set_items(&items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set_items(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.set_items(&items)?;
            }
            // EMPTY_SET, FROZENSET, ADDITEMS: sets hold nothing that is wanted
            0x8f => self.stack.push(Value::Inert),
            0x91 => {
                self.pop_mark()?;
                self.stack.push(Value::Inert);
            }
            0x90 => drop(self.pop_mark()?),
            // BINGET, LONG_BINGET, BINPUT, LONG_BINPUT, MEMOIZE
            b'h' | b'j' => {
                let key = self.number(if opcode == b'h' { 1 } else { 4 })?;
                self.recall(key as u32)?;
            }
            b'q' | b'r' => {
                let key = self.number(if opcode == b'q' { 1 } else { 4 })?;
                self.remember(key as u32)?;
            }
            0x94 => self.remember(self.memo.len() as u32)?,
            // GLOBAL, STACK_GLOBAL
            b'c' => {
                let global = self.global_from_lines()?;
                self.stack.push(Value::Global(global));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Str(module), Value::Str(name)) = (module, name) else {
                    return Err("its pickle names a class by something that isn't text".into());
                };
                self.stack.push(Value::Global(Global::find(self.names, module, name)?));
            }
            // REDUCE, NEWOBJ, BUILD, BINPERSID
            b'R' | 0x81 => {
                let (args, callable) = (self.pop()?, self.pop()?);
                let value = rebuild::call(&mut self.arena, self.budget, callable, args)?;
                self.stack.push(value);
            }
            b'b' => {
                // Attributes of a dict (a state dict's `_metadata`, say) or of an object that
                // isn't looked into are dropped. A tensor's could change its values.
                let state = self.pop()?;
                let object = self.top()?;
                if arrays::build(&mut self.arena, object, state)? {
                    return Ok(());
                }
                if !matches!(object, Value::Inert) && self.arena.dict(object).is_none() {
                    let kind = self.arena.kind(object);
                    return Err(format!("its pickle sets attributes of {kind}, which is refused"));
                }
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = rebuild::storage(&self.arena, id)?;
                // Looked up for each storage, while one key may be the key of many.
                self.charge(storage.key.len())?;
                self.push_node(PickleNode::Storage(Box::new(storage)))?;
            }
            // INST names a class as GLOBAL does and makes an object of it; no writer in use does.
            b'i' => {
                self.global_from_lines()?;
                return Err("its pickle makes an object in a way that is refused".into());
            }
            _ => {
                return Err(format!(
                    "its pickle is broken or of an unknown kind (opcode {opcode:#04x})"
                ));
            }
        }
        Ok(())
    }

    /// As [`Budget::charge`].
    fn charge(&mut self, bytes: usize) -> Parsed<()> {
        self.budget.charge(bytes)
    }

    fn bytes(&mut self, len: usize) -> Parsed<&'a [u8]> {
        let end = self.at.checked_add(len);
        let bytes = end.and_then(|end| self.input.get(self.at..end));
        let bytes = bytes.ok_or("its pickle is truncated")?;
        self.at += len;
        Ok(bytes)
    }

    /// A little-endian number of `width` bytes.
    fn number(&mut self, width: usize) -> Parsed<u64> {
        let mut wide = [0; 8];
        wide[..width].copy_from_slice(self.bytes(width)?);
        Ok(u64::from_le_bytes(wide))
    }

    /// Bytes that follow their own length, a number of `width` bytes.
    fn counted(&mut self, width: usize) -> Parsed<&'a [u8]> {
        let len = self.number(width)?;
        self.bytes(usize::try_from(len).unwrap_or(usize::MAX))
    }

    fn line(&mut self) -> Parsed<&'a str> {
        let rest = &self.input[self.at..];
        let end = rest.iter().position(|&b| b == b'\n').ok_or("its pickle is truncated")?;
        let line = &rest[..end];
        self.at += end + 1;
        std::str::from_utf8(line).map_err(|_| "its pickle holds a name that isn't text".into())
    }

    fn global_from_lines(&mut self) -> Parsed<Global> {
        let module = self.line()?;
        Global::find(self.names, module, self.line()?)
    }

    fn long(&mut self, width: usize) -> Parsed<()> {
        let bytes = self.counted(width)?;
        let value = if bytes.len() <= 8 {
            let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
            let mut wide = [if negative { 0xff } else { 0 }; 8];
            wide[..bytes.len()].copy_from_slice(bytes);
            Value::Int(i64::from_le_bytes(wide))
        } else {
            Value::Long(bytes)
        };
        self.stack.push(value);
        Ok(())
    }

    /// Python 2 has one type for text and bytes, so there text is what reads as text.
    fn text(&mut self, width: usize, or_bytes: bool) -> Parsed<()> {
        let bytes = self.counted(width)?;
        let value = match std::str::from_utf8(bytes) {
            Ok(text) => Value::Str(text),
            Err(_) if or_bytes => Value::Bytes(bytes),
            Err(_) => return Err("its pickle holds a string that isn't UTF-8".into()),
        };
        self.stack.push(value);
        Ok(())
    }

    fn push_bytes(&mut self, width: usize) -> Parsed<()> {
        let bytes = self.counted(width)?;
        self.stack.push(Value::Bytes(bytes));
        Ok(())
    }

    fn top(&self) -> Parsed<Value<'a>> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.last() {
            Some(&value) if self.stack.len() > floor => Ok(value),
            _ => Err("its pickle is broken: it takes more from the stack than is there".into()),
        }
    }

    fn pop(&mut self) -> Parsed<Value<'a>> {
        let value = self.top()?;
        self.stack.pop();
        Ok(value)
    }

    fn pop_mark(&mut self) -> Parsed<Vec<Value<'a>>> {
        let mark = self.marks.pop().ok_or("its pickle is broken: a mark is missing")?;
        Ok(self.stack.split_off(mark))
    }

    fn push_node(&mut self, node: PickleNode<'a>) -> Parsed<()> {
        let value = self.arena.add(node, self.budget)?;
        self.stack.push(value);
        Ok(())
    }

    fn push_tuple(&mut self, len: usize) -> Parsed<()> {
        let mut items = vec![Value::None; len];
        for item in items.iter_mut().rev() {
            *item = self.pop()?;
        }
        self.push_node(PickleNode::Tuple(items))
    }

    fn extend(&mut self, items: Vec<Value<'a>>) -> Parsed<()> {
        self.charge(VALUE * items.len().max(LEAST_ROOM))?;
        let top = self.top()?;
        match (top, self.arena.get_mut(top)) {
            (_, Some(PickleNode::List(list))) => list.extend(items),
            (Value::Inert, _) => {}
            _ => return Err("its pickle appends to something that isn't a list".into()),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Value<'a>]) -> Parsed<()> {
        if !items.len().is_multiple_of(2) {
            return Err("its pickle sets a key without a value".into());
        }
        self.charge(VALUE * items.len().max(2 * LEAST_ROOM))?;
        let top = self.top()?;
        match (top, self.arena.get_mut(top)) {
            (_, Some(PickleNode::Dict(pairs))) => {
                pairs.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
            }
            (Value::Inert, _) => {}
            _ => return Err("its pickle sets an item of something that isn't a dict".into()),
        }
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Parsed<()> {
        let value = self.memo.get(&key).copied();
        self.stack.push(value.ok_or("its pickle refers to a value that it never stored")?);
        Ok(())
    }

    fn remember(&mut self, key: u32) -> Parsed<()> {
        let top = self.top()?;
        if self.memo.insert(key, top).is_none() {
            self.charge(MEMO_ENTRY)?;
        }
        Ok(())
    }
}
