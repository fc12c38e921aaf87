//! The start itself: everything that a run holds is taken here, in an order in which
//! each step is recorded before it is done, so that a sweep finds it.

use super::equip;
use super::prepare::Prepared;
use crate::checkpoint::Checkpoints;
use crate::cleanup::{self, Known};
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::events::{self, Event};
use crate::id::ContainerId;
use crate::monitor::attendant::Attendant;
use crate::monitor::{PipeSet, Streams, attend_early, make_pipes};
use crate::network::connect::Connected;
use crate::network::keeping::Keeping;
use crate::options::{NetworkMode, SeccompOption};
use crate::record::{Exit, Record, VERSION};
use crate::state::{ProcessName, RunState};
use crate::{resolver, time};
use cais_linux::cgroups::{Group, Making};
use cais_linux::process::file_tree::HeldTree;
use cais_net::dns::resolv_conf::ResolvConf;
use cais_runtime::container::handover::send_descriptor;
use cais_runtime::create::{Companion, Running, Surroundings, Timing, begin, go_on};
use cais_runtime::plan::Plan;
use cais_sys::clone::StubProcess;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

/// A program that runs, and what it holds.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) id: ContainerId,
    pub(crate) running: Running,
    pub(crate) streams: Streams,
    pub(crate) state: RunState,
    pub(crate) group: Option<Group>,
    /// What the monitor looks after beside the streams.
    pub(crate) attendants: Vec<Box<dyn Attendant>>,
    /// Its file tree, where it is held to the end.
    pub(crate) tree: HeldTree,
    /// Its record.
    pub(crate) record: Record,
    /// Whether its process is a child of this one.
    pub(crate) is_child: bool,
    /// Whether its input ends when the one who gives it leaves.
    pub(crate) input_once: bool,
}

/// What is done while the program is executed. What it leaves of the first is held to the end of
/// the program: a monitor that is alone has the time to close it, while somebody who asks for a
/// name would wait.
pub(crate) type Waits<'a> = dyn Fn(&mut Vec<OwnedFd>, &dyn Fn() -> bool) -> Result<()> + 'a;

/// How a start goes.
#[derive(Default)]
pub(crate) struct Start<'a> {
    /// Whether the times of its stages are wanted.
    pub(crate) timings: bool,
    /// How often the container was started by its policy before.
    pub(crate) restart_count: u32,
    /// Standard streams that the program gets as they are.
    pub(crate) passed: Option<[OwnedFd; 3]>,
    /// Called when this process has done its part, and only the stub works
    /// ([`Companion::while_the_program_starts`]).
    pub(crate) waits: Option<&'a Waits<'a>>,
}

impl Launched {
    /// How long each stage of the start took.
    pub(crate) fn timings(&self) -> &[Timing] {
        &self.running.timings
    }
}

/// Starts the container. On an error everything that was taken is given back. Whoever calls this
/// has the journal say so ([`events_of`]).
pub(crate) fn launch(
    engine: &Engine,
    prepared: &Prepared,
    start: &Start<'_>,
    checkpoints: &Checkpoints,
) -> Result<Launched> {
    let id = prepared.record.id.clone();
    let this = ProcessName::of_this()
        .ok_or_else(|| EngineError::Invalid("/proc does not show this process: mount it".to_owned()))?;
    let state = RunState {
        version: VERSION,
        monitor: this,
        init: None,
        started: time::now(),
        cgroup: prepared.cgroup_path.clone(),
        id_range: prepared.lease.map(|lease| lease.index),
        remove: prepared.record.options.remove,
        paused: false,
        restarting: false,
        pipes: None,
        restart_count: start.restart_count,
        ended: None,
    };
    checkpoints.pass("record the start");
    state.write(&engine.store, &id)?;
    let launched = launch_recorded(engine, prepared, state.clone(), start, checkpoints);
    if launched.is_ok() {
        engine.service.note_start(&prepared.record.options);
    }
    launched.inspect_err(|error| {
        // What was taken on the way is noted there.
        let noted = RunState::read(&engine.store, &id).ok().flatten();
        let state = noted.as_ref().unwrap_or(&state);
        let exit = Exit {
            code: Some(exit_code(error)),
            started: state.started.clone(),
            finished: time::now(),
            oom_killed: false,
            error: error.to_string(),
            restart_count: start.restart_count,
        };
        // The error that counts is the one that stopped the start; what cannot be given
        // back now, the next command's sweep finds by the state.
        cleanup::finish_run(&engine.store, &id, state, &exit, Known::default()).unwrap_or_default();
        // Leases that were not written down yet.
        if let Some(network) = &prepared.network {
            crate::network::plan::release(&engine.store.networks(), network);
        }
    })
}

