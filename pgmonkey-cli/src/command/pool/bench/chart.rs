//! Draws throughput by pool size.

use std::fmt::Write;

use super::measure::Measured;

/// The length of a text bar: with its labels a line fits into 80 columns.
const BAR: f64 = 50.0;

/// A bar chart in text; the recommended size is marked.
pub(crate) fn text(sizes: &[Measured], chosen: u32) -> String {
    let best = best(sizes);
    let mut text = String::new();
    for row in sizes {
        let length = (row.per_second / best * BAR).round().max(1.0) as usize;
        let mark = if row.size == chosen { " <-" } else { "" };
        let bar = "\u{2588}".repeat(length);
        let _ = writeln!(text, "{:>8} {bar} {:.0}/s{mark}", row.size, row.per_second);
    }
    text
}

/// An SVG chart, with the 99th percentile of the latency as a line.
pub(crate) fn svg(sizes: &[Measured], chosen: u32) -> String {
    const WIDTH: f64 = 640.0;
    const HEIGHT: f64 = 360.0;
    const EDGE: f64 = 60.0;
    let (best, slowest) = (best(sizes), slowest(sizes));
    let step = (WIDTH - 2.0 * EDGE) / sizes.len() as f64;
    let floor = HEIGHT - EDGE;
    let up = |share: f64| floor - share * (HEIGHT - 2.0 * EDGE);
    let mut body = String::new();
    let mut line = Vec::new();
    for (index, row) in sizes.iter().enumerate() {
        let centre = EDGE + step * (index as f64 + 0.5);
        let top = up(row.per_second / best);
        let colour = if row.size == chosen {
            "#2b8a3e"
        } else {
            "#74a9d8"
        };
        let _ = writeln!(
            body,
            "<rect x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>\n\
             <text x=\"{centre:.1}\" y=\"{:.1}\">{:.0}/s</text>\n\
             <text x=\"{centre:.1}\" y=\"{:.1}\">{}</text>",
            centre - step * 0.3,
            step * 0.6,
            floor - top,
            top - 6.0,
            row.per_second,
            floor + 18.0,
            row.size,
        );
        let height = up(row.latency_ms.p99 / slowest);
        line.push(format!("{centre:.1},{height:.1}"));
        let _ = writeln!(
            body,
            "<circle cx=\"{centre:.1}\" cy=\"{height:.1}\" r=\"3\" fill=\"#c92a2a\"><title>p99 {:.3} ms</title></circle>",
            row.latency_ms.p99
        );
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\" text-anchor=\"middle\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{x:.1}\" y=\"24\" font-size=\"15\">Throughput by max_size (bars), p99 latency up to {slowest:.1} ms (line)</text>\n\
         {body}<polyline points=\"{points}\" fill=\"none\" stroke=\"#c92a2a\"/>\n\
         <text x=\"{x:.1}\" y=\"{y:.1}\">max_size; recommended: {chosen}</text>\n\
         </svg>\n",
        x = WIDTH / 2.0,
        y = HEIGHT - 18.0,
        points = line.join(" "),
    )
}

fn best(sizes: &[Measured]) -> f64 {
    let rates = sizes.iter().map(|row| row.per_second);
    rates.fold(f64::MIN_POSITIVE, f64::max)
}

fn slowest(sizes: &[Measured]) -> f64 {
    let latencies = sizes.iter().map(|row| row.latency_ms.p99);
    latencies.fold(f64::MIN_POSITIVE, f64::max)
}
