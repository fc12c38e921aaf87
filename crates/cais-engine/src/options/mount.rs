//! `--volume`, `--mount` and `--tmpfs`.

use super::error::OptionError;
use super::size::parse_size;
use super::{MountKind, MountOption};
use std::path::{Component, Path, PathBuf};

const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];

/// Refuses `z` and `Z` of `--volume` on a machine whose files have labels of SELinux.
///
/// # Errors
/// For a mount that is to be relabelled there.
pub fn check_labels(mounts: &[MountOption], has_selinux: &dyn Fn() -> bool) -> Result<(), OptionError> {
    let labelled = |mount: &&MountOption| mount.mode.split(',').any(|word| matches!(word, "z" | "Z"));
    match mounts.iter().find(labelled) {
        Some(mount) if has_selinux() => Err(OptionError::unsupported(
            "--volume",
            format!("relabelling ({})", mount.target),
            "label the files by chcon(1), or give --security-opt label=disable and leave it out",
        )),
        _ => Ok(()),
    }
}

/// Reads `--volume [SOURCE:]TARGET[:OPTIONS]`. A source that begins with `.` is taken
/// relative to `cwd`; one without a slash is the name of a volume, and without a source the
/// volume has none.
///
/// # Errors
/// For another form.
pub fn parse_volume(text: &str, cwd: &Path) -> Result<MountOption, OptionError> {
    const FLAG: &str = "--volume";
    let bad = || OptionError::form(FLAG, text, "SOURCE:TARGET[:OPTIONS] with an absolute TARGET");
    let mut parts = text.split(':');
    let (source, target, words) = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(source), Some(target), words, None) => (source, target, words.unwrap_or("")),
        (Some(path), None, None, None) if path.starts_with('/') => {
            return Ok(MountOption {
                kind: volume("", false),
                target: check_target(FLAG, path)?,
                read_only: false,
                mode: String::new(),
                by_mount: false,
            });
        }
        _ => return Err(bad()),
    };
    let source = match source {
        "" => return Err(bad()),
        path if path.starts_with('/') => Ok(clean(Path::new(path))),
        path if path.starts_with("./") || path.starts_with("../") || matches!(path, "." | "..") => {
            Ok(clean(&cwd.join(path)))
        }
        name if crate::volumes::is_name(name) => Err(name),
        name => {
            return Err(OptionError::form(
                FLAG,
                name,
                "an absolute path, a path that begins with ./, or the name of a volume",
            ));
        }
    };
    let mode = parse_mode_words(words)
        .ok_or_else(|| OptionError::form(FLAG, text, "SOURCE:TARGET[:OPTIONS]: at most one option of each kind: ro or rw, a propagation, nocopy, z or Z"))?;
    let propagation = mode.propagation.map(str::to_owned);
    let kind = match source {
        Ok(_) if mode.no_copy => {
            return Err(OptionError::form(
                FLAG,
                text,
                "possible: nocopy is for volumes, nothing is copied into a directory of the host",
            ));
        }
        Ok(source) => MountKind::Bind {
            source,
            create_source: true,
            propagation,
            non_recursive: false,
            options: Vec::new(),
        },
        Err(_) if propagation.is_some() => {
            return Err(OptionError::form(
                FLAG,
                text,
                "possible: a volume has no propagation",
            ));
        }
        Err(name) => volume(name, mode.no_copy),
    };
    Ok(MountOption {
        kind,
        target: check_target(FLAG, target)?,
        read_only: mode.read_only,
        mode: words.to_owned(),
        by_mount: false,
    })
}

/// What the options of a `--volume` say.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct ModeWords<'a> {
    pub(crate) read_only: bool,
    /// Not filled from the image, as volumes are.
    no_copy: bool,
    propagation: Option<&'a str>,
}

impl ModeWords<'_> {
    /// Whether nothing is said of what `--volumes-from` takes as it is.
    pub(crate) fn is_of_access(&self) -> bool {
        !self.no_copy && self.propagation.is_none()
    }
}

