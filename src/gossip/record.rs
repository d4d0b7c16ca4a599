//! What an instance says of itself, and how that travels: an item of bytes that everybody passes on unchanged.
//!
//! `[kind][format][owner][version][body]`. Fields are only ever appended: a newer format is read as far as it is
//! known, and a kind that is not known is passed on unread, so that a rolling upgrade loses nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::identity::Id;
use crate::error::text::{is_unseen, refuse_name};

/// The record of an instance.
pub(crate) const RECORD: u8 = 1;
/// The format that this version writes.
const FORMAT: u8 = 1;

/// Bytes of an encoded item.
pub(crate) const LARGEST_ITEM: usize = 900;
const LONGEST_RING_ID: usize = 64;
const LONGEST_HTTP: usize = 128;
const LONGEST_KEY: usize = 32;
const LONGEST_VALUE: usize = 128;
const MOST_LABELS: usize = 8;
const ALL_LABELS: usize = 512;
/// A ring has some hundred points for each.
const HEAVIEST: u16 = 256;
/// Below these names, for a later use of our own.
const RESERVED: &str = "__";

/// What an instance wants of the keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Phase {
    /// It has started, and does not know the others yet. It owns no keys.
    #[default]
    Joining,
    /// It owns keys.
    Ready,
    /// It answers, and wants no keys for now: it was told so, or its gate says no.
    Draining,
    /// It is about to go.
    Leaving,
}

impl Phase {
    /// The phase in one word: `joining`, `ready`, `draining`, `leaving`. [Example](crate::guide::by_example#asking-an-instance).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Leaving => "leaving",
        }
    }

    fn of(byte: u8) -> Self {
        match byte {
            0 => Self::Joining,
            1 => Self::Ready,
            3 => Self::Leaving,
            // One that a later version has made: it is not known to own keys.
            _ => Self::Draining,
        }
    }
}

/// What an instance says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) ring_id: Box<str>,
    pub(crate) http: Option<Box<str>>,
    pub(crate) phase: Phase,
    pub(crate) weight: u16,
    pub(crate) labels: BTreeMap<Box<str>, Box<str>>,
}

#[derive(Serialize, Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    ring_id: &'a str,
    http: Option<&'a str>,
    phase: u8,
    weight: u16,
    labels: Vec<(&'a str, &'a str)>,
}

/// What stands before the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) kind: u8,
    pub(crate) format: u8,
    pub(crate) owner: Id,
    pub(crate) version: u64,
}

impl Head {
    /// The item of this body; `None` when it does not fit.
    pub(crate) fn item(kind: u8, owner: Id, version: u64, body: &[u8]) -> Option<Vec<u8>> {
        let head = Self {
            kind,
            format: FORMAT,
            owner,
            version,
        };
        let mut item = postcard::to_allocvec(&head).ok()?;
        item.extend_from_slice(body);
        (item.len() <= LARGEST_ITEM).then_some(item)
    }

    /// The head of an item, and where its body begins; `None` when it is none.
    pub(crate) fn of(item: &[u8]) -> Option<(Self, &[u8])> {
        if item.len() > LARGEST_ITEM {
            return None;
        }
        let (mut head, body) = postcard::take_from_bytes::<Self>(item).ok()?;
        head.owner = Id::new(head.owner.addr, head.owner.generation);
        head.owner.is_reachable().then_some((head, body))
    }
}

impl Record {
    /// The item that says it; `None` when it does not fit.
    pub(crate) fn item(&self, owner: Id, version: u64) -> Option<Vec<u8>> {
        let head = Head {
            kind: RECORD,
            format: FORMAT,
            owner,
            version,
        };
        let body = Body {
            ring_id: &self.ring_id,
            http: self.http.as_deref(),
            phase: self.phase as u8,
            weight: self.weight,
            labels: self.labels.iter().map(|(k, v)| (&**k, &**v)).collect(),
        };
        let mut item = postcard::to_allocvec(&head).ok()?;
        item = postcard::to_extend(&body, item).ok()?;
        (item.len() <= LARGEST_ITEM).then_some(item)
    }

