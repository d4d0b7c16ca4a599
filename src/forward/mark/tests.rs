use super::*;
use proptest::prelude::*;

const NOW: u64 = 1_700_000_000_000;

fn mark() -> Mark<'static> {
    Mark {
        from: "limiter-0".into(),
        to: "a;b-%\u{f6}".into(),
        at: NOW,
        nonce: [7; NONCE],
        ring: Some(0x0102_0304_0506_0708),
        stands_in_for: None,
    }
}

fn keyring(byte: u8) -> Keyring {
    Keyring::from_bytes([byte; 32])
}

const REQUEST: Request<'_> = Request {
    scope: "limiter",
    method: "POST",
    target: "/limit/1?x",
    keys: &[b"1"],
};

#[test]
fn a_mark_is_what_was_sealed() {
    for stands_in_for in [None, Some("-".into()), Some("".into())] {
        for ring in [None, Some(0)] {
            for keyring in [None, Some(keyring(1))] {
                let mark = Mark {
                    ring,
                    stands_in_for: stands_in_for.clone(),
                    ..mark()
                };
                let text = mark.seal(REQUEST, keyring.as_ref());
                assert!(text.is_ascii() && !text.contains(' '), "{text}");
                let opened = Mark::open(text.as_bytes(), &mark.to, REQUEST, keyring.as_ref(), NOW);
                assert_eq!(opened.as_ref(), Ok(&mark));
            }
        }
    }
    let rotated = keyring(2).also(keyring(1));
    let text = mark().seal(REQUEST, Some(&keyring(1)));
    assert!(Mark::open(text.as_bytes(), &mark().to, REQUEST, Some(&rotated), NOW).is_ok());
}

#[test]
fn a_mark_is_good_for_its_instance_time_and_request_alone() {
    let ours = keyring(1);
    let text = mark().seal(REQUEST, Some(&ours));
    let open = |to: &str, request, keyring: Option<&Keyring>, wall| {
        let opened = Mark::open(text.as_bytes(), to, request, keyring, wall);
        opened.map(|_| ()).map_err(|no| no.why)
    };
    let me = mark().to;
    assert_eq!(
        open("limiter-0", REQUEST, Some(&ours), NOW),
        Err(Invalid::Foreign)
    );
    for (wall, is_valid) in [
        (NOW - TOLERANCE, true),
        (NOW + TOLERANCE, true),
        (NOW - TOLERANCE - 1, false),
        (NOW + TOLERANCE + 1, false),
        (0, false),
        (u64::MAX, false),
    ] {
        let expected = if is_valid {
            Ok(())
        } else {
            Err(Invalid::Expired)
        };
        assert_eq!(open(&me, REQUEST, Some(&ours), wall), expected);
    }
    for request in [
        Request {
            scope: "other",
            ..REQUEST
        },
        Request {
            method: "GET",
            ..REQUEST
        },
        Request {
            target: "/limit/2?x",
            ..REQUEST
        },
        Request {
            keys: &[b"2"],
            ..REQUEST
        },
        Request {
            keys: &[],
            ..REQUEST
        },
        Request {
            keys: &[b"1", b""],
            ..REQUEST
        },
    ] {
        assert_eq!(
            open(&me, request, Some(&ours), NOW),
            Err(Invalid::Forged),
            "{request:?}"
        );
    }
    assert_eq!(
        open(&me, REQUEST, Some(&keyring(2)), NOW),
        Err(Invalid::Forged)
    );
    assert_eq!(
        open(&me, REQUEST, None, NOW),
        Err(Invalid::Forged),
        "plaintext"
    );
    let plain = mark().seal(REQUEST, None);
    assert_eq!(
        Mark::open(plain.as_bytes(), &me, REQUEST, Some(&ours), NOW).map_err(|no| no.why),
        Err(Invalid::Forged)
    );
    let late = Mark::open(text.as_bytes(), &me, REQUEST, Some(&ours), 0);
    let whose = late.expect_err("it is late").whose;
    assert_eq!(whose, Some(Box::new(mark())), "whose clock it is");
}

#[test]
fn every_changed_byte_is_noticed() {
    let ours = keyring(1);
    let text = mark().seal(REQUEST, Some(&ours)).into_bytes();
    for at in 0..text.len() {
        for other in [b'0', b'1', b'a', b';', b'%', b'-', 0, 0xff] {
            let mut bad = text.clone();
            if bad[at] == other {
                continue;
            }
            bad[at] = other;
            let opened = Mark::open(&bad, &mark().to, REQUEST, Some(&ours), NOW);
            assert!(opened.is_err(), "{}", String::from_utf8_lossy(&bad));
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_mark_or_none(value in proptest::collection::vec(any::<u8>(), 0..1500)) {
        let opened = Mark::open(&value, "a", REQUEST, Some(&keyring(1)), NOW);
        prop_assert!(opened.is_err());
    }

    #[test]
    fn fields_of_any_text_are_a_mark_or_none(fields in proptest::collection::vec("[0-9a-fv;%-]{0,50}", 8)) {
        let value = format!("v1;{}", fields.join(";"));
        prop_assert!(Mark::open(value.as_bytes(), "a", REQUEST, Some(&keyring(1)), NOW).is_err());
    }

    #[test]
    fn any_names_and_keys_come_through(from in ".{0,64}", to in ".{0,40}", key in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mark = Mark { from: from.into(), to: to.into(), ..mark() };
        let keys: [&[u8]; 1] = [&key];
        let request = Request { keys: &keys, ..REQUEST };
        let text = mark.seal(request, Some(&keyring(1)));
        if text.len() <= LONGEST {
            prop_assert_eq!(Mark::open(text.as_bytes(), &mark.to, request, Some(&keyring(1)), NOW), Ok(mark));
        }
    }
}
