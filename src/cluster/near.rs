//! The metrics of near caches, once a second.

use crate::cluster::engine::Engine;
use crate::connection::labels::labels;
use crate::near::Count;

/// What is read of them, and what was kept, as metric labels.
const READS: [(Count, &str); 6] = [
    (Count::Hit, "hit"),
    (Count::Absent, "absent"),
    (Count::Epoch, "epoch"),
    (Count::Silence, "silence"),
    (Count::Expired, "expired"),
    (Count::Off, "off"),
];
const FILLS: [(Count, &str); 4] = [
    (Count::Stored, "stored"),
    (Count::Overtaken, "overtaken"),
    (Count::Unfit, "unfit"),
    (Count::Lost, "lost"),
];

/// Hands what was counted to the metrics: a recorder that was told of each hit would cost more than the hit.
pub(super) fn report(engine: &Engine) {
    for store in engine.invalidations().near().all() {
        let cache = store.prefix().escape_ascii().to_string();
        let named = &engine.limits().cluster;
        let of = || labels(named, [("cache", cache.clone())]);
        for (counts, name) in [
            (READS.as_slice(), "fluster_near_reads_total"),
            (FILLS.as_slice(), "fluster_near_fills_total"),
        ] {
            for (count, result) in counts {
                let own = [("cache", cache.clone()), ("result", (*result).to_owned())];
                let labels = labels(named, own);
                metrics::counter!(name, labels).increment(store.counts().take(*count));
            }
        }
        let (entries, bytes) = store.size();
        metrics::gauge!("fluster_near_entries", of()).set(entries as f64);
        metrics::gauge!("fluster_near_bytes_kept", of()).set(bytes as f64);
    }
}
