//! CLUSTER: the nodes and the rule, from a file or from arguments.

use std::ffi::OsString;
use std::path::Path;

use fluster::placement::{Member, Placement, Table};
use fluster::{
    ClusterBuilder, Config, Credentials, CredentialsFuture, CredentialsProvider, Node, NodeId,
};

use crate::args;
use crate::configured;
use crate::fault::Fault;
use crate::text::{excerpt, masked, shown};

/// A cluster as it was described.
pub struct Cluster {
    /// The file, when it comes from one.
    file: Option<String>,
    /// All but the nodes.
    config: Config,
    pub nodes: Vec<Node>,
    /// Of all nodes, in place of those in their URLs.
    password: Option<String>,
}

impl Cluster {
    /// What the arguments say.
    pub fn from_args(args: &args::Cluster) -> Result<Self, Fault> {
        Self::from_all(args, &[])
    }

    /// What the arguments say, with URLs that stand there by themselves.
    pub fn from_all(args: &args::Cluster, urls: &[String]) -> Result<Self, Fault> {
        let has_nodes = !args.nodes.is_empty() || !urls.is_empty();
        let named = std::env::var_os("FLUSTER_CONFIG").filter(|file| !file.is_empty());
        // A node on the command line is meant; the variable is for those who write none.
        let file = match (&args.config, named) {
            (Some(file), _) => Some(file.clone()),
            (None, Some(file)) if !has_nodes => Some(file.into()),
            _ => None,
        };
        let mut cluster = match file {
            Some(_) if has_nodes => {
                return Err(Fault::usage(
                    "--config and --node exclude each other: put the node into the file",
                ));
            }
            Some(file) => Self::read_part(&file, args.section.as_deref())?,
            None if args.section.is_some() => {
                return Err(Fault::usage(
                    "--section is a part of a file: give --config FILE",
                ));
            }
            None if !has_nodes => {
                return Err(Fault::usage(
                    "which cluster? Give --config FILE, or --node NAME=URL for each node",
                ));
            }
            None => {
                let mut nodes = from_texts("--node", &args.nodes)?;
                nodes.extend(from_texts("URL", urls)?);
                Self {
                    file: None,
                    config: Config::default(),
                    nodes,
                    password: None,
                }
            }
        };
        if let Some(rule) = &args.placement {
            cluster.config.placement = Some(rule.parse()?);
        }
        if let Some(tags) = &args.hash_tags {
            cluster.config.hash_tags = Some(tags.parse()?);
        }
        cluster.password = match &args.password_file {
            Some(file) => Some(configured::secret("--password-file", file)?),
            None => std::env::var("FLUSTER_PASSWORD")
                .ok()
                .filter(|word| !word.is_empty()),
        };
        Ok(cluster)
    }

    /// CLUSTER2: a file, or nodes under the rule of `self`.
    pub fn other(&self, to: &[OsString]) -> Result<Self, Fault> {
        let is_node = |text: &OsString| {
            text.to_str()
                .is_some_and(|text| text.contains("=") && text.contains("://"))
        };
        if let [file] = to
            && !is_node(file)
        {
            return Self::read(Path::new(file));
        }
        if let Some(file) = to.iter().find(|text| !is_node(text)) {
            return Err(Fault::usage(format!(
                "--to \"{}\" is one of several and no NAME=URL: give one file, or a node in each --to",
                shown(file.as_encoded_bytes())
            )));
        }
        let texts: Vec<&str> = to.iter().filter_map(|text| text.to_str()).collect();
        let mut config = Config::default();
        config.placement.clone_from(&self.config.placement);
        config.hash_tags = self.config.hash_tags;
        Ok(Self {
            file: None,
            config,
            nodes: from_texts("--to", &texts)?,
            password: None,
        })
    }

    /// The configuration in this file.
    pub fn read(file: &Path) -> Result<Self, Fault> {
        Self::read_part(file, None)
    }

    fn read_part(file: &Path, section: Option<&str>) -> Result<Self, Fault> {
        let (name, mut config) = configured::read(file, section)?;
        let nodes = std::mem::take(&mut config.nodes).into_iter();
        let nodes = nodes.map(Node::try_from).collect::<Result<Vec<_>, _>>();
        let nodes = nodes.map_err(|e| Fault::from(e).about(&name))?;
        Ok(Self {
            file: Some(name),
            config,
            nodes,
            password: None,
        })
    }

