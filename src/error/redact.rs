//! Redaction: foreign words without the secrets in them. The only place that decides what a secret looks
//! like; it goes before any cutting and escaping, which would leave a part of a secret that nobody knows.

// By their paths, as the program has this file too.
#[path = "redact/known.rs"]
mod known;

use core::net::{IpAddr, Ipv6Addr};

/// Stands where a secret was.
pub(crate) const CUT: &str = "<redacted>";
/// More of foreign words is not looked at, as a line shows much less. In bytes.
const LOOKED_AT: usize = 16 << 10;
/// So much of a secret's beginning is one, where the rest was cut off. In characters.
const TELLING: usize = 4;

/// The words without these secrets, in whatever way they are escaped, and without what stands where
/// secrets stand: before the `@` of a URL, behind a `password=`, among the arguments that a server repeats.
pub(crate) fn redacted(words: &str, secrets: &[&str]) -> String {
    let mut end = words.len().min(LOOKED_AT);
    while !words.is_char_boundary(end) {
        end -= 1;
    }
    let words = &words[..end];
    // A server that does not know AUTH or HELLO quotes their arguments, cut short.
    let words = match words.find(", with args beginning with") {
        Some(at) => &words[..at],
        None => words,
    };
    // The longest first: a shorter one may be a part of it.
    let mut secrets = secrets.to_vec();
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    let words = secrets.iter().fold(words.to_owned(), |words, secret| {
        known::without(&words, secret)
    });
    without_pairs(&without_users(&without_urls(&words)))
}

/// Whether the words, such as a node's name, have a secret in them that anybody can see to be one.
pub(crate) fn has_secret(words: &str) -> bool {
    // The usual case is no case: each change of the nodes looks at all their names.
    let has_user = words.contains('@')
        && words
            .split_once("://")
            .is_some_and(|(_, rest)| rest.contains('@'));
    has_user || (pair(words).is_some() && without_pairs(words) != words)
}

/// A text that was to be a URL and is none, so that a password may stand anywhere in it. What is left is what
/// can be nothing else: the scheme, a host, a port and a database that are ones, the path of a socket.
pub(crate) fn redacted_url(text: &str) -> String {
    let text = text.trim_matches(|c: char| c.is_whitespace() || c.is_control());
    let Some((scheme, rest)) = text
        .split_once("://")
        .filter(|(scheme, _)| is_scheme(scheme))
    else {
        let is_address = text.parse::<IpAddr>().is_ok()
            || host_and_port(text).is_some_and(|length| length == text.len() && text.contains(':'));
        return if is_address { text } else { CUT }.to_owned();
    };
    let scheme = scheme.to_ascii_lowercase();
    if scheme.contains("unix") {
        let is_path = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        let path = &rest[..rest.find(|c| !is_path(c)).unwrap_or(rest.len())];
        let path = if path.starts_with('/') { path } else { "" };
        let cut = match rest[path.len()..].chars().next() {
            None | Some('?' | '#') => "",
            _ => CUT,
        };
        return format!("{scheme}://{path}{cut}");
    }
    let (user, rest) = match rest.rsplit_once('@') {
        // It may be the password's own, in a query or a path: what follows is a host to nobody.
        Some((before, _)) if before.contains(['/', '?', '#']) => (CUT, ""),
        Some((_, rest)) => ("<redacted>@", rest),
        None => ("", rest),
    };
    let Some(length) = host_and_port(rest) else {
        // `user:password` without a host: the user is no secret.
        let name = &rest[..host(rest)];
        let cut = if rest.is_empty() { "" } else { CUT };
        return format!("{scheme}://{user}{name}{cut}");
    };
    let (address, rest) = rest.split_at(length);
    let digits = rest.strip_prefix('/').map_or(0, |path| {
        1 + path
            .bytes()
            .take_while(|b| b.is_ascii_digit() || *b == b'-')
            .count()
    });
    let (db, rest) = rest.split_at(digits);
    let cut = match rest.chars().next() {
        None | Some('?' | '#') => "",
        _ => CUT,
    };
    format!("{scheme}://{user}{address}{db}{cut}")
}

/// Whether the text can be a scheme, rather than a part of a password.
fn is_scheme(text: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphabetic() || c == '+';
    !text.is_empty() && text.len() <= 20 && text.chars().all(is_letter)
}

