//! The conversation with systemd: units, and the jobs that start and stop them.

use super::address::{Endpoint, plan_system, plan_user};
use super::connection::{Call, Connection, first_text, text};
use super::dbus::{self, Message, Value};
use super::properties::{Property, PropertyValue};
use super::{SystemdError, UnitName};
use std::time::Instant;

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MATCH: &str = "type='signal',sender='org.freedesktop.systemd1',path='/org/freedesktop/systemd1',\
    interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";

/// A connection to systemd, directly or over a message bus. An answer, and the end of a
/// job, is waited for 30 s.
#[derive(Debug)]
pub struct Bus {
    connection: Connection,
    /// Whether the ends of jobs come to us.
    subscribed: bool,
}

impl Bus {
    /// Connects to the manager of the system: as root to its own socket, without a bus; else,
    /// or where that fails, over the system bus (`DBUS_SYSTEM_BUS_ADDRESS`).
    ///
    /// # Errors
    /// When nobody listens, or lets us in: with an error for each address.
    pub fn connect_system() -> Result<Self, SystemdError> {
        let root = rustix::process::geteuid().is_root();
        let address = std::env::var_os("DBUS_SYSTEM_BUS_ADDRESS");
        Self::connect_first(&plan_system(root, address)?)
    }

    /// Connects to the manager of the user: over the session bus
    /// (`DBUS_SESSION_BUS_ADDRESS`, `$XDG_RUNTIME_DIR/bus`), or to its own socket.
    ///
    /// # Errors
    /// When nobody listens, or lets us in: with an error for each address.
    pub fn connect_user() -> Result<Self, SystemdError> {
        let uid = rustix::process::geteuid().as_raw();
        let address = std::env::var_os("DBUS_SESSION_BUS_ADDRESS");
        let runtime = std::env::var_os("XDG_RUNTIME_DIR");
        Self::connect_first(&plan_user(uid, address, runtime)?)
    }

    fn connect_first(endpoints: &[Endpoint]) -> Result<Self, SystemdError> {
        let mut errors = Vec::new();
        for endpoint in endpoints {
            let connected = endpoint
                .connect()
                .and_then(|stream| Connection::greet(stream, endpoint.to_string(), endpoint.direct));
            match connected {
                Ok(connection) => return Ok(Self::over(connection)),
                Err(error) => errors.push(error),
            }
        }
        Err(SystemdError::Unreachable(errors))
    }

    pub(super) fn over(connection: Connection) -> Self {
        Self {
            connection,
            subscribed: false,
        }
    }