    /// What a body says, as far as it is known; `None` when it breaks a rule of ours.
    pub(crate) fn of(body: &[u8]) -> Option<Self> {
        let (body, _later) = postcard::take_from_bytes::<Body<'_>>(body).ok()?;
        let record = Self {
            ring_id: body.ring_id.into(),
            http: body.http.map(Into::into),
            phase: Phase::of(body.phase),
            weight: body.weight,
            labels: body
                .labels
                .iter()
                .map(|(key, value)| ((*key).into(), (*value).into()))
                .collect(),
        };
        record.check().is_ok().then_some(record)
    }

    /// Whether others would take it. The error names the option, and what is wrong with it.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        check_ring_id(&self.ring_id).map_err(|why| ("ring_id", why))?;
        if let Some(http) = &self.http {
            check_http(http).map_err(|why| ("http", why))?;
        }
        if !(1..=HEAVIEST).contains(&self.weight) {
            let why = format!("{} is not in 1 to {HEAVIEST}", self.weight);
            return Err(("weight", why));
        }
        check_labels(&self.labels).map_err(|why| ("label", why))
    }
}

pub(crate) fn check_ring_id(ring_id: &str) -> Result<(), String> {
    match refuse_name(ring_id) {
        _ if ring_id.len() > LONGEST_RING_ID => Err(format!(
            "it has {} bytes, and {LONGEST_RING_ID} are allowed",
            ring_id.len()
        )),
        Some(why) => Err(format!("it {why}")),
        None => Ok(()),
    }
}

/// Whether it is `http(s)://host[:port]`: requests are sent to it, so it has nothing else in it.
pub(crate) fn check_http(base: &str) -> Result<(), String> {
    let refuse = |why: &str| {
        Err(format!(
            "{why}: write http://host:port or https://host:port"
        ))
    };
    if base.len() > LONGEST_HTTP {
        return Err(format!(
            "it has {} bytes, and {LONGEST_HTTP} are allowed",
            base.len()
        ));
    }
    let Ok(url) = url::Url::parse(base) else {
        return refuse("it is no URL");
    };
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return refuse("it is no address of a web server");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("it holds credentials, which all the others would read");
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return refuse("it has more than a host and a port");
    }
    match base.contains(|c: char| c.is_whitespace() || is_unseen(c)) {
        true => refuse("it has characters that no URL has"),
        false => Ok(()),
    }
}

/// Whether a label is one.
pub(crate) fn check_label(key: &str, value: &str) -> Result<(), String> {
    if key.len() > LONGEST_KEY {
        return Err(format!(
            "its key has {} bytes, and {LONGEST_KEY} are allowed",
            key.len()
        ));
    }
    if let Some(why) = refuse_name(key) {
        return Err(format!("its key {why}"));
    }
    if key.starts_with(RESERVED) {
        return Err(format!("its key begins with `{RESERVED}`, which is ours"));
    }
    if value.len() > LONGEST_VALUE {
        return Err(format!(
            "the value of {key} has {} bytes, and {LONGEST_VALUE} are allowed",
            value.len()
        ));
    }
    match value.contains(is_unseen) {
        true => Err(format!(
            "the value of {key} has characters that cannot be seen"
        )),
        false => Ok(()),
    }
}

pub(crate) fn check_labels(labels: &BTreeMap<Box<str>, Box<str>>) -> Result<(), String> {
    if labels.len() > MOST_LABELS {
        return Err(format!(
            "there are {}, and {MOST_LABELS} are allowed",
            labels.len()
        ));
    }
    for (key, value) in labels {
        check_label(key, value)?;
    }
    let all: usize = labels.iter().map(|(k, v)| k.len() + v.len()).sum();
    match all > ALL_LABELS {
        true => Err(format!(
            "together they have {all} bytes, and {ALL_LABELS} are allowed"
        )),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;
