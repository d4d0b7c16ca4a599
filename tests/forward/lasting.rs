//! What lasts between two instances is said once, by name.

use super::*;
use crate::support::Warnings;

/// One thread, so that what the instances say meets the same listener.
fn heard(run: impl Future<Output = ()>) -> Warnings {
    let warnings = Warnings::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    warnings.during(|| runtime.block_on(run));
    warnings
}

#[test]
fn instances_that_go_on_to_disagree_and_one_that_never_answers_are_named_once() {
    let warnings = heard(async {
        let (a, b) = (place("a"), place("b"));
        let list = [a.entry(), b.entry(), nowhere("c")];
        let log = Log::default();
        let a = start(a, &list, |builder| builder, echo("a", &log));
        let b = start(b, &list, |builder| builder, echo("b", &log));
        // b says that a owns everything.
        b.peers.replace([list[0].clone()]).unwrap();
        let of = |owner| format!("/x/{}", key_of(owner, &a.peers));
        let (to_b, to_c) = (of("b"), of("c"));
        let began = Instant::now();
        // It lasts after ten seconds; and then it goes on to.
        while began.elapsed() < Duration::from_secs(16) {
            let (disputed, silent) = tokio::join!(
                ask(&a.base, "POST", &to_b, &[], b""),
                ask(&a.base, "POST", &to_c, &[], b""),
            );
            assert_eq!(disputed.instance(), "a", "b names it: {disputed:?}");
            assert_eq!(silent.reason(), "unreachable");
        }
    });
    let of = |words: &[&str]| warnings.with(words);
    let diverged = of(&["peer=a", "sends what we do not own", "cluster=test"]);
    assert_eq!(diverged.len(), 1, "{:?}", of(&[]));
    let silent = of(&["peer=c", "are not answered", "refused"]);
    assert_eq!(silent.len(), 1, "{:?}", of(&[]));
    assert_eq!(of(&["peer="]).len(), 2, "and nobody else: {:?}", of(&[]));
}
