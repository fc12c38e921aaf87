//! The functions of Go's templates, and those that Docker adds.

use super::value::{Operand, is_true, print, to_json, type_name};
use cais_json::Value;
use std::cmp::Ordering;

/// The names of all functions.
const NAMES: [&str; 28] = [
    "and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "len", "index", "slice", "print", "println",
    "printf", "html", "js", "urlquery", "json", "join", "split", "lower", "upper", "title", "pad",
    "truncate", "call", "replace",
];

pub(super) fn is_function(name: &str) -> bool {
    NAMES.contains(&name)
}

type Called = Result<Operand, String>;

fn text(value: impl Into<String>) -> Called {
    Ok(Operand::Json(Value::String(value.into())))
}

fn string<'a>(name: &str, arguments: &'a [Operand], index: usize) -> Result<&'a str, String> {
    match arguments.get(index) {
        Some(Operand::Json(Value::String(text))) => Ok(text),
        Some(Operand::Json(other)) => Err(format!(
            "wrong type for value; expected string; got {} (argument {} of {name})",
            type_name(other),
            index + 1
        )),
        _ => Err(format!("{name}: argument {} is not there", index + 1)),
    }
}

fn integer(name: &str, arguments: &[Operand], index: usize) -> Result<i64, String> {
    match arguments.get(index) {
        Some(Operand::Json(Value::Number(number))) => number
            .as_i64()
            .ok_or_else(|| format!("{name}: {number} is not an integer")),
        _ => Err(format!("{name}: argument {} is not an integer", index + 1)),
    }
}

/// Calls a function.
pub(super) fn call(name: &str, arguments: &[Operand]) -> Called {
    let count = |wanted: usize| {
        if arguments.len() == wanted {
            Ok(())
        } else {
            Err(format!(
                "wrong number of args for {name}: want {wanted} got {}",
                arguments.len()
            ))
        }
    };
    let first = arguments.first().unwrap_or(&Operand::Missing);
    match name {
        "not" => count(1).map(|()| Operand::Json(Value::Bool(!is_true(first)))),
        "eq" | "ne" | "lt" | "le" | "gt" | "ge" => compare(name, arguments),
        "len" => count(1).and_then(|()| length(first)),
        "index" => index(arguments),
        "slice" => slice(arguments),
        "print" => text(print_all(arguments, false)),
        "println" => text(print_all(arguments, true) + "\n"),
        "printf" => printf(arguments),
        "html" => text(escape_html(&print_all(arguments, false))),
        "urlquery" => text(escape_query(&print_all(arguments, false))),
        "json" => count(1).and_then(|()| text(to_json(first).map_err(|error| error.to_string())?)),
        "join" => count(2).and_then(|()| join(arguments)),
        "split" => {
            count(2)?;
            let (whole, by) = (string(name, arguments, 0)?, string(name, arguments, 1)?);
            let parts = whole.split(by).map(|part| Value::String(part.to_owned()));
            Ok(Operand::Json(Value::Array(parts.collect())))
        }
        "replace" => {
            count(3)?;
            let (whole, from) = (string(name, arguments, 2)?, string(name, arguments, 0)?);
            text(whole.replace(from, string(name, arguments, 1)?))
        }
        "lower" => count(1).and_then(|()| text(string(name, arguments, 0)?.to_lowercase())),
        "upper" => count(1).and_then(|()| text(string(name, arguments, 0)?.to_uppercase())),
        "title" => count(1).and_then(|()| text(title(string(name, arguments, 0)?))),
        "pad" => {
            count(3)?;
            let whole = string(name, arguments, 0)?;
            let spaces = |index| {
                integer(name, arguments, index)
                    .map(|count| " ".repeat(usize::try_from(count).unwrap_or(0).min(4096)))
            };
            match whole {
                "" => text(""),
                _ => text(format!("{}{whole}{}", spaces(1)?, spaces(2)?)),
            }
        }
        "truncate" => {
            count(2)?;
            let most = usize::try_from(integer(name, arguments, 1)?).unwrap_or(0);
            text(string(name, arguments, 0)?.chars().take(most).collect::<String>())
        }
        _ => Err(format!("{name} is not supported")),
    }
}

fn compare(name: &str, arguments: &[Operand]) -> Called {
    let (Some(left), rest) = (arguments.first(), arguments.get(1..).unwrap_or(&[])) else {
        return Err(format!("{name}: missing argument for comparison"));
    };
    if rest.is_empty() || name != "eq" && rest.len() > 1 {
        return Err(format!("{name}: missing argument for comparison"));
    }
    let one = |right: &Operand| -> Result<bool, String> {
        let order = order(left, right)?;
        Ok(match name {
            "eq" => order == Some(Ordering::Equal),
            "ne" => order != Some(Ordering::Equal),
            _ => {
                let order = order.ok_or_else(|| "invalid type for comparison".to_owned())?;
                match name {
                    "lt" => order.is_lt(),
                    "le" => order.is_le(),
                    "gt" => order.is_gt(),
                    _ => order.is_ge(),
                }
            }
        })
    };
    for right in rest {
        if one(right)? {
            return Ok(Operand::Json(Value::Bool(true)));
        }
    }
    Ok(Operand::Json(Value::Bool(false)))
}

