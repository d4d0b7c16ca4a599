//! Keys and payload of a call, in one body. Pure.
//!
//! The number of keys, each key with its length, and the rest is the payload; numbers are 4 bytes, little-endian.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Keys of one call.
pub(crate) const MOST_KEYS: usize = 65_536;

pub(crate) fn pack(keys: &[&[u8]], payload: &[u8]) -> Option<Bytes> {
    let length = |n: usize| u32::try_from(n).ok();
    let mut bytes = BytesMut::new();
    bytes.put_u32_le(length(keys.len()).filter(|_| keys.len() <= MOST_KEYS)?);
    for key in keys {
        bytes.put_u32_le(length(key.len())?);
        bytes.put_slice(key);
    }
    bytes.put_slice(payload);
    Some(bytes.freeze())
}

/// `None` for what [`pack`] does not make.
pub(crate) fn unpack(mut bytes: Bytes) -> Option<(Vec<Vec<u8>>, Bytes)> {
    let number = |bytes: &mut Bytes| {
        let number = bytes.try_get_u32_le().ok()?;
        usize::try_from(number).ok()
    };
    let keys = number(&mut bytes).filter(|keys| *keys <= MOST_KEYS)?;
    let mut all = Vec::new();
    for _ in 0..keys {
        let length = number(&mut bytes)?;
        if length > bytes.len() {
            return None;
        }
        all.push(bytes.split_to(length).to_vec());
    }
    Some((all, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_keys_and_payload_come_through(
            keys in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..20),
            payload in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let slices: Vec<_> = keys.iter().map(Vec::as_slice).collect();
            let bytes = pack(&slices, &payload).expect("they fit");
            prop_assert_eq!(unpack(bytes), Some((keys, payload.into())));
        }

        #[test]
        fn any_bytes_are_a_call_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some((keys, payload)) = unpack(bytes.clone().into()) {
                let slices: Vec<_> = keys.iter().map(Vec::as_slice).collect();
                prop_assert_eq!(pack(&slices, &payload).expect("it did").to_vec(), bytes);
            }
        }
    }

    #[test]
    fn a_number_of_keys_that_is_not_there_costs_nothing() {
        assert_eq!(unpack(Bytes::from_static(&[0xff; 8])), None);
        assert_eq!(
            unpack(Bytes::from_static(&[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff])),
            None
        );
        assert_eq!(unpack(Bytes::new()), None);
    }
}
