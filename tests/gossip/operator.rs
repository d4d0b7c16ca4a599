//! Questions from outside.

use fluster::gossip::{Act, GossipErrorKind, Operator};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_with_the_key_sees_and_acts_and_others_get_no_answer() {
    let key = Keyring::generate();
    let all = cluster(&key, 3).await;
    let at = all[0].whoami().address;
    let operator = Operator::new("test", Some(key.clone()));
    let status = operator.status(at).await.unwrap();
    assert_eq!(
        (
            status.members["alive"],
            status.ring,
            status.me.ring_id.as_str()
        ),
        (3, 3, "i0")
    );
    assert_eq!(
        status.fingerprint,
        all[0].view().fingerprint().map(|f| f.to_string())
    );
    let members = operator.members(at).await.unwrap();
    assert_eq!(
        members
            .iter()
            .map(|m| m.ring_id.as_str())
            .collect::<Vec<_>>(),
        ["i0", "i1", "i2"]
    );
    let names = operator
        .lookup(at, &[b"k".to_vec(), b"l".to_vec()], 2)
        .await
        .unwrap();
    assert_eq!(names[0][0], *all[1].lookup("k").unwrap().ring_id);
    assert_eq!((names.len(), names[1].len()), (2, 2));

    assert!(operator.act(at, Act::Drain(true)).await.unwrap());
    assert!(
        !operator.act(at, Act::Drain(true)).await.unwrap(),
        "it does already"
    );
    until("it drains", || all[1].view().ring().len() == 2).await;
    assert!(operator.act(at, Act::Drain(false)).await.unwrap());
    assert!(operator.act(at, Act::Heal).await.unwrap());
    let nobody = "127.0.0.1:9".parse().unwrap();
    assert!(!operator.act(at, Act::Forget(nobody)).await.unwrap());
    assert!(operator.act(at, Act::Leave).await.unwrap());
    assert!(
        !operator.act(at, Act::Drain(true)).await.unwrap(),
        "who leaves owns nothing any more"
    );
    until("it leaves", || {
        all[1]
            .view()
            .at(at)
            .is_some_and(|m| m.state == MemberState::Left)
    })
    .await;
    assert!(
        operator
            .act(all[1].whoami().address, Act::Forget(at))
            .await
            .unwrap()
    );
    until("it is forgotten by all", || {
        all[1..].iter().all(|g| g.view().at(at).is_none())
    })
    .await;

    let there = all[1].whoami().address;
    let stranger = Operator::new("test", Some(Keyring::generate()));
    for (operator, at) in [
        (&stranger, there),
        (&Operator::new("other", Some(key)), there),
        (&operator, nobody),
    ] {
        let error = operator.status(at).await.unwrap_err();
        assert_eq!(error.kind(), GossipErrorKind::Timeout, "{error}");
    }
    assert!(all[1].status().refused >= 3);
}
