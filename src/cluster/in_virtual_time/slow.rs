//! Nodes that answer, and much later than their peers.

use super::*;
use crate::cluster::options::SlowNodes;
use crate::connection::stats::NodeStats;

/// Sixty answers of each node, which took so long.
fn answers(world: &World, took: [(&str, u64); 3]) {
    for (name, millis) in took {
        let backend = world.backend(name);
        NodeStats::count(&backend.stats().dials);
        for _ in 0..60 {
            backend.stats().answered(ms(millis));
        }
    }
}

const SLOW: [(&str, u64); 3] = [("a", 90), ("b", 2), ("c", 3)];
const WELL: [(&str, u64); 3] = [("a", 2), ("b", 2), ("c", 3)];

#[tokio::test(start_paused = true)]
async fn a_slow_node_is_told_of_after_three_windows_of_five_seconds_and_keeps_its_keys() {
    let mut world = World::new(&["a", "b", "c"]);
    for window in 0..3 {
        world.until(s(5) * window + s(1)).await;
        assert_eq!(world.told(), [""; 0], "{window} windows");
        answers(&world, SLOW);
    }
    world.until(s(16)).await;
    assert_eq!(world.told(), ["slow a true"]);
    assert!(world.cluster.status().nodes[0].degraded);
    assert_eq!(world.is("a"), (NodeState::Up, 0));
    for window in 3..5 {
        answers(&world, WELL);
        world.until(s(5) * window + s(6)).await;
    }
    assert_eq!(world.told(), ["slow a false"]);
}

#[tokio::test(start_paused = true)]
async fn where_slow_nodes_are_suspects_each_slow_window_is_a_strike() {
    let probe = FakeProbe::default();
    let care = probe.care();
    let mut world = World::with(&["a", "b", "c"], probe, care, |builder| {
        builder.slow_nodes(SlowNodes::Suspect)
    });
    world.probe.script("a", [Answer::Refused]);
    for window in 0..5 {
        world.until(s(5) * window + s(1)).await;
        answers(&world, SLOW);
    }
    // Slow from the third window on: strikes at 15, 20 and 25 s.
    world.until(s(24)).await;
    assert_eq!(world.state("a"), NodeState::Up);
    world.until(s(26)).await;
    assert!(!world.is_live("a"), "{:?}", world.told());
    let told = world.told();
    assert_eq!(told[1], "down a timeout", "{told:?}");
}
