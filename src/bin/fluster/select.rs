//! `fluster select`: proxenos' command of that name.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use fluster::BuildError;
use fluster::discovery;
use fluster::placement::{Member, Placement, Proxenos, ProxenosHash};

use crate::args::Select;
use crate::fault::{Fault, NOTHING_FOUND, refused};
use crate::out::Out;
use crate::resolved::addresses;
use crate::sources::source;
use crate::text::hex;

/// How long the source may take.
const PATIENCE: Duration = Duration::from_secs(5);

pub fn run(args: &Select, out: &mut Out) -> Result<ExitCode, Fault> {
    let method: ProxenosHash = args.method.to_uppercase().parse().map_err(|e| match e {
        BuildError::Option { why, .. } => Fault::usage(why).about("-H"),
        e => Fault::from(e),
    })?;
    let mut source = source(args)?;
    let found = crate::runtime()?.block_on(async {
        let found = discovery::once(&mut source, PATIENCE)
            .await
            .map_err(|e| refused(&e))?;
        addresses(&found).await
    })?;
    let names: Vec<String> = found.keys().map(ToString::to_string).collect();
    let hosts: Vec<String> = found
        .keys()
        .map(|address| address.ip().to_string())
        .collect();
    let members = found.keys().zip(&names).zip(&hosts);
    let members: Vec<Member<'_>> = members
        .map(|((address, name), host)| Member::new(name).address(host, address.port()))
        .collect();
    let table = Placement::proxenos(Proxenos::new(method)).table(&members)?;
    let key = args.key.as_encoded_bytes();
    let owner = table.owner(key);
    let endpoint = found.values().nth(owner);
    let endpoint = endpoint.ok_or_else(|| Fault::new(NOTHING_FOUND, "nothing was found"))?;
    match args.json {
        true => writeln!(
            out,
            "{}",
            serde_json::json!({
                "key_hex": hex(key),
                "address": names[owner],
                "id": endpoint.id,
                "service": endpoint.service,
                "host": endpoint.host,
                "port": endpoint.port,
                "tags": endpoint.tags,
                "meta": endpoint.meta,
            })
        )?,
        false => writeln!(out, "{}", names[owner])?,
    }
    Ok(ExitCode::SUCCESS)
}
