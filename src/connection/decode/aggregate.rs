//! An array, a map, a set, a push or an attribute whose values are still coming.

use redis::{PushKind, Value};

use super::garbage::Garbage;
use super::scalar;

/// The least by which it grows for what was not believed.
const STEP: usize = 4;

#[derive(Debug)]
pub(super) struct Aggregate {
    values: Values,
    /// How many are missing; the two of a pair count each for itself.
    left: usize,
    /// How many bytes were reserved for what was announced.
    believed: usize,
}

#[derive(Debug)]
enum Values {
    Array(Vec<Value>),
    Set(Vec<Value>),
    Push(Vec<Value>),
    /// With the key that has no value yet.
    Map(Vec<(Value, Value)>, Option<Value>),
    /// Nobody has asked for them: they are counted.
    Attribute,
}

/// What an aggregate was.
pub(super) enum Closed {
    Value(Value),
    Push(PushKind, Vec<Value>),
    Attribute,
}

impl Aggregate {
    /// One of `left` values, for which `belief` bytes are reserved at most.
    pub(super) fn new(kind: u8, left: usize, belief: usize) -> Self {
        let values = left.min(belief / size_of::<Value>());
        let room = || Vec::with_capacity(values);
        let (values, reserved) = match kind {
            b'%' => (
                Values::Map(Vec::with_capacity(values / 2), None),
                values / 2 * 2,
            ),
            b'|' => (Values::Attribute, 0),
            b'~' => (Values::Set(room()), values),
            b'>' => (Values::Push(room()), values),
            _ => (Values::Array(room()), values),
        };
        Self {
            values,
            left,
            believed: reserved * size_of::<Value>(),
        }
    }

    pub(super) fn believed(&self) -> usize {
        self.believed
    }

    /// Adds a value, and says whether it was the last one.
    #[inline]
    pub(super) fn add(&mut self, value: Value) -> bool {
        match &mut self.values {
            Values::Array(values) | Values::Set(values) | Values::Push(values) => {
                grow(values, self.left);
                values.push(value);
            }
            Values::Map(pairs, key) => match key.take() {
                None => *key = Some(value),
                Some(key) => {
                    grow(pairs, self.left.div_ceil(2));
                    pairs.push((key, value));
                }
            },
            Values::Attribute => {}
        }
        self.left -= 1;
        self.left == 0
    }

    pub(super) fn close(self) -> Result<Closed, Garbage> {
        Ok(match self.values {
            Values::Array(values) => Closed::Value(Value::Array(values)),
            Values::Set(values) => Closed::Value(Value::Set(values)),
            Values::Map(pairs, _) => Closed::Value(Value::Map(pairs)),
            Values::Attribute => Closed::Attribute,
            Values::Push(mut values) => {
                let kind = match values.is_empty() {
                    true => Value::Nil,
                    false => values.remove(0),
                };
                let Some(kind) = scalar::push_kind(kind) else {
                    return Err(Garbage::new("a push without a name", b">"));
                };
                Closed::Push(kind, values)
            }
        })
    }
}

/// Room for one more of those that are left: for as many again as have come.
#[inline]
fn grow<T>(values: &mut Vec<T>, left: usize) {
    if values.len() == values.capacity() {
        values.reserve_exact(left.min(values.len().max(STEP)));
    }
}
