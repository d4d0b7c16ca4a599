use std::time::Duration;

use super::*;
use crate::queue::message::MessageId;

/// What a script's first lines say that it is given: its keys, and its arguments.
fn said(script: &Script) -> (Vec<String>, Vec<String>) {
    let names = |list: &str| -> Vec<String> {
        let list = list.split('.').next().unwrap_or_default();
        list.split(',').map(|name| name.trim().to_owned()).collect()
    };
    let lines: Vec<&str> = script
        .own_text()
        .lines()
        .take_while(|l| l.starts_with("--"))
        .map(|l| l.trim_start_matches("-- "))
        .collect();
    let all = lines.join("; ");
    let keys = all.split_once("KEYS ").expect("a line of keys").1;
    let keys = keys.split(';').next().expect("some text");
    let arguments = all.split_once("ARGV ").expect("arguments").1;
    let arguments = arguments.split(';').next().expect("some text");
    (names(keys), names(arguments))
}

/// One argument for each name, where lists have one member; and a count that is that of the keys.
fn holds<C: Call>(call: &C) {
    let (keys, arguments) = said(call.script());
    let cmd = call.by_digest("digest");
    let words: Vec<&[u8]> = crate::connection::args::args(&cmd).collect();
    let shown: Vec<_> = words.iter().map(|w| String::from_utf8_lossy(w)).collect();
    assert_eq!(shown[..2], ["EVALSHA", "digest"]);
    assert_eq!(shown[2], keys.len().to_string(), "{keys:?} {shown:?}");
    assert_eq!(call.keys().as_ref().len(), keys.len(), "{keys:?} {shown:?}");
    assert_eq!(
        shown.len(),
        3 + keys.len() + arguments.len(),
        "{keys:?} {arguments:?} {shown:?}"
    );
    for (name, key) in keys.iter().zip(&shown[3..]) {
        let is_named = key.contains(&format!(":{name}"));
        assert!(is_named || name == "a stream", "{name} is {key}");
    }
}

#[test]
fn every_call_gives_what_its_script_says_that_it_takes() {
    let keys = Keys::new("jobs");
    let of_group = keys.group("mail");
    let seat = Seat {
        keys: &keys,
        of_group: &of_group,
        group: "mail",
        consumer: "c",
        which: Which::Stream,
    };
    let entry = EntryId::parse(b"1-2").unwrap();
    let places = &[Place {
        which: Which::Stream,
        entry,
    }];
    let second = Duration::from_secs(1);
    holds(&Push {
        keys: &keys,
        max_len: None,
        due: ("in", 0),
        id: MessageId::from(1),
        payload: b"p",
        key: Some(b"k"),
    });
    holds(&Ack { seat, places });
    holds(&Nack {
        seat,
        delay: 0,
        max_attempts: 1,
        why: "",
        entry,
    });
    holds(&Reclaim { seat, held: places });
    holds(&Release { seat, places });
    holds(&Join(seat));
    holds(&Leave(seat));
    let lease = 1;
    holds(&Extend { seat, entry, lease });
    holds(&Tick {
        seat,
        visibility: second,
        max_attempts: 1,
        turn: second,
        most: 1,
        most_bytes: 1,
    });
    holds(&CountAll(&keys));
    holds(&Purge(&keys));
    let entry = "1-2";
    holds(&Retry { keys: &keys, entry });
    let entry = places[0].entry;
    let why = "";
    holds(&Bury { seat, why, entry });
}

#[test]
fn the_words_of_the_chores_are_understood_and_strange_ones_are_none() {
    let of = |numbers: &[i64], words: &[&str]| {
        let words = words.iter().map(|w| (*w).to_owned()).collect();
        Tick::answer((numbers.to_vec(), words))
    };
    let done = Turn::Done {
        expired: 2,
        dead: 1,
        depth: 7,
        more: true,
        wrong: vec![("key".to_owned(), "WRONGTYPE".to_owned())],
    };
    assert_eq!(of(&[1, 2, 1, 7, 1], &["key", "WRONGTYPE", "half"]), done);
    assert_eq!(of(&[0, 20], &[]), Turn::Taken(Duration::from_millis(20)));
    assert_eq!(of(&[0, -2], &[]), Turn::Taken(Duration::ZERO));
    for strange in [&[][..], &[1], &[2, 3], &[1, 2, 3, 4, 5, 6]] {
        assert_eq!(of(strange, &[]), Turn::Strange);
    }
}

#[test]
fn a_delivery_given_back_is_lost_dead_or_comes_again() {
    let of = |word: &str| Nack::answer(word.to_owned());
    assert_eq!(of("lost"), Given::Lost);
    assert_eq!(of("dead"), Given::Dead);
    for word in ["again", "gone"] {
        assert_eq!(of(word), Given::Back);
    }
}
