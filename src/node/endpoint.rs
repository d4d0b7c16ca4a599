//! A parsed URL: where a server listens and how to log in there.

use core::net::Ipv6Addr;
use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::client_name;
use super::sentinel::{Parts, SentinelAddress, scheme_of};
use crate::build_error::BuildError;
use crate::error::redact::{has_secret, redacted_url};
use crate::error::text::one_line;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp {
        host: String,
        port: u16,
    },
    Unix(PathBuf),
    /// Where these say that their master listens.
    Sentinel(Box<SentinelAddress>),
}

/// Whether the connection is encrypted, and whether the peer must prove who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Plain,
    Tls,
    TlsInsecure,
}

/// A parsed URL: all that a dial needs to know, and no more.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct NodeEndpoint {
    pub(crate) address: Address,
    pub(crate) transport: Transport,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) db: i64,
    pub(crate) resp3: bool,
    /// What its server calls us, where that is not what the others do.
    pub(crate) client_name: Option<Arc<str>>,
}

impl fmt::Debug for NodeEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("address", &self.address)
            .field("transport", &self.transport)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "<redacted>"))
            .field("db", &self.db)
            .field("resp3", &self.resp3)
            .field("client_name", &self.client_name)
            .finish()
    }
}

impl NodeEndpoint {
    /// `host:port[/db]`, the socket's path, or the name that sentinels know: the same for every spelling of one server.
    pub(super) fn default_name(&self) -> String {
        let base = match &self.address {
            Address::Sentinel(sentinels) => sentinels.master.clone(),
            _ => self.to_string(),
        };
        match self.db {
            0 => base,
            db => format!("{base}/{db}"),
        }
    }
}

impl NodeEndpoint {
    /// Whether the server, or sentinels that know it, are spoken to in this way.
    #[cfg(feature = "tls")]
    pub(crate) fn needs(&self, transport: Transport) -> bool {
        let sentinels = match &self.address {
            Address::Sentinel(sentinels) => Some(sentinels.transport),
            _ => None,
        };
        self.transport == transport || sentinels == Some(transport)
    }

    /// The address that servers listen on and nobody can dial, when it is that.
    pub(super) fn nobodys_address(&self) -> Option<&str> {
        let is_nobodys = |host: &&String| *host == "0.0.0.0" || *host == "::";
        match &self.address {
            Address::Tcp { host, .. } => Some(host).filter(is_nobodys),
            Address::Unix(_) => None,
            Address::Sentinel(sentinels) => {
                let mut hosts = sentinels.hosts.iter().map(|(host, _)| host);
                hosts.find(is_nobodys)
            }
        }
        .map(String::as_str)
    }
}

/// Prints the address alone: no user, no password.
impl fmt::Display for NodeEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "{}", path.display()),
            Address::Sentinel(sentinels) => write!(f, "{sentinels}"),
        }
    }
}

impl FromStr for NodeEndpoint {
    type Err = BuildError;

    fn from_str(text: &str) -> Result<Self, BuildError> {
        let refuse = |why: String| BuildError::Url {
            url: one_line(redacted_url(text)),
            why,
        };
        let trimmed = text.trim();
        if let Some((scheme, rest)) = trimmed.split_once("://")
            && let Some(base) = scheme_of(scheme)
        {
            let parts = Parts::of(base, rest).map_err(refuse)?;
            let master: Self = parts.base.parse().map_err(|e| match e {
                BuildError::Url { why, .. } => refuse(why),
                other => other,
            })?;
            return parts.around(master).map_err(refuse);
        }
        let (text, zone) = without_zone(text);
        let text = text.as_ref();
        let url = Url::parse(text).map_err(|e| {
            refuse(format!("it does not parse ({e}); write redis://host:port, rediss://host:port or unix:///path"))
        })?;
        let mut endpoint = match url.scheme() {
            "redis" | "valkey" => tcp(&url, Transport::Plain),
            "rediss" | "valkeys" => tls(&url),
            "unix" | "redis+unix" | "valkey+unix" => unix(&url),
            // `user:password@host` has no scheme, and what stands before the ':' is none of the reader's.
            other if text.contains("://") && is_word(other) => Err(format!(
                "unknown scheme \"{other}\"; use redis://, rediss://, valkey://, valkeys://, unix:// or redis+sentinel://"
            )),
            _ => Err(
                "it has no scheme; write redis://host:port, rediss://host:port or unix:///path"
                    .into(),
            ),
        }
        .map_err(refuse)?;
        if let (Address::Tcp { host, .. }, Some(zone)) = (&mut endpoint.address, zone) {
            host.push_str(&zone);
        }
        endpoint.read_query(&url).map_err(refuse)?;
        if endpoint.db < 0 {
            return Err(refuse(format!(
                "database {} is negative; databases start at 0",
                endpoint.db
            )));
        }
        if endpoint.username.is_some() && endpoint.password.is_none() {
            return Err(refuse(
                "it has a user but no password; write user:password@".into(),
            ));
        }
        Ok(endpoint)
    }
}

