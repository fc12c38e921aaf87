//! `cais images`.

use super::engine;
use super::ps::created_at;
use crate::failure::Failure;
use crate::output::{human_size, print};
use cais::cli::ImagesArgs;
use cais::template::{Format, Listing};
use cais_engine::describe::since;
use cais_engine::images;
use cais_engine::prune::LabelFilter;
use cais_engine::{EngineError, time};
use cais_image::store::Image;
use cais_image::{ContentStore, Digest, Reference};
use cais_json::Value;
use cais_order::InOrder;
use regex_lite::Regex;
use std::time::SystemTime;

const TABLE: &str = "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";
const TABLE_WITH_DIGESTS: &str =
    "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";

/// Headings that are not the name of the field.
const HEADINGS: [(&str, &str); 2] = [("ID", "IMAGE ID"), ("CreatedSince", "CREATED")];

/// What a line has, sorted as Go writes a map.
const FIELDS: [&str; 11] = [
    "Containers",
    "CreatedAt",
    "CreatedSince",
    "Digest",
    "ID",
    "Repository",
    "SharedSize",
    "Size",
    "Tag",
    "UniqueSize",
    "VirtualSize",
];

/// One line of the list: an image by one of its names.
struct Row<'a> {
    image: &'a Image,
    repository: String,
    tag: String,
    has_digest: bool,
}

pub(crate) fn list(args: &ImagesArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    let store = images::open(&engine)?;
    let mut raw = vec![
        ("repository", "Repository"),
        ("tag", "Tag"),
        ("digest", "Digest"),
        ("image_id", "ID"),
        ("created_at", "CreatedAt"),
        ("virtual_size", "Size"),
    ];
    raw.retain(|(key, _)| args.digests || *key != "digest");
    let listing = Listing {
        table: if args.digests { TABLE_WITH_DIGESTS } else { TABLE },
        id: "ID",
        raw: &raw,
    };
    let format = Format::of_list(args.format.as_deref(), args.quiet, &listing)?;
    let mut all = store.images().map_err(EngineError::image("list the images"))?;
    all.order_by(|one, other| other.created.cmp(&one.created));
    let filter = Filter::parse(&store, &all, &args.filter)?;
    let mut rows = rows(&all, &filter, args.name.is_none());
    rows.retain(|row| filter.takes(&store, row) && is_named(row, args.name.as_deref()));
    let now = SystemTime::now();
    // There may be thousands: nothing is made that is not shown.
    let mut fields = FIELDS.to_vec();
    fields.retain(|field| format.uses(field));
    let object = |row: &Row<'_>| {
        let of = |field: &&str| {
            (
                (*field).to_owned(),
                Value::String(row.field(field, args.no_trunc, now)),
            )
        };
        Value::Object(fields.iter().map(of).collect())
    };
    let mut lines: Vec<Value> = rows.iter().map(object).collect();
    if args.quiet {
        lines.dedup();
    }
    print(&format.render(lines, &HEADINGS)?)?;
    Ok(0)
}

impl Row<'_> {
    /// What a field says of it.
    fn field(&self, name: &str, no_trunc: bool, now: SystemTime) -> String {
        let image = self.image;
        let created = image.created.as_deref();
        match (name, created) {
            ("ID", _) => id(&image.id, no_trunc),
            ("Repository", _) => self.repository.clone(),
            ("Tag", _) => self.tag.clone(),
            ("Digest", _) if self.has_digest => image.target.digest.to_string(),
            ("Digest", _) => "<none>".to_owned(),
            ("CreatedSince", Some(created)) => since(created, now) + " ago",
            ("CreatedAt", Some(created)) => created_at(created),
            ("Size" | "VirtualSize", _) => human_size(image.size),
            _ => "N/A".to_owned(),
        }
    }
}

/// An id in full or its first digits.
pub(super) fn id(digest: &Digest, whole: bool) -> String {
    if whole {
        digest.to_string()
    } else {
        digest.hex().get(..12).unwrap_or("").to_owned()
    }
}

fn rows<'a>(images: &'a [Image], filter: &Filter, with_nameless: bool) -> Vec<Row<'a>> {
    let mut rows = Vec::new();
    for image in images {
        for name in &image.names {
            let Ok(reference) = name.parse::<Reference>() else {
                continue;
            };
            rows.push(Row {
                image,
                repository: reference.familiar_name(),
                tag: reference.tag.unwrap_or_else(|| "<none>".to_owned()),
                has_digest: true,
            });
        }
        if image.names.is_empty() && with_nameless && filter.dangling != Some(false) {
            rows.push(Row {
                image,
                repository: "<none>".to_owned(),
                tag: "<none>".to_owned(),
                has_digest: false,
            });
        }
    }
    rows
}