/// The length of the host at the start: letters, digits, `-._`, or an address in brackets, with its zone.
fn host(text: &str) -> usize {
    if let Some((inside, _)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let (ip, zone) = inside.split_once('%').unwrap_or((inside, ""));
        let is_zone = zone
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        let is_ip = ip.parse::<Ipv6Addr>().is_ok();
        return if is_ip && is_zone {
            inside.len() + 2
        } else {
            0
        };
    }
    let is_host = |c: char| c.is_alphanumeric() || "-._".contains(c);
    text.find(|c| !is_host(c)).unwrap_or(text.len())
}

/// The length of `host[:port]` at the start, when there is one and it ends there.
fn host_and_port(text: &str) -> Option<usize> {
    let host = host(text);
    let Some(port) = text[host..].strip_prefix(':') else {
        return (host > 0).then_some(host);
    };
    let digits = port.bytes().take_while(u8::is_ascii_digit).count();
    let ends = |c: char| c.is_whitespace() || "/?#,;)]'\"`".contains(c);
    let behind = &port[digits..];
    // A colon of prose ends it too.
    let behind = behind
        .strip_prefix(':')
        .filter(|rest| !rest.starts_with(|c: char| !c.is_whitespace()))
        .unwrap_or(behind);
    let is_port = (1..=5).contains(&digits) && behind.chars().next().is_none_or(ends);
    (host > 0 && is_port).then_some(host + 1 + digits)
}

/// Where a word of prose ends that holds something foreign.
fn ends_word(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '`')
}

/// The URLs in the words without their users, their passwords and their queries.
fn without_urls(words: &str) -> String {
    let mut safe = String::with_capacity(words.len());
    let mut rest = words;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + "://".len());
        safe.push_str(before);
        let next = next_url(after);
        let url = &after[..next.unwrap_or(after.len())];
        let prose = push_url(before, url, next.is_some(), &mut safe);
        rest = &after[url.len() - prose.len()..];
    }
    safe.push_str(rest);
    safe
}

/// Adds what may be shown of a URL behind its `://`; returns what follows it, up to another one if one `follows`.
fn push_url<'a>(before: &str, url: &'a str, follows: bool, safe: &mut String) -> &'a str {
    // To the next blank: a quote may be the secret's own. But what was cut already ends there.
    let word = |text: &'a str| match text.strip_prefix(CUT) {
        Some(rest) if rest.is_empty() || rest.starts_with(ends_word) => rest,
        _ => &text[text.find(char::is_whitespace).unwrap_or(text.len())..],
    };
    let url = match url.rsplit_once('@') {
        // As in `redacted_url`: it may be no host that follows.
        Some((user, rest)) if user.contains(['/', '?', '#']) => {
            safe.push_str(CUT);
            return word(rest);
        }
        Some((_, rest)) => {
            safe.push_str("<redacted>@");
            rest
        }
        None => url,
    };
    let is_http = before.ends_with("http://") || before.ends_with("https://");
    let is_path = |c: char| match is_http || url.starts_with('/') {
        true => c.is_ascii_alphanumeric() || "/._-:".contains(c),
        false => c.is_ascii_digit(),
    };
    let address = match host_and_port(url) {
        Some(length) => length,
        None if url.starts_with('/') => 0,
        None if url.is_empty() || url.starts_with(ends_word) => return url,
        // Somebody has done it already.
        None if word(url).len() + CUT.len() == url.len() && url.starts_with(CUT) => {
            safe.push_str(CUT);
            return word(url);
        }
        // `user:password` with the host missing: where it ends, nobody knows.
        None => {
            safe.push_str(CUT);
            return "";
        }
    };
    let path = url[address..].strip_prefix('/').map_or(0, |path| {
        1 + path.find(|c| !is_path(c)).unwrap_or(path.len())
    });
    let (shown, rest) = url.split_at(address + path);
    // Punctuation ends it where the word ends too, and a quote where it was opened by one: what looks like a host and a
    // port may be a user and the first digits of a password.
    let scheme = |c: char| c.is_ascii_alphabetic() || c == '+';
    let opening = before.trim_end_matches("://").trim_end_matches(scheme);
    let opening = opening.chars().next_back().filter(|c| "\"'`".contains(*c));
    let behind = rest.trim_start_matches(|c: char| ",;:)]}>.".contains(c) || Some(c) == opening);
    // `a=redis://h,b=redis://i`
    let name = behind.strip_suffix('=').unwrap_or(behind);
    let is_name = follows
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || "._-".contains(c));
    if is_name || behind.chars().next().is_none_or(char::is_whitespace) {
        safe.push_str(shown);
        return rest;
    }
    if rest.starts_with(['/', '?', '#']) || path > 0 {
        safe.push_str(shown);
    }
    safe.push_str(CUT);
    word(rest)
}

