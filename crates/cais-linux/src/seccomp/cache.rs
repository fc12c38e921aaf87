//! Programs of user profiles, kept so that the next start need not parse and
//! compile.
//!
//! A file holds the whole key beside the program: the bytes of the profile and
//! everything else that the program depends on. It is compared in full, so no
//! two profiles are ever mistaken for each other, however the file names
//! collide, and no cryptographic hash is needed. The key has the architecture
//! and, inside the profile's bytes, the default errno: crun once left them out
//! and served the wrong program (its commit 4f1f3d4c).
//!
//! Layout, little-endian: magic (8 bytes), length of the key (u32), flags of
//! seccomp(2) (u32), number of instructions (u32), the key, the instructions,
//! FNV-1a of all that (u64) against a torn write. Instructions are in the byte
//! order of the machine.
//!
//! A profile whose rules ask a listener is not kept: its caller needs the rest
//! of the profile anyhow.

use super::arch::Arch;
use super::compile::{COMPILER_VERSION, Compiled};
use super::load::{parse_program, program_bytes};
use crate::error::{Result, SysError};
use cais_sys::seccomp::{FLAG_NEW_LISTENER, INSTRUCTION_SIZE, MAX_INSTRUCTIONS, SockFilter};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicU32, Ordering};

const MAGIC: &[u8; 8] = b"caisbpf1";
/// The largest profile that is kept, in bytes; Docker's own has 13 KiB.
const MAX_PROFILE: usize = 1 << 20;
/// Magic and the three lengths.
const HEADER: usize = 20;
const CHECKSUM: usize = 8;

/// Everything that a program depends on.
#[derive(Debug, Clone, Copy)]
pub struct KeyMaterial<'a> {
    /// The profile as it was read.
    pub profile: &'a [u8],
    /// The machine's architecture.
    pub native: Arch,
    /// The bounding set that the profile's conditions were held against.
    pub capabilities: u64,
    /// The kernel's major and minor number, for the same.
    pub kernel: (u32, u32),
    /// The version of cais.
    pub version: &'a str,
}

/// The key of a program: the name of its file and what must stand in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheKey {
    name: String,
    material: Vec<u8>,
}

/// What a file of the cache holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedProgram {
    /// The instructions.
    pub program: Vec<SockFilter>,
    /// The flags of seccomp(2).
    pub flags: u32,
}

/// The key for `material`; the profile comes last, so its length needs no field.
#[must_use]
pub fn cache_key(material: &KeyMaterial<'_>) -> CacheKey {
    let mut bytes = Vec::with_capacity(material.profile.len() + 128);
    let (major, minor) = material.kernel;
    bytes.extend_from_slice(&COMPILER_VERSION.to_le_bytes());
    bytes.extend_from_slice(&material.capabilities.to_le_bytes());
    bytes.extend_from_slice(&major.to_le_bytes());
    bytes.extend_from_slice(&minor.to_le_bytes());
    for text in [material.native.oci_name(), material.version] {
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
    }
    bytes.extend_from_slice(material.profile);
    CacheKey {
        name: format!("{:016x}.bpf", fnv1a(&bytes)),
        material: bytes,
    }
}

/// The program of `key` in the directory `dir`, or nothing where there is none
/// that is whole, ours and for this very key. Such a file is no error: the
/// caller compiles and [`write_cached`] replaces it.
///
/// # Errors
/// `openat`, `fstat` or `read` failing for another reason than that there is no file.
pub fn read_cached(dir: BorrowedFd<'_>, key: &CacheKey) -> Result<Option<CachedProgram>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match rustix::fs::openat(dir, &key.name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::LOOP) => return Ok(None),
        Err(errno) => return Err(SysError::new("openat", format!("{:?}", key.name), errno)),
    };
    let fail = |call, errno| SysError::new(call, format!("{:?}", key.name), errno);
    let stat = rustix::fs::fstat(&file).map_err(|errno| fail("fstat", errno))?;
    if !is_ours(&stat) {
        return Ok(None);
    }
    let limit = HEADER + MAX_PROFILE + 1024 + MAX_INSTRUCTIONS * INSTRUCTION_SIZE + CHECKSUM;
    let Some(size) = usize::try_from(stat.st_size).ok().filter(|size| *size <= limit) else {
        return Ok(None);
    };
    let mut bytes = Vec::with_capacity(size);
    File::from(file)
        .take(stat.st_size.cast_unsigned())
        .read_to_end(&mut bytes)
        .map_err(|error| SysError::from_io("read", format!("{:?}", key.name), &error))?;
    Ok(parse_cached(&bytes, &key.material))
}

