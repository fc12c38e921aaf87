//! Go templates over JSON, as `--format` takes them: the grammar of Go's text/template but
//! for named templates, and the functions that Docker adds.

mod evaluate;
mod format;
mod functions;
mod lex;
mod parse;
mod value;

pub use format::{Format, Listing};
pub use value::Label;

use cais_json::Value;
use parse::Node;

/// A template that cannot be read, or not be carried out on its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError(String);

impl std::fmt::Display for TemplateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "template: {}", self.0)
    }
}

impl std::error::Error for TemplateError {}

impl TemplateError {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// A template that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    nodes: Vec<Node>,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// Where it is not one: the text names the line and what was expected.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        parse::parse_template(text).map(|nodes| Self { nodes })
    }

    /// The text that the template makes of `data`.
    ///
    /// # Errors
    /// Where it names something that `data` does not have, or a function is given what it
    /// cannot take.
    pub fn render(&self, data: &Value) -> Result<String, TemplateError> {
        evaluate::render(&self.nodes, data.clone())
    }

    /// The names of the fields of the data that the template uses; `.` for all of it.
    #[must_use]
    pub fn fields(&self) -> Vec<&str> {
        let mut names = Vec::new();
        self.nodes.iter().for_each(|node| node.fields(&mut names));
        names
    }
}

#[cfg(test)]
mod tests;
