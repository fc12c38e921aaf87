//! Where the loader looks: what is built into it, and how run paths are written.

use super::elf::Machine;
use super::host::Host;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The most that is read of a loader.
const MAX_LOADER: u64 = 8 << 20;

/// What is built into a loader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct System {
    /// The directories that it looks into last.
    pub(super) directories: Vec<PathBuf>,
    /// What `$LIB` stands for.
    pub(super) lib: String,
    /// What `$PLATFORM` stands for.
    pub(super) platform: &'static str,
    /// Whether it is musl's.
    pub(super) is_musl: bool,
}

/// What the variables in a run path stand for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// The directory of the object.
    pub(super) origin: &'a Path,
    /// `lib64`, or Debian's `lib/x86_64-linux-gnu`.
    pub(super) lib: &'a str,
    /// The kind of processor.
    pub(super) platform: &'a str,
}

impl System {
    /// Reads what is built into the loader that a program names; without one, what is usual.
    pub(super) fn read(host: &Host, interpreter: Option<&Path>, machine: Machine) -> Self {
        let is_musl = interpreter.is_some_and(|path| path.to_string_lossy().contains("ld-musl"));
        if is_musl {
            return Self::read_musl(host, interpreter);
        }
        let bytes = interpreter.and_then(|path| host.read(path, MAX_LOADER).ok().flatten());
        let multiarch = machine.multiarch();
        let directories = bytes
            .and_then(|bytes| find_directories(&bytes))
            .unwrap_or_else(|| {
                let wide = if machine.class == 2 { "64" } else { "" };
                [
                    format!("/lib/{multiarch}"),
                    format!("/usr/lib/{multiarch}"),
                    format!("/lib{wide}"),
                    format!("/usr/lib{wide}"),
                    "/lib".to_owned(),
                    "/usr/lib".to_owned(),
                ]
                .map(PathBuf::from)
                .into()
            });
        let lib = directories.first().and_then(|first| first.to_str());
        Self {
            lib: lib.unwrap_or("lib").trim_matches('/').to_owned(),
            directories,
            platform: platform(machine),
            is_musl,
        }
    }

    /// musl: a file beside the loader's name, or three directories (musl, ldso/dynlink.c).
    fn read_musl(host: &Host, interpreter: Option<&Path>) -> Self {
        let name = interpreter.and_then(Path::file_name).unwrap_or_default();
        let name = name.to_string_lossy().replace(".so.1", ".path");
        let conf = host.read(&Path::new("/etc").join(name), 64 * 1024).ok().flatten();
        let conf = conf.unwrap_or_else(|| b"/lib:/usr/local/lib:/usr/lib".to_vec());
        let directories = conf
            .split(|byte| matches!(byte, b':' | b'\n'))
            .filter(|path| path.starts_with(b"/"));
        Self {
            directories: directories
                .map(|path| PathBuf::from(OsStr::from_bytes(path)))
                .collect(),
            lib: "lib".to_owned(),
            platform: "",
            is_musl: true,
        }
    }

    /// Whether it looks into this directory by itself.
    pub(super) fn is_default(&self, directory: &Path) -> bool {
        self.directories.iter().any(|known| known == directory)
    }

    /// musl is its own `libc.so`, `libpthread.so` and so on.
    pub(super) fn provides(&self, name: &[u8]) -> bool {
        const OWN: [&[u8]; 7] = [b"c", b"pthread", b"rt", b"m", b"dl", b"util", b"xnet"];
        let stem = name
            .strip_prefix(b"lib")
            .and_then(|name| name.strip_suffix(b".so"));
        self.is_musl && stem.is_some_and(|stem| OWN.contains(&stem))
    }
}

/// The name that glibc puts for `$PLATFORM`: on Intel's newer processors one of its own
/// (glibc, `sysdeps/x86/cpu-features.c`).
fn platform(machine: Machine) -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if machine.number == 62 && machine.class == 2 {
        let has_haswell = std::is_x86_feature_detected!("avx2")
            && std::is_x86_feature_detected!("bmi1")
            && std::is_x86_feature_detected!("bmi2")
            && std::is_x86_feature_detected!("lzcnt")
            && std::is_x86_feature_detected!("movbe")
            && std::is_x86_feature_detected!("popcnt");
        if has_haswell && is_intel() {
            return "haswell";
        }
    }
    machine.platform()
}

#[cfg(target_arch = "x86_64")]
fn is_intel() -> bool {
    use std::io::Read;
    static INTEL: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *INTEL.get_or_init(|| {
        // The first processor is enough: the kernel makes the text of each as it is read.
        let mut start = Vec::new();
        let file = std::fs::File::open("/proc/cpuinfo");
        let read = file.and_then(|file| file.take(512).read_to_end(&mut start));
        read.is_ok() && String::from_utf8_lossy(&start).contains("GenuineIntel")
    })
}

/// The directories that are built into glibc's loader: strings that begin and end with a
/// slash, one after the other, `/usr/lib` or `/usr/lib64` among them.
fn find_directories(loader: &[u8]) -> Option<Vec<PathBuf>> {
    let is_directory = |text: &[u8]| text.len() > 1 && text.starts_with(b"/") && text.ends_with(b"/");
    let mut run: Vec<&[u8]> = Vec::new();
    for text in loader.split(|byte| *byte == 0) {
        if is_directory(text) {
            run.push(text);
            continue;
        }
        if run.iter().any(|text| text.starts_with(b"/usr/lib")) && run.len() > 1 {
            break;
        }
        run.clear();
        // Bytes of something else may stand right before the first one.
        if let Some(at) = text.iter().rposition(|byte| !byte.is_ascii_graphic())
            && let Some(rest) = text.get(at + 1..)
            && is_directory(rest)
        {
            run.push(rest);
        }
    }
    if run.len() < 2 || !run.iter().any(|text| text.starts_with(b"/usr/lib")) {
        return None;
    }
    let path = |text: &&[u8]| PathBuf::from(OsStr::from_bytes(&text[..text.len() - 1]));
    Some(run.iter().map(path).collect())
}

