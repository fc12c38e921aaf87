//! Figures in pages: a table between two markers is written anew by each benchmark, so
//! that no page says what was not measured.

use crate::{Outcome, workspace};
use std::fs;

/// Replaces what stands between `<!-- bench:NAME -->` and `<!-- bench:end -->` in a page.
pub(crate) fn fill(page: &str, name: &str, table: &str) -> Outcome {
    let path = workspace::root().join(page);
    let text = fs::read_to_string(&path).map_err(|error| format!("{page}: {error}"))?;
    let text = fill_text(&text, name, table).ok_or_else(|| format!("{page}: no markers bench:{name}"))?;
    fs::write(&path, text).map_err(|error| format!("{page}: {error}"))
}

fn fill_text(text: &str, name: &str, table: &str) -> Option<String> {
    let marker = format!("<!-- bench:{name} -->\n");
    let begin = text.find(&marker)? + marker.len();
    let end = begin + text.get(begin..)?.find("<!-- bench:end -->")?;
    Some(format!("{}{table}{}", text.get(..begin)?, text.get(end..)?))
}

/// A Markdown table.
pub(crate) fn markdown(head: &[&str], rows: &[Vec<String>]) -> String {
    // A name may be a pipeline.
    let names = head.iter().map(|name| name.replace('|', "\\|"));
    let names = names.collect::<Vec<_>>().join(" | ");
    let mut text = format!("| {names} |\n|{}\n", " --- |".repeat(head.len()));
    for row in rows {
        text.push_str(&format!("| {} |\n", row.join(" | ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_markers_changes() {
        let page = "a\n<!-- bench:x -->\nold\n<!-- bench:end -->\nb <!-- bench:end -->\n";
        assert_eq!(
            fill_text(page, "x", "new\n").as_deref(),
            Some("a\n<!-- bench:x -->\nnew\n<!-- bench:end -->\nb <!-- bench:end -->\n")
        );
        assert_eq!(fill_text(page, "y", "new\n"), None);
    }

    #[test]
    fn a_pipeline_is_one_column() {
        let rows = [vec!["1".to_owned()]];
        assert_eq!(markdown(&["a | b"], &rows), "| a \\| b |\n| --- |\n| 1 |\n");
    }
}
