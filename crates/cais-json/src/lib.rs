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
mod write;

pub use error::JsonError;
pub use serde_json::{Map, Number, Value};
pub use write::{list, put, value_of};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What JSON reading gives.
pub type Result<T> = std::result::Result<T, JsonError>;

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
    serde_json::to_vec(value).map_err(|error| JsonError::new(error.to_string()))
}

/// Writes a value as JSON without spaces.
///
/// # Errors
/// As [`to_vec`].
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    String::from_utf8(to_vec(value)?).map_err(|error| JsonError::new(error.to_string()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    #[derive(Default)]
    struct Thing {
        count: u32,
        offset: Option<i64>,
        names: Vec<String>,
        kinds: BTreeMap<u16, Kind>,
        pair: (u8, bool),
        free: Value,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Plain,
        Sized(u8),
        Named { text: String },
    }

    #[test]
    fn every_shape_survives() {
        let kinds = [
            (1, Kind::Plain),
            (2, Kind::Sized(7)),
            (
                3,
                Kind::Named {
                    text: "ä\n".to_owned(),
                },
            ),
        ];
        let thing = Thing {
            count: 4,
            offset: Some(-5),
            names: vec!["a".to_owned()],
            kinds: kinds.into(),
            pair: (1, true),
            free: json!({"b": [1.5, null], "a": {}}),
        };
        let text = to_string(&thing).unwrap();
        assert_eq!(from_str::<Thing>(&text).unwrap(), thing);
        assert_eq!(from_value::<Thing>(&to_value(&thing).unwrap()).unwrap(), thing);
        assert_eq!(
            from_str::<Thing>(r#"{"unknown":{"x":[1]},"offset":null}"#).unwrap(),
            Thing::default()
        );
    }

    #[test]
    fn an_error_says_where_and_what() {
        let cases = [
            (r#"{"count":-1}"#, "count", "integer `-1`"),
            (r#"{"count":4294967296}"#, "count", "integer `4294967296`"),
            (r#"{"count":"1"}"#, "count", "string \"1\""),
            (r#"{"names":["a",5]}"#, "names[1]", "expected a string"),
            (r#"{"names":null}"#, "names", "null"),
            (r#"{"kinds":{"1":"round"}}"#, "kinds.1", "unknown variant `round`"),
            (r#"{"kinds":{"x":"plain"}}"#, "kinds.x", "string \"x\""),
            (
                r#"{"kinds":{"1":{"sized":300}}}"#,
                "kinds.1.sized",
                "integer `300`",
            ),
            (r#"{"kinds":{"1":"sized"}}"#, "kinds.1", "without its content"),
            (r#"{"kinds":{"1":{"plain":3}}}"#, "kinds.1", "takes no content"),
            (r#"{"pair":[1]}"#, "pair", "invalid length 1"),
            (r#"{"pair":[1,true,2]}"#, "pair", "a list of 3"),
            (
                r#"{"count":1,"count":2}"#,
                ".",
                "duplicate field `count` at line 1",
            ),
            (r#"{"free":{"x":{"y":1,"y":2}}}"#, ".", "duplicate field `y`"),
            ("[]", ".", "expected struct Thing"),
            ("{\n\"count\":", ".", "line 2 column 8"),
            ("{} x", ".", "trailing characters"),
            ("", ".", "EOF"),
        ];
        for (text, path, message) in cases {
            let error = from_str::<Thing>(text).unwrap_err();
            assert_eq!(error.path(), path, "{text}");
            assert!(error.message().contains(message), "{text}: {error}");
        }
    }

    #[test]
    fn depth_has_an_end() {
        let deep = "[".repeat(100_000);
        assert!(
            from_str::<Value>(&deep)
                .unwrap_err()
                .message()
                .contains("recursion limit")
        );
    }

    #[test]
    fn each_level_stands_further_in() {
        assert_eq!(
            to_string_indented(&json!({"a": [1, {}]}), "  "),
            "{\n  \"a\": [\n    1,\n    {}\n  ]\n}"
        );
    }
}
