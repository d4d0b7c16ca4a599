//! Keys that several processes share, and what is sealed with them: nobody else can read it, or make it.

use std::fmt;
use std::sync::Arc;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key as CipherKey, XChaCha20Poly1305, XNonce};

/// Bytes of a key.
pub(crate) const KEY: usize = 32;
/// Bytes of a nonce; a random one never comes twice.
pub(crate) const NONCE: usize = 24;
/// Bytes by which what is sealed is longer than what it holds.
pub(crate) const TAG: usize = 16;
/// Whoever opens tries them all when the ids are equal, so there are few.
const MOST_KEYS: usize = 16;
/// What the id of a key is made of.
const ID_TEXT: &[u8] = b"fluster-key-id-v1";
/// What the key of tags is made of.
#[cfg(feature = "forward")]
const TAGGING_TEXT: &[u8] = b"fluster-tag-key-v1";

/// The keys of a cluster of instances: the first one seals, all of them open.
///
/// Who has one of the keys is trusted wholly. A key is changed without losing anybody in three steps, each at
/// all instances before the next one: add the new key ([`also`](Self::also)), put it first, take the old one away.
///
/// `Debug` shows the ids of the keys, which tell keys apart and nothing else.
///
/// ```
/// use fluster::gossip::Keyring;
///
/// let old = Keyring::generate();
/// let new = Keyring::generate();
/// let both = new.also(old);
/// assert_eq!(both.ids().len(), 2);
/// ```
#[derive(Clone)]
pub struct Keyring {
    /// At least one.
    keys: Arc<[Key]>,
}

#[derive(Clone)]
struct Key {
    id: u8,
    bytes: [u8; KEY],
    cipher: XChaCha20Poly1305,
    #[cfg(feature = "forward")]
    tagger: siphasher::sip128::SipHasher24,
}

impl Key {
    fn new(bytes: [u8; KEY]) -> Self {
        let cipher = XChaCha20Poly1305::new(&CipherKey::from(bytes));
        let mut key = Self {
            id: 0,
            bytes,
            cipher,
            #[cfg(feature = "forward")]
            tagger: siphasher::sip128::SipHasher24::new(),
        };
        // The nonce of nothing else: those are random.
        key.id = key.tag(&[0; NONCE], ID_TEXT)[0];
        #[cfg(feature = "forward")]
        {
            // A key of its own, from which nobody learns anything of the first one. And a nonce of its own: of two texts
            // under one nonce the authenticator may be asked once.
            let tagging = key.tag(&[1; NONCE], TAGGING_TEXT);
            key.tagger = siphasher::sip128::SipHasher24::new_with_key(&tagging);
        }
        key
    }

    /// The tag over a text that is not hidden.
    fn tag(&self, nonce: &[u8; NONCE], text: &[u8]) -> [u8; TAG] {
        let payload = Payload {
            msg: b"",
            aad: text,
        };
        let sealed = self.cipher.encrypt(&XNonce::from(*nonce), payload);
        // It fails for texts of gigabytes alone.
        sealed
            .ok()
            .and_then(|tag| tag.try_into().ok())
            .unwrap_or_default()
    }

    #[cfg(feature = "forward")]
    fn short_tag(&self, bound: impl Fn(&mut dyn FnMut(&[u8]))) -> [u8; TAG] {
        use std::hash::Hasher as _;

        let mut tagger = self.tagger;
        bound(&mut |bytes| tagger.write(bytes));
        siphasher::sip128::Hasher128::finish128(&tagger).as_bytes()
    }
}

impl Keyring {
    /// A ring of one key, from its bytes.
    pub(crate) fn from_bytes(bytes: [u8; KEY]) -> Self {
        Self {
            keys: [Key::new(bytes)].into(),
        }
    }

