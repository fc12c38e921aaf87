//! Trees archived by GNU tar and Python, unpacked here, and the reverse.

use super::*;
use rustix::fs::{
    Gid, Timespec, Timestamps, Uid, XattrFlags, chownat, lsetxattr, makedev, mknodat, setxattr, utimensat,
};

/// A tree with everything that an archive can hold. Fractions of times are halves: Python
/// keeps times in floating point.
pub(crate) fn make_tree(root: &Path) {
    std::fs::create_dir_all(root.join("dir/sub")).unwrap();
    std::fs::create_dir_all(root.join("empty")).unwrap();
    let long = format!("{}/{}", "p".repeat(120), "q".repeat(200));
    std::fs::create_dir_all(root.join(&long)).unwrap();
    for (name, size, mode) in [
        ("file", 0usize, 0o644),
        ("dir/small", 5, 0o600),
        ("dir/block", 512, 0o755),
        ("dir/large", 700_001, 0o4755),
        ("dir/sub/setgid", 513, 0o2711),
        // Without root nobody reads files that nobody may read.
        ("dir/sub/none", 3, if is_root() { 0 } else { 0o400 }),
        (&format!("{long}/f"), 11, 0o444),
    ] {
        let bytes: Vec<u8> = (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect();
        std::fs::write(root.join(name), bytes).unwrap();
        set_mode(&root.join(name), mode);
    }
    std::os::unix::fs::symlink("/nowhere/at/all", root.join("link")).unwrap();
    std::os::unix::fs::symlink("x".repeat(300), root.join("dir/long link")).unwrap();
    std::fs::hard_link(root.join("dir/small"), root.join("hard")).unwrap();
    std::fs::hard_link(root.join("dir/small"), root.join("dir/sub/hard")).unwrap();
    mknodat(
        CWD,
        root.join("fifo"),
        FileType::Fifo,
        Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    set_attributes(root);
    set_mode(&root.join("empty"), 0o1777);
    let times = |path: &str, seconds, nanoseconds| {
        let time = Timespec {
            tv_sec: seconds,
            tv_nsec: nanoseconds,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        utimensat(CWD, root.join(path), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    };
    for (index, line) in listing(root, false).iter().enumerate() {
        let path = line.split('"').nth(1).unwrap();
        let fraction = if path == "dir/block" { 500_000_000 } else { 0 };
        times(path, 1_000_000_000 + i64::try_from(index).unwrap(), fraction);
    }
}

/// Attributes and, for root, devices and owners.
fn set_attributes(root: &Path) {
    let user = |path: &str, value: &[u8]| setxattr(root.join(path), "user.test", value, XattrFlags::empty());
    user("file", b"value").unwrap();
    user("dir", b"\0\n=\xff").unwrap();
    if is_root() {
        mknodat(
            CWD,
            root.join("null"),
            FileType::CharacterDevice,
            Mode::from_raw_mode(0o666),
            makedev(1, 3),
        )
        .unwrap();
        mknodat(
            CWD,
            root.join("disk"),
            FileType::BlockDevice,
            Mode::from_raw_mode(0o660),
            makedev(259, 300),
        )
        .unwrap();
        for (path, uid, gid) in [
            ("file", 1000, 100),
            ("dir", 4_000_000, 3_000_000),
            ("link", 7, 8),
            ("dir/large", 1, 2),
            ("null", 3, 4),
        ] {
            chownat(
                CWD,
                root.join(path),
                Some(Uid::from_raw(uid)),
                Some(Gid::from_raw(gid)),
                AtFlags::SYMLINK_NOFOLLOW,
            )
            .unwrap();
        }
        set_mode(&root.join("dir/large"), 0o4755);
        let capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        setxattr(
            root.join("dir/large"),
            "security.capability",
            capability,
            XattrFlags::empty(),
        )
        .unwrap();
        lsetxattr(root.join("link"), "trusted.link", b"t", XattrFlags::empty()).unwrap();
    }
}

fn set_mode(path: &Path, mode: u32) {
    rustix::fs::chmod(path, Mode::from_raw_mode(mode)).unwrap();
}

fn options() -> UnpackOptions {
    if is_root() {
        UnpackOptions::privileged()
    } else {
        UnpackOptions::rootless()
    }
}

fn source(scratch: &Scratch) -> PathBuf {
    let source = scratch.base.join("source");
    std::fs::create_dir(&source).unwrap();
    make_tree(&source);
    source
}

/// Times in whole seconds.
fn seconds(lines: &[String]) -> Vec<String> {
    lines
        .iter()
        .map(|line| line.replace(".500000000", ".0"))
        .collect()
}

#[test]
fn gnu_tar_to_here() {
    let scratch = Scratch::new();
    let source = source(&scratch);
    for format in ["posix", "gnu"] {
        let xattrs = format == "posix";
        let mut tar = Command::new("tar");
        tar.arg(format!("--format={format}"))
            .args(["--numeric-owner", "-C"])
            .arg(&source)
            .args(["-cf", "-", "."]);
        if xattrs {
            tar.args(["--xattrs", "--xattrs-include=*"]);
        }
        let unpacked = scratch.check_exact(&run(&mut tar), &options());
        assert!(unpacked.root_described);
        assert!(unpacked.implied.is_empty());
        let (want, found) = (listing(&source, xattrs), listing(&scratch.staging(), xattrs));
        if xattrs {
            assert_eq!(want, found);
        } else {
            assert_eq!(seconds(&want), seconds(&found));
        }
        if is_root() {
            assert_eq!(unpacked.left_out, []);
        }
    }
}

#[test]
fn python_to_here() {
    let scratch = Scratch::new();
    let source = source(&scratch);
    for format in ["PAX", "GNU"] {
        let script = format!(
            "import sys,tarfile
t = tarfile.open(fileobj=sys.stdout.buffer, mode='w|', format=tarfile.{format}_FORMAT)
t.add(sys.argv[1], arcname='.'); t.close()"
        );
        let archive = run(Command::new("python3").args(["-c", &script]).arg(&source));
        scratch.check_exact(&archive, &options());
        let (want, found) = (listing(&source, false), listing(&scratch.staging(), false));
        if format == "PAX" {
            assert_eq!(want, found);
        } else {
            assert_eq!(seconds(&want), seconds(&found));
        }
    }
}

#[test]
fn here_to_gnu_tar_and_back() {
    let scratch = Scratch::new();
    let source = source(&scratch);
    let tree = open_dir(&source);
    let pack = PackOptions {
        nanoseconds: true,
        root: true,
        ..PackOptions::new(options().form)
    };
    let mut archive = Vec::new();
    let packed = pack_layer(tree.as_fd(), &mut archive, &pack).unwrap();
    assert_eq!(
        (packed.diff_id, packed.size),
        (crate::Digest::of(&archive), archive.len() as u64)
    );
    let mut again = Vec::new();
    pack_layer(tree.as_fd(), &mut again, &pack).unwrap();
    assert!(archive == again, "packing is not reproducible");
    let theirs = scratch.base.join("theirs");
    std::fs::create_dir(&theirs).unwrap();
    let file = scratch.base.join("layer.tar");
    std::fs::write(&file, &archive).unwrap();
    run(Command::new("tar")
        .args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "-p", "-C"])
        .arg(&theirs)
        .arg("-xf")
        .arg(&file));
    assert_eq!(listing(&source, true), listing(&theirs, true));
    scratch.check_exact(&archive, &options());
    assert_eq!(listing(&source, true), listing(&scratch.staging(), true));
}

#[test]
fn sparse_files() {
    let scratch = Scratch::new();
    let source = scratch.base.join("source");
    std::fs::create_dir(&source).unwrap();
    for (name, parts, end) in [
        ("many", 30u64, 31 << 16),
        ("hole", 0, 1 << 20),
        ("tail", 1, 70_000),
    ] {
        use std::os::unix::fs::FileExt;
        let file = std::fs::File::create(source.join(name)).unwrap();
        for part in 0..parts {
            file.write_all_at(&[b'x'; 5000], part << 16).unwrap();
        }
        file.set_len(end).unwrap();
    }
    for form in [
        &["--format=gnu"][..],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ] {
        let archive = run(Command::new("tar")
            .args(form)
            .args(["--sparse", "-C"])
            .arg(&source)
            .args(["-cf", "-", "."]));
        scratch.check_exact(&archive, &options());
        assert_eq!(
            seconds_only(&listing(&source, false)),
            seconds_only(&listing(&scratch.staging(), false))
        );
        let blocks = statat(CWD, scratch.staging().join("hole"), AtFlags::empty())
            .unwrap()
            .st_blocks;
        assert_eq!(blocks, 0, "the hole was filled");
        // And a sparse file that is replaced.
        let twice = run(Command::new("tar")
            .args(form)
            .args(["--sparse", "-C"])
            .arg(&source)
            .args(["--hard-dereference", "-cf", "-", ".", "."]));
        scratch.check_exact(&twice, &options());
    }
}

/// Without fractions of times.
fn seconds_only(lines: &[String]) -> Vec<String> {
    let cut = |line: &String| {
        let dot = line.find('.').unwrap();
        let end = line[dot..].find(' ').map_or(line.len(), |end| dot + end);
        format!("{}{}", &line[..dot], &line[end..])
    };
    lines.iter().map(cut).collect()
}
