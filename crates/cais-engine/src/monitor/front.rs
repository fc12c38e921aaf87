//! The other side of [`super::protocol`]: a command at a terminal that watches a
//! container. It puts the terminal into raw mode and puts it back on every way out.

use super::protocol::{MAX, Message};
use super::relay::write_all;
use crate::error::{EngineError, Result};
use cais_linux::SysError;
use cais_linux::process::{channel, pidfd};
use cais_sys::process::{standard_stream, stdin};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::SendFlags;
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

/// How a command watches.
#[derive(Debug)]
pub struct Session {
    /// A signalfd with the signals to hand on, SIGWINCH among them; none where they keep
    /// their own meaning.
    pub signals: Option<OwnedFd>,
    /// Whether standard input goes to the program.
    pub input: bool,
    /// The keys by which the user leaves.
    pub keys: Vec<u8>,
    /// Whether the program has a terminal.
    pub terminal: bool,
    /// The program's first process, to which signals go: they are not to wait behind input.
    pub program: Option<OwnedFd>,
}

/// Watches the container behind `monitor` until it ends or the user leaves.
///
/// # Errors
/// Where the monitor is gone without a word.
pub fn watch(monitor: &OwnedFd, session: Session) -> Result<SessionEnd> {
    // Only a terminal that the program's one continues is put into raw mode.
    let raw = (session.terminal && session.input).then(RawTerminal::enter);
    let keys = DetachKeys::new(if session.terminal {
        session.keys.clone()
    } else {
        Vec::new()
    });
    let watching = Watching {
        monitor,
        keys,
        input_open: session.input,
        waiting: None,
        session,
    };
    let end = watching.run();
    drop(raw);
    end
}

/// A session that goes on.
struct Watching<'a> {
    monitor: &'a OwnedFd,
    keys: DetachKeys,
    input_open: bool,
    /// A message that the monitor has no room for yet: until it has, no more input is read.
    /// Output is shown meanwhile, or both would wait for each other.
    waiting: Option<Vec<u8>>,
    session: Session,
}

impl Watching<'_> {
    fn run(mut self) -> Result<SessionEnd> {
        loop {
            let ready = self.wait()?;
            if ready[0].contains(PollFlags::OUT) {
                self.send_waiting();
            }
            if ready[0].intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR)
                && let Some(end) = show_output(self.monitor.as_fd())?
            {
                return Ok(end);
            }
            if !ready[1].is_empty() {
                self.hand_on_signals();
            }
            if !ready[2].is_empty() && self.read_input() {
                self.send(&Message::Detach);
                return Ok(SessionEnd::Detached);
            }
        }
    }

    /// Waits for the monitor, for signals and for input; what is ready of each.
    fn wait(&self) -> Result<[PollFlags; 3]> {
        let mut wanted = PollFlags::IN;
        wanted.set(PollFlags::OUT, self.waiting.is_some());
        let mut fds = vec![PollFd::from_borrowed_fd(self.monitor.as_fd(), wanted)];
        let mut places = vec![0];
        if let Some(signals) = &self.session.signals {
            fds.push(PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN));
            places.push(1);
        }
        if self.input_open && self.waiting.is_none() {
            fds.push(PollFd::from_borrowed_fd(stdin(), PollFlags::IN));
            places.push(2);
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
        let mut ready = [PollFlags::empty(); 3];
        for (fd, place) in fds.iter().zip(places) {
            ready[place] = fd.revents();
        }
        Ok(ready)
    }

    /// Sends a message, or keeps it until there is room.
    fn send(&mut self, message: &Message<'_>) {
        let bytes = message.encode();
        match &mut self.waiting {
            // Control messages are few: a size or a signal that comes while input waits for
            // room goes the slow way.
            Some(_) => channel::send(self.monitor.as_fd(), &bytes, &[]).unwrap_or_default(),
            None => {
                self.waiting = Some(bytes);
                self.send_waiting();
            }
        }
    }

    fn send_waiting(&mut self) {
        let Some(bytes) = &self.waiting else { return };
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match rustix::net::send(self.monitor, bytes, flags) {
            Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS) => {}
            // Sent, or the monitor is gone, which its silence tells.
            _ => self.waiting = None,
        }
    }

    fn hand_on_signals(&mut self) {
        loop {
            let signals = self.session.signals.as_ref();
            let Some(number) = signals.and_then(|fd| cais_sys::signal::read_signalfd(fd.as_fd())) else {
                return;
            };
            if number == SIGWINCH && self.session.terminal {
                let (rows, columns) = terminal_size();
                self.send(&Message::Resize { rows, columns });
            } else if let (Some(program), Some(signal)) =
                (&self.session.program, cais_sys::signal::from_number(number))
            {
                // It may just have ended: the monitor will say so.
                pidfd::send_signal(program.as_fd(), signal).unwrap_or_default();
            }
        }
    }

    /// Reads input and passes it on; tells whether the user leaves.
    fn read_input(&mut self) -> bool {
        let mut buffer = [0u8; MAX - 1];
        match rustix::io::read(stdin(), &mut buffer[..]) {
            Err(Errno::INTR | Errno::AGAIN) => false,
            Ok(count) if count > 0 => {
                let (passed, leave) = self.keys.filter(buffer.get(..count).unwrap_or(&[]));
                if !passed.is_empty() {
                    self.send(&Message::Data(&passed));
                }
                leave
            }
            Ok(_) | Err(_) => {
                self.input_open = false;
                self.send(&Message::InputEnd);
                false
            }
        }
    }
}

