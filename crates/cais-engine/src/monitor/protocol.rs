//! What a monitor and the command that watches its container say to each other, over
//! a `SOCK_SEQPACKET` socket: the first byte is the kind, the rest its content.

/// The most bytes of one message.
pub const MAX: usize = 32 * 1024;

/// A message in either direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// Bytes for standard input (down) or of the terminal (up).
    Data(&'a [u8]),
    /// The watcher's terminal has this size now.
    Resize {
        /// Lines.
        rows: u16,
        /// Characters a line.
        columns: u16,
    },
    /// The watcher leaves; the program goes on.
    Detach,
    /// A signal for the program.
    Signal(u8),
    /// The program ended with this status.
    Exit(u8),
    /// The program was started: what follows is its output.
    Started,
    /// It could not be started: the exit code, and why in words.
    Failed(u8, &'a str),
}

impl<'a> Message<'a> {
    /// The message's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Data(bytes) => [&b"d"[..], bytes].concat(),
            Self::Resize { rows, columns } => {
                [&b"r"[..], &rows.to_ne_bytes(), &columns.to_ne_bytes()].concat()
            }
            Self::Detach => b"q".to_vec(),
            Self::Signal(number) => vec![b's', *number],
            Self::Exit(code) => vec![b'x', *code],
            Self::Started => b"g".to_vec(),
            Self::Failed(code, text) => [&[b'f', *code], text.as_bytes()].concat(),
        }
    }

    /// Understands a message; `None` for anything else.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        match bytes {
            [b'd', data @ ..] => Some(Self::Data(data)),
            [b'r', a, b, c, d] => Some(Self::Resize {
                rows: u16::from_ne_bytes([*a, *b]),
                columns: u16::from_ne_bytes([*c, *d]),
            }),
            [b'q'] => Some(Self::Detach),
            [b's', number] => Some(Self::Signal(*number)),
            [b'x', code] => Some(Self::Exit(*code)),
            [b'g'] => Some(Self::Started),
            [b'f', code, text @ ..] => Some(Self::Failed(*code, std::str::from_utf8(text).ok()?)),
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
            Message::Resize {
                rows: 24,
                columns: 300,
            },
            Message::Detach,
            Message::Signal(15),
            Message::Exit(137),
            Message::Started,
            Message::Failed(127, "no such program"),
        ] {
            assert_eq!(Message::parse(&message.encode()), Some(message));
        }
        for bad in [&b""[..], b"z", b"r12", b"x", b"f", b"f\x01\xff"] {
            assert_eq!(Message::parse(bad), None, "{bad:?}");
        }
    }
}
