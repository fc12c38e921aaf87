//! The commands that watch, and the signals that this process is sent.

use super::super::Streams;
use super::super::door::{Door, NUDGE};
use super::super::front::terminal_size;
use super::super::protocol::{MAX, Message};
use super::super::watcher::Front;
use super::Relay;
use cais_linux::process::{channel, pidfd};
use cais_order::InOrder;
use cais_sys::signal::from_number;
use rustix::fd::AsFd;
use rustix::termios::Winsize;

const SIGWINCH: i32 = 28;

impl Relay<'_> {
    pub(super) fn take_signals(&mut self) {
        let Some(signals) = self.signals else { return };
        while let Some(number) = cais_sys::signal::read_signalfd(signals) {
            if number == NUDGE.cast_signed() && self.house.is_some() {
                self.open_door();
                for attendant in &mut self.attendants {
                    attendant.look_again();
                }
            } else {
                self.signal(number);
            }
        }
    }

    /// Somebody wants to watch: the door is opened, where it is not yet.
    fn open_door(&mut self) {
        if let Some(house) = &mut self.house
            && house.door.is_none()
        {
            // The visitor waits and is told nothing: there is no room to make a socket.
            house.door = Door::open(house.store, house.id).ok();
        }
    }

    /// Opens the door from the beginning: somebody asked for it before.
    pub(crate) fn expect_visitors(&mut self) {
        self.open_door();
    }

    /// Lets in one who is at the door. False where nobody is.
    pub(super) fn admit(&mut self) -> bool {
        let door = self.house.as_ref().and_then(|house| house.door.as_ref());
        let visitor = door.and_then(Door::admit);
        let is_there = visitor.is_some();
        self.fronts.extend(visitor.map(Front::visitor));
        is_there
    }

    fn signal(&self, number: i32) {
        if number == SIGWINCH && matches!(self.streams, Streams::Terminal(_)) {
            let (rows, columns) = terminal_size();
            return self.resize(rows, columns);
        }
        if let Some(signal) = from_number(number) {
            // It may just have ended: that is the next event.
            pidfd::send_signal(self.pidfd, signal).unwrap_or_default();
        }
    }

    pub(super) fn hear_front(&mut self, number: usize) {
        let Some(front) = self.fronts.get(number) else {
            return;
        };
        let mut buffer = [0u8; MAX];
        let received = channel::receive(front.socket().as_fd(), &mut buffer, &mut Vec::new());
        let bytes = match received {
            Err(error) if error.errno() == rustix::io::Errno::AGAIN => return,
            other => other.ok().flatten(),
        };
        let (input, admitted) = (front.input, front.admitted);
        match bytes.map(Message::parse) {
            None => self.lose_front(number),
            Some(Some(Message::Detach)) => self.dismiss_front(number),
            Some(Some(Message::Hello { input })) => self.welcome(number, input),
            Some(Some(Message::Data(bytes))) if input => self.give_input(bytes),
            Some(Some(Message::InputEnd)) if input => self.front_input_ended(),
            Some(Some(Message::Resize { rows, columns })) if admitted => self.resize(rows, columns),
            Some(_) => {}
        }
    }

    /// Lets a visitor see the output from now on.
    fn welcome(&mut self, number: usize, input: bool) {
        let terminal = matches!(self.streams, Streams::Terminal(_));
        if let Some(front) = self.fronts.get_mut(number)
            && !front.admitted
        {
            front.admitted = true;
            front.input = input;
            if !front.say(&Message::Welcome { terminal }) {
                self.lose_front(number);
            }
        }
    }

    pub(super) fn flush_front(&mut self, number: usize) {
        if let Some(front) = self.fronts.get_mut(number)
            && !front.flush()
        {
            self.lose_front(number);
        }
    }

    /// A watcher who gave input gives no more: the program sees the end where that was agreed.
    fn front_input_ended(&mut self) {
        if self.input_once && matches!(self.streams, Streams::Pipes { .. }) {
            self.end_input();
        }
    }

    /// The watcher leaves; the program goes on.
    fn dismiss_front(&mut self, number: usize) {
        self.gone.push(number);
    }

    /// The watcher went away without a word.
    pub(super) fn lose_front(&mut self, number: usize) {
        if let Some(front) = self.fronts.get(number) {
            front.restore_terminal();
        }
        self.gone.push(number);
    }

    /// Forgets those who left in this round: until its end the numbers hold.
    pub(super) fn forget_gone(&mut self) {
        self.gone.order();
        self.gone.dedup();
        while let Some(number) = self.gone.pop() {
            if number < self.fronts.len() && self.fronts.remove(number).input {
                self.front_input_ended();
            }
        }
    }

    fn resize(&self, rows: u16, columns: u16) {
        if rows == 0 || columns == 0 {
            return;
        }
        if let Streams::Terminal(master) = &self.streams {
            let size = Winsize {
                ws_row: rows,
                ws_col: columns,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            // A size that does not take is no reason to end the session.
            rustix::termios::tcsetwinsize(master, size).unwrap_or_default();
        }
    }
}
