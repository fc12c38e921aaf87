//! TOML as a JSON value: so that the types of configurations are read by one reader.

use cais_json::{Map, Value};
use toml::de::{DeTable, DeValue};

/// Parses a file.
///
/// # Errors
/// Says in words what is wrong with it, with the line.
pub(super) fn parse_toml(text: &str) -> Result<Value, String> {
    let table = DeTable::parse(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.unwrap_or_default().split('\n').count();
        format!("line {line}: {}", error.message())
    })?;
    Ok(table_value(table.get_ref()))
}

fn table_value(table: &DeTable<'_>) -> Value {
    let entries = table
        .iter()
        .map(|(key, value)| (key.get_ref().to_string(), json_value(value.get_ref())));
    Value::Object(entries.collect::<Map<_, _>>())
}

fn json_value(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(&number.as_str().replace('_', ""), number.radix())
            .map_or_else(|_| Value::String(number.as_str().to_owned()), Value::from),
        DeValue::Float(number) => number
            .as_str()
            .replace('_', "")
            .parse::<f64>()
            .map_or_else(|_| Value::String(number.as_str().to_owned()), Value::from),
        DeValue::Boolean(is) => Value::Bool(*is),
        DeValue::Datetime(time) => Value::String(time.to_string()),
        DeValue::Array(list) => Value::Array(list.iter().map(|item| json_value(item.get_ref())).collect()),
        DeValue::Table(table) => table_value(table),
    }
}
