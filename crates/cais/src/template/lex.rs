//! A template's text as pieces: what stands outside of `{{ }}`, and the words within.

use super::TemplateError;

/// A word of an action.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// `.name`; one that continues what stands before it without a space says so.
    Field { name: String, glued: bool },
    /// `.` alone.
    Dot,
    /// `$name`, or `$` with an empty name.
    Variable(String),
    /// A function or a keyword.
    Word(String),
    /// A quoted text.
    Text(String),
    /// A number.
    Number(cais_json::Number),
    /// `|`.
    Pipe,
    /// `(`.
    Open,
    /// `)`; a field may follow at once.
    Close,
    /// `:=`.
    Declare,
    /// `=`.
    Assign,
    /// `,`.
    Comma,
}

/// Plain text, or the words of an action with its line.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    Plain(String),
    Action(usize, Vec<Token>),
}

/// Cuts a template into pieces.
pub(super) fn lex(text: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let (mut rest, mut line, mut trim_next) = (text, 1, false);
    while let Some((before, after)) = rest.split_once("{{") {
        let (trim_before, after) = match after.strip_prefix('-') {
            Some(inner) if inner.starts_with(char::is_whitespace) => (true, inner),
            _ => (false, after),
        };
        push_plain(&mut pieces, before, trim_next, trim_before);
        line += before.matches('\n').count();
        let (words, length, trim_after) = lex_action(after, line)?;
        line += after.get(..length).unwrap_or("").matches('\n').count();
        if let Some(words) = words {
            pieces.push(Piece::Action(line, words));
        }
        trim_next = trim_after;
        rest = after.get(length..).unwrap_or("");
    }
    push_plain(&mut pieces, rest, trim_next, false);
    Ok(pieces)
}

fn push_plain(pieces: &mut Vec<Piece>, text: &str, trim_start: bool, trim_end: bool) {
    let text = if trim_start { text.trim_start() } else { text };
    let text = if trim_end { text.trim_end() } else { text };
    if !text.is_empty() {
        pieces.push(Piece::Plain(text.to_owned()));
    }
}

/// The words up to the closing braces (`None` for a comment), how long the action is with
/// them, and whether space after it is dropped.
fn lex_action(text: &str, line: usize) -> Result<(Option<Vec<Token>>, usize, bool), TemplateError> {
    let unclosed = || TemplateError::new(format!(":{line}: unclosed action"));
    let start = text.trim_start();
    if let Some(comment) = start.strip_prefix("/*") {
        let (_, after) = comment
            .split_once("*/")
            .ok_or_else(|| TemplateError::new(format!(":{line}: unclosed comment")))?;
        let (end, trim) = closing(after.trim_start(), after.len() > after.trim_start().len())
            .ok_or_else(|| TemplateError::new(format!(":{line}: comment ends before closing delimiter")))?;
        let length = text.len() - after.trim_start().len() + end;
        return Ok((None, length, trim));
    }
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        let rest = text.get(at..).unwrap_or("");
        let spaces = rest.len() - rest.trim_start().len();
        let rest = rest.trim_start();
        at += spaces;
        if let Some((end, trim)) = closing(rest, spaces > 0) {
            return Ok((Some(words), at + end, trim));
        }
        if rest.is_empty() {
            return Err(unclosed());
        }
        let glued = spaces == 0
            && matches!(
                words.last(),
                Some(Token::Field { .. } | Token::Variable(_) | Token::Close | Token::Dot)
            );
        let (token, length) =
            lex_token(rest, glued).map_err(|text| TemplateError::new(format!(":{line}: {text}")))?;
        words.push(token);
        at += length;
    }
}

/// The length of the closing braces, and whether they drop what space follows.
fn closing(rest: &str, after_space: bool) -> Option<(usize, bool)> {
    if rest.starts_with("}}") {
        return Some((2, false));
    }
    (after_space && rest.starts_with("-}}")).then_some((3, true))
}

fn lex_token(rest: &str, glued: bool) -> Result<(Token, usize), String> {
    let mut chars = rest.chars();
    let first = chars.next().unwrap_or(' ');
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let name = |from: usize| {
        let tail = rest.get(from..).unwrap_or("");
        tail.split(|c| !is_name(c)).next().unwrap_or("").to_owned()
    };
    Ok(match first {
        '|' => (Token::Pipe, 1),
        '(' => (Token::Open, 1),
        ')' => (Token::Close, 1),
        ',' => (Token::Comma, 1),
        ':' if rest.starts_with(":=") => (Token::Declare, 2),
        '=' => (Token::Assign, 1),
        '.' if chars.next().is_some_and(|c| c.is_ascii_digit()) => lex_number(rest)?,
        '.' => {
            let name = name(1);
            let length = 1 + name.len();
            if name.is_empty() {
                (Token::Dot, 1)
            } else {
                (Token::Field { name, glued }, length)
            }
        }
        '$' => {
            let name = name(1);
            let length = 1 + name.len();
            (Token::Variable(name), length)
        }
        '"' => lex_quoted(rest)?,
        '`' => {
            let inner = rest.get(1..).unwrap_or("");
            let end = inner.find('`').ok_or("unterminated raw quoted string")?;
            (Token::Text(inner.get(..end).unwrap_or("").to_owned()), end + 2)
        }
        '\'' => {
            let inner = rest.get(1..).unwrap_or("");
            let end = inner.find('\'').ok_or("unterminated character constant")?;
            let mut content = inner.get(..end).unwrap_or("").chars();
            let (Some(c), None) = (content.next(), content.next()) else {
                return Err("a character constant is one character".to_owned());
            };
            (Token::Number(u32::from(c).into()), end + 2)
        }
        c if c.is_ascii_digit() || c == '-' || c == '+' => lex_number(rest)?,
        c if is_name(c) => {
            let word = name(0);
            let length = word.len();
            (Token::Word(word), length)
        }
        other => return Err(format!("unexpected {other:?} in command")),
    })
}

fn lex_number(rest: &str) -> Result<(Token, usize), String> {
    let sign = usize::from(rest.starts_with(['-', '+']));
    let tail = rest.get(sign..).unwrap_or("");
    let length = sign + tail.len()
        - tail
            .trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.' || c == '_')
            .len();
    let text = rest.get(..length).unwrap_or("").replace('_', "");
    let bad = || format!("bad number syntax: {text:?}");
    let plain = text.trim_start_matches('+');
    let number = match plain.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).ok().map(Into::into),
        None => plain
            .parse::<i64>()
            .ok()
            .map(Into::into)
            .or_else(|| plain.parse::<f64>().ok().and_then(cais_json::Number::from_f64)),
    };
    number
        .map(|number| (Token::Number(number), length))
        .ok_or_else(bad)
}

fn lex_quoted(rest: &str) -> Result<(Token, usize), String> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((Token::Text(text), at + 1)),
            '\n' => break,
            '\\' => {
                let (_, escaped) = chars.next().ok_or("unterminated quoted string")?;
                text.push(match escaped {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    '\\' | '"' | '\'' => escaped,
                    other => return Err(format!("unknown escape \\{other} in a quoted string")),
                });
            }
            other => text.push(other),
        }
    }
    Err("unterminated quoted string".to_owned())
}
