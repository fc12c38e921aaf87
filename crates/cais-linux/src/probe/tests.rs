use super::*;

/// Every probe of this machine gives an answer.
#[test]
fn everything_is_answered() {
    let findings = probe_all(Path::new("/var/lib/cais"));
    for finding in &findings {
        println!("{:34} {:8} {}", finding.feature, finding.state, finding.detail);
        assert!(!finding.without.is_empty(), "{}", finding.feature);
    }
    let mut names: Vec<_> = findings.iter().map(|finding| finding.feature).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count, "two findings of one name");
}

#[test]
fn features_answer_twice_the_same() {
    let features = Features::new();
    assert!(features.kernel() > KernelVersion::new(4, 0));
    for _ in 0..2 {
        assert_eq!(
            features.landlock_abi(),
            crate::lsm::landlock::read_abi().unwrap_or(0)
        );
    }
    assert_eq!(features.effective_capabilities(), read_effective().unwrap());
    assert_eq!(features.can_clone_into_cgroup(), features.can_clone_into_cgroup());
    assert_eq!(
        features.can_make_detached_mounts(),
        features.can_make_detached_mounts()
    );
    assert_eq!(
        features.overlay_takes_descriptors(),
        features.overlay_takes_descriptors()
    );
}
