//! `checkpoint` and `restore`: what the flags say to CRIU.

use super::{Call, Failed, Outcome, foreground, make};
use cais_runtime::container::checkpoint::{CheckpointOptions, checkpoint as write_down};
use cais_runtime::container::create::CreateOptions;
use cais_runtime::container::criu::{CgroupsMode, CriuOptions};
use cais_runtime::container::restore::{RestoreOptions, restore as make_again};
use cais_runtime::container::start::run_poststart;
use std::path::PathBuf;

/// `CLONE_NEWNET`: the one namespace that runc lets be left empty.
const NEW_NETWORK: u32 = 0x4000_0000;

fn options(call: &Call) -> Result<CriuOptions, Failed> {
    let given = &call.given;
    let mut empty_namespaces = 0;
    for name in given.values("empty-ns") {
        match name.as_str() {
            "network" => empty_namespaces |= NEW_NETWORK,
            other => {
                return Err(Failed::usage(format!(
                    "namespace {other:?} cannot be left empty: network can"
                )));
            }
        }
    }
    let cgroups_mode = match given.value("manage-cgroups-mode") {
        None | Some("" | "soft") => CgroupsMode::Soft,
        Some("full") => CgroupsMode::Full,
        Some("strict") => CgroupsMode::Strict,
        Some("ignore") => CgroupsMode::Ignore,
        Some(other) => {
            return Err(Failed::usage(format!(
                "invalid manage-cgroups-mode {other:?}: soft, full, strict or ignore"
            )));
        }
    };
    Ok(CriuOptions {
        images: call
            .path("image-path")
            .unwrap_or_else(|| PathBuf::from("checkpoint")),
        work: call.path("work-path"),
        tcp_established: given.has("tcp-established"),
        tcp_close: given.has("tcp-close"),
        external_unix_sockets: given.has("ext-unix-sk"),
        shell_job: given.has("shell-job"),
        file_locks: given.has("file-locks"),
        link_remap: given.has("link-remap"),
        auto_dedup: given.has("auto-dedup"),
        lazy_pages: given.has("lazy-pages"),
        cgroups_mode,
        empty_namespaces,
    })
}

pub(super) fn checkpoint(call: &Call) -> Outcome {
    let given = &call.given;
    let options = CheckpointOptions {
        criu: options(call)?,
        parent: call.path("parent-path"),
        leave_running: given.has("leave-running"),
        pre_dump: given.has("pre-dump"),
        tcp_skip_in_flight: given.has("tcp-skip-in-flight"),
        page_server: given.value("page-server").map(parse_page_server).transpose()?,
        status_fd: given.value("status-fd").map(parse_descriptor).transpose()?,
    };
    write_down(&call.runtime, call.id()?, &options)?;
    Ok(0)
}

/// `ADDRESS:PORT`; an address of IPv6 stands in brackets.
fn parse_page_server(text: &str) -> Result<(String, u16), Failed> {
    let parts = text.rsplit_once(':').and_then(|(address, port)| {
        let address = address.trim_start_matches('[').trim_end_matches(']');
        Some((address.to_owned(), port.parse().ok()?))
    });
    parts
        .filter(|(address, port)| !address.is_empty() && *port != 0)
        .ok_or_else(|| {
            Failed::usage(format!(
                "--page-server {text}: use ADDRESS:PORT for the page server"
            ))
        })
}

fn parse_descriptor(text: &str) -> Result<i32, Failed> {
    text.parse().ok().filter(|fd| *fd >= 0).ok_or_else(|| {
        Failed::usage(format!(
            "--status-fd {text}: the number of a descriptor is wanted"
        ))
    })
}

pub(super) fn restore(call: &Call) -> Outcome {
    let id = call.id()?;
    let detach = call.given.has("detach");
    let options = RestoreOptions {
        create: CreateOptions {
            foreground: !detach,
            ..make::options(call)?
        },
        criu: options(call)?,
        lsm_profile: call.given.value("lsm-profile").map(parse_label).transpose()?,
        lsm_mount_context: call.given.value("lsm-mount-context").map(str::to_owned),
    };
    make::become_subreaper(call, detach);
    let created = make_again(&call.runtime, id, &options)?;
    // Only now: criu would inherit signals that are blocked, and it waits for some.
    let signals = if detach {
        None
    } else {
        Some(foreground::take_signals()?)
    };
    make::warn(call, &created);
    for problem in run_poststart(&created.state) {
        call.log.warn(&super::log::describe(&problem));
    }
    match signals {
        Some(signals) => make::wait(call, id, created, &signals),
        None => Ok(0),
    }
}

/// `apparmor:NAME` or `selinux:LABEL`.
fn parse_label(text: &str) -> Result<String, Failed> {
    match text.split_once(':') {
        Some(("apparmor" | "selinux", name)) if !name.is_empty() => Ok(text.to_owned()),
        _ => Err(Failed::usage(format!(
            "--lsm-profile {text}: apparmor:NAME or selinux:LABEL is wanted"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_servers() {
        for (text, want) in [
            ("10.0.0.1:4711", Some(("10.0.0.1", 4711))),
            ("[::1]:1", Some(("::1", 1))),
            ("host:0", None),
            ("host", None),
            (":1", None),
            ("host:x", None),
        ] {
            let want = want.map(|(address, port)| (address.to_owned(), port));
            assert_eq!(parse_page_server(text).ok(), want, "{text}");
        }
    }
}