/// A regular file of this user that nobody else can write.
fn is_ours(stat: &rustix::fs::Stat) -> bool {
    let file_type = rustix::fs::FileType::from_raw_mode(stat.st_mode);
    file_type == rustix::fs::FileType::RegularFile
        && stat.st_uid == rustix::process::geteuid().as_raw()
        && stat.st_mode & 0o022 == 0
}

/// Keeps `compiled` as the program of `key` in the directory `dir`: written
/// beside, then renamed. Not synced, a lost entry is compiled again.
///
/// # Errors
/// `openat`, `write` or `renameat` failing; nothing is left behind then.
pub fn write_cached(dir: BorrowedFd<'_>, key: &CacheKey, compiled: &Compiled) -> Result<()> {
    if compiled.flags & FLAG_NEW_LISTENER != 0 || key.material.len() > MAX_PROFILE {
        return Ok(());
    }
    let Some(bytes) = cached_bytes(&key.material, compiled) else {
        return Ok(());
    };
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let serial = NEXT.fetch_add(1, Ordering::Relaxed);
    let beside = format!(".{}.{}.{serial}", key.name, std::process::id());
    let written = create_beside(dir, &beside)
        .and_then(|file| {
            File::from(file)
                .write_all(&bytes)
                .map_err(|error| SysError::from_io("write", format!("{beside:?}"), &error))
        })
        .and_then(|()| {
            rustix::fs::renameat(dir, &beside, dir, &key.name)
                .map_err(|errno| SysError::new("renameat", format!("{beside:?}, {:?}", key.name), errno))
        });
    if written.is_err() {
        // The first failure is the one to report.
        rustix::fs::unlinkat(dir, &beside, AtFlags::empty()).ok();
    }
    written
}

/// A new file of mode 0600. One of that name is the rest of a killed process
/// that had our process id: it goes.
fn create_beside(dir: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let create = || rustix::fs::openat(dir.as_fd(), name, flags, Mode::RUSR | Mode::WUSR);
    let created = match create() {
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(dir.as_fd(), name, AtFlags::empty()).and_then(|()| create())
        }
        other => other,
    };
    created.map_err(|errno| SysError::new("openat", format!("{name:?}, O_CREAT|O_EXCL, 0600"), errno))
}

/// The file of a program, or nothing where a length does not fit.
fn cached_bytes(material: &[u8], compiled: &Compiled) -> Option<Vec<u8>> {
    let program = program_bytes(&compiled.program);
    let mut bytes = Vec::with_capacity(HEADER + material.len() + program.len() + CHECKSUM);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&u32::try_from(material.len()).ok()?.to_le_bytes());
    bytes.extend_from_slice(&compiled.flags.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(compiled.program.len()).ok()?.to_le_bytes());
    bytes.extend_from_slice(material);
    bytes.extend_from_slice(&program);
    bytes.extend_from_slice(&fnv1a(&bytes).to_le_bytes());
    Some(bytes)
}

/// The program in a file's `bytes`, or nothing where they are not exactly a
/// file for `material`.
fn parse_cached(bytes: &[u8], material: &[u8]) -> Option<CachedProgram> {
    let (content, checksum) = bytes.split_last_chunk::<CHECKSUM>()?;
    let (magic, rest) = content.split_first_chunk::<8>()?;
    let (key_length, rest) = rest.split_first_chunk::<4>()?;
    let (flags, rest) = rest.split_first_chunk::<4>()?;
    let (count, rest) = rest.split_first_chunk::<4>()?;
    let key_length = usize::try_from(u32::from_le_bytes(*key_length)).ok()?;
    let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
    let (key, program) = rest.split_at_checked(key_length)?;
    let whole = magic == MAGIC
        && key == material
        && (1..=MAX_INSTRUCTIONS).contains(&count)
        && program.len() == count * INSTRUCTION_SIZE
        && fnv1a(content) == u64::from_le_bytes(*checksum);
    if !whole {
        return None;
    }
    Some(CachedProgram {
        program: parse_program(program)?,
        flags: u32::from_le_bytes(*flags),
    })
}

