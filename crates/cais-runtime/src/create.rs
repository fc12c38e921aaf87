//! From a plan to a running program: this process opens what the plan needs, makes
//! the stub's process, sends the plan, and listens until the program runs.
//!
//! The stub is executed while this process prepares the mounts: the two meet at the
//! channel.

use crate::error::CreateError;
use crate::plan::Plan;
use crate::plan::sources::Source;
use crate::stub::STUB;
use cais_init::message::{PlanHeader, REPORT_MAX, Report};
use cais_init::wire::{Field, Source as Bytes};
use cais_linux::SysError;
use cais_linux::mounts::overlay::{self, Mapping};
use cais_linux::mounts::tree;
use cais_linux::process::{channel, pidfd, stub};
use cais_sys::clone::{CloneRequest, StubProcess, namespace};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::Signal;
use std::path::Path;
use std::time::{Duration, Instant};

/// What the caller brings besides the plan.
#[allow(missing_debug_implementations, reason = "it holds a function")]
pub struct Surroundings<'a> {
    /// Standard input, output and error of the program; unused with a terminal.
    pub stdio: [BorrowedFd<'a>; 3],
    /// The `tasks` files of the cgroup v1 hierarchies to join.
    pub tasks: Vec<BorrowedFd<'a>>,
    /// The cgroup v2 directory to start in.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// The process whose namespaces are entered, for a process in a running container.
    pub target: Option<BorrowedFd<'a>>,
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

    /// While the stub is executed: what the plan's sources need.
    ///
    /// # Errors
    /// The start fails with it.
    fn while_the_stub_starts(&mut self) -> Result<(), Self::Error>;

    /// While the stub sets the container up: what must be written down before the program
    /// runs. With [`Plan::awaits_start`] the stub waits for it.
    ///
    /// # Errors
    /// The start fails with it.
    fn while_the_stub_works(&mut self, process: &StubProcess) -> Result<(), Self::Error>;
}

/// A caller with nothing to do.
#[derive(Debug)]
pub struct Alone;

