//! Headers on their way from one instance to another. Pure.

use std::net::IpAddr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING,
    UPGRADE,
};
use http::{Method, Uri, Version};

use super::mark;

/// What is ours: nobody else's is passed on, in either direction.
const OURS: &str = "fluster-";
/// The rest of the time that a request has, in milliseconds.
pub(crate) const DEADLINE: &str = "fluster-deadline-ms";
/// Over how many instances a request came whose mark one of them did not believe.
pub(crate) const HOPS: &str = "fluster-hops";
/// So many instances may pass a request on: one, and one more when a mark is not believed. Whatever the reason for that,
/// such as a clock, other keys or an address that leads elsewhere: without a bound two of them could send it to and fro.
pub(crate) const MOST_HOPS: u8 = 2;
/// Why an instance did not handle a request.
pub(crate) const REASON: &str = "fluster-reason";
/// The owner that it sees.
pub(crate) const OWNER: &str = "fluster-owner";

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Of one connection, and not of the message.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("proxy-authenticate"),
    HeaderName::from_static("proxy-authorization"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// What was ours among the headers of a request.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// The mark, if there was one; the first one of several.
    pub(crate) mark: Option<HeaderValue>,
    /// The time it has, in milliseconds; believed beside a valid mark alone.
    pub(crate) deadline: Option<u64>,
    /// How many instances passed it on, if its mark is none; whoever says more than there were harms himself alone.
    pub(crate) hops: u8,
}

fn is_ours(name: &HeaderName) -> bool {
    name.as_str().starts_with(OURS)
}

/// Takes out what is ours, whatever else is done with the request: nobody else ever sees it.
pub(crate) fn take(headers: &mut HeaderMap) -> Taken {
    // Most requests come from clients, and have none.
    if !headers.keys().any(is_ours) {
        return Taken::default();
    }
    let mark = headers.remove(mark::HEADER);
    let deadline = headers.remove(DEADLINE);
    let deadline = deadline.and_then(|value| value.to_str().ok()?.parse().ok());
    let hops = match headers.remove(HOPS) {
        Some(hops) => hops.to_str().ok().and_then(|hops| hops.parse().ok()),
        None => Some(0),
    };
    Taken {
        hops: hops.unwrap_or(u8::MAX).max(u8::from(mark.is_some())),
        mark,
        deadline,
    }
}

/// Takes everything out that is ours.
pub(crate) fn strip_ours(headers: &mut HeaderMap) {
    let ours: Vec<_> = headers
        .keys()
        .filter(|name| is_ours(name))
        .cloned()
        .collect();
    for name in ours {
        headers.remove(name);
    }
}

/// Whether it asks for another protocol on its connection: those are not passed on. `h2c` is an offer that may be
/// passed over.
pub(crate) fn wants_upgrade(method: &Method, headers: &HeaderMap) -> bool {
    let asked = headers.get_all(UPGRADE).iter().flat_map(tokens);
    let others = asked.filter(|protocol| !protocol.eq_ignore_ascii_case("h2c"));
    *method == Method::CONNECT || others.count() > 0
}

