use super::*;
use std::io::{Cursor, Read, Write};
use std::process::{Command, Stdio};

/// Builds archives that no writer would write.
#[derive(Default)]
pub(crate) struct Raw(pub(crate) Vec<u8>);

impl Raw {
    /// A header, whatever it says, with a right checksum.
    pub(crate) fn header(mut self, name: &[u8], kind: u8, size: u64, link: &[u8]) -> Self {
        let mut block = [0u8; 512];
        block[..name.len()].copy_from_slice(name);
        block[100..107].copy_from_slice(b"0000644");
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        block[156] = kind;
        block[157..157 + link.len()].copy_from_slice(link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        self.0.extend_from_slice(&block);
        self.put(0, b"")
    }

    /// Changes the header that was added last.
    pub(crate) fn put(mut self, place: usize, bytes: &[u8]) -> Self {
        let start = self.0.len() - 512;
        let block = &mut self.0[start..];
        block[place..place + bytes.len()].copy_from_slice(bytes);
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self
    }

    /// Bytes, and zeros up to a whole block.
    pub(crate) fn body(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, name: &str, contents: &[u8]) -> Self {
        self.header(name.as_bytes(), b'0', contents.len() as u64, b"")
            .body(contents)
    }

    pub(crate) fn dir(self, name: &str, mode: &str) -> Self {
        self.header(name.as_bytes(), b'5', 0, b"")
            .put(100, format!("{mode:0>7}").as_bytes())
    }

    pub(crate) fn link(self, name: &str, kind: u8, to: &str) -> Self {
        self.header(name.as_bytes(), kind, 0, to.as_bytes())
    }

    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        self.extended(b'x', records)
    }

    pub(crate) fn extended(self, kind: u8, records: &[(&str, &[u8])]) -> Self {
        let mut bytes = Vec::new();
        for (key, value) in records {
            super::pax::push_record(&mut bytes, key.as_bytes(), value);
        }
        self.header(b"pax", kind, bytes.len() as u64, b"").body(&bytes)
    }

