//! From bytes to a manifest, with the checks that keep two readers from seeing two images
//! (CVE-2021-41190) and one reader from reading without end.

use super::{ImageManifest, Index, MAX_JSON, Manifest, ManifestError};
use crate::descriptor::{Descriptor, MediaType};
use crate::digest::Hasher;
use base64::Engine as _;
use cais_json::{Map, Value};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

type Result<T> = std::result::Result<T, ManifestError>;

/// The keys that decide what a document is.
const DECIDING: [&str; 7] = [
    "schemaVersion",
    "mediaType",
    "manifests",
    "config",
    "layers",
    "subject",
    "artifactType",
];

/// What a document has.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: Option<u32>,
    media_type: Option<String>,
    manifests: Option<IgnoredAny>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    fs_layers: Option<IgnoredAny>,
    signatures: Option<IgnoredAny>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Index,
    Image,
}

/// The media type of a Content-Type, without its parameters, in lower case.
#[must_use]
pub fn media_type_of(content_type: &str) -> String {
    let media_type = content_type.split(';').next().unwrap_or_default();
    media_type.trim().to_ascii_lowercase()
}

/// Parses an index or a manifest. `expected` is what it was announced as: the Content-Type
/// of the answer, parameters and all, or the media type of the descriptor.
///
/// # Errors
/// [`ManifestError`]: see there.
pub fn parse_manifest(bytes: &[u8], expected: Option<&str>) -> Result<Manifest> {
    let shape: Shape = parse_json(bytes)?;
    if shape.fs_layers.is_some() || shape.signatures.is_some() || shape.schema_version == Some(1) {
        return Err(ManifestError::Schema1);
    }
    let expected = expected.map(media_type_of);
    match decide(&shape, expected.as_deref())? {
        Kind::Index => {
            if shape.manifests.is_none() {
                let (kind, key) = ("an index", "manifests");
                return Err(ManifestError::Missing { kind, key });
            }
            let index: Index = parse_json(bytes)?;
            check_head(index.schema_version, &index.other)?;
            for (number, descriptor) in index.manifests.iter().enumerate() {
                check_descriptor(descriptor, &format!("manifests[{number}]"))?;
            }
            check_subject(index.subject.as_ref())?;
            Ok(Manifest::Index(Box::new(index)))
        }
        Kind::Image => {
            if shape.config.is_none() {
                let (kind, key) = ("an image manifest", "config");
                return Err(ManifestError::Missing { kind, key });
            }
            let image: ImageManifest = parse_json(bytes)?;
            check_head(image.schema_version, &image.other)?;
            check_descriptor(&image.config, "config")?;
            for (number, descriptor) in image.layers.iter().enumerate() {
                check_descriptor(descriptor, &format!("layers[{number}]"))?;
            }
            check_subject(image.subject.as_ref())?;
            Ok(Manifest::Image(Box::new(image)))
        }
    }
}

/// Parses what must be an index.
///
/// # Errors
/// As [`parse_manifest`].
pub fn parse_index(bytes: &[u8], expected: Option<&str>) -> Result<Index> {
    match parse_manifest(bytes, expected)? {
        Manifest::Index(index) => Ok(*index),
        Manifest::Image(_) => Err(ManifestError::Missing {
            kind: "an index",
            key: "manifests",
        }),
    }
}

/// Parses what must be an image manifest.
///
/// # Errors
/// As [`parse_manifest`].
pub fn parse_image(bytes: &[u8], expected: Option<&str>) -> Result<ImageManifest> {
    match parse_manifest(bytes, expected)? {
        Manifest::Image(image) => Ok(*image),
        Manifest::Index(_) => Err(ManifestError::Missing {
            kind: "an image manifest",
            key: "config",
        }),
    }
}

