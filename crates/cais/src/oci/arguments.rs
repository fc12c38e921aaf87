//! The command line of an OCI runtime: runc's, with its odd forms. One table gives the
//! parser and the help.
//!
//! Engines write `--flag value`, `--flag=value`, and now and then a long flag with a single
//! dash; the table says which take a value. After the command of `exec` nothing is read.

use std::collections::BTreeMap;

/// A flag: its long name, its letter, whether it takes a value, what it is for.
pub(super) struct Flag(
    pub(super) &'static str,
    pub(super) Option<char>,
    pub(super) bool,
    pub(super) &'static str,
);

/// A command: its name, what it takes, what it does, its flags.
pub(super) struct Verb {
    pub(super) name: &'static str,
    pub(super) usage: &'static str,
    pub(super) about: &'static str,
    pub(super) flags: &'static [Flag],
    /// Whether everything after the container's id is the command of the program.
    pub(super) takes_command: bool,
}

pub(super) const GLOBAL: &[Flag] = &[
    Flag("root", None, true, "directory of the containers' states"),
    Flag(
        "log",
        None,
        true,
        "file for errors and warnings, beside standard error",
    ),
    Flag("log-format", None, true, "text or json"),
    Flag("debug", None, false, "more lines in the log"),
    Flag(
        "systemd-cgroup",
        None,
        false,
        "cgroups by systemd: linux.cgroupsPath is slice:prefix:name",
    ),
    Flag(
        "cgroup-manager",
        None,
        true,
        "cgroupfs, systemd or disabled, as crun has it",
    ),
    Flag("rootless", None, true, "true, false or auto"),
    Flag("criu", None, true, "the executable of criu"),
    Flag("version", Some('v'), false, "print the version"),
    Flag("help", Some('h'), false, "print this help"),
];

const BUNDLE: Flag = Flag(
    "bundle",
    Some('b'),
    true,
    "directory of config.json; the current one unless given",
);
const CONSOLE: Flag = Flag(
    "console-socket",
    None,
    true,
    "unix socket that gets the master of the terminal",
);
const PIDFD: Flag = Flag(
    "pidfd-socket",
    None,
    true,
    "unix socket that gets the pidfd of the first process",
);
const PID_FILE: Flag = Flag("pid-file", None, true, "file for the process id");
const NO_PIVOT: Flag = Flag("no-pivot", None, false, "enter the root by chroot, on a ramdisk");
const NO_KEYRING: Flag = Flag(
    "no-new-keyring",
    None,
    false,
    "keep the session keyring of the caller",
);
const PRESERVE: Flag = Flag(
    "preserve-fds",
    None,
    true,
    "number of descriptors from 3 on that the program keeps",
);
const IMAGES: Flag = Flag(
    "image-path",
    None,
    true,
    "directory of criu's images; ./checkpoint unless given",
);
const WORK: Flag = Flag("work-path", None, true, "directory of criu's log");
const TCP_ESTABLISHED: Flag = Flag("tcp-established", None, false, "allow open TCP connections");
const TCP_CLOSE: Flag = Flag("tcp-close", None, false, "close TCP connections, as crun has it");
const EXT_UNIX_SK: Flag = Flag("ext-unix-sk", None, false, "allow unix sockets that lead out");
const SHELL_JOB: Flag = Flag("shell-job", None, false, "allow a session that began outside");
const FILE_LOCKS: Flag = Flag("file-locks", None, false, "keep file locks");
const LINK_REMAP: Flag = Flag(
    "link-remap",
    None,
    false,
    "give files without a name one meanwhile",
);
const AUTO_DEDUP: Flag = Flag(
    "auto-dedup",
    None,
    false,
    "punch out of older images what is newer",
);
const LAZY_PAGES: Flag = Flag("lazy-pages", None, false, "memory is fetched when it is used");
const CGROUPS_MODE: Flag = Flag("manage-cgroups-mode", None, true, "soft, full, strict or ignore");
const EMPTY_NS: Flag = Flag("empty-ns", None, true, "namespace to leave empty: network");
const HELP: Flag = Flag("help", Some('h'), false, "print this help");