    pub(crate) fn long(self, kind: u8, name: &[u8]) -> Self {
        self.header(b"././@LongLink", kind, name.len() as u64 + 1, b"")
            .body(&[name, b"\0"].concat())
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

type Listed = Vec<(Entry, Vec<u8>)>;

fn list(archive: &[u8]) -> Result<Listed, TarError> {
    let mut reader = Reader::new(archive, Limits::default());
    let (mut entry, mut found) = (Entry::default(), Vec::new());
    while reader.next_entry(&mut entry)? {
        let mut contents = Vec::new();
        if let Err(error) = reader.contents(&entry).read_to_end(&mut contents) {
            return Err(error.downcast().unwrap());
        }
        found.push((entry.clone(), contents));
    }
    reader.finish(1 << 20)?;
    Ok(found)
}

fn names(archive: &[u8]) -> Vec<String> {
    list(archive)
        .unwrap()
        .iter()
        .map(|(entry, _)| entry.name())
        .collect()
}

fn python(script: &str, input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("python3")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout
}

const PYTHON_NAMES: &str = "import sys,tarfile,io
for m in tarfile.open(fileobj=io.BytesIO(sys.stdin.buffer.read())): print(m.name, m.size)";

/// CVE-2025-62518 (TARmageddon): the size in an extended header belongs to the file and not
/// to the long name between them.
#[test]
fn extended_sizes_do_not_reach_long_names() {
    let inner = Raw::default().file("inner", b"hidden").end();
    let archive = Raw::default()
        .pax(&[("size", inner.len().to_string().as_bytes())])
        .long(b'L', b"file_a")
        .header(b"short", b'0', 0, b"")
        .body(&inner)
        .file("file_b", b"b")
        .end();
    let found = list(&archive).unwrap();
    assert_eq!(names(&archive), ["file_a", "file_b"]);
    assert_eq!(found[0].1, inner);
    let theirs = String::from_utf8(python(PYTHON_NAMES, &archive)).unwrap();
    assert_eq!(theirs, format!("file_a {}\nfile_b 1\n", inner.len()));
    // The published one: the size covers the whole of the long name's header.
    let archive = Raw::default()
        .pax(&[("size", b"2048")])
        .long(b'L', &b"x".repeat(200))
        .header(b"a", b'0', 0, b"")
        .body(&[b'z'; 2048])
        .file("file_b", b"b")
        .end();
    assert_eq!(names(&archive), ["x".repeat(200).as_str(), "file_b"]);
}

#[test]
fn what_is_no_file_has_no_contents() {
    for kind in [b'1', b'2', b'3', b'4', b'5', b'6'] {
        let archive = Raw::default()
            .header(b"x", kind, 512, b"y")
            .file("after", b"")
            .end();
        assert_eq!(names(&archive), ["x", "after"], "{kind}");
        let archive = Raw::default()
            .pax(&[("size", b"512")])
            .header(b"x", kind, 0, b"y")
            .file("after", b"")
            .end();
        assert_eq!(names(&archive), ["x", "after"], "{kind}");
    }
}

fn check_refused(cases: Vec<(&str, Vec<u8>)>) {
    for (what, archive) in cases {
        let error = list(&archive).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(what), "{what}: {text}");
        assert!(text.starts_with("tar entry \""), "{text}");
        assert!(error.offset >= 1024, "{text}");
    }
}

/// An entry, then what is wrong, then another one.
fn between(wrong: impl FnOnce(Raw) -> Raw) -> Vec<u8> {
    wrong(Raw::default().file("first", b"1"))
        .file("second", b"")
        .end()
}

#[test]
fn damaged_archives() {
    let file = || Raw::default().file("first", b"1");
    let mut checksum = file().file("second", b"").end();
    checksum[1024 + 5] ^= 1;
    check_refused(vec![
        ("checksum", checksum),
        (
            "middle of the contents",
            file().header(b"second", b'0', 4096, b"").0,
        ),
        ("middle of a block", [file().0, vec![b'x'; 100]].concat()),
        ("single block of zeros", between(|raw| raw.body(&[0; 512]))),
        ("without an entry after it", file().pax(&[("path", b"a")]).end()),
        ("without an entry after it", file().long(b'L', b"a").0),
        (
            "not supported",
            between(|raw| raw.header(b"second", b'Z', 0, b"")),
        ),
        ("parts overlap", between(|raw| sparse_map(raw, b"5,5,0,5"))),
        ("outside of the file", between(|raw| sparse_map(raw, b"0,5,6,5"))),
        ("as long as the data", between(|raw| sparse_map(raw, b"0,5,5,4"))),
        (
            "outside of the file",
            between(|raw| sparse_map(raw, b"18446744073709551615,10")),
        ),
    ]);
}

#[test]
fn ambiguous_and_too_large_headers() {
    let long = "n".repeat(5000);
    let many: Vec<(String, Vec<u8>)> = (0..300)
        .map(|n| (format!("SCHILY.xattr.user.{n}"), vec![]))
        .collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|(key, value)| (&key[..], &value[..])).collect();
    let large = vec![b'v'; 1 << 20];
    check_refused(vec![
        (
            "two headers of one type",
            between(|raw| raw.pax(&[("path", b"a")]).pax(&[("path", b"b")])),
        ),
        (
            "two headers of one type",
            between(|raw| raw.long(b'L', b"a").long(b'L', b"b")),
        ),
        (
            "two long names",
            between(|raw| raw.pax(&[("path", b"a")]).long(b'L', b"b")),
        ),
        (
            "global extended header",
            between(|raw| raw.extended(b'g', &[("path", b"a")])),
        ),
        (
            "global extended header",
            between(|raw| raw.extended(b'g', &[("size", b"1")])),
        ),
        ("byte 0", between(|raw| raw.pax(&[("path", b"a\0b")]))),
        ("byte 0", between(|raw| raw.pax(&[("linkpath", b"a\0b")]))),
        (
            "bytes of a name",
            between(|raw| raw.pax(&[("path", long.as_bytes())])),
        ),
        ("bytes of a name", between(|raw| raw.long(b'L', long.as_bytes()))),
        (
            "bytes of an extended header",
            between(|raw| raw.header(b"pax", b'x', 1 << 32, b"")),
        ),
        (
            "bytes of an extended header",
            between(|raw| raw.pax(&[("SCHILY.xattr.user.a", &large)])),
        ),
        ("extended attributes", between(|raw| raw.pax(&many))),
    ]);
}

