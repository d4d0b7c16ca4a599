//! The picture of `fluster ring`: a bar per node, and a mark where it should end.

use std::fmt::Write as _;

use crate::grid::percent;
use crate::shares::Shares;

const ROW: usize = 22;
const BAR: usize = 14;
const TOP: usize = 58;
/// Where bars begin: right of the names.
const LEFT: usize = 180;
/// How long the longest bar is, or the mark that is further right.
const WIDTH: f64 = 460.0;
/// Right of the longest bar there is room for its figure.
const RIGHT: usize = 170;
/// Longer names are cut; they would run into the bars.
const LONGEST_NAME: usize = 24;

/// SVG 1.1, without scripts, fonts or anything else from outside.
pub fn drawn(shares: &Shares) -> String {
    let longest = shares.nodes.iter().map(|node| node.ideal.max(node.real));
    let longest = longest.fold(f64::MIN_POSITIVE, f64::max);
    let length = |share: f64| WIDTH * share / longest;
    let (width, height) = (
        LEFT + WIDTH as usize + RIGHT,
        TOP + ROW * shares.nodes.len() + 16,
    );
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"16\" y=\"24\" font-size=\"15\">Share of the keys per node</text>\n\
         <text x=\"16\" y=\"42\" fill=\"#666\">{}: standard deviation {}; bar: real, line: ideal</text>\n",
        escaped(&shares.title()),
        percent(shares.standard_deviation)
    );
    for (n, node) in shares.nodes.iter().enumerate() {
        let (top, base) = (TOP + ROW * n, TOP + ROW * n + BAR - 3);
        // `write!` into a string cannot fail.
        let _ = writeln!(
            svg,
            "<g><title>{name}: {real} of {ideal}</title>\
             <text x=\"{end}\" y=\"{base}\" text-anchor=\"end\">{short}</text>\
             <rect x=\"{LEFT}\" y=\"{top}\" width=\"{bar:.1}\" height=\"{BAR}\" fill=\"{fill}\"/>\
             <line x1=\"{mark:.1}\" x2=\"{mark:.1}\" y1=\"{from}\" y2=\"{to}\" stroke=\"#222\" stroke-width=\"2\"/>\
             <text x=\"{figure:.1}\" y=\"{base}\" fill=\"#444\">{real} ({ratio:.3})</text></g>",
            name = escaped(&node.name),
            short = escaped(&short(&node.name)),
            real = percent(node.real),
            ideal = percent(node.ideal),
            ratio = node.ratio(),
            end = LEFT - 8,
            bar = length(node.real),
            // Too much and too little are told apart without reading.
            fill = if node.real > node.ideal {
                "#d98a4b"
            } else {
                "#5b8fc7"
            },
            mark = LEFT as f64 + length(node.ideal),
            from = top.saturating_sub(2),
            to = top + BAR + 2,
            figure = LEFT as f64 + length(node.real.max(node.ideal)) + 8.0,
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn short(name: &str) -> String {
    match name.chars().count() > LONGEST_NAME {
        true => name
            .chars()
            .take(LONGEST_NAME - 1)
            .chain(['\u{2026}'])
            .collect(),
        false => name.to_owned(),
    }
}

/// Text for XML, which has no place for most control characters, escaped or not.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}
