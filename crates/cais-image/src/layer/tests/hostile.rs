//! Archives that somebody hostile would make: the shapes of breakouts, and the table of
//! CVEs in facts/images-build.md 6.5 and 6.6.

use super::*;
use std::os::unix::fs::PermissionsExt;

fn check(scratch: &Scratch, what: &str, result: &Result<Unpacked, UnpackError>, expected: Option<&str>) {
    scratch.check_canary();
    match (result, expected) {
        (Ok(_), None) => {}
        (Err(error), Some(expected)) => {
            let text = error.to_string();
            assert!(text.contains(expected), "{what}: {text}");
            assert!(
                text.contains("entry \""),
                "{what}: the error names no entry: {text}"
            );
        }
        (result, _) => panic!("{what}: {result:?}, expected {expected:?}"),
    }
}

/// What it is, the steps, and what the error says where it is one.
type Case = (&'static str, &'static str, Option<&'static str>);

/// Unpacks each archive in every form: the canary stays, and the staging can be emptied.
fn check_all(cases: &[Case]) {
    let scratch = Scratch::new();
    let canary = scratch.base.join("canary");
    let mode = std::fs::metadata(&canary).unwrap().permissions().mode();
    for (what, text, expected) in cases {
        let archive = steps(text, canary.to_str().unwrap()).end();
        for options in [UnpackOptions::privileged(), UnpackOptions::rootless()] {
            if options.form == Form::Rootless || is_root() {
                check(&scratch, what, &scratch.unpack(&archive, &options), *expected);
            }
        }
        drop(scratch.fresh());
    }
    // CVE-2021-32760, CVE-2026-33056: no mode was set through a link.
    assert_eq!(std::fs::metadata(&canary).unwrap().permissions().mode(), mode);
}

const SYMBOLIC: &[Case] = &[
    ("absolute", "l evil CANARY; f evil/file", None),
    ("up and out", "l evil ../../canary; f evil/file", None),
    (
        "absolute chain",
        "l one CANARY; l two one; l three two/dir; f three/file; f two/file",
        None,
    ),
    (
        "relative chain",
        "l one ../../canary; l two one; l three two/dir; f three/file; f two/file",
        None,
    ),
    ("absolute links of links", "l a /b; l b CANARY; f a/file", None),
    ("empty file", "l evil ../../canary; e evil/file", None),
    ("parent", "l evil ..; f evil/canary/file", None),
    ("grandparent", "l evil ../..; f evil/canary/file", None),
    ("relative parent", "l a/evil ../../../canary; f a/evil/file", None),
    ("target ends in a slash", "l evil CANARY/; f evil/file", None),
    ("onto the link", "l evil CANARY; f evil", None),
    ("onto a link to a file", "l evil ../../canary/file; f evil", None),
    ("through dot dot", "l evil CANARY; f evil/../evil/file", None),
    ("link over a directory", "d d/; e d/x; l d CANARY; f d/file", None),
    (
        "relative link over a directory",
        "d d/; l d ../../canary; f d/file",
        None,
    ),
    (
        "directory over a link",
        "l evil CANARY; f evil/file; d evil/ 777; f evil/file",
        None,
    ),
    (
        "directory over links",
        "l s ../../canary; h h s; d s 777; d h 777; e h/file",
        None,
    ),
    (
        "mkdir through a link",
        "l evil ../../canary; d evil/new/ 777; d evil/dir/ 777",
        None,
    ),
    (
        "a link through a link",
        "l evil ../../canary; l evil/link /etc/passwd",
        None,
    ),
    ("a pipe through a link", "l evil ../../canary; p evil/file", None),
    ("mode of a link", "l evil CANARY; d evil 777", None),
    ("mode through a link", "l evil CANARY; d evil/. 777", None),
    ("loop", "l a b; l b a; f a/file", Some("too many symbolic links")),
    ("itself", "l a a; f a/file", Some("too many symbolic links")),
    ("through a file", "e a; e a/b", Some("is no directory")),
    ("nothing", "l a ''", Some("points to nothing")),
    ("to a whiteout", "l a .wh.b; f a/file", Some("for whiteouts")),
    ("deep", "l a x/*40; f a/file; l b a/*40; e b/f", None),
];

#[test]
fn symbolic_links_stay_inside() {
    check_all(SYMBOLIC);
}

const HARD: &[Case] = &[
    (
        "relative up and out",
        "h h ../../canary/file; f h",
        Some("leads out"),
    ),
    (
        "down and out",
        "h h a/../../../canary/file; f h",
        Some("leads out"),
    ),
    ("relative and long", "h h ../*30; f h", Some("leads out")),
    ("absolute, up", "h h /../../canary/file; f h", Some("leads out")),
    ("absolute", "h h CANARY/file; f h", None),
    (
        "through a relative link",
        "l s ../../canary; h h s/file; f h",
        None,
    ),
    ("through an absolute link", "l s CANARY; h h s/file; f h", None),
    ("before its link", "h h s/file; l s ../../canary; f h", None),
    ("to a link to the canary", "l s CANARY/file; h h s; f h", None),
    (
        "to a link, then mode",
        "l s CANARY; h h s; d h 777; d s 777",
        None,
    ),
    ("over a link", "e a; l h CANARY/file; h h a; f h", None),
    ("to itself, twice", "e h; h h h; h ./h /h", None),
    ("to itself", "h h h", Some("points to itself")),
    (
        "to itself as a link",
        "l h CANARY; h h h",
        Some("points to itself"),
    ),
    ("into itself", "e h/x; h h h/x", Some("points to itself")),
    ("to a directory", "d d; h h d", Some("points to the directory")),
    ("to the root", "h h /", Some("points to the directory")),
    ("to nothing", "h h ''", Some("points to nothing")),
    ("to a whiteout", "h h d/.wh.x", Some("for whiteouts")),
];

#[test]
fn hard_links_stay_inside() {
    check_all(HARD);
}

const WHITEOUTS: &[Case] = &[
    ("parent of the root", "e .wh...", Some("names no file")),
    ("parent", "e d/.wh...", Some("names no file")),
    ("root", "e .wh..", Some("names no file")),
    ("directory itself", "e d/.wh..", Some("names no file")),
    ("nothing", "e d/.wh.", Some("names no file")),
    ("below one", "e d/.wh.a/b", Some("for whiteouts")),
    ("relative", "e ../.wh.canary", Some("leads out")),
    ("relative, inside", "e d/x; e d/../.wh.d", None),
    ("of a link", "l evil CANARY; e .wh.evil", None),
    ("through a link", "l evil CANARY; e evil/.wh.file", None),
    (
        "opaque through a link",
        "l evil CANARY; e evil/.wh..wh..opq",
        None,
    ),
    ("of a directory", "e d/x; e .wh.d", None),
    ("below a dead link", "l dead nowhere/at/all; e dead/.wh.x", None),
    ("of AUFS", "e .wh..wh.plnk/1.2", None),
    ("linked to AUFS", "h l .wh..wh.plnk/1.2", Some("for whiteouts")),
    ("a directory", "d .wh.x/; e y", None),
    ("device", "c dev", Some("0:0")),
    ("device over a file", "e dev; c dev", Some("0:0")),
];

#[test]
fn whiteouts_stay_inside() {
    check_all(WHITEOUTS);
}

/// The roots are CVE-2021-29136.
const NAMES: &[Case] = &[
    ("up", "f ../../canary/file", Some("leads out")),
    ("down and up", "f a/../../../canary/file", Some("leads out")),
    ("absolute and up", "f /../../canary/file", Some("leads out")),
    ("up by a directory", "d .. 777", Some("leads out")),
    ("absolute", "f CANARY/file", None),
    ("slashes", "f //a///b//", None),
    ("empty", "f ''", Some("name is empty")),
    (
        "root is a link",
        "l . /etc; f passwd",
        Some("must be a directory"),
    ),
    (
        "root is a link",
        "l / /etc; f passwd",
        Some("must be a directory"),
    ),
    (
        "root is a link",
        "l ./ /etc; f passwd",
        Some("must be a directory"),
    ),
    (
        "root is a link",
        "l a/.. /etc; f passwd",
        Some("must be a directory"),
    ),
    ("root is a hard link", "h . /etc", Some("must be a directory")),
    ("root is a file", "f ./", Some("must be a directory")),
    ("root is a pipe", "p .", Some("must be a directory")),
    ("root is a directory", "d ./; f passwd", None),
];

#[test]
fn names_and_roots() {
    check_all(NAMES);
    let scratch = Scratch::new();
    let name = Raw::default().pax(&[("path", &[b'n'; 256])]).file("x", b"").end();
    let link = Raw::default()
        .pax(&[("linkpath", &[b'l'; 4096])])
        .link("x", b'2', "y")
        .end();
    for archive in [name, link] {
        let result = scratch.unpack(&archive, &UnpackOptions::rootless());
        check(&scratch, "too long", &result, Some("too long"));
    }
}

/// What would tell overlayfs to hide or redirect something.
#[test]
fn tricks_on_overlayfs() {
    let scratch = Scratch::new();
    let keys = [
        "opaque",
        "redirect",
        "metacopy",
        "whiteout",
        "origin",
        "overlay.opaque",
    ];
    let mut records: Vec<(String, &[u8])> = Vec::new();
    for key in keys {
        records.push((format!("SCHILY.xattr.user.overlay.{key}"), b"y"));
        records.push((format!("SCHILY.xattr.trusted.overlay.{key}"), b"y"));
    }
    records.push(("LIBARCHIVE.xattr.user.overlay.upper".to_owned(), b"eQ"));
    let records: Vec<(&str, &[u8])> = records.iter().map(|(key, value)| (&key[..], *value)).collect();
    let archive = Raw::default()
        .pax(&records)
        .dir("d/", "755")
        .pax(&records)
        .file("f", b"")
        .end();
    for options in [UnpackOptions::privileged(), UnpackOptions::rootless()] {
        if options.form == Form::Privileged && !is_root() {
            continue;
        }
        let unpacked = scratch.unpack(&archive, &options).unwrap();
        let (own, other) = match options.form {
            Form::Privileged => ("trusted.overlay.", "user.overlay."),
            Form::Rootless => ("user.overlay.", "trusted.overlay."),
        };
        let lines = listing(&scratch.staging(), true).join("\n");
        assert_eq!(lines.matches(other).count(), 0, "{lines}");
        assert_eq!(
            lines.matches(own).count(),
            lines.matches(&format!("{own}overlay.")).count(),
            "{lines}"
        );
        assert_eq!(
            lines.matches(&format!("{own}overlay.overlay.opaque")).count(),
            2,
            "{lines}"
        );
        assert!(
            unpacked
                .left_out
                .iter()
                .any(|left| left.attribute.as_deref() == Some(&format!("{other}opaque")[..]))
        );
    }
}

/// Bombs of number, depth, size and of what is kept aside.
#[test]
fn limits() {
    let scratch = Scratch::new();
    let mut options = UnpackOptions::rootless();
    options.limits = UnpackLimits {
        entries: 50,
        depth: 20,
        bytes: 10_000,
        inline: 3_000,
        ..UnpackLimits::default()
    };
    let many = (0..51).fold(Raw::default(), |raw, n| raw.file(&n.to_string(), b""));
    let directories = (0..45).fold(Raw::default(), |raw, _| raw.dir(&"n".repeat(90), "755"));
    let deferred = (0..9).fold(Raw::default(), |raw, n| {
        let path = format!("{n}").repeat(90);
        raw.link(&path, b'1', &"x".repeat(100))
            .link(&format!("{path}y"), b'1', &"x".repeat(100))
            .link(&format!("{path}z"), b'1', &"x".repeat(100))
    });
    let deep = "d/".repeat(21);
    let links = Raw::default()
        .link("a", b'2', &"x/".repeat(10))
        .link("b", b'2', &"a/x/x/x/".repeat(3))
        .file("b/b/f", b"");
    options.limits.memory = 6000;
    let twice = |size| Raw::default().file("a", &vec![1; size]).file("a", b"");
    for (what, raw, expected) in [
        ("entries", many, "entries: more than 50"),
        (
            "depth",
            Raw::default().file(&deep, b""),
            "directories in each other",
        ),
        ("depth through links", links, "directories in each other"),
        (
            "bytes",
            Raw::default().file("a", &[0; 6000]).file("b", &[0; 6000]),
            "bytes of contents",
        ),
        (
            "size that lies",
            Raw::default().header(b"a", b'0', 4 << 30, b""),
            "bytes of contents",
        ),
        ("replaced", twice(4000), "later entry replaces"),
        (
            "replaced tree",
            Raw::default()
                .file("a/b/c", &[1; 2000])
                .file("a/d", &[1; 2000])
                .file("a", b""),
            "later entry replaces",
        ),
        ("directories", directories, "bytes of directories"),
        ("deferred links", deferred, "bytes of directories"),
        (
            "whiteout",
            Raw::default().file(".wh.x", &[1; 4000]),
            "later entry replaces",
        ),
    ] {
        let mut record = Vec::new();
        let result = unpack_layer(
            &raw.end()[..],
            scratch.fresh().as_fd(),
            Some(&mut record),
            &options,
        );
        check(&scratch, what, &result, Some(expected));
    }
    assert!(
        scratch.unpack(&twice(4000).end(), &options).is_ok(),
        "nothing is kept without a record"
    );
    let trailing = [Raw::default().end(), vec![0; 4000]].concat();
    assert!(scratch.unpack(&trailing, &options).is_err());
    assert!(scratch.unpack(&trailing[..3000], &options).is_ok());
}

/// CVE-2025-47290: somebody swaps a directory for a link while things are made in it.
#[test]
fn a_directory_is_swapped_meanwhile() {
    use rustix::fs::{RenameFlags, renameat_with};
    use std::sync::atomic::AtomicBool;
    let scratch = Scratch::new();
    let canary = scratch.base.join("canary");
    std::os::unix::fs::symlink(&canary, scratch.base.join("swap")).unwrap();
    let mut raw = Raw::default();
    for directory in 0..20 {
        for number in 0..20 {
            // Other directories between, so that it is opened again and again.
            raw = raw
                .file(&format!("d/file{number}-{directory}"), b"hacked")
                .file(&format!("e{}/x", number % 17), b"");
            raw = raw.file("d/file", b"hacked").dir("d/dir", "777");
        }
    }
    let archive = raw.end();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (one, other) = (scratch.base.join("deep/staging/d"), scratch.base.join("swap"));
            while !stop.load(Ordering::Relaxed) {
                // Nothing is there at first.
                _ = renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE);
            }
        });
        for _ in 0..6 {
            // Whether it ends well is chance.
            drop(unpack_layer(
                &archive[..],
                open_dir(&scratch.staging()).as_fd(),
                None,
                &UnpackOptions::rootless(),
            ));
        }
        stop.store(true, Ordering::Relaxed);
    });
    scratch.check_canary();
}