/// Numbers that some reader would wrap (CVE-2024-40635).
#[test]
fn numbers_out_of_range() {
    let field =
        |place, bytes: &'static [u8]| between(move |raw| raw.header(b"s", b'0', 0, b"").put(place, bytes));
    let pax = |key, value: &'static [u8]| between(move |raw| raw.pax(&[(key, value)]));
    check_refused(vec![
        ("uid", field(108, b"\x80\0\0\0\xff\xff\xff\xff")),
        ("uid", field(108, b"\x80\0\0\x01\0\0\0\0")),
        ("uid", field(108, &[0xff; 8])),
        ("gid", field(116, b"\x80\0\0\x01\0\0\0\0")),
        ("mode", field(100, b"0o644\0\0\0")),
        ("uid", pax("uid", b"4294967296")),
        ("gid", pax("gid", b"-1")),
        ("size", field(124, &[0xff; 12])),
        ("size", pax("size", b"-1")),
        ("size", pax("size", b"9223372036854775808")),
        ("size", pax("size", b"18446744073709551616")),
    ]);
}

fn sparse_map(raw: Raw, map: &[u8]) -> Raw {
    raw.pax(&[("GNU.sparse.map", map), ("GNU.sparse.size", b"10")])
        .header(b"sparse", b'0', 10, b"")
        .body(&[b's'; 10])
}

/// All four forms of sparse files that GNU tar writes, read as GNU tar reads them.
#[test]
fn sparse_files_are_expanded() {
    let base = std::env::temp_dir().join(format!("cais-tar-sparse-{}", std::process::id()));
    std::fs::create_dir_all(&base).unwrap();
    let file = std::fs::File::create(base.join("holes")).unwrap();
    for part in 0..40u64 {
        use std::os::unix::fs::FileExt;
        file.write_all_at(
            &[b'a' + u8::try_from(part % 26).unwrap(); 700],
            part * 65536 + 4096,
        )
        .unwrap();
    }
    file.set_len(40 * 65536 + 12345).unwrap();
    let want = std::fs::read(base.join("holes")).unwrap();
    for form in [
        &["--format=gnu"][..],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ] {
        let output = Command::new("tar")
            .args(form)
            .args(["--sparse", "-cf", "-", "-C"])
            .arg(&base)
            .arg("holes")
            .output()
            .unwrap();
        assert!(output.stdout.len() < want.len(), "{form:?} is not sparse");
        let found = list(&output.stdout).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0.name(), "holes", "{form:?}");
        assert!(found[0].0.sparse);
        assert!(found[0].1 == want, "{form:?}");
    }
    std::fs::remove_dir_all(base).unwrap();
}

#[test]
fn global_headers() {
    let archive = Raw::default()
        .extended(b'g', &[("comment", b"c"), ("gid", b"7"), ("mtime", b"5.25")])
        .file("a", b"")
        .pax(&[("gid", b""), ("path", b"bb")])
        .file("b", b"")
        .file("c", b"")
        .end();
    let found = list(&archive).unwrap();
    let gids: Vec<u32> = found.iter().map(|(entry, _)| entry.gid).collect();
    assert_eq!(gids, [7, 0, 7]);
    assert_eq!(found[2].0.mtime.nanoseconds, 250_000_000);
    assert_eq!(found[1].0.name(), "bb");
}

