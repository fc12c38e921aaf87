//! JSON written in place: [`json!`](crate::json), as `serde_json` has it, but small. There each
//! entry is made, checked and inserted where it stands; here that is one call.

use crate::{Map, Value};
use serde::Serialize;

/// Makes a [`Value`] of JSON with expressions in it. An expression can be of any type that
/// serde writes as JSON; what it cannot write becomes `null`.
///
/// ```text
/// json!({ "Name": name, "Ports": [80, 443], "State": { "Pid": null } })
/// ```
#[macro_export]
macro_rules! json {
    (null) => { $crate::Value::Null };
    ([ $($item:tt)* ]) => {{
        #[allow(unused_mut)]
        let mut list = $crate::list();
        $crate::json_items!(list $($item)*);
        $crate::Value::Array(list)
    }};
    ({ $($entry:tt)* }) => {{
        #[allow(unused_mut)]
        let mut map = $crate::Map::new();
        $crate::json_entries!(map $($entry)*);
        $crate::Value::Object(map)
    }};
    ($value:expr) => { $crate::value_of(&$value) };
}

/// The items of a list in [`json!`](crate::json).
#[doc(hidden)]
#[macro_export]
macro_rules! json_items {
    ($list:ident) => {};
    ($list:ident null $(, $($rest:tt)*)?) => {
        $list.push($crate::Value::Null);
        $crate::json_items!($list $($($rest)*)?);
    };
    ($list:ident [ $($inner:tt)* ] $(, $($rest:tt)*)?) => {
        $list.push($crate::json!([ $($inner)* ]));
        $crate::json_items!($list $($($rest)*)?);
    };
    ($list:ident { $($inner:tt)* } $(, $($rest:tt)*)?) => {
        $list.push($crate::json!({ $($inner)* }));
        $crate::json_items!($list $($($rest)*)?);
    };
    ($list:ident $item:expr $(, $($rest:tt)*)?) => {
        $list.push($crate::value_of(&$item));
        $crate::json_items!($list $($($rest)*)?);
    };
}

/// The entries of an object in [`json!`](crate::json).
#[doc(hidden)]
#[macro_export]
macro_rules! json_entries {
    ($map:ident) => {};
    ($map:ident $key:tt : null $(, $($rest:tt)*)?) => {
        $crate::put(&mut $map, &*$key, $crate::Value::Null);
        $crate::json_entries!($map $($($rest)*)?);
    };
    ($map:ident $key:tt : [ $($inner:tt)* ] $(, $($rest:tt)*)?) => {
        $crate::put(&mut $map, &*$key, $crate::json!([ $($inner)* ]));
        $crate::json_entries!($map $($($rest)*)?);
    };
    ($map:ident $key:tt : { $($inner:tt)* } $(, $($rest:tt)*)?) => {
        $crate::put(&mut $map, &*$key, $crate::json!({ $($inner)* }));
        $crate::json_entries!($map $($($rest)*)?);
    };
    ($map:ident $key:tt : $value:expr $(, $($rest:tt)*)?) => {
        $crate::put(&mut $map, &*$key, $crate::value_of(&$value));
        $crate::json_entries!($map $($($rest)*)?);
    };
}

/// The JSON of an expression in [`json!`](crate::json).
#[doc(hidden)]
#[inline(never)]
pub fn value_of<T: Serialize + ?Sized>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// The beginning of a list in [`json!`](crate::json).
#[doc(hidden)]
#[must_use]
pub fn list() -> Vec<Value> {
    Vec::new()
}

/// Puts an entry into an object of [`json!`](crate::json).
#[doc(hidden)]
#[inline(never)]
pub fn put(map: &mut Map<String, Value>, key: &str, value: Value) {
    map.insert(key.to_owned(), value);
}

#[cfg(test)]
mod tests {
    #[test]
    fn entries_lists_and_expressions() {
        let name = "web";
        let value = crate::json!({ "Name": name, "Ports": [80, 443], "State": { "Pid": null } });
        let want = r#"{"Name":"web","Ports":[80,443],"State":{"Pid":null}}"#;
        assert_eq!(value.to_string(), want);
    }
}
