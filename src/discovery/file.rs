//! A file with the list of nodes.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::endpoint::MOST;
use super::{Discovery, DiscoveryError, DiscoveryErrorKind, Endpoint, NextSnapshot, Snapshot};
use crate::node::Node;

/// How often the file is read.
const POLL: Duration = Duration::from_millis(150);
/// A file that has just changed must read the same twice, this far apart: it may be half written.
const SETTLE: Duration = Duration::from_millis(30);
/// A file that is written all the time is an error after this many looks.
const LOOKS: usize = 20;
/// An unchanged list is confirmed this often.
const CONFIRM: Duration = Duration::from_secs(5);
/// Larger files hold something else.
const LARGEST: u64 = 4 << 20;
/// A file system that hangs.
const PATIENCE: Duration = Duration::from_secs(5);

type Parse = dyn Fn(&str) -> Result<Vec<Endpoint>, String> + Send + Sync;

/// A file that is read again and again, and parsed when its content is another one.
///
/// The path is opened afresh every 150 ms and the content compared, not the time of its change. So it
/// does not matter how the file is replaced: written in place, renamed over, or by the symbolic links
/// that Kubernetes swaps below a mounted ConfigMap. A file that is missing, unreadable or malformed is
/// an error, and the last list stays.
///
/// The format is one node per line: a URL, or `host:port`, then optionally `name=NAME`, `weight=N` and
/// labels as `KEY=VALUE`, separated by blanks. Empty lines and what follows a `#` at the beginning of a
/// word are ignored.
///
/// ```text
/// # the cache
/// redis://:secret@10.0.0.1:6379  name=a  weight=2  zone=west
/// 10.0.0.2:6379
/// ```
///
/// Any other format is a function away, here the configuration of the feature `serde`:
///
/// ```
/// # #[cfg(feature = "serde")] {
/// use fluster::discovery::{Endpoint, File};
/// use fluster::{Config, Node};
///
/// let source = File::new("/etc/app/nodes.toml").parse_with(|text| {
///     // Not the error itself: it quotes the line, and a line may hold a password.
///     let config: Config = toml::from_str(text).map_err(|e| e.message().to_owned())?;
///     let nodes = config.nodes.into_iter().map(Node::try_from);
///     nodes.map(|n| n.map(Endpoint::from).map_err(|e| e.to_string())).collect()
/// });
/// # }
/// ```
pub struct File {
    path: PathBuf,
    parse: Arc<Parse>,
    /// The content of the last answer.
    last: Option<(Vec<u8>, Snapshot)>,
    fresh: bool,
    confirm_at: tokio::time::Instant,
}

impl File {
    /// The list in this file. [Example](crate::guide::by_example#sources).
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            parse: Arc::new(lines),
            last: None,
            fresh: true,
            confirm_at: tokio::time::Instant::now(),
        }
    }

    /// The file has another format, which this reads. What it says is wrong is logged: without secrets,
    /// please. [Example](crate::guide::by_example#sources).
    #[must_use]
    pub fn parse_with(
        mut self,
        parse: impl Fn(&str) -> Result<Vec<Endpoint>, String> + Send + Sync + 'static,
    ) -> Self {
        self.parse = Arc::new(parse);
        self
    }

    async fn wait_for_change(&mut self) -> Result<Snapshot, DiscoveryError> {
        loop {
            if !self.fresh {
                tokio::time::sleep(POLL).await;
            }
            let content = self.read().await?;
            let now = tokio::time::Instant::now();
            if let Some((_, snapshot)) = self.last.as_ref().filter(|(last, _)| *last == content) {
                let snapshot = snapshot.clone();
                if self.fresh || now >= self.confirm_at {
                    self.answered();
                    return Ok(snapshot);
                }
                continue;
            }
            let content = self.settled(content).await?;
            let snapshot = self.parsed(&content)?;
            self.last = Some((content, snapshot.clone()));
            self.answered();
            return Ok(snapshot);
        }
    }

    fn answered(&mut self) {
        self.fresh = false;
        self.confirm_at = tokio::time::Instant::now() + CONFIRM;
    }

    async fn settled(&self, mut content: Vec<u8>) -> Result<Vec<u8>, DiscoveryError> {
        for _ in 0..LOOKS {
            tokio::time::sleep(SETTLE).await;
            let again = self.read().await?;
            if again == content {
                return Ok(content);
            }
            content = again;
        }
        let why = "it is written to without end: replace it as a whole, by a rename";
        Err(self.error(DiscoveryErrorKind::Unavailable, why))
    }

    async fn read(&self) -> Result<Vec<u8>, DiscoveryError> {
        let path = self.path.clone();
        // One that is abandoned holds its thread until the file system answers, but no longer.
        let reading = tokio::task::spawn_blocking(move || read(&path));
        match tokio::time::timeout(PATIENCE, reading).await {
            Err(_) => Err(self.error(
                DiscoveryErrorKind::TimedOut,
                format!("cannot be read within {PATIENCE:?}"),
            )),
            Ok(Err(e)) => Err(self.error(DiscoveryErrorKind::Unavailable, e)),
            Ok(Ok(Err(e))) if e.kind() == std::io::ErrorKind::NotFound => {
                let why = "there is no such file: create it, with one node per line";
                Err(self.error(DiscoveryErrorKind::Unreachable, why))
            }
            Ok(Ok(Err(e))) => Err(self.error(DiscoveryErrorKind::Unreachable, e)),
            Ok(Ok(Ok(content))) => Ok(content),
        }
    }

    fn parsed(&self, content: &[u8]) -> Result<Snapshot, DiscoveryError> {
        let invalid = |why: String| self.error(DiscoveryErrorKind::Invalid, why);
        let text = std::str::from_utf8(content).map_err(|_| invalid("it is not UTF-8".into()))?;
        let endpoints = (self.parse)(text).map_err(invalid)?;
        Ok(endpoints.into_iter().collect())
    }

    fn error(&self, kind: DiscoveryErrorKind, why: impl fmt::Display) -> DiscoveryError {
        DiscoveryError::new(kind, self.source(), why)
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let refuse = |why: String| Err(std::io::Error::other(why));
    // Opening a pipe would wait for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return refuse("it is no regular file".into());
    }
    let mut content = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(LARGEST + 1).read_to_end(&mut content)?;
    match content.len() as u64 > LARGEST {
        true => refuse(format!("it has more than {LARGEST} bytes")),
        false => Ok(content),
    }
}