/// Where the scheme of another URL begins, that cannot be a part of this one's password.
fn next_url(text: &str) -> Option<usize> {
    text.match_indices("://").find_map(|(at, _)| {
        let scheme = text[..at].rfind(|c: char| !(c.is_ascii_alphabetic() || c == '+'));
        let start = scheme.map_or(0, |before| {
            before + text[before..].chars().next().map_or(1, char::len_utf8)
        });
        let begins = |c: char| ends_word(c) || "=,;(<[{|".contains(c);
        let is_start = text[..start].chars().next_back().is_some_and(begins);
        (is_start && start < at).then_some(start)
    })
}

/// Words such as `user:password@host`, a URL that has lost its scheme.
fn without_users(words: &str) -> String {
    let mut safe = String::with_capacity(words.len());
    for word in words.split_inclusive(char::is_whitespace) {
        match word.rsplit_once('@') {
            Some((user, host)) if user.contains(':') && !user.contains("://") => {
                safe.push_str(CUT);
                safe.push('@');
                safe.push_str(host);
            }
            _ => safe.push_str(word),
        }
    }
    safe
}

/// `password=..`, `"token": ".."` and their like without their values. A value ends with the word: a `&` or a
/// comma may be its own.
fn without_pairs(words: &str) -> String {
    let mut safe = String::with_capacity(words.len());
    let mut rest = words;
    while let Some((name, value)) = pair(rest) {
        safe.push_str(&rest[..name]);
        safe.push_str(CUT);
        rest = &rest[value..];
    }
    safe.push_str(rest);
    safe
}

/// Where the value of the first pair begins, and where it ends.
fn pair(words: &str) -> Option<(usize, usize)> {
    const KEYS: [&str; 5] = ["pass", "pwd", "secret", "token", "credential"];
    let bytes = words.as_bytes();
    // The end of the key that begins here. By bytes: each node's name goes through it at each change.
    let key_at = |at: usize| {
        matches!(bytes[at] | 0x20, b'p' | b's' | b't' | b'c').then_some(())?;
        let is_here = |key: &&&str| {
            let here = bytes.get(at..at + key.len());
            here.is_some_and(|here| here.eq_ignore_ascii_case(key.as_bytes()))
        };
        Some(at + KEYS.iter().find(is_here)?.len())
    };
    let mut from = 0;
    loop {
        let key = (from..bytes.len()).find_map(key_at)?;
        from = key;
        let is_word = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        let name = key
            + words[key..]
                .find(|c| !is_word(c))
                .unwrap_or(words.len() - key);
        let behind = words[name..].trim_start_matches(['"', '\'', '`', '\\']);
        let is_quoted = behind.len() < words.len() - name;
        let sign = behind.trim_start_matches(' ');
        let value = match sign.chars().next() {
            Some('=') => &sign[1..],
            // In prose a colon is a colon.
            Some(':') if is_quoted || !sign[1..].starts_with(ends_word) => &sign[1..],
            _ => continue,
        };
        let value = value.trim_start_matches([' ', '\\']);
        let open = value
            .chars()
            .next()
            .filter(|c| matches!(c, '"' | '\'' | '`'));
        let body = &value[open.map_or(0, char::len_utf8)..];
        let word = body.find(char::is_whitespace).unwrap_or(body.len());
        // A sign that may end a pair ends it before a space: `"";more` is one secret.
        let goes_on = |rest: &str| {
            let behind = rest.trim_start_matches([',', ';', ')', ']', '}']);
            !behind.is_empty() && !behind.starts_with(char::is_whitespace)
        };
        let length = match open.map(|quote| closing(body, quote)) {
            // A quote in the middle of a secret is no end of it.
            Some(end) if body.len() > end + 1 && goes_on(&body[end + 1..]) => word.max(end),
            Some(end) => end,
            None => word,
        };
        let start = words.len() - body.len();
        // Cut already, or empty.
        if length == 0 || body[..length].starts_with(CUT) {
            from = start + length.max(1).min(body.len());
            if from >= words.len() {
                return None;
            }
            while !words.is_char_boundary(from) {
                from += 1;
            }
            continue;
        }
        return Some((start, start + length));
    }
}

/// Where the quote closes that was opened before `body`.
fn closing(body: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in body.char_indices() {
        match c {
            '\\' => escaped = !escaped,
            c if c == quote && !escaped => return at,
            _ => escaped = false,
        }
    }
    body.len()
}

#[cfg(test)]
#[path = "redact/tests.rs"]
mod tests;
