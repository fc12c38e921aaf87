//! A bar chart as SVG, with a logarithmic scale: the contenders lie two orders apart.

use std::fmt::Write as _;

/// Bars for name, median, p10 and p90.
pub(crate) fn bars(title: &str, rows: &[(String, f64, f64, f64)]) -> String {
    const LEFT: f64 = 190.0;
    const WIDTH: f64 = 470.0;
    let largest = rows.iter().map(|row| row.3).fold(1.0, f64::max);
    let decades = largest.log10().ceil().max(1.0);
    let x = |value: f64| LEFT + WIDTH * value.max(1.0).log10() / decades;
    let height = 70 + rows.len() * 26;
    let mut svg = String::new();
    // Writing to a string cannot fail.
    let mut line = |text: String| writeln!(svg, "{text}").unwrap_or_default();
    line(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 750 {height}\" font-family=\"sans-serif\" font-size=\"13\">"
    ));
    line("<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>".to_owned());
    line(format!(
        "<text x=\"12\" y=\"22\" font-size=\"14\" fill=\"#222\">{title}</text>"
    ));
    let mut tick = 1.0;
    while tick <= 10f64.powf(decades) {
        let at = x(tick);
        line(format!(
            "<line x1=\"{at:.1}\" y1=\"36\" x2=\"{at:.1}\" y2=\"{}\" stroke=\"#dddddd\"/>",
            height - 24
        ));
        line(format!(
            "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#555\">{tick}</text>",
            height - 8
        ));
        tick *= 10.0;
    }
    for (index, (name, median, p10, p90)) in rows.iter().enumerate() {
        let y = 40.0 + 26.0 * f64::from(u32::try_from(index).unwrap_or(0));
        let fill = if name.starts_with("cais") {
            "#1f6f8b"
        } else if name.starts_with("floor") {
            "#b9b9b9"
        } else {
            "#d99a5b"
        };
        line(format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#222\">{name}</text>",
            LEFT - 8.0,
            y + 14.0
        ));
        line(format!(
            "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"18\" fill=\"{fill}\"/>",
            x(*median) - LEFT
        ));
        line(format!(
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"#222\"/>",
            x(*p10),
            y + 9.0,
            x(*p90),
            y + 9.0
        ));
        line(format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"#222\">{median:.1}</text>",
            x(*p90) + 6.0,
            y + 14.0
        ));
    }
    line("</svg>".to_owned());
    svg
}