/// How two values stand to each other; `None` where they can only be equal or not, and are not.
fn order(left: &Operand, right: &Operand) -> Result<Option<Ordering>, String> {
    let (Operand::Json(left), Operand::Json(right)) = (left, right) else {
        return Ok((left == right).then_some(Ordering::Equal));
    };
    Ok(match (left, right) {
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => a.as_f64().zip(b.as_f64()).and_then(|(a, b)| a.partial_cmp(&b)),
        },
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => (a == b).then_some(Ordering::Equal),
        (Value::Null, _) | (_, Value::Null) => (left == right).then_some(Ordering::Equal),
        (a, b) if type_name(a) == type_name(b) => {
            return Err("non-comparable types".to_owned());
        }
        _ => return Err("incompatible types for comparison".to_owned()),
    })
}

fn length(value: &Operand) -> Called {
    let length = match value {
        Operand::Json(Value::String(text)) => text.len(),
        Operand::Json(Value::Array(list)) => list.len(),
        Operand::Json(Value::Object(map)) => map.len(),
        // Docker's lists and maps that hold nothing are null in JSON, and of length 0 in Go.
        Operand::Json(Value::Null) | Operand::Nil(_) => 0,
        Operand::Missing => return Err("len of nil pointer".to_owned()),
        Operand::Json(other) => return Err(format!("len of type {}", type_name(other))),
    };
    Ok(Operand::Json(length.into()))
}

fn index(arguments: &[Operand]) -> Called {
    let (value, keys) = arguments
        .split_first()
        .ok_or("wrong number of args for index: want at least 1 got 0")?;
    let mut value = value.clone();
    for key in keys {
        value = match (&value, key) {
            (Operand::Json(Value::Object(map)), Operand::Json(Value::String(key))) => map
                .get(key)
                .map_or(Operand::Json(Value::String(String::new())), |found| {
                    Operand::Json(found.clone())
                }),
            (Operand::Json(Value::Array(list)), Operand::Json(Value::Number(at))) => {
                let found = at
                    .as_u64()
                    .and_then(|at| usize::try_from(at).ok())
                    .and_then(|at| list.get(at));
                Operand::Json(found.ok_or_else(|| format!("index out of range: {at}"))?.clone())
            }
            (Operand::Json(Value::String(text)), Operand::Json(Value::Number(at))) => {
                let found = at
                    .as_u64()
                    .and_then(|at| usize::try_from(at).ok())
                    .and_then(|at| text.as_bytes().get(at));
                Operand::Json((*found.ok_or_else(|| format!("index out of range: {at}"))?).into())
            }
            (Operand::Json(Value::Null) | Operand::Missing | Operand::Nil(_), _) => {
                return Err("index of untyped nil".to_owned());
            }
            (Operand::Json(other), _) => {
                return Err(format!("can't index item of type {}", type_name(other)));
            }
        };
    }
    Ok(value)
}

fn slice(arguments: &[Operand]) -> Called {
    let value = arguments.first().unwrap_or(&Operand::Missing);
    let whole = match value {
        Operand::Json(Value::String(text)) => text.len(),
        Operand::Json(Value::Array(list)) => list.len(),
        _ => return Err("can't slice item of this type".to_owned()),
    };
    let bound = |at: usize, otherwise: usize| match arguments.get(at) {
        None => Ok(otherwise),
        Some(_) => usize::try_from(integer("slice", arguments, at)?)
            .ok()
            .filter(|bound| *bound <= whole)
            .ok_or_else(|| "index out of range in slice".to_owned()),
    };
    let (from, to) = (bound(1, 0)?, bound(2, whole)?);
    match value {
        Operand::Json(Value::String(whole)) => match whole.get(from..to) {
            Some(part) => text(part),
            None => Err("slice: not at a character".to_owned()),
        },
        Operand::Json(Value::Array(list)) => {
            let part = list.get(from..to).ok_or("index out of range in slice")?;
            Ok(Operand::Json(Value::Array(part.to_vec())))
        }
        _ => Err("can't slice item of this type".to_owned()),
    }
}

/// As fmt.Sprint: spaces between operands when neither is a string; Sprintln has them always.
fn print_all(arguments: &[Operand], always: bool) -> String {
    let is_text = |value: &Operand| matches!(value, Operand::Json(Value::String(_)));
    let mut all = String::new();
    for (index, value) in arguments.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|index| arguments.get(index));
        if before.is_some_and(|before| always || !is_text(before) && !is_text(value)) {
            all.push(' ');
        }
        all.push_str(&print(value));
    }
    all
}