    /// The rule, with the hash tags that were asked for.
    pub fn placement(&self) -> Placement {
        let placement = self.config.placement.clone().unwrap_or_default();
        match self.config.hash_tags {
            Some(tags) => placement.hash_tags(tags),
            None => placement,
        }
    }

    /// The rule for people: a secret in it is not shown.
    pub fn rule(&self) -> String {
        masked(&self.placement().to_string())
    }

    pub fn members(&self) -> impl Iterator<Item = Member<'_>> {
        self.nodes.iter().map(Member::from)
    }

    /// The rule applied to the nodes.
    pub fn table(&self) -> Result<Table, Fault> {
        let about = |fault: Fault| match &self.file {
            Some(file) => fault.about(file),
            None => fault,
        };
        let members: Vec<_> = self.members().collect();
        if let Some(nameless) = members.iter().position(|member| member.name.is_empty()) {
            return Err(about(Fault::usage(format!(
                "the name of node {} is empty: give it one, or leave `name` out for host:port",
                nameless + 1
            ))));
        }
        self.placement()
            .table(&members)
            .map_err(|e| about(e.into()))
    }

    /// What connects to it.
    pub fn builder(&self) -> Result<ClusterBuilder, Fault> {
        // For its better words, and its file's name.
        self.table()?;
        let mut builder = ClusterBuilder::try_from(self.config.clone())?;
        if let Some(password) = &self.password {
            builder = builder.credentials(Password(Credentials::password(password)));
        }
        Ok(self
            .nodes
            .iter()
            .fold(builder, |builder, node| builder.node(node.clone())))
    }
}

/// One password for all nodes.
struct Password(Credentials);

impl CredentialsProvider for Password {
    fn credentials<'a>(&'a self, _: &'a NodeId) -> CredentialsFuture<'a> {
        Box::pin(async { Ok(self.0.clone()) })
    }
}

fn from_texts(option: &str, texts: &[impl AsRef<str>]) -> Result<Vec<Node>, Fault> {
    let node = |text: &_| node(AsRef::as_ref(text)).map_err(|fault: Fault| fault.about(option));
    texts.iter().map(node).collect()
}

/// [NAME=]URL[,weight=N][,label.KEY=VALUE]...
fn node(text: &str) -> Result<Node, Fault> {
    // A `=` may as well stand in the password of a URL alone, or in what follows it.
    let named = text
        .split_once('=')
        .filter(|(name, rest)| !name.contains("://") || rest.contains("://"));
    let (name, rest) = match named {
        Some((name, rest)) => (Some(name), rest),
        None if text.contains("://") => (None, text),
        None => {
            // What stands before a `@` is a user and a password, scheme or not.
            let shown = text
                .rsplit_once('@')
                .map_or_else(|| masked(text), |(_, host)| format!("<redacted>@{host}"));
            return Err(Fault::usage(format!(
                "\"{}\" is neither NAME=URL nor a URL: write a=redis://10.0.0.1",
                excerpt(shown.as_bytes())
            )));
        }
    };
    let about = |fault: Fault| match name {
        Some(name) => fault.about(format_args!("node \"{}\"", shown(name))),
        None => fault.about("a node without a name"),
    };
    // Neither is repeated: they may be the two halves of a password.
    let cut = || {
        about(Fault::usage(
            "what follows the URL is weight=N or label.KEY=VALUE, as in label.zone=a; a comma inside the URL is \
             written %2C",
        ))
    };
    let (url, options) = url_and_options(rest);
    let parts = options.split(',').filter(|_| !options.is_empty());
    let node = Node::new(url).map_err(|e| match parts.clone().any(|part| part.contains('@')) {
        true => cut(),
        false => about(e.into()),
    })?;
    let mut node = match name {
        Some(name) => node.name(name),
        None => node,
    };
    if name == Some("") {
        return Err(Fault::usage(
            "a node's name is empty: write NAME=URL, as in a=redis://10.0.0.1",
        ));
    }
    let mut seen = Vec::new();
    for part in parts {
        // A mistyped option must not become something else, and may be a part of a password.
        let (option, value) = part.split_once('=').ok_or_else(cut)?;
        let label = option.strip_prefix("label.").filter(|key| !key.is_empty());
        if option != "weight" && label.is_none() {
            return Err(cut());
        }
        if seen.contains(&option) {
            return Err(about(Fault::usage(format!(
                "`{}` is given twice",
                excerpt(option.as_bytes())
            ))));
        }
        seen.push(option);
        node = match label {
            Some(key) => node.label(key, value),
            None => node.weight(value.parse().map_err(|_| {
                about(Fault::usage(format!(
                    "weight={} is not a whole number from 1 to {}",
                    excerpt(masked(value).as_bytes()),
                    u32::MAX
                )))
            })?),
        };
    }
    Ok(node)
}

