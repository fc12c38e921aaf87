//! `--format` of commands that list: `table`, `json`, a template, or a table of one's own.

use super::evaluate;
use super::value::{Operand, to_json};
use super::{Label, Template, TemplateError};
use cais_json::{Map, Value};

/// What is shown of each thing in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Format {
    template: Option<Template>,
    is_table: bool,
}

/// What a command that lists shows of itself.
#[derive(Debug)]
pub struct Listing<'a> {
    /// The template of its table.
    pub table: &'a str,
    /// The field that `--quiet` shows.
    pub id: &'a str,
    /// The keys and fields of `--format raw`, where it has that.
    pub raw: &'a [(&'a str, &'a str)],
}

impl Format {
    /// Reads `--format` beside `--quiet`, which counts where no template is given, as with
    /// Docker.
    ///
    /// # Errors
    /// Where the template cannot be read.
    pub fn of_list(text: Option<&str>, quiet: bool, listing: &Listing<'_>) -> Result<Self, TemplateError> {
        let id = format!("{{{{.{}}}}}", listing.id);
        match text {
            Some("raw") if !listing.raw.is_empty() => {
                let of = |(key, field): &(&str, &str)| format!("{key}:{{{{pad .{field} 1 0}}}}\n");
                let mut fields = listing.raw.iter();
                let template = match quiet {
                    true => fields.find(|(_, field)| *field == listing.id).map(of),
                    false => Some(fields.map(of).collect()),
                };
                let template = template.unwrap_or_default();
                // Each line ends with one of its own.
                let template = if quiet { template.trim_end() } else { &template };
                Self::parse(Some(template), listing.table)
            }
            None | Some("" | "table") if quiet => Self::parse(Some(&id), listing.table),
            _ => Self::parse(text, listing.table),
        }
    }

    /// Reads the value of `--format`. `fallback` is the template of the table that is shown
    /// without it, columns with tabs between them.
    ///
    /// # Errors
    /// Where the template cannot be read.
    pub fn parse(text: Option<&str>, fallback: &str) -> Result<Self, TemplateError> {
        let text = text.unwrap_or_default().trim_matches(' ');
        let text = if text.is_empty() { "table" } else { text };
        let whole = |text: &str| text.replace("\\t", "\t").replace("\\n", "\n");
        let (template, is_table) = match text.strip_prefix("table") {
            Some("") => (fallback.to_owned(), true),
            Some(columns) => (whole(columns.trim_start()), true),
            None if text == "json" => {
                return Ok(Self {
                    template: None,
                    is_table: false,
                });
            }
            None => (whole(text), false),
        };
        Ok(Self {
            template: Some(Template::parse(&template)?),
            is_table,
        })
    }

    /// Whether the template uses a field: what is dear to find out is found out only then.
    #[must_use]
    pub fn uses(&self, field: &str) -> bool {
        self.template.as_ref().is_none_or(|template| {
            let fields = template.fields();
            fields.contains(&field) || fields.contains(&".")
        })
    }

    /// All rows, each on a line, with a heading if it is a table. `headings` has the heading
    /// of each field whose name in capitals is not it.
    ///
    /// # Errors
    /// Where a row does not have what the template names.
    pub fn render(&self, rows: Vec<Value>, headings: &[(&str, &str)]) -> Result<String, TemplateError> {
        let mut lines = Vec::with_capacity(rows.len() + 1);
        if let Some(template) = self.template.as_ref().filter(|_| self.is_table) {
            lines.push(template.render(&heading_row(template, headings))?);
        }
        for row in rows {
            lines.push(match &self.template {
                Some(template) => evaluate::render(&template.nodes, row)?,
                None => to_json(&Operand::Json(row))?,
            });
        }
        if !self.is_table {
            return Ok(lines.into_iter().map(|line| line + "\n").collect());
        }
        let cells: Vec<Vec<&str>> = lines.iter().map(|line| line.split('\t').collect()).collect();
        Ok(align(&cells))
    }
}

/// A row whose fields are their own headings.
fn heading_row(template: &Template, headings: &[(&str, &str)]) -> Value {
    let mut row = Map::new();
    for field in template.fields().into_iter().filter(|field| *field != ".") {
        let heading = headings
            .iter()
            .find(|(name, _)| *name == field)
            .map_or_else(|| spaced_capitals(field), |(_, heading)| (*heading).to_owned());
        row.insert(field.to_owned(), Value::String(heading));
    }
    row.insert(Label::KEY.to_owned(), Value::Bool(true));
    Value::Object(row)
}

/// `CreatedAt` as `CREATED AT`.
fn spaced_capitals(field: &str) -> String {
    let mut text = String::new();
    let mut before_is_small = false;
    for c in field.chars() {
        if c.is_uppercase() && before_is_small {
            text.push(' ');
        }
        before_is_small = c.is_lowercase();
        text.extend(c.to_uppercase());
    }
    text
}

/// Columns of at least ten characters with three spaces between, as Go's tabwriter sets
/// Docker's tables.
fn align(rows: &[Vec<&str>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter(|row| row.len() > column + 1)
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count() + 3)
            .max()
            .unwrap_or(0)
            .max(10)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
            text.push_str(cell);
            if index + 1 < row.len() {
                text.push_str(&" ".repeat(width.saturating_sub(cell.chars().count())));
            }
        }
        text.push('\n');
    }
    text
}
