//! The engines, and how long their commands take.

use super::super::stats::Samples;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// An engine with an image.
pub(super) struct Engine {
    pub(super) name: &'static str,
    words: Vec<String>,
    environment: Vec<(String, String)>,
    /// Flags that its `run` needs on this machine.
    flags: Vec<String>,
    pub(super) image: String,
}

/// All engines of a run.
pub(super) struct Sides {
    pub(super) engines: Vec<Engine>,
    pub(super) absent: Vec<(&'static str, String)>,
}

impl Engine {
    /// Ours, with a store of the bench's own.
    pub(super) fn cais(cais: &Path, directory: &Path) -> Self {
        let path = |name: &str| directory.join(name).to_string_lossy().into_owned();
        Self {
            name: "cais",
            words: vec![cais.to_string_lossy().into_owned()],
            environment: vec![
                ("CAIS_DATA".to_owned(), path("cais")),
                ("CAIS_RUN".to_owned(), path("run/cais")),
                ("CAIS_CONFIG".to_owned(), String::new()),
            ],
            flags: Vec::new(),
            image: "bench".to_owned(),
        }
    }

    pub(super) fn podman(words: Vec<String>) -> Self {
        // This machine may lack CAP_SYS_RESOURCE, and then no limit can be raised.
        let flags = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
        Self {
            name: "podman",
            words,
            environment: Vec::new(),
            flags: flags.map(str::to_owned).to_vec(),
            image: "bench".to_owned(),
        }
    }

    pub(super) fn docker(words: Vec<String>) -> Self {
        Self {
            name: "docker",
            words,
            environment: Vec::new(),
            flags: Vec::new(),
            image: "bench".to_owned(),
        }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.words[0]);
        command
            .args(&self.words[1..])
            .args(words)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// The words of `run` or `create` with the image and a command.
    pub(super) fn run_words<'a>(
        &'a self,
        verb: &'a str,
        flags: &[&'a str],
        program: &[&'a str],
    ) -> Vec<&'a str> {
        let mut words = vec![verb, "--network", "none"];
        words.extend(self.flags.iter().map(String::as_str));
        words.extend(flags);
        words.push(&self.image);
        words.extend(program);
        words
    }

    /// Runs a command that must succeed; what it printed.
    pub(super) fn ok(&self, words: &[&str]) -> Result<String, String> {
        let output = self.command(words).output().map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        Err(format!("{} {words:?}: {}", self.name, text.trim()))
    }

    /// Runs a command; milliseconds from before the fork to after the wait. What it prints
    /// goes to /dev/null.
    pub(super) fn time(&self, words: &[&str]) -> Result<f64, String> {
        let mut command = self.command(words);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let began = Instant::now();
        let status = command.status().map_err(|error| error.to_string())?;
        let took = began.elapsed().as_secs_f64() * 1e3;
        if status.success() {
            Ok(took)
        } else {
            Err(format!("{} {words:?}: {status}", self.name))
        }
    }

    /// Removes containers at once: podman would wait ten seconds for a program that does not
    /// hear.
    pub(super) fn remove(&self, containers: &[&str]) -> Result<(), String> {
        let flags: &[&str] = if self.name == "podman" {
            &["rm", "-f", "-t", "0"]
        } else {
            &["rm", "-f"]
        };
        self.ok(&[flags, containers].concat()).map(drop)
    }

    /// Removes all containers.
    pub(super) fn clear(&self) {
        let ids = self.ok(&["ps", "-aq"]).unwrap_or_default();
        let ids: Vec<&str> = ids.lines().collect();
        for some in ids.chunks(200) {
            if let Err(error) = self.remove(some) {
                eprintln!("bench: {error}");
            }
        }
    }
}

impl Sides {
    /// Removes all containers of all engines.
    pub(super) fn clear(&self) {
        self.engines.iter().for_each(Engine::clear);
    }

    /// Lets all engines do a thing in turn, so many rounds, and says how long each took. Every
    /// other round goes backwards: a daemon works on after its client has ended, and it is not
    /// always the same one who comes then. One that fails is left out with the reason.
    pub(super) fn in_turn(
        &self,
        rounds: usize,
        mut once: impl FnMut(&Engine, usize) -> Result<f64, String>,
    ) -> Value {
        let mut samples: Vec<Result<Samples, String>> =
            self.engines.iter().map(|_| Ok(Samples::default())).collect();
        // The first round warms up.
        for round in 0..=rounds {
            let mut turn: Vec<_> = self.engines.iter().zip(&mut samples).collect();
            if round % 2 == 1 {
                turn.reverse();
            }
            for (engine, samples) in turn {
                let Ok(known) = samples else { continue };
                match once(engine, round) {
                    Ok(took) if round > 0 => known.push(took),
                    Ok(_) => {}
                    Err(error) => *samples = Err(error),
                }
            }
        }
        let mut all = serde_json::Map::new();
        for (engine, samples) in self.engines.iter().zip(samples) {
            let value = match samples {
                Ok(samples) => json!({
                    "median": samples.median(),
                    "p10": samples.percentile(10),
                    "p90": samples.percentile(90),
                    "rounds": samples.count(),
                }),
                Err(error) => json!({ "failed": error }),
            };
            all.insert(engine.name.to_owned(), value);
        }
        Value::Object(all)
    }
}
