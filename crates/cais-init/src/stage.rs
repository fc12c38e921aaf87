//! The interpreter: takes the plan from the channel and carries out its steps.
//!
//! One step is one match arm that calls one function of a room beside this file.
//! The state between steps is small: the descriptors that came with the plan, the
//! root file system, and two mounts that several steps share.

mod copy_up;
mod execute;
mod hooks;
mod identity;
mod init;
mod landlock;
mod mounts;
mod namespaces;
mod overlay;
mod target;
mod terminal;

use crate::message::{DETAIL, HEADER_LENGTH, PlanHeader, REPORT_MAX, Report};
use crate::step::{Slot, Step};
use crate::wire::{Field, Sink, Source};
use cais_sys::signal::{SignalSet, set_mask};
use core::ffi::CStr;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

/// The most descriptors that a plan may bring.
pub const MAX_SLOTS: usize = 1000;

/// Why a step failed: the system call, what it was about, the errno.
#[derive(Debug, Clone, Copy)]
pub struct Failure<'a> {
    call: &'static str,
    subject: &'a [u8],
    errno: Errno,
}

impl<'a> Failure<'a> {
    /// A failure of `call` on `subject`.
    fn new(call: &'static str, subject: &'a [u8], errno: Errno) -> Self {
        Self { call, subject, errno }
    }
}

/// Turns an errno into a [`Failure`] of `call` on `path`.
fn failed<'a>(call: &'static str, path: &'a CStr) -> impl FnOnce(Errno) -> Failure<'a> {
    move |errno| Failure::new(call, path.to_bytes(), errno)
}

/// Turns an errno into a [`Failure`] of `call` alone.
fn plain<'a>(call: &'static str) -> impl FnOnce(Errno) -> Failure<'a> {
    move |errno| Failure::new(call, b"", errno)
}

/// The result of a step.
type StepResult<'a, T = ()> = Result<T, Failure<'a>>;

/// What lives between steps.
struct Stage<'a> {
    /// The other end is the process that made this one.
    channel: Option<OwnedFd>,
    /// The descriptors that came with the plan.
    slots: [Option<OwnedFd>; MAX_SLOTS],
    /// How many of them have come.
    received: usize,
    /// The root file system, from [`Step::AttachRoot`] to [`Step::PivotRoot`].
    root: Option<OwnedFd>,
    /// A procfs instance that is mounted nowhere, for [`Step::WriteSysctl`].
    settings: Option<OwnedFd>,
    /// The empty tmpfs that hides directories, once it is mounted somewhere.
    empty: Option<OwnedFd>,
    /// The plan.
    plan: &'a [u8],
    /// Its header.
    header: PlanHeader,
    /// The index of the step at work.
    index: u32,
    /// Whether this process dies with the one that made it: until the program is executed,
    /// or until it has let go of that process.
    bound: bool,
}

/// A buffer for one report.
struct ReportBuffer {
    bytes: [u8; REPORT_MAX],
    used: usize,
}

impl Sink for ReportBuffer {
    fn put(&mut self, bytes: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.used..self.used + bytes.len()) {
            room.copy_from_slice(bytes);
            self.used += bytes.len();
        }
    }
}

/// The stub's main function: `channel` is the number of the channel's descriptor.
/// Returns the exit status where no program could be executed.
#[must_use]
pub fn run(channel: OwnedFd) -> u8 {
    cais_sys::signal::reset_all();
    // The plan says whether somebody is to hear them.
    init::hold_signals();
    // What is made in the root, and by the program, does not hang on the caller's mask.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let mut stage = Stage {
        channel: Some(channel),
        slots: [const { None }; MAX_SLOTS],
        received: 0,
        root: None,
        settings: None,
        empty: None,
        plan: &[],
        header: PlanHeader {
            length: 0,
            slots: 0,
            timings: false,
            kill_before: u32::MAX,
        },
        index: 0,
        bound: true,
    };
    if let Err(errno) = stage.receive_plan() {
        stage.report_failure(&Failure::new("recvmsg", b"the plan", errno));
        return 125;
    }
    let plan = stage.plan;
    let mut source = Source(plan);
    while !source.0.is_empty() {
        let started = stage.now();
        let result = match Step::decode(&mut source) {
            Ok(_) if stage.index == stage.header.kill_before => kill_self(),
            Ok(step) => {
                if stage.index == 0 && !matches!(step, Step::HoldSignals {}) {
                    set_mask(SignalSet::EMPTY);
                }
                stage.carry_out(step)
            }
            Err(_) => Err(Failure::new("decode", b"the plan", Errno::PROTO)),
        };
        if let Err(failure) = result {
            stage.report_failure(&failure);
            return 125;
        }
        stage.report_time(started);
        stage.index += 1;
    }
    stage.report_failure(&Failure::new("decode", b"a plan without an end", Errno::PROTO));
    125
}

