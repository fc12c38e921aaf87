//! Scopes: what a token is for (distribution, "Token Scope Documentation").

use cais_order::Gather;
use std::collections::BTreeSet;
use std::fmt;

/// `repository:library/nginx:pull,push`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scope {
    /// Kind and name: `repository:library/nginx`.
    resource: String,
    actions: BTreeSet<String>,
}

impl Scope {
    /// What pulling needs.
    pub(super) fn pull(repository: &str) -> Self {
        Self::of(repository, &["pull"])
    }

    /// What pushing needs.
    pub(super) fn push(repository: &str) -> Self {
        Self::of(repository, &["pull", "push"])
    }

    /// What deleting needs.
    pub(super) fn delete(repository: &str) -> Self {
        Self::of(repository, &["delete", "pull"])
    }

    fn of(repository: &str, actions: &[&str]) -> Self {
        Self {
            resource: format!("repository:{repository}"),
            actions: actions.iter().map(|action| (*action).to_owned()).into_set(),
        }
    }

    /// The scopes of a challenge, separated by spaces.
    pub(super) fn parse_all(text: &str) -> Vec<Self> {
        let one = |text: &str| {
            let (resource, actions) = text.rsplit_once(':')?;
            Some(Self {
                resource: resource.to_owned(),
                actions: actions.split(',').map(ToOwned::to_owned).into_set(),
            })
        };
        text.split_ascii_whitespace().filter_map(one).collect()
    }

    /// Both lists in one, each resource once.
    pub(super) fn union(first: &[Self], second: &[Self]) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for scope in first.iter().chain(second) {
            match all.iter_mut().find(|own| own.resource == scope.resource) {
                Some(own) => own.actions.extend(scope.actions.iter().cloned()),
                None => all.push(scope.clone()),
            }
        }
        all
    }

    /// Whether a token for `held` does for `wanted`.
    pub(super) fn covers(held: &[Self], wanted: &[Self]) -> bool {
        wanted.iter().all(|scope| {
            held.iter()
                .any(|own| own.resource == scope.resource && own.actions.is_superset(&scope.actions))
        })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let actions: Vec<&str> = self.actions.iter().map(String::as_str).collect();
        write!(f, "{}:{}", self.resource, actions.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unions() {
        let challenge = Scope::parse_all("repository:a:pull repository:h:5/b:push,pull x");
        let all = Scope::union(&[Scope::push("a")], &challenge);
        let texts: Vec<String> = all.iter().map(Scope::to_string).collect();
        assert_eq!(texts, ["repository:a:pull,push", "repository:h:5/b:pull,push"]);
        assert!(Scope::covers(&all, &[Scope::pull("a")]));
        assert!(!Scope::covers(&[Scope::pull("a")], &all));
        assert!(!Scope::covers(&all, &[Scope::delete("a")]));
    }
}