/// The container's files, written while the stub works.
struct Files<'a> {
    engine: &'a Engine,
    prepared: &'a Prepared,
    state: &'a mut RunState,
    group: Option<Making<'a>>,
    keeping: Keeping,
    /// What it has in networks, where that was made before the plan was sent.
    connected: Option<Connected>,
    attendants: Vec<Box<dyn Attendant>>,
    tree: HeldTree,
    waits: Option<&'a Waits<'a>>,
    checkpoints: &'a Checkpoints,
}

impl Files<'_> {
    fn note_process(&mut self, process: &StubProcess) -> Result<()> {
        self.state.init = ProcessName::read(process.pid.as_raw_nonzero().get());
        self.state.write(&self.engine.store, &self.prepared.record.id)
    }

    fn connect(&mut self) -> Result<Connected> {
        let Self {
            engine,
            prepared,
            keeping,
            state,
            checkpoints,
            ..
        } = self;
        equip::connect(engine, prepared, keeping, state, checkpoints)
    }
}

impl Companion for Files<'_> {
    type Error = EngineError;

    fn plans_by_network(&self) -> bool {
        let network = &self.prepared.record.options.namespaces.network;
        matches!(network, NetworkMode::Cni(_))
    }

    fn before_the_plan_is_sent(&mut self, process: &StubProcess) -> Result<Option<Plan>> {
        if !self.plans_by_network() {
            return Ok(None);
        }
        // Those who make its interface say whom it is to ask for names.
        self.note_process(process)?;
        let connected = self.connect()?;
        let names = self.connected.insert(connected).names.clone();
        if names == ResolvConf::default() {
            return Ok(None);
        }
        let text = resolver::resolv_conf_with(&self.prepared.record.options, &names);
        self.prepared.plan_with(resolver::FILE, text).map(Some)
    }

    fn while_the_stub_starts(&mut self, _process: &StubProcess) -> Result<()> {
        if self.engine.rootless {
            // The stub makes the overlay itself, from what was there before it began.
            return Ok(());
        }
        super::write_sources(self.engine, self.prepared)
    }

    fn complete_cgroup(&mut self) -> Result<Vec<BorrowedFd<'_>>> {
        let Some(making) = &mut self.group else {
            return Ok(Vec::new());
        };
        let group = making.complete().map_err(self.prepared.failed_group())?;
        Ok(group.tasks())
    }

    fn while_the_stub_works(&mut self, process: &StubProcess) -> Result<()> {
        let (store, record) = (&self.engine.store, &self.prepared.record);
        let connected = match self.connected.take() {
            Some(connected) => {
                super::write_record(self.engine, self.prepared, Some(&self.state.started))?;
                connected
            }
            None => {
                self.note_process(process)?;
                super::write_record(self.engine, self.prepared, Some(&self.state.started))?;
                self.connect()?
            }
        };
        let ready = self.engine.service.when_healthy(&record.options);
        self.attendants = equip::attendants(store, record, self.state, connected, ready)?;
        self.tree = HeldTree::of(process);
        Ok(())
    }

    fn while_the_program_starts(&mut self, remains: Vec<OwnedFd>, starts: &dyn Fn() -> bool) -> Result<()> {
        let mut remains = remains;
        match self.waits {
            Some(waits) => waits(&mut remains, starts)?,
            None => remains.clear(),
        }
        self.tree.hold(remains);
        if !starts() {
            attend_early(&mut self.attendants);
        }
        Ok(())
    }

    fn take_notifications(&mut self, _process: &StubProcess, listener: OwnedFd) -> Result<()> {
        let SeccompOption::Watched(socket) = &self.prepared.record.options.security.seccomp else {
            // Nobody was named who wants it: the calls that ask then fail with ENOSYS.
            return Ok(());
        };
        // The watcher is this process's parent, without which the program cannot go on. What
        // was set before, the kernel forgot when the mounts took on other ids (prctl(2),
        // PR_SET_PDEATHSIG).
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
            .map_err(|errno| cais_linux::SysError::new("prctl", "PR_SET_PDEATHSIG", errno))
            .map_err(EngineError::system("end with the watcher"))?;
        send_descriptor(socket, "seccompFd", listener.as_fd())
            .map_err(|error| EngineError::Invalid(super::chain(&error)))
    }
}