/// Reads the options of a `--volume`, or of `--volumes-from`. `None` for an unknown one, and
/// for two of one kind, the same ones included (moby, `linuxValidMountMode`).
pub(crate) fn parse_mode_words(words: &str) -> Option<ModeWords<'_>> {
    let mut mode = ModeWords::default();
    let mut kinds = Vec::new();
    for word in words.split(',').filter(|_| !words.is_empty()) {
        let kind = match word {
            "ro" | "rw" => {
                mode.read_only = word == "ro";
                "access"
            }
            "nocopy" => {
                mode.no_copy = true;
                "copy"
            }
            // Labels of SELinux: the caller sees whether there are any here.
            "z" | "Z" => "label",
            // It tuned file sharing of Docker Desktop and means nothing on Linux.
            "consistent" | "cached" | "delegated" => "consistency",
            _ if PROPAGATIONS.contains(&word) => {
                mode.propagation = Some(word);
                "propagation"
            }
            _ => return None,
        };
        if kinds.contains(&kind) {
            return None;
        }
        kinds.push(kind);
    }
    Some(mode)
}

/// A volume; without a name it is the container's own.
fn volume(name: &str, no_copy: bool) -> MountKind {
    MountKind::Volume {
        name: name.to_owned(),
        anonymous: name.is_empty(),
        no_copy,
    }
}

/// Reads a place of the image's VOLUME; `None` for what can be none. It is made plain without
/// a look at the tree (CVE-2022-23648).
#[must_use]
pub fn parse_image_volume(path: &str) -> Option<MountOption> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let target = check_target("VOLUME", &format!("/{}", parts.join("/"))).ok()?;
    Some(MountOption {
        kind: volume("", false),
        target,
        read_only: false,
        mode: String::new(),
        by_mount: false,
    })
}

/// Reads `--tmpfs TARGET[:OPTIONS]`.
///
/// # Errors
/// For another form.
pub fn parse_tmpfs(text: &str) -> Result<MountOption, OptionError> {
    const FLAG: &str = "--tmpfs";
    let (target, words) = text.split_once(':').unwrap_or((text, ""));
    let mut read_only = false;
    let (mut size, mut mode, mut options) = (None, None, Vec::new());
    for word in words.split(',').filter(|word| !word.is_empty()) {
        match word.split_once('=') {
            Some(("size", value)) if !value.ends_with('%') => size = Some(parse_size(FLAG, value)?),
            Some(("mode", value)) => mode = Some(parse_mode(FLAG, value)?),
            _ if word == "ro" => read_only = true,
            _ if word == "rw" => read_only = false,
            _ => options.push(check_tmpfs_word(FLAG, word)?),
        }
    }
    Ok(MountOption {
        kind: MountKind::Tmpfs { size, mode, options },
        target: check_target(FLAG, target)?,
        read_only,
        mode: words.to_owned(),
        by_mount: false,
    })
}

fn check_tmpfs_word(flag: &'static str, word: &str) -> Result<String, OptionError> {
    const WORDS: [&str; 14] = [
        "noexec",
        "exec",
        "nosuid",
        "suid",
        "nodev",
        "dev",
        "noatime",
        "atime",
        "relatime",
        "strictatime",
        "nodiratime",
        "diratime",
        "noswap",
        "nosymfollow",
    ];
    const KEYS: [&str; 6] = ["size", "uid", "gid", "nr_inodes", "nr_blocks", "huge"];
    let known = WORDS.contains(&word) || word.split_once('=').is_some_and(|(key, _)| KEYS.contains(&key));
    if known {
        Ok(word.to_owned())
    } else {
        Err(OptionError::form(flag, word, "an option of a tmpfs"))
    }
}

fn parse_mode(flag: &'static str, text: &str) -> Result<u32, OptionError> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
    mode.ok_or_else(|| OptionError::form(flag, text, "an octal mode such as 1777"))
}

