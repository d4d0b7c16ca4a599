//! Where keys come from: chance, and files.

use std::io::Read as _;
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
    /// A new key. [Example](crate::guide::by_example#keys).
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

    /// Keys from a file: one a line, of 64 hexadecimal digits; `#` begins a comment. The first one seals. A file that
    /// every user can read is taken, with a warning. [Example](crate::guide::by_example#an-instance).
    ///
    /// # Errors
    ///
    /// A file that cannot be read, or has a line that is no key. No key is ever repeated.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, KeyError> {
        let path = path.as_ref();
        let name = crate::error::text::quoted(path.to_string_lossy().as_bytes());
        let refuse = |why: String| KeyError::new(format!("the keys in {name}: {why}"));
        let file = std::fs::File::open(path).map_err(|e| refuse(e.to_string()))?;
        let for_all = is_for_all(&file);
        let mut text = String::new();
        // What it says of its length may be untrue, as that of a pipe.
        file.take(LARGEST_FILE + 1)
            .read_to_string(&mut text)
            .map_err(|e| refuse(e.to_string()))?;
        if text.len() as u64 > LARGEST_FILE {
            return Err(refuse(format!(
                "more than {LARGEST_FILE} bytes, which no keys have"
            )));
        }
        if for_all {
            tracing::warn!("every user of this machine can read the keys in {name}: chmod 600 it");
        }
        Self::from_lines(&text).map_err(|e| refuse(e.to_string()))
    }
}

/// Whether users can read it whom nobody gave it to.
#[cfg(unix)]
fn is_for_all(file: &std::fs::File) -> bool {
    use std::os::unix::fs::MetadataExt as _;

    file.metadata().is_ok_and(|of| of.mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn is_for_all(_: &std::fs::File) -> bool {
    false
}

#[cfg(test)]
mod tests {
    #[cfg(unix)]
    use super::*;

    #[cfg(unix)]
    #[test]
    fn no_more_than_keys_have_is_read_whatever_the_file_says_of_itself() {
        let error = Keyring::from_file("/dev/zero").expect_err("it has no end");
        assert!(
            error.to_string().contains("more than 65536 bytes"),
            "{error}"
        );
        let zero = std::fs::File::open("/dev/zero").expect("it is there");
        assert!(is_for_all(&zero), "everybody's");
    }
}
