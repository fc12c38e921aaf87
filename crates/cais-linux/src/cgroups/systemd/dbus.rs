//! The D-Bus wire format (D-Bus Specification, "Type System" and "Message Protocol"):
//! written in little-endian, read in either byte order.

use super::SystemdError;

/// What limits the specification sets: bytes of an array, bytes of a message, and how deep
/// containers are nested.
const ARRAY_MAX: usize = 64 << 20;
const MESSAGE_MAX: usize = 128 << 20;
const DEPTH_MAX: u8 = 64;

/// A call of a method.
pub(super) const CALL: u8 = 1;
/// The answer to a call.
pub(super) const RETURN: u8 = 2;
/// The answer that it failed.
pub(super) const ERROR: u8 = 3;
/// News that nobody asked for.
pub(super) const SIGNAL: u8 = 4;

/// The flag for a call that wants no answer.
pub(super) const NO_REPLY: u8 = 1;

/// Header fields.
pub(super) const PATH: u8 = 1;
pub(super) const INTERFACE: u8 = 2;
pub(super) const MEMBER: u8 = 3;
pub(super) const ERROR_NAME: u8 = 4;
pub(super) const REPLY_SERIAL: u8 = 5;
pub(super) const DESTINATION: u8 = 6;
/// Filled in by a bus.
pub(super) const SENDER: u8 = 7;
const SIGNATURE: u8 = 8;

/// A value with its type. [`Value::Array`] carries the type of its elements, since it may
/// have none.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Byte(u8),
    Bool(bool),
    I16(i16),
    U16(u16),
    I32(i32),
    U32(u32),
    I64(i64),
    U64(u64),
    F64(f64),
    Text(String),
    Path(String),
    Signature(String),
    /// The index of a file descriptor.
    Handle(u32),
    Array(String, Vec<Value>),
    Struct(Vec<Value>),
    Entry(Box<Value>, Box<Value>),
    Variant(Box<Value>),
}

impl Value {
    /// The type.
    pub(super) fn signature(&self) -> String {
        let basic = match self {
            Self::Byte(_) => "y",
            Self::Bool(_) => "b",
            Self::I16(_) => "n",
            Self::U16(_) => "q",
            Self::I32(_) => "i",
            Self::U32(_) => "u",
            Self::I64(_) => "x",
            Self::U64(_) => "t",
            Self::F64(_) => "d",
            Self::Text(_) => "s",
            Self::Path(_) => "o",
            Self::Signature(_) => "g",
            Self::Handle(_) => "h",
            Self::Variant(_) => "v",
            Self::Array(element, _) => return format!("a{element}"),
            Self::Struct(members) => return format!("({})", signature_of(members)),
            Self::Entry(key, value) => return format!("{{{}{}}}", key.signature(), value.signature()),
        };
        basic.to_owned()
    }

    /// The text of a string, object path or signature.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Path(text) | Self::Signature(text) => Some(text),
            _ => None,
        }
    }
}

/// The types of values in a row.
pub(super) fn signature_of(values: &[Value]) -> String {
    values.iter().map(Value::signature).collect()
}

/// What an address of the type is a multiple of.
fn alignment(signature: &str) -> usize {
    match signature.as_bytes().first() {
        Some(b'n' | b'q') => 2,
        Some(b'b' | b'i' | b'u' | b's' | b'o' | b'a' | b'h') => 4,
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        _ => 1,
    }
}

