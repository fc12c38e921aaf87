//! The stub as a go-between: it enters the namespaces of a running container and makes, among
//! the processes of that container, the process that is wanted.
//!
//! What can be seen in there is never the caller: neither its memory nor its executable
//! (CVE-2019-5736), and nothing outside the container's root (CVE-2016-9962). The new process
//! has a copy of this stub's few pages, and becomes one at the stage.

use crate::message::{ENTER_LENGTH, Enter};
use crate::stage;
use crate::wire::{Field, Source};
use cais_sys::clone::{Sibling, fork_sibling, namespace};
use cais_sys::cred::{set_gid, set_uid};
use cais_sys::process::exit_now;
use cais_sys::socket::{receive_with_fds, send_with_fds};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Signal};

/// The go-between's main function. In the new process it is [`stage::run`].
#[must_use]
pub fn run(channel: OwnedFd) -> u8 {
    // The caller reads which one it was from the length.
    match make(&channel) {
        Ok(Sibling::New) => stage::run(channel),
        Ok(Sibling::Old(process)) => {
            let sent = send_with_fds(channel.as_fd(), b"p", &[process.as_fd()]);
            u8::from(sent.is_err())
        }
        Err(errno) => {
            let bytes = errno.raw_os_error().to_ne_bytes();
            // A caller that is gone is no error: this process ends with it.
            send_with_fds(channel.as_fd(), &bytes, &[]).unwrap_or_default();
            125
        }
    }
}

fn make(channel: &OwnedFd) -> Result<Sibling, Errno> {
    let mut bytes = [0u8; ENTER_LENGTH];
    let mut fds: [Option<OwnedFd>; 3] = [const { None }; 3];
    let mut places = fds.iter_mut();
    let length = receive_with_fds(channel.as_fd(), &mut bytes, |fd| {
        if let Some(place) = places.next() {
            *place = Some(fd);
        }
    })?;
    let asked = Enter::decode(&mut Source(bytes.get(..length).unwrap_or(&[]))).or(Err(Errno::PROTO))?;
    let mut fds = fds.into_iter().flatten();
    let target = fds.next().ok_or(Errno::PROTO)?;
    let user = if asked.has_user { fds.next() } else { None };
    let cgroup = if asked.has_cgroup { fds.next() } else { None };
    if asked.hides {
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    }
    cais_sys::namespace::enter(target.as_fd(), asked.kinds)?;
    if let Some(user) = &user {
        let kind = u32::try_from(namespace::USER).or(Err(Errno::INVAL))?;
        cais_sys::namespace::enter(user.as_fd(), kind)?;
    }
    let made = fork_sibling(asked.namespaces, cgroup.as_ref().map(AsFd::as_fd))?;
    if matches!(made, Sibling::New) {
        begin(channel, asked.awaits_id_maps, user.is_some())?;
    }
    Ok(made)
}

/// The first moments of the new process: it dies with the caller, and becomes the root of its
/// user namespace.
fn begin(channel: &OwnedFd, awaits_id_maps: bool, has_user: bool) -> Result<(), Errno> {
    let bind = || rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    bind()?;
    if awaits_id_maps {
        let mut byte = [0u8; 1];
        if receive_with_fds(channel.as_fd(), &mut byte, drop)? == 0 {
            exit_now(125);
        }
    }
    if awaits_id_maps || has_user {
        set_gid(0)?;
        set_uid(0)?;
        // A change of ids clears it (prctl(2)).
        bind()?;
    }
    Ok(())
}
