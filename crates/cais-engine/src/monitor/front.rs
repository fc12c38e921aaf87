//! The other side of [`super::protocol`]: a command at a terminal that watches a
//! container. It puts the terminal into raw mode and puts it back on every way out.

use super::protocol::{MAX, Message};
use super::relay::write_all;
use crate::error::{EngineError, Result};
use cais_linux::SysError;
use cais_linux::process::channel;
use cais_sys::process::{standard_stream, stdin};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

const SIGWINCH: i32 = 28;

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEnd {
    /// The program ended with this status.
    Exited(u8),
    /// The user left it running.
    Detached,
}

/// A terminal in raw mode; dropping it restores what was before.
#[derive(Debug)]
pub struct RawTerminal {
    before: Option<Termios>,
}

impl RawTerminal {
    /// Puts standard input into raw mode, where it is a terminal.
    #[must_use]
    pub fn enter() -> Self {
        let before = tcgetattr(stdin()).ok();
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            tcsetattr(stdin(), OptionalActions::Drain, &raw).unwrap_or_default();
        }
        Self { before }
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            tcsetattr(stdin(), OptionalActions::Drain, before).unwrap_or_default();
        }
    }
}

/// The settings and size of the terminal that this process has, for a monitor that is
/// to restore it should this process be killed.
#[derive(Debug)]
pub struct SavedTerminal {
    terminal: OwnedFd,
    settings: Termios,
}

impl SavedTerminal {
    /// Reads the settings; `None` where standard input is no terminal.
    #[must_use]
    pub fn read() -> Option<Self> {
        let settings = tcgetattr(stdin()).ok()?;
        let terminal = rustix::io::fcntl_dupfd_cloexec(stdin(), 3).ok()?;
        Some(Self { terminal, settings })
    }

    /// Puts the settings back.
    pub fn restore(&self) {
        tcsetattr(&self.terminal, OptionalActions::Now, &self.settings).unwrap_or_default();
    }
}

/// Lines and columns of the terminal at standard input or output; zero without one.
#[must_use]
pub fn terminal_size() -> (u16, u16) {
    let size = [stdin(), standard_stream(false)]
        .into_iter()
        .find_map(|fd| tcgetwinsize(fd).ok());
    size.map_or((0, 0), |size| (size.ws_row, size.ws_col))
}

/// Whether standard input is a terminal.
#[must_use]
pub fn has_terminal() -> bool {
    isatty(stdin())
}

/// Finds the keys by which the user leaves, in what is typed.
#[derive(Debug, Clone)]
pub struct DetachKeys {
    keys: Vec<u8>,
    matched: usize,
}

impl DetachKeys {
    /// Looks for `keys`; none means that there is no way to leave.
    #[must_use]
    pub fn new(keys: Vec<u8>) -> Self {
        Self { keys, matched: 0 }
    }

    /// Takes what was typed. Returns what goes to the program, and whether the user
    /// leaves. A sequence that breaks off is passed on whole.
    pub fn filter(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(typed.len());
        for byte in typed {
            if self.keys.get(self.matched) == Some(byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return (passed, true);
                }
                continue;
            }
            passed.extend_from_slice(self.keys.get(..self.matched).unwrap_or(&[]));
            self.matched = usize::from(self.keys.first() == Some(byte));
            if self.matched == 0 {
                passed.push(*byte);
            } else if self.keys.len() == 1 {
                self.matched = 0;
                return (passed, true);
            }
        }
        (passed, false)
    }
}

/// Watches the container behind `monitor` until it ends or the user leaves.
///
/// `signals` is a signalfd with the signals to hand on and SIGWINCH.
///
/// # Errors
/// Where the monitor is gone without a word.
pub fn watch(monitor: &OwnedFd, signals: &OwnedFd, interactive: bool, keys: Vec<u8>) -> Result<SessionEnd> {
    let raw = RawTerminal::enter();
    let end = watch_raw(monitor, signals, interactive, DetachKeys::new(keys));
    drop(raw);
    end
}

fn watch_raw(
    monitor: &OwnedFd,
    signals: &OwnedFd,
    interactive: bool,
    mut keys: DetachKeys,
) -> Result<SessionEnd> {
    let send = |message: Message<'_>| channel::send(monitor.as_fd(), &message.encode(), &[]).is_ok();
    let mut input_open = interactive;
    loop {
        let mut fds = vec![
            PollFd::from_borrowed_fd(monitor.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
        ];
        if input_open {
            fds.push(PollFd::from_borrowed_fd(stdin(), PollFlags::IN));
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => {
                let source = SysError::new("poll", "the terminal and the monitor", errno);
                return Err(EngineError::System {
                    action: "wait for events".to_owned(),
                    source,
                });
            }
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        if ready.first() == Some(&true)
            && let Some(end) = show_output(monitor.as_fd())?
        {
            return Ok(end);
        }
        if ready.get(1) == Some(&true) {
            while let Some(number) = cais_sys::signal::read_signalfd(signals.as_fd()) {
                if number == SIGWINCH {
                    let (rows, columns) = terminal_size();
                    send(Message::Resize { rows, columns });
                } else {
                    send(Message::Signal(u8::try_from(number).unwrap_or(0)));
                }
            }
        }
        if ready.get(2) == Some(&true) {
            let mut buffer = [0u8; MAX - 1];
            match rustix::io::read(stdin(), &mut buffer[..]) {
                Ok(0) => input_open = false,
                Ok(count) => {
                    let (passed, leave) = keys.filter(buffer.get(..count).unwrap_or(&[]));
                    if !passed.is_empty() {
                        send(Message::Data(&passed));
                    }
                    if leave {
                        send(Message::Detach);
                        return Ok(SessionEnd::Detached);
                    }
                }
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(_) => input_open = false,
            }
        }
    }
}

/// Shows one message's output; tells where the program ended.
fn show_output(monitor: BorrowedFd<'_>) -> Result<Option<SessionEnd>> {
    let mut buffer = vec![0u8; MAX];
    let received = channel::receive(monitor, &mut buffer, &mut Vec::new())
        .map_err(EngineError::system("listen to the monitor"))?;
    match received.map(Message::parse) {
        Some(Some(Message::Data(bytes))) => {
            // A terminal that went away does not end the program.
            write_all(standard_stream(false), bytes).unwrap_or_default();
            Ok(None)
        }
        Some(Some(Message::Exit(code))) => Ok(Some(SessionEnd::Exited(code))),
        Some(_) => Ok(None),
        None => Err(EngineError::Invalid(
            "the container's monitor is gone: `cais ps -a` tells what became of it".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detach_keys_are_found_and_others_passed() {
        let keys = || DetachKeys::new(vec![16, 17]);
        let mut found = keys();
        assert_eq!(found.filter(b"ab\x10\x11cd"), (b"ab".to_vec(), true));
        let mut split = keys();
        assert_eq!(split.filter(b"\x10"), (vec![], false));
        assert_eq!(split.filter(b"\x11"), (vec![], true));
        let mut broken = keys();
        assert_eq!(
            broken.filter(b"\x10x\x10\x10y"),
            (b"\x10x\x10\x10y".to_vec(), false)
        );
        let mut one = DetachKeys::new(vec![1]);
        assert_eq!(one.filter(b"a\x01"), (b"a".to_vec(), true));
        let mut none = DetachKeys::new(vec![]);
        assert_eq!(none.filter(b"\x10\x11"), (b"\x10\x11".to_vec(), false));
    }
}
