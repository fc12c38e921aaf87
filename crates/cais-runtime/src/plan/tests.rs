//! Plans of whole configurations, without root: the order of the steps is a promise.

use super::facts::{CgroupView, Hierarchy, PlanFacts, RootTree, SeccompFilter};
use super::{Plan, plan_container, plan_exec};
use crate::error::PlanError;
use crate::spec::{Mount, Process, Spec, parse_spec};
use cais_linux::mounts::overlay::Layers;

const SPEC: &str = r#"{"ociVersion":"1.2.0","hostname":"pier",
 "process":{"args":["true"],"env":["PATH=/bin"],"cwd":"/srv","user":{"uid":5,"gid":6},
   "capabilities":{"bounding":["CAP_KILL"],"effective":["CAP_KILL"],"permitted":["CAP_KILL"]},
   "rlimits":[{"type":"RLIMIT_NOFILE","soft":10,"hard":99}]},
 "root":{"path":"rootfs","readonly":true},
 "mounts":[{"destination":"/proc","type":"proc","options":["nosuid"]},
   {"destination":"/dev","type":"tmpfs","options":["mode=755"]},
   {"destination":"/sys/fs/cgroup","type":"cgroup","options":["ro"]},
   {"destination":"/data","type":"bind","source":"/srv/data","options":["rbind","ro","ridmap"]}],
 "linux":{"uidMappings":[{"containerID":0,"hostID":1000,"size":10}],"gidMappings":[{"containerID":0,"hostID":2000,"size":10}],
   "namespaces":[{"type":"mount"},{"type":"user"},{"type":"pid"},{"type":"network"},{"type":"uts"},{"type":"cgroup"}],
   "maskedPaths":["/proc/kcore"],"readonlyPaths":["/proc/sys"],"sysctl":{"net.ipv4.ip_forward":"1"}}}"#;

fn facts() -> PlanFacts {
    PlanFacts {
        root: RootTree::Overlay(Layers {
            lower: vec!["/".into()],
            changes: "/c".into(),
            volatile: false,
        }),
        tasks: 2,
        cgroup_view: CgroupView::V1(vec![Hierarchy {
            directory: "cpu,cpuacct".into(),
            path: "/sys/fs/cgroup/cpu,cpuacct".into(),
            options: vec!["cpu".into(), "cpuacct".into()],
        }]),
        device_sources: [].into(),
        files: vec![("/etc/hostname".into(), "pier\n".into())],
        seccomp: Some(SeccompFilter {
            flags: 0,
            program: vec![0; 16],
        }),
        held_capabilities: u64::MAX,
        hard_limits: vec![(rustix::process::Resource::Nofile, Some(50))],
        has_cap_sys_resource: false,
        own_oom_score_adj: 0,
        rootless: false,
        init: false,
        landlock: None,
        label: None,
        ..PlanFacts::default()
    }
}

fn names(plan: &Plan) -> Vec<&'static str> {
    let mut names: Vec<&str> = plan.steps.iter().map(|(step, _)| step.name()).collect();
    names.dedup();
    names
}

fn planned(change: impl FnOnce(&mut Spec, &mut PlanFacts)) -> Result<Plan, PlanError> {
    let (mut spec, mut facts) = (parse_spec(SPEC.as_bytes()).unwrap(), facts());
    change(&mut spec, &mut facts);
    plan_container(&spec, &facts)
}

#[test]
fn the_order_of_a_container() {
    let plan = planned(|_, _| {}).unwrap();
    let want = [
        "NewSession",
        "NewKeyring",
        "SetHostname",
        "LoopbackUp",
        "SetTreePropagation",
        "AttachRoot",
        "MountNew",
        "MountTree",
        "MakeSymlink",
        "SetStdio",
        "MountFile",
        "JoinCgroup",
        "LeaveNamespaces",
        "MountNew",
        "MakeSymlink",
        "SetMountAttributes",
        "WriteSysctl",
        "MakeDirectory",
        "ReadonlyPath",
        "MaskPath",
        "SetMountAttributes",
        "PivotRoot",
        "AwaitStart",
        "CloseDescriptors",
        "InstallSeccomp",
        "SetBoundingSet",
        "SetUser",
        "SetWorkingDirectory",
        "SetCapabilities",
        "LimitDescriptors",
        "Execute",
    ];
    assert_eq!(names(&plan), want);
    let maps = plan.id_maps.unwrap();
    assert_eq!(
        (maps.uid.as_str(), maps.gid.as_str(), plan.root_ids),
        ("0 1000 10\n", "0 2000 10\n", Some((1000, 2000)))
    );
    assert!(
        plan.warnings.iter().any(|warning| warning.contains("nofile=99")),
        "{:?}",
        plan.warnings
    );
}

