//! What a monitor and the command that watches its container say to each other, over
//! a `SOCK_SEQPACKET` socket: the first byte is the kind, the rest its content.

/// The most bytes of one message.
pub const MAX: usize = 32 * 1024;

/// A message in either direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// Bytes for standard input (down) or of standard output or the terminal (up).
    Data(&'a [u8]),
    /// Bytes of standard error (up).
    ErrorData(&'a [u8]),
    /// Standard input has ended (down).
    InputEnd,
    /// The watcher's terminal has this size now.
    Resize {
        /// Lines.
        rows: u16,
        /// Characters a line.
        columns: u16,
    },
    /// The watcher leaves; the program goes on.
    Detach,
    /// The program ended with this status.
    Exit(u8),
    /// The program was started: what follows is its output.
    Started,
    /// It could not be started: the exit code, and why in words.
    Failed(u8, &'a str),
    /// A watcher came by the socket (down), and gives input or not.
    Hello {
        /// Whether it gives input.
        input: bool,
    },
    /// It is welcome (up): the program has a terminal or not. What follows is its output.
    Welcome {
        /// Whether it has one.
        terminal: bool,
    },
}

impl<'a> Message<'a> {
    /// The message's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Data(bytes) => [&b"d"[..], bytes].concat(),
            Self::ErrorData(bytes) => [&b"e"[..], bytes].concat(),
            Self::InputEnd => b"z".to_vec(),
            Self::Resize { rows, columns } => {
                [&b"r"[..], &rows.to_ne_bytes(), &columns.to_ne_bytes()].concat()
            }
            Self::Detach => b"q".to_vec(),
            Self::Exit(code) => vec![b'x', *code],
            Self::Started => b"g".to_vec(),
            Self::Failed(code, text) => [&[b'f', *code], text.as_bytes()].concat(),
            Self::Hello { input } => vec![b'h', u8::from(*input)],
            Self::Welcome { terminal } => vec![b'w', u8::from(*terminal)],
        }
    }

    /// Understands a message; `None` for anything else.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        match bytes {
            [b'd', data @ ..] => Some(Self::Data(data)),
            [b'e', data @ ..] => Some(Self::ErrorData(data)),
            [b'z'] => Some(Self::InputEnd),
            [b'r', a, b, c, d] => Some(Self::Resize {
                rows: u16::from_ne_bytes([*a, *b]),
                columns: u16::from_ne_bytes([*c, *d]),
            }),
            [b'q'] => Some(Self::Detach),
            [b'x', code] => Some(Self::Exit(*code)),
            [b'g'] => Some(Self::Started),
            [b'f', code, text @ ..] => Some(Self::Failed(*code, std::str::from_utf8(text).ok()?)),
            [b'h', input @ (0 | 1)] => Some(Self::Hello { input: *input == 1 }),
            [b'w', terminal @ (0 | 1)] => Some(Self::Welcome {
                terminal: *terminal == 1,
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive() {
        for message in [
            Message::Data(b"x\0y"),
            Message::Data(b""),
            Message::ErrorData(b"e"),
            Message::InputEnd,
            Message::Resize {
                rows: 24,
                columns: 300,
            },
            Message::Detach,
            Message::Exit(137),
            Message::Started,
            Message::Failed(127, "no such program"),
            Message::Hello { input: true },
            Message::Welcome { terminal: false },
        ] {
            assert_eq!(Message::parse(&message.encode()), Some(message));
        }
        for bad in [&b""[..], b"?", b"r12", b"x", b"f", b"f\x01\xff", b"h2", b"zz"] {
            assert_eq!(Message::parse(bad), None, "{bad:?}");
        }
    }
}
