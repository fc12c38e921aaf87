//! A container whose monitor was killed: it goes on, and another monitor takes over.
//!
//! What can be kept is kept. Output: the program's pipes have a reader as long as the program
//! has them (see [`crate::monitor::make_pipes`]), and are opened again by the program's
//! descriptors. The exit status: the kernel tells whoever has a pidfd (Linux 6.15 and later).
//! A terminal's master and the other end of standard input are gone with the old monitor: the
//! program sees its terminal hang up, or the end of its input.

use super::equip;
use super::launch::Launched;
use super::lifetime::{Audience, Keeper};
use super::monitor_process::become_monitor;
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::lock::ContainerLock;
use crate::monitor::{Streams, new_pipe};
use crate::network::connect::Connected;
use crate::network::home::let_go_of_containers;
use crate::pause::open_group;
use crate::record::Record;
use crate::state::{ProcessName, RunState};
use crate::store::Store;
use cais_linux::SysError;
use cais_linux::cgroups::Group;
use cais_linux::process::file_tree::HeldTree;
use cais_linux::process::{channel, pidfd};
use cais_runtime::create::Running;
use cais_sys::clone::StubProcess;
use cais_sys::process::{Forked, exit_now, fork};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::process::Pid;

/// Makes a monitor for a container that runs without one. Returns when it has taken over.
///
/// # Errors
/// Where there can be no process for it.
pub(crate) fn take_over(store: &Store, record: &Record, state: &RunState, lock: ContainerLock) -> Result<()> {
    let (ours, theirs) = channel::pair().map_err(EngineError::system("open a channel to the monitor"))?;
    let forked = fork()
        .map_err(|errno| SysError::new("clone3", "", errno))
        .map_err(EngineError::system("make the monitor"))?;
    if forked == Forked::Child {
        // Whoever sweeps may look after a container itself: of that one this process holds
        // nothing, neither its ports nor the ends of its pipes.
        let_go_of_containers(&[lock.as_fd(), theirs.as_fd()]);
        let code = monitor_main(store, record, state.clone(), lock, theirs).map_or(125, |()| 0);
        exit_now(code);
    }
    drop(theirs);
    // The monitor holds the lock by the same open file; it frees it.
    drop(lock);
    // It says one word, or ends: either way this command goes on.
    channel::receive(ours.as_fd(), &mut [0u8; 1], &mut Vec::new())
        .map(drop)
        .map_err(EngineError::system("listen to the monitor"))
}

fn monitor_main(
    store: &Store,
    record: &Record,
    mut state: RunState,
    lock: ContainerLock,
    front: OwnedFd,
) -> Result<()> {
    let engine = Engine::over(store);
    let signals = become_monitor(0)?;
    let this = ProcessName::of_this()
        .ok_or_else(|| EngineError::Invalid("/proc does not show this process: mount it".to_owned()))?;
    let process = open_process(&state)?;
    let group = open_group(&state.cgroup)?;
    let streams = reopen_streams(&state, group.as_ref())?;
    state.monitor = this;
    state.write(store, &record.id)?;
    let connected = Connected::again(store, record)?;
    let attendants = equip::attendants(store, record, &state, connected, None)?;
    lock.release();
    // The command may be gone.
    channel::send(front.as_fd(), b"g", &[]).unwrap_or_default();
    drop(front);
    let launched = Launched {
        id: record.id.clone(),
        running: Running {
            process,
            terminal: None,
            waiting: false,
            timings: Vec::new(),
        },
        streams,
        state,
        group,
        attendants,
        tree: HeldTree::default(),
        record: record.clone(),
        is_child: false,
        input_once: false,
    };
    let keeper = Keeper {
        engine: &engine,
        signals: signals.as_fd(),
        checkpoints: &engine.checkpoints,
    };
    // Its end is recorded; an error of the relay stands there too.
    keeper.look_after(launched, Audience::default()).map(drop)
}

fn open_process(state: &RunState) -> Result<StubProcess> {
    let gone = || EngineError::Invalid("the program has just ended".to_owned());
    let init = state.init.ok_or_else(gone)?;
    let pid = Pid::from_raw(init.pid).ok_or_else(gone)?;
    let pidfd = pidfd::open(pid).map_err(EngineError::system("open the container's first process"))?;
    if init.is_alive() {
        Ok(StubProcess { pid, pidfd })
    } else {
        Err(gone())
    }
}

/// Opens the pipes of output and errors again, by whichever process of the container has
/// them. A process may have put anything at the place of its descriptors: only a pipe with
/// the right inode is opened.
fn reopen_streams(state: &RunState, group: Option<&Group>) -> Result<Streams> {
    let Some(inodes) = state.pipes else {
        return Ok(Streams::None);
    };
    let mut processes: Vec<i32> = state.init.iter().map(|init| init.pid).collect();
    let others = group.and_then(|group| group.all_processes().ok());
    processes.extend(others.into_iter().flatten().map(|pid| pid.as_raw_nonzero().get()));
    let (ended, other_end) = new_pipe()?;
    drop(other_end);
    let device = fstat(&ended).map_or(0, |status| status.st_dev);
    let find = |inode| processes.iter().find_map(|pid| find_pipe(*pid, (device, inode)));
    Ok(match inodes.map(find) {
        [None, None] => Streams::None,
        [Some(output), Some(error)] => pipes(output, error),
        // One that nobody has any more reads as ended.
        [Some(output), None] => pipes(output, ended),
        [None, Some(error)] => pipes(ended, error),
    })
}

fn pipes(output: OwnedFd, error: OwnedFd) -> Streams {
    Streams::Pipes {
        input: None,
        output,
        error,
    }
}

/// Opens the pipe with this device and inode for reading, where the process has it.
fn find_pipe(pid: i32, wanted: (u64, u64)) -> Option<OwnedFd> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    entries.flatten().find_map(|entry| {
        let look = OFlags::PATH | OFlags::CLOEXEC;
        let held = open(entry.path(), look, Mode::empty()).ok()?;
        let status = fstat(&held).ok()?;
        let is_it = FileType::from_raw_mode(status.st_mode) == FileType::Fifo
            && (status.st_dev, status.st_ino) == wanted;
        let path = format!("/proc/self/fd/{}", held.as_raw_fd());
        // Without O_NONBLOCK it would wait for a writer where the last one has just gone.
        let read = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        is_it.then(|| open(&path, read, Mode::empty()).ok())?
    })
}
