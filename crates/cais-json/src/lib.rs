//! JSON, read and written in one way.
//!
//! serde compiles a type's reader anew for each kind of deserializer, and the types of an OCI
//! configuration or of a container's record are large. Here everything is first read into a
//! [`Value`] by `serde_json` and from there into its type by one deserializer, which keeps the
//! JSON path for the error; so each type is compiled once. It is the only door to `serde_json`
//! for the other crates.

mod error;
mod text;
mod tree;

pub use error::Error;
pub use serde_json::{Map, Number, Value, json};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What JSON reading gives.
pub type Result<T> = std::result::Result<T, Error>;

/// Reads a value of any type from JSON.
///
/// # Errors
/// For what is not JSON, with line and column; for an object with one key twice; for what is
/// not of the type, with the JSON path.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    T::deserialize(tree::Node(&text::parse(bytes)?))
}

/// As [`from_slice`].
///
/// # Errors
/// As [`from_slice`].
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T> {
    from_slice(text.as_bytes())
}

/// Reads a value of any type from a JSON value.
///
/// # Errors
/// For what is not of the type, with the JSON path.
pub fn from_value<T: DeserializeOwned>(value: &Value) -> Result<T> {
    T::deserialize(tree::Node(value))
}

/// Writes a value as JSON without spaces.
///
/// # Errors
/// For a map whose keys are no strings.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::new(error.to_string()))
}

/// Writes a value as JSON without spaces.
///
/// # Errors
/// As [`to_vec`].
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    String::from_utf8(to_vec(value)?).map_err(|error| Error::new(error.to_string()))
}

/// The JSON value of a value of any type.
///
/// # Errors
/// As [`to_vec`].
pub fn to_value<T: Serialize + ?Sized>(value: &T) -> Result<Value> {
    text::parse(&to_vec(value)?)
}

/// Writes a JSON value over several lines, each level further in by `indent`.
#[must_use]
pub fn to_string_indented(value: &Value, indent: &str) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    // Into a vector, and of a value: neither can fail.
    value.serialize(&mut serializer).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
