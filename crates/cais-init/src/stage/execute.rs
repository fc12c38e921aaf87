//! The last steps: the working directory, the start signal, and execve(2).

use super::{Failure, Stage, StepResult, failed, plain};
use crate::message::Report;
use crate::step::Slot;
use crate::wire::StrBlock;
use cais_sys::exec::{Vector, execve};
use cais_sys::signal::{SignalSet, set_mask};
use core::ffi::CStr;
use rustix::fd::AsFd;
use rustix::fs::{CWD, FileType, Mode, OFlags, openat};
use rustix::io::Errno;

/// The longest path of a program (`PATH_MAX`).
const PATH_MAX: usize = 4096;
/// Where programs are looked for without `PATH`, as execvp(3) does.
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

/// Changes the directory; a result outside the root (a descriptor of the host that
/// leaked, CVE-2024-21626) shows as a path that does not begin with a slash.
pub(super) fn set_working_directory(path: &CStr) -> StepResult<'_> {
    rustix::process::chdir(path).map_err(failed("chdir", path))?;
    let mut buffer = [0u8; PATH_MAX];
    match cais_sys::process::working_directory(&mut buffer) {
        Ok(directory) if directory.to_bytes().starts_with(b"/") => Ok(()),
        Ok(_) => Err(Failure::new("getcwd", path.to_bytes(), Errno::XDEV)),
        Err(errno) => Err(Failure::new("getcwd", path.to_bytes(), errno)),
    }
}

impl<'a> Stage<'a> {
    pub(super) fn await_start(&self) -> StepResult<'a> {
        self.report(&Report::Created, &[]);
        let channel = self
            .channel
            .as_ref()
            .ok_or(Failure::new("recvmsg", b"the start", Errno::BADF))?;
        let mut byte = [0u8; 1];
        match cais_sys::socket::receive_with_fds(channel.as_fd(), &mut byte, drop) {
            Ok(0) => Err(Failure::new("recvmsg", b"the start", Errno::CONNRESET)),
            Ok(_) => Ok(()),
            Err(errno) => Err(Failure::new("recvmsg", b"the start", errno)),
        }
    }

    /// Lets go of the caller and waits for the start.
    pub(super) fn await_connection(&mut self, listener: Slot) -> StepResult<'a> {
        rustix::process::set_parent_process_death_signal(None).map_err(plain("prctl PR_SET_PDEATHSIG"))?;
        self.bound = false;
        self.report(&Report::Waiting, &[]);
        self.channel = None;
        let connection = loop {
            match rustix::net::accept_with(self.slot(listener)?, rustix::net::SocketFlags::CLOEXEC) {
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                other => break other.map_err(plain("accept4"))?,
            }
        };
        self.channel = Some(connection);
        if let Some(slot) = self.slots.get_mut(usize::from(listener.0)) {
            *slot = None;
        }
        Ok(())
    }

    /// Executes the program; comes back only with a failure.
    pub(super) fn execute(&self, arguments: StrBlock<'a>, environment: StrBlock<'a>) -> StepResult<'a> {
        let argv = vector(arguments)?;
        let envp = vector(environment)?;
        let program = argv.first().ok_or(Failure::new("execve", b"", Errno::NOENT))?;
        // Until here the container dies with its maker; from here it lives on.
        if self.bound {
            rustix::process::set_parent_process_death_signal(None)
                .map_err(plain("prctl PR_SET_PDEATHSIG"))?;
        }
        let told = self.try_report(&Report::Executing, &[]);
        // Of a death between a change of ids and the prctl after it no signal came.
        if self.bound {
            told.map_err(|errno| Failure::new("sendmsg", b"the caller", errno))?;
        }
        // A blocked signal would stay so across exec.
        set_mask(SignalSet::EMPTY);
        let errno = if program.to_bytes().contains(&b'/') {
            execve(program, argv, envp)
        } else {
            let path = environment
                .iter()
                .find_map(|entry| entry.to_bytes().strip_prefix(b"PATH="));
            execute_in_path(program.to_bytes(), path.unwrap_or(DEFAULT_PATH), argv, envp)
        };
        Err(Failure::new("execve", program.to_bytes(), errno))
    }
}

fn vector<'a>(block: StrBlock<'a>) -> StepResult<'a, Vector<'a>> {
    let slots = cais_sys::memory::allocate_pointers(block.count() + 1).map_err(plain("mmap"))?;
    Vector::fill(slots, block.0).ok_or(Failure::new("execve", b"arguments without an end", Errno::INVAL))
}

/// Looks for the program where `execute` will, and says what execve(2) would.
pub(super) fn find_program<'a>(name: &'a CStr, environment: StrBlock<'a>) -> StepResult<'a> {
    let failure = |errno| Failure::new("execve", name.to_bytes(), errno);
    if name.to_bytes().starts_with(b"/") {
        return check_program(name).map_err(failure);
    }
    // Relative to a working directory that is entered later: execve(2) will tell.
    if name.to_bytes().contains(&b'/') {
        return Ok(());
    }
    let path = environment
        .iter()
        .find_map(|entry| entry.to_bytes().strip_prefix(b"PATH="))
        .unwrap_or(DEFAULT_PATH);
    let mut result = Errno::NOENT;
    for directory in path.split(|byte| *byte == b':') {
        if !directory.starts_with(b"/") {
            return Ok(());
        }
        let mut buffer = [0u8; PATH_MAX];
        let Some(candidate) = join(&mut buffer, directory, name.to_bytes()) else {
            continue;
        };
        match check_program(candidate) {
            Ok(()) => return Ok(()),
            Err(Errno::ACCESS) => result = Errno::ACCESS,
            Err(_) => {}
        }
    }
    Err(failure(result))
}

/// Whether there is a file that somebody may execute.
fn check_program(path: &CStr) -> Result<(), Errno> {
    let file = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let stat = rustix::fs::fstat(file.as_fd())?;
    let executable = stat.st_mode & 0o111 != 0;
    if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && executable {
        Ok(())
    } else {
        Err(Errno::ACCESS)
    }
}

/// `directory/name` as a C string in `buffer`.
fn join<'b>(buffer: &'b mut [u8; PATH_MAX], directory: &[u8], name: &[u8]) -> Option<&'b CStr> {
    let length = directory.len() + 1 + name.len();
    let room = buffer.get_mut(..=length)?;
    let (front, rest) = room.split_at_mut(directory.len());
    front.copy_from_slice(directory);
    rest[0] = b'/';
    rest[1..=name.len()].copy_from_slice(name);
    CStr::from_bytes_with_nul(room).ok()
}

/// Tries each directory of `path`, as execvp(3): a program that is there but may not
/// be executed is remembered, one that is not there is passed over.
fn execute_in_path(name: &[u8], path: &[u8], argv: Vector<'_>, envp: Vector<'_>) -> Errno {
    let mut result = Errno::NOENT;
    if name.is_empty() {
        return result;
    }
    for directory in path.split(|byte| *byte == b':') {
        let directory = if directory.is_empty() { b"." } else { directory };
        let mut buffer = [0u8; PATH_MAX];
        let Some(candidate) = join(&mut buffer, directory, name) else {
            continue;
        };
        match execve(candidate, argv, envp) {
            Errno::NOENT | Errno::NOTDIR => {}
            Errno::ACCESS => result = Errno::ACCESS,
            errno => return errno,
        }
    }
    result
}
