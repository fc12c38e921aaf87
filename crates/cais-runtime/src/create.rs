//! From a plan to a running program: this process opens what the plan needs, makes
//! the stub's process, sends the plan, and listens until the program runs.
//!
//! The stub is executed while this process prepares the mounts: the two meet at the
//! channel.

mod begin;
mod enter;
mod listen;
mod memory;
mod sources;

use crate::error::CreateError;
use crate::plan::Plan;
use crate::plan::sources::Source;
use begin::{Unfinished, leaves_network};
use cais_init::message::PlanHeader;
use cais_init::wire::Field;
use cais_linux::SysError;
use cais_linux::process::{channel, pidfd, stub};
use cais_sys::clone::StubProcess;
use listen::{Clock, Ear, Heard};
use memory::SharedMemory;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use sources::{lent, open_sources};
use std::path::Path;
use std::time::Duration;

pub use begin::{Begun, begin};

/// What the caller brings besides the plan.
#[allow(missing_debug_implementations, reason = "it holds a function")]
pub struct Surroundings<'a> {
    /// Standard input, output and error of the program; unused with a terminal.
    pub stdio: [BorrowedFd<'a>; 3],
    /// The `tasks` files of the cgroup v1 hierarchies to join, where they are there already:
    /// else see [`Companion::complete_cgroup`].
    pub tasks: Vec<BorrowedFd<'a>>,
    /// The cgroup v2 directory to start in.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// The process whose namespaces are entered, for a process in a running container.
    pub target: Option<BorrowedFd<'a>>,
    /// The socket at which the stub of a container waits for its start.
    pub listener: Option<BorrowedFd<'a>>,
    /// Whether the time of each step is wanted.
    pub timings: bool,
    /// For tests: the index of the step before which the stub kills itself.
    pub kill_before: Option<u32>,
    /// Called between the stages of the work, with the name of the one that comes:
    /// the place where tests kill the caller.
    pub checkpoint: &'a dyn Fn(&'static str),
}

/// A program that runs in its container.
#[derive(Debug)]
pub struct Running {
    /// The process, as its parent (this process) sees it.
    pub process: StubProcess,
    /// The master of its terminal.
    pub terminal: Option<OwnedFd>,
    /// Whether it waits for its start, having let go of this process.
    pub waiting: bool,
    /// How long each stage took.
    pub timings: Vec<Timing>,
}

/// One line of `--timings`.
#[derive(Debug, Clone)]
pub struct Timing {
    /// The stage or step.
    pub name: String,
    /// How long it took.
    pub took: Duration,
    /// Whether the stub did it, at the same time as this process did something else.
    pub in_stub: bool,
}

/// What the caller has to do itself, at moments when the stub is busy anyway.
pub trait Companion {
    /// Its errors.
    type Error: From<CreateError>;

    /// Whether the plan hangs on what is done in the network namespace: it is waited for then
    /// before [`Self::before_the_plan_is_sent`], and before [`Self::while_the_stub_works`] in any
    /// case.
    fn plans_by_network(&self) -> bool {
        false
    }

    /// The process is there and has heard nothing yet. Returns another plan for the same
    /// process, where what was done for it changes what it is to do.
    ///
    /// # Errors
    /// The start fails with it.
    fn before_the_plan_is_sent(&mut self, _process: &StubProcess) -> Result<Option<Plan>, Self::Error> {
        Ok(None)
    }

    /// While the stub is executed: what the plan's sources need.
    ///
    /// # Errors
    /// The start fails with it.
    fn while_the_stub_starts(&mut self, process: &StubProcess) -> Result<(), Self::Error>;

