//! Where keys come from: chance, and files.

use std::path::Path;

use rand::TryRng as _;
use rand::rngs::SysRng;

use crate::sealed::{KEY, KeyError, Keyring};

/// A file of keys is short; what is longer is another one.
const LARGEST_FILE: u64 = 64 << 10;

/// Bytes that nobody can guess.
pub(crate) fn chance<const N: usize>() -> Result<[u8; N], KeyError> {
    let mut bytes = [0; N];
    SysRng
        .try_fill_bytes(&mut bytes)
        .map_err(|e| KeyError::new(format!("the system gives no random bytes: {e}")))?;
    Ok(bytes)
}

impl Keyring {
    /// A new key.
    ///
    /// # Panics
    ///
    /// When the operating system has no random bytes, which it has once it has started.
    #[must_use]
    pub fn generate() -> Self {
        match chance::<KEY>() {
            Ok(bytes) => Self::from_bytes(bytes),
            Err(e) => panic!("{e}"),
        }
    }

    /// Keys from a file: one a line, of 64 hexadecimal digits; `#` begins a comment. The first one seals.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, or has a line that is no key. No key is ever repeated.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, KeyError> {
        let path = path.as_ref();
        let name = crate::error::text::quoted(path.to_string_lossy().as_bytes());
        let refuse = |why: String| KeyError::new(format!("the keys in {name}: {why}"));
        let size = std::fs::metadata(path).map_err(|e| refuse(e.to_string()))?;
        if size.len() > LARGEST_FILE {
            return Err(refuse(format!(
                "the file has {} bytes, and {LARGEST_FILE} are read",
                size.len()
            )));
        }
        let text = std::fs::read_to_string(path).map_err(|e| refuse(e.to_string()))?;
        Self::from_lines(&text).map_err(|e| refuse(e.to_string()))
    }
}
