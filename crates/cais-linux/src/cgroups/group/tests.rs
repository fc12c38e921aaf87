//! The logic on directories that look like hierarchies.

use super::super::make::{enable_controllers, inherit_cpuset};
use super::super::resources::{Memory, Resources};
use super::*;
use std::fs;
use std::path::PathBuf;

/// Directories that look like hierarchies: the logic runs on them without privilege.
struct Fixture(PathBuf);

impl Fixture {
    fn new(name: &str) -> Self {
        let base = std::env::temp_dir().join(format!("cais-cgroup-{name}-{}", std::process::id()));
        fs::create_dir_all(&base).unwrap();
        Self(base)
    }

    fn hierarchy(&self, name: &str, controllers: &[&str]) -> Hierarchy {
        let path = self.0.join(name);
        fs::create_dir_all(&path).unwrap();
        Hierarchy {
            path,
            controllers: controllers.iter().map(|name| (*name).to_owned()).collect(),
        }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn create(layout: &Layout, path: &str, resources: &Resources) -> Result<()> {
    Group::begin(layout, path, resources)?.complete().map(drop)
}

#[test]
fn a_failed_creation_leaves_nothing() {
    let fixture = Fixture::new("undo");
    let memory = fixture.hierarchy("memory", &["memory"]);
    let layout = Layout {
        v1: vec![memory.clone()],
        v2: None,
    };
    let limits = Resources {
        memory: Memory {
            limit: Some(1),
            ..Memory::default()
        },
        ..Resources::default()
    };
    // There is no `tasks` file in a plain directory.
    assert!(matches!(
        create(&layout, "x", &limits),
        Err(CgroupError::System(_))
    ));
    let missing = Resources {
        pids: Some(1),
        ..Resources::default()
    };
    assert!(matches!(
        create(&layout, "y", &missing),
        Err(CgroupError::NoController { .. })
    ));
    assert!(!memory.path.join("y").exists());
}

#[test]
fn a_cpuset_is_inherited_from_the_top_down() {
    let fixture = Fixture::new("cpuset");
    let cpuset = fixture.hierarchy("cpuset", &["cpuset"]);
    for (directory, cpus) in [("", "0-3\n"), ("a", ""), ("a/b", "\n")] {
        let path = cpuset.path.join(directory);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("cpuset.cpus"), cpus).unwrap();
        fs::write(
            path.join("cpuset.mems"),
            if directory.is_empty() { "0\n" } else { "" },
        )
        .unwrap();
    }
    let base = open_base(&cpuset).unwrap();
    inherit_cpuset(base.as_fd(), "a/b").unwrap();
    assert_eq!(
        fs::read_to_string(cpuset.path.join("a/b/cpuset.cpus")).unwrap(),
        "0-3"
    );
    assert_eq!(
        fs::read_to_string(cpuset.path.join("a/cpuset.mems")).unwrap(),
        "0"
    );
}

#[test]
fn controllers_are_offered_on_the_way_down() {
    let fixture = Fixture::new("enable");
    let unified = fixture.hierarchy("unified", &[]);
    fs::create_dir_all(unified.path.join("a")).unwrap();
    fs::write(unified.path.join("cgroup.subtree_control"), "cpu memory\n").unwrap();
    fs::write(unified.path.join("a/cgroup.subtree_control"), "").unwrap();
    let base = open_base(&unified).unwrap();
    enable_controllers(base.as_fd(), "a/b", "cpu memory misc pids\n").unwrap();
    // A plain file keeps the beginning of what was there; the kernel's adds to it.
    assert!(
        fs::read_to_string(unified.path.join("cgroup.subtree_control"))
            .unwrap()
            .starts_with("+pids")
    );
    assert_eq!(
        fs::read_to_string(unified.path.join("a/cgroup.subtree_control")).unwrap(),
        "+cpu +memory +pids"
    );
}

#[test]
fn a_weight_finds_the_file_that_is_there() {
    let fixture = Fixture::new("weight");
    let io = fixture.hierarchy("io", &[]);
    fs::create_dir_all(io.path.join("x")).unwrap();
    fs::write(io.path.join("x/io.weight"), "").unwrap();
    let files = ["io.bfq.weight", "io.weight"].map(str::to_owned).to_vec();
    let write = Write {
        files,
        ..Write::new("io", "", 1000)
    };
    apply(open_base(&io).unwrap().as_fd(), "x", &write).unwrap();
    assert_eq!(fs::read_to_string(io.path.join("x/io.weight")).unwrap(), "10000");
    let absent = Write::new("io", "io.max", "8:0 rbps=1");
    assert!(matches!(
        apply(open_base(&io).unwrap().as_fd(), "x", &absent),
        Err(CgroupError::Refused { .. })
    ));
}
