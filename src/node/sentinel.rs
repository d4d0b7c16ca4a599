//! A master that sentinels know: its name, where they are, and how to log in to them.

use std::collections::BTreeSet;
use std::fmt;

use url::{Url, form_urlencoded};

use super::Node;
use super::endpoint::{Address, NodeEndpoint, Transport, tcp};
use crate::build_error::BuildError;
use crate::error::redact::redacted_url;
use crate::error::text::one_line;

/// Where sentinels listen when their address names no port.
const PORT: u16 = 26379;
/// All are asked at once, and listened to.
const MOST: usize = 16;
/// In bytes.
const LONGEST_NAME: usize = 128;

const WRITE: &str = "write redis+sentinel://host1,host2,host3/master";

/// A master by the name that its sentinels know it by.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SentinelAddress {
    pub(crate) master: String,
    /// Host and port of each sentinel, in the order of the URL.
    pub(crate) hosts: Vec<(String, u16)>,
    /// How the sentinels are spoken to.
    pub(crate) transport: Transport,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
}

impl fmt::Debug for SentinelAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentinelAddress")
            .field("master", &self.master)
            .field("hosts", &self.hosts)
            .field("transport", &self.transport)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "<redacted>"))
            .finish()
    }
}

/// `master@host1:26379,host2:26379`.
impl fmt::Display for SentinelAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.master)?;
        for (n, (host, port)) in self.hosts.iter().enumerate() {
            let mark = if n == 0 { '@' } else { ',' };
            match host.contains(':') {
                true => write!(f, "{mark}[{host}]:{port}")?,
                false => write!(f, "{mark}{host}:{port}")?,
            }
        }
        Ok(())
    }
}

impl Node {
    /// A node that is whatever server the sentinels at `hosts` call the master `master`, and is named so.
    ///
    /// A host is `host` or `host:port`; the port is 26379 when left out. For passwords, TLS and a database write the
    /// URL; see [`Node`]. [Example](crate::guide::by_example#sentinels).
    ///
    /// # Errors
    ///
    /// [`BuildError::Url`] when there is no host, or one is none, or the name is none that sentinels take.
    pub fn sentinel(
        master: impl AsRef<str>,
        hosts: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Self, BuildError> {
        let master = master.as_ref();
        let hosts: Vec<_> = hosts.into_iter().map(|h| h.as_ref().to_owned()).collect();
        let hosts = hosts.join("\n");
        let refuse = |why: String| BuildError::Url {
            url: one_line(redacted_url("redis+sentinel://")),
            why,
        };
        if hosts.contains(|c: char| "/?#@,".contains(c)) {
            return Err(refuse(
                "a sentinel's host is host or host:port; for passwords and options write the URL"
                    .into(),
            ));
        }
        if let Some(why) = no_master(master) {
            return Err(refuse(why));
        }
        Self::new(format!(
            "redis+sentinel://{}/{master}",
            hosts.replace('\n', ",")
        ))
    }
}

/// Whether the URL's scheme says that sentinels are asked; with what it says of the master's transport.
pub(super) fn scheme_of(scheme: &str) -> Option<&'static str> {
    match scheme {
        "redis+sentinel" | "valkey+sentinel" => Some("redis"),
        "rediss+sentinel" | "valkeys+sentinel" => Some("rediss"),
        _ => None,
    }
}

/// The URL without its sentinels: as of the master at the first one's address.
pub(super) struct Parts {
    pub(super) base: String,
    master: String,
    hosts: Vec<(String, u16)>,
    options: Options,
}

#[derive(Default)]
struct Options {
    username: Option<String>,
    password: Option<String>,
    tls: Option<bool>,
}

impl Parts {
    /// Takes the URL apart; `base` is the scheme of the master's own.
    pub(super) fn of(base: &str, rest: &str) -> Result<Self, String> {
        let (rest, fragment) = cut(rest, '#');
        let (rest, query) = cut(rest, '?');
        let (authority, path) = cut(rest, '/');
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (format!("{user}@"), hosts),
            None => (String::new(), authority),
        };
        let hosts = sentinels(hosts)?;
        let path = path.unwrap_or_default().trim_matches('/');
        let (master, db) = path.split_once('/').unwrap_or((path, ""));
        if let Some(why) = no_master(master) {
            return Err(why);
        }
        if db.contains('/') {
            return Err("its path is too long; write /master or /master/database".into());
        }
        let mut options = Options::default();
        let mut others = Vec::new();
        for pair in query
            .unwrap_or_default()
            .split('&')
            .filter(|p| !p.is_empty())
        {
            if !options.take(pair)? {
                others.push(pair);
            }
        }
        let query = match others.is_empty() {
            true => String::new(),
            false => format!("?{}", others.join("&")),
        };
        let fragment = fragment.map_or(String::new(), |f| format!("#{f}"));
        // Where it is dialled is what the sentinels say: any host stands for it meanwhile.
        let base = format!("{base}://{user}sentinel/{db}{query}{fragment}");
        Ok(Self {
            base,
            master: master.to_owned(),
            hosts,
            options,
        })
    }

    /// The endpoint of the master with its sentinels.
    pub(super) fn around(self, master: NodeEndpoint) -> Result<NodeEndpoint, String> {
        let transport = match (self.options.tls, master.transport) {
            (None, same) => same,
            (Some(false), _) => Transport::Plain,
            (Some(true), Transport::TlsInsecure) => Transport::TlsInsecure,
            (Some(true), _) if cfg!(feature = "tls") => Transport::Tls,
            (Some(true), _) => {
                return Err("TLS needs fluster's feature `tls`; leave sentinel_tls out".into());
            }
        };
        if self.options.username.is_some() && self.options.password.is_none() {
            return Err("it has a sentinel_username but no sentinel_password".into());
        }
        Ok(NodeEndpoint {
            address: Address::Sentinel(Box::new(SentinelAddress {
                master: self.master,
                hosts: self.hosts,
                transport,
                username: self.options.username,
                password: self.options.password,
            })),
            ..master
        })
    }
}

