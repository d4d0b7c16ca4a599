//! A configuration, from a file, from a part of an application's file, or from standard input.

use std::io::Read as _;
use std::ops::Range;
use std::path::Path;

use fluster::Config;

use crate::fault::Fault;
use crate::text::excerpt;

/// Longer ones are none; a thousand nodes have a tenth of it.
const LONGEST: u64 = 16 << 20;

/// What `--config` has, and how it is called in messages.
pub fn read(file: &Path, section: Option<&str>) -> Result<(String, Config), Fault> {
    let (name, text) = match file == Path::new("-") {
        true => ("standard input".to_owned(), from_input()?),
        false => {
            let name = file.display().to_string();
            let text = std::fs::read_to_string(file).map_err(|e| unreadable(&name, &e))?;
            (name, text)
        }
    };
    // A file of TOML cannot begin like this, and a file of JSON always does.
    let config = match text.trim_start().starts_with('{') {
        true => json(&name, &text, section),
        false => toml(&name, &text, section),
    };
    Ok((name, config?))
}

fn from_input() -> Result<String, Fault> {
    let mut text = String::new();
    let input = std::io::stdin().lock().take(LONGEST + 1);
    let mut input = input;
    input
        .read_to_string(&mut text)
        .map_err(|e| unreadable("standard input", &e))?;
    match text.len() as u64 > LONGEST {
        true => Err(Fault::usage("standard input: longer than 16 MiB")),
        false => Ok(text),
    }
}

fn unreadable(name: &str, e: &std::io::Error) -> Fault {
    Fault::usage(format!("{name}: the configuration cannot be read: {e}"))
}

fn toml(name: &str, text: &str, section: Option<&str>) -> Result<Config, Fault> {
    let said = |e: &toml::de::Error| {
        let why = e
            .message()
            .replace("expected u32", "expected a whole number from 1 up");
        format!("{}: {why}", place(text, e.span()))
    };
    let Some(section) = section else {
        return toml::from_str(text).map_err(|e| {
            let hint = match e.message().starts_with("unknown field") && has_sections(text) {
                true => "; if it is a part of this file, name it by --section",
                false => "",
            };
            Fault::usage(format!("{name}, {}{hint}", said(&e)))
        });
    };
    let table: toml::Table =
        toml::from_str(text).map_err(|e| Fault::usage(format!("{name}, {}", said(&e))))?;
    let mut at = &toml::Value::Table(table);
    for part in section.split('.') {
        at = at.get(part).ok_or_else(|| no_section(name, section))?;
    }
    at.clone().try_into().map_err(|e: toml::de::Error| {
        // Without a line: it is a tree by now.
        let why = e.message();
        Fault::usage(format!(
            "{name}, section {}: {why}",
            excerpt(section.as_bytes())
        ))
    })
}

fn has_sections(text: &str) -> bool {
    text.lines().any(|line| line.starts_with('['))
}

fn json(name: &str, text: &str, section: Option<&str>) -> Result<Config, Fault> {
    let wrong = |e: serde_json::Error| {
        let why = e.to_string();
        Fault::usage(format!("{name}: {why}"))
    };
    let Some(section) = section else {
        return serde_json::from_str(text).map_err(wrong);
    };
    let mut tree: serde_json::Value = serde_json::from_str(text).map_err(wrong)?;
    for part in section.split('.') {
        let inside = tree.get_mut(part).map(serde_json::Value::take);
        tree = inside.ok_or_else(|| no_section(name, section))?;
    }
    serde_json::from_value(tree).map_err(wrong)
}

fn no_section(name: &str, section: &str) -> Fault {
    Fault::usage(format!(
        "{name}: there is no section {}: write it as `redis`, or `app.redis` for one inside another",
        excerpt(section.as_bytes())
    ))
}

/// The line, and the field when the line shows which, that the parser's complaint is about. Never the value: it
/// may be a URL.
fn place(text: &str, span: Option<Range<usize>>) -> String {
    let Some(before) = span.and_then(|span| text.get(..span.start)) else {
        return "somewhere in it".to_owned();
    };
    let line = format!("line {}", before.matches('\n').count() + 1);
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let field = before
        .trim_end()
        .strip_suffix('=')
        .map(str::trim_end)
        .and_then(|before| {
            let start = before.trim_end_matches(is_bare).len();
            Some(&before[start..]).filter(|field| !field.is_empty())
        });
    match field {
        Some(field) => format!("{line}, `{field}`"),
        None => line,
    }
}

/// The first line of a file that holds a secret, and nothing else.
pub fn secret(option: &str, file: &Path) -> Result<String, Fault> {
    let wrong = |why: &str| Fault::usage(format!("{option} {}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|e| wrong(&e.to_string()))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err(wrong("its first line is empty, where the secret belongs")),
    }
}
