//! Archives made again bit for bit, and what later entries do to earlier ones.

use super::*;

fn contents(scratch: &Scratch, name: &str) -> String {
    std::fs::read_to_string(scratch.staging().join(name)).unwrap()
}

/// The steps, a file, and what it has then.
const REPLACED: &[(&str, &str, &str)] = &[
    ("f a one; f a two; f a three", "a", "three"),
    ("f a/b/c one; f a/d two; f a three", "a", "three"),
    ("f a one; d a; f a/b two", "a/b", "two"),
    ("f a one; f b two; l a b", "a", "two"),
    ("f a one; h b a; f b two; f b three; f a four", "b", "three"),
    ("f a one; f b two; h b a; f b six; f a x", "b", "six"),
    (
        "f a one; h b a; f a two; f b three; h a b; f a four",
        "b",
        "three",
    ),
    ("f a one; h a a; f a two", "a", "two"),
    ("f a/a 1; f a 2; f a/./../a 3; d a; f a/a 4", "a/a", "4"),
    ("f ./a 1; f //a 2; f x/../a 3", "a", "3"),
    ("d d; l l d; f l/a 1; f d/a 2; f l/a 3", "d/a", "3"),
    ("l l d; f l/a 1; l l e; f l/a 2", "e/a", "2"),
    ("f a x*700000; f a y", "a", "y"),
    (
        "f d/e/f/g 1; f d/e/h 2; f d/i 3; f d/e/j 4; f d/e 5; f d/e 6; f d 7",
        "d",
        "7",
    ),
];

#[test]
fn replaced_files() {
    let scratch = Scratch::new();
    for (text, file, want) in REPLACED {
        scratch.check_exact(&steps(text, "").end(), &UnpackOptions::rootless());
        assert_eq!(contents(&scratch, file), *want, "{text}");
    }
}

#[test]
fn odd_archives() {
    let scratch = Scratch::new();
    let file = || Raw::default().file("a", &[7; 1500]);
    let aufs = file()
        .dir(".wh..wh.plnk/", "700")
        .file(".wh..wh.plnk/1.2", &[1; 3000])
        .file(".wh..wh.aufs", b"x")
        .end();
    for archive in [
        Vec::new(),
        Raw::default().end(),
        file().0,
        [file().0, vec![0; 512]].concat(),
        [file().end(), vec![0; 9000]].concat(),
        [file().end(), b"something else".to_vec()].concat(),
        file().header(b"d", b'5', 512, b"").file("b", b"").end(),
        file()
            .file(".wh.x", b"not empty")
            .file(".wh..wh..opq", &[3; 600])
            .end(),
        file().header(b"b", b'7', 3, b"").body(b"abc").end(),
        file().extended(b'g', &[("comment", b"x")]).file("b", b"b").end(),
        aufs,
    ] {
        scratch.check_exact(&archive, &UnpackOptions::rootless());
    }
    let padded = {
        let mut bytes = file().end();
        bytes[512 + 1500] = 1;
        bytes
    };
    scratch.check_exact(&padded, &UnpackOptions::rootless());
}

#[test]
fn implied_and_deferred() {
    let scratch = Scratch::new();
    let archive = Raw::default()
        .file("a/b/c", b"")
        .dir("a/b/", "700")
        .file("x/y/z", b"")
        .file("gone/sub/f", b"")
        .file("gone", b"")
        .link("here", b'1', "a/b/c")
        .link("below", b'1', "usr/bin/tool")
        .link("again", b'1', "below")
        .link("taken", b'1', "usr/bin/tool")
        .file("taken", b"")
        .link("w/tree", b'1', "usr/bin/tool")
        .file("w", b"")
        .file(".wh.hidden", b"")
        .link("later", b'1', "hidden")
        .file(".wh.later", b"")
        .end();
    let unpacked = scratch.check_exact(&archive, &UnpackOptions::rootless());
    assert_eq!(paths(&unpacked.implied), ["a", "x", "x/y"]);
    let deferred: Vec<(&str, &str)> = unpacked
        .deferred
        .iter()
        .map(|link| (link.path.to_str().unwrap(), link.target.to_str().unwrap()))
        .collect();
    assert_eq!(
        deferred,
        [
            ("again", "usr/bin/tool"),
            ("below", "usr/bin/tool"),
            ("later", "hidden")
        ]
    );
    assert!(!unpacked.root_described && !unpacked.root_opaque);
    assert_eq!(unpacked.entries, 15);
}

/// A damaged record, and a directory that was changed, are errors.
#[test]
fn changes_are_noticed() {
    let scratch = Scratch::new();
    let archive = Raw::default().file("a", b"one").file("b", b"two").end();
    let mut record = Vec::new();
    let staging = scratch.fresh();
    unpack_layer(
        &archive[..],
        staging.as_fd(),
        Some(&mut record),
        &UnpackOptions::rootless(),
    )
    .unwrap();
    let assemble = |record: &[u8]| assemble_layer(staging.as_fd(), Cursor::new(record), std::io::sink());
    assemble(&record).unwrap();
    assert!(matches!(
        assemble(&record[..record.len() - 1]),
        Err(AssembleError::Record(_))
    ));
    assert!(matches!(assemble(b""), Err(AssembleError::Record(_))));
    let mut damaged = record.clone();
    damaged[record.len() / 2] ^= 0xff;
    assert!(assemble(&damaged).is_err());
    std::fs::write(scratch.staging().join("a"), "two").unwrap();
    assert!(matches!(assemble(&record), Err(AssembleError::Changed { .. })));
    std::fs::write(scratch.staging().join("a"), "").unwrap();
    assert!(matches!(assemble(&record), Err(AssembleError::File(_))));
    std::fs::remove_file(scratch.staging().join("a")).unwrap();
    std::os::unix::fs::symlink("b", scratch.staging().join("a")).unwrap();
    assert!(matches!(assemble(&record), Err(AssembleError::File(_))));
}