    /// While the stub makes its first mounts: the rest of its cgroup. Returns the `tasks` files
    /// of the cgroup v1 hierarchies, which the stub joins next.
    ///
    /// # Errors
    /// The start fails with it.
    fn complete_cgroup(&mut self) -> Result<Vec<BorrowedFd<'_>>, Self::Error> {
        Ok(Vec::new())
    }

    /// While the stub sets the container up: what must be written down before the program
    /// runs. With [`Plan::awaits_start`] the stub waits for it.
    ///
    /// # Errors
    /// The start fails with it.
    fn while_the_stub_works(&mut self, process: &StubProcess) -> Result<(), Self::Error>;

    /// All is done for the start but what the stub does. `remains` is what the container was made
    /// of, which takes a while to be closed. `starts` says whether the program does not run yet:
    /// where the two share a processor, it may run before this is called.
    ///
    /// # Errors
    /// The start fails with it.
    fn while_the_program_starts(
        &mut self,
        remains: Vec<OwnedFd>,
        _starts: &dyn Fn() -> bool,
    ) -> Result<(), Self::Error> {
        drop(remains);
        Ok(())
    }

    /// With [`Plan::awaits_hooks`]: the namespaces and the file tree are there, and the host's
    /// tree can still be reached.
    ///
    /// # Errors
    /// The start fails with it.
    fn before_the_root_is_entered(&mut self, _process: &StubProcess) -> Result<(), Self::Error> {
        Ok(())
    }

    /// The descriptor of the container's seccomp notifications (seccomp_unotify(2)).
    ///
    /// # Errors
    /// The start fails with it.
    fn take_notifications(&mut self, _process: &StubProcess, listener: OwnedFd) -> Result<(), Self::Error> {
        // Nobody was named who wants it: the calls that ask then fail with ENOSYS.
        drop(listener);
        Ok(())
    }
}

/// A caller with nothing to do.
#[derive(Debug)]
pub struct Alone;

impl Companion for Alone {
    type Error = CreateError;
    fn while_the_stub_starts(&mut self, _process: &StubProcess) -> Result<(), CreateError> {
        Ok(())
    }
    fn while_the_stub_works(&mut self, _process: &StubProcess) -> Result<(), CreateError> {
        Ok(())
    }
}

/// Carries out `plan`.
///
/// On an error nothing is left of the process; the cgroup is the caller's.
///
/// # Errors
/// See [`CreateError`], and what the companion meets.
pub fn create<C: Companion>(
    plan: &Plan,
    around: &Surroundings<'_>,
    companion: &mut C,
) -> Result<Running, C::Error> {
    go_on(begin(plan, around)?, plan, around, companion)
}

/// Carries out the rest of `plan` with the process that was made for it.
///
/// # Errors
/// As [`create`].
pub fn go_on<C: Companion>(
    begun: Begun,
    plan: &Plan,
    around: &Surroundings<'_>,
    companion: &mut C,
) -> Result<Running, C::Error> {
    let Begun {
        ours,
        unfinished,
        mut memory,
        mut clock,
    } = begun;
    let process = unfinished.process();

    (around.checkpoint)("write the id maps");
    let mut ear = Ear::new(None, ours.as_fd());
    ear.network_left = !leaves_network(plan);
    // Where the process had no network and is gone, that explains an error.
    let userns = prepare_user_namespace(plan, process, &ours)
        .or_else(|error| await_network(&mut ear, &mut clock, &unfinished).and(Err(error)))?;
    clock.lap("id maps");
    if companion.plans_by_network() {
        await_visible(&mut ear, &mut clock, &unfinished, &mut memory)?;
    }
    let other = companion.before_the_plan_is_sent(process)?;
    let plan = other.as_ref().unwrap_or(plan);
    ear.plan = Some(plan);
    (around.checkpoint)("send the plan");
    let sent = send_plan(plan, around, &ours)?;
    clock.lap("send the plan");
    (around.checkpoint)("prepare the sources");
    companion.while_the_stub_starts(process)?;
    if plan.awaits_cgroup {
        // Before any further descriptors: this is what the stub waits for first.
        send_unless_gone(&ours, b"c")?;
    }
    clock.lap("files of the container");

    (around.checkpoint)("set the limits of the process");
    plan.limits.apply(process.pid)?;
    (around.checkpoint)("open the sources");
    let mut supply = Supply::new(&ours, userns.as_ref());
    open_for_stub(plan, around, &mut supply, sent, companion)?;
    clock.lap("open the mounts, complete the cgroup");
    await_visible(&mut ear, &mut clock, &unfinished, &mut memory)?;
    let mut terminal = None;
    (around.checkpoint)("record the container");
    if let Err(error) = companion.while_the_stub_works(process) {
        // Where the stub failed first, that explains why nothing could be done for it.
        if pidfd::await_end(process.pidfd.as_fd(), Some(Duration::ZERO)).is_ok_and(|ended| ended) {
            listen(&mut ear, process, companion, &mut clock, &mut terminal)?;
            check_end(&mut ear, &unfinished)?;
        }
        return Err(error);
    }
    if plan.awaits_hooks {
        (around.checkpoint)("run the hooks");
        await_hooks(&mut ear, process, companion, &mut clock, &mut terminal)?;
        send_unless_gone(&ours, b"h")?;
    }
    if plan.awaits_start {
        (around.checkpoint)("let the program start");
        send_unless_gone(&ours, b"s")?;
    }
    clock.lap("record the container");
    let starts = || is_open(ours.as_fd());
    let remains = supply.remains.into_iter().chain(userns).collect();
    companion.while_the_program_starts(remains, &starts)?;
    let waiting = listen(&mut ear, process, companion, &mut clock, &mut terminal)?;
    if !waiting {
        check_end(&mut ear, &unfinished)?;
    }
    clock.lap("wait for the program");
    (around.checkpoint)("the program runs");
    Ok(Running {
        process: unfinished.finish(),
        terminal,
        waiting,
        timings: clock.timings,
    })
}