/// Checks a descriptor: that a file can have its size, and that data in it is what it names
/// (image-spec, "Content Descriptors"). A negative size is refused before, as no number.
///
/// # Errors
/// [`ManifestError::Size`], [`ManifestError::EmbeddedData`] with `path` as the place.
pub fn check_descriptor(descriptor: &Descriptor, path: &str) -> Result<()> {
    if i64::try_from(descriptor.size).is_err() {
        return Err(ManifestError::Size {
            path: format!("{path}.size"),
            size: descriptor.size,
        });
    }
    let Some(data) = &descriptor.data else {
        return Ok(());
    };
    let wrong = |detail: String| ManifestError::EmbeddedData {
        path: format!("{path}.data"),
        digest: descriptor.digest.clone(),
        detail,
    };
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(data)
        .map_err(|error| wrong(error.to_string()))?;
    if bytes.len() as u64 != descriptor.size {
        return Err(wrong(format!(
            "{} bytes instead of {}",
            bytes.len(),
            descriptor.size
        )));
    }
    let mut hasher = Hasher::like(&descriptor.digest);
    hasher.update(&bytes);
    let found = hasher.finish();
    if found == descriptor.digest {
        Ok(())
    } else {
        Err(wrong(format!("it is {found}")))
    }
}

/// Parses JSON of a bounded size, and says where it is wrong.
pub(super) fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let size = bytes.len() as u64;
    if size > MAX_JSON {
        let limit = MAX_JSON;
        return Err(ManifestError::TooBig { size, limit });
    }
    cais_json::from_slice(bytes).map_err(|error| ManifestError::Json {
        path: error.path(),
        detail: error.message().to_owned(),
    })
}

/// What the document is by what it was announced as, by its own word and by what it has: all
/// three must agree.
fn decide(shape: &Shape, expected: Option<&str>) -> Result<Kind> {
    if let (Some(expected), Some(found)) = (expected, shape.media_type.as_deref())
        && expected != found
    {
        return Err(ManifestError::MediaTypeMismatch {
            expected: expected.to_owned(),
            found: found.to_owned(),
        });
    }
    let second = match (&shape.config, &shape.layers) {
        (Some(_), _) => Some("config"),
        (None, Some(_)) => Some("layers"),
        (None, None) => None,
    };
    if let (Some(_), Some(second)) = (&shape.manifests, second) {
        return Err(ManifestError::Ambiguous {
            first: "manifests".to_owned(),
            second: second.to_owned(),
        });
    }
    let announced = shape.media_type.as_deref().or(expected);
    let kind = match announced {
        Some(MediaType::INDEX | MediaType::DOCKER_INDEX) => Kind::Index,
        Some(MediaType::MANIFEST | MediaType::DOCKER_MANIFEST) => Kind::Image,
        Some(other) if other.starts_with("application/vnd.docker.distribution.manifest.v1") => {
            return Err(ManifestError::Schema1);
        }
        Some(other) => return Err(ManifestError::UnknownMediaType(other.to_owned())),
        None if shape.manifests.is_some() => Kind::Index,
        None => Kind::Image,
    };
    let (key, other) = match kind {
        Kind::Index => ("an index", second),
        Kind::Image => ("an image manifest", shape.manifests.as_ref().map(|_| "manifests")),
    };
    match other {
        Some(other) => Err(ManifestError::Ambiguous {
            first: format!("{key} by its media type"),
            second: other.to_owned(),
        }),
        None => Ok(kind),
    }
}

/// The version, and no key that a reader which does not heed case (as Go's) takes for one
/// of the deciding ones.
fn check_head(version: u32, other: &Map<String, Value>) -> Result<()> {
    if version != 2 {
        return Err(ManifestError::SchemaVersion(version));
    }
    for key in other.keys() {
        if let Some(known) = DECIDING.iter().find(|known| key.eq_ignore_ascii_case(known)) {
            return Err(ManifestError::Ambiguous {
                first: (*known).to_owned(),
                second: key.clone(),
            });
        }
    }
    Ok(())
}

