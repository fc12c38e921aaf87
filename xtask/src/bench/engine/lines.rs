//! A plot of starts a second over the number of containers present, as SVG, with a
//! logarithmic scale: the engines lie two orders apart.

use serde_json::Value;
use std::fmt::Write as _;

const LEFT: f64 = 60.0;
const TOP: f64 = 40.0;
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 240.0;
/// What the vertical scale holds: 1 to 1,000 starts a second.
const DECADES: f64 = 3.0;
const MOST: f64 = 1000.0;

fn x(present: f64) -> f64 {
    LEFT + WIDTH * present / MOST
}

fn y(rate: f64) -> f64 {
    TOP + HEIGHT * (1.0 - rate.max(1.0).log10() / DECADES)
}

/// The plot of the part `starts`.
pub(super) fn plot(starts: &Value) -> String {
    let mut svg = String::new();
    // Writing to a string cannot fail.
    let mut line = |text: String| writeln!(svg, "{text}").unwrap_or_default();
    line("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 720 330\" font-family=\"sans-serif\" font-size=\"13\">".to_owned());
    line("<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>".to_owned());
    line("<text x=\"12\" y=\"22\" font-size=\"14\" fill=\"#222\">Starts a second over the containers present (line: one by one, dashes: 16 at a time)</text>".to_owned());
    for rate in [1.0, 10.0, 100.0, 1000.0] {
        line(format!(
            "<line x1=\"{LEFT}\" y1=\"{0:.1}\" x2=\"{1:.1}\" y2=\"{0:.1}\" stroke=\"#dddddd\"/><text x=\"{2:.1}\" y=\"{3:.1}\" text-anchor=\"end\" fill=\"#555\">{rate}</text>",
            y(rate),
            LEFT + WIDTH,
            LEFT - 6.0,
            y(rate) + 4.0
        ));
    }
    for present in [0.0, 100.0, 500.0, 1000.0] {
        line(format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555\">{present}</text>",
            x(present),
            TOP + HEIGHT + 20.0
        ));
    }
    for (name, color) in [("cais", "#1f6f8b"), ("podman", "#d99a5b"), ("docker", "#7a7a7a")] {
        for (key, dashes) in [("one_by_one", ""), ("sixteen", " stroke-dasharray=\"6 4\"")] {
            let points = points_of(starts, name, key);
            let Some(last) = points.last() else { continue };
            let path: Vec<String> = points
                .iter()
                .map(|(present, rate)| format!("{:.1},{:.1}", x(*present), y(*rate)))
                .collect();
            line(format!(
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"{dashes}/>",
                path.join(" ")
            ));
            line(format!(
                "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{color}\">{name} {:.0}/s</text>",
                x(last.0) + 8.0,
                y(last.1) + if dashes.is_empty() { 12.0 } else { -2.0 },
                last.1
            ));
        }
    }
    line("</svg>".to_owned());
    svg
}

/// The points of one engine: containers present, and starts a second.
fn points_of(starts: &Value, name: &str, key: &str) -> Vec<(f64, f64)> {
    let points = starts.get(name).and_then(Value::as_array);
    points
        .into_iter()
        .flatten()
        .filter_map(|point| Some((point.get("present")?.as_f64()?, point.get(key)?.as_f64()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_engine_that_was_not_measured_has_no_line() {
        let starts = json!({ "cais": [{ "present": 0, "one_by_one": 100.0, "sixteen": 200.0 }] });
        let svg = plot(&starts);
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains("cais 200/s") && !svg.contains("podman"));
    }
}
