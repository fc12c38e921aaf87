//! Errors of the runtime: on standard error, and in the file of `--log`, whose last line of
//! level `error` is what containerd and Docker show to the user.

use cais_runtime::container::RuntimeError;
use cais_runtime::error::{CreateError, reason};
use cais_runtime::time;
use rustix::io::Errno;
use std::io::Write;
use std::path::PathBuf;

/// Where errors go beside standard error.
pub(super) struct Log {
    file: Option<PathBuf>,
    json: bool,
    debug: bool,
}

impl Log {
    pub(super) fn new(file: Option<&str>, format: Option<&str>, debug: bool) -> Result<Self, String> {
        let json = match format {
            None | Some("text" | "") => false,
            Some("json") => true,
            Some(other) => return Err(format!("invalid log-format {other:?}: text or json")),
        };
        Ok(Self {
            file: file.filter(|file| !file.is_empty()).map(PathBuf::from),
            json,
            debug,
        })
    }

    /// Tells a failure and returns the exit code.
    pub(super) fn fail(&self, program: &str, verb: &str, text: &str, code: u8) -> u8 {
        let text = format!("{program} {verb} failed: {text}");
        self.write("error", &text);
        show(&text);
        code
    }

    /// Tells what is done, with `--debug`.
    pub(super) fn debug(&self, text: &str) {
        if self.debug {
            self.write("debug", text);
        }
    }

    /// Tells something that stops nothing.
    pub(super) fn warn(&self, text: &str) {
        self.write("warning", text);
        // Standard error is the program's own where the caller passes it on: nothing of ours
        // goes there but to a user who sits before it.
        let standard_error = cais_sys::process::standard_stream(true);
        if self.file.is_none() && rustix::termios::isatty(standard_error) {
            show(&format!("warning: {text}"));
        }
    }

    /// A log that cannot be written hides nothing: standard error has it too.
    fn write(&self, level: &str, text: &str) {
        let Some(file) = &self.file else { return };
        let line = if self.json {
            cais_json::json!({ "level": level, "msg": text, "time": time::now() }).to_string()
        } else {
            format!("time={:?} level={level} msg={text:?}", time::now())
        };
        let opened = std::fs::OpenOptions::new().create(true).append(true).open(file);
        opened
            .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()))
            .unwrap_or_default();
    }
}

/// Tells a failure before there is a log.
pub(super) fn fail(program: &str, text: &str, code: u8) -> u8 {
    show(&format!("{program}: {text}"));
    code
}

fn show(text: &str) {
    crate::output::print_error(&format!("{text}\n"));
}

/// An error with its causes, in the words that engines look for (Podman's
/// `libpod/oci_util.go`, containerd's `cmd/containerd-shim-runc-v2`).
pub(super) fn describe(error: &RuntimeError) -> String {
    if let RuntimeError::Create(error) = error
        && let Some(text) = describe_create(error)
    {
        return text;
    }
    cais_engine::run::chain(error)
}

fn describe_create(error: &CreateError) -> Option<String> {
    match error {
        CreateError::Execute { program, errno } => {
            let why = match *errno {
                Errno::NOENT | Errno::NOTDIR if program.contains('/') => {
                    format!("stat {program}: no such file or directory")
                }
                Errno::NOENT | Errno::NOTDIR => "executable file not found in $PATH".to_owned(),
                errno => reason(errno),
            };
            Some(format!(
                "unable to start container process: exec: {program:?}: {why}"
            ))
        }
        CreateError::Caller(source) => {
            let error = source.downcast_ref::<RuntimeError>()?;
            Some(describe(error))
        }
        _ => None,
    }
}