/// The variants of libraries that this processor can use, the best first (glibc,
/// `sysdeps/x86_64/dl-hwcap_subdirs.c`; the levels are those of the x86-64 psABI).
pub(super) fn supported_variants() -> &'static [&'static str] {
    #[cfg(target_arch = "x86_64")]
    {
        const ALL: [&str; 3] = ["x86-64-v4", "x86-64-v3", "x86-64-v2"];
        let second = std::is_x86_feature_detected!("cmpxchg16b")
            && std::is_x86_feature_detected!("popcnt")
            && std::is_x86_feature_detected!("sse3")
            && std::is_x86_feature_detected!("sse4.1")
            && std::is_x86_feature_detected!("sse4.2")
            && std::is_x86_feature_detected!("ssse3");
        let third = second
            && std::is_x86_feature_detected!("avx")
            && std::is_x86_feature_detected!("avx2")
            && std::is_x86_feature_detected!("bmi1")
            && std::is_x86_feature_detected!("bmi2")
            && std::is_x86_feature_detected!("f16c")
            && std::is_x86_feature_detected!("fma")
            && std::is_x86_feature_detected!("lzcnt")
            && std::is_x86_feature_detected!("movbe");
        let fourth = third
            && std::is_x86_feature_detected!("avx512f")
            && std::is_x86_feature_detected!("avx512bw")
            && std::is_x86_feature_detected!("avx512cd")
            && std::is_x86_feature_detected!("avx512dq")
            && std::is_x86_feature_detected!("avx512vl");
        let from = match (second, third, fourth) {
            (_, _, true) => 0,
            (_, true, _) => 1,
            (true, ..) => 2,
            _ => 3,
        };
        ALL.get(from..).unwrap_or_default()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        &[]
    }
}

/// The directories of a run path, variables put in; those that cannot be are left out.
pub(super) fn split_paths(paths: &[u8], place: &Place<'_>) -> Vec<PathBuf> {
    let parts = paths.split(|byte| matches!(byte, b':' | b';'));
    parts.filter_map(|part| expand(part, place)).collect()
}

/// A path with `$ORIGIN`, `$LIB` and `$PLATFORM` put in, with or without braces. `None` for
/// one that is not absolute then: it would depend on the working directory.
pub(super) fn expand(text: &[u8], place: &Place<'_>) -> Option<PathBuf> {
    let values = [
        ("ORIGIN", place.origin.as_os_str().as_bytes()),
        ("LIB", place.lib.as_bytes()),
        ("PLATFORM", place.platform.as_bytes()),
    ];
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'$' {
            out.push(*first);
            continue;
        }
        let braced = after.strip_prefix(b"{");
        let name = braced.unwrap_or(after);
        let known = values.iter().find_map(|(variable, value)| {
            let after = name.strip_prefix(variable.as_bytes())?;
            let after = match braced {
                Some(_) => after.strip_prefix(b"}")?,
                None => after,
            };
            let goes_on = after
                .first()
                .is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
            (braced.is_some() || !goes_on).then_some((*value, after))
        });
        match known {
            Some((value, after)) => {
                out.extend_from_slice(value);
                rest = after;
            }
            None => out.push(b'$'),
        }
    }
    let path = PathBuf::from(OsStr::from_bytes(&out));
    path.is_absolute().then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_in_run_paths() {
        let place = Place {
            origin: Path::new("/opt/x/bin"),
            lib: "lib/x86_64-linux-gnu",
            platform: "haswell",
        };
        for (text, want) in [
            ("$ORIGIN/../lib", Some("/opt/x/bin/../lib")),
            ("${ORIGIN}", Some("/opt/x/bin")),
            ("/usr/$LIB/x", Some("/usr/lib/x86_64-linux-gnu/x")),
            ("/p/${PLATFORM}.d", Some("/p/haswell.d")),
            ("/p/$LIBX/$UNKNOWN", Some("/p/$LIBX/$UNKNOWN")),
            ("lib", None),
            ("", None),
        ] {
            let want = want.map(PathBuf::from);
            assert_eq!(expand(text.as_bytes(), &place), want, "{text}");
        }
        let paths = split_paths(b"/a:$ORIGIN::rel:/b", &place);
        assert_eq!(paths, ["/a", "/opt/x/bin", "/b"].map(PathBuf::from));
    }

    #[test]
    fn the_directories_in_a_loader() {
        let loader = b"\0x/\0\x01\x80/lib/x86_64-linux-gnu/\0/usr/lib/x86_64-linux-gnu/\0/lib/\0/usr/lib/\0\0GLIBC\0/etc/\0";
        let found = find_directories(loader).unwrap();
        let want = [
            "/lib/x86_64-linux-gnu",
            "/usr/lib/x86_64-linux-gnu",
            "/lib",
            "/usr/lib",
        ];
        assert_eq!(found, want.map(PathBuf::from));
        assert_eq!(find_directories(b"\0/lib64/\0/usr/lib64/\0").unwrap().len(), 2);
        assert_eq!(find_directories(b"\0nothing\0/usr/lib/x\0"), None);
    }
}
