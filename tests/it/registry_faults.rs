//! A registry that makes mistakes, each with what the client is to do about it: the list of
//! facts/images-build.md 6.3, by the client itself, with a clock that does not wait.

use crate::mock_registry::{Answer, Asked, MANIFEST, Mock, digest};
use cais_image::reference::Target;
use cais_image::registry::{Clock, Credentials, ErrorKind, Options, Registry, RegistryError, Started};
use cais_image::{Descriptor, MediaType};
use std::io::{Cursor, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

mod logins;
mod uploads;

/// Time passes when somebody waits, and is written down.
#[derive(Debug, Default)]
struct Waits(Mutex<Vec<Duration>>);

impl Clock for Waits {
    fn now(&self) -> Duration {
        self.0.lock().unwrap().iter().sum()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.now()
    }

    fn wait(&self, time: Duration) {
        self.0.lock().unwrap().push(time);
    }
}

struct Client {
    registry: Registry,
    waits: Arc<Waits>,
}

fn client(mock: &Mock, change: impl FnOnce(&mut Options)) -> Client {
    let waits = Arc::new(Waits::default());
    let mut options = Options {
        clock: waits.clone(),
        stall: Duration::from_secs(5),
        ..Options::default()
    };
    change(&mut options);
    Client {
        registry: Registry::new(&mock.address, options).unwrap(),
        waits,
    }
}

const REPOSITORY: &str = "team/pier";

fn blob(mock: &Mock, length: usize) -> (Descriptor, Vec<u8>) {
    let bytes: Vec<u8> = (0..length).map(|place| (place % 241).to_le_bytes()[0]).collect();
    let digest = mock.put_blob(&bytes).parse().unwrap();
    (
        Descriptor::new(MediaType::LAYER_GZIP, digest, length as u64),
        bytes,
    )
}

fn read(client: &Client, of: &Descriptor) -> Result<Vec<u8>, RegistryError> {
    let mut reader = client.registry.fetch_blob(REPOSITORY, of, 0)?;
    let mut bytes = Vec::new();
    match reader.read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(RegistryError::from_io(error).unwrap()),
    }
}

/// The ranges in which blobs were asked for.
fn ranges(mock: &Mock) -> Vec<Option<String>> {
    let asked = mock.asked();
    let gets = asked.iter().filter(|asked| asked.is_get_blob());
    gets.map(|asked| asked.header("range").map(str::to_owned))
        .collect()
}

fn once(count: usize, answer: Answer) -> Option<Answer> {
    (count == 0).then_some(answer)
}

#[test]
fn a_body_that_is_cut_goes_on_where_it_was() {
    let mock = Mock::new();
    let (of, bytes) = blob(&mock, 300_000);
    let whole = bytes.clone();
    mock.fault(move |asked, count| {
        let cut = Answer {
            cut: Some(100_000),
            ..Answer::new(200, whole.clone())
        };
        if asked.is_get_blob() {
            once(count, cut)
        } else {
            None
        }
    });
    let client = client(&mock, |_| {});
    assert!(read(&client, &of).unwrap() == bytes);
    assert_eq!(ranges(&mock), [None, Some("bytes=100000-299999".to_owned())]);
}

#[test]
fn cut_again_and_again_it_is_given_up() {
    let mock = Mock::new();
    let (of, bytes) = blob(&mock, 1000);
    mock.fault(move |asked, _| {
        asked.is_get_blob().then(|| Answer {
            length: Some(1000),
            cut: Some(10),
            ..Answer::new(200, bytes.clone())
        })
    });
    let client = client(&mock, |_| {});
    let error = read(&client, &of).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    let text = error.to_string();
    assert!(
        text.contains("broken off after ") && text.contains("of 1000 bytes"),
        "{text}"
    );
    assert_eq!(ranges(&mock).len(), 5);
}

