//! Removing what is not used any more: `container prune`, `system prune`.

use crate::disk::read_size;
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::list::containers;
use crate::moment::parse_moment;
use crate::remove::{Removal, remove};
use crate::state::{Container, Status};
use crate::time;
use std::time::SystemTime;

/// Which of the things that are not used are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneFilter {
    /// Only what was made before.
    pub until: Option<SystemTime>,
    /// Only what has all of these labels.
    pub labels: Vec<LabelFilter>,
    /// Only what has none of these.
    pub without: Vec<LabelFilter>,
}

/// A label by its key, or by key and value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelFilter {
    /// The key.
    pub key: String,
    /// The value; any where absent.
    pub value: Option<String>,
}

impl LabelFilter {
    /// Reads `KEY` or `KEY=VALUE`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (text, None),
        };
        Self {
            key: key.to_owned(),
            value,
        }
    }

    /// Whether one of these labels is it.
    pub fn matches<'a>(&self, labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> bool {
        labels
            .into_iter()
            .any(|(key, value)| key == self.key && self.value.as_deref().is_none_or(|wanted| wanted == value))
    }
}

impl PruneFilter {
    /// Reads the values of `--filter`: `until=…`, `label=…`, `label!=…`.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] for others.
    pub fn parse(texts: &[String], now: SystemTime) -> Result<Self> {
        let mut filter = Self::default();
        for text in texts {
            let (key, value) = text
                .split_once('=')
                .ok_or_else(|| EngineError::Invalid(format!("--filter: {text:?} is not KEY=VALUE")))?;
            match key {
                "label" => filter.labels.push(LabelFilter::parse(value)),
                "label!" => filter.without.push(LabelFilter::parse(value)),
                "until" => {
                    let moment = parse_moment(value, now).ok_or_else(|| {
                        EngineError::Invalid(format!(
                            "--filter until={value}: give a date, seconds since 1970, or how long ago, such as 24h"
                        ))
                    })?;
                    filter.until = Some(moment);
                }
                _ => {
                    return Err(EngineError::Invalid(format!(
                        "Invalid filter '{key}': give until, label or label!"
                    )));
                }
            }
        }
        Ok(filter)
    }

    /// Whether something made at that moment with these labels is meant.
    pub fn takes<'a>(
        &self,
        created: Option<&str>,
        labels: &(impl IntoIterator<Item = (&'a str, &'a str)> + Clone),
    ) -> bool {
        let is_old = self.until.is_none_or(|until| {
            let created = created.and_then(time::parse);
            created.is_some_and(|created| created < until)
        });
        is_old
            && self.labels.iter().all(|label| label.matches(labels.clone()))
            && !self.without.iter().any(|label| label.matches(labels.clone()))
    }
}

/// What was removed.
#[derive(Debug, Default)]
pub struct Pruned {
    /// Ids or names.
    pub removed: Vec<String>,
    /// Bytes that came free.
    pub freed: u64,
}

/// Removes all containers that do not run. One that somebody starts or removes meanwhile is
/// left to them.
///
/// # Errors
/// The first of the errors met; all containers were tried.
pub fn prune_containers(engine: &Engine, filter: &PruneFilter) -> Result<Pruned> {
    let mut pruned = Pruned::default();
    let mut first = Ok(());
    for container in containers(&engine.store)?
        .iter()
        .filter(|container| is_stopped(container) && takes(filter, container))
    {
        let id = &container.record.id;
        let bytes = read_size(&engine.store.container(id))?;
        match remove(&engine.store, id.as_str(), Removal::default()) {
            Ok(()) => {
                pruned.removed.push(id.to_string());
                pruned.freed = pruned.freed.saturating_add(bytes);
            }
            Err(EngineError::Running(_) | EngineError::NoSuchContainer(_)) => {}
            Err(error) if first.is_ok() => first = Err(error),
            Err(_) => {}
        }
    }
    first.map(|()| pruned)
}

fn is_stopped(container: &Container) -> bool {
    let is_still = matches!(container.status, Status::Created | Status::Exited(_));
    is_still && container.state.is_none()
}

fn takes(filter: &PruneFilter, container: &Container) -> bool {
    let labels = container.record.options.labels.iter();
    let labels = labels.map(|(key, value)| (key.as_str(), value.as_str()));
    filter.takes(Some(&container.record.created), &labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn filters_of_prune() {
        let now = UNIX_EPOCH + Duration::from_secs(864_000);
        let parse = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            PruneFilter::parse(&texts, now)
        };
        let labels = [("a", "1"), ("b", "2")];
        for (texts, want) in [
            (&["label=a"][..], true),
            (&["label=a=1"], true),
            (&["label=a=2"], false),
            (&["label=a", "label=c"], false),
            (&["label!=c"], true),
            (&["label!=b"], false),
            (&["label!=b=3"], true),
            (&["until=24h"], true),
            (&["until=1970-01-01"], false),
            (&["until=24h", "label=z"], false),
        ] {
            let filter = parse(texts).unwrap();
            let is = filter.takes(Some("1970-01-02T00:00:00.000000000Z"), &labels);
            assert_eq!(is, want, "{texts:?}");
        }
        for bad in ["label", "color=red", "until=soon"] {
            assert!(parse(&[bad]).is_err(), "{bad}");
        }
    }
}