/// What Python writes in its three dialects is read alike.
#[test]
fn reads_what_python_writes() {
    const SCRIPT: &str = "import sys,tarfile,io
f = {'u': tarfile.USTAR_FORMAT, 'g': tarfile.GNU_FORMAT, 'p': tarfile.PAX_FORMAT}[sys.stdin.read()]
t = tarfile.open(fileobj=sys.stdout.buffer, mode='w|', format=f)
def add(name, kind=tarfile.REGTYPE, data=b'', **k):
    i = tarfile.TarInfo(name); i.type = kind; i.size = len(data); i.mtime = 1234567890
    for a, v in k.items(): setattr(i, a, v)
    t.addfile(i, io.BytesIO(data))
u = f == tarfile.USTAR_FORMAT
add('dir', tarfile.DIRTYPE, mode=0o1755)
add('dir/file', data=b'x'*1000, mode=0o4755, uid=1000, gid=2000)
add('d'*120 + '/' + 'f'*90, data=b'long')
if not u: add('e'*300 + '/' + 'f'*90, data=b'long'); add('l', tarfile.SYMTYPE, linkname='t'*200); add('big', uid=4000000, gid=3000000, data=b'ids')
if f == tarfile.PAX_FORMAT: add('fraction', mtime=12.5, pax_headers={'SCHILY.xattr.user.x': 'v'})
add('hard', tarfile.LNKTYPE, linkname='dir/file')
add('sym', tarfile.SYMTYPE, linkname='/abs')
add('chr', tarfile.CHRTYPE, devmajor=1, devminor=3)
add('blk', tarfile.BLKTYPE, devmajor=8, devminor=1)
add('fifo', tarfile.FIFOTYPE)
t.close()";
    for (dialect, count) in [("u", 8), ("g", 11), ("p", 12)] {
        let archive = python(SCRIPT, dialect.as_bytes());
        let found = list(&archive).unwrap();
        assert_eq!(found.len(), count, "{dialect}");
        let get = |name: &str| {
            found
                .iter()
                .find(|(entry, _)| entry.name().trim_end_matches('/') == name)
                .unwrap()
        };
        assert_eq!(get("dir").0.kind, Kind::Directory);
        let (file, contents) = get("dir/file");
        assert_eq!(
            (file.mode, file.uid, file.gid, contents.len()),
            (0o4755, 1000, 2000, 1000)
        );
        assert_eq!(file.mtime.seconds, 1_234_567_890);
        assert_eq!(get(&format!("{}/{}", "d".repeat(120), "f".repeat(90))).1, b"long");
        assert_eq!(
            (get("hard").0.kind, &get("hard").0.link[..]),
            (Kind::HardLink, &b"dir/file"[..])
        );
        assert_eq!(get("chr").0.device, Device { major: 1, minor: 3 });
        if dialect != "u" {
            assert_eq!(get("l").0.link, b"t".repeat(200));
            assert_eq!((get("big").0.uid, get("big").0.gid), (4_000_000, 3_000_000));
        }
        if dialect == "p" {
            let fraction = &get("fraction").0;
            assert_eq!(
                fraction.mtime,
                Time {
                    seconds: 12,
                    nanoseconds: 500_000_000
                }
            );
            assert_eq!(fraction.xattrs, [(b"user.x".to_vec(), b"v".to_vec())]);
        }
    }
}

fn entry(path: &str, kind: Kind) -> Entry {
    Entry {
        path: path.as_bytes().to_vec(),
        kind,
        mode: 0o640,
        ..Entry::default()
    }
}

