use super::*;
use proptest::prelude::*;

const S: &str = "hunter2-Zq8";

#[test]
fn a_known_secret_is_found_in_every_spelling() {
    for (secret, words) in [
        (S, "hunter2-Zq8"),
        ("p\"q\\r", r#"p\"q\\r"#),
        ("p\"q\\r", r#"p\\\"q\\\\r"#),
        ("p\nq\u{7}r", r"p\nq\u0007r"),
        ("p\nq\u{7}r", r"p\nq\u{7}r"),
        ("p\r\nq", "p q"),
        ("p\r\nq", "p\n  q"),
        ("gr\u{f6}\u{1f511}x", r"gr\u00f6\ud83d\udd11x"),
        ("gr\u{f6}\u{1f511}x", "gr%C3%B6%F0%9F%94%91x"),
        ("gr\u{f6}\u{1f511}x", r"gr\xc3\xb6\xf0\x9f\x94\x91x"),
        ("a&b<c'd", "a&amp;b&lt;c&#39;d"),
        ("a b+c/d", "a+b%2Bc%2Fd"),
        ("it's", r"it\'s"),
        (r"a\\b", r"a\\b"),
        (r"a\\b", r"a\\\\b"),
    ] {
        let text = redacted(&format!("x {words} y"), &[secret]);
        assert_eq!(text, format!("x {CUT} y"), "{secret:?} in {words:?}");
    }
}

#[test]
fn an_end_that_begins_a_secret_is_dropped() {
    for (words, safe) in [
        ("it said: hunter2-Z", "it said: <redacted>"),
        ("it said: hunt", "it said: <redacted>"),
        ("it said: hun", "it said: hun"),
        ("'hunter2-' 'x'", "'<redacted>' 'x'"),
        ("hunter2...", "<redacted>..."),
        ("the hunter comes", "the hunter comes"),
    ] {
        assert_eq!(redacted(words, &[S]), safe);
    }
    // What is longer than is looked at is cut first, and then what is left of the secret.
    let long = format!("{}{S}", "x".repeat(LOOKED_AT - 5));
    assert!(!redacted(&long, &[S]).contains("hunt"));
    assert_eq!(
        redacted("a cat is a cat", &["a"]),
        "<redacted> cat is <redacted> cat"
    );
}

#[test]
fn what_stands_where_secrets_stand_is_cut() {
    for (words, safe) in [
        ("x 'redis://u:p@h:1' y", "x 'redis://<redacted>@h:1' y"),
        (
            "a=redis://:p@q@h,b=redis://i",
            "a=redis://<redacted>@h,b=redis://i",
        ),
        ("redis://u:p q@h/1: no", "redis://<redacted>@h/1: no"),
        // Digits in front of a password are no port.
        (
            "\"redis://u:0'hunter\" is no rule",
            "\"redis://<redacted> is no rule",
        ),
        ("redis://u:0,hunter: no", "redis://<redacted> no"),
        ("'redis://h:1', no", "'redis://h:1', no"),
        ("(redis://h:1): no", "(redis://h:1): no"),
        (
            "\"redis://u:hunter2-Zq8\", expected",
            "\"redis://<redacted>",
        ),
        ("unix:///s?pass=p&db=1 x", "unix:///s<redacted> x"),
        ("redis://h,password=S x", "redis://<redacted> x"),
        ("redis://h?password=a@S x", "redis://<redacted> x"),
        ("proxenos:secret=00ff", "proxenos:secret=<redacted>"),
        (
            "http://consul:8500/v1/health: no",
            "http://consul:8500/v1/health: no",
        ),
        (
            "http://t:S@consul:8500/v1: no",
            "http://<redacted>@consul:8500/v1: no",
        ),
        (
            "at http://10.0.0.1:8500: refused",
            "at http://10.0.0.1:8500: refused",
        ),
        ("u:S@h is none", "<redacted>@h is none"),
        ("PASSWORD = S x", "PASSWORD = <redacted> x"),
        (
            r#"{"token": "a\"b", "x": 1}"#,
            r#"{"token": "<redacted>", "x": 1}"#,
        ),
        (r#"{\"api_token\":\"S\"}"#, r#"{\"api_token\":\"<redacted>"#),
        ("auth-token:S", "auth-token:<redacted>"),
        // What is quoted may be the beginning of it.
        ("password='';S x", "password='<redacted> x"),
        ("password=`a`;S, x", "password=`<redacted> x"),
        (r#"{"token":"a","x":1} y"#, r#"{"token":"<redacted> y"#),
        ("wrong password: try again", "wrong password: try again"),
        (
            "WRONGPASS invalid username-password pair",
            "WRONGPASS invalid username-password pair",
        ),
        (
            "ERR unknown command 'AUTH', with args beginning with: 'S'",
            "ERR unknown command 'AUTH'",
        ),
        ("mail me@h", "mail me@h"),
        ("nothing", "nothing"),
    ] {
        assert_eq!(redacted(words, &[]), safe);
        assert_eq!(redacted(safe, &[]), safe, "it is done once");
    }
}

#[test]
fn of_a_url_only_what_can_be_no_secret_is_left() {
    for (url, safe) in [
        (
            "redis://u:S@10.0.0.1:99999",
            "redis://<redacted>@10.0.0.1:99999",
        ),
        (
            "redis://u:S@[fe80::1%eth0]:1/x",
            "redis://<redacted>@[fe80::1%eth0]:1/<redacted>",
        ),
        ("redis://10.0.0.1:7000/-1", "redis://10.0.0.1:7000/-1"),
        ("redis://h,password=S", "redis://h<redacted>"),
        ("redis://h;pwd=S", "redis://h<redacted>"),
        ("redis://h?password=S", "redis://h"),
        ("redis://h?password=a@S", "redis://<redacted>"),
        ("redis://u:1/S@h", "redis://<redacted>"),
        ("redis://u:S", "redis://u<redacted>"),
        ("redis://u%3AS%40h", "redis://u<redacted>"),
        ("UNIX:///s?pass=S", "unix:///s"),
        (" unix:///s?pass=a@b", "unix:///s"),
        ("unix:///s&pass=S", "unix:///s<redacted>"),
        ("unix://u:S@host/path", "unix://<redacted>"),
        ("u:S@h", "<redacted>"),
        ("S", "<redacted>"),
        ("10.0.0.1", "10.0.0.1"),
        ("h:6379", "h:6379"),
        ("redis//u:S@h", "<redacted>"),
        ("", "<redacted>"),
        ("redis://", "redis://"),
    ] {
        assert_eq!(redacted_url(url), safe, "{url}");
    }
}

/// One way to write a text.
fn spelled(text: &str, way: u8) -> String {
    match way % 6 {
        0 => text.to_owned(),
        1 => text.escape_debug().collect(),
        2 => text.escape_default().collect(),
        3 => text.bytes().map(|b| format!("%{b:02X}")).collect(),
        4 => text
            .encode_utf16()
            .map(|unit| format!("\\u{unit:04x}"))
            .collect(),
        _ => text.bytes().map(|b| format!("\\x{b:02x}")).collect(),
    }
}

proptest! {
    #[test]
    fn a_known_secret_never_shows(
        secret in "[!-~äß🔑]{4,24}", ways in any::<[u8; 2]>(), before in "\\PC{0,12}", after in "\\PC{0,12}",
    ) {
        let once = spelled(&secret, ways[0]);
        let text = format!("{before} {} {after}", if ways[1] % 3 == 0 { spelled(&once, 1) } else { once.clone() });
        let safe = redacted(&text, &[&secret]);
        // What was there anyway is no leak.
        prop_assert!(!safe.contains(&once) || before.contains(&once) || after.contains(&once), "{text:?}: {safe:?}");
    }
}