impl NodeEndpoint {
    fn read_query(&mut self, url: &Url) -> Result<(), String> {
        let unix = matches!(self.address, Address::Unix(_));
        let raw = url.query().unwrap_or_default();
        // A `&`, `?` or `@` that was not escaped: what stands here may be a part of the password.
        let mut in_password = raw.contains(['@', '?']);
        for ((key, value), pair) in url
            .query_pairs()
            .zip(raw.split('&').filter(|p| !p.is_empty()))
        {
            in_password |= !pair.contains('=');
            match &*key {
                "protocol" => {
                    self.resp3 = match &*value {
                        "resp2" | "2" => false,
                        "resp3" | "3" => true,
                        other if other.len() <= 5 => {
                            return Err(format!("protocol={other} is unknown; use resp2 or resp3"));
                        }
                        _ => return Err("its protocol is unknown; use resp2 or resp3".into()),
                    }
                }
                // What is refused is not shown.
                "client_name" => match client_name::refusal(&value) {
                    Some(why) => return Err(format!("its client_name cannot be: {why}")),
                    None => self.client_name = Some(value.into()),
                },
                "db" if unix => self.db = parse_db(&value)?,
                "user" if unix => self.username = Some(value.into_owned()),
                "pass" if unix => {
                    in_password = true;
                    self.password = Some(value.into_owned());
                }
                other if is_word(other) && !in_password => {
                    return Err(format!(
                        "query parameter \"{other}\" is unknown here; remove it"
                    ));
                }
                _ => return Err("a query parameter is unknown here; remove it".into()),
            }
        }
        Ok(())
    }
}

/// The URL without the zone of its IPv6 address, which `url` does not know, and the zone with its `%`.
///
/// `[fe80::1%eth0]`, or `%25eth0`, as RFC 6874 writes it.
fn without_zone(text: &str) -> (Cow<'_, str>, Option<String>) {
    let found = || {
        let start = text.find("://")? + "://".len();
        let authority = &text[start..];
        let authority = &authority[..authority.find(['/', '?', '#']).unwrap_or(authority.len())];
        let from = start + authority.rfind('@').map_or(0, |at| at + 1);
        let inside = text[from..].strip_prefix('[')?;
        let inside = &inside[..inside.find(']')?];
        let (ip, zone) = inside.split_once('%')?;
        let name = zone
            .strip_prefix("25")
            .filter(|name| !name.is_empty())
            .unwrap_or(zone);
        let is_zone = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        let is_one =
            !name.is_empty() && name.chars().all(is_zone) && ip.parse::<Ipv6Addr>().is_ok();
        let at = from + 1 + ip.len();
        is_one.then(|| {
            let bare = [&text[..at], &text[at + 1 + zone.len()..]].concat();
            (Cow::Owned(bare), Some(format!("%{name}")))
        })
    };
    found().unwrap_or((Cow::Borrowed(text), None))
}

/// Whether something is escaped that a host could hold, or could not, as it is.
fn escapes_ascii(host: &str) -> bool {
    host.split('%').skip(1).any(|rest| {
        let high = rest.chars().next().and_then(|c| c.to_digit(16));
        high.is_none_or(|high| high < 8)
    })
}

