//! `fluster select`: proxenos's command of that name, which takes every rule.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use fluster::Node;
use fluster::discovery::{self, Endpoint, Follow, Snapshot};
use fluster::placement::{Member, Placement, Table};

use crate::args::Select;
use crate::fault::{Fault, NOTHING_FOUND, refused};
use crate::out::Out;
use crate::proxenos;
use crate::resolved::addresses;
use crate::sources::source;
use crate::text::hex;

/// How long the source may take.
const PATIENCE: Duration = Duration::from_secs(5);

pub fn run(args: &Select, out: &mut Out) -> Result<ExitCode, Fault> {
    let rule = rule(args)?;
    let mut source = source(args)?;
    let key = args.key.as_encoded_bytes();
    let chosen = crate::runtime()?.block_on(async {
        let found = discovery::once(&mut source, PATIENCE)
            .await
            .map_err(|e| refused(&e))?;
        match rule.to_string().split(':').next() {
            Some("proxenos") => by_address(&rule, &found, key).await,
            _ => by_name(&rule, &found, key),
        }
    })?;
    let (address, endpoint) =
        chosen.ok_or_else(|| Fault::new(NOTHING_FOUND, "nothing was found"))?;
    match args.json {
        true => writeln!(
            out,
            "{}",
            serde_json::json!({
                "key_hex": hex(key),
                "address": address,
                "id": endpoint.id,
                "service": endpoint.service,
                "host": endpoint.host,
                "port": endpoint.port,
                "tags": endpoint.tags,
                "meta": endpoint.meta,
            })
        )?,
        false => writeln!(out, "{address}")?,
    }
    Ok(ExitCode::SUCCESS)
}

/// --placement, or proxenos's by -H and its variables.
fn rule(args: &Select) -> Result<Placement, Fault> {
    let rule = match &args.placement {
        Some(rule) => rule.parse()?,
        None => {
            let method = args.method.as_deref();
            Placement::proxenos(proxenos::rule(method, |name| std::env::var_os(name))?)
        }
    };
    Ok(match &args.hash_tags {
        Some(tags) => rule.hash_tags(tags.parse()?),
        None => rule,
    })
}

/// By IP addresses, as proxenos does; names of hosts are resolved.
async fn by_address(
    rule: &Placement,
    found: &Snapshot,
    key: &[u8],
) -> Result<Option<(String, Endpoint)>, Fault> {
    let found = addresses(found).await?;
    let names: Vec<String> = found.keys().map(ToString::to_string).collect();
    let hosts: Vec<String> = found
        .keys()
        .map(|address| address.ip().to_string())
        .collect();
    let members = found.keys().zip(&names).zip(&hosts);
    let members: Vec<Member<'_>> = members
        .map(|((address, name), host)| Member::new(name).address(host, address.port()))
        .collect();
    let owner = rule.table(&members)?.owner(key);
    let entry: Option<(&SocketAddr, &Endpoint)> = found.iter().nth(owner);
    Ok(entry.map(|(address, endpoint)| (address.to_string(), endpoint.clone())))
}

/// By the nodes that a cluster which follows the source has.
fn by_name(
    rule: &Placement,
    found: &Snapshot,
    key: &[u8],
) -> Result<Option<(String, Endpoint)>, Fault> {
    let nodes: Vec<Node> = Follow::new().nodes(found);
    let members: Vec<Member<'_>> = nodes.iter().map(Member::from).collect();
    if members.is_empty() {
        return Ok(None);
    }
    let table: Table = rule.table(&members)?;
    let name = table.name(table.owner(key));
    let mut endpoints = found.endpoints().iter();
    let endpoint = endpoints.find(|endpoint| Some(endpoint.id.as_str()) == name);
    Ok(endpoint.map(|endpoint| (endpoint.address(), endpoint.clone())))
}
