//! Two processes that work by turns in one memory, until one of them is gone and the other has
//! it for itself.
//!
//! fork(2) copies the page tables, and then each page that either side writes; where the old
//! process is about to end, all of that is for nothing. Here the new one shares the memory
//! (`CLONE_VM`, clone(2)) and goes on with it on a stack of its own, with the same thread-local
//! storage. Only one of the two is ever in its own code: the other one waits in a system call,
//! as with vfork(2). So nothing that is written in a single thread sees any of it.

use crate::clone::{CLONE_VM, CloneArgs, SIGCHLD, clone3_on_stack};
use crate::process::exit_now;
use crate::signal::while_deferred;
use crate::syscall::{check, number, syscall6};
use core::cell::Cell;
use core::sync::atomic::{AtomicUsize, Ordering};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};
use rustix::process::{Pid, WaitOptions, waitpid};

/// Several times what a monitor was seen to use; touched page by page.
const STACK: usize = 1024 * 1024;
/// At the low end of the stack, where an overflow ends the process.
const GUARD: usize = 4096;
/// It is the old process's turn until it gives it back.
const LENT: u8 = b'l';
/// The old process is to end.
const TAKEN_OVER: u8 = b'o';

/// Below this address the stack of the process that was handed over is dead; 0 where there was
/// none.
static LEFT_STACK: AtomicUsize = AtomicUsize::new(0);

/// What the new process holds of the other.
#[derive(Debug)]
pub struct Turn {
    socket: OwnedFd,
}

impl Turn {
    /// Lets the old process do what it has to do meanwhile, and waits for it.
    pub fn lend(&self) {
        self.say(LENT);
    }

    /// Has the old process take its leave. From here on the memory is this process's own.
    pub fn take_over(self) {
        // Its end is heard when it has given the memory up: the kernel closes files after that.
        self.say(TAKEN_OVER);
    }

    /// Says it, and waits for an answer or the end of the other one. One that was killed needs
    /// nothing any more.
    fn say(&self, word: u8) {
        if send(&self.socket, &[word], SendFlags::NOSIGNAL).is_ok() {
            listen(self.socket.as_fd());
        }
    }
}

/// The next word of the other one; none where it is gone.
fn listen(socket: BorrowedFd<'_>) -> Option<u8> {
    let mut word = [0u8];
    let received = rustix::io::retry_on_intr(|| rustix::io::read(socket, &mut word[..]));
    received.is_ok_and(|count| count > 0).then_some(word[0])
}

/// The address below which nothing of the stack that this process left is in use any more, where
/// it works on another one.
pub(crate) fn left_stack() -> Option<usize> {
    let address = LEFT_STACK.load(Ordering::Relaxed);
    (address != 0).then_some(address)
}

/// What the new process is given. It lives in the old one's frame.
struct Errand<T, W> {
    goods: Cell<Option<(T, W, Turn)>>,
    /// The old process's end.
    ours: i32,
}

/// Goes on with `work` in a new process, which ends with the status that it returns, and gets
/// `handed`: the old one has it no more. The old process does `meanwhile` when it is lent the
/// turn (signals wait so long), and when the other one takes over it does `farewell` and ends
/// with that status: it never returns then, because all that `work` borrows is the other one's.
///
/// Returns where the other one ended without taking over. All that it did to this memory is
/// done.
///
/// # Errors
/// As socketpair(2), mmap(2) and clone3(2).
pub fn hand_over<T: AsFd, W: FnOnce(T, Turn) -> u8>(
    handed: T,
    work: W,
    meanwhile: &mut dyn FnMut(),
    farewell: &mut dyn FnMut() -> u8,
) -> Result<(), Errno> {
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let numbers = [handed.as_fd().as_raw_fd(), theirs.as_raw_fd()];
    let stack = map_stack()?;
    let errand = Errand {
        goods: Cell::new(Some((handed, work, Turn { socket: theirs }))),
        ours: ours.as_raw_fd(),
    };
    let args = CloneArgs {
        flags: CLONE_VM,
        exit_signal: SIGCHLD,
        stack: stack.addr() as u64,
        stack_size: STACK as u64,
        ..CloneArgs::NONE
    };
    LEFT_STACK.store(core::ptr::from_ref(&args).addr(), Ordering::Relaxed);
    // SAFETY: the stack is the new process's alone, and this one stands still, and with it its
    // frame, while the other one runs in it.
    let made = check(unsafe { clone3_on_stack(&args, &errand, go_on::<T, W>) });
    if let Ok(pid) = made {
        // The objects that own these are the other process's, which has descriptors of its own.
        numbers.into_iter().for_each(close_number);
        obey(ours.as_fd(), meanwhile, farewell);
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        // It ends with its last word, or did.
        rustix::io::retry_on_intr(|| waitpid(pid, WaitOptions::empty())).unwrap_or_default();
        // One that was killed at once did not take them.
        core::mem::forget(errand.goods.take());
    }
    LEFT_STACK.store(0, Ordering::Relaxed);
    unmap_stack(stack);
    made.map(drop)
}

