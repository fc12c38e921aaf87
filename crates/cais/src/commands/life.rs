//! `cais attach`, `restart`, `pause`, `unpause`, `rename`, `update`, `wait`.

use super::stop::number;
use super::{detach_keys, engine, for_each, has_terminal, privileged_engine, sweep};
use crate::failure::Failure;
use crate::output::print;
use cais::cli::{AttachArgs, NamesArgs, RenameArgs, RestartArgs, UpdateArgs, WaitArgs};
use cais_engine::attach::{AttachOptions, attach as watch};
use cais_engine::change::{self, Update};
use cais_engine::engine::Engine;
use cais_engine::options::process::{check_name, parse_label};
use cais_engine::options::{LimitOptions, restart as policy, size};
use cais_engine::record::mark_kept;
use cais_engine::run::start_detached;
use cais_engine::state::Status;
use cais_engine::wait::{Condition, Waited};
use cais_engine::{EngineError, events, list, pause as freeze, stop, wait as waiting};

pub(crate) fn attach(args: &AttachArgs) -> Result<u8, Failure> {
    let engine = privileged_engine()?;
    sweep(&engine);
    let keys = detach_keys(&engine, args.detach_keys.as_ref())?;
    if !args.no_stdin && !has_terminal() {
        let container = list::container(&engine.store, &args.container)?;
        if container.record.options.tty && matches!(container.status, Status::Running { .. }) {
            return Err(Failure::no_terminal());
        }
    }
    let options = AttachOptions {
        input: !args.no_stdin,
        sig_proxy: args.sig_proxy,
        keys,
    };
    Ok(watch(&engine, &args.container, &options)?.unwrap_or(0))
}

/// `start --attach` of a container that runs already.
pub(super) fn attach_to(engine: &Engine, name: &str, input: bool, keys: Vec<u8>) -> Result<u8, Failure> {
    let options = AttachOptions {
        input,
        sig_proxy: true,
        keys,
    };
    Ok(watch(engine, name, &options)?.unwrap_or(0))
}

pub(crate) fn restart(args: &RestartArgs) -> Result<u8, Failure> {
    let engine = privileged_engine()?;
    sweep(&engine);
    let signal = args.signal.as_deref().map(number).transpose()?;
    let timeout = args.time.map(stop::seconds);
    for_each(&args.containers, |name| {
        let container = list::container(&engine.store, name)?;
        let id = container.record.id.as_str();
        if container.record.options.remove && container.state.is_some() {
            mark_kept(&engine.store, &container.record.id)?;
        }
        stop::stop(&engine.store, id, signal, timeout)?;
        start_detached(&engine, &container.record.id)?;
        events::container(&engine.store, &container.record, "restart", &[]);
        Ok(())
    })
}

pub(crate) fn pause(args: &NamesArgs) -> Result<u8, Failure> {
    let engine = privileged_engine()?;
    sweep(&engine);
    for_each(&args.containers, |name| Ok(freeze::pause(&engine, name)?))
}

pub(crate) fn unpause(args: &NamesArgs) -> Result<u8, Failure> {
    let engine = privileged_engine()?;
    sweep(&engine);
    for_each(&args.containers, |name| Ok(freeze::unpause(&engine, name)?))
}

pub(crate) fn rename(args: &RenameArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    sweep(&engine);
    let new = check_name(args.name.trim_start_matches('/')).map_err(|error| {
        let text = error.to_string();
        Failure::new(text.trim_start_matches("--name: ").to_owned())
    })?;
    change::rename(&engine, &args.container, &new)?;
    Ok(0)
}

pub(crate) fn update(args: &UpdateArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    sweep(&engine);
    let update = Update {
        limits: limits(args)?,
        restart: args
            .restart
            .as_deref()
            .map(|text| policy::parse_restart(text).map_err(|error| Failure::from(error).code(1)))
            .transpose()?,
        add_labels: args
            .label_add
            .iter()
            .map(|text| parse_label(text))
            .collect::<Result<_, _>>()?,
        remove_labels: args.label_rm.clone(),
    };
    // One that is 0 is given, and changes nothing.
    let zeros = [&args.cpus, &args.memory, &args.memory_reservation];
    let nothing = zeros.into_iter().all(Option::is_none)
        && args.cpu_period.is_none()
        && update.limits == LimitOptions::default()
        && update.restart.is_none()
        && update.add_labels.is_empty()
        && update.remove_labels.is_empty();
    if nothing {
        return Err(Failure::new(
            "you must provide one or more flags when using this command",
        ));
    }
    for_each(&args.containers, |name| {
        Ok(change::update(&engine, name, &update)?)
    })
}

fn limits(args: &UpdateArgs) -> Result<LimitOptions, Failure> {
    let bytes = |flag, text: &Option<String>| {
        let given = text.as_deref().filter(|text| !size::is_zero(text));
        given.map(|text| size::parse_size(flag, text)).transpose()
    };
    let list = |flag, text: &Option<String>| {
        text.as_deref()
            .map(|text| size::check_cpu_list(flag, text))
            .transpose()
    };
    Ok(LimitOptions {
        memory: bytes("--memory", &args.memory)?,
        memory_swap: args
            .memory_swap
            .as_deref()
            .map(|text| size::parse_size_or_unlimited("--memory-swap", text))
            .transpose()?,
        memory_reservation: bytes("--memory-reservation", &args.memory_reservation)?,
        nano_cpus: size::parse_some_cpus(args.cpus.as_deref())?,
        cpu_shares: args.cpu_shares,
        cpu_period: args.cpu_period.filter(|period| *period != 0),
        cpu_quota: args.cpu_quota,
        cpu_rt_period: args.cpu_rt_period,
        cpu_rt_runtime: args.cpu_rt_runtime,
        cpuset_cpus: list("--cpuset-cpus", &args.cpuset_cpus)?,
        cpuset_mems: list("--cpuset-mems", &args.cpuset_mems)?,
        pids: args.pids_limit,
        blkio_weight: args.blkio_weight,
        ..LimitOptions::default()
    })
}

pub(crate) fn wait(args: &WaitArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    let condition = Condition::parse(&args.condition).ok_or_else(|| {
        Failure::new(format!(
            "--condition: {:?} is not not-running, next-exit, removed or healthy",
            args.condition
        ))
    })?;
    let mut failed = 0;
    for name in &args.containers {
        match waiting::wait(&engine.store, name, condition) {
            Ok(Waited::Healthy) => print("healthy\n")?,
            Ok(Waited::Ended(code)) if condition == Condition::Healthy => {
                let code = code.map_or("unknown".to_owned(), |code| code.to_string());
                let ended = EngineError::Invalid(format!(
                    "container {name} ended with status {code} before it was healthy"
                ));
                failed = Failure::from(ended).show();
            }
            Ok(Waited::Ended(Some(code))) => print(&format!("{code}\n"))?,
            Ok(Waited::Ended(None)) => print("unknown\n")?,
            Err(error) => failed = Failure::from(error).show(),
        }
    }
    Ok(failed)
}