/// Bytes as they grow; alignment counts from their start.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn fixed<const N: usize>(&mut self, bytes: [u8; N]) {
        self.align(N);
        self.0.extend(bytes);
    }

    fn length(&mut self, length: usize) -> Result<(), SystemdError> {
        if length > ARRAY_MAX {
            return Err(SystemdError::Malformed("more bytes than an array may have"));
        }
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.fixed(length.to_le_bytes());
        Ok(())
    }

    fn string(&mut self, text: &str) -> Result<(), SystemdError> {
        if text.contains('\0') {
            return Err(SystemdError::Malformed("a string with a NUL byte in it"));
        }
        self.length(text.len())?;
        self.0.extend(text.as_bytes());
        self.0.push(0);
        Ok(())
    }

    fn type_signature(&mut self, text: &str) -> Result<(), SystemdError> {
        let length = u8::try_from(text.len())
            .ok()
            .ok_or(SystemdError::Malformed("a type of more than 255 bytes"))?;
        self.0.push(length);
        self.0.extend(text.as_bytes());
        self.0.push(0);
        Ok(())
    }

    fn array(&mut self, element: &str, items: &[Value]) -> Result<(), SystemdError> {
        self.length(0)?;
        let length_at = self.0.len() - 4;
        // The padding before the first element does not count.
        self.align(alignment(element));
        let start = self.0.len();
        self.values(items)?;
        let end = self.0.len();
        let mut length = Self::default();
        length.length(end - start)?;
        self.0[length_at..length_at + 4].copy_from_slice(&length.0);
        Ok(())
    }

    fn values(&mut self, values: &[Value]) -> Result<(), SystemdError> {
        values.iter().try_for_each(|value| self.value(value))
    }

    fn value(&mut self, value: &Value) -> Result<(), SystemdError> {
        match value {
            Value::Byte(value) => self.0.push(*value),
            Value::Bool(value) => self.fixed(u32::from(*value).to_le_bytes()),
            Value::I16(value) => self.fixed(value.to_le_bytes()),
            Value::U16(value) => self.fixed(value.to_le_bytes()),
            Value::I32(value) => self.fixed(value.to_le_bytes()),
            Value::U32(value) | Value::Handle(value) => self.fixed(value.to_le_bytes()),
            Value::I64(value) => self.fixed(value.to_le_bytes()),
            Value::U64(value) => self.fixed(value.to_le_bytes()),
            Value::F64(value) => self.fixed(value.to_le_bytes()),
            Value::Text(text) | Value::Path(text) => self.string(text)?,
            Value::Signature(text) => self.type_signature(text)?,
            Value::Array(element, items) => self.array(element, items)?,
            Value::Struct(members) => {
                self.align(8);
                self.values(members)?;
            }
            Value::Entry(key, value) => {
                self.align(8);
                self.value(key)?;
                self.value(value)?;
            }
            Value::Variant(value) => {
                self.type_signature(&value.signature())?;
                self.value(value)?;
            }
        }
        Ok(())
    }
}

/// Bytes as they are read.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    big_endian: bool,
}

impl<'a> Reader<'a> {
    fn align(&mut self, to: usize) -> Result<(), SystemdError> {
        let next = self.at.next_multiple_of(to);
        self.take(next - self.at).map(|_| ())
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], SystemdError> {
        let taken = self
            .at
            .checked_add(count)
            .and_then(|end| self.bytes.get(self.at..end))
            .ok_or(SystemdError::Malformed("it ends too early"))?;
        self.at += count;
        Ok(taken)
    }

