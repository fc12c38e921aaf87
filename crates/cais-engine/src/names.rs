//! Names of containers: links in one directory, made atomically, so that a name is
//! never taken twice.

use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::lock::ContainerLock;
use crate::record::Record;
use crate::store::Store;
use rustix::fs::{FlockOperation, flock};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;

/// Takes `name` for `id`. A name whose holder is not there any more is free.
///
/// # Errors
/// [`EngineError::NameTaken`], or a link that cannot be made.
pub fn take(store: &Store, name: &str, id: &ContainerId) -> Result<()> {
    let link = store.names().join(name);
    if let Some(beginning) = parse_invented(name) {
        check_invented(store, name, id, &beginning)?;
    }
    loop {
        match symlink(format!("../containers/{id}"), &link) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(source) => {
                return Err(EngineError::Store {
                    action: format!("take the name {name:?}"),
                    source,
                });
            }
        }
        match holder(store, name)? {
            // A rename that was killed half way, begun again.
            Some(holder) if holder == *id => return Ok(()),
            Some(holder) if store.container(&holder).exists() && !free_left_behind(store, name, &holder)? => {
                return Err(EngineError::NameTaken {
                    name: name.to_owned(),
                    holder: holder.short().to_owned(),
                });
            }
            Some(holder) => release(store, name, &holder)?,
            None => {}
        }
    }
}

/// A name of the form that is invented needs no link: whether some container has it.
fn check_invented(store: &Store, name: &str, id: &ContainerId, beginning: &str) -> Result<()> {
    for other in store.list()? {
        if other != *id
            && other.as_str().starts_with(beginning)
            && Record::read(store, &other)?.is_some_and(|record| record.name == name)
        {
            return Err(EngineError::NameTaken {
                name: name.to_owned(),
                holder: other.short().to_owned(),
            });
        }
    }
    Ok(())
}

/// Whether the container is complete and has another name than this one.
fn has_other_name(store: &Store, name: &str, id: &ContainerId) -> bool {
    Record::read(store, id).is_ok_and(|record| record.is_some_and(|record| record.name != name))
}

/// Frees a name that a rename left which was killed half way: its container has another one,
/// and nobody is renaming it now. Tells whether it was so.
fn free_left_behind(store: &Store, name: &str, holder: &ContainerId) -> Result<bool> {
    if !has_other_name(store, name, holder) {
        return Ok(false);
    }
    // Whoever renames it holds its lock: by then the record has one name or the other, and
    // until the name is free it stays so.
    let Some(lock) = ContainerLock::acquire(store, holder)? else {
        return Ok(true);
    };
    let left = has_other_name(store, name, holder);
    let freed = if left {
        release(store, name, holder)
    } else {
        Ok(())
    };
    lock.release();
    freed.map(|()| left)
}

/// Frees `name` if `id` has it. Whoever frees a name looks and removes with the directory of
/// names locked, or of two that find a name left over the slower one would take it from who
/// got it in between.
///
/// # Errors
/// Where the link cannot be read or removed.
pub fn release(store: &Store, name: &str, id: &ContainerId) -> Result<()> {
    if holder(store, name)?.as_ref() != Some(id) {
        return Ok(());
    }
    let failed = |source| EngineError::Store {
        action: format!("free the name {name:?}"),
        source,
    };
    let names = fs::File::open(store.names()).map_err(failed)?;
    rustix::io::retry_on_intr(|| flock(&names, FlockOperation::LockExclusive))
        .map_err(|errno| failed(errno.into()))?;
    if holder(store, name)?.as_ref() != Some(id) {
        return Ok(());
    }
    match fs::remove_file(store.names().join(name)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(error)),
        _ => Ok(()),
    }
}

