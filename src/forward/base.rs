//! Where an instance takes requests. Pure.

use url::{Host, Url};

/// `http://host:port` or `https://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    pub(crate) is_tls: bool,
    /// Without the brackets of IPv6.
    pub(crate) host: Box<str>,
    pub(crate) port: u16,
}

impl Base {
    /// `None` when it is another text: other schemes, paths, names and passwords.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let is_tls = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let is_bare = matches!(url.path(), "" | "/") && url.query().is_none();
        let is_bare = is_bare && url.fragment().is_none() && url.username().is_empty();
        if !is_bare || url.password().is_some() {
            return None;
        }
        let host = match url.host()? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        Some(Self {
            is_tls,
            host: host.into(),
            port: url.port_or_known_default()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_scheme_host_and_port() {
        for (text, is_tls, host, port) in [
            ("http://10.0.0.1:8080", false, "10.0.0.1", 8080),
            ("http://limiter.internal/", false, "limiter.internal", 80),
            ("https://[::1]", true, "::1", 443),
        ] {
            let base = Base {
                is_tls,
                host: host.into(),
                port,
            };
            assert_eq!(Base::parse(text), Some(base), "{text}");
        }
        for text in [
            "",
            "10.0.0.1:80",
            "ftp://a",
            "http://",
            "http://a/b",
            "http://a?b",
            "http://a#b",
            "http://u@a",
            "http://u:p@a",
            "http://a:99999",
            "unix:///a",
        ] {
            assert_eq!(Base::parse(text), None, "{text}");
        }
    }
}
