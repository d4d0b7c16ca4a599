//! Who may ask for what. A browser is the attacker's tool: whatever it sends by itself, for a foreign page, is refused.

use std::net::IpAddr;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN};
use http::{HeaderMap, Method, Uri};

use super::host::{host_of, is_ours};
use super::refusal::Refusal;
use super::route::{NoRoute, Route};
use super::token::Token;

/// What the application said.
#[derive(Clone, Debug, Default)]
pub(super) struct Access {
    pub(super) token: Option<Token>,
    pub(super) allow_actions: bool,
    /// In small letters.
    pub(super) hosts: Vec<String>,
    /// Mounted in a service of the application.
    pub(super) is_mounted: bool,
    /// Which has seen to who may read.
    pub(super) own_auth: bool,
}

/// The head of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a> {
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
    /// Our end of its connection, where we know it.
    pub(super) local: Option<IpAddr>,
}

impl Access {
    /// What the request gets, if anything.
    pub(super) fn judge(&self, head: Head<'_>) -> Result<Route, Refusal> {
        let authority = self.judge_host(head)?;
        let route = Route::of(head.method, head.uri.path());
        judge_origin(head, authority, route == Ok(Route::Page))?;
        let route = route.map_err(|no| match no {
            NoRoute::Path => Refusal::NoPath,
            NoRoute::Method(methods) => Refusal::Method(methods),
        })?;
        // No form and no image of a foreign page can send this type.
        if head.method == Method::POST && !is_json(head.headers) {
            return Err(Refusal::NotJson);
        }
        let is_action = matches!(route, Route::Act(_));
        if is_action && !self.allow_actions {
            return Err(Refusal::ReadOnly);
        }
        if !self.may(route, head.headers) {
            return Err(match bearer(head.headers) {
                Some(_) => Refusal::WrongToken,
                None => Refusal::Token,
            });
        }
        Ok(route)
    }

    /// Whether who asks has shown that it may.
    fn may(&self, route: Route, headers: &HeaderMap) -> bool {
        let is_action = matches!(route, Route::Act(_));
        if route.is_bare() || (self.own_auth && !is_action) {
            return true;
        }
        match &self.token {
            Some(token) => bearer(headers).is_some_and(|given| token.is(given)),
            None => !is_action && !self.is_mounted,
        }
    }

    /// The one authority that the request names, when it is one of ours.
    fn judge_host<'a>(&self, head: Head<'a>) -> Result<&'a str, Refusal> {
        let mut named = head.headers.get_all(HOST).iter();
        let header = named.next().map(|value| value.to_str().ok());
        let in_uri = head
            .uri
            .authority()
            .map(|authority| Some(authority.as_str()));
        let authority = match (header, in_uri, named.next()) {
            (Some(one), None, None) | (None, Some(one), None) => one,
            (Some(one), Some(other), None) if one == other => one,
            _ => None,
        };
        let authority = authority.ok_or(Refusal::Host)?;
        let host = host_of(authority).ok_or(Refusal::Host)?;
        // One's own service is asked by whatever names it has, unless they are told.
        let is_any = self.is_mounted && self.hosts.is_empty();
        match is_any || is_ours(&host, head.local, &self.hosts) {
            true => Ok(authority),
            false => Err(Refusal::Host),
        }
    }
}

/// Refuses what a browser sends for a page of somebody else.
fn judge_origin(head: Head<'_>, authority: &str, is_page: bool) -> Result<(), Refusal> {
    for origin in head.headers.get_all(ORIGIN) {
        let origin = origin.to_str().unwrap_or_default();
        let own = ["http://", "https://"]
            .iter()
            .find_map(|scheme| origin.strip_prefix(scheme));
        if own.is_none_or(|own| !own.eq_ignore_ascii_case(authority)) {
            return Err(Refusal::Foreign);
        }
    }
    let told = |name: &str| {
        let value = head.headers.get(name)?;
        Some(value.to_str().unwrap_or_default())
    };
    // A link that somebody follows may lead to the page, which shows nothing by itself.
    let is_followed = is_page && told("sec-fetch-mode") == Some("navigate");
    match told("sec-fetch-site") {
        None | Some("same-origin" | "none") => Ok(()),
        Some(_) if is_followed => Ok(()),
        Some(_) => Err(Refusal::Foreign),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(one), None) = (types.next(), types.next()) else {
        return false;
    };
    let one = one.to_str().unwrap_or_default();
    let kind = one.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/json")
}

/// What follows `Bearer`, in the one header that may carry a token.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let (Some(one), None) = (given.next(), given.next()) else {
        return None;
    };
    let (scheme, token) = one.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
}

#[cfg(test)]
mod tests;
