//! What each metric is and in which unit it counts, told to the recorder, so that an exporter can say it beside the figures.

mod instances;
mod near;
mod table;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

use self::instances::INSTANCES;
use self::near::NEAR;
use self::table::METRICS;

/// Its kind, its name, its unit where it has one, and what it is.
type Metric = (Kind, &'static str, Option<Unit>, &'static str);

fn all() -> impl Iterator<Item = &'static Metric> {
    METRICS.iter().chain(INSTANCES).chain(NEAR)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Tells the recorder that is installed. Once for each cluster and instance: who made the first one may have had none.
pub(crate) fn describe() {
    for &(kind, name, unit, text) in all() {
        match (kind, unit) {
            (Kind::Counter, Some(unit)) => describe_counter!(name, unit, text),
            (Kind::Counter, None) => describe_counter!(name, text),
            (Kind::Gauge, Some(unit)) => describe_gauge!(name, unit, text),
            (Kind::Gauge, None) => describe_gauge!(name, text),
            (Kind::Histogram, Some(unit)) => describe_histogram!(name, unit, text),
            (Kind::Histogram, None) => describe_histogram!(name, text),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The names in the first columns of the guide's tables.
    fn documented() -> BTreeSet<&'static str> {
        let chapters = [
            include_str!("guide/observability.md"),
            include_str!("guide/discovery.md"),
        ];
        let rows = chapters.into_iter().flat_map(str::lines);
        let cells = rows.filter_map(|row| row.strip_prefix("| `")?.split(" | ").next());
        let words = cells.flat_map(|cell| cell.split(['`', ',', ' ']));
        words
            .filter_map(|word| word.strip_prefix("fluster_"))
            .collect()
    }

    #[test]
    fn every_documented_metric_is_described_and_no_other() {
        let described: BTreeSet<&str> = all()
            .filter_map(|(_, name, ..)| name.strip_prefix("fluster_"))
            .collect();
        assert_eq!(described.len(), all().count(), "each once");
        assert_eq!(described, documented());
    }

    #[test]
    fn kinds_and_units_are_those_of_the_names() {
        for (kind, name, unit, text) in all() {
            assert_eq!(*kind == Kind::Counter, name.ends_with("_total"), "{name}");
            assert_eq!(
                *unit == Some(Unit::Seconds),
                name.ends_with("_seconds"),
                "{name}"
            );
            assert_eq!(
                *unit == Some(Unit::Bytes),
                name.contains("_bytes_"),
                "{name}"
            );
            assert!(text.len() > 10 && !text.ends_with('.'), "{name}: {text}");
        }
    }
}
