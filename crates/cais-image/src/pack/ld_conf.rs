//! `/etc/ld.so.conf` (ldconfig(8)): directories, and files that are included.

use super::host::Host;
use super::wildcard::matches;
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How deep files include others.
const MAX_DEPTH: usize = 8;
/// The longest file that is read.
const MAX_FILE: u64 = 1 << 20;

/// The directories that the file names, in order; none where it is not there.
///
/// # Errors
/// Where it is there and cannot be read.
pub(super) fn read_conf(host: &Host, path: &Path) -> Result<Vec<PathBuf>, Errno> {
    let mut directories = Vec::new();
    read_into(host, path, MAX_DEPTH, &mut directories)?;
    Ok(directories)
}

fn read_into(host: &Host, path: &Path, depth: usize, directories: &mut Vec<PathBuf>) -> Result<(), Errno> {
    let Some(bytes) = host.read(path, MAX_FILE)? else {
        return Ok(());
    };
    for line in bytes.split(|byte| *byte == b'\n') {
        let line = line.split(|byte| *byte == b'#').next().unwrap_or_default();
        let line = line.trim_ascii();
        if let Some(pattern) = line
            .strip_prefix(b"include")
            .filter(|rest| rest.first().is_some_and(u8::is_ascii_whitespace) && depth > 0)
        {
            for pattern in pattern
                .split(u8::is_ascii_whitespace)
                .filter(|word| !word.is_empty())
            {
                let base = path.parent().unwrap_or(Path::new("/"));
                let pattern = base.join(OsStr::from_bytes(pattern));
                for file in expand_pattern(host, &pattern)? {
                    read_into(host, &file, depth - 1, directories)?;
                }
            }
        } else if line.starts_with(b"/") {
            // Once a directory could have a version of the C library after it.
            let end = line.iter().position(|byte| *byte == b'=').unwrap_or(line.len());
            let directory = PathBuf::from(OsStr::from_bytes(line[..end].trim_ascii()));
            if !directories.contains(&directory) {
                directories.push(directory);
            }
        }
    }
    Ok(())
}

/// The files that a pattern means; only the last name may have wildcards.
fn expand_pattern(host: &Host, pattern: &Path) -> Result<Vec<PathBuf>, Errno> {
    let (Some(directory), Some(name)) = (pattern.parent(), pattern.file_name()) else {
        return Ok(Vec::new());
    };
    let names = host.names(directory)?;
    let fitting = names
        .iter()
        .filter(|found| matches(name.as_bytes(), found.as_os_str().as_bytes()));
    Ok(fitting.map(|found| directory.join(found)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn included_files_are_read_in_order() {
        let base = std::env::temp_dir().join(format!("cais-pack-conf-{}", std::process::id()));
        let conf = base.join("etc/ld.so.conf.d");
        std::fs::create_dir_all(&conf).unwrap();
        std::fs::write(
            base.join("etc/ld.so.conf"),
            "# x\n/first # y\ninclude ld.so.conf.d/*.conf\ninclude /etc/ld.so.conf\n/last=libc6\n",
        )
        .unwrap();
        std::fs::write(conf.join("b.conf"), "/b\n/first\n").unwrap();
        std::fs::write(conf.join("a.conf"), "/a").unwrap();
        std::fs::write(conf.join("a.conf.old"), "/no").unwrap();
        let host = Host::open(&base).unwrap();
        let found = read_conf(&host, Path::new("/etc/ld.so.conf")).unwrap();
        assert_eq!(found, ["/first", "/a", "/b", "/last"].map(PathBuf::from));
        assert_eq!(read_conf(&host, Path::new("/none")).unwrap(), [] as [PathBuf; 0]);
        std::fs::remove_dir_all(base).unwrap();
    }
}
