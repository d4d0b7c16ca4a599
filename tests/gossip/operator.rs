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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_keys_are_looked_up_in_few_questions_and_each_has_its_answer() {
    let key = Keyring::generate();
    let mut all: Vec<Gossip> = Vec::new();
    for n in 0..16 {
        let known: Vec<_> = all.iter().take(3).map(|g| g.whoami().address).collect();
        let gossip = builder(&key, n, &known).ring_id(format!("{n:02}-{}", "n".repeat(60)));
        all.push(gossip.start().await.unwrap());
    }
    all[0].wait_ready(16, LONG).await.unwrap();
    let at = all[0].whoami().address;
    let operator = Operator::new("test", Some(key));
    let keys: Vec<_> = (0..1_000)
        .map(|n| format!("user:{n}").into_bytes())
        .collect();
    let received = || all[0].status().packets.1;
    let before = received();
    for n in [1, 16] {
        // All candidates of a key fill an answer.
        let keys = &keys[..if n == 1 { 1_000 } else { 50 }];
        let found = operator.lookup(at, keys, n).await.unwrap();
        assert_eq!(found.len(), keys.len());
        for (key, names) in keys.iter().zip(&found) {
            let view = all[0].view();
            let expected = view.lookup_n(key, n);
            let expected: Vec<_> = expected.iter().map(|m| &*m.ring_id).collect();
            assert_eq!(*names, expected);
        }
    }
    // Numbers are those of the last second; the sixteen talk to each other beside it.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let questions = received() - before;
    assert!((100..700).contains(&questions), "{questions}");
    assert_eq!(operator.lookup(at, &[], 1).await.unwrap().len(), 0);
    let long = [b"k".to_vec(), vec![b'k'; 900], vec![b'k'; 2_000]];
    assert_eq!(operator.lookup(at, &long[..2], 1).await.unwrap().len(), 2);
    let error = operator.lookup(at, &long, 1).await.unwrap_err();
    assert_eq!(error.kind(), GossipErrorKind::Option, "{error}");
    assert!(error.to_string().contains("2000 bytes"), "{error}");
}
