//! The steps of the process itself: who it is, what it may do, what it executes.
//! Shared by the first process of a container and by every further one.

use super::planner::Planner;
use super::steps::{c_string, str_block};
use crate::error::PlanError;
use cais_init::step::Step;
use cais_init::wire::StrBlock;
use cais_linux::creds::capabilities::CapSet;

pub(super) fn plan_process(planner: &mut Planner<'_>) -> Result<(), PlanError> {
    let Some(process) = planner.process else {
        return Err(PlanError::Missing {
            path: "process",
            what: "the program to run",
        });
    };
    if let Some(mask) = process.user.umask {
        planner.step("asked for by process.user.umask", &Step::SetUmask { mask });
    }
    plan_domain(planner)?;
    // Before chdir, so that no directory can be reached through a descriptor that
    // leaked (CVE-2024-21626); the channel itself closes at exec, which tells the caller.
    planner.step(
        "no descriptor of the host reaches the program",
        &Step::CloseDescriptors {
            first: 3 + planner.facts.preserve_fds,
        },
    );
    plan_label(planner);
    // Without no_new_privs the kernel wants CAP_SYS_ADMIN for a filter, so it is
    // installed while that is there; with it, as late as possible.
    if !process.no_new_privileges {
        plan_seccomp(planner);
    }
    let capabilities = plan_capability_sets(planner)?;
    planner.step(
        "what is not in it can never be gained",
        &Step::SetBoundingSet {
            keep: capabilities.bounding,
        },
    );
    let groups: Vec<u8> = process
        .user
        .additional_gids
        .iter()
        .flat_map(|gid| gid.to_ne_bytes())
        .collect();
    let (uid, gid) = (process.user.uid, process.user.gid);
    planner.step(
        "the program's user",
        &Step::SetUser {
            uid,
            gid,
            groups: &groups,
        },
    );
    // After the change of user: the directory must be one that the user may enter.
    let cwd = c_string(&process.cwd);
    planner.step(
        "it must lie inside the root",
        &Step::SetWorkingDirectory { path: &cwd },
    );
    planner.step(
        "only now: the steps before needed more",
        &Step::SetCapabilities {
            effective: capabilities.effective,
            permitted: capabilities.permitted,
            inheritable: capabilities.inheritable,
            ambient: capabilities.ambient,
        },
    );
    if process.no_new_privileges {
        planner.step("set-user-id programs gain nothing", &Step::SetNoNewPrivs {});
    }
    plan_landlock(planner, process.no_new_privileges);
    if process.no_new_privileges {
        plan_seccomp(planner);
    }
    if planner.facts.init && !planner.joins_container {
        planner.step("a small init reaps and forwards", &Step::BecomeInit {});
    }
    plan_descriptors(planner);
    let (arguments, environment) = (str_block(&process.args), str_block(&process.env));
    let step = Step::Execute {
        arguments: StrBlock(&arguments),
        environment: StrBlock(&environment),
    };
    planner.step("the program", &step);
    Ok(())
}

/// A limit that the stub itself could not live with.
fn plan_descriptors(planner: &mut Planner<'_>) {
    if let Some((soft, hard)) = planner.plan.limits.descriptors {
        let step = Step::LimitDescriptors { soft, hard };
        planner.step("only now: the steps before needed more", &step);
    }
}

/// The execution domain and the memory policy: of the container, and so of every process.
fn plan_domain(planner: &mut Planner<'_>) -> Result<(), PlanError> {
    let Some(linux) = &planner.spec.linux else {
        return Ok(());
    };
    if let Some(personality) = &linux.personality {
        // linux/personality.h
        let domain = match personality.domain.as_str() {
            "LINUX" => 0,
            "LINUX32" => 8,
            other => {
                return Err(PlanError::Unknown {
                    path: "linux.personality.domain",
                    value: other.to_owned(),
                });
            }
        };
        planner.step("asked for by linux.personality", &Step::SetPersonality { domain });
    }
    if let Some(policy) = &linux.memory_policy {
        let unknown = |value: &str| PlanError::Unknown {
            path: "linux.memoryPolicy",
            value: value.to_owned(),
        };
        let mut mode = memory_policy_mode(&policy.mode).ok_or_else(|| unknown(&policy.mode))?;
        for flag in &policy.flags {
            mode |= match flag.as_str() {
                "MPOL_F_STATIC_NODES" => 1 << 15,
                "MPOL_F_RELATIVE_NODES" => 1 << 14,
                "MPOL_F_NUMA_BALANCING" => 1 << 13,
                other => return Err(unknown(other)),
            };
        }
        let nodes = if policy.nodes.is_empty() {
            Vec::new()
        } else {
            cais_linux::limits::sched::parse_cpu_list(&policy.nodes).ok_or_else(|| unknown(&policy.nodes))?
        };
        let step = Step::SetMemoryPolicy { mode, nodes: &nodes };
        planner.step("asked for by linux.memoryPolicy", &step);
    }
    Ok(())
}