/// FNV-1a, 64 bits: a name and a guard against torn files, no defence against forgery.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::CWD;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    const PROFILE: &[u8] = br#"{"defaultAction":"SCMP_ACT_ALLOW"}"#;

    fn material(profile: &[u8]) -> KeyMaterial<'_> {
        KeyMaterial {
            profile,
            native: Arch::X86_64,
            capabilities: 5,
            kernel: (6, 1),
            version: "1.0",
        }
    }

    fn compiled() -> Compiled {
        Compiled {
            program: vec![
                SockFilter {
                    code: 6,
                    jt: 0,
                    jf: 0,
                    k: 0x7fff_0000
                };
                3
            ],
            flags: 4,
            unknown: Vec::new(),
        }
    }

    /// A directory of the test's own, gone with it.
    struct Directory(PathBuf, OwnedFd);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("cais-seccomp-{name}-{}", std::process::id()));
            std::fs::create_dir(&path).unwrap();
            let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(CWD, &path, flags, Mode::empty()).unwrap();
            Self(path, fd)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).ok();
        }
    }

    #[test]
    fn keys_differ_in_everything_that_matters() {
        let base = material(PROFILE);
        let keys = [
            cache_key(&base),
            cache_key(&material(
                br#"{"defaultAction":"SCMP_ACT_ALLOW","defaultErrnoRet":1}"#,
            )),
            cache_key(&KeyMaterial {
                native: Arch::Aarch64,
                ..base
            }),
            cache_key(&KeyMaterial {
                capabilities: 4,
                ..base
            }),
            cache_key(&KeyMaterial {
                kernel: (6, 2),
                ..base
            }),
            cache_key(&KeyMaterial {
                version: "1.1",
                ..base
            }),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(
                keys.iter()
                    .skip(at + 1)
                    .all(|other| other.name != key.name && other.material != key.material)
            );
        }
        assert_eq!(cache_key(&base), keys[0]);
    }

    #[test]
    fn what_was_written_is_read() {
        let dir = Directory::new("read");
        let key = cache_key(&material(PROFILE));
        assert_eq!(read_cached(dir.1.as_fd(), &key), Ok(None));
        write_cached(dir.1.as_fd(), &key, &compiled()).unwrap();
        write_cached(dir.1.as_fd(), &key, &compiled()).unwrap();
        let wanted = CachedProgram {
            program: compiled().program,
            flags: 4,
        };
        assert_eq!(read_cached(dir.1.as_fd(), &key), Ok(Some(wanted)));
        let names: Vec<_> = std::fs::read_dir(&dir.0)
            .unwrap()
            .map(|entry| entry.unwrap())
            .collect();
        assert_eq!(names.len(), 1, "{names:?}");
        assert_eq!(names[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_listener_is_not_kept() {
        let dir = Directory::new("listener");
        let key = cache_key(&material(PROFILE));
        let listening = Compiled {
            flags: FLAG_NEW_LISTENER,
            ..compiled()
        };
        write_cached(dir.1.as_fd(), &key, &listening).unwrap();
        assert_eq!(read_cached(dir.1.as_fd(), &key), Ok(None));
    }

    #[test]
    fn a_file_that_others_can_write_or_a_link_is_not_believed() {
        let dir = Directory::new("mode");
        let key = cache_key(&material(PROFILE));
        write_cached(dir.1.as_fd(), &key, &compiled()).unwrap();
        let path = dir.0.join(&key.name);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o620)).unwrap();
        assert_eq!(read_cached(dir.1.as_fd(), &key), Ok(None));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::rename(&path, dir.0.join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        assert_eq!(read_cached(dir.1.as_fd(), &key), Ok(None));
        write_cached(dir.1.as_fd(), &key, &compiled()).unwrap();
        assert!(read_cached(dir.1.as_fd(), &key).unwrap().is_some());
    }

    #[test]
    fn a_torn_or_foreign_file_is_not_believed() {
        let key = cache_key(&material(PROFILE)).material;
        let good = cached_bytes(&key, &compiled()).unwrap();
        assert!(parse_cached(&good, &key).is_some());
        for cut in 0..good.len() {
            assert_eq!(parse_cached(&good[..cut], &key), None, "{cut} bytes");
        }
        for at in 0..good.len() {
            let mut changed = good.clone();
            changed[at] ^= 0x10;
            assert_eq!(parse_cached(&changed, &key), None, "byte {at}");
        }
        let other = cache_key(&material(b"{}")).material;
        assert_eq!(parse_cached(&good, &other), None);
        assert_eq!(parse_cached(&[good.as_slice(), &[0; 8]].concat(), &key), None);
    }
}