impl Options {
    /// Whether the pair of the query is one of the sentinels'. What is refused is not shown.
    fn take(&mut self, pair: &str) -> Result<bool, String> {
        let key = pair.split('=').next().unwrap_or_default();
        if !key.starts_with("sentinel_") {
            return Ok(false);
        }
        if pair.contains(['@', '?']) {
            return Err(
                "it has an '@' or a '?' in an option of its sentinels; escape them as %40 and %3F"
                    .into(),
            );
        }
        let value = form_urlencoded::parse(pair.as_bytes()).next();
        let value = value.map_or(String::new(), |(_, value)| value.into_owned());
        if value.contains('\u{fffd}') {
            return Err("an option of its sentinels is not UTF-8 after percent-decoding".into());
        }
        match key {
            "sentinel_username" if !value.is_empty() => self.username = Some(value),
            "sentinel_password" if !value.is_empty() => self.password = Some(value),
            "sentinel_username" | "sentinel_password" => {
                return Err("an option of its sentinels is empty; leave it out".into());
            }
            "sentinel_tls" => {
                self.tls = Some(match &*value {
                    "yes" | "true" | "1" => true,
                    "no" | "false" | "0" => false,
                    _ => return Err("its sentinel_tls is unknown; use yes or no".into()),
                });
            }
            _ => {
                return Err("an option of its sentinels is unknown; there are sentinel_username, sentinel_password and sentinel_tls".into());
            }
        }
        Ok(true)
    }
}

/// The text before the first `mark`, and what is behind it.
fn cut(text: &str, mark: char) -> (&str, Option<&str>) {
    match text.split_once(mark) {
        Some((before, behind)) => (before, Some(behind)),
        None => (text, None),
    }
}

fn sentinels(text: &str) -> Result<Vec<(String, u16)>, String> {
    if text.is_empty() {
        return Err(format!("it has no host; {WRITE}"));
    }
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    for host in text.split(',') {
        if host.is_empty() {
            return Err(format!("a host is missing between its commas; {WRITE}"));
        }
        let url = Url::parse(&format!("redis://{host}"))
            .map_err(|e| format!("a sentinel's host does not parse ({e}); {WRITE}"))?;
        let has_port = url.port().is_some();
        if let Address::Tcp { host, port } = tcp(&url, Transport::Plain)?.address {
            let port = if has_port { port } else { PORT };
            if seen.insert((host.clone(), port)) {
                found.push((host, port));
            }
        }
    }
    match found.len() {
        0..=MOST => Ok(found),
        many => Err(format!("it has {many} sentinels; {MOST} are the most")),
    }
}