fn cases() -> Vec<Entry> {
    vec![
        entry("plain", Kind::Regular),
        entry("dir/", Kind::Directory),
        Entry {
            link: b"plain".to_vec(),
            ..entry("hard", Kind::HardLink)
        },
        Entry {
            link: vec![b't'; 150],
            ..entry("sym", Kind::Symlink)
        },
        Entry {
            device: Device { major: 5, minor: 300 },
            ..entry("dev", Kind::CharDevice)
        },
        entry("fifo", Kind::Fifo),
        entry(&"a".repeat(100), Kind::Regular),
        entry(&format!("{}/{}", "p".repeat(155), "n".repeat(100)), Kind::Regular),
        entry(&format!("{}/{}", "p".repeat(156), "n".repeat(100)), Kind::Regular),
        entry(
            &format!("{}/{}/", "p".repeat(10), "n".repeat(99)),
            Kind::Directory,
        ),
        entry(
            &format!("{}/{}/", "p".repeat(10), "n".repeat(100)),
            Kind::Directory,
        ),
        entry(&"a".repeat(255), Kind::Regular),
        Entry {
            uid: u32::MAX - 1,
            gid: 0o10_000_000,
            ..entry("ids", Kind::Regular)
        },
        Entry {
            mtime: Time {
                seconds: -2,
                nanoseconds: 1,
            },
            ..entry("old", Kind::Regular)
        },
        Entry {
            mtime: Time {
                seconds: -2,
                nanoseconds: 0,
            },
            ..entry("older", Kind::Regular)
        },
        Entry {
            mtime: Time {
                seconds: 1 << 40,
                nanoseconds: 999_999_999,
            },
            ..entry("new", Kind::Regular)
        },
        Entry {
            xattrs: vec![
                (b"user.a".to_vec(), vec![0, 10, 61]),
                (b"user.empty".to_vec(), vec![]),
            ],
            atime: Some(Time {
                seconds: 7,
                nanoseconds: 5,
            }),
            ..entry("attributes", Kind::Regular)
        },
    ]
}

/// What is written is read back the same, here and by Python.
#[test]
fn writes_what_it_reads() {
    let cases = cases();
    let mut writer = Writer::new(Vec::new());
    for case in &cases {
        writer.append(case, std::io::empty()).unwrap();
    }
    let archive = writer.finish().unwrap();
    let found = list(&archive).unwrap();
    for (case, (entry, _)) in cases.iter().zip(&found) {
        let found = Entry {
            offset: 0,
            ..entry.clone()
        };
        assert_eq!(*case, found);
    }
    assert_eq!(found.len(), cases.len());
    let theirs = String::from_utf8(python(PYTHON_NAMES, &archive)).unwrap();
    for (case, line) in cases.iter().zip(theirs.lines()) {
        assert_eq!(format!("{} 0", case.name().trim_end_matches('/')), line);
    }
}

#[test]
fn a_large_size_needs_an_extended_header() {
    let mut writer = Writer::new(std::io::sink());
    let large = Entry {
        size: 1 << 34,
        ..entry("large", Kind::Regular)
    };
    writer.start(&large).unwrap();
    assert_eq!(writer.position(), 3 * 512);
    assert!(matches!(writer.finish().unwrap_err().problem, TarProblem::Length));
    let mut writer = Writer::new(Cursor::new(Vec::new()));
    writer.start(&entry("empty", Kind::Regular)).unwrap();
    assert!(writer.data(b"x").is_err());
}

/// The tap and what is handed out are the whole archive.
#[test]
fn the_tap_sees_the_rest() {
    struct Count(u64);
    impl Tap for Count {
        fn raw(&mut self, bytes: &[u8]) -> std::io::Result<()> {
            self.0 += bytes.len() as u64;
            Ok(())
        }
    }
    let mut archive = Raw::default()
        .file("a", &[1; 1000])
        .pax(&[("path", b"b")])
        .file("x", &[2; 600])
        .end();
    archive.extend_from_slice(&[0; 5000]);
    let mut reader = Reader::with_tap(&archive[..], Limits::default(), Count(0));
    let mut entry = Entry::default();
    assert!(reader.next_entry(&mut entry).unwrap());
    let mut handed = 0;
    while let Some((_, piece)) = reader.data().unwrap() {
        handed += piece.len() as u64;
    }
    while reader.next_entry(&mut entry).unwrap() {}
    reader.finish(u64::MAX).unwrap();
    assert_eq!(handed, 1000);
    assert_eq!(reader.tap().0 + handed, archive.len() as u64);
    let mut reader = Reader::new(&archive[..], Limits::default());
    while reader.next_entry(&mut entry).unwrap() {}
    assert!(reader.finish(100).is_err());
}
