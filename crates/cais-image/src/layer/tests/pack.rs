//! Directories of overlayfs become archives, and the reverse, in all forms.

use super::*;
use crate::tar::{Entry, Limits, Reader};

fn names(archive: &[u8]) -> Vec<String> {
    let mut reader = Reader::new(archive, Limits::default());
    let (mut entry, mut names) = (Entry::default(), Vec::new());
    while reader.next_entry(&mut entry).unwrap() {
        names.push(entry.name());
    }
    names
}

pub(crate) fn forms() -> Vec<UnpackOptions> {
    let mut forms = Vec::new();
    for whiteouts in [Whiteouts::Devices, Whiteouts::Attributes] {
        forms.push(UnpackOptions {
            whiteouts,
            ..UnpackOptions::rootless()
        });
        if is_root() {
            forms.push(UnpackOptions {
                whiteouts,
                ..UnpackOptions::privileged()
            });
        }
    }
    forms
}

#[test]
fn whiteouts_there_and_back() {
    let scratch = Scratch::new();
    let archive = Raw::default()
        .dir("b/", "755")
        .file("b/new", b"new")
        .file("b/.wh..wh..opq", b"")
        .file("b/.wh.pointless", b"")
        .dir("c/", "755")
        .file("c/.wh.two", b"")
        .file("c/.wh.one", b"")
        .file("c/alive", b"")
        .file(".wh.a", b"")
        .file(".wh.d", b"")
        .dir("d/", "755")
        .file("d/x", b"")
        .dir("e/", "755")
        .file(".wh.e", b"")
        .file("f", b"file")
        .file(".wh.f", b"")
        .file("g", b"was a file")
        .dir("g/", "755")
        .end();
    for options in forms() {
        let unpacked = scratch.check_exact(&archive, &options);
        assert!(unpacked.implied.is_empty());
        let staging = open_dir(&scratch.staging());
        let mut again = Vec::new();
        pack_layer(staging.as_fd(), &mut again, &PackOptions::new(options.form)).unwrap();
        let mut want = vec![
            ".wh.a",
            "b/",
            "b/.wh..wh..opq",
            "b/.wh.pointless",
            "b/new",
            "c/",
            "c/.wh.one",
            "c/.wh.two",
            "c/alive",
            "d/",
            "d/.wh..wh..opq",
            "d/x",
            "e/",
            "e/.wh..wh..opq",
            "f",
            "g/",
            "g/.wh..wh..opq",
        ];
        if options.whiteouts == Whiteouts::Attributes {
            want.retain(|name| *name != "b/.wh.pointless");
        }
        assert_eq!(names(&again), want, "{options:?}");
        let before = listing(&scratch.staging(), true);
        scratch.check_exact(&again, &options);
        let strip = |lines: Vec<String>| {
            let is_file =
                |line: &String| !line.contains("CharacterDevice 0") && !line.contains("overlay.whiteout");
            lines.into_iter().skip(1).filter(is_file).collect::<Vec<_>>()
        };
        assert_eq!(strip(before), strip(listing(&scratch.staging(), true)));
    }
}

/// Whiteouts that come before the marker must not show as files.
#[test]
fn opaque_comes_last() {
    let scratch = Scratch::new();
    let archive = Raw::default()
        .file("a/.wh.x", b"")
        .file("a/y", b"")
        .file("a/.wh..wh..opq", b"")
        .file("a/.wh.z", b"")
        .end();
    for options in forms() {
        let unpacked = scratch.unpack(&archive, &options).unwrap();
        assert_eq!(paths(&unpacked.implied), ["a"]);
        if options.whiteouts == Whiteouts::Attributes {
            let there: Vec<_> = std::fs::read_dir(scratch.staging().join("a"))
                .unwrap()
                .map(|e| e.unwrap().file_name())
                .collect();
            assert_eq!(there, ["y"]);
        }
    }
    let root = Raw::default().file(".wh..wh..opq", b"").end();
    assert!(
        scratch
            .unpack(&root, &UnpackOptions::rootless())
            .unwrap()
            .root_opaque
    );
}

#[test]
fn options_of_packing() {
    let scratch = Scratch::new();
    let tree = scratch.base.join("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("file"), "x").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(tree.join("socket")).unwrap();
    let options = PackOptions {
        latest: Some(5),
        owner: Some((1, 2)),
        nanoseconds: true,
        root: true,
        form: Form::Rootless,
    };
    let pack = || {
        let mut archive = Vec::new();
        pack_layer(open_dir(&tree).as_fd(), &mut archive, &options).map(|packed| (packed, archive))
    };
    let (packed, archive) = pack().unwrap();
    assert_eq!(names(&archive), ["./", "file"]);
    assert_eq!(packed.left_out[0].path, Path::new("socket"));
    assert_eq!(packed.entries, 2);
    let mut reader = Reader::new(&archive[..], Limits::default());
    let mut entry = Entry::default();
    while reader.next_entry(&mut entry).unwrap() {
        assert_eq!(
            (entry.uid, entry.gid, entry.mtime.seconds, entry.mtime.nanoseconds),
            (1, 2, 5, 0)
        );
    }
    let file = tree.join("file");
    let set = |name: &str| rustix::fs::setxattr(&file, name, b"y", rustix::fs::XattrFlags::empty()).unwrap();
    set("user.overlay.origin");
    pack().unwrap();
    set("user.overlay.metacopy");
    assert!(matches!(pack(), Err(PackError::Partial { .. })));
    std::fs::remove_file(&file).unwrap();
    std::fs::write(tree.join(".wh.file"), "").unwrap();
    assert!(matches!(pack(), Err(PackError::Name(_))));
}

/// Without privilege: owners stay, devices are left out, modes come last.
#[test]
fn rootless() {
    let scratch = Scratch::new();
    let archive = Raw::default()
        .dir("closed/", "0")
        .file("closed/in", b"x")
        .header(b"null", b'3', 0, b"")
        .put(329, b"0000001\x000000003")
        .file("owned", b"")
        .put(108, b"0001750")
        .pax(&[("SCHILY.xattr.trusted.x", b"1"), ("SCHILY.xattr.user.x", b"1")])
        .file("attributes", b"")
        .end();
    let unpacked = scratch.unpack(&archive, &UnpackOptions::rootless()).unwrap();
    let left: Vec<_> = unpacked
        .left_out
        .iter()
        .map(|left| (left.path.to_str().unwrap(), left.attribute.as_deref()))
        .collect();
    assert_eq!(left, [("null", None), ("attributes", Some("trusted.x"))]);
    let stat = |name: &str| statat(CWD, scratch.staging().join(name), AtFlags::SYMLINK_NOFOLLOW).unwrap();
    assert_eq!(stat("closed").st_mode & 0o777, 0);
    assert_eq!(stat("owned").st_uid, rustix::process::geteuid().as_raw());
}