/// A target is absolute, is not the root, and does not climb.
/// An absolute path without `.` and `..`, by its text alone as Docker does: what is left out
/// is not looked for, and not made.
fn clean(path: &Path) -> PathBuf {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                parts.pop();
            }
            Component::Normal(name) => parts.push(name),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Path::new("/").join(parts.into_iter().collect::<PathBuf>())
}

fn check_target(flag: &'static str, target: &str) -> Result<String, OptionError> {
    let good =
        target.starts_with('/') && !target.split('/').any(|part| part == "..") && !target.contains('\0');
    if !good {
        return Err(OptionError::form(
            flag,
            target,
            "an absolute path inside the container without '..'",
        ));
    }
    let trimmed = target.trim_end_matches('/');
    if trimmed.is_empty() {
        return Err(OptionError::form(
            flag,
            target,
            "a path below /: the root itself comes from the image or --rootfs",
        ));
    }
    Ok(trimmed.to_owned())
}

/// The parts of a `--mount`, as they are collected.
#[derive(Default)]
struct Parts {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    propagation: Option<String>,
    non_recursive: bool,
    tmpfs_size: Option<u64>,
    tmpfs_mode: Option<u32>,
    no_copy: bool,
}

/// Reads `--mount type=…,source=…,target=…,…`; a value with commas stands in quotes.
///
/// # Errors
/// For unknown keys, missing ones, and kinds that are not there yet.
pub fn parse_mount(text: &str) -> Result<MountOption, OptionError> {
    const FLAG: &str = "--mount";
    let mut parts = Parts::default();
    for field in split_fields(text)
        .ok_or_else(|| OptionError::form(FLAG, text, "a list of KEY=VALUE with closed quotes"))?
    {
        let (key, value) = field
            .split_once('=')
            .map_or((field.as_str(), None), |(key, value)| (key, Some(value)));
        collect(&mut parts, &key.to_ascii_lowercase(), value)?;
    }
    let target = parts
        .target
        .ok_or_else(|| OptionError::form(FLAG, text, "complete: target=PATH is missing"))?;
    let of_bind = parts.propagation.is_some() || parts.non_recursive;
    let of_tmpfs = parts.tmpfs_size.is_some() || parts.tmpfs_mode.is_some();
    let strange = match parts.kind.as_deref() {
        Some("bind") => of_tmpfs || parts.no_copy,
        Some("tmpfs") => of_bind || parts.no_copy,
        _ => of_bind || of_tmpfs,
    };
    if strange {
        return Err(OptionError::form(
            FLAG,
            text,
            "of one kind: bind-…, volume-… and tmpfs-… go with their type",
        ));
    }
    let kind = match parts.kind.as_deref() {
        Some("bind") => {
            let source = parts.source.filter(|source| source.starts_with('/'));
            let source = source
                .ok_or_else(|| OptionError::form(FLAG, text, "complete: source=ABSOLUTE-PATH is missing"))?;
            MountKind::Bind {
                source: clean(Path::new(&source)),
                create_source: false,
                propagation: parts.propagation,
                non_recursive: parts.non_recursive,
                options: Vec::new(),
            }
        }
        Some("tmpfs") if parts.source.is_none() => MountKind::Tmpfs {
            size: parts.tmpfs_size,
            mode: parts.tmpfs_mode,
            options: Vec::new(),
        },
        Some("tmpfs") => return Err(OptionError::form(FLAG, text, "possible: a tmpfs has no source")),
        None | Some("volume") => {
            let name = parts.source.unwrap_or_default();
            if !name.is_empty() && !crate::volumes::is_name(&name) {
                return Err(OptionError::form(
                    FLAG,
                    &name,
                    "the name of a volume: for a path write type=bind",
                ));
            }
            volume(&name, parts.no_copy)
        }
        Some(other) => {
            return Err(OptionError::unsupported(
                FLAG,
                format!("type={other}"),
                "use type=bind or type=tmpfs",
            ));
        }
    };
    Ok(MountOption {
        kind,
        target: check_target(FLAG, &target)?,
        read_only: parts.read_only,
        mode: String::new(),
        by_mount: true,
    })
}

