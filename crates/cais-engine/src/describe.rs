//! What is shown of a container, in Docker's words.

use crate::options::{MountKind, NetworkMode, RootSource};
use crate::record::Exit;
use crate::state::{Container, Status};
use crate::time;
use std::time::{Duration, SystemTime};

impl Container {
    /// Docker's word for what it is doing.
    #[must_use]
    pub fn state_word(&self) -> &'static str {
        match self.status {
            Status::Created => "created",
            Status::Running { .. } => "running",
            Status::Paused { .. } => "paused",
            Status::Restarting(_) => "restarting",
            Status::Exited(_) => "exited",
        }
    }

    /// What it is doing, and for how long, e.g. `Up 2 minutes (healthy)`.
    #[must_use]
    pub fn status_text(&self, health: Option<&str>, now: SystemTime) -> String {
        let code = |exit: &Exit| {
            exit.code
                .map_or_else(|| "unknown".to_owned(), |code| code.to_string())
        };
        match &self.status {
            Status::Created => "Created".to_owned(),
            Status::Running { started, .. } => {
                let health = match health {
                    Some("starting") => " (health: starting)".to_owned(),
                    Some(health) => format!(" ({health})"),
                    None => String::new(),
                };
                format!("Up {}{health}", since(started, now))
            }
            Status::Paused { started, .. } => format!("Up {} (Paused)", since(started, now)),
            Status::Restarting(exit) => {
                format!("Restarting ({}) {} ago", code(exit), since(&exit.finished, now))
            }
            Status::Exited(exit) if exit.finished.is_empty() => format!("Exited ({})", code(exit)),
            Status::Exited(exit) => format!("Exited ({}) {} ago", code(exit), since(&exit.finished, now)),
        }
    }

    /// Whether it runs, or will again without anybody's doing.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.is_running() || matches!(self.status, Status::Restarting(_))
    }

    /// The image as the user called it, or the directory that is the root.
    #[must_use]
    pub fn image_text(&self) -> String {
        match &self.record.options.root {
            RootSource::Host => "host".to_owned(),
            RootSource::Image { name, .. } => name.clone(),
            RootSource::Directory { path, .. } => path.display().to_string(),
        }
    }

    /// The program and its arguments.
    #[must_use]
    pub fn command_words(&self) -> Vec<&str> {
        let options = &self.record.options;
        let words = options.entrypoint.iter().flatten().chain(&options.command);
        words.map(String::as_str).collect()
    }

    /// The program and its arguments as one text, those with spaces in quotes.
    #[must_use]
    pub fn command_text(&self) -> String {
        let words = self.command_words().into_iter().enumerate();
        let words: Vec<String> = words
            .map(|(index, word)| match word.contains(' ') && index > 0 {
                true => format!("'{word}'"),
                false => word.to_owned(),
            })
            .collect();
        words.join(" ")
    }

    /// The names of what is mounted: paths of the host.
    #[must_use]
    pub fn mount_names(&self) -> Vec<String> {
        let names = self
            .record
            .options
            .mounts
            .iter()
            .filter_map(|mount| match &mount.kind {
                MountKind::Bind { source, .. } => Some(source.display().to_string()),
                MountKind::Volume { name, .. } => Some(name.clone()),
                MountKind::Tmpfs { .. } => None,
            });
        names.collect()
    }

    /// How many volumes it has.
    #[must_use]
    pub fn volume_count(&self) -> usize {
        let mounts = self.record.options.mounts.iter();
        mounts
            .filter(|mount| matches!(mount.kind, MountKind::Volume { .. }))
            .count()
    }

    /// The names of its networks.
    #[must_use]
    pub fn network_names(&self) -> Vec<String> {
        match &self.record.options.namespaces.network {
            NetworkMode::None => vec!["none".to_owned()],
            NetworkMode::Host => vec!["host".to_owned()],
            NetworkMode::Container(_) | NetworkMode::Path(_) => Vec::new(),
            NetworkMode::Cni(name) => vec![format!("cni:{name}")],
            NetworkMode::Networks(all) => all.iter().map(|one| one.network.clone()).collect(),
        }
    }

    /// Its labels: keys and values.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        let labels = self.record.options.labels.iter();
        labels.map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

/// How long ago a moment was, in Docker's words.
#[must_use]
pub fn since(moment: &str, now: SystemTime) -> String {
    let elapsed = time::parse(moment).and_then(|moment| now.duration_since(moment).ok());
    human_duration(elapsed.unwrap_or_default())
}

/// A length of time in Docker's words (docker/go-units, `HumanDuration`).
#[must_use]
pub fn human_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    // Hours are rounded, all others cut off.
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match (seconds, minutes, hours) {
        (0, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (2..60, ..) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, 2..60, _) => format!("{minutes} minutes"),
        (_, _, 1) => "About an hour".to_owned(),
        (_, _, 2..48) => format!("{hours} hours"),
        (_, _, 48..336) => format!("{} days", hours / 24),
        (_, _, 336..1440) => format!("{} weeks", hours / 24 / 7),
        (_, _, 1440..17_520) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_in_dockers_words() {
        for (seconds, want) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (5399, "About an hour"),
            (5400, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (14 * 86_400, "2 weeks"),
            (60 * 86_400, "2 months"),
            (730 * 86_400, "2 years"),
        ] {
            assert_eq!(human_duration(Duration::from_secs(seconds)), want);
        }
    }
}
