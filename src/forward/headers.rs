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
}

/// Takes out what is ours, whatever else is done with the request: nobody else ever sees it.
pub(crate) fn take(headers: &mut HeaderMap) -> Taken {
    let mark = headers.remove(mark::HEADER);
    let deadline = headers.remove(DEADLINE);
    let deadline = deadline.and_then(|value| value.to_str().ok()?.parse().ok());
    Taken { mark, deadline }
}

/// Takes everything out that is ours.
pub(crate) fn strip_ours(headers: &mut HeaderMap) {
    let ours: Vec<_> = headers
        .keys()
        .filter(|name| name.as_str().starts_with(OURS))
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

/// Takes out what belongs to one connection: the known ones, and those that `Connection` names. The host and the length
/// are of the message, whoever names them.
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<_> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(tokens)
        .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
        .filter(|name| *name != HOST && *name != CONTENT_LENGTH)
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// A request as it goes on: everything as it came, but for what belongs to its connection, and with the way it came.
pub(crate) fn onward(headers: &mut HeaderMap, uri: &Uri, version: Version, client: Option<IpAddr>) {
    let takes_trailers = {
        let mut wanted = headers.get_all(TE).iter().flat_map(tokens);
        wanted.any(|coding| coding.eq_ignore_ascii_case("trailers"))
    };
    strip_hop_by_hop(headers);
    strip_ours(headers);
    if takes_trailers {
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
        let scheme = uri.scheme_str().unwrap_or("http");
        if let Ok(scheme) = HeaderValue::from_str(scheme) {
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
}

/// An answer as it goes back.
pub(crate) fn backward(headers: &mut HeaderMap) {
    strip_hop_by_hop(headers);
    strip_ours(headers);
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
        for bad in ["", "-1", "1.5", "99999999999999999999999"] {
            let mut map = headers(&[("fluster-deadline-ms", bad)]);
            assert_eq!((take(&mut map).deadline, map.len()), (None, 0), "{bad}");
        }
    }

    #[test]
    fn what_belongs_to_a_connection_stays_there() {
        let mut map = headers(&[
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
        onward(&mut map, &Uri::from_static("/a"), Version::HTTP_11, None);
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
            let mut map = headers(&[("te", "gzip, Trailers")]);
            onward(&mut map, &Uri::from_static("/"), version, None);
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
        let mut map = headers(&[
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2"),
        ]);
        onward(&mut map, &uri, Version::HTTP_2, client);
        assert_eq!(map["x-forwarded-for"], "1.1.1.1, 2.2.2.2, 10.0.0.1");
        assert_eq!(map["x-forwarded-host"], "limiter.example:81");
        assert_eq!(map["x-forwarded-proto"], "https");
        let mut map = headers(&[
            ("x-forwarded-host", "first"),
            ("x-forwarded-proto", "https"),
        ]);
        onward(&mut map, &Uri::from_static("/"), Version::HTTP_11, None);
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