    /// A key from 64 hexadecimal digits. [Example](crate::guide::by_example#keys).
    ///
    /// # Errors
    ///
    /// What is wrong with the text, which is not repeated.
    pub fn from_hex(digits: &str) -> Result<Self, KeyError> {
        let digits = digits.trim().as_bytes();
        if digits.len() != 2 * KEY {
            return Err(KeyError::new(format!(
                "a key has 64 hexadecimal digits, and this one {}: `fluster gossip keygen` makes one",
                digits.len()
            )));
        }
        let mut bytes = [0; KEY];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            let value = |digit: u8| char::from(digit).to_digit(16);
            let (Some(high), Some(low)) = (value(pair[0]), value(pair[1])) else {
                return Err(KeyError::new(
                    "a key has hexadecimal digits alone, 0 to 9 and a to f".to_owned(),
                ));
            };
            *byte = (high << 4 | low) as u8;
        }
        Ok(Self::from_bytes(bytes))
    }

    /// Keys from a text: one a line, `#` begins a comment. The first one seals. [Example](crate::guide::by_example#keys).
    ///
    /// # Errors
    ///
    /// The number of the line that is no key; a text without any key.
    pub fn from_lines(text: &str) -> Result<Self, KeyError> {
        let mut ring: Option<Self> = None;
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let key =
                Self::from_hex(line).map_err(|e| KeyError(format!("line {}: {e}", number + 1)))?;
            ring = Some(match ring {
                Some(ring) if ring.keys.len() == MOST_KEYS => {
                    return Err(KeyError(format!("it has more than {MOST_KEYS} keys")));
                }
                Some(ring) => ring.also(key),
                None => key,
            });
        }
        ring.ok_or_else(|| {
            KeyError("it has no key: write one a line, of 64 hexadecimal digits".into())
        })
    }

    /// This ring, which also opens what `others` seal. It goes on to seal with its own first key. Of more than
    /// 16 keys the last ones are left out. [Example](crate::guide::by_example#keys).
    #[must_use]
    pub fn also(self, others: Self) -> Self {
        let mut keys = self.keys.to_vec();
        for key in others.keys.iter() {
            if keys.len() < MOST_KEYS && keys.iter().all(|known| known.bytes != key.bytes) {
                keys.push(key.clone());
            }
        }
        Self { keys: keys.into() }
    }

    /// The ids of the keys, the one that seals first. Several keys may share an id. [Example](crate::guide::by_example#keys).
    #[must_use]
    pub fn ids(&self) -> Vec<u8> {
        self.keys.iter().map(|key| key.id).collect()
    }

    /// The key as 64 digits: the first one, for those who make one and have to write it down. [Example](crate::guide::by_example#keys).
    #[must_use]
    pub fn to_hex(&self) -> String {
        use fmt::Write as _;

        let first = self.keys.first().map(|key| key.bytes).unwrap_or_default();
        first.iter().fold(String::new(), |mut text, byte| {
            // A string can always be written to.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// The id of the key that sealed it, and what is sealed: longer than `plain` by [`TAG`].
    #[cfg(any(feature = "gossip", test))]
    pub(crate) fn seal(&self, nonce: &[u8; NONCE], aad: &[u8], plain: &[u8]) -> (u8, Vec<u8>) {
        let payload = Payload { msg: plain, aad };
        let Some(key) = self.keys.first() else {
            return (0, Vec::new());
        };
        let sealed = key.cipher.encrypt(&XNonce::from(*nonce), payload);
        (key.id, sealed.unwrap_or_default())
    }

    /// The id of the key that seals, and a tag over what `bound` writes, which is not hidden: SipHash-2-4 with 128 bits,
    /// a tenth of the time that sealing nothing takes, as some texts have one at each hop.
    ///
    /// Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF" (INDOCRYPT 2012), which is made for this.
    #[cfg(feature = "forward")]
    pub(crate) fn tag(&self, bound: impl Fn(&mut dyn FnMut(&[u8]))) -> (u8, [u8; TAG]) {
        match self.keys.first() {
            Some(key) => (key.id, key.short_tag(bound)),
            None => (0, [0; TAG]),
        }
    }

    /// Whether one of the keys with this id made that tag.
    #[cfg(feature = "forward")]
    pub(crate) fn is_tag(
        &self,
        id: u8,
        tag: &[u8; TAG],
        bound: impl Fn(&mut dyn FnMut(&[u8])),
    ) -> bool {
        let mut keys = self.keys.iter().filter(|key| key.id == id);
        keys.any(|key| {
            let ours = u128::from_le_bytes(key.short_tag(&bound));
            // In one step: how much of it was right is not told by the time.
            std::hint::black_box(ours ^ u128::from_le_bytes(*tag)) == 0
        })
    }

    /// What was sealed by one of the keys with this id; `None` when by nobody of ours.
    #[cfg(any(feature = "gossip", test))]
    pub(crate) fn open(
        &self,
        id: u8,
        nonce: &[u8; NONCE],
        aad: &[u8],
        sealed: &[u8],
    ) -> Option<Vec<u8>> {
        let nonce = XNonce::from(*nonce);
        let mut keys = self.keys.iter().filter(|key| key.id == id);
        keys.find_map(|key| {
            key.cipher
                .decrypt(&nonce, Payload { msg: sealed, aad })
                .ok()
        })
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("ids", &self.ids()).finish()
    }
}

/// Why a text is no key; the text is not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyError(String);

impl KeyError {
    pub(crate) fn new(why: String) -> Self {
        Self(why)
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for KeyError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(byte: u8) -> Keyring {
        Keyring::from_bytes([byte; KEY])
    }

    #[cfg(feature = "forward")]
    #[test]
    fn a_tag_is_of_one_key_and_one_text_however_it_is_parted() {
        let of = |ring: &Keyring, parts: &[&[u8]]| {
            ring.tag(|write| parts.iter().for_each(|part| write(part)))
        };
        let (id, tag) = of(&ring(1), &[b"hello", b"", b" world"]);
        assert_eq!((id, tag), of(&ring(1), &[b"hello world"]));
        let is_tag = |ring: &Keyring, tag: &_, text: &[u8]| {
            (0..=255).any(|id| ring.is_tag(id, tag, |write| write(text)))
        };
        assert!(is_tag(&ring(1), &tag, b"hello world"));
        assert!(is_tag(&ring(2).also(ring(1)), &tag, b"hello world"));
        assert!(!is_tag(&ring(2), &tag, b"hello world"));
        assert!(!is_tag(&ring(1), &tag, b"hello worlds"));
        for bit in 0..8 * TAG {
            let mut bad = tag;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_tag(&ring(1), &bad, b"hello world"), "bit {bit}");
        }
    }

    #[test]
    fn what_is_sealed_opens_with_the_same_key_text_and_nonce_alone() {
        let nonce = [7; NONCE];
        let (id, sealed) = ring(1).seal(&nonce, b"cluster", b"hello");
        assert_eq!(sealed.len(), 5 + TAG);
        let open = |ring: &Keyring, id, nonce: &_, aad: &[u8]| ring.open(id, nonce, aad, &sealed);
        assert_eq!(
            open(&ring(1), id, &nonce, b"cluster").as_deref(),
            Some(&b"hello"[..])
        );
        assert_eq!(open(&ring(1), id, &nonce, b"other"), None);
        assert_eq!(open(&ring(1), id, &[8; NONCE], b"cluster"), None);
        for other in 0..=255 {
            assert_eq!(open(&ring(2), other, &nonce, b"cluster"), None);
        }
        for bit in 0..8 * sealed.len() {
            let mut bad = sealed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                ring(1).open(id, &nonce, b"cluster", &bad),
                None,
                "bit {bit}"
            );
        }
    }

    #[test]
    fn a_key_is_changed_in_three_steps_and_every_step_opens_its_neighbours() {
        let (old, new) = (ring(1), ring(2));
        let steps = [
            old.clone(),
            old.clone().also(new.clone()),
            new.clone().also(old),
            new,
        ];
        let opens = |from: &Keyring, to: &Keyring| {
            let (id, sealed) = from.seal(&[3; NONCE], b"", b"x");
            to.open(id, &[3; NONCE], b"", &sealed).is_some()
        };
        for pair in steps.windows(2) {
            assert!(opens(&pair[0], &pair[1]) && opens(&pair[1], &pair[0]));
        }
        assert!(!opens(&steps[0], &steps[3]));
    }

    #[test]
    fn a_bad_key_is_named_by_its_line_and_not_repeated() {
        let good = "0f".repeat(KEY);
        let ring = Keyring::from_lines(&format!(
            "# today\n{good} # the first\n\n{}\n",
            "AB".repeat(32)
        ));
        let ring = ring.expect("two keys");
        assert_eq!((ring.ids().len(), ring.to_hex()), (2, good.clone()));
        assert_eq!(ring.clone().also(ring.clone()).ids().len(), 2);
        assert!(!format!("{ring:?}").contains("0f0f"));
        for text in [
            format!("{good}\nsecret{}", &good[6..]),
            format!("{good}\n{good}aa"),
            String::new(),
            "# nothing\n".into(),
        ] {
            let error = Keyring::from_lines(&text).expect_err("no key").to_string();
            assert!(
                !error.contains("secret") && !error.contains("0f0f"),
                "{error}"
            );
            assert!(text.len() < 30 || error.starts_with("line 2: "), "{error}");
        }
        assert!(
            Keyring::from_lines(&format!("{good}\n").repeat(40)).is_ok(),
            "one key"
        );
    }
}