/// Waits until it may be looked at: it has its network namespace, and no memory of this process.
fn await_visible(
    ear: &mut Ear<'_>,
    clock: &mut Clock,
    unfinished: &Unfinished,
    memory: &mut Option<SharedMemory>,
) -> Result<(), CreateError> {
    await_network(ear, clock, unfinished)?;
    memory.take().map_or(Ok(()), SharedMemory::await_exec)
}

/// Listens until the new process has its network namespace.
fn await_network(ear: &mut Ear<'_>, clock: &mut Clock, unfinished: &Unfinished) -> Result<(), CreateError> {
    while !ear.network_left {
        let ended = matches!(ear.hear(clock)?, Heard::End);
        if ended || ear.failure.is_some() {
            return check_end(ear, unfinished);
        }
    }
    Ok(())
}

/// Listens until the stub waits for hooks, and runs them. A stub that failed before is heard
/// by [`listen`].
fn await_hooks<C: Companion>(
    ear: &mut Ear<'_>,
    process: &StubProcess,
    companion: &mut C,
    clock: &mut Clock,
    terminal: &mut Option<OwnedFd>,
) -> Result<(), C::Error> {
    loop {
        match ear.hear(clock)? {
            Heard::Created => return companion.before_the_root_is_entered(process),
            Heard::Terminal(master) => *terminal = Some(master),
            Heard::End => return Ok(()),
            _ if ear.failure.is_some() => return Ok(()),
            _ => {}
        }
    }
}

/// Listens until the channel ends, which means that the program runs or something failed, or
/// until the stub waits for its start: then the result is true.
fn listen<C: Companion>(
    ear: &mut Ear<'_>,
    process: &StubProcess,
    companion: &mut C,
    clock: &mut Clock,
    terminal: &mut Option<OwnedFd>,
) -> Result<bool, C::Error> {
    loop {
        match ear.hear(clock)? {
            Heard::Created | Heard::Progress => {}
            Heard::Waiting => return Ok(true),
            Heard::Terminal(master) => *terminal = Some(master),
            Heard::Listener(listener) => companion.take_notifications(process, listener)?,
            Heard::End => return Ok(false),
        }
    }
}

/// Whether the other end of the channel is open: it is closed as the program is executed.
fn is_open(channel: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(channel, PollFlags::RDHUP)];
    poll(&mut fds, Some(&Timespec::default())) == Ok(0)
}

