//! Who asks: passwords, tokens, and to whom they are not told.

use super::*;

#[test]
fn no_credentials_beyond_a_redirect() {
    let (mock, elsewhere) = (Mock::new(), Mock::new());
    let (of, bytes) = blob(&mock, 1000);
    elsewhere.put_blob(&bytes);
    let target = format!("http://{}/v2/x/blobs/{}", elsewhere.address, of.digest);
    mock.fault(move |asked, _| {
        if asked.header("authorization").is_none() {
            return Some(Answer::new(401, "").with("www-authenticate", "Basic realm=\"x\""));
        }
        asked
            .is_get_blob()
            .then(|| Answer::new(307, "").with("location", target.clone()))
    });
    let client = client(&mock, |options| {
        options.credentials = Some(password());
        options.headers = vec![("x-secret".to_owned(), "1".to_owned())];
    });
    assert!(read(&client, &of).unwrap() == bytes);
    let asked = elsewhere.asked();
    assert_eq!(asked.iter().filter(|asked| asked.is_get_blob()).count(), 1);
    for asked in asked {
        assert_eq!(
            (asked.header("authorization"), asked.header("x-secret")),
            (None, None)
        );
    }
}

fn password() -> Credentials {
    Credentials::Password {
        username: "ana".to_owned(),
        password: "secret".to_owned(),
    }
}

/// CVE-2020-15157: what a descriptor names is asked, but not told who asks.
#[test]
fn no_credentials_for_the_urls_of_a_descriptor() {
    let (mock, elsewhere) = (Mock::new(), Mock::new());
    let bytes = vec![7; 1000];
    let digest = elsewhere.put_blob(&bytes);
    mock.fault(|asked, _| {
        let refused = Answer::new(401, "").with("www-authenticate", "Basic realm=\"x\"");
        asked.header("authorization").is_none().then_some(refused)
    });
    elsewhere.fault(|asked, count| {
        let refused = Answer::new(401, "").with("www-authenticate", "Basic realm=\"x\"");
        (asked.is_get_blob() && count > 0).then_some(refused)
    });
    let mut of = Descriptor::new(MediaType::DOCKER_FOREIGN_LAYER, digest.parse().unwrap(), 1000);
    of.urls = vec![format!("http://{}/v2/x/blobs/{digest}", elsewhere.address)];
    let client = client(&mock, |options| options.credentials = Some(password()));
    assert!(read(&client, &of).unwrap() == bytes);
    assert!(
        elsewhere
            .asked()
            .iter()
            .all(|asked| asked.header("authorization").is_none())
    );
    // Even when it asks for them.
    assert!(read(&client, &of).is_err());
    assert!(
        elsewhere
            .asked()
            .iter()
            .all(|asked| asked.header("authorization").is_none())
    );
}

/// A token that runs out in the middle of a blob: another one, and on from there.
#[test]
fn unauthorized_in_the_middle() {
    let mock = Mock::new();
    let (of, bytes) = blob(&mock, 100_000);
    let (address, whole) = (mock.address.clone(), bytes.clone());
    let tokens = Arc::new(AtomicUsize::new(0));
    let valid = Arc::clone(&tokens);
    mock.fault(move |asked, _| {
        if asked.path.starts_with("/token") {
            let number = tokens.fetch_add(1, Ordering::SeqCst) + 1;
            return Some(Answer::new(
                200,
                format!(r#"{{"token":"t{number}","expires_in":300}}"#),
            ));
        }
        let number = tokens.load(Ordering::SeqCst);
        let authorized = asked.header("authorization") == Some(&format!("Bearer t{number}"));
        let is_second = asked.header("range").is_some() && number < 2;
        if !asked.path.starts_with("/v2/team") || authorized && !is_second {
            return (asked.is_get_blob() && number == 1).then(|| Answer {
                cut: Some(30_000),
                ..Answer::new(200, whole.clone())
            });
        }
        let challenge = format!(
            r#"Bearer realm="http://{address}/token",service="mock",scope="repository:team/pier:pull""#
        );
        Some(Answer::new(401, "").with("www-authenticate", challenge))
    });
    let client = client(&mock, |options| options.credentials = Some(password()));
    assert!(read(&client, &of).unwrap() == bytes);
    assert_eq!(valid.load(Ordering::SeqCst), 2);
    let asked = mock.asked();
    let last = asked.iter().rfind(|asked| asked.is_get_blob()).unwrap();
    assert_eq!(last.header("range"), Some("bytes=30000-99999"));
}

/// A login asks for a refresh token, and what it gets stands for the password from then on.
#[test]
fn a_refresh_token_in_place_of_the_password() {
    let mock = Mock::new();
    let bytes = format!(r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}"}}"#);
    mock.put_manifest(REPOSITORY, "1", MANIFEST, bytes.as_bytes());
    let address = mock.address.clone();
    let asked_for = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked_for);
    mock.fault(move |asked, _| {
        if asked.path.starts_with("/token") {
            let form = String::from_utf8_lossy(&asked.body).into_owned();
            seen.lock()
                .unwrap()
                .push((asked.method.clone(), asked.path.clone(), form.clone()));
            let offline = asked.path.contains("offline_token=true");
            let refreshed = form.contains("grant_type=refresh_token") && form.contains("refresh_token=R1");
            return Some(match (offline, refreshed) {
                (true, _) => Answer::new(200, r#"{"token":"good","refresh_token":"R1"}"#),
                (_, true) => Answer::new(200, r#"{"access_token":"good"}"#),
                _ => Answer::new(401, ""),
            });
        }
        let challenge = format!("Bearer realm=\"http://{address}/token\",service=\"mock\"");
        (asked.header("authorization") != Some("Bearer good"))
            .then(|| Answer::new(401, "").with("www-authenticate", challenge))
    });
    let login = client(&mock, |options| {
        options.credentials = Some(Credentials::Password {
            username: "user".to_owned(),
            password: "secret".to_owned(),
        });
        options.offline = true;
    });
    login.registry.ping().unwrap();
    let token = login.registry.refresh_token();
    assert_eq!(token.as_deref(), Some("R1"));
    let later = client(&mock, |options| {
        options.credentials = token.map(Credentials::IdentityToken);
    });
    manifest(&later, "1").unwrap();
    let asked_for = asked_for.lock().unwrap();
    assert_eq!(
        (asked_for.len(), asked_for[1].0.as_str()),
        (2, "POST"),
        "{asked_for:?}"
    );
}