impl Companion for Alone {
    type Error = CreateError;
    fn while_the_stub_starts(&mut self) -> Result<(), CreateError> {
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
    let mut clock = Clock::new(around.timings);
    (around.checkpoint)("seal the stub");
    let executable =
        stub::seal("cais-init", STUB, true).map_err(CreateError::prepare("copy the init stub"))?;
    let (ours, theirs) = channel::pair().map_err(CreateError::prepare("open a channel"))?;
    clock.lap("seal the stub");

    (around.checkpoint)("clone");
    let process = spawn(plan, around, &executable, (&ours, &theirs))?;
    drop(theirs);
    clock.lap("clone");
    let unfinished = Unfinished(Some(process));
    let process = unfinished.process();

    (around.checkpoint)("write the id maps");
    let userns = prepare_user_namespace(plan, process, &ours)?;
    clock.lap("id maps");
    (around.checkpoint)("send the plan");
    let sent = send_plan(plan, around, &ours)?;
    clock.lap("send the plan");
    (around.checkpoint)("prepare the sources");
    companion.while_the_stub_starts()?;
    clock.lap("files of the container");

    (around.checkpoint)("set the limits of the process");
    plan.limits.apply(process.pid)?;
    (around.checkpoint)("open the sources");
    let sources = open_sources(plan, around, userns.as_ref(), sent)?;
    (around.checkpoint)("send the sources");
    if !sources.is_empty() {
        let fds: Vec<BorrowedFd<'_>> = sources.iter().map(AsFd::as_fd).collect();
        send_slots(plan, around, &ours, &fds)?;
    }
    drop(sources);
    clock.lap("open the root and the mounts");
    (around.checkpoint)("record the container");
    companion.while_the_stub_works(process)?;
    if plan.awaits_start {
        (around.checkpoint)("let the program start");
        send_unless_gone(&ours, b"s")?;
    }
    clock.lap("record the container");
    let (terminal, unfinished) = listen(plan, &ours, unfinished, &mut clock)?;
    clock.lap("wait for the program");
    (around.checkpoint)("the program runs");
    Ok(Running {
        process: unfinished.finish(),
        terminal,
        timings: clock.timings,
    })
}

/// Gives the new user namespace its maps and opens it, or opens the one that was joined.
fn prepare_user_namespace(
    plan: &Plan,
    process: &StubProcess,
    ours: &OwnedFd,
) -> Result<Option<OwnedFd>, CreateError> {
    if let Some(maps) = &plan.id_maps {
        stub::write_id_maps(process, &maps.uid, &maps.gid)
            .map_err(CreateError::prepare("map the ids of the user namespace"))?;
        channel::send(ours.as_fd(), b"g", &[]).map_err(CreateError::prepare("wake the init stub"))?;
    } else if plan.join_user.is_none() {
        return Ok(None);
    }
    stub::open_user_namespace(process)
        .map(Some)
        .map_err(CreateError::prepare("open the user namespace"))
}

/// Sends a message; a stub that is gone is no error here: what it said, or how it died,
/// tells more than EPIPE does.
fn send_unless_gone(ours: &OwnedFd, bytes: &[u8]) -> Result<(), CreateError> {
    match channel::send(ours.as_fd(), bytes, &[]) {
        Err(error) if matches!(error.errno(), Errno::PIPE | Errno::CONNRESET) => Ok(()),
        other => other.map_err(CreateError::prepare("send to the init stub")),
    }
}

fn spawn(
    plan: &Plan,
    around: &Surroundings<'_>,
    executable: &OwnedFd,
    (ours, theirs): (&OwnedFd, &OwnedFd),
) -> Result<StubProcess, CreateError> {
    let join_user = plan.join_user.as_deref().map(open_namespace).transpose()?;
    let pid_namespace = PidNamespaceForChildren::enter(plan, around)?;
    let request = CloneRequest {
        namespaces: plan.namespaces,
        join_user: join_user.as_ref().map(AsFd::as_fd),
        cgroup: around.cgroup,
        stub: executable.as_fd(),
        channel: theirs.as_fd(),
        parent_channel: ours.as_fd(),
        await_id_maps: plan.id_maps.is_some(),
    };
    let process = stub::spawn(&request).map_err(CreateError::prepare("make the container's first process"));
    pid_namespace.leave()?;
    process
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

/// The pid namespace that children of this process are born into, while it is another
/// than its own (setns(2): the caller itself stays where it is).
struct PidNamespaceForChildren(Option<OwnedFd>);

impl PidNamespaceForChildren {
    fn enter(plan: &Plan, around: &Surroundings<'_>) -> Result<Self, CreateError> {
        let kind = u32::try_from(namespace::PID).unwrap_or(0);
        let enter = |target: BorrowedFd<'_>| {
            cais_sys::namespace::enter(target, kind)
                .map_err(|errno| SysError::new("setns", "CLONE_NEWPID", errno))
                .map_err(CreateError::prepare("enter the pid namespace to share"))
        };
        let home = || open_namespace(Path::new("/proc/self/ns/pid"));
        match (&plan.join_pid, around.target) {
            (Some(path), _) => {
                let home = home()?;
                enter(open_namespace(path)?.as_fd())?;
                Ok(Self(Some(home)))
            }
            (None, Some(target)) if plan.enter_pid => {
                let home = home()?;
                enter(target)?;
                Ok(Self(Some(home)))
            }
            _ => Ok(Self(None)),
        }
    }

    fn leave(self) -> Result<(), CreateError> {
        let Some(home) = self.0 else { return Ok(()) };
        cais_sys::namespace::enter(home.as_fd(), u32::try_from(namespace::PID).unwrap_or(0))
            .map_err(|errno| SysError::new("setns", "CLONE_NEWPID", errno))
            .map_err(CreateError::prepare("come back to the pid namespace of before"))
    }
}

/// The process until the program runs: killed and waited for where it goes out of scope.
#[derive(Debug)]
struct Unfinished(Option<StubProcess>);

impl Unfinished {
    fn process(&self) -> &StubProcess {
        self.0
            .as_ref()
            .unwrap_or_else(|| unreachable!("taken by finish, which consumes"))
    }

    fn finish(mut self) -> StubProcess {
        self.0.take().unwrap_or_else(|| unreachable!("taken only here"))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(process) = &self.0 {
            // It may have ended by itself; what counts is that it is gone afterwards.
            pidfd::send_signal(process.pidfd.as_fd(), Signal::KILL).unwrap_or_default();
            pidfd::wait(process.pidfd.as_fd()).map(drop).unwrap_or_default();
        }
    }
}

/// The descriptor of a source that the caller lends.
fn lent<'a>(source: &Source, around: &Surroundings<'a>) -> Option<BorrowedFd<'a>> {
    match source {
        Source::Stdio(index) => around.stdio.get(*index).copied(),
        Source::Tasks(index) => around.tasks.get(*index).copied(),
        Source::Target => around.target,
        _ => None,
    }
}

/// Something that a slot refers to: opened here, or lent by the caller.
enum Opened<'a> {
    Own(OwnedFd),
    Lent(BorrowedFd<'a>),
}

impl AsFd for Opened<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Own(fd) => fd.as_fd(),
            Self::Lent(fd) => fd.as_fd(),
        }
    }
}

/// Opens the sources after the first `sent`.
fn open_sources<'a>(
    plan: &Plan,
    around: &Surroundings<'a>,
    userns: Option<&OwnedFd>,
    sent: usize,
) -> Result<Vec<Opened<'a>>, CreateError> {
    let open = |source: &Source| match lent(source, around) {
        Some(fd) => Ok(Opened::Lent(fd)),
        None => open_source(plan, source, userns).map(Opened::Own),
    };
    plan.sources.iter().skip(sent).map(open).collect()
}