fn lines(text: &str) -> Result<Vec<Endpoint>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let numbered = text.lines().zip(1..);
    let mut left = MOST;
    numbered
        .filter_map(|(line, n)| {
            let words = line.split_whitespace().take_while(|w| !w.starts_with('#'));
            let found =
                endpoint(words).and_then(|found| match left.checked_sub(found.is_some().into()) {
                    Some(rest) => {
                        left = rest;
                        Ok(found)
                    }
                    None => Err(format!("there are more than {MOST} nodes")),
                });
            found.map_err(|why| format!("line {n}: {why}")).transpose()
        })
        .collect()
}

fn endpoint<'a>(mut words: impl Iterator<Item = &'a str>) -> Result<Option<Endpoint>, String> {
    let Some(address) = words.next() else {
        return Ok(None);
    };
    let node = match address.contains("://") {
        true => Node::new(address),
        // With a password in it, the scheme makes the error that leaves it out.
        false => Node::new(format!("redis://{address}")),
    };
    let mut node = node.map_err(|e| e.to_string())?;
    for word in words {
        node = match word.split_once('=') {
            Some(("name", name)) if !name.is_empty() => node.name(name),
            Some(("weight", weight)) => {
                let weight = weight.parse().ok().filter(|w| *w > 0);
                node.weight(weight.ok_or("its weight is no whole number from 1 on")?)
            }
            Some((key, value)) if !key.is_empty() && key != "name" => node.label(key, value),
            _ => {
                return Err(
                    "behind the URL, only name=NAME, weight=N and KEY=VALUE are known".into(),
                );
            }
        };
    }
    Ok(Some(Endpoint::from(node)))
}

impl Discovery for File {
    fn source(&self) -> String {
        format!("file:{}", self.path.display())
    }

    fn next(&mut self) -> NextSnapshot<'_> {
        Box::pin(self.wait_for_change())
    }

    fn refresh(&mut self) {
        self.fresh = true;
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_url_and_what_belongs_to_it() {
        let text = "\u{feff}# all of them\n\nredis://:pw@h:7000/2 name=a weight=2 zone=west # why\r\n  [::1]:1\nh2\n";
        let found = lines(text).unwrap();
        assert_eq!(found.len(), 3);
        assert_eq!((&*found[0].id, found[0].weight), ("a", 2));
        assert_eq!(found[0].meta["zone"], "west");
        assert_eq!((&*found[1].id, &*found[2].id), ("[::1]:1", "h2:6379"));
        assert_eq!(lines("").unwrap(), []);
        assert_eq!(lines(&"a\n#\n".repeat(65_536)).unwrap().len(), 65_536);
        let why = lines(&"a\n".repeat(65_537)).unwrap_err();
        assert_eq!(why, "line 65537: there are more than 65536 nodes");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_list_or_an_error_of_one_line(text in "([ -~]{0,30}\\PC{0,5}\n?){0,6}") {
            if let Err(why) = lines(&text) {
                proptest::prop_assert!(why.starts_with("line ") && !why.contains('\n'), "{why}");
            }
        }
    }

    #[test]
    fn a_bad_line_is_named_and_its_password_is_not() {
        for (line, needle) in [
            ("redis://:hunter2@h:99999", "line 2"),
            (":hunter2@h:x", "does not parse"),
            ("redis://:hunter2@h weight=0", "weight"),
            ("redis://:hunter2@h weight=1.5", "weight"),
            ("redis://:hunter2@h weight=-1", "weight"),
            ("redis://:hunter2@h name=", "name=NAME"),
            ("redis://:hunter2@h, redis://b", "line 2"),
            ("{\"nodes\": []}", "line 2"),
            ("http://h", "unknown scheme"),
            ("\0\u{1}", "line 2"),
        ] {
            let error = lines(&format!("redis://ok\n{line}")).unwrap_err();
            assert!(error.contains(needle), "{line}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
