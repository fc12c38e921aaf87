//! The list of steps: encoded as the stub reads it, with the reason for each.

use cais_init::step::Step;
use cais_init::wire::{Sink, Source as Bytes, StrBlock};
use std::ffi::{CStr, CString};

/// Bytes that grow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Buffer(pub Vec<u8>);

impl Sink for Buffer {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

/// The steps of a plan in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepList {
    bytes: Buffer,
    reasons: Vec<&'static str>,
}

impl StepList {
    /// Appends a step and why it is there.
    pub fn push(&mut self, reason: &'static str, step: &Step<'_>) {
        step.encode(&mut self.bytes);
        self.reasons.push(reason);
    }

    /// The encoded steps.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes.0
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.reasons.len()
    }

    /// The steps with their reasons.
    pub fn iter(&self) -> impl Iterator<Item = (Step<'_>, &'static str)> {
        let mut source = Bytes(&self.bytes.0);
        // What was encoded here decodes: the tests of the form say so.
        self.reasons
            .iter()
            .map_while(move |reason| Step::decode(&mut source).ok().map(|step| (step, *reason)))
    }

    /// The step at `index` in words.
    #[must_use]
    pub fn describe(&self, index: usize) -> String {
        self.iter()
            .nth(index)
            .map_or_else(|| format!("step {index}"), |(step, _)| describe(&step))
    }
}

/// A step in words: its name and what it is about.
#[must_use]
pub fn describe(step: &Step<'_>) -> String {
    let subject = subject(step);
    if subject.is_empty() {
        step.name().to_owned()
    } else {
        format!("{} {subject}", step.name())
    }
}

fn text(path: &CStr) -> String {
    path.to_string_lossy().into_owned()
}

fn words(block: &StrBlock<'_>) -> String {
    block.iter().map(text).collect::<Vec<_>>().join(" ")
}

fn subject(step: &Step<'_>) -> String {
    match step {
        Step::MountNew {
            path,
            fstype,
            parameters,
            ..
        } => {
            let mut pairs = parameters.iter().map(text);
            let mut options = Vec::new();
            while let (Some(key), Some(value)) = (pairs.next(), pairs.next()) {
                options.push(if value.is_empty() {
                    key
                } else {
                    format!("{key}={value}")
                });
            }
            let options = if options.is_empty() {
                String::new()
            } else {
                format!(" ({})", options.join(","))
            };
            format!("{} at {}{options}", text(fstype), text(path))
        }
        Step::MountTree { mount, path, .. } => format!("slot {} at {}", mount.0, text(path)),
        Step::AttachRoot { mount, path } => format!("slot {} at {}", mount.0, text(path)),
        Step::OpenTree { path, slot, .. } => format!("{} as slot {}", text(path), slot.0),
        Step::RunHook { path, .. } | Step::FindProgram { name: path, .. } | Step::MountHostFile { path } => {
            text(path)
        }
        Step::JoinCgroup { tasks } => format!("slot {}", tasks.0),
        Step::EnterNamespaces { target, kinds } => format!("slot {}{}", target.0, kind_names(*kinds)),
        Step::LeaveNamespaces { kinds } => kind_names(*kinds).trim_start().to_owned(),
        Step::SetHostname { name } | Step::SetDomainname { name } => {
            String::from_utf8_lossy(name).into_owned()
        }
        Step::MakeDevice {
            path,
            major,
            minor,
            mode,
            ..
        } => {
            format!("{} ({major}:{minor}, mode {:o})", text(path), mode & 0o7777)
        }
        Step::MakeSymlink { path, content } => format!("{} -> {}", text(path), text(content)),
        Step::MountFile { path, content, .. } => format!("{} ({} bytes)", text(path), content.len()),
        Step::MaskPath { path, .. }
        | Step::ReadonlyPath { path }
        | Step::MakeDirectory { path, .. }
        | Step::SetMountAttributes { path, .. }
        | Step::SetWorkingDirectory { path } => text(path),
        Step::WriteSysctl { name, value } => format!("{}={}", text(name), String::from_utf8_lossy(value)),
        Step::SetTreePropagation { propagation } | Step::SetRootPropagation { propagation, .. } => {
            propagation_name(*propagation).to_owned()
        }
        Step::SetUser { uid, gid, .. } => format!("{uid}:{gid}"),
        Step::LimitDescriptors { soft, hard } => format!("{soft}:{hard}"),
        Step::SetBoundingSet { keep } => format!("{keep:#x}"),
        Step::SetCapabilities { effective, .. } => format!("{effective:#x}"),
        Step::InstallSeccomp { program, .. } => format!("{} instructions", program.len() / 8),
        Step::SetUmask { mask } => format!("{mask:04o}"),
        Step::CloseDescriptors { first } => format!("from {first}"),
        Step::SetSecurityLabel { name, text: label } => {
            format!("{} {}", text(name), String::from_utf8_lossy(label))
        }
        Step::Execute { arguments, .. } => words(arguments),
        _ => String::new(),
    }
}

fn propagation_name(propagation: u64) -> &'static str {
    use cais_sys::mount::{MS_PRIVATE, MS_SHARED, MS_SLAVE, MS_UNBINDABLE};
    match propagation {
        MS_PRIVATE => "private",
        MS_SLAVE => "slave",
        MS_SHARED => "shared",
        MS_UNBINDABLE => "unbindable",
        _ => "",
    }
}

/// The namespaces of a set of `CLONE_NEW*`, each with a space before it.
#[must_use]
pub fn kind_names(kinds: u32) -> String {
    use cais_sys::clone::namespace;
    let all = [
        (namespace::USER, "user"),
        (namespace::MOUNT, "mount"),
        (namespace::PID, "pid"),
        (namespace::NETWORK, "network"),
        (namespace::IPC, "ipc"),
        (namespace::UTS, "uts"),
        (namespace::CGROUP, "cgroup"),
        (namespace::TIME, "time"),
    ];
    let present = all.iter().filter(|(flag, _)| u64::from(kinds) & flag != 0);
    present.fold(String::new(), |text, (_, name)| text + " " + name)
}

/// A text of the configuration as a C string; a nul byte inside cuts nothing off but is
/// refused before (see `spec::validate`), so the empty string stands for it here.
#[must_use]
pub fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

/// Several texts as one block, each with a nul byte behind it.
#[must_use]
pub fn str_block<T: AsRef<str>>(texts: &[T]) -> Vec<u8> {
    let mut block = Vec::with_capacity(texts.iter().map(|text| text.as_ref().len() + 1).sum());
    for text in texts {
        block.extend_from_slice(text.as_ref().as_bytes());
        block.push(0);
    }
    block
}
