//! Lines of log files, in bytes.

use super::{Form, Stream};
use serde::Deserialize;
use std::borrow::Cow;

/// One entry of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'a> {
    /// The text without its line feed.
    pub text: Cow<'a, [u8]>,
    /// Whether it had a line feed: a long line is cut into pieces.
    pub is_whole: bool,
    /// Where it came from.
    pub stream: Stream,
    /// When it was read (RFC 3339).
    pub time: Cow<'a, str>,
    /// Labels and variables that were to be noted, as `key=value,…`.
    pub attributes: String,
}

/// What is noted beside a line's text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamp<'a> {
    pub(super) stream: Stream,
    pub(super) time: &'a str,
    /// A JSON object, or empty.
    pub(super) attributes: &'a [u8],
}

/// Appends a line in the file's form. `line` has its line feed where it had one.
pub(super) fn render(text: &mut Vec<u8>, form: Form, line: &[u8], stamp: Stamp<'_>) {
    match form {
        Form::Json => render_json(text, line, stamp),
        Form::Cri => render_cri(text, line, stamp),
    }
}

fn render_json(text: &mut Vec<u8>, line: &[u8], stamp: Stamp<'_>) {
    text.extend_from_slice(b"{\"log\":\"");
    escape(text, line);
    text.extend_from_slice(match stamp.stream {
        Stream::Stdout => b"\",\"stream\":\"stdout\"",
        Stream::Stderr => b"\",\"stream\":\"stderr\"",
    });
    if !stamp.attributes.is_empty() {
        text.extend_from_slice(b",\"attrs\":");
        text.extend_from_slice(stamp.attributes);
    }
    text.extend_from_slice(b",\"time\":\"");
    text.extend_from_slice(stamp.time.as_bytes());
    text.extend_from_slice(b"\"}\n");
}

fn render_cri(text: &mut Vec<u8>, line: &[u8], stamp: Stamp<'_>) {
    let (line, tag) = match line.strip_suffix(b"\n") {
        Some(whole) => (whole, b'F'),
        None => (line, b'P'),
    };
    text.extend_from_slice(stamp.time.as_bytes());
    text.push(b' ');
    text.extend_from_slice(stamp.stream.name().as_bytes());
    text.extend_from_slice(&[b' ', tag, b' ']);
    text.extend_from_slice(line);
    text.push(b'\n');
}

/// Appends bytes as the inside of a JSON string; what is not UTF-8 is replaced.
fn escape(text: &mut Vec<u8>, bytes: &[u8]) {
    let clean = String::from_utf8_lossy(bytes);
    let mut rest = clean.as_bytes();
    while let Some(at) = rest
        .iter()
        .position(|byte| *byte < 0x20 || *byte == b'"' || *byte == b'\\')
    {
        let (plain, special) = rest.split_at(at);
        text.extend_from_slice(plain);
        let byte = special.first().copied().unwrap_or(0);
        match byte {
            b'\n' => text.extend_from_slice(b"\\n"),
            b'\r' => text.extend_from_slice(b"\\r"),
            b'\t' => text.extend_from_slice(b"\\t"),
            b'"' | b'\\' => text.extend_from_slice(&[b'\\', byte]),
            _ => text.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
        rest = special.get(1..).unwrap_or(&[]);
    }
    text.extend_from_slice(rest);
}

/// Understands a line without its line feed; `None` for anything else.
#[must_use]
pub fn parse(form: Form, line: &[u8]) -> Option<Line<'_>> {
    match form {
        Form::Json => parse_own_json(line).or_else(|| parse_json(line)),
        Form::Cri => parse_cri(line),
    }
}

/// The end of a line as [`render_json`] writes it without attributes:
/// `","stream":"stdout","time":"2026-11-24T10:12:12.123456789Z"}`.
const TAIL: usize = 60;

/// A line as this engine writes it: everything stands at a fixed place, so that nothing but
/// its end and its escapes is looked for.
fn parse_own_json(line: &[u8]) -> Option<Line<'_>> {
    let body = line.strip_prefix(b"{\"log\":\"")?;
    let (log, tail) = body.split_at_checked(body.len().checked_sub(TAIL)?)?;
    let tail = tail.strip_prefix(b"\",\"stream\":\"std")?;
    let stream = match tail.get(..3)? {
        b"out" => Stream::Stdout,
        b"err" => Stream::Stderr,
        _ => return None,
    };
    let time = tail
        .get(3..)?
        .strip_prefix(b"\",\"time\":\"")?
        .strip_suffix(b"Z\"}")?;
    let time = tail.get(13..13 + time.len() + 1)?;
    let (text, is_whole) = unescape(log)?;
    Some(Line {
        text,
        is_whole,
        stream,
        time: Cow::Borrowed(std::str::from_utf8(time).ok()?),
        attributes: String::new(),
    })
}