    /// Starts a transient unit and waits until it is there.
    ///
    /// A scope is put into its slice and takes in the process `pid`, which it needs; with
    /// `delegate` what is below its group is ours. A slice takes no process (`pid` 0), is
    /// not delegated, and pulls in the slice above it. `extra` is as from
    /// [`super::plan_properties`], and wins over what is set here.
    ///
    /// A unit of that name that failed once is cleared away first.
    ///
    /// # Errors
    /// [`SystemdError::is_unit_exists`] when there is such a unit; [`SystemdError::Job`]
    /// when the job does not end with "done"; [`SystemdError::Timeout`] after 30 s.
    #[allow(
        clippy::too_many_arguments,
        reason = "each is a property of the unit that every caller has to decide about"
    )]
    pub fn start_transient_unit(
        &mut self,
        unit: &UnitName,
        description: &str,
        pid: u32,
        delegate: bool,
        extra: &[Property],
    ) -> Result<(), SystemdError> {
        const START: &str = "StartTransientUnit";
        let mut properties = plan_start(unit, description, pid, delegate);
        properties.extend_from_slice(extra);
        let body = vec![
            text(&unit.unit),
            text("replace"),
            list(&properties),
            // Units that come along with it.
            Value::Array("(sa(sv))".into(), vec![]),
        ];
        let mut started = self.run_job(START, &unit.unit, body.clone());
        let exists = started.as_ref().is_err_and(SystemdError::is_unit_exists);
        if exists && self.reset_failed_unit(&unit.unit).is_ok() {
            started = self.run_job(START, &unit.unit, body);
        }
        if let Err(SystemdError::Job { .. } | SystemdError::Timeout { .. }) = &started {
            // So that nothing of it stays behind. It is the failure that matters.
            let forget = manager_call("ResetFailedUnit", vec![text(&unit.unit)]);
            self.connection.tell(forget).ok();
        }
        started
    }

    /// Stops a unit, waits until it is gone and forgets that it may have failed. One that
    /// is not there (any more) is no error.
    ///
    /// # Errors
    /// When systemd refuses, when the job does not end with "done", and after 30 s.
    pub fn stop_unit(&mut self, unit: &str) -> Result<(), SystemdError> {
        let stopped = match self.run_job("StopUnit", unit, vec![text(unit), text("replace")]) {
            Err(error) if error.is_no_such_unit() => Ok(()),
            stopped => stopped,
        };
        // A unit that failed stays until this is said; also where stopping did not go well.
        let forgotten = self.reset_failed_unit(unit);
        stopped.and(forgotten)
    }

    /// Forgets that a unit failed, so that systemd removes it. One that is not there is no
    /// error.
    ///
    /// # Errors
    /// When systemd refuses.
    pub fn reset_failed_unit(&mut self, unit: &str) -> Result<(), SystemdError> {
        match self.call_manager("ResetFailedUnit", vec![text(unit)]) {
            Err(error) if !error.is_no_such_unit() => Err(error),
            _ => Ok(()),
        }
    }

    /// Changes properties of a unit until the machine stops (`Runtime=`), not beyond.
    ///
    /// # Errors
    /// When systemd does not know a property, or not the unit, or refuses a value: then none
    /// is changed.
    pub fn set_unit_properties(&mut self, unit: &str, properties: &[Property]) -> Result<(), SystemdError> {
        if properties.is_empty() {
            return Ok(());
        }
        let body = vec![text(unit), Value::Bool(true), list(properties)];
        self.call_manager("SetUnitProperties", body).map(|_| ())
    }

    /// The group of a scope or slice, from the root of the hierarchy:
    /// `/system.slice/cais-web.scope`. It is empty while the unit does not run.
    ///
    /// # Errors
    /// [`SystemdError::is_no_such_unit`] when there is none.
    pub fn unit_cgroup(&mut self, unit: &str) -> Result<String, SystemdError> {
        let reply = self.call_manager("GetUnit", vec![text(unit)])?;
        let path = first_text(&reply)?;
        let kind = if unit.ends_with(".slice") {
            "Slice"
        } else {
            "Scope"
        };
        self.property(&path, &format!("{SYSTEMD}.{kind}"), "ControlGroup")
    }

    /// The group that the manager's units are below: empty for that of the system,
    /// `/user.slice/user-1000.slice/user@1000.service` for that of a user.
    ///
    /// # Errors
    /// When systemd does not answer.
    pub fn manager_cgroup(&mut self) -> Result<String, SystemdError> {
        let group = self.property(MANAGER_PATH, MANAGER, "ControlGroup")?;
        Ok(group.trim_end_matches('/').to_owned())
    }

    /// systemd's version: 252 for `252.38-1~deb12u1`; 0 when it has no number.
    ///
    /// # Errors
    /// When systemd does not answer.
    pub fn version(&mut self) -> Result<u32, SystemdError> {
        let version = self.property(MANAGER_PATH, MANAGER, "Version")?;
        Ok(parse_version(&version))
    }

    /// Moves a process into the group of a delegated unit, or into the group `below` it
    /// (an absolute path from the unit's; empty is the unit's own). It is what a user asks
    /// for who may not write both groups' `cgroup.procs`.
    ///
    /// # Errors
    /// When the unit is not delegated, not running, or not ours.
    pub fn add_process_to_unit(&mut self, unit: &str, below: &str, pid: u32) -> Result<(), SystemdError> {
        let below = match below.trim_matches('/') {
            "" => String::new(),
            below => format!("/{below}"),
        };
        let pids = Value::Array("u".into(), vec![Value::U32(pid)]);
        self.call_manager("AttachProcessesToUnit", vec![text(unit), text(&below), pids])
            .map(|_| ())
    }

    /// Asks for the ends of jobs, once: systemd sends them only to who subscribed, and a
    /// bus only what was asked of it.
    fn subscribe(&mut self) -> Result<(), SystemdError> {
        if self.subscribed {
            return Ok(());
        }
        if !self.connection.direct {
            self.connection.call_bus("AddMatch", vec![text(MATCH)])?;
        }
        match self.call_manager("Subscribe", vec![]) {
            Err(error) if !error.is_refusal("org.freedesktop.systemd1.AlreadySubscribed") => {
                return Err(error);
            }
            _ => self.subscribed = true,
        }
        Ok(())
    }

    /// Calls a method that answers with a job, and waits for the job's end.
    fn run_job(&mut self, member: &str, unit: &str, body: Vec<Value>) -> Result<(), SystemdError> {
        self.subscribe()?;
        // The end of the job may be there before the answer, but not before the call.
        self.connection.signals.clear();
        let call = manager_call(member, body);
        let described = call.describe();
        let reply = self.connection.call(call)?;
        let job = first_text(&reply)?;
        let deadline = Instant::now() + self.connection.patience;
        let result = loop {
            let signal = self.connection.signal(&described, deadline)?;
            // Anybody on a bus may send us a signal; the one who answered is systemd.
            let from_systemd =
                self.connection.direct || signal.text(dbus::SENDER) == reply.text(dbus::SENDER);
            if let Some(result) = job_result(&signal, &job).filter(|_| from_systemd) {
                break result.to_owned();
            }
        };
        if result == "done" {
            return Ok(());
        }
        Err(SystemdError::Job {
            unit: unit.to_owned(),
            result,
        })
    }

    /// A property that is a string.
    fn property(&mut self, path: &str, interface: &str, name: &str) -> Result<String, SystemdError> {
        let reply = self.connection.call(Call {
            destination: SYSTEMD,
            path,
            interface: PROPERTIES,
            member: "Get",
            body: vec![text(interface), text(name)],
        })?;
        match reply.body.first() {
            Some(Value::Variant(value)) => value.text().map(str::to_owned),
            _ => None,
        }
        .ok_or(SystemdError::Malformed("a property that is no string"))
    }

    fn call_manager(&mut self, member: &str, body: Vec<Value>) -> Result<Message, SystemdError> {
        self.connection.call(manager_call(member, body))
    }
}