/// The number of a policy in linux/mempolicy.h.
fn memory_policy_mode(name: &str) -> Option<u32> {
    const NAMES: [&str; 7] = [
        "MPOL_DEFAULT",
        "MPOL_PREFERRED",
        "MPOL_BIND",
        "MPOL_INTERLEAVE",
        "MPOL_LOCAL",
        "MPOL_PREFERRED_MANY",
        "MPOL_WEIGHTED_INTERLEAVE",
    ];
    let at = NAMES.iter().position(|known| *known == name)?;
    u32::try_from(at).ok()
}

fn plan_label(planner: &mut Planner<'_>) {
    if let Some((name, text)) = &planner.facts.label {
        let name = c_string(name);
        let step = Step::SetSecurityLabel {
            name: &name,
            text: text.as_bytes(),
        };
        planner.step("the label of the program", &step);
    }
}

fn plan_landlock(planner: &mut Planner<'_>, has_no_new_privs: bool) {
    let Some(rules) = &planner.facts.landlock else {
        return;
    };
    // Landlock wants no_new_privs where CAP_SYS_ADMIN is gone.
    if !has_no_new_privs {
        planner.step("Landlock asks for it", &Step::SetNoNewPrivs {});
    }
    let (filesystem, network, scoped) = (rules.filesystem, rules.network, rules.scoped);
    let step = Step::RestrictByLandlock {
        filesystem,
        network,
        scoped,
        rules: &rules.rules,
    };
    planner.step("asked for by --security-opt landlock", &step);
}

fn plan_seccomp(planner: &mut Planner<'_>) {
    if let Some(filter) = &planner.facts.seccomp {
        let step = Step::InstallSeccomp {
            flags: filter.flags,
            program: &filter.program,
        };
        planner.step("system calls that a container has no use for fail", &step);
    }
}

/// The five sets as bits.
struct CapabilitySets {
    bounding: u64,
    effective: u64,
    permitted: u64,
    inheritable: u64,
    ambient: u64,
}

fn plan_capability_sets(planner: &mut Planner<'_>) -> Result<CapabilitySets, PlanError> {
    let empty = crate::spec::Capabilities::default();
    let asked = planner
        .process
        .and_then(|process| process.capabilities.as_ref())
        .unwrap_or(&empty);
    let mut bits = [0u64; 5];
    let sets = [
        &asked.bounding,
        &asked.effective,
        &asked.permitted,
        &asked.inheritable,
        &asked.ambient,
    ];
    for (bits, names) in bits.iter_mut().zip(sets) {
        let (known, unknown): (Vec<&String>, Vec<&String>) =
            names.iter().partition(|name| CapSet::parse(&[name]).is_ok());
        *bits = CapSet::parse(&known).map_err(PlanError::Capability)?.bits();
        planner.plan.warnings.extend(
            unknown
                .iter()
                .map(|name| format!("this machine has no capability {name}: it is left out")),
        );
    }
    // In a user namespace of its own the process holds every capability over it;
    // in the host's it can hand on only what this process has itself.
    if !planner.has_user_namespace() {
        let held = planner.facts.held_capabilities;
        let missing = bits[0] & !held;
        if missing != 0 {
            let names = CapSet::from_bits(missing).names().join(", ");
            planner.plan.warnings.push(format!(
                "this machine does not give {names}: the container runs without"
            ));
        }
        for bits in &mut bits {
            *bits &= held;
        }
    }
    let [bounding, effective, permitted, inheritable, mut ambient] = bits;
    // The kernel takes no other (capabilities(7)), and configurations of runc's own making
    // ask for others.
    let beyond = ambient & !(permitted & inheritable);
    if beyond != 0 {
        let names = CapSet::from_bits(beyond).names().join(", ");
        planner.plan.warnings.push(format!(
            "{names}: ambient needs permitted and inheritable, so it is left out"
        ));
        ambient &= !beyond;
    }
    Ok(CapabilitySets {
        bounding,
        effective,
        permitted,
        inheritable,
        ambient,
    })
}
