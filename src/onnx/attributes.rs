//! The attributes of a node, each read once; one that nobody reads is refused.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::array::{Array, Folded};
use super::external::External;
use super::proto;
use crate::error::shorten;

/// The attributes of a node.
pub struct Attributes<'n> {
    unread: RefCell<BTreeMap<&'n str, &'n proto::AttributeProto>>,
}

// AttributeProto.AttributeType.
const FLOAT: i32 = 1;
const INT: i32 = 2;
const STRING: i32 = 3;
const TENSOR: i32 = 4;
const FLOATS: i32 = 6;
const INTS: i32 = 7;

impl<'n> Attributes<'n> {
    /// Those of a node.
    pub fn of(node: &'n proto::NodeProto) -> Folded<Attributes<'n>> {
        let mut unread = BTreeMap::new();
        for attribute in &node.attribute {
            let name = attribute.name.as_str();
            if !attribute.ref_attr_name.is_empty() {
                return Err(format!("its attribute {} is an argument of a function", told(name)));
            }
            if unread.insert(name, attribute).is_some() {
                return Err(format!("its attribute {} stands there twice", told(name)));
            }
        }
        Ok(Attributes { unread: RefCell::new(unread) })
    }

    /// The attribute, if it is there and of this type.
    fn take(&self, name: &str, kind: i32) -> Folded<Option<&'n proto::AttributeProto>> {
        let Some(attribute) = self.unread.borrow_mut().remove(name) else { return Ok(None) };
        // Files before version 2 of the representation don't say.
        if attribute.kind != kind && attribute.kind != 0 {
            return Err(format!("its attribute {name} is of another type"));
        }
        Ok(Some(attribute))
    }

    /// A whole number.
    pub fn int(&self, name: &str) -> Folded<Option<i64>> {
        Ok(self.take(name, INT)?.map(|attribute| attribute.i))
    }

    /// A flag: 0, which it is if it isn't there, or 1.
    pub fn flag(&self, name: &str) -> Folded<bool> {
        match self.int(name)?.unwrap_or(0) {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(format!("its attribute {name} is {other}, not 0 or 1")),
        }
    }

    /// Whole numbers.
    pub fn ints(&self, name: &str) -> Folded<Option<&'n [i64]>> {
        Ok(self.take(name, INTS)?.map(|attribute| attribute.ints.as_slice()))
    }

    /// Whole numbers that are read once more.
    pub fn peek_ints(&self, name: &str) -> Option<&'n [i64]> {
        self.unread.borrow().get(name).map(|attribute| attribute.ints.as_slice())
    }

    /// A float; `default` if it isn't there.
    pub fn float(&self, name: &str, default: f32) -> Folded<f32> {
        Ok(self.take(name, FLOAT)?.map_or(default, |attribute| attribute.f))
    }

    /// Floats.
    pub fn floats(&self, name: &str) -> Folded<Option<&'n [f32]>> {
        Ok(self.take(name, FLOATS)?.map(|attribute| attribute.floats.as_slice()))
    }

    /// A word; `default` if it isn't there.
    pub fn word(&self, name: &str, default: &'n str) -> Folded<&'n str> {
        match self.take(name, STRING)? {
            None => Ok(default),
            Some(attribute) => std::str::from_utf8(&attribute.s)
                .map_err(|_| format!("its attribute {name} isn't text")),
        }
    }

    /// A constant.
    pub fn array(&self, name: &str, external: &External) -> Folded<Option<Array>> {
        let tensor = self.take(name, TENSOR)?.and_then(|attribute| attribute.t.as_deref());
        let of_it = |problem| format!("its attribute {name} {problem}");
        tensor.map(|tensor| Array::read(tensor, external).map_err(of_it)).transpose()
    }

    /// Passes over attributes that change nothing here.
    pub fn ignore(&self, names: &[&str]) {
        self.unread.borrow_mut().retain(|name, _| !names.contains(name));
    }

    /// Refuses those that nobody has read.
    pub fn finish(&self) -> Folded<()> {
        let unread: Vec<String> = self.unread.borrow().keys().map(|name| told(name)).collect();
        match unread.is_empty() {
            true => Ok(()),
            false => Err(format!("its attribute {} isn't known", unread.join(", "))),
        }
    }
}

fn told(name: &str) -> String {
    shorten(name, 60)
}