pub(super) const VERBS: &[Verb] = &[
    Verb {
        name: "create",
        usage: "<container-id>",
        about: "make a container that waits for start",
        flags: &[
            BUNDLE, CONSOLE, PIDFD, PID_FILE, NO_PIVOT, NO_KEYRING, PRESERVE, HELP,
        ],
        takes_command: false,
    },
    Verb {
        name: "start",
        usage: "<container-id>",
        about: "run the program of a container that was created",
        flags: &[HELP],
        takes_command: false,
    },
    Verb {
        name: "run",
        usage: "<container-id>",
        about: "create and start, and wait for the end",
        flags: &[
            BUNDLE,
            CONSOLE,
            PIDFD,
            PID_FILE,
            NO_PIVOT,
            NO_KEYRING,
            PRESERVE,
            HELP,
            Flag("detach", Some('d'), false, "do not wait"),
            Flag("keep", None, false, "keep the container after its end"),
            Flag(
                "no-subreaper",
                None,
                false,
                "do not reap what the container leaves behind",
            ),
        ],
        takes_command: false,
    },
    Verb {
        name: "state",
        usage: "<container-id>",
        about: "print the state as JSON",
        flags: &[HELP],
        takes_command: false,
    },
    Verb {
        name: "kill",
        usage: "<container-id> [signal]",
        about: "send a signal (SIGTERM) to the first process",
        flags: &[
            Flag("all", Some('a'), false, "to every process of the container"),
            HELP,
        ],
        takes_command: false,
    },
    Verb {
        name: "delete",
        usage: "<container-id>",
        about: "give back what a stopped container holds",
        flags: &[
            Flag(
                "force",
                Some('f'),
                false,
                "kill it first; a missing container is no error",
            ),
            HELP,
        ],
        takes_command: false,
    },
    Verb {
        name: "exec",
        usage: "<container-id> <command> [args...]",
        about: "run a further process in a container",
        flags: &[
            CONSOLE,
            PIDFD,
            PID_FILE,
            PRESERVE,
            HELP,
            Flag("cwd", None, true, "working directory"),
            Flag("env", Some('e'), true, "KEY=value; may be repeated"),
            Flag("tty", Some('t'), false, "a terminal"),
            Flag("user", Some('u'), true, "UID[:GID]"),
            Flag(
                "additional-gids",
                Some('g'),
                true,
                "a further group; may be repeated",
            ),
            Flag("process", Some('p'), true, "process.json"),
            Flag("detach", Some('d'), false, "do not wait"),
            Flag("process-label", None, true, "SELinux label"),
            Flag("apparmor", None, true, "AppArmor profile"),
            Flag("no-new-privs", None, false, "set-user-id programs gain nothing"),
            Flag("cap", Some('c'), true, "a further capability; may be repeated"),
            Flag(
                "cgroup",
                None,
                true,
                "a group below the container's: [controller:]path",
            ),
            Flag("ignore-paused", None, false, "also in a paused container"),
        ],
        takes_command: true,
    },
    Verb {
        name: "list",
        usage: "",
        about: "list the containers",
        flags: &[
            Flag("format", Some('f'), true, "table or json"),
            Flag("quiet", Some('q'), false, "ids only"),
            HELP,
        ],
        takes_command: false,
    },
    Verb {
        name: "ps",
        usage: "<container-id> [ps options]",
        about: "list the processes of a container",
        flags: &[Flag("format", Some('f'), true, "table or json"), HELP],
        takes_command: true,
    },
    Verb {
        name: "pause",
        usage: "<container-id>",
        about: "stop all processes",
        flags: &[HELP],
        takes_command: false,
    },
    Verb {
        name: "resume",
        usage: "<container-id>",
        about: "let all processes run again",
        flags: &[HELP],
        takes_command: false,
    },
    Verb {
        name: "update",
        usage: "<container-id>",
        about: "change limits of a container that runs",
        flags: &[
            Flag(
                "resources",
                Some('r'),
                true,
                "linux.resources as JSON, from a file or - for standard input",
            ),
            Flag("blkio-weight", None, true, "weight for block devices, 10 to 1000"),
            Flag("cpu-period", None, true, "microseconds"),
            Flag("cpu-quota", None, true, "microseconds a period"),
            Flag("cpu-burst", None, true, "microseconds beyond the quota"),
            Flag("cpu-share", None, true, "weight, 2 to 262144"),
            Flag(
                "cpu-rt-period",
                None,
                true,
                "microseconds of real-time scheduling",
            ),
            Flag("cpu-rt-runtime", None, true, "microseconds a real-time period"),
            Flag("cpuset-cpus", None, true, "list of CPUs"),
            Flag("cpuset-mems", None, true, "list of memory nodes"),
            Flag("cpu-idle", None, true, "1 to run only where the CPU idles"),
            Flag("memory", None, true, "bytes, with k, m or g"),
            Flag("memory-reservation", None, true, "bytes"),
            Flag(
                "memory-swap",
                None,
                true,
                "bytes of memory and swap; -1 is unlimited",
            ),
            Flag("pids-limit", None, true, "number of processes; -1 is unlimited"),
            Flag(
                "kernel-memory",
                None,
                true,
                "ignored: the kernel has no such limit any more",
            ),
            Flag("kernel-memory-tcp", None, true, "ignored"),
            Flag("l3-cache-schema", None, true, "not supported: an error"),
            Flag("mem-bw-schema", None, true, "not supported: an error"),
            HELP,
        ],
        takes_command: false,
    },
    Verb {
        name: "events",
        usage: "<container-id>",
        about: "print what a container uses, and when memory runs out",
        flags: &[
            Flag("interval", None, true, "time between figures: 5s"),
            Flag("stats", None, false, "print the figures once"),
            HELP,
        ],
        takes_command: false,
    },
    Verb {
        name: "spec",
        usage: "",
        about: "write a config.json to begin with",
        flags: &[
            BUNDLE,
            Flag("rootless", None, false, "for an ordinary user"),
            HELP,
        ],
        takes_command: false,
    },
    Verb {
        name: "features",
        usage: "",
        about: "print what this runtime can do",
        flags: &[HELP],
        takes_command: false,
    },
    Verb {
        name: "checkpoint",
        usage: "<container-id>",
        about: "write a running container to disk, with CRIU",
        flags: &[
            IMAGES,
            WORK,
            TCP_ESTABLISHED,
            TCP_CLOSE,
            EXT_UNIX_SK,
            SHELL_JOB,
            FILE_LOCKS,
            LINK_REMAP,
            AUTO_DEDUP,
            LAZY_PAGES,
            CGROUPS_MODE,
            EMPTY_NS,
            HELP,
            Flag(
                "parent-path",
                None,
                true,
                "images of before, relative to the new ones",
            ),
            Flag("leave-running", None, false, "do not end the container"),
            Flag("pre-dump", None, false, "memory alone, and go on"),
            Flag(
                "tcp-skip-in-flight",
                None,
                false,
                "leave connections out that are being made",
            ),
            Flag("page-server", None, true, "ADDRESS:PORT of criu's page server"),
            Flag(
                "status-fd",
                None,
                true,
                "descriptor that hears when lazy pages can be fetched",
            ),
        ],
        takes_command: false,
    },
    Verb {
        name: "restore",
        usage: "<container-id>",
        about: "make a container again from what checkpoint wrote, with CRIU",
        flags: &[
            BUNDLE,
            CONSOLE,
            PIDFD,
            PID_FILE,
            IMAGES,
            WORK,
            TCP_ESTABLISHED,
            TCP_CLOSE,
            EXT_UNIX_SK,
            SHELL_JOB,
            FILE_LOCKS,
            LINK_REMAP,
            AUTO_DEDUP,
            LAZY_PAGES,
            CGROUPS_MODE,
            EMPTY_NS,
            HELP,
            Flag("detach", Some('d'), false, "do not wait"),
            Flag("keep", None, false, "keep the container after its end"),
            Flag(
                "no-subreaper",
                None,
                false,
                "do not reap what the container leaves behind",
            ),
            Flag(
                "no-pivot",
                None,
                false,
                "accepted: criu enters the root its own way",
            ),
            Flag(
                "lsm-profile",
                None,
                true,
                "apparmor:NAME or selinux:LABEL of the processes",
            ),
            Flag("lsm-mount-context", None, true, "SELinux label of the mounts"),
        ],
        takes_command: false,
    },
];