#[test]
fn wrong_bytes_are_no_network_failure() {
    let mock = Mock::new();
    let (of, mut bytes) = blob(&mock, 1000);
    bytes[500] ^= 1;
    let found = digest(&bytes);
    mock.fault(move |asked, _| asked.is_get_blob().then(|| Answer::new(200, bytes.clone())));
    let client = client(&mock, |_| {});
    let error = read(&client, &of).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    assert_eq!(
        error.to_string(),
        format!(
            "blob {REPOSITORY}@{0}: the bytes have the digest {found}, not {0}",
            of.digest
        )
    );
    assert_eq!(ranges(&mock).len(), 1, "not asked for again");
    assert!(client.waits.0.lock().unwrap().is_empty());
}

#[test]
fn a_content_length_that_is_wrong() {
    let mock = Mock::new();
    let (of, bytes) = blob(&mock, 1000);
    for length in [999, 1001] {
        let bytes = bytes.clone();
        mock.fault(move |asked, _| {
            asked.is_get_blob().then(|| Answer {
                length: Some(length),
                ..Answer::new(200, bytes.clone())
            })
        });
        let error = read(&client(&mock, |_| {}), &of).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Mismatch);
        assert!(
            error.to_string().ends_with(&format!("{length} bytes, not 1000")),
            "{error}"
        );
        assert_eq!(ranges(&mock).len(), 1);
    }
}

#[test]
fn a_server_that_does_no_parts() {
    let mock = Mock::new();
    let (of, bytes) = blob(&mock, 100_000);
    let whole = bytes.clone();
    mock.fault(move |asked, count| {
        asked.is_get_blob().then(|| Answer {
            cut: (count == 0).then_some(60_000),
            ..Answer::new(200, whole.clone())
        })
    });
    let client = client(&mock, |_| {});
    assert!(read(&client, &of).unwrap() == bytes);
    assert_eq!(ranges(&mock).len(), 2);
}

#[test]
fn a_part_that_was_not_asked_for() {
    let mock = Mock::new();
    let (of, bytes) = blob(&mock, 1000);
    for told in [
        "bytes 0-999/1000",
        "bytes 400-999/1000",
        "bytes 300-998/1000000",
        "bytes x",
        "",
    ] {
        let bytes = bytes.clone();
        mock.fault(move |asked, count| {
            let cut = Answer {
                cut: Some(300),
                ..Answer::new(200, bytes.clone())
            };
            let wrong = || Answer::new(206, bytes[300..].to_vec()).with("content-range", told);
            asked
                .is_get_blob()
                .then(|| once(count, cut).unwrap_or_else(wrong))
        });
        let error = read(&client(&mock, |_| {}), &of).unwrap_err();
        assert_eq!(
            error.kind(),
            if told.ends_with("1000000") {
                ErrorKind::Mismatch
            } else {
                ErrorKind::Protocol
            },
            "{told}: {error}"
        );
    }
}

#[test]
fn too_many_requests() {
    let mock = Mock::new();
    let (of, bytes) = blob(&mock, 1000);
    let busy = |after: &str| {
        let after = after.to_owned();
        move |asked: &Asked, count: usize| {
            let body = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#;
            let busy = Answer::new(429, body).with("retry-after", after.clone());
            (asked.is_get_blob() && count < 2).then_some(busy)
        }
    };
    mock.fault(busy("7"));
    let patient = client(&mock, |_| {});
    assert!(read(&patient, &of).unwrap() == bytes);
    let waits = patient.waits.0.lock().unwrap().clone();
    assert_eq!(waits, [Duration::from_secs(7), Duration::from_secs(7)]);
    // Hours are not waited for, and the user reads how long.
    mock.fault(busy("7200"));
    let error = read(&client(&mock, |_| {}), &of).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    let expected = format!(
        "{} refuses more requests for 7200 s: TOOMANYREQUESTS: slow down",
        mock.address
    );
    assert_eq!(error.to_string(), expected);
    assert_eq!(ranges(&mock).len(), 1);
}

