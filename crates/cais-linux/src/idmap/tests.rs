use super::*;

fn map(inside: u32, outside: u32, count: u32) -> IdMap {
    IdMap {
        inside,
        outside,
        count,
    }
}

#[test]
fn checks() {
    let (a, b) = (map(0, 1000, 10), map(9, 5000, 1));
    let c = map(20, 1009, 1);
    let high = map(0, u32::MAX - 1, 2);
    for (maps, want) in [
        (vec![], Err(IdMapError::Empty)),
        (vec![a], Ok(())),
        (vec![map(0, 0, u32::MAX)], Ok(())),
        (vec![map(0, u32::MAX - 1, 1)], Ok(())),
        (vec![high], Err(IdMapError::OutOfRange { extent: high })),
        (
            vec![map(0, 0, 0)],
            Err(IdMapError::OutOfRange { extent: map(0, 0, 0) }),
        ),
        (vec![a, b], Err(IdMapError::Overlap { first: a, second: b })),
        (vec![a, c], Err(IdMapError::Overlap { first: a, second: c })),
        (vec![a, map(10, 1010, 5)], Ok(())),
        (vec![a; 341], Err(IdMapError::TooLong { count: 341 })),
    ] {
        assert_eq!(check_maps(&maps), want, "{maps:?}");
    }
}

#[test]
fn rendering() {
    let maps = [map(0, 100_000, 1000), map(1000, 1000, 1)];
    assert_eq!(render_maps(&maps).unwrap(), "0 100000 1000\n1000 1000 1\n");
    let many: Vec<_> = (0..340)
        .map(|n| map(1_000_000_000 + n, 2_000_000_000 + n, 1))
        .collect();
    assert_eq!(render_maps(&many), Err(IdMapError::TooLong { count: 340 }));
    let fits: Vec<_> = (0..340).map(|n| map(n, 1000 + n, 1)).collect();
    assert!(render_maps(&fits).is_ok());
}

#[test]
fn translation() {
    let maps = [map(0, 100_000, 1000), map(1000, 1000, 1), map(1001, 101_000, 500)];
    for (inside, outside) in [
        (0, 100_000),
        (999, 100_999),
        (1000, 1000),
        (1001, 101_000),
        (1500, 101_499),
    ] {
        assert_eq!(to_outside(&maps, inside), Some(outside));
        assert_eq!(to_inside(&maps, outside), Some(inside));
    }
    for id in [1501, u32::MAX] {
        assert_eq!(to_outside(&maps, id), None);
    }
    for id in [0, 999, 1001, 99_999, 101_500] {
        assert_eq!(to_inside(&maps, id), None);
    }
}

#[test]
fn pool() {
    let range = |index| IdRange {
        start: POOL_FIRST + index * RANGE_SIZE,
        count: RANGE_SIZE,
    };
    assert_eq!(plan_range(0, &[]), Some(range(0)));
    let last = plan_range(POOL_RANGES - 1, &[]).unwrap();
    assert_eq!(last.end(), u64::from(POOL_LAST) + 1);
    assert_eq!(plan_range(POOL_RANGES, &[]), None);
    assert_eq!(plan_range(u32::MAX, &[]), None);
    let one = IdRange {
        start: POOL_FIRST + 3 * RANGE_SIZE,
        count: 1,
    };
    let wide = IdRange {
        start: POOL_FIRST - 10,
        count: 11,
    };
    let taken = [one, wide];
    let free: Vec<_> = (0..5)
        .filter(|index| plan_range(*index, &taken).is_some())
        .collect();
    assert_eq!(free, [1, 2, 4]);
}

#[test]
fn keep_id() {
    let range = IdRange {
        start: 100_000,
        count: 65_536,
    };
    for (caller, want) in [
        (
            1000,
            vec![
                map(0, 100_000, 1000),
                map(1000, 1000, 1),
                map(1001, 101_000, 64_536),
            ],
        ),
        (0, vec![map(0, 0, 1), map(1, 100_000, 65_536)]),
        (
            65_535,
            vec![
                map(0, 100_000, 65_535),
                map(65_535, 65_535, 1),
                map(65_536, 165_535, 1),
            ],
        ),
        (65_536, vec![map(0, 100_000, 65_536), map(65_536, 65_536, 1)]),
        (
            4_294_967_294,
            vec![map(0, 100_000, 65_536), map(4_294_967_294, 4_294_967_294, 1)],
        ),
    ] {
        let maps = plan_keep_id(caller, range);
        assert_eq!(maps, want);
        assert_eq!(check_maps(&maps), Ok(()));
        assert_eq!(to_outside(&maps, caller), Some(caller));
    }
    assert!(check_maps(&plan_keep_id(100_001, range)).is_err());
    assert_eq!(plan_whole(range), [map(0, 100_000, 65_536)]);
}

#[test]
fn subordinate_ids() {
    let text = b"# comment:1:2\nuser:100000:65536\n1001:165536:65536\nbad:1:x\nend:4294967290:100\nno:5\nzero:5:0\nuser:300000:10\n";
    let entries: Vec<_> = parse_subid(text).collect();
    assert_eq!(entries.len(), 3);
    let of_user: Vec<_> = entries
        .iter()
        .filter(|entry| entry.is_of(b"user", 1000))
        .map(|entry| entry.range.start)
        .collect();
    assert_eq!(of_user, [100_000, 300_000]);
    assert!(entries[1].is_of(b"other", 1001));
    assert!(!entries[1].is_of(b"other", 1000));
}