fn open_source(plan: &Plan, source: &Source, userns: Option<&OwnedFd>) -> Result<OwnedFd, CreateError> {
    let prepare = || CreateError::prepare(source.describe());
    match source {
        Source::Overlay { layers, user_xattr } => {
            let mapping = match (userns, plan.root_ids) {
                (Some(userns), Some((uid, gid))) => Some(Mapping {
                    userns: userns.as_fd(),
                    uid,
                    gid,
                }),
                _ => None,
            };
            overlay::make(layers, mapping, *user_xattr).map_err(prepare())
        }
        Source::Tree {
            path,
            recursive,
            peer,
            attributes,
            map_ids,
        } => {
            let tree = if *peer {
                tree::open_peer(path, *recursive)
            } else {
                tree::open_detached(path, *recursive)
            };
            let tree = tree.map_err(prepare())?;
            if let (true, Some(userns)) = (map_ids, userns) {
                tree::map_ids(tree.as_fd(), userns.as_fd(), *recursive).map_err(prepare())?;
            }
            if attributes.attr_set | attributes.attr_clr != 0 {
                tree::set_attributes(tree.as_fd(), attributes, *recursive).map_err(prepare())?;
            }
            Ok(tree)
        }
        Source::TreeOf { process, path } => tree::open_detached_of(process, path).map_err(prepare()),
        Source::Device {
            path,
            kind,
            major,
            minor,
        } => tree::open_device(path, *kind, *major, *minor).map_err(prepare()),
        Source::NamespaceFile { path } => open_namespace(path),
        Source::Stdio(_) | Source::Tasks(_) | Source::Target => Err(CreateError::Prepare {
            action: source.describe(),
            source: SysError::new("slot", "the caller did not lend it", Errno::BADF),
        }),
    }
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

/// Listens until the channel ends: the program runs, or something failed.
fn listen(
    plan: &Plan,
    ours: &OwnedFd,
    unfinished: Unfinished,
    clock: &mut Clock,
) -> Result<(Option<OwnedFd>, Unfinished), CreateError> {
    let mut buffer = [0u8; REPORT_MAX];
    let mut fds = Vec::new();
    let mut executing = false;
    let mut failure = None;
    loop {
        let message = channel::receive(ours.as_fd(), &mut buffer, &mut fds)
            .map_err(CreateError::prepare("listen to the init stub"))?;
        let Some(message) = message else { break };
        if let Ok(bytes) = <[u8; 4]>::try_from(message) {
            // The stub could not even be executed: a bare errno.
            let errno = Errno::from_raw_os_error(i32::from_ne_bytes(bytes));
            failure = Some(CreateError::Prepare {
                action: "execute the init stub from a memfd".to_owned(),
                source: SysError::new("execveat", "cais-init", errno),
            });
            continue;
        }
        match Report::decode(&mut Bytes(message)) {
            Ok(Report::Executing) => executing = true,
            Ok(Report::Took { step, nanoseconds }) => clock.step(plan, step, nanoseconds),
            Ok(Report::Failed { step, errno, detail }) => failure = Some(plan.failure(step, errno, detail)),
            Ok(Report::Terminal | Report::Listener | Report::Created) | Err(_) => {}
        }
    }
    match (failure, executing) {
        (Some(failure), _) => Err(failure),
        (None, true) => Ok((fds.pop(), unfinished)),
        (None, false) => {
            let process = unfinished.finish();
            Err(match pidfd::wait(process.pidfd.as_fd()) {
                Ok(pidfd::Ended::Killed(signal)) => CreateError::Killed { signal },
                Ok(pidfd::Ended::Exited(status)) => CreateError::Silent { status },
                Err(source) => CreateError::Prepare {
                    action: "wait for the init stub".to_owned(),
                    source,
                },
            })
        }
    }
}

/// Measures the stages, where somebody wants to know.
struct Clock {
    last: Option<Instant>,
    timings: Vec<Timing>,
}

impl Clock {
    fn new(wanted: bool) -> Self {
        Self {
            last: wanted.then(Instant::now),
            timings: Vec::new(),
        }
    }

    fn lap(&mut self, name: &str) {
        if let Some(last) = self.last {
            let now = Instant::now();
            self.timings.push(Timing {
                name: name.to_owned(),
                took: now - last,
                in_stub: false,
            });
            self.last = Some(now);
        }
    }

    fn step(&mut self, plan: &Plan, step: u32, nanoseconds: u64) {
        let name = plan.steps.describe(usize::try_from(step).unwrap_or(usize::MAX));
        self.timings.push(Timing {
            name,
            took: Duration::from_nanos(nanoseconds),
            in_stub: true,
        });
    }
}