#[test]
fn server_errors_pass() {
    let mock = Mock::new();
    let (of, bytes) = blob(&mock, 1000);
    for status in [500, 502, 503, 504] {
        mock.fault(move |asked, count| {
            (asked.is_get_blob() && count < 3).then(|| Answer::new(status, "down for a moment"))
        });
        assert!(read(&client(&mock, |_| {}), &of).unwrap() == bytes, "{status}");
        assert_eq!(ranges(&mock).len(), 4);
    }
    mock.fault(|asked, _| asked.is_get_blob().then(|| Answer::new(503, "gone for good")));
    let error = read(&client(&mock, |_| {}), &of).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(
        error.to_string().ends_with("status 503: gone for good"),
        "{error}"
    );
    // What will not pass is not tried again.
    mock.fault(|asked, _| asked.is_get_blob().then(|| Answer::new(501, "never")));
    assert!(read(&client(&mock, |_| {}), &of).is_err());
    assert_eq!(ranges(&mock).len(), 1);
}

#[test]
fn drops_and_silence() {
    let mock = Mock::new();
    let (of, bytes) = blob(&mock, 2000);
    let whole = bytes.clone();
    mock.fault(move |asked, _| {
        asked.is_get_blob().then(|| Answer {
            drip: Some(3),
            ..Answer::new(200, whole.clone())
        })
    });
    assert!(read(&client(&mock, |_| {}), &of).unwrap() == bytes);
    // Nothing at all: another connection after a while.
    let whole = bytes.clone();
    mock.fault(move |asked, count| {
        let silent = Answer {
            stall: Some(0),
            ..Answer::new(200, whole.clone())
        };
        if asked.is_get_blob() {
            once(count, silent)
        } else {
            None
        }
    });
    let client = client(&mock, |options| options.stall = Duration::from_millis(200));
    assert!(read(&client, &of).unwrap() == bytes);
    assert_eq!(ranges(&mock).len(), 2);
}

fn push(client: &Client, of: &Descriptor, bytes: &[u8]) -> Result<(), RegistryError> {
    client
        .registry
        .push_blob(REPOSITORY, of, &mut Cursor::new(bytes.to_vec()))
}

fn unpushed(length: usize) -> (Descriptor, Vec<u8>) {
    let bytes: Vec<u8> = (0..length).map(|place| (place % 239).to_le_bytes()[0]).collect();
    let of = Descriptor::new(
        MediaType::LAYER_GZIP,
        digest(&bytes).parse().unwrap(),
        length as u64,
    );
    (of, bytes)
}

/// The lengths of the pieces that were sent.
fn pieces(mock: &Mock) -> Vec<usize> {
    let asked = mock.asked();
    let patches = asked.iter().filter(|asked| asked.method == "PATCH");
    patches.map(|asked| asked.body.len()).collect()
}