fn launch_recorded(
    engine: &Engine,
    prepared: &Prepared,
    mut state: RunState,
    start: &Start<'_>,
    checkpoints: &Checkpoints,
) -> Result<Launched> {
    let mut keeping = Keeping::of(engine, prepared)?;
    if engine.rootless {
        checkpoints.pass("make the places for changes");
        super::write_sources(engine, prepared)?;
    }
    let options = &prepared.record.options;
    let notified = engine.service.open(&engine.store, &prepared.record.id, options)?;
    checkpoints.pass("make the cgroup");
    let group = prepared.begin_group()?;
    let cgroup = group.as_ref().map(Making::clone_into).transpose();
    let cgroup = cgroup.map_err(prepared.failed_group())?.flatten();
    let null = crate::exec::open_null()?;
    let around = Surroundings {
        stdio: [null.as_fd(); 3],
        tasks: Vec::new(),
        cgroup: cgroup.as_ref().map(AsFd::as_fd),
        target: None,
        listener: None,
        timings: start.timings,
        kill_before: checkpoints.stub(),
        checkpoint: &|name| checkpoints.pass(name),
    };
    let begun = begin(&prepared.plan, &around).map_err(EngineError::from)?;
    keeping.begin();
    checkpoints.pass("make the pipes");
    let pipes = match options.tty || start.passed.is_some() {
        true => None,
        false => Some(make_pipes(options.interactive, prepared.owner)?),
    };
    state.pipes = pipes.as_ref().and_then(|pipes| pipes.inodes());
    let theirs = pipes.as_ref().map(|pipes| &pipes.theirs);
    let stdio = theirs.or(start.passed.as_ref());
    let around = Surroundings {
        stdio: stdio.map_or(around.stdio, |streams| streams.each_ref().map(AsFd::as_fd)),
        ..around
    };
    let mut files = Files {
        engine,
        prepared,
        state: &mut state,
        group,
        keeping,
        connected: None,
        attendants: Vec::new(),
        tree: HeldTree::default(),
        waits: start.waits,
        checkpoints,
    };
    let mut running = go_on(begun, &prepared.plan, &around, &mut files)?;
    let (mut attendants, tree) = (files.attendants, files.tree);
    let group = files.group.map(Making::into_group);
    attendants.extend(notified);
    checkpoints.pass("the start is recorded");
    let streams = choose_streams(pipes, running.terminal.take(), start.passed.is_some())?;
    Ok(Launched {
        id: prepared.record.id.clone(),
        tree,
        running,
        streams,
        state,
        group,
        attendants,
        record: prepared.record.clone(),
        is_child: true,
        input_once: options.interactive && !options.detach,
    })
}

/// The program's streams as this process has them.
fn choose_streams(pipes: Option<PipeSet>, terminal: Option<OwnedFd>, are_passed: bool) -> Result<Streams> {
    match (pipes, terminal) {
        (Some(pipes), _) => Ok(pipes.ours),
        (None, Some(master)) => Ok(Streams::Terminal(master)),
        (None, None) if are_passed => Ok(Streams::None),
        (None, None) => Err(EngineError::Invalid(
            "the container opened no terminal: this is a bug in cais".to_owned(),
        )),
    }
}

/// What the journal of events is to say of a start.
pub(super) fn events_of(prepared: &Prepared) -> Vec<Event> {
    let record = &prepared.record;
    let mut all = Vec::new();
    if prepared.is_new {
        all.push(events::of_container(record, "create", &[]));
        if !record.options.detach {
            all.push(events::of_container(record, "attach", &[]));
        }
    }
    let networks = prepared.network.as_ref();
    all.extend(events::of_surroundings(record, networks, true));
    all.push(events::of_container(record, "start", &[]));
    all
}

/// Docker's exit code for a start that failed: 127 where the program is not there, 126
/// where it cannot be executed, 125 for everything else.
#[must_use]
pub fn exit_code(error: &EngineError) -> u8 {
    use cais_runtime::error::CreateError;
    use rustix::io::Errno;
    match error {
        EngineError::Create(CreateError::Execute {
            errno: Errno::NOENT | Errno::NOTDIR,
            ..
        }) => 127,
        EngineError::Create(CreateError::Execute { .. }) => 126,
        EngineError::Monitor { code, .. } => *code,
        _ => 125,
    }
}
