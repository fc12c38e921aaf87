//! The table of a plan: what is done, in which order, and why there.
//!
//! [`plan_container`] is pure. Its body is the order; each line calls one function
//! that adds the steps of one subject. [`plan_exec`] is the shorter table for a further
//! process in a running container.

use super::facts::{CgroupView, Part, PlanFacts, RootTree};
use super::limits::ProcessLimits;
use super::process::plan_process;
use super::sources::{MapIds, Source};
use super::steps::{c_string, str_block};
use super::{Plan, cgroup_mounts, devices, filesystem, hooks, namespaces};
use crate::error::PlanError;
use crate::mount_options::MountFlags;
use crate::spec::{Mount, Process, Spec};
use cais_init::step::{Slot, Step};
use cais_init::wire::StrBlock;
use cais_linux::mounts::overlay::Layers;
use cais_sys::clone::namespace;
use cais_sys::mount::{MS_PRIVATE, MS_SLAVE, MountAttr};
use rustix::fs::FileType;

/// Plans a container.
///
/// # Errors
/// Where the configuration asks for something that cannot be, or that this runtime
/// does not do.
pub fn plan_container(spec: &Spec, facts: &PlanFacts) -> Result<Plan, PlanError> {
    crate::spec::validate::check(spec)?;
    let mut planner = Planner::new(spec, spec.process.as_ref(), facts)?;
    if facts.init {
        planner.step(
            "a signal that comes early waits for the init",
            &Step::HoldSignals {},
        );
    }
    planner.await_cgroup();
    // Joined namespaces first: what is made later belongs to them.
    namespaces::plan_joined(&mut planner)?;
    namespaces::plan_time(&mut planner);
    // A session of its own, before a terminal can become its own.
    planner.step("no terminal of the caller may reach in", &Step::NewSession {});
    planner.plan_keyring();
    namespaces::plan_names(&mut planner);
    namespaces::plan_loopback(&mut planner);
    // Nothing mounted from here on may travel to the host.
    filesystem::plan_propagation(&mut planner)?;
    planner.attach_root();
    // Mounts in the order of the configuration: a later one may stand on an earlier. Those of
    // cgroups wait until something could.
    filesystem::plan_mounts(&mut planner)?;
    // Nodes and links need the /dev that the mounts made.
    devices::plan_devices(&mut planner)?;
    planner.plan_stdio();
    // Files by content need the tmpfs at /dev too.
    filesystem::plan_files(&mut planner);
    // The cgroup is joined as late as can be: it is made meanwhile.
    planner.join_cgroups()?;
    // Settings are written while procfs may still be mounted anew.
    filesystem::plan_sysctls(&mut planner)?;
    // The working directory is made before the root may become read-only.
    filesystem::plan_working_directory(&mut planner);
    // Hiding comes after the mounts, or they would cover it.
    filesystem::plan_hidden_paths(&mut planner);
    filesystem::plan_root_flags(&mut planner)?;
    // Hooks see the finished tree from outside, by the host's paths.
    hooks::plan_before_pivot(&mut planner);
    if facts.no_pivot {
        planner.step(
            "asked for by --no-pivot: a ramdisk cannot be left",
            &Step::ChangeRoot {},
        );
    } else {
        planner.step("from here on there is no host tree to reach", &Step::PivotRoot {});
    }
    planner.plan_null();
    // The caller writes down what it made meanwhile: no program runs unrecorded.
    planner.plan.awaits_start = true;
    planner.step("no program runs before it is recorded", &Step::AwaitStart {});
    planner.plan_hold();
    hooks::plan_start(&mut planner);
    // Who the process is comes last: every step before needed the privileges.
    plan_process(&mut planner)?;
    planner.finish()
}

