//! The labels of a series.

use metrics::Label;

/// These, and that of the cluster where it has a name: who has one cluster in a process needs none.
pub(crate) fn labels<const N: usize>(
    cluster: &str,
    own: [(&'static str, String); N],
) -> Vec<Label> {
    let own = own.into_iter().map(|(name, value)| Label::new(name, value));
    let cluster = (!cluster.is_empty()).then(|| Label::new("cluster", cluster.to_owned()));
    own.chain(cluster).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_without_a_name_has_no_label() {
        let shown = |cluster| -> Vec<String> {
            let all = labels(cluster, [("node", "a".to_owned())]);
            all.iter()
                .map(|l| format!("{}={}", l.key(), l.value()))
                .collect()
        };
        assert_eq!(shown(""), ["node=a"]);
        assert_eq!(shown("billing"), ["node=a", "cluster=billing"]);
    }
}