/// Who has `name`.
///
/// # Errors
/// Where the link cannot be read.
pub fn holder(store: &Store, name: &str) -> Result<Option<ContainerId>> {
    match fs::read_link(store.names().join(name)) {
        Ok(target) => Ok(target
            .file_name()
            .and_then(|id| id.to_str())
            .and_then(ContainerId::parse)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => Ok(None),
        Err(source) => Err(EngineError::Store {
            action: format!("read the name {name:?}"),
            source,
        }),
    }
}

/// The container that `text` means: its name, its id, or the beginning of its id.
///
/// # Errors
/// [`EngineError::NoSuchContainer`] and [`EngineError::Ambiguous`].
pub fn find(store: &Store, text: &str) -> Result<ContainerId> {
    if text.is_empty() || text.contains('/') || text.starts_with('.') {
        return Err(EngineError::NoSuchContainer(text.to_owned()));
    }
    if let Some(id) = ContainerId::parse(text).filter(|id| store.container(id).exists()) {
        return Ok(id);
    }
    if let Some(id) = holder(store, text)?.filter(|id| store.container(id).exists())
        && !has_other_name(store, text, &id)
    {
        return Ok(id);
    }
    let beginning = parse_invented(text);
    let asked = text;
    let text = beginning.as_deref().unwrap_or(text);
    let mut matching = store
        .list()?
        .into_iter()
        .filter(|id| id.as_str().starts_with(text));
    match (matching.next(), matching.next()) {
        // One that was renamed is not found by the name that was invented for it.
        (Some(id), None) if beginning.is_some() && has_other_name(store, asked, &id) => {
            Err(EngineError::NoSuchContainer(asked.to_owned()))
        }
        (Some(id), None) => Ok(id),
        (Some(_), Some(_)) => Err(EngineError::Ambiguous(text.to_owned())),
        _ => Err(EngineError::NoSuchContainer(text.to_owned())),
    }
}

const ADJECTIVES: [&str; 16] = [
    "amber", "brisk", "calm", "deep", "early", "fair", "grey", "high", "keen", "light", "mild", "north",
    "quiet", "salt", "steady", "white",
];
const NOUNS: [&str; 16] = [
    "anchor", "buoy", "canoe", "crane", "dock", "ferry", "gull", "harbour", "jetty", "keel", "mast", "pier",
    "quay", "sail", "tide", "wharf",
];

/// A name for a container that was given none: something of a harbour and a number, easy
/// to type. It is made of the first six digits of the id and needs no link: the digits
/// come back out of it (`parse_invented`).
#[must_use]
pub fn invent(id: &ContainerId) -> String {
    let digit = |index: usize| {
        let digit = id.as_str().as_bytes().get(index).copied().unwrap_or(b'0');
        usize::from(if digit.is_ascii_digit() {
            digit - b'0'
        } else {
            digit.wrapping_sub(b'a') + 10
        }) & 15
    };
    let number = id.as_str().get(2..6).unwrap_or("0000");
    format!("{}_{}_{number}", ADJECTIVES[digit(0)], NOUNS[digit(1)])
}

/// The beginning of the id that an invented name was made of.
fn parse_invented(name: &str) -> Option<String> {
    let mut words = name.split('_');
    let (adjective, noun, number) = (words.next()?, words.next()?, words.next()?);
    let first = ADJECTIVES.iter().position(|known| *known == adjective)?;
    let second = NOUNS.iter().position(|known| *known == noun)?;
    let is_number = number.len() == 4 && number.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_number && words.next().is_none()).then(|| format!("{first:x}{second:x}{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(name: &str) -> Store {
        let base = std::env::temp_dir().join(format!("cais-names-{name}-{}", std::process::id()));
        let store = Store::new(base.join("data"), base.join("run"));
        store.ensure().unwrap();
        store
    }

    #[test]
    fn a_name_is_taken_once_and_freed_with_its_holder() {
        let store = store("take");
        let (one, two) = (ContainerId::random().unwrap(), ContainerId::random().unwrap());
        fs::create_dir(store.container(&one)).unwrap();
        take(&store, "web", &one).unwrap();
        assert!(matches!(
            take(&store, "web", &two),
            Err(EngineError::NameTaken { .. })
        ));
        assert_eq!(find(&store, "web").unwrap(), one);
        assert_eq!(find(&store, one.short()).unwrap(), one);
        release(&store, "web", &two).unwrap();
        assert_eq!(holder(&store, "web").unwrap(), Some(one.clone()));
        fs::remove_dir(store.container(&one)).unwrap();
        assert!(matches!(
            find(&store, "web"),
            Err(EngineError::NoSuchContainer(_))
        ));
        take(&store, "web", &two).unwrap();
        fs::remove_dir_all(store.data().parent().unwrap()).unwrap();
    }

    /// Many at once find a name whose container is gone: one gets it, whoever sweeps meanwhile.
    #[test]
    fn a_name_that_was_left_is_taken_once() {
        let store = store("left");
        for _ in 0..1000 {
            let gone = ContainerId::random().unwrap();
            symlink(format!("../containers/{gone}"), store.names().join("web")).unwrap();
            let takers: Vec<ContainerId> = (0..6).map(|_| ContainerId::random().unwrap()).collect();
            let start = std::sync::Barrier::new(takers.len() + 2);
            let taken = std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        start.wait();
                        (0..20).for_each(|_| release(&store, "web", &gone).unwrap());
                    });
                }
                let takers: Vec<_> = takers
                    .iter()
                    .map(|id| {
                        fs::create_dir(store.container(id)).unwrap();
                        scope.spawn(|| {
                            start.wait();
                            take(&store, "web", id).is_ok()
                        })
                    })
                    .collect();
                takers
                    .into_iter()
                    .map(|taker| usize::from(taker.join().unwrap()))
                    .sum::<usize>()
            });
            assert_eq!(taken, 1);
            fs::remove_file(store.names().join("web")).unwrap();
        }
        fs::remove_dir_all(store.data().parent().unwrap()).unwrap();
    }

    #[test]
    fn an_invented_name_leads_back_to_its_id() {
        let store = store("invent");
        let id = ContainerId::random().unwrap();
        assert_eq!(parse_invented(&invent(&id)).as_deref(), id.as_str().get(..6));
        fs::create_dir(store.container(&id)).unwrap();
        assert_eq!(find(&store, &invent(&id)).unwrap(), id);
        for other in [
            "web",
            "amber_anchor",
            "amber_anchor_00001",
            "amber_moon_0000",
            "amber_anchor_000g",
        ] {
            assert_eq!(parse_invented(other), None, "{other}");
        }
        fs::remove_dir_all(store.data().parent().unwrap()).unwrap();
    }

    #[test]
    fn paths_are_no_names() {
        let store = store("paths");
        for bad in ["", "../containers", "/", ".", "a/b"] {
            assert!(
                matches!(find(&store, bad), Err(EngineError::NoSuchContainer(_))),
                "{bad}"
            );
        }
        fs::remove_dir_all(store.data().parent().unwrap()).unwrap();
    }
}
