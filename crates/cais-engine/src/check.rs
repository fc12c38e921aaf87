//! The check of everything that is kept: the store of images, and the containers.

use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::lock::ContainerLock;
use crate::options::RootSource;
use crate::record::{Exit, Record};
use crate::sweep::{self, Sweep};
use crate::{images, names};
use std::fs;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What, on what.
    pub problem: String,
    /// Whether it was put right.
    pub repaired: bool,
    /// What the user can do about it, where it was not.
    pub advice: Option<String>,
}

/// Checks everything: reads all blobs, looks at all layers, names and containers. With
/// `repair`, puts right what can be without losing what a user made.
///
/// # Errors
/// Where something cannot be read or removed; what is wrong is no error.
pub fn check(engine: &Engine, repair: bool) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    // Containers first: what is half made holds no image.
    for id in engine.store.list()? {
        check_container(engine, &id, repair, &mut findings)?;
    }
    check_strays(engine, repair, &mut findings)?;
    check_names(engine, repair, &mut findings)?;
    let store = images::open(engine)?;
    let found = store
        .check(repair, &images::in_use(engine)?)
        .map_err(EngineError::image("check the store of images"))?;
    for finding in found {
        findings.push(Finding {
            problem: finding.problem.to_string(),
            repaired: finding.repaired,
            advice: None,
        });
    }
    if repair && let Err(error) = Sweep::of(&engine.store, false).finish() {
        // What was found is worth more than that this failed.
        findings.push(Finding {
            problem: crate::run::chain(&error),
            repaired: false,
            advice: None,
        });
    }
    Ok(findings)
}

fn check_container(
    engine: &Engine,
    id: &ContainerId,
    repair: bool,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let store = &engine.store;
    let directory = store.container(id);
    let record = match Record::read(store, id) {
        Ok(Some(record)) => record,
        Ok(None) => {
            // Somebody who is making it holds its lock.
            let Some(lock) = ContainerLock::try_acquire(store, id)? else {
                return Ok(());
            };
            lock.release();
            if repair {
                sweep::sweep_container(store, id)?;
            }
            findings.push(Finding {
                problem: format!("container {} was never completed", id.short()),
                repaired: repair,
                advice: None,
            });
            return Ok(());
        }
        Err(EngineError::Damaged { path, detail }) => {
            findings.push(Finding {
                problem: format!("{path} is damaged: {detail}"),
                repaired: false,
                advice: Some(format!(
                    "what the container wrote is in {}: save it and remove the directory",
                    directory.join("upper").display()
                )),
            });
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    if let Err(EngineError::Damaged { path, detail }) = Exit::read(store, id) {
        if repair {
            fs::remove_file(&path).map_err(EngineError::store(format!("remove {path}")))?;
        }
        findings.push(Finding {
            problem: format!("{path} is damaged: {detail}"),
            repaired: repair,
            advice: None,
        });
    }
    check_root(engine, &record, repair, findings)?;
    if names::find(store, &record.name).ok().as_ref() != Some(id) {
        let taken = repair && names::take(store, &record.name, id).is_ok();
        findings.push(Finding {
            problem: format!(
                "the name {:?} does not lead to its container {}",
                record.name,
                id.short()
            ),
            repaired: taken,
            advice: Some("remove or rename the container that has the name".to_owned()),
        });
    }
    Ok(())
}

/// Whether everything is there that the root of a container is made of.
fn check_root(engine: &Engine, record: &Record, repair: bool, findings: &mut Vec<Finding>) -> Result<()> {
    let id = record.id.short();
    if let RootSource::Image { name, layers, .. } = &record.options.root {
        for layer in layers.iter().filter(|layer| !layer.is_dir()) {
            findings.push(Finding {
                problem: format!("container {id} lacks {} of its image", layer.display()),
                repaired: false,
                advice: Some(format!("cais pull {name}")),
            });
        }
    }
    let writes_in_place = matches!(record.options.root, RootSource::Directory { writable: true, .. });
    let directory = engine.store.container(&record.id);
    for (name, mode) in [("upper", 0o755), ("work", 0o700)] {
        let path = directory.join(name);
        if writes_in_place || path.is_dir() {
            continue;
        }
        if repair {
            use std::os::unix::fs::DirBuilderExt;
            let made = fs::DirBuilder::new().mode(mode).create(&path);
            made.map_err(EngineError::store(format!("make {}", path.display())))?;
        }
        findings.push(Finding {
            problem: format!("container {id} has no directory {name:?}"),
            repaired: repair,
            advice: None,
        });
    }
    Ok(())
}

/// What lies among the containers and is none.
fn check_strays(engine: &Engine, repair: bool, findings: &mut Vec<Finding>) -> Result<()> {
    let directory = engine.store.containers();
    let Ok(entries) = fs::read_dir(&directory) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.to_str().and_then(ContainerId::parse).is_some() {
            continue;
        }
        let path = entry.path();
        // A directory may be somebody's work: it is only named.
        let is_file = entry.file_type().is_ok_and(|kind| !kind.is_dir());
        if repair && is_file {
            fs::remove_file(&path).map_err(EngineError::store(format!("remove {}", path.display())))?;
        }
        findings.push(Finding {
            problem: format!("{} does not belong there", path.display()),
            repaired: repair && is_file,
            advice: Some("look at it and remove it".to_owned()),
        });
    }
    Ok(())
}

/// Names that lead nowhere.
fn check_names(engine: &Engine, repair: bool, findings: &mut Vec<Finding>) -> Result<()> {
    let store = &engine.store;
    let Ok(entries) = fs::read_dir(store.names()) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let holder = names::holder(store, &name)?;
        if holder.as_ref().is_some_and(|id| store.container(id).exists()) {
            continue;
        }
        match holder {
            Some(id) if repair => names::release(store, &name, &id)?,
            // No link of ours at all.
            None if repair => fs::remove_file(entry.path())
                .map_err(EngineError::store(format!("remove {}", entry.path().display())))?,
            _ => {}
        }
        findings.push(Finding {
            problem: format!("the name {name:?} leads to no container"),
            repaired: repair,
            advice: None,
        });
    }
    Ok(())
}
