//! Reply classification on arbitrary replies. `PROPTEST_CASES` sets how many.

use proptest::collection::vec;
use proptest::prelude::*;
use redis::{PushKind, RedisError, Value, VerbatimFormat, make_extension_error, parse_redis_value};

use crate::connection::reply::Reply;
use crate::error::class_of;
use crate::health::verdict::Class;

/// Codes that mean something, and such as nobody has seen.
fn any_error_text() -> impl Strategy<Value = String> {
    let code = prop_oneof![
        Just("ERR"),
        Just("LOADING"),
        Just("BUSY"),
        Just("READONLY"),
        Just("OOM"),
        Just("MISCONF"),
        Just("NOAUTH"),
        Just("EXECABORT"),
        Just("UNBLOCKED"),
        Just("MOVED"),
        Just(""),
    ];
    prop_oneof![
        (code, "[ -~]{0,40}").prop_map(|(code, detail)| format!("{code} {detail}")),
        Just("ERR max number of clients reached".to_owned()),
        Just("ERR unknown command".to_owned()),
        "\\PC{0,40}",
    ]
}

/// An error as redis-rs reads it from the wire, at the top or inside a reply.
fn server_error(text: &str) -> Value {
    parse_redis_value(format!("*1\r\n-{text}\r\n").as_bytes())
        .ok()
        .and_then(|value| match value {
            Value::Array(mut inside) => inside.pop(),
            _ => None,
        })
        .unwrap_or(Value::Nil)
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        Just(Value::Okay),
        any::<i64>().prop_map(Value::Int),
        vec(any::<u8>(), 0..20).prop_map(Value::BulkString),
        ".{0,20}".prop_map(Value::SimpleString),
        any::<f64>().prop_map(Value::Double),
        any::<bool>().prop_map(Value::Boolean),
        vec(any::<u8>(), 0..20).prop_map(Value::BigNumber),
        ".{0,20}".prop_map(|text| Value::VerbatimString {
            format: VerbatimFormat::Text,
            text,
        }),
        any_error_text().prop_map(|text| server_error(&text)),
        any_error_text().prop_map(|text| server_error(&text)),
    ];
    leaf.prop_recursive(5, 48, 6, |inner| {
        let pairs = || vec((inner.clone(), inner.clone()), 0..4);
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::Array),
            vec(inner.clone(), 0..6).prop_map(Value::Set),
            pairs().prop_map(Value::Map),
            vec(inner.clone(), 0..6).prop_map(|data| Value::Push {
                kind: PushKind::Message,
                data
            }),
            (inner.clone(), pairs()).prop_map(|(data, attributes)| Value::Attribute {
                data: Box::new(data),
                attributes
            }),
        ]
    })
}

fn classes<'a>(values: impl IntoIterator<Item = &'a Value>) -> Vec<Class> {
    let mut found = Vec::new();
    for value in values {
        if let Value::ServerError(e) = value {
            found.push(class_of(e));
        }
    }
    found
}

proptest! {
    #[test]
    fn one_reply_is_an_error_only_when_it_is_one(value in any_value()) {
        let expected = classes([&value]).pop();
        prop_assert_eq!(Reply::One(value).class(), expected);
    }

    #[test]
    fn of_many_one_of_the_errors_is_told_if_and_only_if_there_is_one(values in vec(any_value(), 0..8)) {
        let mut inside = Vec::new();
        for value in &values {
            match value {
                Value::Array(transaction) => inside.extend(classes(transaction)),
                other => inside.extend(classes([other])),
            }
        }
        let found = Reply::Many(values).class();
        prop_assert_eq!(found.is_some(), !inside.is_empty());
        prop_assert!(found.is_none_or(|class| inside.contains(&class)), "{:?} of {:?}", found, inside);
    }

    #[test]
    fn an_aborted_transaction_is_always_an_error(code in "\\PC{0,12}", detail in prop::option::of("\\PC{0,40}")) {
        let error = make_extension_error(code, detail);
        prop_assert!(Reply::Aborted(error).class().is_some());
    }

    #[test]
    fn bytes_that_a_server_may_send_never_make_it_panic(bytes in vec(prop_oneof![
        prop::sample::select(b"+-:$*%~>#,(!=|_\r\n0123 ".as_slice()),
        any::<u8>(),
    ], 0..60)) {
        if let Ok(value) = parse_redis_value(&bytes) {
            let is_error = matches!(value, Value::ServerError(_));
            prop_assert_eq!(Reply::One(value).class().is_some(), is_error);
        }
    }
}

/// Inputs that are worth keeping, whatever the generator makes of them.
#[test]
fn the_corpus_holds() {
    let parsed = |text: &str| parse_redis_value(text.as_bytes()).expect(text);
    let many = |text: &str| Reply::Many(vec![parsed(text)]).class();
    assert_eq!(
        many("*2\r\n-LOADING x\r\n-ERR y\r\n"),
        Some(Class::NotReady)
    );
    assert_eq!(many("*2\r\n+OK\r\n:1\r\n"), None);
    // Two levels down is data of a script or a module, not the fate of a command.
    assert_eq!(many("*1\r\n*1\r\n-OOM x\r\n"), None);
    assert_eq!(Reply::One(parsed("*1\r\n-OOM x\r\n")).class(), None, "data");
    assert_eq!(Reply::Many(Vec::new()).class(), None);
    let io = RedisError::from(std::io::Error::other("x"));
    assert!(Reply::Aborted(io).class().is_some());
    for text in ["", " ", "-", "ERR", "\u{0}", "ERR max number"] {
        let _ = Reply::One(server_error(text)).class();
    }
}