/// Plans a further process in the namespaces of a running container.
///
/// # Errors
/// As [`plan_container`].
pub fn plan_exec(spec: &Spec, process: &Process, facts: &PlanFacts) -> Result<Plan, PlanError> {
    let mut planner = Planner::new(spec, Some(process), facts)?;
    planner.joins_container = true;
    let kinds = namespaces::kinds(spec)?;
    // The cgroup namespace is left for later: the cgroup must be joined from outside it.
    if kinds & namespace::PID != 0 {
        planner.plan.enter_first = u32::try_from(kinds & !namespace::CGROUP).unwrap_or(0);
    }
    // Counted with the container from the first moment.
    planner.join_cgroups()?;
    planner.plan_affinity()?;
    // Before the namespaces, so that nothing in them can look into this process.
    planner.step(
        "nothing inside may look into this process (CVE-2016-9962)",
        &Step::SetUndumpable {},
    );
    let first = planner.plan.enter_first;
    planner.plan.enter_user = first == 0 && facts.rootless && kinds & namespace::USER != 0;
    let born_into = if planner.plan.enter_user {
        namespace::USER
    } else {
        u64::from(first)
    };
    let kinds = u32::try_from(kinds & !born_into).unwrap_or(0);
    if kinds != 0 {
        let target = planner.source(Source::Target);
        planner.step(
            "the namespaces of the container",
            &Step::EnterNamespaces { target, kinds },
        );
    }
    planner.step("no terminal of the caller may reach in", &Step::NewSession {});
    planner.plan_keyring();
    planner.plan_stdio();
    // The caller sets the limits meanwhile, which it may have no right to once the user is
    // another one; and no program runs without them.
    planner.plan.awaits_start = true;
    planner.step("no program runs before its limits hold", &Step::AwaitStart {});
    plan_process(&mut planner)?;
    planner.plan.namespaces = 0;
    planner.plan.id_maps = None;
    planner.finish()
}

/// A plan that is being made.
pub(super) struct Planner<'a> {
    pub(super) spec: &'a Spec,
    pub(super) facts: &'a PlanFacts,
    pub(super) process: Option<&'a Process>,
    pub(super) plan: Plan,
    /// Whether the process joins a running container instead of making one.
    pub(super) joins_container: bool,
    /// The slot of the host's null device, once it is mounted.
    pub(super) null: Option<Slot>,
    /// How many trees the stub opens itself.
    opened_inside: u16,
    /// Whether the cgroup is joined.
    is_in_cgroup: bool,
    /// Mounts of cgroups that wait until it is.
    pub(super) cgroup_mounts: Vec<(Mount, MountFlags)>,
}

impl<'a> Planner<'a> {
    fn new(spec: &'a Spec, process: Option<&'a Process>, facts: &'a PlanFacts) -> Result<Self, PlanError> {
        let mut plan = Plan {
            id_maps: namespaces::plan_id_maps(spec)?,
            join_user: facts.user_parent.clone(),
            ..Plan::default()
        };
        plan.root_ids = namespaces::root_ids(spec);
        plan.namespaces = namespaces::cloned(spec)?;
        if let Some(process) = process {
            plan.limits = ProcessLimits::plan(process, facts, &mut plan.warnings)?;
        }
        Ok(Self {
            spec,
            facts,
            process,
            plan,
            joins_container: false,
            null: None,
            opened_inside: 0,
            is_in_cgroup: false,
            cgroup_mounts: Vec::new(),
        })
    }

    /// Appends a step.
    pub(super) fn step(&mut self, reason: &'static str, step: &Step<'_>) {
        self.plan.steps.push(reason, step);
    }

    /// Adds a source and returns its slot. A plan with too many is refused at the end.
    pub(super) fn source(&mut self, source: Source) -> Slot {
        let slot = Slot(u16::try_from(self.plan.sources.len()).unwrap_or(u16::MAX));
        self.plan.sources.push(source);
        slot
    }

    /// Whether the container has a user namespace other than the host's.
    pub(super) fn has_user_namespace(&self) -> bool {
        namespaces::has(self.spec, namespace::USER)
    }

    /// Somebody else makes the cgroup.
    fn await_cgroup(&mut self) {
        if self.facts.foreign_cgroup {
            self.plan.awaits_cgroup = true;
            self.step(
                "systemd makes the cgroup and moves this process into it",
                &Step::AwaitCgroup {},
            );
        }
    }

    /// Joins the cgroup, once: the caller makes it while the steps before are carried out. The
    /// cgroup namespace takes it as its root, and the mounts that waited for that show it.
    pub(super) fn join_cgroups(&mut self) -> Result<(), PlanError> {
        if !std::mem::replace(&mut self.is_in_cgroup, true) {
            self.plan_join();
        }
        for (mount, flags) in std::mem::take(&mut self.cgroup_mounts) {
            cgroup_mounts::plan_cgroup_mount(self, &mount, &flags)?;
        }
        Ok(())
    }