fn collect(parts: &mut Parts, key: &str, value: Option<&str>) -> Result<(), OptionError> {
    const FLAG: &str = "--mount";
    let needed = || {
        value
            .map(str::to_owned)
            .ok_or_else(|| OptionError::form(FLAG, key, "complete: the key needs a value"))
    };
    let truth = || match value {
        None | Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(other) => Err(OptionError::form(FLAG, other, "true or false")),
    };
    match key {
        "type" => parts.kind = Some(needed()?.to_ascii_lowercase()),
        "source" | "src" => parts.source = Some(needed()?),
        "target" | "dst" | "destination" => parts.target = Some(needed()?),
        "readonly" | "ro" => parts.read_only = truth()?,
        "bind-propagation" => {
            let word = needed()?;
            if !PROPAGATIONS.contains(&word.as_str()) {
                return Err(OptionError::form(
                    FLAG,
                    &word,
                    "one of private, rprivate, shared, rshared, slave, rslave",
                ));
            }
            parts.propagation = Some(word);
        }
        "bind-nonrecursive" => parts.non_recursive = truth()?,
        "bind-recursive" => match needed()?.as_str() {
            "enabled" | "readonly" => {}
            "disabled" => parts.non_recursive = true,
            other => {
                return Err(OptionError::unsupported(
                    FLAG,
                    format!("bind-recursive={other}"),
                    "use enabled or disabled",
                ));
            }
        },
        // It tuned file sharing of Docker Desktop and means nothing on Linux.
        "consistency" => drop(needed()?),
        "volume-nocopy" => parts.no_copy = truth()?,
        "volume-driver" if value == Some("local") => {}
        "tmpfs-size" => parts.tmpfs_size = Some(parse_size(FLAG, &needed()?)?),
        "tmpfs-mode" => parts.tmpfs_mode = Some(parse_mode(FLAG, &needed()?)?),
        other => return Err(OptionError::form(FLAG, other, "a key of --mount")),
    }
    Ok(())
}