#[test]
fn pages_in_a_circle_and_elsewhere() {
    let mock = Mock::new();
    mock.fault(|asked, _| {
        let page = Answer::new(200, r#"{"tags":["one"]}"#);
        let next = if asked.path.contains("last=b") { "a" } else { "b" };
        let link = format!("</v2/team/pier/tags/list?last={next}>; rel=\"next\"");
        asked.path.contains("/tags/list").then(|| page.with("link", link))
    });
    let error = client(&mock, |_| {}).registry.tags(REPOSITORY).unwrap_err();
    assert!(error.to_string().ends_with("the pages go in a circle"), "{error}");
    mock.fault(|asked, _| {
        let page = Answer::new(200, r#"{"tags":["one"]}"#).with("link", "<http://127.0.0.1:1/x>; rel=next");
        asked.path.contains("/tags/list").then_some(page)
    });
    let error = client(&mock, |_| {}).registry.tags(REPOSITORY).unwrap_err();
    assert!(
        error.to_string().contains("the next page is elsewhere"),
        "{error}"
    );
}

fn manifest(client: &Client, name: &str) -> Result<Vec<u8>, RegistryError> {
    let target = Target::Tag(name.to_owned());
    client
        .registry
        .fetch_manifest(REPOSITORY, &target)
        .map(|fetched| fetched.bytes)
}

/// CVE-2023-25153 and its kin: nothing of any size is read into memory.
#[test]
fn a_manifest_of_ten_megabytes() {
    let mock = Mock::new();
    let huge = format!(r#"{{"schemaVersion":2,"x":"{}"}}"#, "x".repeat(10 << 20));
    mock.put_manifest(REPOSITORY, "huge", MANIFEST, huge.as_bytes());
    let client = client(&mock, |_| {});
    let error = manifest(&client, "huge").unwrap_err();
    assert_eq!(
        error.to_string(),
        "manifest team/pier:huge: more than 8388608 bytes"
    );
    // Nor where the length is not told.
    mock.fault(move |asked, _| {
        let body = [
            format!("{:x}\r\n", huge.len()).as_bytes(),
            huge.as_bytes(),
            b"\r\n0\r\n\r\n",
        ]
        .concat();
        let answer = Answer::new(200, body)
            .with("content-type", MANIFEST)
            .with("content-length", "x");
        let mut answer = answer;
        answer.headers.pop();
        answer
            .headers
            .push(("transfer-encoding".to_owned(), "chunked".to_owned()));
        asked.path.contains("/manifests/").then_some(answer)
    });
    assert!(manifest(&client, "huge").is_err());
    // A token server, too.
    let address = mock.address.clone();
    mock.fault(move |asked, _| {
        if asked.path.starts_with("/token") {
            return Some(Answer::new(200, vec![b' '; 4 << 20]));
        }
        let challenge = format!("Bearer realm=\"http://{address}/token\"");
        asked
            .path
            .contains("/manifests/")
            .then(|| Answer::new(401, "").with("www-authenticate", challenge))
    });
    assert!(manifest(&client, "huge").is_err());
}

#[test]
fn a_digest_header_that_lies() {
    let mock = Mock::new();
    let bytes = format!(r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}"}}"#);
    mock.put_manifest(REPOSITORY, "1", MANIFEST, bytes.as_bytes());
    let lie = digest(b"something else");
    let (told, whole) = (lie.clone(), bytes.clone());
    mock.fault(move |asked, _| {
        let answer = match asked.method.as_str() {
            "PUT" => Answer::new(201, ""),
            _ => Answer::new(200, whole.clone()).with("content-type", MANIFEST),
        };
        asked
            .path
            .contains("/manifests/")
            .then(|| answer.with("docker-content-digest", told.clone()))
    });
    let client = client(&mock, |_| {});
    let error = manifest(&client, "1").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    assert!(error.to_string().contains(&lie), "{error}");
    let target = Target::Tag("1".to_owned());
    let put = client
        .registry
        .put_manifest(REPOSITORY, &target, MANIFEST, bytes.as_bytes());
    assert_eq!(put.unwrap_err().kind(), ErrorKind::Mismatch);
}

/// CVE-2021-41190: what it is must be said in one way.
#[test]
fn documents_of_two_types() {
    let mock = Mock::new();
    let index = "application/vnd.oci.image.index.v1+json";
    let both =
        format!(r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{}},"layers":[],"manifests":[]}}"#);
    mock.put_manifest(REPOSITORY, "both", MANIFEST, both.as_bytes());
    let plain = format!(r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{}},"layers":[]}}"#);
    mock.put_manifest(REPOSITORY, "other", index, plain.as_bytes());
    mock.put_manifest(
        REPOSITORY,
        "right",
        &format!("{MANIFEST}; charset=utf-8"),
        plain.as_bytes(),
    );
    mock.put_manifest(REPOSITORY, "text", "text/html", b"<html>");
    let client = client(&mock, |_| {});
    for (name, said) in [
        ("both", "an index and a manifest at once"),
        ("other", "the manifest says that it is"),
        ("text", "no manifest"),
    ] {
        let error = manifest(&client, name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert!(error.to_string().contains(said), "{error}");
    }
    assert!(manifest(&client, "right").is_ok());
}

#[test]
fn redirects_without_end() {
    let mock = Mock::new();
    let (of, _) = blob(&mock, 10);
    mock.fault(|asked, _| {
        let place = format!("{}x", asked.path);
        asked
            .path
            .contains("/blobs/")
            .then(|| Answer::new(302, "").with("location", place))
    });
    let error = read(&client(&mock, |_| {}), &of).unwrap_err();
    assert!(error.to_string().ends_with("more than 10 redirects"), "{error}");
    mock.fault(|asked, _| asked.is_get_blob().then(|| Answer::new(302, "")));
    let error = read(&client(&mock, |_| {}), &of).unwrap_err();
    assert!(error.to_string().ends_with("a redirect to nowhere"), "{error}");
}
