//! Lists in pages: `Link: <…>; rel="next"` (RFC 8288; distribution-spec, "Listing Tags").

use super::scope::Scope;
use super::wire::Call;
use super::{Registry, RegistryError, address};
use std::collections::HashSet;
use ureq::http::{HeaderMap, Method};

/// The length of pages that is asked for.
const PAGE: u32 = 1000;
/// No list has more pages in earnest.
const PAGES: usize = 10_000;

impl Registry {
    /// All tags of a repository, in the registry's order.
    ///
    /// # Errors
    /// As [`RegistryError`] tells.
    pub fn tags(&self, repository: &str) -> Result<Vec<String>, RegistryError> {
        let mut url = self.url(repository, "tags/list")?;
        let asked = address::with_parameter(&url, "n", &PAGE.to_string());
        url = asked.map_err(|reason| RegistryError::Protocol {
            url: address::shown(&url),
            reason,
        })?;
        let what = format!("list of tags of {repository}");
        let call = Call::new(Method::GET, url, vec![Scope::pull(repository)], what);
        let mut tags: Vec<String> = Vec::new();
        self.pages(call, |_, document| {
            let page = document["tags"].as_array().into_iter().flatten();
            tags.extend(
                page.filter_map(|tag| tag.as_str())
                    .filter(|tag| crate::reference::is_tag(tag))
                    .map(ToOwned::to_owned),
            );
        })?;
        Ok(tags)
    }

    /// Asks for a page after the other.
    pub(super) fn pages(
        &self,
        mut call: Call,
        mut each: impl FnMut(&HeaderMap, &cais_json::Value),
    ) -> Result<(), RegistryError> {
        let mut seen = HashSet::new();
        let home = address::origin(&call.url);
        while seen.insert(call.url.to_string()) {
            if seen.len() > PAGES {
                return Err(call.protocol(format!("more than {PAGES} pages")));
            }
            let (headers, bytes) = self.fetch_document(&call)?;
            let document = cais_json::from_slice(&bytes)
                .map_err(|error| call.protocol(format!("no {}: {error}", call.what)))?;
            each(&headers, &document);
            let links = headers
                .get_all("link")
                .iter()
                .filter_map(|value| value.to_str().ok());
            let Some(next) = links.into_iter().find_map(next_link) else {
                return Ok(());
            };
            let next = address::resolve(&call.url, next).map_err(|reason| call.protocol(reason))?;
            if address::origin(&next) != home {
                return Err(call.protocol(format!("the next page is elsewhere: {}", address::shown(&next))));
            }
            call.url = next;
        }
        Err(call.protocol("the pages go in a circle"))
    }
}

/// The target of the link to the next page.
fn next_link(value: &str) -> Option<&str> {
    let mut rest = value;
    while let Some((_, link)) = rest.split_once('<') {
        let (target, parameters) = link.split_once('>')?;
        let end = parameters.find('<').unwrap_or(parameters.len());
        let (own, after) = parameters.split_at(end);
        let is_next = own.split([';', ',']).any(|parameter| {
            parameter.split_once('=').is_some_and(|(name, value)| {
                name.trim().eq_ignore_ascii_case("rel")
                    && value
                        .trim()
                        .trim_matches('"')
                        .split(' ')
                        .any(|rel| rel.eq_ignore_ascii_case("next"))
            })
        });
        if is_next {
            return Some(target);
        }
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links() {
        for (value, expected) in [
            (
                r#"</v2/a/tags/list?n=2&last=b>; rel="next""#,
                Some("/v2/a/tags/list?n=2&last=b"),
            ),
            (r"<x>;rel=next", Some("x")),
            (r#"<a>; rel="prev", <b>; title="x"; REL="start next""#, Some("b")),
            (r#"<a>; rel="prev""#, None),
            ("<a", None),
            ("<a>", None),
            ("", None),
        ] {
            assert_eq!(next_link(value), expected, "{value}");
        }
    }
}