/// For tests: what an operator or the OOM killer may do at any moment.
fn kill_self<'a>() -> StepResult<'a> {
    let this = rustix::process::getpid();
    rustix::process::kill_process(this, rustix::process::Signal::KILL).map_err(plain("kill"))?;
    // The first process of a pid namespace does not hear signals of its own.
    cais_sys::process::exit_now(137)
}

impl<'a> Stage<'a> {
    /// Takes the plan from the channel, with the descriptors that are ready.
    fn receive_plan(&mut self) -> Result<(), Errno> {
        let mut file: Option<OwnedFd> = None;
        self.receive(|fd| {
            if file.is_none() {
                file.replace(fd)
            } else {
                Some(fd)
            }
        })?;
        let file = file.ok_or(Errno::PROTO)?;
        let length = usize::try_from(self.header.length).or(Err(Errno::OVERFLOW))?;
        self.plan = cais_sys::memory::map_file(file.as_fd(), length)?;
        Ok(())
    }

    /// Takes one message: the header, and descriptors for the next slots, but for those that
    /// `keep` keeps.
    fn receive(&mut self, mut keep: impl FnMut(OwnedFd) -> Option<OwnedFd>) -> Result<(), Errno> {
        let mut bytes = [0u8; HEADER_LENGTH];
        let channel = self.channel.as_ref().ok_or(Errno::BADF)?.as_fd();
        let (slots, received) = (&mut self.slots, &mut self.received);
        let length = cais_sys::socket::receive_with_fds(channel, &mut bytes, |fd| {
            if let (Some(fd), Some(slot)) = (keep(fd), slots.get_mut(*received)) {
                *slot = Some(fd);
                *received += 1;
            }
        })?;
        if length == 0 {
            // The caller is gone.
            return Err(Errno::CONNRESET);
        }
        let header = PlanHeader::decode(&mut Source(bytes.get(..length).unwrap_or(&[])));
        self.header = header.or(Err(Errno::PROTO))?;
        Ok(())
    }