/// Shows one message's output; tells where the program ended.
fn show_output(monitor: BorrowedFd<'_>) -> Result<Option<SessionEnd>> {
    let mut buffer = [0u8; MAX];
    let received = channel::receive(monitor, &mut buffer, &mut Vec::new())
        .map_err(EngineError::system("listen to the monitor"))?;
    match received.map(Message::parse) {
        Some(Some(Message::Data(bytes))) => {
            // A terminal that went away does not end the program.
            write_all(standard_stream(false), bytes).unwrap_or_default();
            Ok(None)
        }
        Some(Some(Message::ErrorData(bytes))) => {
            write_all(standard_stream(true), bytes).unwrap_or_default();
            Ok(None)
        }
        Some(Some(Message::Exit(code))) => Ok(Some(SessionEnd::Exited(code))),
        Some(_) => Ok(None),
        None => Err(EngineError::Invalid(
            "the container's monitor is gone: `cais ps -a` tells what became of it".to_owned(),
        )),
    }
}

/// Waits until a monitor tells how the program ended; `None` where it goes without a word.
pub(crate) fn await_exit(monitor: BorrowedFd<'_>) -> Option<u8> {
    let mut buffer = [0u8; MAX];
    loop {
        let received = channel::receive(monitor, &mut buffer, &mut Vec::new());
        if let Message::Exit(code) = Message::parse(received.ok()??)? {
            return Some(code);
        }
    }
}

/// Says hello to a monitor that runs already. Returns whether its program has a terminal.
///
/// # Errors
/// Where the monitor ends meanwhile.
pub fn introduce(monitor: &OwnedFd, input: bool) -> Result<bool> {
    channel::send(monitor.as_fd(), &Message::Hello { input }.encode(), &[])
        .map_err(EngineError::system("greet the monitor"))?;
    let mut buffer = [0u8; MAX];
    let received = channel::receive(monitor.as_fd(), &mut buffer, &mut Vec::new())
        .map_err(EngineError::system("listen to the monitor"))?;
    match received.map(Message::parse) {
        Some(Some(Message::Welcome { terminal })) => Ok(terminal),
        _ => Err(EngineError::Invalid(
            "the container has just ended: `cais ps -a` tells how".to_owned(),
        )),
    }
}

/// Tells the monitor the size of the terminal here.
pub fn send_size(monitor: &OwnedFd) {
    let (rows, columns) = terminal_size();
    // Without one the program's keeps its size; a monitor that is gone is noticed soon.
    channel::send(monitor.as_fd(), &Message::Resize { rows, columns }.encode(), &[]).unwrap_or_default();
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
