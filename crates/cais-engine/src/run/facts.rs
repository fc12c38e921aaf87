//! What a plan needs to know of this machine: gathered here, so that planning is pure.

use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::options::{NetworkMode, RunOptions, SeccompOption};
use crate::record::Record;
use cais_linux::cgroups::Layout;
use cais_linux::creds::capabilities::OwnCaps;
use cais_linux::limits::rlimit::{parse_resource, read_own_hard};
use cais_linux::lsm::landlock;
use cais_linux::seccomp;
use cais_linux::seccomp::load::program_bytes;
use cais_net::endpoint::Endpoints;
use cais_order::Gather;
use cais_runtime::plan::facts::{CgroupView, LandlockFacts, PlanFacts, SeccompFilter};
use cais_runtime::spec::Spec;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The facts that a plan needs.
pub(super) fn plan_facts(
    engine: &Engine,
    record: &Record,
    spec: &Spec,
    layout: Option<&Layout>,
    own: &OwnCaps,
) -> Result<PlanFacts> {
    let options = &record.options;
    let limits = spec.process.iter().flat_map(|process| &process.rlimits);
    let hard_limits = limits
        .filter_map(|limit| parse_resource(&limit.kind))
        .map(|resource| (resource, read_own_hard(resource)));
    Ok(PlanFacts {
        tasks: layout.map_or(0, |layout| layout.v1.len()),
        cgroup_view: layout.map_or(CgroupView::None, cais_runtime::cgroup::view_of),
        device_sources: device_sources(options, spec),
        seccomp: seccomp_filter(engine, options, spec)?,
        held_capabilities: own.bounding.bits(),
        hard_limits: hard_limits.collect(),
        has_cap_sys_resource: own
            .effective
            .contains(cais_linux::creds::capabilities::Capability::SYS_RESOURCE),
        own_oom_score_adj: if options.limits.oom_score_adj.is_some() {
            cais_linux::limits::oom::read_own()
                .map_err(EngineError::system("read our weight for the OOM killer"))?
        } else {
            0
        },
        rootless: engine.rootless,
        preserve_fds: engine.service.listen(),
        init: options.init,
        landlock: landlock_facts(options)?,
        label: exec_label(options)?,
        ..PlanFacts::default()
    })
}

/// Where each device of the user's is on the host: itself, or below a directory.
fn device_sources(options: &RunOptions, spec: &Spec) -> BTreeMap<String, PathBuf> {
    let nodes = spec.linux.iter().flat_map(|linux| &linux.devices);
    let source = |path: &str| {
        options.devices.iter().rev().find_map(|device| {
            let below = Path::new(path).strip_prefix(&device.container).ok()?;
            // A name with nothing behind it would end with a slash.
            Some(match below.as_os_str().is_empty() {
                true => device.host.clone(),
                false => device.host.join(below),
            })
        })
    };
    nodes
        .filter_map(|node| Some((node.path.clone(), source(&node.path)?)))
        .into_map()
}

/// The system call filter: ours, none, or that of a file.
fn seccomp_filter(engine: &Engine, options: &RunOptions, spec: &Spec) -> Result<Option<SeccompFilter>> {
    let invalid = |error: &dyn std::error::Error| EngineError::Invalid(super::chain(error));
    let names = spec
        .process
        .iter()
        .filter_map(|process| process.capabilities.as_ref())
        .flat_map(|sets| &sets.bounding);
    let names: Vec<&String> = names.collect();
    let capabilities = cais_linux::creds::capabilities::CapSet::parse(&names)
        .map_err(|error| invalid(&error))?
        .bits();
    match &options.security.seccomp {
        _ if options.security.privileged => Ok(None),
        SeccompOption::Unconfined => Ok(None),
        SeccompOption::Default => {
            let program = seccomp::default::default_program(capabilities).map_err(|error| invalid(&error))?;
            Ok(Some(SeccompFilter {
                flags: seccomp::default::DEFAULT_FLAGS,
                program: program_bytes(&program),
            }))
        }
        SeccompOption::Watched(_) => {
            let compiled = crate::images::watched_filter(capabilities).map_err(|error| invalid(&error))?;
            Ok(Some(SeccompFilter {
                flags: compiled.flags,
                program: program_bytes(&compiled.program),
            }))
        }
        SeccompOption::File(path) => super::seccomp::read_filter(engine, path, capabilities).map(Some),
    }
}

