//! Uploads.

use super::*;

#[test]
fn pieces_as_long_as_the_registry_wants_them() {
    let mock = Mock::new();
    let (of, bytes) = unpushed(10_000);
    mock.fault(|asked, _| {
        let place = format!("{}7", asked.path);
        (asked.method == "POST").then(|| {
            Answer::new(202, "")
                .with("location", place)
                .with("oci-chunk-min-length", "4000")
        })
    });
    let client = client(&mock, |options| options.chunk = 1000);
    // The upload is the test's own, so it is not there in the end.
    assert!(push(&client, &of, &bytes).is_err());
    assert_eq!(pieces(&mock).first(), Some(&4000));
    mock.heal();
    push(&client, &of, &bytes).unwrap();
    assert_eq!(pieces(&mock), [1000; 10]);
    assert!(mock.blob(of.digest.as_str()).unwrap() == bytes);
}

#[test]
fn an_upload_that_was_not_received_goes_on_where_the_registry_is() {
    let mock = Mock::new();
    let (of, bytes) = unpushed(3000);
    // The second piece is refused once: it asks where the registry is.
    let refused = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&refused);
    mock.fault(move |asked, _| {
        let is_second = asked.method == "PATCH" && asked.header("content-range") == Some("1000-1999");
        (is_second && count.fetch_add(1, Ordering::SeqCst) == 0).then(|| Answer::new(416, ""))
    });
    let client = client(&mock, |options| options.chunk = 1000);
    push(&client, &of, &bytes).unwrap();
    assert_eq!(pieces(&mock), [1000; 4]);
    let asks = |asked: &&Asked| asked.method == "GET" && asked.path.contains("/uploads/");
    assert_eq!(mock.asked().iter().filter(asks).count(), 1);
    assert!(mock.blob(of.digest.as_str()).unwrap() == bytes);
}

#[test]
fn an_upload_that_the_registry_forgot_begins_anew() {
    let mock = Mock::new();
    let (of, bytes) = unpushed(3000);
    let gone = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&gone);
    mock.fault(move |asked, _| {
        let is_last = asked.method == "PATCH" && asked.header("content-range") == Some("2000-2999");
        let unknown = r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"?"}]}"#;
        (is_last && count.fetch_add(1, Ordering::SeqCst) == 0).then(|| Answer::new(404, unknown))
    });
    let client = client(&mock, |options| options.chunk = 1000);
    push(&client, &of, &bytes).unwrap();
    assert!(mock.blob(of.digest.as_str()).unwrap() == bytes);
}

#[test]
fn a_mount_that_is_refused_goes_on_as_an_upload() {
    let mock = Mock::new();
    let (of, bytes) = unpushed(500);
    let client = client(&mock, |_| {});
    let started = client
        .registry
        .mount_blob(REPOSITORY, &of.digest, Some("team/quay"))
        .unwrap();
    let Started::Upload(upload) = started else {
        panic!("the registry has no such blob");
    };
    client
        .registry
        .push_into(upload, &of, &mut Cursor::new(bytes.clone()))
        .unwrap();
    assert!(mock.blob(of.digest.as_str()).unwrap() == bytes);
    let first = &mock
        .asked()
        .into_iter()
        .find(|asked| asked.method == "POST")
        .unwrap()
        .path;
    assert!(
        first.contains("mount=sha256") && first.contains("from=team/quay")
            || first.contains("from=team%2Fquay"),
        "{first}"
    );
    mock.fault(|asked, _| (asked.method == "POST").then(|| Answer::new(201, "")));
    assert!(matches!(
        client.registry.mount_blob(REPOSITORY, &of.digest, None).unwrap(),
        Started::Mounted
    ));
}

/// Every answer of the mock that has a Location has a relative one; here is one with a query,
/// and one in another place.
#[test]
fn locations_are_kept_as_they_are() {
    let mock = Mock::new();
    let (of, bytes) = unpushed(500);
    let address = mock.address.clone();
    mock.fault(move |asked, _| match asked.method.as_str() {
        "POST" => {
            Some(Answer::new(202, "").with("location", format!("http://{address}/elsewhere/1?state=a%2Fb")))
        }
        "PUT" => Some(Answer::new(201, "")),
        _ => None,
    });
    push(&client(&mock, |_| {}), &of, &bytes).unwrap();
    let asked = mock.asked();
    let put = asked.iter().find(|asked| asked.method == "PUT").unwrap();
    assert!(
        put.path.starts_with("/elsewhere/1?state=a%2Fb&digest=sha256"),
        "{}",
        put.path
    );
}
