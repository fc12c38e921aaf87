//! Many at once.

use crate::support::TestEnv;

#[test]
fn sixty_four_starts_side_by_side() {
    let env = TestEnv::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    (0..4)
                        .map(|_| env.cais(&["run", "--rm", "host", "true"]))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        for done in threads.into_iter().flat_map(|thread| thread.join().unwrap()) {
            assert_eq!(done.code, 0, "{}", done.stderr);
        }
    });
    assert_eq!(env.leftovers(), Vec::<String>::new());
}

#[test]
fn a_name_is_given_once() {
    let env = TestEnv::new();
    let codes: Vec<i32> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    env.cais(&["run", "-d", "--name", "only", "host", "sleep", "1000"])
                        .code
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    assert_eq!(env.ok(&["ps", "-q"]).lines().count(), 1);
}