#[test]
fn mounts_that_could_stand_on_one_of_cgroups_come_after_it() {
    let place = |destination: &str, kind: &str, options: &[&str]| {
        let plan = planned(|spec, _| {
            spec.mounts.push(Mount {
                destination: destination.to_owned(),
                kind: Some(kind.to_owned()),
                source: Some("/srv/data".to_owned()),
                options: options.iter().map(|word| (*word).to_owned()).collect(),
                ..Mount::default()
            });
        });
        let names = names(&plan.unwrap());
        let of = |wanted: &str| names.iter().position(|name| *name == wanted).unwrap();
        // The devices come after all mounts of the configuration.
        of("JoinCgroup") < of("SetStdio")
    };
    for (destination, kind, options, first) in [
        ("/mnt", "tmpfs", &[][..], false),
        ("/sys/fs/cgrouped", "tmpfs", &[], false),
        ("/sys/fs/cgroup/x", "bind", &["bind"], true),
        ("/sys/fs", "tmpfs", &[], true),
        ("/sys/fs/cgroup/", "none", &["remount", "ro"], true),
        // What is copied is counted.
        ("/mnt", "tmpfs", &["tmpcopyup"], true),
    ] {
        assert_eq!(place(destination, kind, options), first, "{destination} {kind}");
    }
}

#[test]
fn no_new_privileges_moves_the_filter_to_the_end() {
    let plan = planned(|spec, facts| {
        spec.process.as_mut().unwrap().no_new_privileges = true;
        facts.init = true;
    })
    .unwrap();
    let names = names(&plan);
    assert_eq!(names[0], "HoldSignals");
    let end = names.get(names.len() - 6..).unwrap();
    assert_eq!(
        end,
        [
            "SetCapabilities",
            "SetNoNewPrivs",
            "InstallSeccomp",
            "BecomeInit",
            "LimitDescriptors",
            "Execute"
        ]
    );
}

#[test]
fn without_a_user_namespace_devices_are_made_and_capabilities_cut() {
    let plan = planned(|spec, facts| {
        let linux = spec.linux.as_mut().unwrap();
        linux
            .namespaces
            .retain(|entry| entry.kind != crate::spec::NamespaceKind::User);
        linux.uid_mappings.clear();
        linux.gid_mappings.clear();
        spec.mounts.last_mut().unwrap().options.pop();
        facts.held_capabilities = 0;
    })
    .unwrap();
    assert!(names(&plan).contains(&"MakeDevice") && plan.id_maps.is_none());
    assert!(
        plan.warnings.iter().any(|warning| warning.contains("CAP_KILL")),
        "{:?}",
        plan.warnings
    );
}

#[test]
fn a_further_process_enters_and_mounts_nothing() {
    let (spec, facts) = (parse_spec(SPEC.as_bytes()).unwrap(), facts());
    let process = Process {
        args: vec!["id".into()],
        cwd: "/".into(),
        ..Process::default()
    };
    let plan = plan_exec(&spec, &process, &facts).unwrap();
    let want = [
        "JoinCgroup",
        "SetUndumpable",
        "EnterNamespaces",
        "NewSession",
        "NewKeyring",
        "SetStdio",
        "AwaitStart",
        "CloseDescriptors",
        "InstallSeccomp",
        "SetBoundingSet",
        "SetUser",
        "SetWorkingDirectory",
        "SetCapabilities",
        "Execute",
    ];
    assert_eq!(names(&plan), want);
    assert!(plan.enter_first != 0 && plan.namespaces == 0 && plan.id_maps.is_none());
}

#[test]
fn what_cannot_be_planned() {
    type Change = fn(&mut Spec, &mut PlanFacts);
    let changes: [(&str, Change); 5] = [
        ("no mount namespace", |spec, _| {
            spec.linux.as_mut().unwrap().namespaces.clear();
        }),
        ("no process", |spec, _| spec.process = None),
        ("a mount that is no procfs at /proc", |spec, _| {
            spec.mounts[0].kind = Some("moonfs".into());
        }),
        ("a user namespace without a root", |spec, _| {
            spec.linux.as_mut().unwrap().uid_mappings.clear();
        }),
        ("an unknown limit", |spec, _| {
            spec.process.as_mut().unwrap().rlimits[0].kind = "RLIMIT_MOON".into();
        }),
    ];
    for (name, change) in changes {
        assert!(planned(change).is_err(), "{name}");
    }
}

#[test]
fn an_unknown_capability_is_left_out_and_told() {
    let plan = planned(|spec, _| {
        let process = spec.process.as_mut().unwrap();
        let sets = process.capabilities.as_mut().unwrap();
        sets.bounding.push("CAP_MOON".into());
    })
    .unwrap();
    assert!(plan.warnings.iter().any(|warning| warning.contains("CAP_MOON")));
}

#[test]
fn a_container_that_is_held_looks_for_its_program_first() {
    let plan = planned(|spec, facts| {
        facts.hold = true;
        facts.created_state = ["{".into(), "}".into()];
        let hook = crate::spec::Hook {
            path: "/bin/hook".into(),
            ..crate::spec::Hook::default()
        };
        spec.hooks = Some(crate::spec::Hooks {
            create_runtime: vec![hook.clone()],
            create_container: vec![hook.clone()],
            start_container: vec![hook],
            ..crate::spec::Hooks::default()
        });
    })
    .unwrap();
    let names = names(&plan);
    let at = names.iter().position(|name| *name == "AwaitHooks").unwrap();
    let want = [
        "AwaitHooks",
        "RunHook",
        "PivotRoot",
        "AwaitStart",
        "FindProgram",
        "AwaitConnection",
        "RunHook",
    ];
    assert_eq!(names[at..at + want.len()], want);
    assert!(plan.holds && plan.awaits_hooks && plan.awaits_start);
}
