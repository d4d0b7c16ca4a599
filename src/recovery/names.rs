//! What a journal's keys at a server are called.
//!
//! `fluster:{return}` is a set of names, the index. `fluster:{return}:X:open` is the set of the keys that are owed to the
//! node X. A set that is worked off is called `fluster:{return}:X:<16 hexadecimal digits>`. In the index they stand
//! without what they have in common, as `X:open`. A node's name may have any bytes: the state is behind the last colon.
//!
//! An application with a name has it behind `return`, and the keys of each cache have a journal of their own, with the
//! prefix behind that: `fluster:{return NAME PREFIX}`. Who works off a journal takes keys away and forgets them, and must
//! know what they are: on how many nodes each is, by which placement. Of others' keys nobody here does.

/// A set of owed keys, of one node at one server; or what is said there instead of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Set {
    /// Writers add to it.
    Open,
    /// It is worked off.
    Closed(u64),
    /// There were too many: writers add nothing any more.
    Full,
}

/// The names of one journal: that of the keys with a prefix, or that of all others of an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    index: Vec<u8>,
    prefix: Option<Box<[u8]>>,
}

impl Names {
    /// Applications that share servers, and do not mean the same server by the same name, have names of their own.
    pub(crate) fn new(application: &str, prefix: Option<&[u8]>) -> Self {
        let mut index = b"fluster:{return".to_vec();
        if !application.is_empty() || prefix.is_some() {
            // It has no space, so a prefix begins behind the second one, whatever is in it.
            index.push(b' ');
            index.extend(application.as_bytes());
        }
        if let Some(prefix) = prefix {
            index.push(b' ');
            index.extend(prefix);
        }
        index.push(b'}');
        Self {
            index,
            prefix: prefix.map(Into::into),
        }
    }

    /// Whether a key may be in this journal at all.
    pub(crate) fn may_have(&self, key: &[u8]) -> bool {
        let prefix = self.prefix.as_deref();
        prefix.is_none_or(|prefix| key.starts_with(prefix))
    }

    /// The key of the index.
    pub(crate) fn index(&self) -> &[u8] {
        &self.index
    }

    /// A set's name in the index.
    pub(crate) fn entry(node: &[u8], set: Set) -> Vec<u8> {
        let state = match set {
            Set::Open => "open".to_owned(),
            Set::Full => "full".to_owned(),
            Set::Closed(id) => format!("{id:016x}"),
        };
        [node, b":", state.as_bytes()].concat()
    }

    /// A set's key.
    pub(crate) fn key(&self, node: &[u8], set: Set) -> Vec<u8> {
        [self.index(), b":", &Self::entry(node, set)].concat()
    }

    /// What a name in the index means; `None` for what is none of ours.
    pub(crate) fn read(entry: &[u8]) -> Option<(&[u8], Set)> {
        let colon = entry.iter().rposition(|byte| *byte == b':')?;
        let (node, state) = (&entry[..colon], &entry[colon + 1..]);
        let set = match state {
            b"open" => Set::Open,
            b"full" => Set::Full,
            digits if digits.len() == 16 && digits.iter().all(is_lower_hex) => {
                let digits = std::str::from_utf8(digits).ok()?;
                Set::Closed(u64::from_str_radix(digits, 16).ok()?)
            }
            _ => return None,
        };
        Some((node, set))
    }
}

fn is_lower_hex(byte: &u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_into_the_index_is_read_from_it_whatever_a_node_is_called() {
        for node in [
            "a",
            "10.0.0.1:6379",
            "unix:/run/x:y",
            "x:open",
            "{b}:",
            "",
            "\u{7f}é",
        ] {
            for set in [Set::Open, Set::Full, Set::Closed(0), Set::Closed(u64::MAX)] {
                let entry = Names::entry(node.as_bytes(), set);
                assert_eq!(Names::read(&entry), Some((node.as_bytes(), set)), "{node}");
            }
        }
        for foreign in [
            "",
            "a",
            "a:",
            "a:Open",
            "a:12",
            "a:00000000000000zz",
            "a:00000000000000AA",
        ] {
            assert_eq!(Names::read(foreign.as_bytes()), None, "{foreign}");
        }
    }

    #[test]
    fn each_cache_has_a_journal_of_its_own_for_its_own_keys() {
        let names = |application, prefix: &str| Names::new(application, Some(prefix.as_bytes()));
        let (page, user) = (names("", "page:"), names("", "user:"));
        assert_eq!(page.index(), b"fluster:{return  page:}");
        assert!(page.may_have(b"page:1") && !page.may_have(b"user:1"));
        assert!(Names::new("", None).may_have(b"user:1"));
        let all = [
            page,
            user,
            names("shop", "page:"),
            names("", ""),
            names("shop", ""),
            Names::new("", None),
            Names::new("shop", None),
        ];
        let mut indices: Vec<_> = all.iter().map(Names::index).collect();
        indices.sort_unstable();
        indices.dedup();
        assert_eq!(indices.len(), all.len());
    }

    #[test]
    fn all_keys_of_an_application_have_one_hash_tag() {
        let names = Names::new("", None);
        assert_eq!(names.index(), b"fluster:{return}");
        assert_eq!(names.key(b"a:1", Set::Open), b"fluster:{return}:a:1:open");
        let shop = Names::new("shop", None);
        assert_eq!(shop.index(), b"fluster:{return shop}");
        let closed = shop.key(b"a", Set::Closed(255));
        assert_eq!(closed, b"fluster:{return shop}:a:00000000000000ff");
    }
}
