//! Which endpoints of a source are ours, by regular expressions.

use regex::{Regex, RegexBuilder};

use super::{Discovery, DiscoveryError, DiscoveryErrorKind, Endpoint, NextSnapshot};

/// A pattern that would compile to more than this is refused.
const LARGEST: usize = 1 << 20;

/// Regular expressions that an endpoint must match, with the rules of proxenos' command `select`.
///
/// A pattern matches from the start of the text, and need not reach its end, like Python's `re.match`.
/// The syntax is that of the [`regex`](https://docs.rs/regex/latest/regex/#syntax) crate: no
/// look-around and no back-references, and in return no pattern that takes for ever.
///
/// ```
/// use fluster::discovery::{Endpoint, Filter};
///
/// let filter = Filter::new().address(r"10\.0\.")?.tag("v[12]|shard-")?;
/// let mut endpoint = Endpoint::new("10.0.0.1", 6379);
/// endpoint.tags = vec!["v1".into(), "shard-a".into()];
/// assert!(filter.matches(&endpoint));
/// endpoint.tags.push("old".into());
/// assert!(!filter.matches(&endpoint), "every tag must match");
/// # Ok::<(), fluster::discovery::DiscoveryError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Filter {
    addresses: Vec<Regex>,
    names: Vec<Regex>,
    tags: Vec<Regex>,
}

impl Filter {
    /// Every endpoint matches. [Example](crate::guide::by_example#filters).
    pub fn new() -> Self {
        Self::default()
    }

    /// `host:port` must match. [Example](crate::guide::by_example#filters).
    ///
    /// # Errors
    ///
    /// [`DiscoveryErrorKind::Config`] when the pattern does not compile.
    pub fn address(mut self, pattern: &str) -> Result<Self, DiscoveryError> {
        self.addresses.push(compiled("address", pattern)?);
        Ok(self)
    }

    /// The name of the service must match; the endpoint's id, where the source knows no services. [Example](crate::guide::by_example#filters).
    ///
    /// # Errors
    ///
    /// As [`address`](Self::address).
    pub fn name(mut self, pattern: &str) -> Result<Self, DiscoveryError> {
        self.names.push(compiled("name", pattern)?);
        Ok(self)
    }

    /// Every tag must match. An endpoint without tags has none that does not. [Example](crate::guide::by_example#filters).
    ///
    /// # Errors
    ///
    /// As [`address`](Self::address).
    pub fn tag(mut self, pattern: &str) -> Result<Self, DiscoveryError> {
        self.tags.push(compiled("tag", pattern)?);
        Ok(self)
    }

    /// Whether the endpoint matches every pattern. [Example](crate::guide::by_example#filters).
    #[must_use]
    pub fn matches(&self, endpoint: &Endpoint) -> bool {
        let all = |patterns: &[Regex], text: &str| {
            // The leftmost match begins at 0 whenever any does.
            let from_start = |p: &Regex| p.find(text).is_some_and(|m| m.start() == 0);
            patterns.iter().all(from_start)
        };
        let name = endpoint.service.as_ref().unwrap_or(&endpoint.id);
        all(&self.addresses, &endpoint.address())
            && all(&self.names, name)
            && endpoint.tags.iter().all(|tag| all(&self.tags, tag))
    }
}

fn compiled(what: &str, pattern: &str) -> Result<Regex, DiscoveryError> {
    RegexBuilder::new(pattern)
        .size_limit(LARGEST)
        .build()
        .map_err(|e| {
            // The crate draws the pattern with a mark below it; its last line says what is wrong.
            let text = e.to_string();
            let why = text.lines().last().unwrap_or_default();
            let why = why.strip_prefix("error: ").unwrap_or(why);
            let source = format!("pattern \"{}\" for the {what}", pattern.escape_debug());
            DiscoveryError::new(DiscoveryErrorKind::Config, source, why)
        })
}

/// The endpoints of another source that a [`Filter`] lets through.
#[derive(Clone, Debug)]
pub struct Filtered<D> {
    source: D,
    filter: Filter,
}

impl<D: Discovery> Filtered<D> {
    /// What `filter` leaves of `source`. [Example](crate::guide::by_example#filters).
    pub fn new(source: D, filter: Filter) -> Self {
        Self { source, filter }
    }
}

impl<D: Discovery> Discovery for Filtered<D> {
    fn source(&self) -> String {
        self.source.source()
    }

    fn next(&mut self) -> NextSnapshot<'_> {
        let next = self.source.next();
        let filter = &self.filter;
        Box::pin(async move { Ok(next.await?.filter(|e| filter.matches(e))) })
    }

    fn refresh(&mut self) {
        self.source.refresh();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Endpoint {
        let mut e = Endpoint::new("10.0.0.1", 6379);
        e.id = "vm/redis-1".into();
        e.service = Some("redis".into());
        e.tags = vec!["v1".into(), "shard-a".into()];
        e
    }

    #[test]
    fn patterns_match_from_the_start_and_need_not_reach_the_end() {
        for (pattern, is) in [
            ("10", true),
            ("0", false),
            (r"10\.0\.0\.1:6379$", true),
            (r"10\.0\.0\.1$", false),
            ("x|10", true),
            ("x|0", false),
            ("(?x) 10 # the net", true),
            ("", true),
            ("(?m)^10", true),
        ] {
            let filter = Filter::new().address(pattern).unwrap();
            assert_eq!(filter.matches(&endpoint()), is, "{pattern}");
        }
        assert!(
            Filter::new().name("redis").unwrap().matches(&endpoint()),
            "the service"
        );
        assert!(!Filter::new().name("vm").unwrap().matches(&endpoint()));
        let mut nameless = endpoint();
        nameless.service = None;
        assert!(
            Filter::new().name("vm").unwrap().matches(&nameless),
            "the id"
        );
    }

    #[test]
    fn every_tag_must_match_every_pattern_for_tags() {
        let tags = |patterns: &[&str]| {
            let filter = Filter::new();
            patterns.iter().fold(filter, |f, p| f.tag(p).unwrap())
        };
        assert!(tags(&["v|shard"]).matches(&endpoint()));
        assert!(!tags(&["v"]).matches(&endpoint()));
        assert!(!tags(&["v|shard", "v"]).matches(&endpoint()));
        assert!(
            tags(&["nothing"]).matches(&Endpoint::new("h", 1)),
            "no tag, no mismatch"
        );
    }

    #[test]
    fn a_pattern_that_does_not_compile_is_named_in_one_line() {
        for pattern in [
            "(",
            "[z-a]",
            "a{999999999}",
            "\\",
            "(?<n",
            "*",
            "a\n(",
            "(?=x)",
        ] {
            let error = Filter::new().address(pattern).unwrap_err();
            assert_eq!(error.kind(), DiscoveryErrorKind::Config);
            let text = error.to_string();
            assert!(
                text.starts_with("pattern \"") && !text.contains('\n'),
                "{text}"
            );
            assert!(text.contains("address: "), "{text}");
        }
    }
}
