//! A configuration file: TOML, read into keys and values that know their line.

use super::{ConfigError, Origin};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// The largest file that is read.
const LIMIT: u64 = 1024 * 1024;

/// A value as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Written {
    Text(String),
    Integer(i64),
    List(Vec<String>),
    Table(Vec<(String, String)>),
    /// Something that no key takes, by the name of its kind.
    Other(&'static str),
}

/// One key of a file.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) value: Written,
    pub(super) origin: Origin,
}

/// Reads a file; `None` where there is none.
pub(super) fn read_config(path: &Path) -> Result<Option<String>, ConfigError> {
    let name = || path.display().to_string();
    let read = |source| ConfigError::Read { path: name(), source };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        // A home that is not ours to look into holds no configuration of ours.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(None),
        Err(error) => return Err(read(error)),
    };
    let owner = file.metadata().map_err(read)?.uid();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(ConfigError::Owner { path: name(), owner });
    }
    let mut text = String::new();
    file.take(LIMIT).read_to_string(&mut text).map_err(read)?;
    Ok(Some(text))
}

/// Parses a file into its keys, in the order of their names.
pub(super) fn parse_config(path: &Path, text: &str) -> Result<Vec<Entry>, ConfigError> {
    let at = |offset: usize| Origin::File {
        path: path.to_owned(),
        line: 1 + text
            .as_bytes()
            .iter()
            .take(offset)
            .filter(|byte| **byte == b'\n')
            .count(),
    };
    let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        origin: at(error.span().map_or(0, |span| span.start)),
        detail: error.message().to_owned(),
    })?;
    Ok(table
        .get_ref()
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            value: written(value.get_ref()),
            origin: at(key.span().start),
        })
        .collect())
}

/// A value in the form that keys take.
fn written(value: &DeValue<'_>) -> Written {
    match value {
        DeValue::String(text) => Written::Text(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(&number.as_str().replace('_', ""), number.radix())
            .map_or(Written::Other("a number beyond 64 bits"), Written::Integer),
        DeValue::Array(list) => {
            let texts = list.iter().map(|value| match value.get_ref() {
                DeValue::String(text) => Some(text.to_string()),
                _ => None,
            });
            texts.collect::<Option<_>>().map_or(
                Written::Other("a list of something else than texts"),
                Written::List,
            )
        }
        DeValue::Table(table) => {
            let pairs = table
                .iter()
                .map(|(key, value)| Some((key.get_ref().to_string(), scalar(value.get_ref())?)));
            pairs.collect::<Option<_>>().map_or(
                Written::Other("a table with something else than texts and numbers"),
                Written::Table,
            )
        }
        DeValue::Float(_) => Written::Other("a number with a fraction"),
        DeValue::Boolean(_) => Written::Other("a truth value"),
        DeValue::Datetime(_) => Written::Other("a date"),
    }
}

/// A value of a table as text.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(is) => Some(is.to_string()),
        _ => None,
    }
}