fn manager_call(member: &str, body: Vec<Value>) -> Call<'_> {
    Call {
        destination: SYSTEMD,
        path: MANAGER_PATH,
        interface: MANAGER,
        member,
        body,
    }
}

/// How `job` ended, when that is what the signal says.
fn job_result<'a>(signal: &'a Message, job: &str) -> Option<&'a str> {
    if signal.text(dbus::INTERFACE) != MANAGER || signal.text(dbus::MEMBER) != "JobRemoved" {
        return None;
    }
    // The number, the job, the unit, the result.
    match &signal.body[..] {
        [_, of, _, result] if of.text() == Some(job) => result.text(),
        _ => None,
    }
}

/// What a unit of ours is started with.
fn plan_start(unit: &UnitName, description: &str, pid: u32, delegate: bool) -> Vec<Property> {
    let mut properties = vec![Property::new(
        "Description",
        PropertyValue::Text(description.to_owned()),
    )];
    if unit.is_slice() {
        // What slice it is in follows from its name.
        let above = PropertyValue::TextList(vec![unit.slice.clone()]);
        properties.push(Property::new("Wants", above));
    } else {
        properties.push(Property::new("Slice", PropertyValue::Text(unit.slice.clone())));
        properties.push(Property::new("Delegate", PropertyValue::Bool(delegate)));
    }
    if pid != 0 {
        properties.push(Property::new("PIDs", PropertyValue::U32List(vec![pid])));
    }
    // Always, and now: a controller that is turned on later has not counted what was before.
    for name in [
        "MemoryAccounting",
        "CPUAccounting",
        "IOAccounting",
        "TasksAccounting",
    ] {
        properties.push(Property::new(name, PropertyValue::Bool(true)));
    }
    properties.push(Property::new("DefaultDependencies", PropertyValue::Bool(false)));
    properties
}

fn parse_version(version: &str) -> u32 {
    let digits = version.trim_start_matches('v');
    let end = digits
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(digits.len());
    digits[..end].parse().unwrap_or(0)
}

fn list(properties: &[Property]) -> Value {
    Value::Array("(sv)".into(), properties.iter().map(Property::to_value).collect())
}

#[cfg(test)]
mod tests;