/// Does what the new process says, until it is gone.
fn obey(socket: BorrowedFd<'_>, meanwhile: &mut dyn FnMut(), farewell: &mut dyn FnMut() -> u8) {
    while let Some(word) = listen(socket) {
        if word == TAKEN_OVER {
            let status = farewell();
            forget_thread_id();
            exit_now(status);
        }
        while_deferred(meanwhile);
        send(socket, &[word], SendFlags::NOSIGNAL).unwrap_or_default();
    }
}

/// The new process.
unsafe extern "C" fn go_on<T, W: FnOnce(T, Turn) -> u8>(errand: *const Errand<T, W>) -> ! {
    // SAFETY: the old process keeps it, and does not touch it before this one is gone.
    let errand = unsafe { &*errand };
    close_number(errand.ours);
    let status = match errand.goods.take() {
        Some((handed, work, turn)) => work(handed, turn),
        None => 125,
    };
    exit_now(status)
}

/// A stack with a guard at its low end.
fn map_stack() -> Result<*mut core::ffi::c_void, Errno> {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: no address is asked for, so the mapping replaces nothing.
    let stack = unsafe { mmap_anonymous(core::ptr::null_mut(), STACK, protection, MapFlags::PRIVATE) }?;
    // SAFETY: it is the lowest page of what was just mapped.
    unsafe { mprotect(stack, GUARD, MprotectFlags::empty()) }.inspect_err(|_| unmap_stack(stack))?;
    Ok(stack)
}

fn unmap_stack(stack: *mut core::ffi::c_void) {
    // SAFETY: it was mapped by `map_stack`, and nobody runs on it.
    unsafe { munmap(stack, STACK) }.unwrap_or_default();
}

/// Closes this process's descriptor of an object that the other process has.
fn close_number(number: i32) {
    // SAFETY: the caller says that whoever owns it works in the other process, which has a
    // descriptor of its own with this number.
    unsafe { rustix::io::close(number) };
}

/// Asks the kernel not to clear the thread's id in memory at the end of this process
/// (set_tid_address(2)): the memory is somebody else's then.
fn forget_thread_id() {
    // SAFETY: takes a number; the kernel writes nothing.
    unsafe { syscall6(number::SET_TID_ADDRESS, [0; 6]) };
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    /// What one process writes, the other one reads, and what fails is cleaned up.
    #[test]
    fn the_memory_is_one() {
        let written: Cell<Vec<String>> = Cell::new(Vec::new());
        let add = |text: &str| {
            let mut list = written.take();
            list.push(String::from(text));
            written.set(list);
        };
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let work = |writer: OwnedFd, turn: Turn| {
            add("first");
            turn.lend();
            add("third");
            drop((writer, turn));
            7
        };
        let ended = hand_over(writer, work, &mut || add("second"), &mut || unreachable!());
        assert_eq!(ended, Ok(()));
        assert_eq!(written.take(), ["first", "second", "third"]);
        // Nobody holds the other end any more.
        assert_eq!(rustix::io::read(&reader, &mut [0u8; 1][..]), Ok(0));
        assert_eq!(left_stack(), None);
    }
}