/// Why it is no name of a master; sentinels take these characters and no others.
fn no_master(name: &str) -> Option<String> {
    let is_odd = |c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c));
    if name.is_empty() {
        return Some(format!("it names no master; {WRITE}"));
    }
    if name.len() > LONGEST_NAME {
        return Some(format!(
            "the name of its master is longer than {LONGEST_NAME} bytes"
        ));
    }
    name.contains(is_odd).then(|| {
        "the name of its master has a character that no sentinel takes: letters, digits, '.', '-' and '_'".into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str) -> (Node, SentinelAddress) {
        let node = Node::new(url).unwrap_or_else(|e| panic!("{url}: {e}"));
        match node.endpoint().address.clone() {
            Address::Sentinel(sentinels) => (node, *sentinels),
            other => panic!("{url}: {other:?}"),
        }
    }

    #[test]
    fn a_master_is_named_after_its_name() {
        for (url, name) in [
            ("redis+sentinel://h1,h2,h3/mymaster", "mymaster"),
            ("redis+sentinel://h1/mymaster/", "mymaster"),
            ("redis+sentinel://h1/mymaster/0", "mymaster"),
            ("valkey+sentinel://h1/shard-1.a_b/3", "shard-1.a_b/3"),
        ] {
            assert_eq!(of(url).0.id(), name, "{url}");
        }
        let (node, sentinels) = of("redis+sentinel://h1,10.0.0.2:5000,[::1]:7/m");
        assert_eq!(sentinels.to_string(), "m@h1:26379,10.0.0.2:5000,[::1]:7");
        assert_eq!(node.endpoint().to_string(), sentinels.to_string());
        let same = Node::sentinel("m", ["h1", "10.0.0.2:5000", "[::1]:7", "h1"]).unwrap();
        assert_eq!(same, node, "twice the same is once");
    }

    #[test]
    fn the_master_and_its_sentinels_have_passwords_of_their_own() {
        let (node, sentinels) = of(
            "redis+sentinel://u:p%40w@h1:1,h2/m/2?sentinel_username=s&protocol=resp3&sentinel_password=x%26y",
        );
        let e = node.endpoint();
        assert_eq!(
            (e.username.as_deref(), e.password.as_deref(), e.db, e.resp3),
            (Some("u"), Some("p@w"), 2, true)
        );
        assert_eq!(
            (sentinels.username.as_deref(), sentinels.password.as_deref()),
            (Some("s"), Some("x&y"))
        );
        let shown = format!("{node:?} {node:#?}");
        assert!(!shown.contains("p@w") && !shown.contains("x&y"), "{shown}");
    }

    #[cfg(feature = "tls")]
    #[test]
    fn the_scheme_says_how_both_are_spoken_to_and_an_option_makes_a_difference() {
        use Transport::{Plain, Tls, TlsInsecure};
        for (url, master, sentinels) in [
            ("redis+sentinel://h/m", Plain, Plain),
            ("rediss+sentinel://h/m", Tls, Tls),
            ("rediss+sentinel://h/m?sentinel_tls=no", Tls, Plain),
            ("redis+sentinel://h/m?sentinel_tls=yes", Plain, Tls),
            ("valkeys+sentinel://h/m#insecure", TlsInsecure, TlsInsecure),
        ] {
            let (node, address) = of(url);
            assert_eq!(node.endpoint().transport, master, "{url}");
            assert_eq!(address.transport, sentinels, "{url}");
        }
    }

    #[test]
    fn a_bad_url_is_refused_with_a_remedy_and_without_its_passwords() {
        let many: Vec<_> = (0..17).map(|n| format!("h{n}")).collect();
        let many = format!("redis+sentinel://{}/m", many.join(","));
        let long = format!("redis+sentinel://h/{}", "m".repeat(129));
        for (url, needle) in [
            ("redis+sentinel://h1,h2", "names no master"),
            ("redis+sentinel://h1,h2/", "names no master"),
            ("redis+sentinel:///mymaster", "no host"),
            ("redis+sentinel://:hunter2@/mymaster", "no host"),
            ("redis+sentinel://h1,,h2/m", "between its commas"),
            ("redis+sentinel://h1,/m", "between its commas"),
            ("redis+sentinel://h1:0/m", "port 0"),
            ("redis+sentinel://h1:99999/m", "does not parse"),
            ("redis+sentinel://h1/m/0/more", "too long"),
            ("redis+sentinel://h1/m/x", "database"),
            ("redis+sentinel://h1/m%20m", "no sentinel takes"),
            ("redis+sentinel://h1/m@hunter2", "no sentinel takes"),
            (&many, "16 are the most"),
            (&long, "longer than"),
            ("redis+sentinel://h1/m?sentinel_password=", "is empty"),
            ("redis+sentinel://h1/m?sentinel_pass=hunter2", "is unknown"),
            (
                "redis+sentinel://h1/m?sentinel_username=u",
                "no sentinel_password",
            ),
            ("redis+sentinel://h1/m?sentinel_password=a@hunter2", "%40"),
            ("redis+sentinel://h1/m?sentinel_password=%ff", "UTF-8"),
            ("redis+sentinel://h1/m?sentinel_tls=hunter2", "yes or no"),
            ("redis+sentinel://h1/m?timeout=1", "\"timeout\" is unknown"),
            ("redis+sentinel://u@h1/m", "no password"),
            ("redis+sentinel://h 1,h2/m", "does not parse"),
            ("redis+sentinel://h1/m#insecure", "#fragment"),
        ] {
            let text = Node::new(url).expect_err(url).to_string();
            assert!(text.contains(needle), "{url}: {text}");
            assert!(!text.contains("hunter2"), "{url} leaks: {text}");
        }
        for (master, hosts) in [
            ("m", &[][..]),
            ("", &["h"]),
            ("m/1", &["h"]),
            ("m", &[":hunter2@h"]),
            ("m", &["h1,h2"]),
            ("m", &["h/x"]),
            ("m", &[""]),
        ] {
            let text = Node::sentinel(master, hosts).expect_err(master).to_string();
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn a_sentinel_at_nobodys_address_is_refused() {
        let node = Node::sentinel("m", ["h", "0.0.0.0"]).unwrap();
        let why = node.validate().unwrap_err().to_string();
        assert!(why.contains("no server's address"), "{why}");
    }
}
