//! Seccomp profiles in JSON: the form of the OCI runtime specification
//! (`linux.seccomp` of `config.json`) and Docker's (`--security-opt
//! seccomp=FILE`), which adds `archMap`, `name`, and conditions on rules
//! (`includes`, `excludes`). One reader takes both; it does no I/O.
//!
//! As in Docker: a rule applies where all capabilities of `includes.caps` are
//! in the bounding set and none of `excludes.caps` is; `arches` speak of the
//! machine's own architecture; fields of other names are ignored. As in runc
//! since 1.2: a profile without `flags` gets `SPEC_ALLOW`, one with an empty
//! list gets none.

use cais_json::{Map, Value};
use cais_linux::seccomp::{Action, Arch, ArgRule, Flag, Operator, Profile, Rule};
use std::borrow::Cow;
use std::fmt;

/// Why a text is no seccomp profile. Paths are those of jq: `syscalls[3].args[0].op`.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The text is no JSON.
    #[error("seccomp profile is not JSON")]
    NotJson(#[source] cais_json::JsonError),
    /// A value of another type.
    #[error("seccomp profile: {path} must be {expected}, not {found}")]
    WrongType {
        /// Where.
        path: String,
        /// What would be right.
        expected: &'static str,
        /// What stands there.
        found: &'static str,
    },
    /// Something that must be there.
    #[error("seccomp profile: {path} is missing")]
    Missing {
        /// What.
        path: String,
    },
    /// A word that the specification does not have.
    #[error("seccomp profile: {path}: unknown {kind} {value:?}; {hint}")]
    UnknownWord {
        /// Where.
        path: String,
        /// What kind of word.
        kind: &'static str,
        /// The word.
        value: String,
        /// Words that exist.
        hint: &'static str,
    },
    /// Two fields that exclude each other.
    #[error("seccomp profile: {path} has both {first} and {second}; use one of them")]
    Both {
        /// The object.
        path: String,
        /// One field.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// A number too large for its place.
    #[error("seccomp profile: {path}: {value} is above {limit}")]
    TooLarge {
        /// Where.
        path: String,
        /// The number.
        value: u64,
        /// The highest possible.
        limit: u64,
    },
    /// A kernel version that is not `major.minor`.
    #[error("seccomp profile: {path}: {value:?} is no kernel version such as \"4.8\"")]
    KernelVersion {
        /// Where.
        path: String,
        /// The text.
        value: String,
    },
}

type Result<T> = std::result::Result<T, ProfileError>;

/// Reads the profile in `bytes` for a process whose bounding set is `caps` (bit
/// n for capability n), on a machine of architecture `arch` with a kernel of
/// version `kernel_version` (major, minor).
///
/// # Errors
/// What the text should have been, and where.
pub fn parse_profile(bytes: &[u8], caps: u64, arch: Arch, kernel_version: (u32, u32)) -> Result<Profile> {
    let value: Value = cais_json::from_slice(bytes).map_err(ProfileError::NotJson)?;
    let root = Node {
        value: &value,
        path: Path::Root,
    };
    let host = Host {
        caps,
        arch,
        kernel: kernel_version,
    };
    let default_action = root.required("defaultAction", &|node| action(&node))?;
    let default_errno = root.optional("defaultErrnoRet", &|node| errno(&node))?;
    let mut rules = Vec::new();
    root.each("syscalls", &mut |node| {
        rules.extend(rule(&node, &host)?);
        Ok(())
    })?;
    Ok(Profile {
        default_action,
        default_errno,
        architectures: architectures(&root, arch)?,
        flags: flags(&root)?,
        listener_path: root.optional("listenerPath", &|node| node.text().map(str::to_owned))?,
        listener_metadata: root.optional("listenerMetadata", &|node| node.text().map(str::to_owned))?,
        rules,
    })
}

/// What conditions are held against.
struct Host {
    caps: u64,
    arch: Arch,
    kernel: (u32, u32),
}

fn action(node: &Node<'_>) -> Result<Action> {
    let hint = "actions are SCMP_ACT_ALLOW, _ERRNO, _KILL, _KILL_PROCESS, _KILL_THREAD, _LOG, _NOTIFY, _TRACE \
                and _TRAP";
    node.word("action", Action::parse_oci, hint)
}

fn errno(node: &Node<'_>) -> Result<u32> {
    let value = node.number()?;
    u32::try_from(value).map_err(|_overflow| node.too_large(value, u64::from(u32::MAX)))
}

fn architecture(node: &Node<'_>) -> Result<Arch> {
    let hint = "architectures are written like SCMP_ARCH_X86_64";
    node.word("architecture", Arch::parse_oci, hint)
}

fn flags(root: &Node<'_>) -> Result<Vec<Flag>> {
    let hint = "flags are SECCOMP_FILTER_FLAG_TSYNC, _LOG, _SPEC_ALLOW and _WAIT_KILLABLE_RECV";
    if root.field("flags")?.is_none() {
        return Ok(vec![Flag::SpecAllow]);
    }
    let mut flags = Vec::new();
    root.each("flags", &mut |node| {
        flags.push(node.word("flag", Flag::parse_oci, hint)?);
        Ok(())
    })?;
    Ok(flags)
}

/// `architectures`, or the entry of `archMap` for this machine.
fn architectures(root: &Node<'_>, native: Arch) -> Result<Vec<Arch>> {
    let mut listed = Vec::new();
    root.each("architectures", &mut |node| {
        listed.push(architecture(&node)?);
        Ok(())
    })?;
    let mut mapped = Vec::new();
    let mut entries = 0_usize;
    root.each("archMap", &mut |entry| {
        entries += 1;
        let mut group = vec![entry.required("architecture", &|node| architecture(&node))?];
        entry.each("subArchitectures", &mut |node| {
            group.push(architecture(&node)?);
            Ok(())
        })?;
        if group.first() == Some(&native) && mapped.is_empty() {
            mapped = group;
        }
        Ok(())
    })?;
    if !listed.is_empty() && entries > 0 {
        return Err(root.both("architectures", "archMap"));
    }
    Ok(if entries > 0 { mapped } else { listed })
}

/// One entry of `syscalls`, or nothing where its conditions do not hold here.
fn rule(node: &Node<'_>, host: &Host) -> Result<Option<Rule>> {
    let mut names = Vec::new();
    node.each("names", &mut |name| {
        names.push(Cow::Owned(name.text()?.to_owned()));
        Ok(())
    })?;
    let single = node.optional("name", &|name| name.text().map(str::to_owned))?;
    match single {
        Some(name) if !name.is_empty() => {
            if !names.is_empty() {
                return Err(node.both("name", "names"));
            }
            names.push(Cow::Owned(name));
        }
        _ => {}
    }
    if names.is_empty() {
        return Err(node.missing("names"));
    }
    let mut args = Vec::new();
    node.each("args", &mut |arg| {
        args.push(arg_rule(&arg)?);
        Ok(())
    })?;
    let rule = Rule {
        names,
        action: node.required("action", &|node| action(&node))?,
        errno: node.optional("errnoRet", &|node| errno(&node))?,
        args,
    };
    // Both are read even where the first decides: a mistake is reported on every machine.
    let included = node.optional("includes", &|node| condition(&node, host))?;
    let excluded = node.optional("excludes", &|node| condition(&node, host))?;
    let applies =
        included.is_none_or(|condition| condition.all) && excluded.is_none_or(|condition| !condition.any);
    Ok(applies.then_some(rule))
}

fn arg_rule(node: &Node<'_>) -> Result<ArgRule> {
    let index = node.required("index", &|node| {
        let value = node.number()?;
        match u8::try_from(value) {
            Ok(index @ 0..=5) => Ok(index),
            _ => Err(node.too_large(value, 5)),
        }
    })?;
    let hint = "operators are SCMP_CMP_NE, _LT, _LE, _EQ, _GE, _GT and _MASKED_EQ";
    Ok(ArgRule {
        index,
        value: node.required("value", &|node| node.number())?,
        value_two: node.optional("valueTwo", &|node| node.number())?.unwrap_or(0),
        op: node.required("op", &|node| node.word("operator", Operator::parse_oci, hint))?,
    })
}

/// How a machine meets an `includes` or `excludes`.
struct Condition {
    /// Everything in it holds: what `includes` asks.
    all: bool,
    /// Something in it holds: what `excludes` forbids.
    any: bool,
}

fn condition(node: &Node<'_>, host: &Host) -> Result<Condition> {
    let mut condition = Condition {
        all: true,
        any: false,
    };
    let mut meet = |holds: bool| {
        condition.all &= holds;
        condition.any |= holds;
    };
    node.each("caps", &mut |cap| {
        let bit = capability(cap.text()?);
        meet(bit.is_some_and(|bit| host.caps >> bit & 1 == 1));
        Ok(())
    })?;
    // One of several architectures is enough, for both.
    let mut named = false;
    let mut ours = false;
    node.each("arches", &mut |arch| {
        named = true;
        ours |= arch.text()? == host.arch.docker_name();
        Ok(())
    })?;
    if named {
        meet(ours);
    }
    if let Some(minimum) = node.optional("minKernel", &|node| kernel_version(&node))? {
        meet(host.kernel >= minimum);
    }
    Ok(condition)
}

fn kernel_version(node: &Node<'_>) -> Result<(u32, u32)> {
    let text = node.text()?;
    let number = |digits: &str| {
        let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<u32>().ok().filter(|_| all_digits)
    };
    text.split_once('.')
        .and_then(|(major, minor)| Some((number(major)?, number(minor)?)))
        .ok_or_else(|| ProfileError::KernelVersion {
            path: node.path.to_string(),
            value: text.to_owned(),
        })
}

/// The number of a capability; one that we do not know is one that nobody has.
fn capability(name: &str) -> Option<u32> {
    const NAMES: &str = "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP \
        LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO \
        SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD \
        LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND \
        AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE";
    let name = name.strip_prefix("CAP_")?;
    NAMES
        .split_ascii_whitespace()
        .zip(0..)
        .find(|(known, _)| *known == name)
        .map(|(_, bit)| bit)
}

/// Where a value stands; written out only for an error.
#[derive(Clone, Copy)]
enum Path<'p> {
    Root,
    Key(&'p Path<'p>, &'static str),
    Index(&'p Path<'p>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("the top level"),
            Self::Key(Self::Root, key) => f.write_str(key),
            Self::Key(parent, key) => write!(f, "{parent}.{key}"),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// A JSON value and its place.
struct Node<'v> {
    value: &'v Value,
    path: Path<'v>,
}

impl Node<'_> {
    /// The value of `key`; `null` is as good as absent, as for Go programs.
    fn field(&self, key: &'static str) -> Result<Option<&Value>> {
        let object: &Map<String, Value> = self
            .value
            .as_object()
            .ok_or_else(|| self.wrong_type("an object"))?;
        Ok(object.get(key).filter(|value| !value.is_null()))
    }

    fn optional<T>(&self, key: &'static str, read: &dyn Fn(Node<'_>) -> Result<T>) -> Result<Option<T>> {
        self.field(key)?
            .map(|value| {
                read(Node {
                    value,
                    path: Path::Key(&self.path, key),
                })
            })
            .transpose()
    }

    fn required<T>(&self, key: &'static str, read: &dyn Fn(Node<'_>) -> Result<T>) -> Result<T> {
        self.optional(key, read)?.ok_or_else(|| self.missing(key))
    }

    /// Reads each element of the list `key`; no list is an empty one.
    fn each(&self, key: &'static str, read: &mut dyn FnMut(Node<'_>) -> Result<()>) -> Result<()> {
        let Some(value) = self.field(key)? else {
            return Ok(());
        };
        let path = Path::Key(&self.path, key);
        let list = Node { value, path };
        let elements = value.as_array().ok_or_else(|| list.wrong_type("a list"))?;
        for (index, value) in elements.iter().enumerate() {
            let path = Path::Index(&list.path, index);
            read(Node { value, path })?;
        }
        Ok(())
    }

    fn text(&self) -> Result<&str> {
        self.value.as_str().ok_or_else(|| self.wrong_type("a string"))
    }

    fn number(&self) -> Result<u64> {
        self.value
            .as_u64()
            .ok_or_else(|| self.wrong_type("a whole number from 0 to 2^64-1"))
    }

    fn word<T>(&self, kind: &'static str, parse: fn(&str) -> Option<T>, hint: &'static str) -> Result<T> {
        let word = self.text()?;
        parse(word).ok_or_else(|| ProfileError::UnknownWord {
            path: self.path.to_string(),
            kind,
            value: word.to_owned(),
            hint,
        })
    }

    fn wrong_type(&self, expected: &'static str) -> ProfileError {
        let found = match self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(number) if number.is_u64() => "a number",
            Value::Number(number) if number.is_i64() => "a negative number",
            Value::Number(_) => "a number with a fraction or out of range",
            Value::String(_) => "a string",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        ProfileError::WrongType {
            path: self.path.to_string(),
            expected,
            found,
        }
    }

    fn missing(&self, key: &'static str) -> ProfileError {
        ProfileError::Missing {
            path: Path::Key(&self.path, key).to_string(),
        }
    }

    fn both(&self, first: &'static str, second: &'static str) -> ProfileError {
        ProfileError::Both {
            path: self.path.to_string(),
            first,
            second,
        }
    }

    fn too_large(&self, value: u64, limit: u64) -> ProfileError {
        ProfileError::TooLarge {
            path: self.path.to_string(),
            value,
            limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYS_ADMIN: u64 = 1 << 21;

    fn parse(text: &str) -> Result<Profile> {
        parse_profile(text.as_bytes(), SYS_ADMIN, Arch::X86_64, (6, 1))
    }

    #[test]
    fn reads_the_oci_form() {
        let profile = parse(
            r#"{
                "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
                "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32", "SCMP_ARCH_S390X"],
                "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
                "listenerPath": "/run/agent.sock", "listenerMetadata": "hello",
                "syscalls": [
                    {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW", "args": null},
                    {"names": ["clone"], "action": "SCMP_ACT_TRACE", "errnoRet": 5, "args": [
                        {"index": 5, "value": 18446744073709551615, "valueTwo": 1, "op": "SCMP_CMP_MASKED_EQ"}]}
                ]
            }"#,
        )
        .unwrap();
        let wanted = Profile {
            default_action: Action::Errno,
            default_errno: Some(38),
            architectures: vec![Arch::X86_64, Arch::X32, Arch::Foreign("SCMP_ARCH_S390X")],
            flags: vec![Flag::Log, Flag::WaitKillableRecv],
            listener_path: Some("/run/agent.sock".to_owned()),
            listener_metadata: Some("hello".to_owned()),
            rules: vec![
                Rule {
                    names: vec!["read".into(), "write".into()],
                    action: Action::Allow,
                    errno: None,
                    args: vec![],
                },
                Rule {
                    names: vec!["clone".into()],
                    action: Action::Trace,
                    errno: Some(5),
                    args: vec![ArgRule {
                        index: 5,
                        value: u64::MAX,
                        value_two: 1,
                        op: Operator::MaskedEqual,
                    }],
                },
            ],
        };
        assert_eq!(profile, wanted);
    }

    #[test]
    fn reads_the_docker_form() {
        let profile = parse(
            r#"{
                "defaultAction": "SCMP_ACT_KILL",
                "archMap": [
                    {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
                    {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
                    {"architecture": "SCMP_ARCH_RISCV64", "subArchitectures": null}
                ],
                "syscalls": [{"name": "read", "action": "SCMP_ACT_ALLOW", "comment": "ignored",
                              "includes": {}, "excludes": {}}]
            }"#,
        )
        .unwrap();
        assert_eq!(profile.architectures, [Arch::X86_64, Arch::X86]);
        assert_eq!(profile.flags, [Flag::SpecAllow]);
        assert_eq!(profile.rules[0].names, ["read"]);
        let none = parse(r#"{"defaultAction": "SCMP_ACT_LOG", "flags": []}"#).unwrap();
        assert_eq!((none.flags, none.architectures), (vec![], vec![]));
    }

    #[test]
    fn holds_conditions_against_the_host() {
        let cases = [
            (r#""includes": {"caps": ["CAP_SYS_ADMIN"]}"#, true),
            (r#""includes": {"caps": ["CAP_SYS_ADMIN", "CAP_BPF"]}"#, false),
            (r#""includes": {"caps": ["CAP_OF_THE_FUTURE"]}"#, false),
            (r#""excludes": {"caps": ["CAP_BPF", "CAP_SYS_ADMIN"]}"#, false),
            (r#""excludes": {"caps": ["CAP_BPF"]}"#, true),
            (r#""includes": {"arches": ["amd64", "x32"]}"#, true),
            (r#""includes": {"arches": ["arm64"]}"#, false),
            (r#""excludes": {"arches": ["s390x"]}"#, true),
            (r#""excludes": {"arches": ["s390x", "amd64"]}"#, false),
            (r#""includes": {"minKernel": "6.1"}"#, true),
            (r#""includes": {"minKernel": "6.2"}"#, false),
            (r#""includes": {"minKernel": "5.19"}"#, true),
            (r#""excludes": {"minKernel": "4.8"}"#, false),
            (
                r#""includes": {"arches": ["amd64"]}, "excludes": {"caps": ["CAP_SYS_ADMIN"]}"#,
                false,
            ),
            (r#""includes": null, "excludes": {"caps": []}"#, true),
        ];
        for (condition, wanted) in cases {
            let text = format!(
                r#"{{"defaultAction": "SCMP_ACT_ERRNO",
                     "syscalls": [{{"names": ["read"], "action": "SCMP_ACT_ALLOW", {condition}}}]}}"#
            );
            assert_eq!(
                parse(&text).unwrap().rules.len(),
                usize::from(wanted),
                "{condition}"
            );
        }
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        let rule = |inner: &str| format!(r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{inner}]}}"#);
        let arg = |inner: &str| {
            rule(&format!(
                r#"{{"names": ["a"], "action": "SCMP_ACT_ALLOW", "args": [{inner}]}}"#
            ))
        };
        let cases = [
            (String::new(), "not JSON"),
            ("# not a profile".to_owned(), "not JSON"),
            ("[]".to_owned(), "the top level must be an object, not a list"),
            ("{}".to_owned(), "defaultAction is missing"),
            (r#"{"defaultAction": 1}"#.to_owned(), "defaultAction must be a string, not a number"),
            (r#"{"defaultAction": "ALLOW"}"#.to_owned(), "defaultAction: unknown action \"ALLOW\""),
            (r#"{"defaultAction": "SCMP_ACT_LOG", "flags": ["X"]}"#.to_owned(), "flags[0]: unknown flag \"X\""),
            (r#"{"defaultAction": "SCMP_ACT_LOG", "flags": {}}"#.to_owned(), "flags must be a list, not an object"),
            (r#"{"defaultAction": "SCMP_ACT_LOG", "architectures": ["amd64"]}"#.to_owned(), "architectures[0]: unknown architecture \"amd64\""),
            (r#"{"defaultAction": "SCMP_ACT_LOG", "architectures": ["SCMP_ARCH_X86"], "archMap": [{"architecture": "SCMP_ARCH_X86"}]}"#.to_owned(), "the top level has both architectures and archMap"),
            (rule("{}"), "syscalls[0].names is missing"),
            (rule(r#"{"names": ["a", 2]}"#), "syscalls[0].names[1] must be a string, not a number"),
            (rule(r#"{"names": ["a"]}"#), "syscalls[0].action is missing"),
            (rule(r#"{"names": ["a"], "name": "b", "action": "SCMP_ACT_ALLOW"}"#), "syscalls[0] has both name and names"),
            (rule(r#"{"names": ["a"], "action": "SCMP_ACT_ERRNO", "errnoRet": -1}"#), "syscalls[0].errnoRet must be a whole number from 0 to 2^64-1, not a negative number"),
            (rule(r#"{"names": ["a"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4294967296}"#), "4294967296 is above 4294967295"),
            (rule(r#"{"names": ["a"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "5"}}"#), "syscalls[0].includes.minKernel: \"5\" is no kernel version"),
            (arg(r#"{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}"#), "syscalls[0].args[0].index: 6 is above 5"),
            (arg(r#"{"index": 0, "value": 1.5, "op": "SCMP_CMP_EQ"}"#), "args[0].value must be a whole number"),
            (arg(r#"{"index": 0, "value": 1}"#), "syscalls[0].args[0].op is missing"),
            (arg(r#"{"index": 0, "value": 1, "op": "EQ"}"#), "syscalls[0].args[0].op: unknown operator \"EQ\""),
        ];
        for (text, wanted) in cases {
            let message = parse(&text).unwrap_err().to_string();
            assert!(message.contains(wanted), "{text}\n{message}");
        }
    }
}
