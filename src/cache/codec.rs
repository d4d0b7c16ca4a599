//! From values to the bytes that are cached, and back.

/// Why a value could not be turned into bytes, or bytes into a value.
pub type CodecError = Box<dyn std::error::Error + Send + Sync>;

/// Turns the values of a [`Cache`](crate::cache::Cache) into bytes and back.
///
/// ```
/// use fluster::cache::{Codec, CodecError};
///
/// /// Numbers as eight bytes.
/// struct BigEndian;
///
/// impl Codec<u64> for BigEndian {
///     fn encode(&self, value: &u64) -> Result<Vec<u8>, CodecError> {
///         Ok(value.to_be_bytes().into())
///     }
///     fn decode(&self, bytes: Vec<u8>) -> Result<u64, CodecError> {
///         Ok(u64::from_be_bytes(bytes.as_slice().try_into()?))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not turn values of type `{V}` into bytes",
    label = "no way from `{V}` to bytes and back",
    note = "values that serde knows: `JsonCache<{V}>`, made by `.json()`, with the feature `serde`",
    note = "`String` and `Vec<u8>`: `Cache<{V}>`, made by `.raw()`; any other form: `.codec(..)` with a `Codec<{V}>` of your own"
)]
pub trait Codec<V>: Send + Sync + 'static {
    /// The bytes of a value.
    ///
    /// # Errors
    ///
    /// When the value has no bytes; the write is not sent then.
    fn encode(&self, value: &V) -> Result<Vec<u8>, CodecError>;

    /// The value of some bytes, which may have been written by another version of the application.
    ///
    /// # Errors
    ///
    /// When they are no value; the reader is told so.
    fn decode(&self, bytes: Vec<u8>) -> Result<V, CodecError>;
}

/// Bytes as they are: for `Vec<u8>`, `String` and whatever else is made of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Raw;

// What a compiler says of another type is the trait's own message, not that it is no `AsRef<[u8]>`.
#[diagnostic::do_not_recommend]
impl<V> Codec<V> for Raw
where
    V: AsRef<[u8]> + TryFrom<Vec<u8>>,
    V::Error: Into<CodecError>,
{
    fn encode(&self, value: &V) -> Result<Vec<u8>, CodecError> {
        Ok(value.as_ref().to_vec())
    }

    fn decode(&self, bytes: Vec<u8>) -> Result<V, CodecError> {
        V::try_from(bytes).map_err(Into::into)
    }
}

/// Values as JSON, by serde.
#[cfg(feature = "serde")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json;

#[cfg(feature = "serde")]
#[diagnostic::do_not_recommend]
impl<V: serde::Serialize + serde::de::DeserializeOwned> Codec<V> for Json {
    fn encode(&self, value: &V) -> Result<Vec<u8>, CodecError> {
        Ok(serde_json::to_vec(value)?)
    }

    fn decode(&self, bytes: Vec<u8>) -> Result<V, CodecError> {
        Ok(serde_json::from_slice(&bytes)?)
    }
}