/// What the end of the channel means.
fn check_end(ear: &mut Ear<'_>, unfinished: &Unfinished) -> Result<(), CreateError> {
    match (ear.failure.take(), ear.executing) {
        (Some(failure), _) => Err(failure),
        (None, true) => Ok(()),
        (None, false) => Err(match pidfd::wait(unfinished.process().pidfd.as_fd()) {
            Ok(pidfd::Ended::Killed(signal)) => CreateError::Killed { signal },
            Ok(pidfd::Ended::Exited(status)) => CreateError::Silent { status },
            Err(source) => CreateError::Prepare {
                action: "wait for the init stub".to_owned(),
                source,
            },
        }),
    }
}

/// Listens to a stub that this process did not make, over the connection that starts it,
/// until its program runs.
///
/// # Errors
/// Where the start failed; [`CreateError::Killed`] where the stub ended without a word.
pub fn await_program(
    connection: BorrowedFd<'_>,
    mut take_notifications: impl FnMut(OwnedFd) -> Result<(), CreateError>,
) -> Result<(), CreateError> {
    let mut ear = Ear::new(None, connection);
    let mut clock = Clock::new(false);
    loop {
        match ear.hear(&mut clock)? {
            Heard::Listener(listener) => take_notifications(listener)?,
            Heard::End => break,
            _ => {}
        }
    }
    match (ear.failure, ear.executing) {
        (Some(failure), _) => Err(failure),
        (None, true) => Ok(()),
        (None, false) => Err(CreateError::Killed { signal: 9 }),
    }
}

/// Gives the new user namespace its maps and opens it, or opens the one that was joined.
///
/// It is opened before the child goes on: the child shares this process's memory until it
/// executes the stub, and where becoming id 0 gives it another id of the host (keep-id), the
/// kernel makes that memory undumpable. From then on only root of the host may look at it.
fn prepare_user_namespace(
    plan: &Plan,
    process: &StubProcess,
    ours: &OwnedFd,
) -> Result<Option<OwnedFd>, CreateError> {
    let Some(maps) = &plan.id_maps else {
        // Not by way of the child, which may be another one already.
        return plan.join_user.as_deref().map(open_namespace).transpose();
    };
    let written = match &plan.join_user {
        Some(above) => {
            let above = open_namespace(above)?;
            stub::write_id_maps_within(process, above.as_fd(), &maps.uid, &maps.gid)
        }
        None if rustix::process::geteuid().is_root() => stub::write_id_maps(process, &maps.uid, &maps.gid),
        None => stub::write_id_maps_by_helpers(process, &maps.uid, &maps.gid),
    };
    written.map_err(CreateError::prepare("map the ids of the user namespace"))?;
    let opened =
        stub::open_user_namespace(process).map_err(CreateError::prepare("open the user namespace"))?;
    channel::send(ours.as_fd(), b"g", &[]).map_err(CreateError::prepare("wake the init stub"))?;
    Ok(Some(opened))
}

/// Sends a message; a stub that is gone is no error here: what it said, or how it died,
/// tells more than EPIPE does.
fn send_unless_gone(ours: &OwnedFd, bytes: &[u8]) -> Result<(), CreateError> {
    match channel::send(ours.as_fd(), bytes, &[]) {
        Err(error) if matches!(error.errno(), Errno::PIPE | Errno::CONNRESET) => Ok(()),
        other => other.map_err(CreateError::prepare("send to the init stub")),
    }
}

fn open_namespace(path: &Path) -> Result<OwnedFd, CreateError> {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open(path, flags, rustix::fs::Mode::empty())
        .map_err(|errno| SysError::new("open", format!("{path:?}"), errno))
        .map_err(CreateError::prepare(format!(
            "open the namespace {}",
            path.display()
        )))
}

/// Sends the plan with the descriptors that are there already: those that the caller lent
/// and that come first. Returns how many those are.
fn send_plan(plan: &Plan, around: &Surroundings<'_>, ours: &OwnedFd) -> Result<usize, CreateError> {
    let file =
        stub::seal("cais-plan", plan.steps.bytes(), false).map_err(CreateError::prepare("write the plan"))?;
    let lent: Vec<BorrowedFd<'_>> = plan
        .sources
        .iter()
        .map_while(|source| lent(source, around))
        .collect();
    let fds: Vec<BorrowedFd<'_>> = std::iter::once(file.as_fd())
        .chain(lent.iter().copied())
        .collect();
    send_slots(plan, around, ours, &fds)?;
    Ok(lent.len())
}

