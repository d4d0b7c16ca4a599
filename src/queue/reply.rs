//! What a read of a group gave.

use redis::Value;

use crate::queue::buffer::Parcel;
use crate::queue::message::{EntryId, Message, Place, Which};

/// The deliveries of one read, those that are repeated first; and entries that no queue has written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) parcels: Vec<Parcel>,
    pub(crate) strange: Vec<Place>,
}

/// Reads the answer to `XREADGROUP`, of either protocol; `again` is the key of the repeated ones.
pub(crate) fn read(value: Value, again: &str) -> Read {
    let mut read = Read::default();
    for (key, entries) in pairs(value) {
        let which = match bytes(key) {
            Some(key) if key == again.as_bytes() => Which::Again,
            _ => Which::Stream,
        };
        for entry in list(entries) {
            let mut parts = list(entry).into_iter();
            let id = parts.next().and_then(bytes);
            let Some(entry) = id.and_then(|id| EntryId::parse(&id)) else {
                continue;
            };
            let place = Place { which, entry };
            let fields = parts.next().map(pairs).unwrap_or_default();
            let fields = fields
                .into_iter()
                .filter_map(|(name, value)| Some((bytes(name)?, bytes(value)?)));
            match Message::from_fields(fields) {
                Some(message) => read.parcels.push(Parcel { place, message }),
                None => read.strange.push(place),
            }
        }
    }
    // What failed before, or was given back, is older than what is new.
    read.parcels.sort_by_key(|p| p.place.which == Which::Stream);
    read
}

fn list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(list) => list,
        _ => Vec::new(),
    }
}

/// A map, or a list that stands for one: of pairs, or flat.
fn pairs(value: Value) -> Vec<(Value, Value)> {
    match value {
        Value::Map(map) => map,
        Value::Array(list) if list.iter().all(|v| matches!(v, Value::Array(_))) => {
            let pair = |v| {
                <[Value; 2]>::try_from(self::list(v))
                    .ok()
                    .map(|[a, b]| (a, b))
            };
            list.into_iter().filter_map(pair).collect()
        }
        Value::Array(flat) => {
            let mut flat = flat.into_iter();
            std::iter::from_fn(|| Some((flat.next()?, flat.next()?))).collect()
        }
        _ => Vec::new(),
    }
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    fn entry(id: &str, payload: &str) -> Value {
        let fields = ["i", "00ff", "p", payload].map(text).into();
        Value::Array(vec![text(id), Value::Array(fields)])
    }

    #[test]
    fn both_protocols_give_the_same_and_repeated_ones_come_first() {
        let new = || Value::Array(vec![entry("1-0", "a"), entry("1-1", "b")]);
        let old = || Value::Array(vec![entry("9-0", "c")]);
        let map = Value::Map(vec![(text("s"), new()), (text("r"), old())]);
        let nested = Value::Array(vec![
            Value::Array(vec![text("s"), new()]),
            Value::Array(vec![text("r"), old()]),
        ]);
        let seen = read(map, "r");
        assert_eq!(seen, read(nested, "r"));
        let payloads: Vec<_> = seen.parcels.iter().map(|p| &*p.message.payload).collect();
        assert_eq!(payloads, [b"c", b"a", b"b"]);
        assert_eq!(seen.parcels[0].place.which, Which::Again);
    }

    #[test]
    fn what_is_no_message_is_set_aside() {
        let foreign = Value::Array(vec![text("5-1"), Value::Array(vec![text("x"), text("y")])]);
        let deleted = Value::Array(vec![text("5-2"), Value::Nil]);
        let odd = Value::Array(vec![text("no id"), Value::Nil]);
        let all = Value::Array(vec![foreign, deleted, odd, Value::Nil]);
        let seen = read(Value::Map(vec![(text("s"), all)]), "r");
        assert!(seen.parcels.is_empty());
        assert_eq!(seen.strange.len(), 2);
        for nothing in [Value::Nil, Value::Array(Vec::new()), Value::Int(1)] {
            assert_eq!(read(nothing, "r"), Read::default());
        }
    }
}