/// What was given: flags with their values, and the rest.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Given {
    values: BTreeMap<&'static str, Vec<String>>,
    pub(super) rest: Vec<String>,
}

impl Given {
    /// Whether a flag without a value was given.
    pub(super) fn has(&self, name: &str) -> bool {
        self.values
            .get(name)
            .and_then(|values| values.last())
            .is_some_and(|value| value != "false")
    }

    /// The last value of a flag.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.last().map(String::as_str)
    }

    /// All values of a flag.
    pub(super) fn values(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }
}

/// Reads flags up to the first word that is none, or with `anywhere` among all words.
pub(super) fn parse(flags: &'static [Flag], words: &[String], anywhere: bool) -> Result<Given, String> {
    let mut given = Given::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            given.rest.extend(words.cloned());
            break;
        }
        let Some(name) = word.strip_prefix('-').filter(|name| !name.is_empty()) else {
            given.rest.push(word.clone());
            if anywhere {
                continue;
            }
            given.rest.extend(words.cloned());
            break;
        };
        let name = name.strip_prefix('-').unwrap_or(name);
        let (name, value) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (name, None),
        };
        let is_it = |flag: &&Flag| {
            flag.0 == name
                || flag
                    .1
                    .is_some_and(|letter| name.len() == 1 && name.starts_with(letter))
        };
        let flag = flags
            .iter()
            .find(is_it)
            .ok_or_else(|| format!("flag provided but not defined: -{name}"))?;
        let value = match (flag.2, value) {
            (_, Some(value)) => value,
            (false, None) => "true".to_owned(),
            (true, None) => words
                .next()
                .ok_or_else(|| format!("flag needs an argument: -{name}"))?
                .clone(),
        };
        given.values.entry(flag.0).or_default().push(value);
    }
    Ok(given)
}