    /// A number of `N` bytes, the lowest first.
    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], SystemdError> {
        self.align(N)?;
        let mut number = [0; N];
        number.copy_from_slice(self.take(N)?);
        if self.big_endian {
            number.reverse();
        }
        Ok(number)
    }

    fn u32(&mut self) -> Result<u32, SystemdError> {
        self.fixed().map(u32::from_le_bytes)
    }

    fn length(&mut self) -> Result<usize, SystemdError> {
        let length = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        if length > ARRAY_MAX {
            return Err(SystemdError::Malformed("more bytes than an array may have"));
        }
        Ok(length)
    }

    /// Text of a known length and the NUL behind it.
    fn text(&mut self, length: usize) -> Result<String, SystemdError> {
        let text = std::str::from_utf8(self.take(length)?)
            .ok()
            .ok_or(SystemdError::Malformed("a string that is not UTF-8"))?;
        if self.take(1)? != [0] {
            return Err(SystemdError::Malformed("a string without its NUL byte"));
        }
        Ok(text.to_owned())
    }

    fn string(&mut self) -> Result<String, SystemdError> {
        let length = self.length()?;
        self.text(length)
    }

    fn type_signature(&mut self) -> Result<String, SystemdError> {
        let [length] = self.fixed()?;
        self.text(usize::from(length))
    }

    fn values(&mut self, mut signature: &str, depth: u8) -> Result<Vec<Value>, SystemdError> {
        let mut values = Vec::new();
        while !signature.is_empty() {
            let (first, rest) = split_type(signature)?;
            values.push(self.value(first, depth)?);
            signature = rest;
        }
        Ok(values)
    }

    fn value(&mut self, signature: &str, depth: u8) -> Result<Value, SystemdError> {
        if depth > DEPTH_MAX {
            return Err(SystemdError::Malformed("nested too deeply"));
        }
        let value = match signature.as_bytes() {
            [b'y'] => Value::Byte(u8::from_le_bytes(self.fixed()?)),
            [b'b'] => match self.u32()? {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                _ => return Err(SystemdError::Malformed("a boolean that is neither 0 nor 1")),
            },
            [b'n'] => Value::I16(i16::from_le_bytes(self.fixed()?)),
            [b'q'] => Value::U16(u16::from_le_bytes(self.fixed()?)),
            [b'i'] => Value::I32(i32::from_le_bytes(self.fixed()?)),
            [b'u'] => Value::U32(self.u32()?),
            [b'h'] => Value::Handle(self.u32()?),
            [b'x'] => Value::I64(i64::from_le_bytes(self.fixed()?)),
            [b't'] => Value::U64(u64::from_le_bytes(self.fixed()?)),
            [b'd'] => Value::F64(f64::from_le_bytes(self.fixed()?)),
            [b's'] => Value::Text(self.string()?),
            [b'o'] => Value::Path(self.string()?),
            [b'g'] => Value::Signature(self.type_signature()?),
            [b'v'] => {
                let inner = self.type_signature()?;
                let (first, rest) = split_type(&inner)?;
                if !rest.is_empty() {
                    return Err(SystemdError::Malformed("a variant of more than one value"));
                }
                Value::Variant(Box::new(self.value(first, depth + 1)?))
            }
            [b'a', ..] => self.array(&signature[1..], depth + 1)?,
            [b'(', .., b')'] => {
                self.align(8)?;
                let members = &signature[1..signature.len() - 1];
                Value::Struct(self.values(members, depth + 1)?)
            }
            [b'{', .., b'}'] => {
                self.align(8)?;
                let (key, value) = split_type(&signature[1..signature.len() - 1])?;
                let key = self.value(key, depth + 1)?;
                Value::Entry(Box::new(key), Box::new(self.value(value, depth + 1)?))
            }
            _ => return Err(SystemdError::Malformed("an unknown type")),
        };
        Ok(value)
    }

    fn array(&mut self, element: &str, depth: u8) -> Result<Value, SystemdError> {
        let length = self.length()?;
        self.align(alignment(element))?;
        let end = self.at + length;
        let mut items = Vec::new();
        // Each type takes a byte at least, so that this comes to an end.
        while self.at < end {
            items.push(self.value(element, depth)?);
        }
        if self.at != end {
            return Err(SystemdError::Malformed("an array of another length than it says"));
        }
        Ok(Value::Array(element.to_owned(), items))
    }
}

/// The first complete type of a signature, and what follows.
fn split_type(signature: &str) -> Result<(&str, &str), SystemdError> {
    let wrong = SystemdError::Malformed("an unknown type");
    let end = match signature.as_bytes().first() {
        Some(b'a') => signature.len() - split_type(&signature[1..])?.1.len(),
        Some(open @ (b'(' | b'{')) => {
            let close = if *open == b'(' { ')' } else { '}' };
            let mut rest = &signature[1..];
            let mut members = 0;
            while !rest.is_empty() && !rest.starts_with(close) {
                rest = split_type(rest)?.1;
                members += 1;
            }
            // An empty struct takes no bytes, and an array of them would never end.
            if rest.is_empty() || members == 0 || (*open == b'{' && members != 2) {
                return Err(wrong);
            }
            signature.len() - rest.len() + 1
        }
        Some(byte) if b"ybnqiuxtdsoghv".contains(byte) => 1,
        _ => return Err(wrong),
    };
    Ok(signature.split_at(end))
}

