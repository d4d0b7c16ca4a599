//! Sessions on two servers each, so that the death of one logs nobody out.
//!
//! ```text
//! export REDIS_URLS=redis://10.0.0.1,redis://10.0.0.2,redis://10.0.0.3
//! cargo run --example sessions -- login ann        # prints a token
//! cargo run --example sessions -- show TOKEN
//! cargo run --example sessions -- logout TOKEN
//! ```

use std::time::Duration;

use fluster::cache::Cache;
use fluster::replication::Quorum;
use fluster::{FlusterCluster, Node};

const HALF_AN_HOUR: Duration = Duration::from_secs(1800);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let urls = std::env::var("REDIS_URLS").unwrap_or("redis://127.0.0.1:6379".into());
    let mut nodes = Vec::new();
    for (number, url) in urls.split(',').enumerate() {
        // A name of its own: when the server gets another address, its keys stay where they are.
        nodes.push(Node::new(url)?.name(format!("sessions-{number}")));
    }
    let copies = nodes.len().min(2);
    let cluster = FlusterCluster::builder().nodes(nodes).build()?;
    let sessions: Cache<String> = cluster
        .cache("session:")
        .replicas(copies)
        // A login counts when both servers have it.
        .quorum(Quorum::AtLeast(copies))
        // A stand-in keeps it as long as the owner would.
        .stand_in_ttl(None)
        .raw()?;

    let words: Vec<String> = std::env::args().skip(1).collect();
    match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["login", user] => {
            let token = token()?;
            let user = (*user).to_owned();
            sessions.set(&token, &user, HALF_AN_HOUR).await?;
            println!("{token}");
        }
        // An error is not "logged out": no server of the session could be asked.
        ["show", token] => match sessions.get(token).await? {
            Some(user) => println!("{user}"),
            None => println!("nobody"),
        },
        ["logout", token] => {
            let deletion = sessions.delete(token).await;
            for (node, why) in deletion.unreached() {
                eprintln!("{node} may still have it: {why}");
            }
        }
        _ => return Err("usage: sessions login USER | show TOKEN | logout TOKEN".into()),
    }
    Ok(())
}

/// What nobody can guess.
fn token() -> std::io::Result<String> {
    use std::io::Read;
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