/// The text of a JSON string without its line feed, and whether it had one. `None` where it
/// is no such string. Most lines have no other escape than that, and are not copied.
fn unescape(log: &[u8]) -> Option<(Cow<'_, [u8]>, bool)> {
    let Some(first) = memchr::memchr2(b'\\', b'"', log) else {
        return Some((Cow::Borrowed(log), false));
    };
    if log.get(first..) == Some(b"\\n") {
        return Some((Cow::Borrowed(log.get(..first)?), true));
    }
    let mut text = Vec::with_capacity(log.len());
    let mut rest = log;
    let mut next = Some(first);
    while let Some(at) = next {
        let (plain, special) = rest.split_at(at);
        text.extend_from_slice(plain);
        let (used, byte) = match special {
            [b'\\', b'n', ..] => (2, b'\n'),
            [b'\\', b't', ..] => (2, b'\t'),
            [b'\\', b'r', ..] => (2, b'\r'),
            [b'\\', b'"', ..] => (2, b'"'),
            [b'\\', b'\\', ..] => (2, b'\\'),
            [b'\\', b'u', b'0', b'0', high, low, ..] => {
                let digits = [*high, *low];
                let number = u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?;
                // Others are two bytes in UTF-8: the general way is right for them.
                (6, Some(number).filter(u8::is_ascii)?)
            }
            _ => return None,
        };
        text.push(byte);
        rest = special.get(used..)?;
        next = memchr::memchr2(b'\\', b'"', rest);
    }
    text.extend_from_slice(rest);
    let is_whole = text.pop_if(|last| *last == b'\n').is_some();
    Some((Cow::Owned(text), is_whole))
}

/// Any line of Docker's form.
fn parse_json(line: &[u8]) -> Option<Line<'_>> {
    #[derive(Deserialize)]
    struct Entry {
        #[serde(default)]
        log: String,
        stream: Stream,
        #[serde(default)]
        attrs: std::collections::BTreeMap<String, String>,
        time: String,
    }
    let entry: Entry = cais_json::from_slice(line).ok()?;
    let attributes: Vec<String> = entry
        .attrs
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let mut text = entry.log.into_bytes();
    let is_whole = text.pop_if(|last| *last == b'\n').is_some();
    Some(Line {
        text: Cow::Owned(text),
        is_whole,
        stream: entry.stream,
        time: Cow::Owned(entry.time),
        attributes: attributes.join(","),
    })
}

fn parse_cri(line: &[u8]) -> Option<Line<'_>> {
    let mut words = line.splitn(4, |byte| *byte == b' ');
    let (time, stream, tag, text) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let stream = match stream {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    let is_whole = match tag {
        b"P" => false,
        b"F" => true,
        _ => return None,
    };
    Some(Line {
        text: Cow::Borrowed(text),
        is_whole,
        stream,
        time: Cow::Borrowed(std::str::from_utf8(time).ok()?),
        attributes: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "2026-11-24T10:12:12.123456789Z";

    #[test]
    fn what_is_written_is_read() {
        let texts: [&[u8]; 8] = [
            b"plain\n",
            b"",
            b"\n",
            b"no end",
            b"tab\tquote\"back\\slash\r\n",
            b"\x01\x1f\x7f\n",
            "sch\u{f6}n \u{2028}\n".as_bytes(),
            b"{\"log\":\"x\\n\",\"stream\":\"stdout\",\"time\":\"y\"}\n",
        ];
        for form in [Form::Json, Form::Cri] {
            for text in texts {
                for stream in [Stream::Stdout, Stream::Stderr] {
                    let mut bytes = Vec::new();
                    let stamp = Stamp {
                        stream,
                        time: TIME,
                        attributes: b"",
                    };
                    render(&mut bytes, form, text, stamp);
                    let line = bytes.strip_suffix(b"\n").unwrap();
                    let parsed = parse(form, line).unwrap();
                    let mut back = parsed.text.to_vec();
                    back.extend(parsed.is_whole.then_some(b'\n'));
                    assert_eq!((&back[..], parsed.stream, &*parsed.time), (text, stream, TIME));
                    if form == Form::Json {
                        let general = parse_json(line).unwrap();
                        assert_eq!(general.text, parsed.text, "{:?}", String::from_utf8_lossy(line));
                        assert!(parse_own_json(line).is_some());
                    }
                }
            }
        }
    }

    #[test]
    fn others_lines_are_read_too() {
        let line = b"{\"log\":\"a\\u00e9\\/\\n\",\"stream\":\"stderr\",\"attrs\":{\"tag\":\"x\"},\"time\":\"2026-11-24T10:12:12Z\"}";
        let parsed = parse(Form::Json, line).unwrap();
        assert_eq!((&*parsed.text, parsed.is_whole), ("a\u{e9}/".as_bytes(), true));
        assert_eq!(parsed.attributes, "tag=x");
        let mut bytes = Vec::new();
        let stamp = Stamp {
            stream: Stream::Stdout,
            time: TIME,
            attributes: b"{\"a\":\"b\"}",
        };
        render(&mut bytes, Form::Json, b"x\n", stamp);
        assert_eq!(
            parse(Form::Json, bytes.trim_ascii_end()).unwrap().attributes,
            "a=b"
        );
        for bad in [
            &b""[..],
            b"{",
            b"x stdout F y",
            b"t stdout X y",
            b"t out F y",
            b"{\"log\":\"x",
        ] {
            assert!(parse(Form::Json, bad).is_none(), "{bad:?}");
        }
        assert!(parse(Form::Cri, b"t stdout X y").is_none());
    }
}
