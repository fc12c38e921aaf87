//! What a plan needs, opened: layers, trees, devices, namespaces.

use super::Surroundings;
use crate::error::CreateError;
use crate::plan::Plan;
use crate::plan::sources::{MapIds, Source};
use cais_linux::SysError;
use cais_linux::mounts::overlay::{self, Mapping};
use cais_linux::mounts::tree;
use cais_linux::process::userns;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;

/// The descriptor of a source that the caller lends.
pub(super) fn lent<'a>(source: &Source, around: &Surroundings<'a>) -> Option<BorrowedFd<'a>> {
    match source {
        Source::Stdio(index) => around.stdio.get(*index).copied(),
        Source::Tasks(index) => around.tasks.get(*index).copied(),
        Source::Target => around.target,
        Source::Listener => around.listener,
        _ => None,
    }
}

/// Something that a slot refers to: opened here, or lent by the caller.
pub(super) enum Opened<'a> {
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

/// Opens sources of the plan. What they were made of goes to `remains`.
pub(super) fn open_sources<'a>(
    plan: &Plan,
    around: &Surroundings<'a>,
    userns: Option<&OwnedFd>,
    sources: &[Source],
    remains: &mut Vec<OwnedFd>,
) -> Result<Vec<Opened<'a>>, CreateError> {
    let open = |source: &Source| match lent(source, around) {
        Some(fd) => Ok(Opened::Lent(fd)),
        None => open_source(plan, source, userns, remains).map(Opened::Own),
    };
    sources.iter().map(open).collect()
}

fn open_source(
    plan: &Plan,
    source: &Source,
    userns: Option<&OwnedFd>,
    remains: &mut Vec<OwnedFd>,
) -> Result<OwnedFd, CreateError> {
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
            let made = overlay::make(layers, mapping, *user_xattr).map_err(prepare())?;
            remains.extend(made.layers);
            Ok(made.mount)
        }
        Source::Tree {
            path,
            recursive,
            peer,
            attributes,
            map_ids,
            no_follow,
        } => {
            if *no_follow {
                tree::refuse_link(path).map_err(prepare())?;
            }
            let tree = if *peer {
                tree::open_peer(path, *recursive)
            } else {
                tree::open_detached(path, *recursive)
            };
            let tree = tree.map_err(prepare())?;
            match (map_ids, userns) {
                (MapIds::Container, Some(userns)) => {
                    tree::map_ids(tree.as_fd(), userns.as_fd(), *recursive).map_err(prepare())?;
                }
                (MapIds::Own { maps, recursive }, _) => {
                    let userns = userns::make(&maps.uid, &maps.gid).map_err(prepare())?;
                    tree::map_ids(tree.as_fd(), userns.as_fd(), *recursive).map_err(prepare())?;
                }
                (MapIds::No, _) | (MapIds::Container, None) => {}
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
        Source::NamespaceFile { path } => super::open_namespace(path),
        Source::Stdio(_) | Source::Tasks(_) | Source::Target | Source::Listener => {
            Err(CreateError::Prepare {
                action: source.describe(),
                source: SysError::new("slot", "the caller did not lend it", Errno::BADF),
            })
        }
    }
}