/// The URL, which has commas of its own between sentinels, and what follows it.
fn url_and_options(text: &str) -> (&str, &str) {
    let is_sentinels = text
        .split("://")
        .next()
        .is_some_and(|scheme| scheme.ends_with("+sentinel"));
    let end = match is_sentinels {
        true => [",weight=", ",label."]
            .iter()
            .filter_map(|option| text.find(option))
            .min(),
        false => text.find(','),
    };
    end.map_or((text, ""), |at| (&text[..at], &text[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_between_sentinels_are_the_urls_own() {
        for (text, name, weight) in [
            ("redis+sentinel://h1,h2,h3/m", "m", 1),
            ("a=redis+sentinel://h1,h2/m/2,weight=3,label.zone=x", "a", 3),
        ] {
            let read = node(text).unwrap();
            let member = Member::from(&read);
            assert_eq!((member.name, member.weight), (name, weight));
        }
        let why = node("redis+sentinel://h1,h2,zone=x/m").unwrap_err();
        assert!(matches!(why, Fault::Said(..)));
    }

    #[test]
    fn a_node_is_read_with_weight_and_labels() {
        let read =
            node("redis://h/0=redis://:pw@10.0.0.1:7000,weight=3,label.identity=x=y").unwrap();
        let member = Member::from(&read);
        assert_eq!((member.name, member.weight), ("redis://h/0", 3));
        assert_eq!(
            (member.address, member.identity),
            (Some(("10.0.0.1", 7000)), Some("x=y"))
        );
    }

    #[test]
    fn a_url_alone_is_a_node_under_the_name_of_its_address() {
        for (text, name, weight) in [
            ("redis://:pw@10.0.0.1", "10.0.0.1:6379", 1),
            ("redis://:p=w@10.0.0.1:7000,weight=2", "10.0.0.1:7000", 2),
        ] {
            let read = node(text).unwrap();
            let member = Member::from(&read);
            assert_eq!((member.name, member.weight), (name, weight));
        }
    }

    #[test]
    fn a_bad_node_is_refused_in_one_line_without_its_password() {
        for (text, needle) in [
            ("10.0.0.1", "neither NAME=URL nor a URL"),
            (":hunter2@10.0.0.1", "\"<redacted>@10.0.0.1\" is neither"),
            ("http://:hunter2@h", "unknown scheme"),
            ("a=http://:hunter2@h", "unknown scheme"),
            ("a=redis://:hunter2,pw@h", "%2C"),
            ("a=redis://:hunter2,x=hunter2@h", "%2C"),
            ("a=redis://h,hunter2", "%2C"),
            ("a=redis://h,wieght=3", "label.KEY=VALUE"),
            ("a=redis://h,zone=a", "label.KEY=VALUE"),
            ("a=redis://h,label.=a", "label.KEY=VALUE"),
            ("a=redis://h,password=hunter2", "label.KEY=VALUE"),
            ("redis://:hunter2=x@h,zone=a", "without a name"),
            ("=redis://h", "name is empty"),
            ("a=redis://h,weight=-1", "weight=-1 is not a whole number"),
            ("a=redis://h,weight=1.5", "weight=1.5 is not a whole number"),
            ("a=redis://h,weight=1,weight=2", "`weight` is given twice"),
        ] {
            let Fault::Said(code, why) = node(text).unwrap_err() else {
                panic!("{text}")
            };
            assert_eq!(code, crate::fault::USAGE);
            assert!(why.contains(needle), "{text}: {why}");
            assert!(!why.contains("hunter2"), "{text}: {why}");
        }
    }
}