fn check_subject(subject: Option<&Descriptor>) -> Result<()> {
    subject.map_or(Ok(()), |subject| check_descriptor(subject, "subject"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    const D: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    fn descriptor(size: &str, more: &str) -> String {
        format!(r#"{{"mediaType":"t/x","digest":"{D}","size":{size}{more}}}"#)
    }

    fn image(more: &str) -> String {
        let config = descriptor("2", "");
        format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]{more}}}"#)
    }

    #[test]
    fn what_is_accepted() {
        let config = descriptor("2", r#","data":"e30=""#);
        let nested = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{config}],"x-own":[1]}}"#,
            MediaType::INDEX
        );
        let index = parse_index(nested.as_bytes(), Some(MediaType::INDEX)).unwrap();
        assert_eq!(index.manifests[0].digest, Digest::of(b"{}"));
        assert_eq!(index.other["x-own"][0], 1);
        // No mediaType, no announcement, layers and annotations as Go's null, parameters.
        let sparse = image("")
            .replace("[]", "null")
            .replace(r#","layers""#, r#","annotations":null,"layers""#);
        assert_eq!(parse_image(sparse.as_bytes(), None).unwrap().layers, []);
        let announced = format!("{}; charset=utf-8", MediaType::MANIFEST);
        parse_image(image("").as_bytes(), Some(&announced)).unwrap();
        // An unknown key survives a round trip.
        let kept = parse_image(image(r#","x":{"b":1,"a":2}"#).as_bytes(), None).unwrap();
        assert_eq!(cais_json::to_value(&kept).unwrap()["x"]["b"], 1);
        // sha512.
        let long = format!("sha512:{}", "0".repeat(128));
        parse_image(image("").replace(D, &long).as_bytes(), None).unwrap();
    }

    #[test]
    fn what_is_refused() {
        let both = image(r#","manifests":[]"#);
        let index = r#"{"schemaVersion":2,"manifests":[]}"#;
        let oci = |kind: &str| image(&format!(r#","mediaType":"{kind}""#));
        let embedded = |data: &str| {
            let config = descriptor("2", &format!(r#","data":"{data}""#));
            format!(r#"{{"schemaVersion":2,"config":{config}}}"#)
        };
        let size = |size: &str| format!(r#"{{"schemaVersion":2,"config":{}}}"#, descriptor(size, ""));
        let cases: Vec<(String, Option<&str>, &str)> = vec![
            (both, None, "\"manifests\" and \"config\""),
            (index.to_owned(), Some(MediaType::MANIFEST), "\"manifests\""),
            (image(""), Some(MediaType::INDEX), "\"config\""),
            (oci(MediaType::INDEX), None, "\"config\""),
            (
                oci(MediaType::DOCKER_MANIFEST),
                Some(MediaType::MANIFEST),
                "was announced",
            ),
            (oci("text/html"), None, "neither"),
            (
                image(""),
                Some("application/vnd.docker.distribution.manifest.v1+prettyjws"),
                "schema 1",
            ),
            (
                r#"{"schemaVersion":1,"fsLayers":[]}"#.to_owned(),
                None,
                "schema 1",
            ),
            (image("").replace(":2,", ":3,"), None, "schemaVersion is 3"),
            (r#"{"schemaVersion":2}"#.to_owned(), None, "no \"config\""),
            (
                r#"{"schemaVersion":2}"#.to_owned(),
                Some(MediaType::INDEX),
                "no \"manifests\"",
            ),
            (size("-1"), None, "at config.size: invalid value: integer `-1`"),
            (size("9223372036854775808"), None, "at config.size: a size of"),
            (size("\"2\""), None, "at config.size"),
            (image("").replace(D, "sha256:../../x"), None, "at config.digest"),
            (embedded("e31="), None, "at config.data"),
            (embedded("e30"), None, "at config.data"),
            (embedded("e319"), None, "3 bytes instead of 2"),
            (image(r#","Manifests":[]"#), None, "\"Manifests\""),
            (image(r#","layers":[]"#), None, "duplicate field"),
            (format!("{} x", image("")), None, "trailing"),
            (format!("{}{}", image(""), " ".repeat(8 << 20)), None, "are read"),
            ("[".repeat(100_000), None, "at "),
            (String::new(), None, "EOF"),
        ];
        for (text, expected, message) in cases {
            let error = parse_manifest(text.as_bytes(), expected).unwrap_err().to_string();
            let head: String = text.chars().take(300).collect();
            assert!(error.contains(message), "{head}: {error}");
        }
    }
}