/// The way of what the stub is sent.
struct Supply<'a> {
    ours: &'a OwnedFd,
    userns: Option<&'a OwnedFd>,
    /// What it was made of.
    remains: Vec<OwnedFd>,
}

impl<'a> Supply<'a> {
    fn new(ours: &'a OwnedFd, userns: Option<&'a OwnedFd>) -> Self {
        Self {
            ours,
            userns,
            remains: Vec::new(),
        }
    }
}

/// Opens what the stub waits for and sends it in the order in which it is used: the root, then
/// the other mounts, then what joins it to its cgroup, which is made last.
fn open_for_stub<C: Companion>(
    plan: &Plan,
    around: &Surroundings<'_>,
    supply: &mut Supply<'_>,
    sent: usize,
    companion: &mut C,
) -> Result<(), C::Error> {
    let rest = plan.sources.get(sent..).unwrap_or(&[]);
    let is_tasks = |source: &Source| matches!(source, Source::Tasks(_));
    let (before, joins) = rest.split_at(rest.iter().position(is_tasks).unwrap_or(rest.len()));
    let (root, others) = before.split_at(before.len().min(1));
    send_sources(plan, around, supply, root)?;
    send_sources(plan, around, supply, others)?;
    (around.checkpoint)("complete the cgroup");
    let tasks = companion.complete_cgroup()?;
    (around.checkpoint)("send the sources");
    let around = Surroundings { tasks, ..*around };
    // The stub joins while what comes behind is opened.
    let after = joins.iter().position(|source| !is_tasks(source));
    let (joins, after) = joins.split_at(after.unwrap_or(joins.len()));
    send_sources(plan, &around, supply, joins)?;
    Ok(send_sources(plan, &around, supply, after)?)
}

/// Opens sources and sends them for the next slots.
fn send_sources(
    plan: &Plan,
    around: &Surroundings<'_>,
    supply: &mut Supply<'_>,
    sources: &[Source],
) -> Result<(), CreateError> {
    let opened = open_sources(plan, around, supply.userns, sources, &mut supply.remains)?;
    if opened.is_empty() {
        return Ok(());
    }
    let fds: Vec<BorrowedFd<'_>> = opened.iter().map(AsFd::as_fd).collect();
    send_slots(plan, around, supply.ours, &fds)
}

/// Sends descriptors for the next slots.
fn send_slots(
    plan: &Plan,
    around: &Surroundings<'_>,
    ours: &OwnedFd,
    fds: &[BorrowedFd<'_>],
) -> Result<(), CreateError> {
    let header = PlanHeader {
        length: u64::try_from(plan.steps.bytes().len()).unwrap_or(u64::MAX),
        slots: u16::try_from(plan.sources.len()).unwrap_or(u16::MAX),
        timings: around.timings,
        kill_before: around.kill_before.unwrap_or(u32::MAX),
    };
    let mut bytes = crate::plan::Buffer::default();
    header.encode(&mut bytes);
    match channel::send(ours.as_fd(), &bytes.0, fds) {
        // The stub is gone: what it said, or how it died, tells more than EPIPE does.
        Err(error) if matches!(error.errno(), Errno::PIPE | Errno::CONNRESET) => Ok(()),
        other => other.map_err(CreateError::prepare("send the plan to the init stub")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_open_until_its_other_end_is_closed() {
        let (ours, theirs) = channel::pair().unwrap();
        assert!(is_open(ours.as_fd()));
        // What is still to be read says nothing of it.
        channel::send(theirs.as_fd(), b"x", &[]).unwrap();
        assert!(is_open(ours.as_fd()));
        drop(theirs);
        assert!(!is_open(ours.as_fd()));
    }
}
