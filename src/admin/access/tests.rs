//! Each rule by what it refuses: take one away, and one of these fails.

use http::header::HeaderName;
use http::{HeaderValue, Request};

use super::*;
use crate::admin::route::Action;

const TOKEN: &str = "a-token-of-this-test";

/// The head of a request, by its lines.
fn judged(
    access: &Access,
    method: &str,
    path: &str,
    lines: &[(&str, &str)],
) -> Result<Route, Refusal> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in lines {
        let value = HeaderValue::from_str(value).expect("a value");
        request = request.header(
            HeaderName::from_bytes(name.as_bytes()).expect("a name"),
            value,
        );
    }
    let (head, ()) = request.body(()).expect("a request").into_parts();
    access.judge(Head {
        method: &head.method,
        uri: &head.uri,
        headers: &head.headers,
        local: Some("127.0.0.1".parse().expect("an address")),
    })
}

fn bearer_of(token: &str) -> String {
    format!("Bearer {token}")
}

fn with_token(allow_actions: bool) -> Access {
    Access {
        token: Some(Token::new(TOKEN).expect("a token")),
        allow_actions,
        ..Access::default()
    }
}

const HERE: (&str, &str) = ("host", "127.0.0.1:9800");
const JSON: (&str, &str) = ("content-type", "application/json");

#[test]
fn on_loopback_whoever_is_here_may_read_and_nobody_may_act() {
    let access = Access::default();
    assert_eq!(
        judged(&access, "GET", "/status", &[HERE]),
        Ok(Route::Status)
    );
    assert_eq!(
        judged(&access, "GET", "/events", &[HERE]),
        Ok(Route::Events)
    );
    assert_eq!(
        judged(&access, "POST", "/explain", &[HERE, JSON]),
        Ok(Route::Explain)
    );
    assert_eq!(
        judged(&access, "POST", "/drain", &[HERE, JSON]),
        Err(Refusal::ReadOnly)
    );
    // Should it ever be built like this, an action wants its token all the same.
    let access = Access {
        allow_actions: true,
        ..access
    };
    assert_eq!(
        judged(&access, "POST", "/drain", &[HERE, JSON]),
        Err(Refusal::Token)
    );
}

#[test]
fn a_name_that_is_not_ours_is_refused_whoever_it_leads_here() {
    let access = Access {
        hosts: vec!["admin.internal".into()],
        ..Access::default()
    };
    for host in [
        "127.0.0.1:9800",
        "localhost:1",
        "LOCALHOST",
        "admin.internal",
        "admin.internal:8443",
    ] {
        assert_eq!(
            judged(&access, "GET", "/status", &[("host", host)]),
            Ok(Route::Status),
            "{host}"
        );
    }
    for host in [
        "evil.example:9800",
        "127.0.0.2:9800",
        "localhost.evil.example",
        "",
        "a b",
        "127.0.0.1:9800, evil",
    ] {
        assert_eq!(
            judged(&access, "GET", "/status", &[("host", host)]),
            Err(Refusal::Host),
            "{host}"
        );
        assert_eq!(
            judged(&access, "GET", "/", &[("host", host)]),
            Err(Refusal::Host),
            "the page too: {host}"
        );
    }
    assert_eq!(
        judged(&access, "GET", "/status", &[]),
        Err(Refusal::Host),
        "none"
    );
    let two = [HERE, ("host", "evil.example")];
    assert_eq!(
        judged(&access, "GET", "/status", &two),
        Err(Refusal::Host),
        "two"
    );
    let absolute = judged(&access, "GET", "http://evil.example/status", &[HERE]);
    assert_eq!(
        absolute,
        Err(Refusal::Host),
        "one in the line, another in the header"
    );
}

#[test]
fn what_a_foreign_page_sends_is_refused_also_with_the_token() {
    let access = with_token(true);
    let token = bearer_of(TOKEN);
    let base = [HERE, JSON, ("authorization", token.as_str())];
    let with = |more: (&'static str, &'static str)| {
        let mut lines = base.to_vec();
        lines.push(more);
        judged(&access, "POST", "/drain", &lines)
    };
    assert_eq!(
        with(("origin", "http://127.0.0.1:9800")),
        Ok(Route::Act(Action::Drain))
    );
    assert_eq!(
        with(("sec-fetch-site", "same-origin")),
        Ok(Route::Act(Action::Drain))
    );
    for origin in [
        "http://evil.example",
        "http://localhost:9800",
        "http://127.0.0.1:9801",
        "http://127.0.0.1:9800.evil.example",
        "null",
        "",
        "file://",
    ] {
        assert_eq!(with(("origin", origin)), Err(Refusal::Foreign), "{origin}");
    }
    for site in ["cross-site", "same-site", "", "else"] {
        assert_eq!(
            with(("sec-fetch-site", site)),
            Err(Refusal::Foreign),
            "{site}"
        );
    }
}