    /// Waits for the descriptors that a step needs: the caller still opens them while the
    /// first steps are carried out.
    fn await_slots(&mut self, step: &Step<'a>) -> StepResult<'a> {
        let Some(Slot(last)) = step.last_slot() else {
            return Ok(());
        };
        let all = usize::from(self.header.slots).min(MAX_SLOTS);
        let needed = (usize::from(last) + 1).min(all);
        while self.received < needed {
            self.receive(Some)
                .map_err(|errno| Failure::new("recvmsg", b"descriptors", errno))?;
        }
        Ok(())
    }

    /// Carries out one step.
    fn carry_out(&mut self, step: Step<'a>) -> StepResult<'a> {
        self.await_slots(&step)?;
        match step {
            Step::JoinCgroup { tasks } => namespaces::join_cgroup(self.slot(tasks)?),
            Step::EnterNamespaces { target, kinds } => namespaces::enter(self.slot(target)?, kinds),
            Step::LeaveNamespaces { kinds } => namespaces::leave(kinds),
            Step::NewSession {} => rustix::process::setsid().map(drop).map_err(plain("setsid")),
            Step::NewKeyring {} => identity::new_keyring(),
            Step::SetHostname { name } => namespaces::set_hostname(name),
            Step::SetDomainname { name } => namespaces::set_domainname(name),
            Step::LoopbackUp {} => namespaces::loopback_up(),
            Step::WriteTimeOffsets { text } => namespaces::write_time_offsets(text),
            Step::SetRootPropagation {
                propagation,
                recursive,
            } => mounts::set_root_propagation(self.root()?, propagation, recursive),
            Step::PivotRoot {} => self.pivot_root(),
            Step::ChangeRoot {} => self.change_root(),
            Step::SetStdio { input, output, error } => self.set_stdio(input, output, error),
            Step::ReopenNull {} => terminal::reopen_null(),
            Step::OpenTerminal { bind, rows, columns } => self.open_terminal(bind, rows, columns),
            _ => self.carry_out_in_tree(step),
        }
    }

    /// The steps that concern the file tree.
    fn carry_out_in_tree(&mut self, step: Step<'a>) -> StepResult<'a> {
        match step {
            Step::SetTreePropagation { propagation } => mounts::set_tree_propagation(propagation),
            Step::AttachRoot { mount, path } => self.attach_root(mount, path),
            Step::MountNew {
                path,
                fstype,
                parameters,
                attributes,
                target,
            } => mounts::mount_new(
                self.root()?,
                path,
                &mounts::NewMount {
                    fstype,
                    parameters,
                    attributes,
                },
                target,
            ),
            Step::MountTree {
                mount,
                path,
                propagation,
                target,
            } => mounts::mount_tree(self.root()?, self.slot(mount)?, path, propagation, target),
            Step::MakeDevice {
                path,
                mode,
                major,
                minor,
                uid,
                gid,
            } => mounts::make_device(
                self.root()?,
                path,
                &mounts::Device {
                    mode,
                    major,
                    minor,
                    uid,
                    gid,
                },
            ),
            Step::MountFile {
                scratch,
                path,
                content,
            } => mounts::mount_file(self.root()?, scratch, path, content),
            Step::MakeSymlink { path, content } => mounts::make_symlink(self.root()?, path, content),
            Step::MaskPath { path, null } => self.mask_path(path, null),
            Step::ReadonlyPath { path } => mounts::make_readonly(self.root()?, path),
            Step::WriteSysctl { name, value } => self.write_sysctl(name, value),
            Step::MakeDirectory { path, mode } => target::make_directory(self.root()?, path, mode),
            Step::SetMountAttributes {
                path,
                set,
                clear,
                recursive,
            } => mounts::set_attributes(self.root()?, path, set, clear, recursive),
            _ => self.carry_out_unprivileged(step),
        }
    }

    /// What a privileged caller does itself.
    fn carry_out_unprivileged(&mut self, step: Step<'a>) -> StepResult<'a> {
        match step {
            Step::MakeOverlay {
                slot,
                lower,
                changes,
                volatile,
            } => self.make_overlay(slot, lower, changes, volatile),
            Step::MountOverlay {
                path,
                lower,
                changes,
                volatile,
            } => match overlay::make_any(lower, changes, volatile) {
                Ok(overlay) => mounts::mount_tree(
                    self.root()?,
                    overlay.as_fd(),
                    path,
                    0,
                    crate::step::target::MAKE_DIRECTORY,
                ),
                // Removed on the host meanwhile: the empty place stays.
                Err(_) if overlay::is_gone(lower) => Ok(()),
                Err(failure) => Err(failure),
            },
            Step::MountHostFile { path } => mounts::mount_host_file(self.root()?, path),
            Step::OpenTree {
                slot,
                path,
                recursive,
                peer,
                set,
                clear,
            } => self.open_tree(
                slot,
                path,
                &mounts::TreeWanted {
                    recursive,
                    peer,
                    set,
                    clear,
                },
            ),
            _ => self.carry_out_last(step),
        }
    }

    /// The steps that concern the process itself.
    fn carry_out_last(&mut self, step: Step<'a>) -> StepResult<'a> {
        match step {
            Step::SetUmask { mask } => {
                rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
                Ok(())
            }
            Step::SetUndumpable {} => identity::set_undumpable(),
            Step::SetBoundingSet { keep } => identity::set_bounding_set(keep),
            Step::SetUser { uid, gid, groups } => identity::set_user(uid, gid, groups, self.bound),
            Step::SetCapabilities {
                effective,
                permitted,
                inheritable,
                ambient,
            } => identity::set_capabilities(effective, permitted, inheritable, ambient),
            Step::LimitDescriptors { soft, hard } => identity::limit_descriptors(soft, hard),
            Step::SetNoNewPrivs {} => rustix::thread::set_no_new_privs(true).map_err(plain("prctl")),
            Step::RestrictByLandlock {
                filesystem,
                network,
                scoped,
                rules,
            } => landlock::restrict(filesystem, network, scoped, rules),
            Step::InstallSeccomp { flags, program } => self.install_seccomp(flags, program),
            Step::CloseDescriptors { first } => identity::close_descriptors(first),
            Step::SetWorkingDirectory { path } => execute::set_working_directory(path),
            Step::AwaitStart {} | Step::AwaitHooks {} | Step::AwaitCgroup {} => self.await_start(),
            Step::AwaitConnection { listener } => self.await_connection(listener),
            Step::RunHook {
                path,
                arguments,
                environment,
                timeout,
                head,
                tail,
            } => hooks::run(&hooks::Hook {
                path,
                arguments,
                environment,
                timeout,
                state: [head, tail],
            }),
            Step::FindProgram { name, environment } => execute::find_program(name, environment),
            Step::SetPersonality { domain } => identity::set_personality(domain),
            Step::SetMemoryPolicy { mode, nodes } => identity::set_memory_policy(mode, nodes),
            Step::SetAffinity { mask } => identity::set_affinity(mask),
            Step::HoldSignals {} => {
                init::hold_signals();
                Ok(())
            }
            Step::BecomeInit {} => self.become_init(),
            Step::SetSecurityLabel { name, text } => identity::set_security_label(name, text),
            Step::Execute {
                arguments,
                environment,
            } => self.execute(arguments, environment),
            _ => Err(Failure::new("decode", b"a step without an arm", Errno::PROTO)),
        }
    }

    /// The descriptor in `slot`.
    fn slot(&self, slot: Slot) -> StepResult<'a, BorrowedFd<'_>> {
        self.slots
            .get(usize::from(slot.0))
            .and_then(Option::as_ref)
            .map(AsFd::as_fd)
            .ok_or(Failure::new(
                "slot",
                b"a descriptor that did not come with the plan",
                Errno::BADF,
            ))
    }

    /// The root file system.
    fn root(&self) -> StepResult<'a, BorrowedFd<'_>> {
        self.root
            .as_ref()
            .map(AsFd::as_fd)
            .ok_or(Failure::new("slot", b"no root is attached", Errno::BADF))
    }

    /// Sends a report; a caller that is gone is no error (this process dies with it).
    fn report(&self, report: &Report<'_>, fds: &[BorrowedFd<'_>]) {
        self.try_report(report, fds).unwrap_or_default();
    }

    /// The same, where it matters whether the caller is still there.
    fn try_report(&self, report: &Report<'_>, fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        let mut buffer = ReportBuffer {
            bytes: [0; REPORT_MAX],
            used: 0,
        };
        report.encode(&mut buffer);
        match (&self.channel, buffer.bytes.get(..buffer.used)) {
            (Some(channel), Some(bytes)) => cais_sys::socket::send_with_fds(channel.as_fd(), bytes, fds),
            _ => Ok(()),
        }
    }

    fn report_failure(&self, failure: &Failure<'_>) {
        let mut detail = ReportBuffer {
            bytes: [0; REPORT_MAX],
            used: 0,
        };
        detail.put(failure.call.as_bytes());
        if !failure.subject.is_empty() {
            let room = DETAIL - failure.call.len() - 4;
            detail.put(b"(\"");
            detail.put(failure.subject.get(..room).unwrap_or(failure.subject));
            detail.put(b"\")");
        }
        let report = Report::Failed {
            step: self.index,
            errno: failure.errno.raw_os_error(),
            detail: detail.bytes.get(..detail.used).unwrap_or(&[]),
        };
        self.report(&report, &[]);
    }

    /// Nanoseconds of the monotonic clock, or 0 where no times are wanted.
    fn now(&self) -> u64 {
        if !self.header.timings {
            return 0;
        }
        let time = clock_gettime(ClockId::Monotonic);
        time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
    }

    fn report_time(&self, started: u64) {
        if self.header.timings {
            self.report(
                &Report::Took {
                    step: self.index,
                    nanoseconds: self.now() - started,
                },
                &[],
            );
        }
    }
}