/// The values of a header that is a list.
fn tokens(value: &HeaderValue) -> impl Iterator<Item = &str> {
    let text = value.to_str().unwrap_or_default();
    text.split(',')
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

/// The headers that `Connection` says belong to it. The host and the length are of the message, whoever names them.
fn named(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(tokens)
        .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
        .filter(|name| *name != HOST && *name != CONTENT_LENGTH)
        .collect()
}

/// The headers of a request as it goes on: everything as it came, but for what belongs to its connection or is ours, and
/// with the way it came. There is room for what is added later.
pub(crate) fn onward(
    came: &HeaderMap,
    uri: &Uri,
    version: Version,
    client: Option<IpAddr>,
) -> HeaderMap {
    let named = named(came);
    let mut headers = HeaderMap::with_capacity(came.len() + 6);
    for (name, value) in came {
        if !HOP_BY_HOP.contains(name) && !is_ours(name) && !named.contains(name) {
            headers.append(name.clone(), value.clone());
        }
    }
    let mut wanted = came.get_all(TE).iter().flat_map(tokens);
    if wanted.any(|coding| coding.eq_ignore_ascii_case("trailers")) {
        // We pass them on.
        headers.insert(TE, HeaderValue::from_static("trailers"));
        if version != Version::HTTP_2 {
            headers.insert(CONNECTION, HeaderValue::from_static("te"));
        }
    }
    let authority = || HeaderValue::from_str(uri.authority()?.as_str()).ok();
    if !headers.contains_key(FORWARDED_HOST)
        && let Some(host) = headers.get(HOST).cloned().or_else(authority)
    {
        headers.insert(FORWARDED_HOST, host);
    }
    if !headers.contains_key(FORWARDED_PROTO) {
        let scheme = match uri.scheme_str() {
            None => Ok(HeaderValue::from_static("http")),
            Some(scheme) => HeaderValue::from_str(scheme),
        };
        if let Ok(scheme) = scheme {
            headers.insert(FORWARDED_PROTO, scheme);
        }
    }
    if let Some(client) = client {
        let mut way: Vec<u8> = Vec::new();
        for hop in headers.get_all(FORWARDED_FOR) {
            way.extend_from_slice(hop.as_bytes());
            way.extend_from_slice(b", ");
        }
        way.extend_from_slice(client.to_string().as_bytes());
        if let Ok(way) = HeaderValue::from_bytes(&way) {
            headers.insert(FORWARDED_FOR, way);
        }
    }
    headers
}

/// An answer as it goes back.
pub(crate) fn backward(headers: &mut HeaderMap) {
    let named = named(headers);
    let is_gone =
        |name: &HeaderName| HOP_BY_HOP.contains(name) || is_ours(name) || named.contains(name);
    let gone: Vec<_> = headers
        .keys()
        .filter(|name| is_gone(name))
        .cloned()
        .collect();
    for name in gone {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    fn lines(map: &HeaderMap) -> Vec<String> {
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}", value.to_str().expect("a text"))
        };
        map.iter().map(line).collect()
    }

    #[test]
    fn a_mark_is_gone_however_often_it_came() {
        let mut map = headers(&[
            ("fluster-forwarded", "a"),
            ("Fluster-Forwarded", "b"),
            ("fluster-deadline-ms", "7"),
            ("x", "y"),
        ]);
        let taken = take(&mut map);
        assert_eq!(
            (taken.mark.expect("one"), taken.deadline),
            (HeaderValue::from_static("a"), Some(7))
        );
        assert_eq!(lines(&map), ["x: y"]);
        for (lines, hops) in [
            (&[("x", "y")][..], 0),
            (&[("fluster-forwarded", "a")], 1),
            (&[("fluster-hops", "2"), ("fluster-forwarded", "a")], 2),
            (&[("fluster-hops", "many")], u8::MAX),
            (&[("fluster-hops", "1000")], u8::MAX),
        ] {
            assert_eq!(take(&mut headers(lines)).hops, hops, "{lines:?}");
        }
        for bad in ["", "-1", "1.5", "99999999999999999999999"] {
            let mut map = headers(&[("fluster-deadline-ms", bad)]);
            assert_eq!((take(&mut map).deadline, map.len()), (None, 0), "{bad}");
        }
    }

    #[test]
    fn what_belongs_to_a_connection_stays_there() {
        let map = headers(&[
            ("connection", "keep-alive, X-Private"),
            ("connection", "host, content-length, x-other,, bad name"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "secret"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("te", "gzip"),
            ("x-private", "1"),
            ("x-other", "1"),
            ("x-other", "2"),
            ("fluster-owner", "mine"),
            ("host", "limiter.example"),
            ("content-length", "3"),
            ("accept", "a"),
            ("accept", "b"),
        ]);
        let map = onward(&map, &Uri::from_static("/a"), Version::HTTP_11, None);
        let mut left = lines(&map);
        left.sort();
        assert_eq!(
            left,
            [
                "accept: a",
                "accept: b",
                "content-length: 3",
                "host: limiter.example",
                "x-forwarded-host: limiter.example",
                "x-forwarded-proto: http",
            ]
        );
    }

    #[test]
    fn who_takes_trailers_goes_on_to_get_them() {
        let sent = |version| {
            let map = headers(&[("te", "gzip, Trailers")]);
            let map = onward(&map, &Uri::from_static("/"), version, None);
            (map.get(TE).cloned(), map.get(CONNECTION).cloned())
        };
        let (te, connection) = sent(Version::HTTP_2);
        assert_eq!(
            (te.expect("te"), connection),
            (HeaderValue::from_static("trailers"), None)
        );
        assert_eq!(sent(Version::HTTP_11).1.expect("named"), "te");
    }

    #[test]
    fn the_way_of_a_request_is_told() {
        let uri = Uri::from_static("https://limiter.example:81/a");
        let client = Some(IpAddr::from([10, 0, 0, 1]));
        let map = headers(&[
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2"),
        ]);
        let map = onward(&map, &uri, Version::HTTP_2, client);
        assert_eq!(map["x-forwarded-for"], "1.1.1.1, 2.2.2.2, 10.0.0.1");
        assert_eq!(map["x-forwarded-host"], "limiter.example:81");
        assert_eq!(map["x-forwarded-proto"], "https");
        let map = headers(&[
            ("x-forwarded-host", "first"),
            ("x-forwarded-proto", "https"),
        ]);
        let map = onward(&map, &Uri::from_static("/"), Version::HTTP_11, None);
        assert_eq!(
            lines(&map),
            ["x-forwarded-host: first", "x-forwarded-proto: https"]
        );
    }

    #[test]
    fn other_protocols_are_recognized() {
        let wants = |method: Method, upgrade: &'static str| {
            wants_upgrade(&method, &headers(&[("upgrade", upgrade)]))
        };
        assert!(wants(Method::GET, "websocket") && wants(Method::GET, "h2c, websocket"));
        assert!(!wants(Method::GET, "h2c") && !wants(Method::GET, ""));
        assert!(wants(Method::CONNECT, ""));
    }

    #[test]
    fn an_answer_brings_nothing_of_ours_and_nothing_of_its_connection() {
        let mut map = headers(&[
            ("fluster-reason", "draining"),
            ("fluster-anything", "x"),
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("trailer", "grpc-status"),
        ]);
        backward(&mut map);
        assert_eq!(lines(&map), ["trailer: grpc-status"]);
    }
}
