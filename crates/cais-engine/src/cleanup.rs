//! After the end of a run: what it held is given back, in the reverse of the order in
//! which it was taken. Every part is tried; the errors are collected.

use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::names;
use crate::record::{Exit, Record, is_marked_kept};
use crate::state::RunState;
use crate::store::Store;
use crate::userns;
use cais_linux::cgroups::{Group, Layout};
use cais_linux::process::file_tree::TakingApart;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// What whoever gives a run back has of it: else it is looked for.
#[derive(Debug, Default)]
pub struct Known<'a> {
    /// Its cgroup, open.
    pub group: Option<&'a Group>,
    /// Its record, as it is on the disk.
    pub record: Option<&'a Record>,
    /// Its file tree, which is waited for.
    pub tree: TakingApart,
}

/// Gives back what a run held: processes, cgroup, id range, state. The end is recorded
/// where the container stays, on a full disk in the state, which stays then; where it is not
/// to stay it is removed. Doing it again does nothing.
///
/// # Errors
/// The first of the errors met; everything else was tried all the same.
pub fn finish_run(
    store: &Store,
    id: &ContainerId,
    state: &RunState,
    exit: &Exit,
    known: Known<'_>,
) -> Result<()> {
    let mut errors = give_back(store, id, state, known.group);
    let mut is_kept_in_state = false;
    let goes = goes_at_end(store, id, state);
    if !goes && store.container(id).join("container.json").exists() {
        let recorded = exit.write(store, id);
        if recorded.is_err() && state.ended.is_none() {
            // The state mostly lies on another file system, and is there already, with room for
            // a little more: a sweep tries again.
            let ended = RunState {
                ended: Some(exit.clone()),
                ..state.clone()
            };
            let noted = ended.write_at_any_cost(store, id);
            is_kept_in_state = noted.is_ok();
            errors.note(noted);
        }
        is_kept_in_state |= state.ended.is_some();
        // A full disk is no reason to fail where the end is known: what makes room is to work.
        is_kept_in_state &= recorded.as_ref().is_err_and(EngineError::is_full);
        if !is_kept_in_state {
            errors.note(recorded);
        }
    }
    errors.note(remove_file(&store.sockets().join(id.as_str())));
    errors.note(remove_file(&store.healths().join(id.as_str())));
    errors.note(remove_notes(&crate::exec::directory(store, id)));
    errors.note(remove_notes(&crate::service::directory(store, id)));
    if goes {
        errors.note(remove_files(store, id, known.record));
    }
    drop(known.tree);
    // The state goes last: as long as it is there, the next command knows what is left.
    if errors.is_empty() && !is_kept_in_state {
        errors.note(remove_file(&store.state(id)));
    }
    errors.into_result()
}

/// Whether the container is removed at the end of this run.
pub(crate) fn goes_at_end(store: &Store, id: &ContainerId, state: &RunState) -> bool {
    state.remove && !is_marked_kept(store, id)
}

/// Gives back what a run held where the container is to be started again: the state stays
/// and says so.
///
/// # Errors
/// The first of the errors met; everything else was tried all the same.
pub fn pause_between_runs(
    store: &Store,
    id: &ContainerId,
    state: &RunState,
    exit: &Exit,
    group: Option<&Group>,
) -> Result<RunState> {
    let mut errors = give_back(store, id, state, group);
    errors.note(exit.write(store, id));
    errors.note(remove_file(&store.healths().join(id.as_str())));
    errors.note(remove_notes(&crate::exec::directory(store, id)));
    errors.into_result()?;
    let between = RunState {
        init: None,
        cgroup: String::new(),
        id_range: None,
        paused: false,
        restarting: true,
        ..state.clone()
    };
    between.write(store, id)?;
    Ok(between)
}

/// Network, cgroup with what is left in it, range of ids.
fn give_back(store: &Store, id: &ContainerId, state: &RunState, group: Option<&Group>) -> Errors {
    let mut errors = Errors::default();
    errors.note(crate::run::equip::disconnect(store, id, state));
    if !state.cgroup.is_empty() {
        errors.note(match group {
            Some(group) => group
                .remove()
                .map_err(EngineError::cgroup(format!("remove the cgroup {}", state.cgroup))),
            None => remove_cgroup(&state.cgroup),
        });
    }
    if let Some(index) = state.id_range {
        errors.note(userns::release(store, index));
    }
    errors
}

/// Removes a cgroup from every hierarchy; what is left in it is killed.
fn remove_cgroup(path: &str) -> Result<()> {
    let layout = Layout::read().map_err(EngineError::system("find the cgroup hierarchies"))?;
    let group = Group::open_existing(&layout, path)
        .map_err(EngineError::cgroup(format!("open the cgroup {path}")))?;
    let Some(group) = group else { return Ok(()) };
    group
        .remove()
        .map_err(EngineError::cgroup(format!("remove the cgroup {path}")))
}

/// Removes a container that does not run: its name, then its files. The record goes
/// first, so that a removal that breaks off leaves something that is plainly half made.
/// Where it was made with `--rm`, the volumes that are its own go along.
///
/// # Errors
/// The first of the errors met.
pub fn remove_container(store: &Store, id: &ContainerId) -> Result<()> {
    remove_files(store, id, None)?;
    remove_file(&store.state(id))
}

/// Removes what outlives a run. A removal that breaks off is found by the state, or by
/// the missing record.
fn remove_files(store: &Store, id: &ContainerId, known: Option<&Record>) -> Result<()> {
    let mut errors = Errors::default();
    let read = match known {
        Some(_) => None,
        // One that cannot be read is removed like one that is not there.
        None => Record::read(store, id).unwrap_or_default(),
    };
    let record = known.or(read.as_ref());
    let directory = store.container(id);
    let own = record.filter(|record| record.options.remove);
    if let Some(record) = own {
        // Without the record a sweep finds them by this.
        errors.note(crate::volumes::mark_anonymous(store, &record.options));
    }
    errors.note(remove_file(&directory.join("container.json")));
    if let Some(record) = record {
        errors.note(names::release(store, &record.name, id));
    }
    errors.note(remove_tree(&directory));
    if let Some(record) = own {
        errors.note(crate::volumes::remove_anonymous(store, &record.options));
    }
    errors.into_result()
}

/// Removes a directory of small files of ours, where there is one.
fn remove_notes(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(EngineError::store(format!("remove {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}

fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(EngineError::Store {
            action: format!("remove {}", path.display()),
            source: error,
        }),
        _ => Ok(()),
    }
}

/// Removes a directory with everything in it; one that is not there is no error. It
/// goes by descriptors and follows no link (`std::fs::remove_dir_all`, CVE-2022-21658).
fn remove_tree(path: &Path) -> Result<()> {
    if !rustix::process::geteuid().is_root() && path.exists() {
        // overlayfs leaves a directory without any mode, and the container others' files.
        return crate::rootless::remove_tree(path);
    }
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(EngineError::Store {
            action: format!("remove {}", path.display()),
            source: error,
        }),
        _ => Ok(()),
    }
}

/// The first of several errors.
#[derive(Debug, Default)]
struct Errors(Option<EngineError>);

impl Errors {
    fn note(&mut self, result: Result<()>) {
        if let Err(error) = result {
            self.0.get_or_insert(error);
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn into_result(self) -> Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}
