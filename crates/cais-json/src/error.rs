//! What is wrong with a piece of JSON, and where.

use std::fmt;

/// Why JSON could not be read or written: the JSON path, and what is wrong there.
pub struct JsonError(Box<Wrong>);

struct Wrong {
    /// From the inside out: `[3]`, `limit`.
    steps: Vec<String>,
    message: String,
}

impl JsonError {
    pub(crate) fn new(message: String) -> Self {
        let steps = Vec::new();
        Self(Box::new(Wrong { steps, message }))
    }

    /// The same, seen from one level further out.
    pub(crate) fn within(mut self, step: String) -> Self {
        self.0.steps.push(step);
        self
    }

    /// The JSON path: `linux.namespaces[2].type`; `.` is the whole.
    #[must_use]
    pub fn path(&self) -> String {
        let mut path = String::new();
        for step in self.0.steps.iter().rev() {
            if !path.is_empty() && !step.starts_with('[') {
                path.push('.');
            }
            path.push_str(step);
        }
        if path.is_empty() {
            path.push('.');
        }
        path
    }

    /// What is wrong there; for what is not JSON, with line and column.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.steps.is_empty() {
            to.write_str(&self.path())?;
            to.write_str(": ")?;
        }
        to.write_str(&self.0.message)
    }
}

impl fmt::Debug for JsonError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, to)
    }
}

impl std::error::Error for JsonError {}

impl serde::de::Error for JsonError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }
}

impl From<JsonError> for std::io::Error {
    fn from(error: JsonError) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, error)
    }
}