/// CVE-2025-62518 as a layer: the same files as for everybody else.
#[test]
fn sizes_of_extended_headers() {
    let scratch = Scratch::new();
    let inner = Raw::default().file("inner", b"hidden").end();
    let archive = Raw::default()
        .pax(&[("size", inner.len().to_string().as_bytes())])
        .long(b'L', b"file_a")
        .header(b"short", b'0', 0, b"")
        .body(&inner)
        .file("file_b", b"b")
        .end();
    scratch.check_exact(&archive, &UnpackOptions::rootless());
    let mut there: Vec<_> = std::fs::read_dir(scratch.staging())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    there.sort();
    assert_eq!(there, ["file_a", "file_b"]);
}

/// Damaged archives of every kind: no panic, nothing outside, and what is accepted is made
/// again bit for bit.
#[test]
fn damage_at_random() {
    let scratch = Scratch::new();
    let canary = scratch.base.join("canary");
    let whole = Raw::default()
        .pax(&[
            ("path", b"long/name"),
            ("mtime", b"1.5"),
            ("SCHILY.xattr.user.a", b"1"),
        ])
        .file("x", &[b'x'; 700])
        .link("evil", b'2', canary.to_str().unwrap())
        .file("evil/file", b"y")
        .long(b'L', b"another/long/name")
        .file("y", b"z")
        .pax(&[("GNU.sparse.map", b"0,5,512,5"), ("GNU.sparse.size", b"4096")])
        .file("sparse", b"0123456789")
        .link("h", b'1', "long/name")
        .dir("long", "700")
        .file("long/.wh..wh..opq", b"")
        .file("long/.wh.gone", b"")
        .end();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % limit as u64).unwrap()
    };
    let mut options = UnpackOptions::rootless();
    options.limits.bytes = 1 << 20;
    let mut accepted = 0;
    for _ in 0..1500 {
        let mut archive = whole.clone();
        for _ in 0..=next(3) {
            let place = next(archive.len());
            archive[place] = b"\0/.09x\n=\xff"[next(9)];
            // Most headers are right again, so that it is not only the checksum.
            let block = place / 512 * 512;
            if archive[block + 257..block + 262] == *b"ustar" && next(8) != 0 {
                archive = reseal(archive, block);
            }
        }
        let mut record = Vec::new();
        let staging = scratch.fresh();
        if unpack_layer(&archive[..], staging.as_fd(), Some(&mut record), &options).is_ok() {
            let mut again = Vec::new();
            assemble_layer(staging.as_fd(), Cursor::new(&record), &mut again).unwrap();
            assert!(again == archive);
            accepted += 1;
        }
    }
    scratch.check_canary();
    assert!((100..1400).contains(&accepted), "{accepted}");
}

/// Sets the checksum of the header at `block` right.
fn reseal(mut archive: Vec<u8>, block: usize) -> Vec<u8> {
    let rest = archive.split_off(block + 512);
    let mut archive = Raw(archive).put(0, b"").0;
    archive.extend_from_slice(&rest);
    archive
}