/// The Landlock rules, where there are some.
fn landlock_facts(options: &RunOptions) -> Result<Option<LandlockFacts>> {
    if options.security.landlock.is_empty() {
        return Ok(None);
    }
    let invalid =
        |error: landlock::LandlockError| EngineError::Invalid(format!("--security-opt landlock: {error}"));
    let rules = options
        .security
        .landlock
        .iter()
        .map(|text| landlock::parse_rule(text));
    let rules = rules
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(invalid)?;
    let abi = landlock::read_abi().map_err(EngineError::system("ask for the version of Landlock"))?;
    let plan = landlock::plan_landlock(&rules, abi).map_err(invalid)?;
    Ok(Some(LandlockFacts {
        filesystem: plan.handled_fs,
        network: plan.handled_net,
        scoped: plan.scoped,
        rules: plan.encode_rules(),
    }))
}

/// The label of the program for AppArmor or SELinux, where one is asked for.
fn exec_label(options: &RunOptions) -> Result<Option<(String, String)>> {
    let invalid = |error: cais_linux::lsm::LabelError| EngineError::Invalid(error.to_string());
    let apparmor = options
        .security
        .apparmor
        .as_deref()
        .filter(|profile| *profile != "unconfined");
    let selinux = options
        .security
        .label
        .iter()
        .find_map(|label| label.strip_prefix("type:"));
    let label = match (apparmor, selinux) {
        (Some(profile), None) => cais_linux::lsm::apparmor::read_exec_label(profile),
        (None, Some(kind)) => {
            cais_linux::lsm::selinux::read_exec_label(&format!("system_u:system_r:{kind}:s0"))
        }
        (Some(_), Some(_)) => {
            return Err(EngineError::Invalid(
                "--security-opt apparmor and label: only one label can be set".to_owned(),
            ));
        }
        (None, None) => return Ok(None),
    };
    let label = label.map_err(invalid)?;
    Ok(Some((label.file.to_string(), label.text)))
}

/// The files below `/etc` that are the container's own. With the host's network its hosts
/// and its resolver hold, but for what the user asks for.
pub(super) fn etc_files(
    engine: &Engine,
    options: &RunOptions,
    id: &ContainerId,
    network: Option<&Endpoints>,
) -> Result<Vec<(String, String)>> {
    let name = options.hostname.clone().unwrap_or_else(|| id.short().to_owned());
    let mut files = vec![("/etc/hostname".to_owned(), format!("{name}\n"))];
    let is_hosts = options.namespaces.network == NetworkMode::Host;
    if !is_hosts || !options.network.add_hosts.is_empty() {
        let hosts = hosts_text(engine, options, &name, network)?;
        files.push(("/etc/hosts".to_owned(), hosts));
    }
    if is_hosts && !crate::resolver::is_asked(options) {
        return Ok(files);
    }
    // Without one on the host the image's own stays.
    if let Some(text) = crate::resolver::resolv_conf(engine, options) {
        files.push(("/etc/resolv.conf".to_owned(), text));
    }
    Ok(files)
}

fn hosts_text(
    engine: &Engine,
    options: &RunOptions,
    name: &str,
    network: Option<&Endpoints>,
) -> Result<String> {
    if let NetworkMode::Container(other) = &options.namespaces.network {
        // Whoever shares a namespace has its names.
        let other = crate::list::container(&engine.store, other)?.record;
        let theirs = engine.store.networks().read_endpoints(other.id.as_str())?;
        let own = other.id.short().to_owned();
        let name = other.options.hostname.clone().unwrap_or(own);
        return hosts_text(engine, &other.options, &name, theirs.as_ref());
    }
    const LOCAL: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";
    let mut hosts = LOCAL.to_owned() + &crate::network::plan::hosts_lines(options, name, network);
    for link in crate::network::links::resolve(&engine.store, options, network)? {
        for address in link.addresses {
            hosts += &format!("{address}\t{}\n", link.names.join(" "));
        }
    }
    Ok(hosts)
}