fn join(arguments: &[Operand]) -> Called {
    let by = string("join", arguments, 1)?;
    match arguments.first() {
        Some(Operand::Json(Value::Array(list))) => {
            let all: Vec<String> = list
                .iter()
                .map(|value| print(&Operand::Json(value.clone())))
                .collect();
            text(all.join(by))
        }
        Some(Operand::Json(Value::Null) | Operand::Nil(_)) => text(""),
        _ => Err("join: the first argument is not a list".to_owned()),
    }
}

fn title(whole: &str) -> String {
    let mut start = true;
    whole
        .chars()
        .map(|c| {
            let given = if start { c.to_ascii_uppercase() } else { c };
            start = !c.is_alphanumeric() && c != '_' && c != '\'';
            given
        })
        .collect()
}

fn escape_html(whole: &str) -> String {
    whole
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;")
}

fn escape_query(whole: &str) -> String {
    whole.bytes().fold(String::new(), |all, byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            all + &char::from(byte).to_string()
        }
        b' ' => all + "+",
        other => all + &format!("%{other:02X}"),
    })
}

fn printf(arguments: &[Operand]) -> Called {
    let format = string("printf", arguments, 0)?;
    let mut values = arguments.get(1..).unwrap_or(&[]).iter();
    let mut all = String::new();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            all.push(c);
            continue;
        }
        let (mut flags, mut width, mut precision) = (String::new(), String::new(), None);
        while let Some(flag) = chars.next_if(|c| "-+# 0".contains(*c)) {
            flags.push(flag);
        }
        while let Some(digit) = chars.next_if(char::is_ascii_digit) {
            width.push(digit);
        }
        if chars.next_if_eq(&'.').is_some() {
            let mut digits = String::new();
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            precision = Some(digits.parse::<usize>().unwrap_or(0).min(4096));
        }
        let Some(verb) = chars.next() else {
            all.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            all.push('%');
            continue;
        }
        let Some(value) = values.next() else {
            all.push_str(&format!("%!{verb}(MISSING)"));
            continue;
        };
        let width = width.parse::<usize>().unwrap_or(0).min(4096);
        all.push_str(&pad_to(
            &print_verb(verb, value, precision, &flags),
            width,
            &flags,
        ));
    }
    let extra: Vec<String> = values
        .map(|value| match value {
            Operand::Json(json) => format!("{}={}", type_name(json), print(value)),
            Operand::Missing => "<nil>".to_owned(),
            Operand::Nil(text) => (*text).to_owned(),
        })
        .collect();
    if !extra.is_empty() {
        all.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    text(all)
}

fn print_verb(verb: char, value: &Operand, precision: Option<usize>, flags: &str) -> String {
    let plus = if flags.contains('+') { "+" } else { "" };
    match (verb, value) {
        ('v' | 's', Operand::Json(Value::String(text))) => match precision {
            Some(most) => text.chars().take(most).collect(),
            None => text.clone(),
        },
        ('v', _) => print(value),
        ('s', Operand::Json(Value::Array(_) | Value::Object(_)) | Operand::Nil(_)) => print(value),
        ('q', Operand::Json(Value::String(text))) => format!("{text:?}"),
        ('d', Operand::Json(Value::Number(number))) if !number.is_f64() => match number.as_i64() {
            Some(number) if number >= 0 => format!("{plus}{number}"),
            _ => number.to_string(),
        },
        ('x' | 'X' | 'o' | 'b', Operand::Json(Value::Number(number))) if !number.is_f64() => {
            let number = number.as_i64().unwrap_or(0);
            match verb {
                'x' => format!("{number:x}"),
                'X' => format!("{number:X}"),
                'o' => format!("{number:o}"),
                _ => format!("{number:b}"),
            }
        }
        ('x' | 'X', Operand::Json(Value::String(text))) => {
            let all = text
                .bytes()
                .fold(String::new(), |all, byte| all + &format!("{byte:02x}"));
            if verb == 'X' { all.to_uppercase() } else { all }
        }
        ('f' | 'F', Operand::Json(Value::Number(number))) if number.is_f64() => {
            format!("{:.*}", precision.unwrap_or(6), number.as_f64().unwrap_or(0.0))
        }
        ('g' | 'e', Operand::Json(Value::Number(number))) if number.is_f64() => print(value),
        ('t', Operand::Json(Value::Bool(is))) => is.to_string(),
        ('T', Operand::Json(json)) => type_name(json).to_owned(),
        (_, Operand::Json(json)) => format!("%!{verb}({}={})", type_name(json), print(value)),
        (_, Operand::Missing | Operand::Nil(_)) => format!("%!{verb}(<nil>)"),
    }
}

fn pad_to(text: &str, width: usize, flags: &str) -> String {
    let missing = width.saturating_sub(text.chars().count());
    if flags.contains('-') {
        return format!("{text}{}", " ".repeat(missing));
    }
    if flags.contains('0') {
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", text),
        };
        return format!("{sign}{}{digits}", "0".repeat(missing));
    }
    format!("{}{text}", " ".repeat(missing))
}