    fn plan_join(&mut self) {
        for index in 0..self.facts.tasks {
            let tasks = self.source(Source::Tasks(index));
            self.step(
                "limits hold from here on; the child's own write takes no lock",
                &Step::JoinCgroup { tasks },
            );
        }
        if self.joins_container {
            return;
        }
        if namespaces::is_new(self.spec, namespace::CGROUP)
            // Without privilege it shows the caller's group as the top, and can be entered later.
            && (self.facts.rootless || !matches!(self.facts.cgroup_view, CgroupView::None))
        {
            let kinds = u32::try_from(namespace::CGROUP).unwrap_or(0);
            self.step(
                "the cgroup just joined becomes the root that is seen",
                &Step::LeaveNamespaces { kinds },
            );
        }
    }

    fn plan_keyring(&mut self) {
        if !self.facts.keep_keyring {
            self.step("no key of the caller may reach in", &Step::NewKeyring {});
        }
    }

    fn attach_root(&mut self) {
        let mount = match &self.facts.root {
            RootTree::Overlay(layers) | RootTree::Parts { root: layers, .. } => self.overlay(layers),
            RootTree::Directory { path, map_ids } => self.tree(Source::Tree {
                path: path.clone(),
                recursive: true,
                peer: false,
                attributes: MountAttr::default(),
                map_ids: if *map_ids && self.plan.root_ids.is_some() && !self.facts.rootless {
                    MapIds::Container
                } else {
                    MapIds::No
                },
                no_follow: false,
            }),
        };
        // Hooks of the host look for the tree at its own path.
        let path = match &self.facts.root {
            RootTree::Directory { path, .. } if hooks::any_before_pivot(self.spec) => {
                c_string(&path.to_string_lossy())
            }
            _ => c"/".to_owned(),
        };
        self.step(
            "all later paths are resolved inside it",
            &Step::AttachRoot { mount, path: &path },
        );
        if let RootTree::Parts { parts, .. } = &self.facts.root {
            for part in parts {
                self.attach_part(part);
            }
        }
    }

    /// The slot of an overlay: made by the caller, or by the stub in its user namespace.
    fn overlay(&mut self, layers: &Layers) -> Slot {
        if !self.facts.rootless {
            return self.source(Source::Overlay {
                layers: layers.clone(),
                user_xattr: false,
            });
        }
        let slot = self.slot_of_the_stub();
        let block = layer_block(layers);
        let step = Step::MakeOverlay {
            slot,
            lower: StrBlock(&block),
            changes: &c_string(&layers.changes.to_string_lossy()),
            volatile: layers.volatile,
        };
        self.step("only its user namespace gives the right to mount", &step);
        slot
    }

    fn attach_part(&mut self, part: &Part) {
        match part {
            Part::Directory { place, layers } => {
                let block = layer_block(layers);
                let step = Step::MountOverlay {
                    path: &c_string(place),
                    lower: StrBlock(&block),
                    changes: &c_string(&layers.changes.to_string_lossy()),
                    volatile: layers.volatile,
                };
                self.step("a directory of the host that has no mounts in it", &step);
            }
            Part::File(place) => {
                let step = Step::MountHostFile {
                    path: &c_string(place),
                };
                self.step("a file of the host beside them", &step);
            }
        }
    }

    /// A slot that the stub fills itself: from the end, while those of the caller begin at
    /// the beginning.
    fn slot_of_the_stub(&mut self) -> Slot {
        self.opened_inside += 1;
        let end = u16::try_from(cais_init::stage::MAX_SLOTS).unwrap_or(u16::MAX);
        Slot(end.saturating_sub(self.opened_inside))
    }

    /// The slot of a tree: opened by the caller, or, where that has no right to, by the stub
    /// in its user namespace.
    pub(super) fn tree(&mut self, source: Source) -> Slot {
        let Source::Tree {
            path,
            recursive,
            peer,
            attributes,
            map_ids: MapIds::No,
            ..
        } = &source
        else {
            return self.source(source);
        };
        if !self.facts.rootless {
            return self.source(source);
        }
        let slot = self.slot_of_the_stub();
        let step = Step::OpenTree {
            slot,
            path: &c_string(&path.to_string_lossy()),
            recursive: *recursive,
            peer: *peer,
            set: attributes.attr_set,
            clear: attributes.attr_clr,
        };
        self.step("only its user namespace gives the right to copy mounts", &step);
        slot
    }

    /// The slot of a device of the host.
    pub(super) fn device(&mut self, source: Source) -> Slot {
        match source {
            Source::Device { path, .. } if self.facts.rootless => self.tree(Source::Tree {
                path,
                recursive: false,
                peer: false,
                attributes: MountAttr::default(),
                map_ids: MapIds::No,
                no_follow: false,
            }),
            source => self.source(source),
        }
    }

