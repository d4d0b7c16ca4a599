//! Which key a request is about.

use http::HeaderName;
use http::request::Parts;
use percent_encoding::percent_decode_str;

/// Finds the key of a request; `None` for one that any instance may handle.
///
/// A closure is one, and [`path_segment`], [`header`] and [`query`] make some. It is asked at the instance that a
/// request comes to and again at its owner, and must say the same: it looks at nothing but method, target and
/// headers that are passed on.
pub trait KeyOf: Clone + Send + Sync + 'static {
    /// The key, of any bytes.
    fn key_of(&self, parts: &Parts) -> Option<Vec<u8>>;
}

impl<F> KeyOf for F
where
    F: Fn(&Parts) -> Option<Vec<u8>> + Clone + Send + Sync + 'static,
{
    fn key_of(&self, parts: &Parts) -> Option<Vec<u8>> {
        self(parts)
    }
}

/// The segment of the path with this number, percent-decoded: 1 is `user:42` in `/limit/user%3A42`. A path without
/// such a segment, or with an empty one, has no key. [Example](crate::guide::by_example#forwarding).
pub fn path_segment(number: usize) -> impl KeyOf {
    move |parts: &Parts| {
        let segment = parts.uri.path().split('/').nth(number.saturating_add(1))?;
        (!segment.is_empty()).then(|| percent_decode_str(segment).collect())
    }
}

/// The value of a header, of any bytes; the first one where it comes several times. An empty one is no key. A name that
/// no header can have is never found. [Example](crate::guide::by_example#forwarding).
pub fn header(name: &str) -> impl KeyOf {
    let name = HeaderName::from_bytes(name.as_bytes()).ok();
    move |parts: &Parts| {
        let value = parts.headers.get(name.as_ref()?)?;
        (!value.is_empty()).then(|| value.as_bytes().to_vec())
    }
}

/// The value of a parameter of the query, as forms write it: percent-decoded, `+` is a space. The first one where it
/// comes several times; an empty one is no key. [Example](crate::guide::by_example#forwarding).
pub fn query(name: &str) -> impl KeyOf {
    let name: Box<[u8]> = name.as_bytes().into();
    move |parts: &Parts| {
        parts.uri.query()?.split('&').find_map(|pair| {
            let (found, value) = pair.split_once('=')?;
            (form_decoded(found) == *name && !value.is_empty()).then(|| form_decoded(value))
        })
    }
}

fn form_decoded(text: &str) -> Vec<u8> {
    percent_decode_str(&text.replace('+', " ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(of: impl KeyOf, uri: &str, name: &str, value: &[u8]) -> Option<Vec<u8>> {
        let request = http::Request::builder()
            .uri(uri)
            .header(name, value)
            .body(());
        of.key_of(&request.expect("a request").into_parts().0)
    }

    #[test]
    fn a_segment_of_the_path_is_counted_from_0_and_decoded() {
        let of = |number, uri| key(path_segment(number), uri, "a", b"");
        assert_eq!(of(0, "/limit/user:42").as_deref(), Some(&b"limit"[..]));
        assert_eq!(
            of(1, "/limit/user%3A42?x=/y").as_deref(),
            Some(&b"user:42"[..])
        );
        assert_eq!(of(1, "/a/%00%ff%2f").as_deref(), Some(&b"\0\xff/"[..]));
        assert_eq!(of(1, "/a/100%").as_deref(), Some(&b"100%"[..]), "no escape");
        assert_eq!(of(1, "/a/b+c").as_deref(), Some(&b"b+c"[..]));
        for (number, uri) in [
            (2, "/a/b"),
            (1, "/a/"),
            (0, "/"),
            (0, "*"),
            (usize::MAX, "/a"),
        ] {
            assert_eq!(of(number, uri), None, "{number} of {uri}");
        }
        assert_eq!(
            of(0, "http://other/a").as_deref(),
            Some(&b"a"[..]),
            "HTTP/2 has the whole"
        );
    }

    #[test]
    fn a_header_of_any_bytes_is_a_key() {
        assert_eq!(
            key(header("x-user"), "/", "X-User", b"\xff\t1").as_deref(),
            Some(&b"\xff\t1"[..])
        );
        assert_eq!(key(header("x-user"), "/", "x-user", b""), None);
        assert_eq!(key(header("x-user"), "/", "x-other", b"1"), None);
        assert_eq!(key(header("no header\n"), "/", "x-other", b"1"), None);
    }

    #[test]
    fn a_parameter_of_the_query_is_decoded_as_forms_are() {
        let of = |name, uri| key(query(name), uri, "a", b"");
        assert_eq!(
            of("user", "/a?b=1&user=a+b%2B%ff&user=2").as_deref(),
            Some(&b"a b+\xff"[..])
        );
        assert_eq!(of("a b", "/?a%20b=1").as_deref(), Some(&b"1"[..]));
        for uri in ["/", "/?", "/?user", "/?user=", "/?xuser=1"] {
            assert_eq!(of("user", uri), None, "{uri}");
        }
    }
}
