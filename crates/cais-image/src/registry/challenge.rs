//! Challenges: what a server wants to know about who asks (RFC 9110 §11.6.1,
//! `WWW-Authenticate`).

use std::collections::BTreeMap;

/// One way to authenticate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The scheme in lower case: `bearer`, `basic`.
    pub scheme: String,
    /// The parameters by their names in lower case: `realm`, `service`, `scope`.
    pub parameters: BTreeMap<String, String>,
}

impl Challenge {
    /// Reads the value of a header: one or several challenges. What cannot be understood ends
    /// the reading; what came before it is kept.
    #[must_use]
    pub fn parse_all(header: &str) -> Vec<Self> {
        let mut text = Cursor(header);
        let mut challenges = Vec::new();
        loop {
            text.skip_separators();
            let Some(scheme) = text.token() else {
                return challenges;
            };
            let mut challenge = Self {
                scheme: scheme.to_ascii_lowercase(),
                parameters: BTreeMap::new(),
            };
            while let Some((name, value)) = text.parameter() {
                challenge.parameters.entry(name).or_insert(value);
            }
            text.skip_token68();
            challenges.push(challenge);
        }
    }

    /// A parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }
}

/// What is still to be read.
struct Cursor<'a>(&'a str);

impl<'a> Cursor<'a> {
    fn skip_separators(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t', ',']);
    }

    /// The longest beginning of such bytes; the rest stays.
    fn take(&mut self, wanted: impl Fn(u8) -> bool) -> &'a str {
        let end = self
            .0
            .bytes()
            .position(|byte| !wanted(byte))
            .unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at_checked(end).unwrap_or((self.0, ""));
        self.0 = rest;
        taken
    }

    fn token(&mut self) -> Option<&'a str> {
        let token = self.take(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
        (!token.is_empty()).then_some(token)
    }

    /// `name=value` or `name="value"`; nothing is read if there is none here, as before the
    /// next challenge.
    fn parameter(&mut self) -> Option<(String, String)> {
        let mut ahead = Cursor(self.0);
        ahead.skip_separators();
        let name = ahead.token()?.to_ascii_lowercase();
        let rest = ahead.0.trim_start_matches([' ', '\t']).strip_prefix('=')?;
        ahead.0 = rest.trim_start_matches([' ', '\t']);
        let value = match ahead.0.strip_prefix('"') {
            Some(rest) => {
                ahead.0 = rest;
                ahead.quoted()
            }
            // Beyond the grammar: servers write addresses without quotes.
            None => ahead.take(|byte| !b", \t\"".contains(&byte)).to_owned(),
        };
        let is_padding = value.is_empty() || value.bytes().all(|byte| byte == b'=');
        if is_padding && !rest.trim_start().starts_with('"') {
            return None; // the end of a token68, as in "Negotiate abc="
        }
        self.0 = ahead.0;
        Some((name, value))
    }

    /// Up to the closing quote, or to the end if there is none.
    fn quoted(&mut self) -> String {
        let mut value = String::new();
        let mut letters = self.0.char_indices();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.0 = self.0.get(at + 1..).unwrap_or("");
                    return value;
                }
                '\\' => value.extend(letters.next().map(|(_, letter)| letter)),
                letter => value.push(letter),
            }
        }
        self.0 = "";
        value
    }

    /// The data of schemes that have one text in place of parameters.
    fn skip_token68(&mut self) {
        let mut ahead = Cursor(self.0.trim_start_matches([' ', '\t']));
        let data = ahead.take(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte));
        if !data.is_empty() && (ahead.0.is_empty() || ahead.0.trim_start().starts_with(',')) {
            self.0 = ahead.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(header: &str) -> String {
        let all = Challenge::parse_all(header);
        let one = |challenge: &Challenge| {
            let parameters = challenge
                .parameters
                .iter()
                .map(|(name, value)| format!(" {name}={value}"));
            format!("{}{}", challenge.scheme, parameters.collect::<String>())
        };
        all.iter().map(one).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn headers() {
        for (header, expected) in [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
                "bearer realm=https://auth.docker.io/token scope=repository:a/b:pull,push service=registry.docker.io",
            ),
            (r#"Basic realm="x y""#, "basic realm=x y"),
            (
                r#"Basic realm="a", Bearer realm="b",service="c""#,
                "basic realm=a | bearer realm=b service=c",
            ),
            (r#"BEARER Realm = "a" , SERVICE=b"#, "bearer realm=a service=b"),
            (
                r"Bearer realm=https://x/y?z,service=q",
                "bearer realm=https://x/y?z service=q",
            ),
            (r#"Bearer realm="a\"b\\c""#, r#"bearer realm=a"b\c"#),
            (
                r#"Bearer realm="" , error="insufficient_scope""#,
                "bearer error=insufficient_scope realm=",
            ),
            (r#"Negotiate abc==, Basic realm="x""#, "negotiate | basic realm=x"),
            (r#"Negotiate, Basic realm="x""#, "negotiate | basic realm=x"),
            (r#"Bearer realm="open"#, "bearer realm=open"),
            (r#"Bearer realm="a" realm="b""#, "bearer realm=a"),
            ("", ""),
            (",, ,", ""),
            ("=", ""),
            ("é", ""),
            ("Basic é", "basic"),
            (r#"Bearer realm="é\"#, "bearer realm=é"),
        ] {
            assert_eq!(shown(header), expected, "{header}");
        }
    }

    #[test]
    fn every_beginning_of_a_header_is_read() {
        let header = r#"Bearer realm="h\"é", service=a ,scope="x y", Basic realm=é=, Negotiate a==, D q"#;
        for end in (0..=header.len()).filter(|end| header.is_char_boundary(*end)) {
            drop(Challenge::parse_all(&header[..end]));
        }
    }
}