/// The help of a command, or of all.
pub(super) fn help(program: &str, verb: Option<&Verb>) -> String {
    let mut text = match verb {
        None => format!(
            "{program}: an OCI runtime (runtime-spec {})\n\nUSAGE:\n   {program} [global options] command [options] [arguments...]\n\nCOMMANDS:\n",
            cais_runtime::spec::VERSION
        ),
        Some(verb) => format!(
            "{program} {}: {}\n\nUSAGE:\n   {program} {} [options] {}\n",
            verb.name, verb.about, verb.name, verb.usage
        ),
    };
    let flags = match verb {
        None => {
            for verb in VERBS {
                text.push_str(&format!("   {:<12}{}\n", verb.name, verb.about));
            }
            text.push_str("\nGLOBAL OPTIONS:\n");
            GLOBAL
        }
        Some(verb) => {
            text.push_str("\nOPTIONS:\n");
            verb.flags
        }
    };
    for Flag(long, short, takes, about) in flags {
        let mut name = format!("--{long}");
        if let Some(letter) = short {
            name.push_str(&format!(", -{letter}"));
        }
        if *takes {
            name.push_str(" value");
        }
        text.push_str(&format!("   {name:<32}{about}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn verb(name: &str) -> &'static Verb {
        VERBS.iter().find(|verb| verb.name == name).unwrap()
    }

    #[test]
    fn the_forms_that_engines_write() {
        for text in [
            "--bundle /b --pid-file=/p id",
            "-b /b --pid-file /p id",
            "-bundle /b -pid-file=/p id",
            "id --bundle /b --pid-file /p",
        ] {
            let given = parse(verb("create").flags, &words(text), true).unwrap();
            assert_eq!(
                (given.value("bundle"), given.value("pid-file"), &given.rest[..]),
                (Some("/b"), Some("/p"), &["id".to_owned()][..]),
                "{text}"
            );
        }
    }

    #[test]
    fn nothing_of_the_command_is_read() {
        let given = parse(
            verb("exec").flags,
            &words("-e A=1 -e B=2 -t id ls -l --user"),
            false,
        )
        .unwrap();
        assert_eq!(given.values("env"), ["A=1", "B=2"]);
        assert!(given.has("tty") && !given.has("detach"));
        assert_eq!(given.rest, words("id ls -l --user"));
    }

    #[test]
    fn mistakes_in_words_that_callers_look_for() {
        let wrong = |name: &str, text: &str| parse(verb(name).flags, &words(text), true).unwrap_err();
        assert_eq!(
            wrong("restore", "--lsm-mount-context"),
            "flag needs an argument: -lsm-mount-context"
        );
        assert_eq!(wrong("state", "--moon"), "flag provided but not defined: -moon");
        assert!(
            !parse(verb("kill").flags, &words("--all=false id"), true)
                .unwrap()
                .has("all")
        );
    }
}
