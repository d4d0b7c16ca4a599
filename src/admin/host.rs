//! Names in a `Host` header, and whether they are ours: a browser that was led here by a foreign name sends that one.

use std::net::IpAddr;

/// The host of `host`, `host:port`, `[::1]` or `[::1]:port`, in small letters and without the dot at the end; `None` for
/// what is none of them.
pub(super) fn host_of(authority: &str) -> Option<String> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<IpAddr>().ok().filter(IpAddr::is_ipv6)?;
            (host, port)
        }
        None => match authority.find(':') {
            Some(at) => authority.split_at(at),
            None => (authority, ""),
        },
    };
    let is_port = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|digits| digits.parse::<u16>().is_ok());
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    if !is_port || host.is_empty() || !host.chars().all(is_host) {
        return None;
    }
    Some(host.trim_end_matches('.').to_ascii_lowercase())
}

/// Whether the host is `localhost`, this address, or one of these names. Ports are no matter: a foreign name stays foreign
/// behind any port, and tunnels have ports of their own.
pub(super) fn is_ours(host: &str, local: Option<IpAddr>, names: &[String]) -> bool {
    if host == "localhost" || names.iter().any(|name| name == host) {
        return true;
    }
    match (host.parse::<IpAddr>(), local) {
        (Ok(host), Some(local)) => host.to_canonical() == local.to_canonical(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_with_ports_and_brackets() {
        for (authority, host) in [
            ("localhost:9800", Some("localhost")),
            ("Admin.Internal.", Some("admin.internal")),
            ("127.0.0.1", Some("127.0.0.1")),
            ("[::1]:9800", Some("::1")),
            ("[::1]", Some("::1")),
            ("::1", None),
            ("", None),
            (":80", None),
            ("a:b", None),
            ("a:99999", None),
            ("a b", None),
            ("user@localhost", None),
            ("localhost/", None),
            ("[localhost]", None),
            ("[127.0.0.1]", None),
            ("[::1", None),
        ] {
            assert_eq!(host_of(authority).as_deref(), host, "{authority:?}");
        }
    }

    #[test]
    fn a_foreign_name_is_not_ours_whatever_it_leads_to() {
        let local: IpAddr = "127.0.0.1".parse().expect("an address");
        let names = ["admin.internal".to_owned()];
        for (host, ours) in [
            ("localhost", true),
            ("127.0.0.1", true),
            ("admin.internal", true),
            ("::ffff:127.0.0.1", true),
            ("127.0.0.2", false),
            ("localhost.evil.example", false),
            ("evil.example", false),
            ("127.0.0.1.nip.io", false),
            ("0.0.0.0", false),
        ] {
            assert_eq!(is_ours(host, Some(local), &names), ours, "{host}");
        }
        assert!(!is_ours("127.0.0.1", None, &[]));
    }
}
