//! `logs --follow`: what is written to a log from now on, until the container ends.

use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::log::{self, Entry};
use crate::state::RunState;
use crate::store::Store;
use cais_linux::SysError;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify;
use rustix::io::Errno;
use std::path::Path;

/// Hands each entry after the first `seen` to `each`, until the container does not run
/// any more and its log is read to the end.
///
/// # Errors
/// Where the log cannot be watched or read, or `each` fails.
pub fn follow(
    store: &Store,
    id: &ContainerId,
    path: &Path,
    mut seen: usize,
    each: &mut dyn FnMut(&Entry) -> Result<()>,
) -> Result<()> {
    let failed = |call: &'static str| {
        move |errno| EngineError::System {
            action: "watch the log".to_owned(),
            source: SysError::new(call, format!("{path:?}"), errno),
        }
    };
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
        .map_err(failed("inotify_init1"))?;
    let log_directory = path.parent().unwrap_or(path);
    std::fs::create_dir_all(log_directory)
        .map_err(EngineError::store(format!("make {}", log_directory.display())))?;
    let written = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE;
    inotify::add_watch(&watch, log_directory, written).map_err(failed("inotify_add_watch"))?;
    let ended = inotify::WatchFlags::DELETE | inotify::WatchFlags::DELETE_SELF;
    match inotify::add_watch(&watch, store.states(), ended) {
        Ok(_) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(failed("inotify_add_watch")(errno)),
    }
    loop {
        // Before the log is read: what is written until the end is in it then.
        let running = RunState::read(store, id)?.is_some_and(|state| state.monitor.is_alive());
        let mut count = 0;
        log::read(path, |entry| {
            count += 1;
            if count > seen { each(&entry) } else { Ok(()) }
        })?;
        seen = count;
        if !running {
            return Ok(());
        }
        match poll(&mut [PollFd::new(&watch, PollFlags::IN)], None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(failed("poll")(errno)),
        }
        let mut buffer = [0u8; 4096];
        // Only that something changed matters, not what.
        while rustix::io::read(&watch, &mut buffer[..]).is_ok_and(|length| length > 0) {}
    }
}
