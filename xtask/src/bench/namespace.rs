//! A network namespace beside that of the program.

use std::ffi::OsStr;
use std::io::Read;
use std::process::{Child, Command, Stdio};

/// It goes with this.
pub(crate) struct Namespace(Child);

impl Namespace {
    /// Makes one.
    pub(crate) fn new() -> Result<Self, String> {
        let mut child = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("unshare: {error}"))?;
        let mut line = [0];
        // It is there when it says something.
        let said = child.stdout.as_mut().map(|stdout| stdout.read_exact(&mut line));
        match said {
            Some(Ok(())) => Ok(Self(child)),
            _ => Err("unshare --net: no network namespace".to_owned()),
        }
    }

    /// The process by which others know it.
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// A program inside.
    pub(crate) fn inside(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", self.pid()))
            .arg(program);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().map(drop).unwrap_or_default();
    }
}
