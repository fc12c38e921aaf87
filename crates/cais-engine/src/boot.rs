//! After the boot and before the end of the machine: restart policies, and the unit or
//! script that has them applied.

use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::list;
use crate::record::is_marked_stopped;
use crate::run::start_detached;
use crate::state::Status;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// What [`start_all`] did.
#[derive(Debug, Default)]
pub struct StartedAll {
    /// The names of the containers that were started.
    pub started: Vec<String>,
    /// Those that were not, and why.
    pub failed: Vec<(String, EngineError)>,
}

/// Starts every container whose policy wants it, the oldest first.
///
/// # Errors
/// Where the containers cannot be listed.
pub fn start_all(engine: &Engine) -> Result<StartedAll> {
    let mut all = list::containers(&engine.store)?;
    all.reverse();
    let mut done = StartedAll::default();
    for container in all {
        let Status::Exited(exit) = &container.status else {
            continue;
        };
        let record = container.record;
        let stopped = is_marked_stopped(&engine.store, &record.id);
        if !record.options.restart.wants_start_at_boot(exit.code, stopped) {
            continue;
        }
        match start_detached(engine, &record.id) {
            Ok(()) => done.started.push(record.name),
            Err(error) => done.failed.push((record.name, error)),
        }
    }
    Ok(done)
}

/// Ends every container that runs, without a word about it in its record: its policy starts
/// it again at the next boot. All are asked first and waited for then.
///
/// # Errors
/// Where the containers cannot be listed, or the first error of ending one.
pub fn stop_all(engine: &Engine) -> Result<()> {
    let mut first = Ok(());
    let mut note = |result: Result<()>| {
        if first.is_ok() {
            first = result;
        }
    };
    let mut asked = Vec::new();
    for container in list::with_state(&engine.store)? {
        let id = container.record.id;
        let was_stopped = is_marked_stopped(&engine.store, &id);
        let ending = crate::stop::ask(&engine.store, id.as_str(), None, None);
        asked.push((id, was_stopped, ending));
    }
    for (id, was_stopped, ending) in asked {
        note(ending.and_then(|ending| ending.map_or(Ok(()), |ending| ending.finish(&engine.store))));
        if !was_stopped {
            note(crate::record::clear_notes(&engine.store, &id));
        }
    }
    first
}

/// Where the unit is put, and by what it is started.
const UNIT: &str = "etc/systemd/system/cais.service";
const WANTED: &str = "etc/systemd/system/multi-user.target.wants/cais.service";
const SCRIPT: &str = "etc/init.d/cais";

fn unit(program: &Path) -> String {
    format!(
        "[Unit]
Description=Containers of cais that are to run after the boot
Documentation=man:cais(1)
After=network-online.target local-fs.target
Wants=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={program} system start-all
ExecStop={program} system stop-all
# Each container has a process and a cgroup of its own, and outlives this unit.
KillMode=process

[Install]
WantedBy=multi-user.target
",
        program = program.display()
    )
}

fn script(program: &Path) -> String {
    format!(
        "#!/bin/sh
### BEGIN INIT INFO
# Provides:          cais
# Required-Start:    $local_fs $network
# Required-Stop:     $local_fs $network
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: Containers of cais that are to run after the boot
### END INIT INFO
case \"$1\" in
start) exec {program} system start-all ;;
stop) exec {program} system stop-all ;;
restart | force-reload) {program} system stop-all && exec {program} system start-all ;;
*) echo \"usage: $0 start|stop|restart\" >&2; exit 2 ;;
esac
",
        program = program.display()
    )
}

/// What [`install`] wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The file.
    pub path: PathBuf,
    /// Whether it is a unit of systemd.
    pub is_unit: bool,
}

/// Writes the unit, switched on, or the script where there is no systemd. `root` is the
/// machine's root. Doing it again changes nothing.
///
/// # Errors
/// Where a file cannot be written.
pub fn install(root: &Path, program: &Path) -> Result<Installed> {
    let is_unit = root.join("etc/systemd/system").is_dir();
    let (name, text, mode) = if is_unit {
        (UNIT, unit(program), 0o644)
    } else {
        (SCRIPT, script(program), 0o755)
    };
    let path = root.join(name);
    let failed = |path: &Path| EngineError::store(format!("write {}", path.display()));
    let make_parent = |path: &Path| {
        path.parent().map_or(Ok(()), |parent| {
            fs::create_dir_all(parent).map_err(failed(parent))
        })
    };
    make_parent(&path)?;
    fs::write(&path, text).map_err(failed(&path))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(failed(&path))?;
    if is_unit {
        let link = root.join(WANTED);
        make_parent(&link)?;
        match symlink("../cais.service", &link) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(failed(&link)(error));
            }
            _ => {}
        }
    }
    Ok(Installed { path, is_unit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_where_there_is_systemd_and_a_script_elsewhere() {
        let base = std::env::temp_dir().join(format!("cais-boot-{}", std::process::id()));
        fs::create_dir_all(base.join("a/etc/systemd/system")).unwrap();
        fs::create_dir_all(base.join("b")).unwrap();
        let program = Path::new("/usr/bin/cais");
        for _ in 0..2 {
            let unit = install(&base.join("a"), program).unwrap();
            assert!(unit.is_unit);
            assert!(
                fs::read_to_string(base.join("a").join(WANTED))
                    .unwrap()
                    .contains("/usr/bin/cais system start-all")
            );
            let script = install(&base.join("b"), program).unwrap();
            assert_eq!(
                (script.is_unit, script.path),
                (false, base.join("b").join(SCRIPT))
            );
        }
        fs::remove_dir_all(base).unwrap();
    }
}
