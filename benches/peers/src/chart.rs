//! Line charts as SVG, legible on light and on dark ground.

use std::fmt::Write as _;

/// One line of a chart: its points, and how far each spreads where that is known.
pub struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// A chart; both axes are logarithmic, as is everything that grows by factors.
pub struct Chart {
    pub title: String,
    pub x: &'static str,
    pub y: &'static str,
    pub lines: Vec<Line>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 200.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 52.0;

/// Told apart by everybody, and by their marks in black and white (Okabe and Ito's palette).
const COLOURS: [&str; 8] = [
    "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#7f7f7f",
];
/// Grey that stands out from white and from black.
const INK: &str = "#768390";

impl Chart {
    /// The chart; `None` when there is nothing to draw.
    #[must_use]
    pub fn svg(&self) -> Option<String> {
        let points = || {
            self.lines
                .iter()
                .flat_map(|line| line.points.iter().copied())
        };
        let range = |of: fn((f64, f64)) -> f64| {
            let all = || points().map(of).filter(|n| *n > 0.0);
            let low = all().fold(f64::INFINITY, f64::min);
            let high = all().fold(0.0, f64::max);
            (low <= high).then_some((low, high))
        };
        let (x_low, x_high) = range(|(x, _)| x)?;
        let (y_low, y_high) = range(|(_, y)| y)?;
        let (y_low, y_high) = (y_low / 1.3, y_high * 1.3);
        let place = |n: f64, low: f64, high: f64| {
            if high > low {
                (n / low).ln() / (high / low).ln()
            } else {
                0.5
            }
        };
        let x_of = |x: f64| LEFT + place(x, x_low, x_high) * (WIDTH - LEFT - RIGHT);
        let y_of = |y: f64| HEIGHT - BOTTOM - place(y, y_low, y_high) * (HEIGHT - TOP - BOTTOM);

        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-label=\"{0}\" font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"{INK}\">\n\
             <title>{0}</title>\n<text x=\"{LEFT}\" y=\"22\" font-size=\"15\" font-weight=\"600\">{0}</text>\n",
            escape(&self.title)
        );
        for y in ticks(y_low, y_high) {
            let at = y_of(y);
            let _ = writeln!(
                svg,
                "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"{INK}\" stroke-opacity=\"0.25\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 8.0,
                at + 4.0,
                short(y)
            );
        }
        let mut marks: Vec<f64> = points().map(|(x, _)| x).collect();
        marks.sort_by(f64::total_cmp);
        marks.dedup();
        for x in marks {
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                x_of(x),
                HEIGHT - BOTTOM + 18.0,
                short(x)
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n\
             <text x=\"16\" y=\"{:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 16 {:.1})\">{}</text>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            HEIGHT - 12.0,
            escape(self.x),
            (TOP + HEIGHT - BOTTOM) / 2.0,
            (TOP + HEIGHT - BOTTOM) / 2.0,
            escape(self.y)
        );
        self.draw(&mut svg, &x_of, &y_of);
        svg.push_str("</svg>\n");
        Some(svg)
    }

    fn draw(&self, svg: &mut String, x_of: &dyn Fn(f64) -> f64, y_of: &dyn Fn(f64) -> f64) {
        // Names stand at the ends of their lines, moved apart where they would cover each other.
        let mut names: Vec<(f64, usize)> = Vec::new();
        for (n, line) in self.lines.iter().enumerate() {
            let colour = COLOURS[n % COLOURS.len()];
            let path: Vec<String> = line
                .points
                .iter()
                .map(|&(x, y)| format!("{:.1},{:.1}", x_of(x), y_of(y)))
                .collect();
            let width = if n == 0 { 3 } else { 2 };
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"/>",
                path.join(" ")
            );
            for &(x, y) in &line.points {
                let _ = writeln!(
                    svg,
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\" fill=\"{colour}\"><title>{}: {}</title></circle>",
                    x_of(x),
                    y_of(y),
                    short(x),
                    short(y)
                );
            }
            if let Some(&(_, y)) = line.points.last() {
                names.push((y_of(y), n));
            }
        }
        names.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut free = TOP;
        for (y, n) in names {
            let at = y.max(free);
            free = at + 15.0;
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{}\">{}</text>",
                WIDTH - RIGHT + 12.0,
                at + 4.0,
                COLOURS[n % COLOURS.len()],
                escape(&self.lines[n].name)
            );
        }
    }
}

/// 1, 2 and 5 of each power of ten, fewer when those are many.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let powers = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let steps: &[f64] = if (high / low).log10() > 2.5 {
        &[1.0]
    } else {
        &[1.0, 2.0, 5.0]
    };
    powers
        .flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)))
        .filter(|tick| (low..=high).contains(tick))
        .collect()
}

fn short(n: f64) -> String {
    let (n, unit) = match n {
        n if n >= 1e6 => (n / 1e6, "M"),
        n if n >= 1e4 => (n / 1e3, "k"),
        n => (n, ""),
    };
    let digits = if n >= 10.0 || n.fract() == 0.0 { 0 } else { 1 };
    format!("{n:.digits$}{unit}")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}