    /// Standard streams that are no pipe and no terminal belong to the container.
    fn plan_null(&mut self) {
        let has_terminal = self.process.is_some_and(|process| process.terminal);
        if self.facts.own_null && !has_terminal {
            self.step(
                "a null device of the host would tie it to the host's mounts",
                &Step::ReopenNull {},
            );
        }
    }

    /// The program is looked for, and then `start` is waited for.
    fn plan_hold(&mut self) {
        if !self.facts.hold {
            return;
        }
        let Some(process) = self.process else { return };
        if let Some(name) = process.args.first() {
            let environment = str_block(&process.env);
            let step = Step::FindProgram {
                name: &c_string(name),
                environment: StrBlock(&environment),
            };
            self.step("a missing program is told by create", &step);
        }
        self.plan.holds = true;
        let listener = self.source(Source::Listener);
        self.step("until `start`", &Step::AwaitConnection { listener });
    }

    /// `execCPUAffinity`.
    fn plan_affinity(&mut self) -> Result<(), PlanError> {
        let Some(affinity) = self
            .process
            .and_then(|process| process.exec_cpu_affinity.as_ref())
        else {
            return Ok(());
        };
        let parse = |list: &Option<String>| {
            let list = list.as_deref().filter(|list| !list.is_empty());
            list.map(|list| {
                cais_linux::limits::sched::parse_cpu_list(list).ok_or_else(|| PlanError::Unknown {
                    path: "process.execCPUAffinity",
                    value: list.to_owned(),
                })
            })
            .transpose()
        };
        self.plan.initial_affinity = parse(&affinity.initial)?;
        if let Some(mask) = parse(&affinity.last)? {
            self.step(
                "asked for by process.execCPUAffinity.final",
                &Step::SetAffinity { mask: &mask },
            );
        }
        Ok(())
    }

    fn plan_stdio(&mut self) {
        let terminal = self.process.is_some_and(|process| process.terminal);
        if terminal {
            let size = self.process.and_then(|process| process.console_size.as_ref());
            let cut = |value: u64| u16::try_from(value).unwrap_or(u16::MAX);
            let (rows, columns) = size.map_or((0, 0), |size| (cut(size.height), cut(size.width)));
            let bind = !self.joins_container;
            self.step(
                "the container's own devpts gives the terminal",
                &Step::OpenTerminal { bind, rows, columns },
            );
            return;
        }
        let [input, output, error] = [0, 1, 2].map(|index| self.source(Source::Stdio(index)));
        self.step(
            "the pipes of the monitor",
            &Step::SetStdio { input, output, error },
        );
    }

    fn finish(self) -> Result<Plan, PlanError> {
        if self.plan.sources.len() + usize::from(self.opened_inside) > cais_init::stage::MAX_SLOTS {
            return Err(PlanError::TooMany {
                count: self.plan.sources.len(),
                limit: cais_init::stage::MAX_SLOTS,
            });
        }
        Ok(self.plan)
    }

    /// The slot of the host's null device, mounted over the container's own.
    pub(super) fn null_device(&mut self) -> Slot {
        if let Some(slot) = self.null {
            return slot;
        }
        let slot = self.device(Source::Device {
            path: "/dev/null".into(),
            kind: FileType::CharacterDevice,
            major: 1,
            minor: 3,
        });
        self.null = Some(slot);
        slot
    }
}

/// The lower layers as the stub takes them.
fn layer_block(layers: &Layers) -> Vec<u8> {
    let lower = layers
        .lower
        .iter()
        .map(|path| path.to_string_lossy().into_owned());
    str_block(&lower.collect::<Vec<_>>())
}

/// What the host's tree becomes for the container: slave where mounts of the host
/// should travel in, private otherwise.
pub(super) fn tree_propagation(word: Option<&str>) -> Result<u64, PlanError> {
    match word {
        None | Some("private" | "rprivate") => Ok(MS_PRIVATE),
        // Shared is set on the container's own root afterwards.
        Some("slave" | "rslave" | "shared" | "rshared") => Ok(MS_SLAVE),
        Some("unbindable" | "runbindable") => Ok(MS_PRIVATE),
        Some(other) => Err(PlanError::Unknown {
            path: "linux.rootfsPropagation",
            value: other.to_owned(),
        }),
    }
}