/// Whether a row has the name that is asked for: a repository, or one with a tag.
fn is_named(row: &Row<'_>, wanted: Option<&str>) -> bool {
    wanted.is_none_or(|wanted| {
        let (repository, tag) = split_tag(wanted);
        let known = repository.parse::<Reference>();
        let is_same = known.is_ok_and(|known| known.familiar_name() == row.repository);
        (is_same || glob(repository).is_some_and(|glob| glob.is_match(&row.repository)))
            && tag.is_none_or(|tag| tag == row.tag)
    })
}

fn split_tag(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (name, None),
    }
}

/// A pattern of Go's path.Match, where `*` and `?` stop at a slash.
fn glob(pattern: &str) -> Option<Regex> {
    let mut text = String::from("^");
    for letter in pattern.chars() {
        match letter {
            '*' => text.push_str("[^/]*"),
            '?' => text.push_str("[^/]"),
            '[' | ']' => text.push(letter),
            letter if letter.is_ascii_alphanumeric() || letter == '/' || letter == '-' => text.push(letter),
            letter => text.push_str(&format!("\\{letter}")),
        }
    }
    text.push('$');
    Regex::new(&text).ok()
}

/// Which images are meant.
#[derive(Default)]
struct Filter {
    dangling: Option<bool>,
    labels: Vec<LabelFilter>,
    before: Option<SystemTime>,
    since: Option<SystemTime>,
    references: Vec<String>,
}

impl Filter {
    fn parse(store: &ContentStore, images: &[Image], texts: &[String]) -> Result<Self, Failure> {
        let mut filter = Self::default();
        let moment = |name: &str| -> Result<Option<SystemTime>, Failure> {
            let image = images::find(store, name)?;
            // The same image has the same time in the list.
            let image = images
                .iter()
                .find(|other| other.id == image.id)
                .unwrap_or(&image)
                .clone();
            Ok(image.created.as_deref().and_then(time::parse))
        };
        for text in texts {
            let bad = || Failure::new(format!("invalid filter '{text}'"));
            let (key, value) = text.split_once('=').ok_or_else(bad)?;
            match (key, value) {
                ("dangling", "true" | "1") => filter.dangling = Some(true),
                ("dangling", "false" | "0") => filter.dangling = Some(false),
                ("label", value) => filter.labels.push(LabelFilter::parse(value)),
                ("reference", value) => filter.references.push(value.to_owned()),
                ("before", value) => filter.before = moment(value)?,
                ("since", value) => filter.since = moment(value)?,
                _ => return Err(bad()),
            }
        }
        Ok(filter)
    }

    fn takes(&self, store: &ContentStore, row: &Row<'_>) -> bool {
        let image = row.image;
        let created = image.created.as_deref().and_then(time::parse);
        let is_dangling = image.names.is_empty();
        if self.dangling.is_some_and(|wanted| wanted != is_dangling) {
            return false;
        }
        let is_before = self
            .before
            .is_none_or(|limit| created.is_some_and(|created| created < limit));
        let is_since = self
            .since
            .is_none_or(|limit| created.is_some_and(|created| created > limit));
        if !is_before || !is_since {
            return false;
        }
        let is_referred = |pattern: &String| {
            let (repository, tag) = split_tag(pattern);
            let fits = |pattern: &str, text: &str| glob(pattern).is_some_and(|glob| glob.is_match(text));
            !is_dangling && fits(repository, &row.repository) && tag.is_none_or(|tag| fits(tag, &row.tag))
        };
        if !self.references.is_empty() && !self.references.iter().any(is_referred) {
            return false;
        }
        if self.labels.is_empty() {
            return true;
        }
        // One whose configuration cannot be read has no labels.
        let config = store.config(&image.id).map(|config| config.config.labels);
        let labels = config.unwrap_or_default();
        let labels = labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        self.labels.iter().all(|label| label.matches(labels.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, fits) in [
            ("busy*", "busybox", true),
            ("*", "team/web", false),
            ("*/web", "team/web", true),
            ("*.example/*/web", "r.example/team/web", true),
            ("b?x", "box", true),
            ("[bn]ox", "box", true),
            ("box", "boxes", false),
        ] {
            assert_eq!(glob(pattern).unwrap().is_match(text), fits, "{pattern} {text}");
        }
        assert_eq!(split_tag("r:5000/x"), ("r:5000/x", None));
        assert_eq!(split_tag("r:5000/x:1"), ("r:5000/x", Some("1")));
    }
}