pub(super) fn tcp(url: &Url, transport: Transport) -> Result<NodeEndpoint, String> {
    let host = match url.host() {
        // A non-special scheme keeps the host as written, but for letters beyond ASCII.
        Some(Host::Domain(name)) => percent_decode_str(name)
            .decode_utf8()
            .map_err(|_| "its host is not UTF-8".to_string())?
            .into_owned(),
        Some(Host::Ipv4(ip)) => ip.to_string(),
        Some(Host::Ipv6(ip)) => ip.to_string(),
        None => String::new(),
    };
    if host.is_empty() {
        return Err("it has no host; write redis://host:port".into());
    }
    let is_ip = !matches!(url.host(), Some(Host::Domain(_)));
    let odd = |c: char| !(c.is_alphanumeric() || "-._".contains(c));
    // Such as `u%3Apassword%40h` or `h,password=x`: the host becomes the node's name, which everybody may see.
    if !is_ip && (host.contains(odd) || escapes_ascii(url.host_str().unwrap_or_default())) {
        return Err("its host has a character that no host has: hosts are letters, digits, '-', '.' and '_', or an \
                    address; a password goes in front, as in redis://user:password@host"
            .into());
    }
    // Where nothing else may hold an '@', it ends a password that was not escaped.
    let behind = [Some(url.path()), url.query(), url.fragment()];
    if behind.into_iter().flatten().any(|part| part.contains('@')) {
        return Err("it has an '@' behind the host; escape '/', '?', '#' and '@' in a password as %2F, %3F, %23 and %40".into());
    }
    let port = match url.port() {
        Some(0) => return Err("port 0 cannot be dialled; write the server's port".into()),
        Some(port) => port,
        None => 6379,
    };
    if url.fragment().is_some() && transport == Transport::Plain {
        return Err("it has a #fragment; escape '#' in a password as %23".into());
    }
    let decode = |text: &str, what: &str| {
        percent_decode_str(text)
            .decode_utf8()
            .map(|s| s.into_owned())
            .map_err(|_| format!("its {what} is not UTF-8 after percent-decoding"))
    };
    Ok(NodeEndpoint {
        address: Address::Tcp { host, port },
        transport,
        username: match url.username() {
            "" => None,
            user => Some(decode(user, "user")?),
        },
        password: url.password().map(|p| decode(p, "password")).transpose()?,
        db: match url.path().trim_matches('/') {
            "" => 0,
            db => parse_db(db)?,
        },
        resp3: false,
        client_name: None,
    })
}

fn tls(url: &Url) -> Result<NodeEndpoint, String> {
    if !cfg!(feature = "tls") {
        return Err("TLS needs fluster's feature `tls`; enable it, or use redis://".into());
    }
    let transport = match url.fragment() {
        None => Transport::Tls,
        Some("insecure") => Transport::TlsInsecure,
        Some(_) => {
            return Err(
                "only #insecure is known as a fragment; escape '#' in a password as %23".into(),
            );
        }
    };
    tcp(url, transport)
}

fn unix(url: &Url) -> Result<NodeEndpoint, String> {
    if !cfg!(unix) {
        return Err("unix sockets are not available on this platform; use redis://".into());
    }
    let path = percent_decode_str(url.path())
        .decode_utf8()
        .map_err(|_| "its path is not UTF-8".to_string())?;
    if url.host_str().is_some_and(|h| !h.is_empty()) || !path.starts_with('/') || path == "/" {
        return Err("it needs an absolute path; write unix:///path/to/socket".into());
    }
    // The path becomes the node's name.
    if has_secret(&path) {
        return Err(
            "its path has a password in it; write unix:///path/to/socket?pass=password".into(),
        );
    }
    Ok(NodeEndpoint {
        address: Address::Unix(PathBuf::from(path.as_ref())),
        transport: Transport::Plain,
        username: None,
        password: None,
        db: 0,
        resp3: false,
        client_name: None,
    })
}

fn parse_db(text: &str) -> Result<i64, String> {
    // The text is not shown: a mistyped URL may carry a password where the database belongs.
    text.parse()
        .map_err(|_| "its database is not a number; write /0 to /15".into())
}

/// Whether the text can be a scheme or an option, rather than part of a password.
fn is_word(text: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_lowercase() || matches!(c, '+' | '_');
    !text.is_empty() && text.len() <= 20 && text.chars().all(is_letter)
}