/// A message.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Message {
    /// [`CALL`], [`RETURN`], [`ERROR`] or [`SIGNAL`].
    pub(super) kind: u8,
    /// [`NO_REPLY`] or nothing.
    pub(super) flags: u8,
    /// The sender's number for it, not zero.
    pub(super) serial: u32,
    /// Header fields without the signature, which follows from the body.
    pub(super) fields: Vec<(u8, Value)>,
    /// What is said.
    pub(super) body: Vec<Value>,
}

impl Message {
    /// The header field `wanted`.
    pub(super) fn field(&self, wanted: u8) -> Option<&Value> {
        let found = self.fields.iter().find(|(code, _)| *code == wanted);
        found.map(|(_, value)| value)
    }

    /// The text of the header field `wanted`, or nothing.
    pub(super) fn text(&self, wanted: u8) -> &str {
        self.field(wanted).and_then(Value::text).unwrap_or("")
    }

    /// The bytes.
    pub(super) fn encode(&self) -> Result<Vec<u8>, SystemdError> {
        let mut body = Writer::default();
        body.values(&self.body)?;
        let mut fields = self.fields.clone();
        let signature = signature_of(&self.body);
        if !signature.is_empty() {
            fields.push((SIGNATURE, Value::Signature(signature)));
        }
        let fields = fields
            .into_iter()
            .map(|(code, value)| Value::Struct(vec![Value::Byte(code), Value::Variant(Box::new(value))]))
            .collect::<Vec<_>>();
        let mut message = Writer(vec![b'l', self.kind, self.flags, 1]);
        message.length(body.0.len())?;
        message.fixed(self.serial.to_le_bytes());
        message.array("(yv)", &fields)?;
        message.align(8);
        message.0.extend(body.0);
        Ok(message.0)
    }

    /// The first message of `bytes` and how many it takes; none while it is not complete.
    pub(super) fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, SystemdError> {
        let Some(&[order, kind, flags, version]) = bytes.first_chunk() else {
            return Ok(None);
        };
        if !matches!(order, b'l' | b'B') || version != 1 {
            return Err(SystemdError::Malformed("another byte order or version"));
        }
        if bytes.len() < 16 {
            return Ok(None);
        }
        let mut reader = Reader {
            bytes,
            at: 4,
            big_endian: order == b'B',
        };
        let body_length = reader.length()?;
        let serial = reader.u32()?;
        let body_at = (16 + reader.length()?).next_multiple_of(8);
        let end = body_at + body_length;
        if end > MESSAGE_MAX {
            return Err(SystemdError::Malformed("more than 128 MiB"));
        }
        let Some(bytes) = bytes.get(..end) else {
            return Ok(None);
        };
        let mut fields = Vec::new();
        (reader.bytes, reader.at) = (bytes, 12);
        if let Value::Array(_, items) = reader.value("a(yv)", 0)? {
            fields.extend(items.into_iter().filter_map(into_field));
        }
        reader.align(8)?;
        let signature = fields
            .iter()
            .position(|(code, _)| *code == SIGNATURE)
            .map(|at| fields.swap_remove(at).1);
        let signature = signature.as_ref().and_then(Value::text).unwrap_or("");
        let body = reader.values(signature, 0)?;
        if reader.at != end {
            return Err(SystemdError::Malformed("a body of another length than it says"));
        }
        let message = Self {
            kind,
            flags,
            serial,
            fields,
            body,
        };
        Ok(Some((message, end)))
    }
}

/// A header field from its `(yv)`.
fn into_field(pair: Value) -> Option<(u8, Value)> {
    let Value::Struct(pair) = pair else { return None };
    match <[Value; 2]>::try_from(pair).ok()? {
        [Value::Byte(code), Value::Variant(value)] => Some((code, *value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
