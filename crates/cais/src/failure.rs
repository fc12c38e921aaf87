//! A failure as the user sees it: what, why, what to do, and the exit code.

use crate::output::{TO_STANDARD_OUTPUT, print, print_error, program};
use cais_engine::options::OptionError;
use cais_engine::run::{chain, exit_code};
use cais_engine::{EngineError, run};
use rustix::io::Errno;
use std::io::ErrorKind;

/// What a command failed with.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The lines for standard error, without the leading `cais: `.
    message: String,
    /// What to do about it.
    hint: Option<&'static str>,
    /// The exit code.
    code: u8,
    /// Whether the text is printed as it is.
    verbatim: bool,
}

impl Failure {
    /// A failure with exit code 1.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            code: 1,
            verbatim: false,
        }
    }

    /// The reader of standard output is gone, as with `| head`: nobody is told, and the code is
    /// that of SIGPIPE.
    pub(crate) fn broken_pipe() -> Self {
        Self {
            verbatim: true,
            ..Self::new("").code(128 + 13)
        }
    }

    /// A terminal is asked for that would be given what comes from no terminal.
    pub(crate) fn no_terminal() -> Self {
        Self {
            hint: Some("call it from a terminal, or leave out -t; without -i the program has no input"),
            ..Self::new("the input device is not a TTY")
        }
    }

    /// The same failure with Docker's code for "the engine failed" (run, exec, start).
    pub(crate) fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// A mistake on the command line, or a text that was asked for.
    pub(crate) fn usage(error: &clap::Error, arguments: &[std::ffi::OsString]) -> Self {
        let (message, code) = match crate::usage::describe(error, arguments) {
            Some(mistake) => (mistake.text, mistake.code),
            None => (error.render().to_string(), 0),
        };
        Self {
            message,
            hint: None,
            code,
            verbatim: true,
        }
    }

    /// The text alone.
    pub(crate) fn text(&self) -> String {
        self.message.clone()
    }

    /// Prints the failure and returns the exit code.
    pub(crate) fn show(&self) -> u8 {
        if self.verbatim && self.code == 0 {
            return print(&self.message).map_or_else(|failure| failure.show(), |()| 0);
        }
        let hint = self
            .hint
            .map_or_else(String::new, |hint| format!("hint: {hint}\n"));
        print_error(&match self.verbatim {
            true => self.message.clone(),
            false => format!("{}: {}\n{hint}", program(), self.message),
        });
        self.code
    }
}

impl From<OptionError> for Failure {
    fn from(error: OptionError) -> Self {
        Self::new(error.to_string()).code(125)
    }
}

impl From<cais::template::TemplateError> for Failure {
    fn from(error: cais::template::TemplateError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        match &error {
            EngineError::Store { action, source }
                if source.kind() == ErrorKind::BrokenPipe && action == TO_STANDARD_OUTPUT =>
            {
                Self::broken_pipe()
            }
            _ => Self {
                hint: hint(&error),
                ..Self::new(chain(&error))
            },
        }
    }
}

impl Failure {
    /// A failure of a command that starts a program: Docker's codes 125, 126 and 127.
    pub(crate) fn of_start(error: EngineError) -> Self {
        let code = run::exit_code(&error);
        debug_assert_eq!(code, exit_code(&error));
        Self::from(error).code(code)
    }
}

/// The system call at the bottom of an error.
fn system_call(error: &EngineError) -> Option<(&'static str, Errno, &str)> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(call) = current.downcast_ref::<cais_linux::SysError>() {
            return Some((call.call(), call.errno(), call.arguments()));
        }
        cause = current.source();
    }
    None
}

/// What to do about errors that the kernel answers in few words.
fn hint(error: &EngineError) -> Option<&'static str> {
    let (call, errno, arguments) = system_call(error)?;
    Some(match (call, errno) {
        ("clone3", Errno::PERM) => {
            "user namespaces may be forbidden here: `cais doctor` tells which setting does so"
        }
        ("clone3", Errno::NOSPC | Errno::USERS) => {
            "there are too many user namespaces: see /proc/sys/user/max_user_namespaces"
        }
        ("clone3", Errno::AGAIN) => {
            "there are too many processes: see `ulimit -u` and the pids limit of your own cgroup"
        }
        ("mount_setattr", Errno::INVAL) if arguments.contains("IDMAP") => {
            "this file system cannot show its files under other ids: use --userns=host, or another directory"
        }
        ("mkdir" | "mkdirat" | "open" | "openat", Errno::ACCESS) => "cais needs to run as root for this",
        ("memfd_create", Errno::ACCESS) => "vm.memfd_noexec forbids it: set it to 0 or 1",
        (_, Errno::NOSPC) if call.contains("mount") => {
            "there are too many mounts: see /proc/sys/fs/mount-max"
        }
        (_, Errno::NOSPC) => "the disk is full, or a limit of the kernel is reached",
        _ => return None,
    })
}
