//! Lists of others, read without believing how long they say that they are.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};

/// A list that grows as it comes. Room for a thousand entries is a hundred times what a datagram has in it, and is not
/// made because its first bytes say so.
pub(super) fn grown<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Vec<T>, D::Error> {
    from.deserialize_seq(Grown(PhantomData))
}

struct Grown<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Grown<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(entry) = from.next_element()? {
            list.push(entry);
        }
        Ok(list)
    }
}
