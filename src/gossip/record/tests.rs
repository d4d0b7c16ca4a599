//! What a record may be, and what any bytes are.

use std::net::SocketAddr;

use super::*;

fn owner() -> Id {
    Id::new(SocketAddr::from(([10, 0, 0, 1], 7_946)), 1_700_000_000_000)
}

fn record() -> Record {
    Record {
        ring_id: "limiter-0".into(),
        http: Some("http://10.0.0.1:8080".into()),
        phase: Phase::Ready,
        weight: 1,
        labels: [("zone".into(), "a".into())].into(),
    }
}

#[test]
fn an_item_says_what_was_put_in_and_later_fields_are_passed_over() {
    let mut item = record().item(owner(), 3).expect("it fits");
    assert!(item.len() <= 72, "{} bytes", item.len());
    // A later version appends fields to the body.
    item[1] = 2;
    item.extend(b"\x07later!!");
    let (head, body) = Head::of(&item).expect("an item");
    assert_eq!((head.kind, head.format, head.version), (RECORD, 2, 3));
    assert_eq!(head.owner, owner());
    assert_eq!(Record::of(body), Some(record()));
}

#[test]
fn what_breaks_a_rule_is_refused_with_the_remedy_here_and_when_it_comes_from_elsewhere() {
    let of = |change: &dyn Fn(&mut Record)| {
        let mut record = record();
        change(&mut record);
        record
    };
    let label = |key: &str, value: &str| of(&|r| drop(r.labels.insert(key.into(), value.into())));
    let many: BTreeMap<Box<str>, Box<str>> = (0..9)
        .map(|n| (format!("k{n}").into(), "v".into()))
        .collect();
    let heavy: BTreeMap<Box<str>, Box<str>> = (0..5)
        .map(|n| (format!("k{n}").into(), "v".repeat(110).into()))
        .collect();
    for (bad, option, part) in [
        (of(&|r| r.ring_id = "".into()), "ring_id", "empty"),
        (
            of(&|r| r.ring_id = "x".repeat(65).into()),
            "ring_id",
            "65 bytes",
        ),
        (of(&|r| r.ring_id = "a b".into()), "ring_id", "white space"),
        (
            of(&|r| r.http = Some("ftp://h".into())),
            "http",
            "web server",
        ),
        (
            of(&|r| r.http = Some("10.0.0.1:80".into())),
            "http",
            "http://host:port",
        ),
        (
            of(&|r| r.http = Some("http://u:p@h".into())),
            "http",
            "credentials",
        ),
        (
            of(&|r| r.http = Some("http://h/path".into())),
            "http",
            "more than",
        ),
        (
            of(&|r| r.http = Some(format!("http://{}", "h".repeat(130)).into())),
            "http",
            "137 bytes",
        ),
        (of(&|r| r.weight = 0), "weight", "1 to 256"),
        (of(&|r| r.weight = 257), "weight", "1 to 256"),
        (label("__x", "v"), "label", "ours"),
        (label("", "v"), "label", "empty"),
        (label(&"k".repeat(33), "v"), "label", "33 bytes"),
        (label("k", &"v".repeat(129)), "label", "129 bytes"),
        (label("k", "a\nb"), "label", "cannot be seen"),
        (of(&|r| r.labels = many.clone()), "label", "8 are allowed"),
        (
            of(&|r| r.labels = heavy.clone()),
            "label",
            "512 are allowed",
        ),
    ] {
        let (name, why) = bad.check().expect_err(part);
        assert_eq!(name, option, "{why}");
        assert!(why.contains(part), "{why}");
        if let Some(item) = bad.item(owner(), 1) {
            let (_, body) = Head::of(&item).expect("an item");
            assert_eq!(Record::of(body), None, "{why}");
        }
    }
}

#[test]
fn the_largest_record_that_is_allowed_fits() {
    let mut record = record();
    record.ring_id = "r".repeat(LONGEST_RING_ID).into();
    record.http = Some(format!("http://{}", "h".repeat(LONGEST_HTTP - 7)).into());
    record.labels = (0..MOST_LABELS)
        .map(|n| {
            (
                format!("k{n}").into(),
                "v".repeat(ALL_LABELS / MOST_LABELS - 2).into(),
            )
        })
        .collect();
    record.check().expect("allowed");
    let widest = Id::new("[ffff::1]:65535".parse().expect("an address"), u64::MAX);
    assert!(record.item(widest, u64::MAX).is_some());
}

#[test]
fn any_bytes_are_an_item_or_none_and_never_a_panic() {
    let mut item = record().item(owner(), 3).expect("it fits");
    for at in 0..item.len() {
        for byte in 0..=255 {
            let was = std::mem::replace(&mut item[at], byte);
            if let Some((_, body)) = Head::of(&item) {
                let _whatever = Record::of(body);
            }
            item[at] = was;
        }
        assert!(Head::of(&item[..at]).is_none_or(|(_, body)| Record::of(body).is_none()));
    }
    assert!(Head::of(&[1; LARGEST_ITEM + 1]).is_none());
}