/// Splits at commas outside double quotes, which are taken off; a doubled quote inside
/// is one (RFC 4180). `None` for a quote that does not end.
fn split_fields(text: &str) -> Option<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                fields.last_mut()?.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => fields.last_mut()?.push(other),
        }
    }
    (!quoted).then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(text: &str) -> Result<MountOption, OptionError> {
        parse_volume(text, Path::new("/work"))
    }

    #[test]
    fn volumes() {
        let mount = volume("/a:/b:ro,rslave").unwrap();
        assert!(mount.read_only);
        assert_eq!(mount.target, "/b");
        assert!(
            matches!(&mount.kind, MountKind::Bind { propagation: Some(word), create_source: true, .. } if word == "rslave")
        );
        for (text, want) in [
            ("/nosuch/../tmp/./a:/b", "/tmp/a"),
            ("../..:/b", "/"),
            ("/:/b", "/"),
        ] {
            let mount = volume(text).unwrap();
            let is_so = matches!(&mount.kind, MountKind::Bind { source, .. } if source == Path::new(want));
            assert!(is_so, "{text}: {mount:?}");
        }
        let relative = volume("./x:/b/").unwrap();
        assert!(matches!(&relative.kind, MountKind::Bind { source, .. } if source == Path::new("/work/x")));
        assert_eq!(relative.target, "/b");
        for bad in [
            "",
            ":",
            "/a:",
            ":/b",
            "/a:b",
            "/a:/",
            "/a:/b:x",
            "/a:/b:ro:x",
            "/a:/b:ro,rw",
            "/a:/b:rw,ro",
            "/a:/b:ro,ro",
            "/a:/b:z,Z",
            "/a:/b:shared,slave",
            "/a:/b:rshared,rshared",
            "/a:/b:cached,delegated",
            "/a:/b:nocopy",
            "data:/b:nocopy,nocopy",
            "/a:/b:,",
            "/a:/b:ro,",
            "/a:/b:ro,,z",
            "/a:/b:RO",
            "/a:/b:readonly",
            "/a:/../b",
            "a/b:/c",
            "data:/b:rslave",
        ] {
            assert!(matches!(volume(bad), Err(OptionError::Form { .. })), "{bad}");
        }
    }

    #[test]
    fn one_option_of_each_kind() {
        assert!(volume("/a:/b:").is_ok());
        assert!(volume("/a:/b:z,cached,rslave,ro").unwrap().read_only);
        assert!(volume("data:/b:ro,z,nocopy").unwrap().read_only);
    }

    #[test]
    fn labels_are_for_machines_with_selinux() {
        let mounts = [volume("/a:/b:ro,z").unwrap(), volume("data:/c:Z").unwrap()];
        assert!(mounts[0].read_only && mounts[0].mode == "ro,z");
        assert!(check_labels(&mounts, &|| false).is_ok());
        assert!(check_labels(&mounts, &|| true).is_err());
        assert!(check_labels(&[volume("/a:/b:ro").unwrap()], &|| true).is_ok());
    }

    #[test]
    fn named_and_own_volumes() {
        let named = volume("data:/b:nocopy").unwrap();
        assert!(
            matches!(&named.kind, MountKind::Volume { name, no_copy: true, anonymous: false } if name == "data")
        );
        let own = volume("/b").unwrap();
        assert!(
            matches!(&own.kind, MountKind::Volume { name, anonymous: true, .. } if name.is_empty() && own.target == "/b")
        );
        for (path, target) in [
            ("/a/b", Some("/a/b")),
            ("/../../etc", Some("/etc")),
            ("/../..", None),
            ("", None),
        ] {
            let found = parse_image_volume(path).map(|mount| mount.target);
            assert_eq!(found.as_deref(), target, "{path}");
        }
    }

    #[test]
    fn mounts() {
        let bind =
            parse_mount("type=bind,source=/a,dst=/b,ro,bind-propagation=rshared,bind-recursive=disabled")
                .unwrap();
        assert!(bind.read_only);
        assert!(matches!(
            &bind.kind,
            MountKind::Bind {
                create_source: false,
                non_recursive: true,
                ..
            }
        ));
        let quoted = parse_mount("type=bind,\"src=/a,b\",target=/c").unwrap();
        assert!(matches!(&quoted.kind, MountKind::Bind { source, .. } if source == Path::new("/a,b")));
        let tmpfs = parse_mount("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=700").unwrap();
        assert_eq!(
            tmpfs.kind,
            MountKind::Tmpfs {
                size: Some(1 << 20),
                mode: Some(0o700),
                options: vec![]
            }
        );
        for bad in [
            "type=bind,target=/b",
            "type=bind,source=/a",
            "type=bind,source=a,target=/b",
            "type=tmpfs,target=/t,x=1",
            "type=bind,source=\"/a,target=/b",
            "type=tmpfs,source=/a,target=/t",
        ] {
            assert!(matches!(parse_mount(bad), Err(OptionError::Form { .. })), "{bad}");
        }
        let volume = parse_mount("type=volume,src=data,target=/d,volume-nocopy").unwrap();
        assert!(matches!(&volume.kind, MountKind::Volume { name, no_copy: true, .. } if name == "data"));
        assert!(matches!(
            parse_mount("target=/d").unwrap().kind,
            MountKind::Volume { anonymous: true, .. }
        ));
        let unsupported = parse_mount("type=npipe,target=/b");
        assert!(matches!(unsupported, Err(OptionError::Unsupported { .. })));
    }

    #[test]
    fn tmpfs() {
        let mount = parse_tmpfs("/t:size=64k,mode=1770,exec,uid=5").unwrap();
        assert_eq!(
            mount.kind,
            MountKind::Tmpfs {
                size: Some(65_536),
                mode: Some(0o1770),
                options: vec!["exec".into(), "uid=5".into()]
            }
        );
        for bad in ["t", "/t:bogus", "/t:mode=9", "/t:size=x", "/"] {
            assert!(parse_tmpfs(bad).is_err(), "{bad}");
        }
    }
}