#[test]
fn an_image_and_a_form_of_a_foreign_page_get_nothing() {
    let access = Access::default();
    let image = [
        HERE,
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "no-cors"),
        ("sec-fetch-dest", "image"),
    ];
    for path in ["/", "/status", "/explain?key=a", "/events"] {
        assert_eq!(
            judged(&access, "GET", path, &image),
            Err(Refusal::Foreign),
            "{path}"
        );
    }
    let followed = [
        HERE,
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "navigate"),
    ];
    assert_eq!(
        judged(&access, "GET", "/", &followed),
        Ok(Route::Page),
        "a link in a runbook"
    );
    assert_eq!(
        judged(&access, "GET", "/status", &followed),
        Err(Refusal::Foreign)
    );
    let access = with_token(true);
    let token = bearer_of(TOKEN);
    for form in [
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "text/plain",
        "text/plain; application/json",
    ] {
        let lines = [
            HERE,
            ("content-type", form),
            ("authorization", token.as_str()),
        ];
        for path in ["/drain", "/restore", "/probe", "/explain"] {
            assert_eq!(
                judged(&access, "POST", path, &lines),
                Err(Refusal::NotJson),
                "{form}"
            );
        }
    }
    let lines = [HERE, ("authorization", token.as_str())];
    assert_eq!(
        judged(&access, "POST", "/drain", &lines),
        Err(Refusal::NotJson),
        "none"
    );
    assert_eq!(
        judged(&access, "GET", "/drain", &lines),
        Err(Refusal::Method("POST"))
    );
}

#[test]
fn the_token_is_taken_from_its_header_and_from_nowhere_else() {
    let access = with_token(true);
    let right = bearer_of(TOKEN);
    for given in [right.as_str(), &right.replace("Bearer", "bearer")] {
        let lines = [HERE, ("authorization", given)];
        assert_eq!(judged(&access, "GET", "/status", &lines), Ok(Route::Status));
    }
    let in_url = format!("/status?token={TOKEN}&access_token={TOKEN}");
    let cookie = format!("token={TOKEN}");
    for (path, line) in [
        ("/status", ("accept", "*/*")),
        (in_url.as_str(), ("accept", "*/*")),
        ("/status", ("cookie", cookie.as_str())),
        ("/status", ("x-token", TOKEN)),
        ("/status", ("authorization", TOKEN)),
        ("/status", ("authorization", "Bearer ")),
        ("/status", ("authorization", "Bearer a-token-of-this-tesT")),
        ("/status", ("authorization", "Basic a-token-of-this-test")),
    ] {
        // Who gives one guesses; who gives none may not know that there is one.
        let is_guess = line.0 == "authorization" && line.1.starts_with("Bearer ");
        let refusal = [Refusal::Token, Refusal::WrongToken][usize::from(is_guess)];
        assert_eq!(
            judged(&access, "GET", path, &[HERE, line]),
            Err(refusal),
            "{line:?}"
        );
        for method in ["/events", "/explain"] {
            assert_eq!(
                judged(&access, "GET", method, &[HERE, line]),
                Err(refusal),
                "{line:?}"
            );
        }
    }
    let twice = [
        HERE,
        ("authorization", right.as_str()),
        ("authorization", "Bearer x"),
    ];
    assert_eq!(
        judged(&access, "GET", "/status", &twice),
        Err(Refusal::Token)
    );
    assert_eq!(
        judged(&access, "GET", "/", &[HERE]),
        Ok(Route::Page),
        "which asks for the token"
    );
}

#[test]
fn mounted_it_wants_a_token_or_an_own_auth_and_for_actions_always_the_token() {
    let lines = [("host", "app.example")];
    let token = bearer_of(TOKEN);
    let bare = Access {
        is_mounted: true,
        ..Access::default()
    };
    assert_eq!(
        judged(&bare, "GET", "/status", &lines),
        Err(Refusal::Token),
        "nobody built it like this"
    );
    let own = Access {
        own_auth: true,
        ..bare
    };
    assert_eq!(judged(&own, "GET", "/status", &lines), Ok(Route::Status));
    assert_eq!(
        judged(&own, "POST", "/drain", &[lines[0], JSON]),
        Err(Refusal::ReadOnly)
    );
    let both = Access {
        own_auth: true,
        is_mounted: true,
        ..with_token(true)
    };
    assert_eq!(judged(&both, "GET", "/status", &lines), Ok(Route::Status));
    assert_eq!(
        judged(&both, "POST", "/drain", &[lines[0], JSON]),
        Err(Refusal::Token)
    );
    let with = [lines[0], JSON, ("authorization", token.as_str())];
    assert_eq!(
        judged(&both, "POST", "/drain", &with),
        Ok(Route::Act(Action::Drain))
    );
    let foreign = [lines[0], ("origin", "http://evil.example")];
    assert_eq!(
        judged(&own, "GET", "/status", &foreign),
        Err(Refusal::Foreign)
    );
    let told = Access {
        hosts: vec!["app.example".into()],
        ..own
    };
    assert_eq!(judged(&told, "GET", "/status", &lines), Ok(Route::Status));
    assert_eq!(
        judged(&told, "GET", "/status", &[("host", "evil.example")]),
        Err(Refusal::Host)
    );
}
