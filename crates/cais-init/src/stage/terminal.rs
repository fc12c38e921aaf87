//! Standard input, output and error: descriptors of the caller, or a terminal of
//! the container's own devpts.

use super::{Failure, Stage, StepResult, failed, plain, target};
use crate::message::Report;
use crate::step::{Slot, target as kind};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, fstatfs, major, minor, open, openat2};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use rustix::pty::OpenptFlags;
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::termios::Winsize;

/// `DEVPTS_SUPER_MAGIC` of statfs(2).
const DEVPTS_SUPER_MAGIC: u64 = 0x1cd1;

/// Whether this is the null device.
fn is_null(fd: BorrowedFd<'_>) -> bool {
    fstat(fd).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3)
    })
}

/// After the root was entered. Where the container's own null device is missing, or something
/// else stands there, the streams stay as they are.
pub(super) fn reopen_null<'a>() -> StepResult<'a> {
    let streams = [
        cais_sys::process::stdin(),
        cais_sys::process::standard_stream(false),
        cais_sys::process::standard_stream(true),
    ];
    let [input, output, error] = streams.map(is_null);
    if !(input || output || error) {
        return Ok(());
    }
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(own) = open(c"/dev/null", flags, Mode::empty()) else {
        return Ok(());
    };
    if !is_null(own.as_fd()) {
        return Ok(());
    }
    rustix::fs::fcntl_setfl(&own, OFlags::RDWR).map_err(plain("fcntl F_SETFL"))?;
    if input {
        dup2_stdin(own.as_fd()).map_err(plain("dup2"))?;
    }
    if output {
        dup2_stdout(own.as_fd()).map_err(plain("dup2"))?;
    }
    if error {
        dup2_stderr(own.as_fd()).map_err(plain("dup2"))?;
    }
    Ok(())
}

impl<'a> Stage<'a> {
    pub(super) fn set_stdio(&self, input: Slot, output: Slot, error: Slot) -> StepResult<'a> {
        dup2_stdin(self.slot(input)?).map_err(plain("dup2"))?;
        dup2_stdout(self.slot(output)?).map_err(plain("dup2"))?;
        dup2_stderr(self.slot(error)?).map_err(plain("dup2"))
    }

    pub(super) fn open_terminal(&self, bind: bool, rows: u16, columns: u16) -> StepResult<'a> {
        let opened;
        let root: BorrowedFd<'_> = if let Some(root) = &self.root {
            root.as_fd()
        } else {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            opened = open(c"/", flags, Mode::empty()).map_err(failed("open", c"/"))?;
            opened.as_fd()
        };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let master = openat2(root, c"dev/pts/ptmx", flags, Mode::empty(), resolve)
            .map_err(failed("openat2", c"/dev/pts/ptmx"))?;
        verify_ptmx(master.as_fd())?;
        rustix::pty::unlockpt(&master).map_err(plain("ioctl TIOCSPTLCK"))?;
        let peer = rustix::pty::ioctl_tiocgptpeer(
            &master,
            OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
        )
        .map_err(plain("ioctl TIOCGPTPEER"))?;
        if rows != 0 || columns != 0 {
            let size = Winsize {
                ws_row: rows,
                ws_col: columns,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            rustix::termios::tcsetwinsize(peer.as_fd(), size).map_err(plain("ioctl TIOCSWINSZ"))?;
        }
        if bind {
            bind_console(root, peer.as_fd())?;
        }
        self.report(&Report::Terminal, &[master.as_fd()]);
        rustix::process::ioctl_tiocsctty(peer.as_fd()).map_err(plain("ioctl TIOCSCTTY"))?;
        dup2_stdin(peer.as_fd()).map_err(plain("dup2"))?;
        dup2_stdout(peer.as_fd()).map_err(plain("dup2"))?;
        dup2_stderr(peer.as_fd()).map_err(plain("dup2"))
    }
}

/// The image or another process may have put something else there: it must be the
/// multiplexer of a devpts (CVE-2025-52565).
fn verify_ptmx<'a>(master: BorrowedFd<'_>) -> StepResult<'a> {
    let subject = b"/dev/pts/ptmx is not the terminal multiplexer of a devpts";
    let filesystem = fstatfs(master).map_err(plain("fstatfs"))?;
    let stat = fstat(master).map_err(plain("fstat"))?;
    let magic = u64::try_from(filesystem.f_type).unwrap_or(0);
    if magic != DEVPTS_SUPER_MAGIC || (major(stat.st_rdev), minor(stat.st_rdev)) != (5, 2) {
        return Err(Failure::new("fstat", subject, Errno::NODEV));
    }
    Ok(())
}

/// Mounts the terminal at `/dev/console`, by descriptors on both sides.
fn bind_console<'a>(root: BorrowedFd<'_>, terminal: BorrowedFd<'_>) -> StepResult<'a> {
    let Some(place) = target::open(root, c"/dev/console", kind::REAL | kind::MAKE_FILE)? else {
        return Ok(());
    };
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let mount = open_tree(terminal, c"", flags).map_err(failed("open_tree", c"/dev/console"))?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount.as_fd(), c"", place.as_fd(), c"", flags).map_err(failed("move_mount", c"/dev/console"))
}
