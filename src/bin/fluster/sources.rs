//! What `fluster select` asks: a source of endpoints, from -b, -h and -p.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use fluster::discovery::{
    Consul, Discovery, Dns, Endpoint, Etcd, File, Filter, Filtered, Srv, Static,
};
use fluster::{Config, Node};

use crate::args::{Backend, Select};
use crate::fault::Fault;
use crate::fault::refused;
use crate::text::excerpt;

type Source = Box<dyn Discovery>;

/// The source that the arguments describe, behind their patterns.
pub fn source(args: &Select) -> Result<Filtered<Source>, Fault> {
    let mut filter = Filter::new();
    for pattern in &args.addresses {
        filter = filter
            .address(pattern)
            .map_err(|e| refused(&e).about("-A"))?;
    }
    for pattern in &args.names {
        filter = filter.name(pattern).map_err(|e| refused(&e).about("-N"))?;
    }
    for pattern in &args.tags {
        filter = filter.tag(pattern).map_err(|e| refused(&e).about("-T"))?;
    }
    Ok(Filtered::new(unfiltered(args)?, filter))
}

fn unfiltered(args: &Select) -> Result<Source, Fault> {
    let (host, port) = (args.host.as_str(), args.port);
    let wrong = |e| refused(&e).about("-h");
    Ok(match args.backend {
        Backend::Static => Box::new(Static::new(listed(host, port)?)),
        Backend::File => Box::new(file(host)),
        Backend::Dns => {
            let (host, port) = authority(host, port)?;
            let name = format!("{}:{}", bracketed(host), port.unwrap_or(6379));
            Box::new(Dns::new(name).map_err(|e| Fault::from(e).about("-h"))?)
        }
        Backend::Srv => Box::new(srv(host, port)?),
        Backend::Consul => {
            let token = std::env::var("CONSUL_HTTP_TOKEN").unwrap_or_default();
            let source = Consul::all_services(url(host, port)?.concat()).map_err(wrong)?;
            Box::new(
                source
                    .token(token)
                    .map_err(|e| refused(&e).about("CONSUL_HTTP_TOKEN"))?,
            )
        }
        Backend::Etcd => {
            let [server, path] = url(host, port)?;
            let prefix = if path.is_empty() { "/" } else { &path };
            Box::new(Etcd::new(server, prefix).map_err(wrong)?)
        }
    })
}

/// Servers with commas between them.
fn listed(hosts: &str, port: Option<u16>) -> Result<Vec<Endpoint>, Fault> {
    let endpoint = |text: &str| {
        let (host, own) = authority(text, None)?;
        if host.is_empty() {
            return Err(Fault::usage(
                "-h: a server's name is empty: write -h 10.0.0.1,10.0.0.2",
            ));
        }
        Ok(Endpoint::new(host, own.or(port).unwrap_or(6379)))
    };
    hosts.split(',').map(str::trim).map(endpoint).collect()
}

/// Lines of nodes, or a configuration.
fn file(path: &str) -> File {
    let file = File::new(path);
    if !path.ends_with(".toml") {
        return file;
    }
    file.parse_with(|text| {
        // Not the error itself: it quotes the line, which may hold a password.
        let config: Config = toml::from_str(text).map_err(|e| e.message().to_owned())?;
        let nodes = config.nodes.into_iter().map(Node::try_from);
        nodes
            .map(|node| node.map(Endpoint::from).map_err(|e| e.to_string()))
            .collect()
    })
}

/// `NAME[@SERVER]`, where the port is the server's.
fn srv(host: &str, port: Option<u16>) -> Result<Srv, Fault> {
    let wrong = |e| refused(&e).about("-h");
    let Some((name, server)) = host.split_once('@') else {
        return Srv::new(host).map_err(wrong);
    };
    let (server, port) = authority(server, port)?;
    let address: IpAddr = server.parse().map_err(|_| {
        Fault::usage(format!(
            "-h: the name server \"{}\" is no IP address: write NAME@127.0.0.1",
            excerpt(server.as_bytes())
        ))
    })?;
    let server = SocketAddr::new(address, port.unwrap_or(53));
    Ok(Srv::new(name).map_err(wrong)?.name_server(server))
}

/// `[http://]host[:port][/path]` as the URL of a server, and the path.
fn url(host: &str, port: Option<u16>) -> Result<[String; 2], Fault> {
    let (scheme, rest) = host.split_once("://").unwrap_or(("http", host));
    let (server, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = authority(server, port)?;
    let port = port.map_or(String::new(), |port| format!(":{port}"));
    Ok([
        format!("{scheme}://{}{port}", bracketed(host)),
        path.to_owned(),
    ])
}

/// Host and port of `host[:port]`; the port that was given as -p belongs to a host without one.
fn authority(text: &str, port: Option<u16>) -> Result<(&str, Option<u16>), Fault> {
    let bare =
        |host: &'_ str| -> Option<_> { host.strip_prefix('[')?.strip_suffix(']').map(str::len) };
    if is_ipv6(text) {
        return Ok((text, port));
    }
    let (host, own) = match text.rsplit_once(':') {
        Some((host, digits)) if !text.ends_with(']') => {
            let own = digits.parse::<u16>().map_err(|_| {
                Fault::usage(format!(
                    "-h: \"{}\" does not end in a port from 0 to 65535",
                    excerpt(text.as_bytes())
                ))
            })?;
            (host, Some(own))
        }
        _ => (text, None),
    };
    let host = bare(host).map_or(host, |length| &host[1..=length]);
    match (own, port) {
        (Some(own), Some(port)) if own != port => Err(Fault::usage(format!(
            "-h says port {own} and -p says {port}: give one of them"
        ))),
        (own, port) => Ok((host, own.or(port))),
    }
}

fn bracketed(host: &str) -> String {
    match is_ipv6(host) {
        true => format!("[{host}]"),
        false => host.to_owned(),
    }
}

/// An address of IPv6, with its zone or without.
fn is_ipv6(host: &str) -> bool {
    let (address, _) = host.split_once('%').unwrap_or((host, ""));
    address.parse::<Ipv6Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_may_bring_its_port() {
        for (text, given, expected) in [
            ("h", None, ("h", None)),
            ("h", Some(1), ("h", Some(1))),
            ("h:2", None, ("h", Some(2))),
            ("h:2", Some(2), ("h", Some(2))),
            ("::1", Some(3), ("::1", Some(3))),
            ("[::1]", Some(3), ("::1", Some(3))),
            ("[::1]:4", None, ("::1", Some(4))),
            ("fe80::1%eth0", Some(5), ("fe80::1%eth0", Some(5))),
            ("[fe80::1%eth0]:6", None, ("fe80::1%eth0", Some(6))),
        ] {
            assert_eq!(authority(text, given).unwrap(), expected, "{text}");
        }
        assert!(authority("h:2", Some(3)).is_err());
        assert!(authority("h:99999", None).is_err());
    }

    #[test]
    fn a_server_becomes_a_url() {
        for (host, port, expected) in [
            ("h", Some(8500), ["http://h:8500", ""]),
            ("https://h", Some(1), ["https://h:1", ""]),
            ("::1/cache/", None, ["http://[::1]", "/cache/"]),
        ] {
            assert_eq!(url(host, port).unwrap(), expected, "{host}");
        }
    }
}
