//! CLUSTER: the nodes and the rule, from a file or from arguments.

use std::ffi::OsString;
use std::ops::Range;
use std::path::Path;

use fluster::placement::{Member, Placement, Table};
use fluster::{ClusterBuilder, Config, Node};

use crate::args;
use crate::fault::Fault;
use crate::text::{excerpt, masked, shown};

/// A cluster as it was described.
#[derive(Debug)]
pub struct Cluster {
    /// The file, when it comes from one.
    file: Option<String>,
    /// All but the nodes.
    config: Config,
    pub nodes: Vec<Node>,
}

impl Cluster {
    /// What the arguments say.
    pub fn from_args(args: &args::Cluster) -> Result<Self, Fault> {
        let mut cluster = match (&args.config, &args.nodes[..]) {
            (Some(_), [_, ..]) => {
                return Err(Fault::usage(
                    "--config and --node exclude each other: put the node into the file",
                ));
            }
            (None, []) => {
                return Err(Fault::usage(
                    "which cluster? Give --config FILE, or --node NAME=URL for each node",
                ));
            }
            (Some(file), []) => Self::read(file)?,
            (None, nodes) => Self {
                file: None,
                config: Config::default(),
                nodes: from_texts("--node", nodes)?,
            },
        };
        if let Some(rule) = &args.placement {
            cluster.config.placement = Some(rule.parse()?);
        }
        if let Some(tags) = &args.hash_tags {
            cluster.config.hash_tags = Some(tags.parse()?);
        }
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
        })
    }

    /// The configuration in this file.
    pub fn read(file: &Path) -> Result<Self, Fault> {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file)
            .map_err(|e| Fault::usage(format!("{name}: the configuration cannot be read: {e}")))?;
        let mut config: Config = toml::from_str(&text).map_err(|e| {
            let why = e
                .message()
                .replace("expected u32", "expected a whole number from 1 up");
            Fault::usage(format!("{name}, {}: {why}", place(&text, e.span())))
        })?;
        let nodes = std::mem::take(&mut config.nodes).into_iter();
        let nodes = nodes.map(Node::try_from).collect::<Result<Vec<_>, _>>();
        let nodes = nodes.map_err(|e| Fault::from(e).about(&name))?;
        Ok(Self {
            file: Some(name),
            config,
            nodes,
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
        let builder = ClusterBuilder::try_from(self.config.clone())?;
        Ok(self
            .nodes
            .iter()
            .fold(builder, |builder, node| builder.node(node.clone())))
    }
}

/// The line, and the field when the line shows which, that the parser's complaint is about. Never the value: it
/// may be a URL.
fn place(text: &str, span: Option<Range<usize>>) -> String {
    let Some(before) = span.and_then(|span| text.get(..span.start)) else {
        return "somewhere in it".to_owned();
    };
    let line = format!("line {}", before.matches('\n').count() + 1);
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let field = before
        .trim_end()
        .strip_suffix('=')
        .map(str::trim_end)
        .and_then(|before| {
            let start = before.trim_end_matches(is_bare).len();
            Some(&before[start..]).filter(|field| !field.is_empty())
        });
    match field {
        Some(field) => format!("{line}, `{field}`"),
        None => line,
    }
}

fn from_texts(option: &str, texts: &[impl AsRef<str>]) -> Result<Vec<Node>, Fault> {
    let node = |text: &_| node(AsRef::as_ref(text)).map_err(|fault: Fault| fault.about(option));
    texts.iter().map(node).collect()
}

/// NAME=URL[,weight=N][,label.KEY=VALUE]...
fn node(text: &str) -> Result<Node, Fault> {
    let Some((name, rest)) = text.split_once('=') else {
        return Err(Fault::usage(format!(
            "\"{}\" is no NAME=URL: write a=redis://10.0.0.1",
            excerpt(masked(text).as_bytes())
        )));
    };
    if name.contains("://") && !rest.contains("://") {
        // A URL alone, cut at a `=` that may be inside its password.
        return Err(Fault::usage(
            "a node without a name: write NAME=URL, as in a=redis://10.0.0.1",
        ));
    }
    let about = |fault: Fault| fault.about(format_args!("node \"{}\"", shown(name)));
    // Neither is repeated: they may be the two halves of a password.
    let cut = || {
        about(Fault::usage(
            "what follows the URL is weight=N or label.KEY=VALUE, as in label.zone=a; a comma inside the URL is \
             written %2C",
        ))
    };
    let mut parts = rest.split(',');
    let url = parts.next().unwrap_or_default();
    let node = Node::new(url).map_err(|e| match parts.clone().any(|part| part.contains('@')) {
        true => cut(),
        false => about(e.into()),
    })?;
    let mut node = node.name(name);
    if name.is_empty() {
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_bad_node_is_refused_in_one_line_without_its_password() {
        for (text, needle) in [
            ("redis://:hunter2@h", "is no NAME=URL"),
            ("a=http://:hunter2@h", "unknown scheme"),
            ("a=redis://:hunter2,pw@h", "%2C"),
            ("a=redis://:hunter2,x=hunter2@h", "%2C"),
            ("a=redis://h,hunter2", "%2C"),
            ("a=redis://h,wieght=3", "label.KEY=VALUE"),
            ("a=redis://h,zone=a", "label.KEY=VALUE"),
            ("a=redis://h,label.=a", "label.KEY=VALUE"),
            ("a=redis://h,password=hunter2", "label.KEY=VALUE"),
            ("redis://:hunter2=x@h", "without a name"),
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
