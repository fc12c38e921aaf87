//! A registry in memory that makes the mistakes that a test asks for: a server of HTTP/1.1
//! over the standard library, one thread for each connection.

use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Whether it is about the contents of a blob.
    pub(crate) fn is_get_blob(&self) -> bool {
        self.method == "GET" && self.path.contains("/blobs/sha256:")
    }
}

/// What is answered.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// What Content-Length says, where it lies.
    pub(crate) length: Option<usize>,
    /// After so many bytes of the body the connection is closed.
    pub(crate) cut: Option<usize>,
    /// The body is sent in pieces of this size, each as a packet of its own.
    pub(crate) drip: Option<usize>,
    /// After so many bytes nothing more comes, and the connection stays open.
    pub(crate) stall: Option<usize>,
}

impl Answer {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            body: body.into(),
            ..Self::default()
        }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// Looks at a request before the registry does: `None` lets it through. `count` is how many
/// requests with this method and path there were before.
pub(crate) type Fault = dyn Fn(&Asked, usize) -> Option<Answer> + Send + Sync;

#[derive(Default)]
struct State {
    blobs: Mutex<HashMap<String, Vec<u8>>>,
    /// By name: media type and bytes.
    manifests: Mutex<HashMap<String, (String, Vec<u8>)>>,
    uploads: Mutex<HashMap<usize, Vec<u8>>>,
    log: Mutex<Vec<Asked>>,
    counts: Mutex<HashMap<String, usize>>,
    stop: AtomicBool,
}

/// The registry. It ends with the test.
pub(crate) struct Mock {
    pub(crate) address: String,
    state: Arc<State>,
    fault: Arc<Mutex<Arc<Fault>>>,
    acceptor: Option<JoinHandle<()>>,
}

impl Mock {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(State::default());
        let nothing: Arc<Fault> = Arc::new(|_, _| None);
        let fault = Arc::new(Mutex::new(nothing));
        let acceptor = {
            let (state, fault) = (Arc::clone(&state), Arc::clone(&fault));
            std::thread::spawn(move || {
                for connection in listener.incoming().flatten() {
                    if state.stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let (state, fault) = (Arc::clone(&state), Arc::clone(&fault));
                    // What goes wrong with a connection is the client's to notice.
                    std::thread::spawn(move || serve(&connection, &state, &fault).unwrap_or_default());
                }
            })
        };
        Self {
            address,
            state,
            fault,
            acceptor: Some(acceptor),
        }
    }

    /// From now on this fault.
    pub(crate) fn fault(&self, fault: impl Fn(&Asked, usize) -> Option<Answer> + Send + Sync + 'static) {
        *self.fault.lock().unwrap() = Arc::new(fault);
        self.state.counts.lock().unwrap().clear();
        self.state.log.lock().unwrap().clear();
    }

    /// No fault any more.
    pub(crate) fn heal(&self) {
        self.fault(|_, _| None);
    }

    /// All requests since the last fault was set.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state.log.lock().unwrap().clone()
    }

    pub(crate) fn put_blob(&self, bytes: &[u8]) -> String {
        let digest = digest(bytes);
        self.state
            .blobs
            .lock()
            .unwrap()
            .insert(digest.clone(), bytes.to_vec());
        digest
    }

    pub(crate) fn blob(&self, digest: &str) -> Option<Vec<u8>> {
        self.state.blobs.lock().unwrap().get(digest).cloned()
    }

    /// A manifest by its tag and by its digest, in a repository.
    pub(crate) fn put_manifest(&self, repository: &str, tag: &str, media_type: &str, bytes: &[u8]) -> String {
        let digest = digest(bytes);
        let mut manifests = self.state.manifests.lock().unwrap();
        for name in [tag, &digest] {
            manifests.insert(
                format!("{repository}/{name}"),
                (media_type.to_owned(), bytes.to_vec()),
            );
        }
        digest
    }

    /// An image of these layers, which are archives in gzip with their diff_ids; the digests
    /// of the manifest and the configuration.
    pub(crate) fn put_image(&self, repository: &str, tag: &str, layers: &[Layer]) -> (String, String) {
        self.put_image_for(repository, tag, layers, &json!({ "Cmd": ["true"] }))
    }

    /// The same with what its configuration says of containers.
    pub(crate) fn put_image_for(
        &self,
        repository: &str,
        tag: &str,
        layers: &[Layer],
        container: &Value,
    ) -> (String, String) {
        let diff_ids: Vec<&String> = layers.iter().map(|layer| &layer.diff_id).collect();
        let config = json!({
            "architecture": if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" }, "os": "linux",
            "config": container, "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = config.to_string().into_bytes();
        let descriptors: Vec<Value> = layers
            .iter()
            .map(|layer| {
                let media_type = "application/vnd.oci.image.layer.v1.tar+gzip";
                json!({ "mediaType": media_type, "digest": self.put_blob(&layer.blob), "size": layer.blob.len() })
            })
            .collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": self.put_blob(&config), "size": config.len(),
            },
            "layers": descriptors,
        });
        let manifest = manifest.to_string().into_bytes();
        (
            self.put_manifest(repository, tag, MANIFEST, &manifest),
            digest(&config),
        )
    }
}

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

impl Drop for Mock {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        // So that it looks.
        drop(TcpStream::connect(&self.address));
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.join().unwrap_or_default();
        }
    }
}

/// A layer in gzip.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    pub(crate) blob: Vec<u8>,
    pub(crate) diff_id: String,
}

impl Layer {
    /// Of an archive.
    pub(crate) fn new(archive: &[u8]) -> Self {
        Self {
            blob: filter("gzip", &["-n", "-1"], archive),
            diff_id: digest(archive),
        }
    }

    /// With one file of so many bytes that cannot be compressed.
    pub(crate) fn random(name: &str, size: usize) -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ size as u64 ^ (name.len() as u64) << 40;
        let bytes = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        });
        Self::new(&archive(&[(name, b'0', &bytes.take(size).collect::<Vec<u8>>())]))
    }
}

/// An archive of entries: name, type, contents or what a link points to.
pub(crate) fn archive(entries: &[(&str, u8, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, kind, contents) in entries {
        let size = if matches!(kind, b'0') { contents.len() } else { 0 };
        let mut header = [0u8; 512];
        let mut put = |place: usize, bytes: &[u8]| header[place..place + bytes.len()].copy_from_slice(bytes);
        put(0, name.as_bytes());
        put(100, if *kind == b'5' { b"0000755" } else { b"0000644" });
        put(108, b"0000000");
        put(116, b"0000000");
        put(124, format!("{size:011o}").as_bytes());
        put(136, b"00000000001");
        put(148, b"        ");
        put(156, &[*kind]);
        if matches!(kind, b'1' | b'2') {
            put(157, contents);
        }
        put(257, b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend_from_slice(&header);
        if size > 0 {
            archive.extend_from_slice(contents);
            archive.resize(archive.len().next_multiple_of(512), 0);
        }
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

/// What a program makes of its input.
pub(crate) fn filter(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).unwrap());
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{program}");
    output.stdout
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    cais_image::Digest::of(bytes).to_string()
}

fn serve(connection: &TcpStream, state: &State, fault: &Mutex<Arc<Fault>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    while let Some(asked) = read_request(&mut reader)? {
        let count = {
            let mut counts = state.counts.lock().unwrap();
            let count = counts
                .entry(format!("{} {}", asked.method, asked.path))
                .or_default();
            *count += 1;
            *count - 1
        };
        state.log.lock().unwrap().push(asked.clone());
        let fault = Arc::clone(&fault.lock().unwrap());
        let answer = fault(&asked, count).unwrap_or_else(|| state.answer(&asked));
        if !write_answer(connection, &asked, &answer, state)? {
            return Ok(());
        }
    }
    Ok(())
}

fn read_request(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<Asked>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ').map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Ok(None);
    };
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut asked = Asked {
        method,
        path,
        headers,
        body: Vec::new(),
    };
    let length = asked
        .header("content-length")
        .and_then(|value| value.parse().ok());
    asked.body.resize(length.unwrap_or(0), 0);
    reader.read_exact(&mut asked.body)?;
    Ok(Some(asked))
}

/// Whether the connection goes on.
fn write_answer(
    mut connection: &TcpStream,
    asked: &Asked,
    answer: &Answer,
    state: &State,
) -> std::io::Result<bool> {
    let mut head = format!("HTTP/1.1 {} Whatever\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let has_length = answer.headers.iter().any(|(name, _)| name == "content-length");
    if answer.status != 204 && !has_length {
        let length = answer.length.unwrap_or(answer.body.len());
        head.push_str(&format!("content-length: {length}\r\n"));
    }
    head.push_str("\r\n");
    connection.write_all(head.as_bytes())?;
    if asked.method == "HEAD" || answer.status == 204 {
        return Ok(true);
    }
    if let Some(length) = answer.stall {
        connection.write_all(answer.body.get(..length).unwrap_or_default())?;
        // Until the client goes, or the test ends.
        let mut byte = [0];
        connection.set_read_timeout(Some(std::time::Duration::from_millis(50)))?;
        loop {
            let is_gone = matches!(connection.read(&mut byte), Ok(0));
            if is_gone || state.stop.load(Ordering::SeqCst) {
                return Ok(false);
            }
        }
    }
    let whole = answer
        .body
        .get(..answer.cut.unwrap_or(usize::MAX).min(answer.body.len()));
    let whole = whole.unwrap_or_default();
    connection.set_nodelay(true)?;
    for piece in whole.chunks(answer.drip.unwrap_or(usize::MAX)) {
        connection.write_all(piece)?;
    }
    Ok(answer.cut.is_none() && answer.length.is_none())
}

impl State {
    fn answer(&self, asked: &Asked) -> Answer {
        let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
        if path == "/v2/" {
            return Answer::new(200, "{}");
        }
        let Some(rest) = path.strip_prefix("/v2/") else {
            return Answer::new(404, "");
        };
        if let Some((repository, name)) = rest.split_once("/manifests/") {
            return self.manifest(asked, repository, name);
        }
        if let Some((_, upload)) = rest.split_once("/blobs/uploads/") {
            return self.upload(asked, path, upload, query);
        }
        match rest.split_once("/blobs/") {
            Some((_, digest)) => self.serve_blob(asked, digest),
            None => Answer::new(404, ""),
        }
    }

    fn manifest(&self, asked: &Asked, repository: &str, name: &str) -> Answer {
        let key = format!("{repository}/{name}");
        let mut manifests = self.manifests.lock().unwrap();
        if asked.method == "PUT" {
            let media_type = asked.header("content-type").unwrap_or("").to_owned();
            let digest = digest(&asked.body);
            manifests.insert(key, (media_type.clone(), asked.body.clone()));
            manifests.insert(format!("{repository}/{digest}"), (media_type, asked.body.clone()));
            return Answer::new(201, "").with("docker-content-digest", digest);
        }
        match manifests.get(&key) {
            Some((media_type, bytes)) => Answer::new(200, bytes.clone())
                .with("content-type", media_type)
                .with("docker-content-digest", digest(bytes)),
            None => {
                let body =
                    json!({ "errors": [{ "code": "MANIFEST_UNKNOWN", "message": "manifest unknown" }] });
                Answer::new(404, body.to_string())
            }
        }
    }

    fn serve_blob(&self, asked: &Asked, digest: &str) -> Answer {
        let blobs = self.blobs.lock().unwrap();
        let Some(bytes) = blobs.get(digest) else {
            return Answer::new(
                404,
                r#"{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown"}]}"#,
            );
        };
        let range = asked.header("range").and_then(|range| {
            let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
            let last = last.parse().unwrap_or(bytes.len() - 1);
            Some((first.parse::<usize>().ok()?, last))
        });
        match range {
            Some((first, last)) => Answer::new(206, bytes.get(first..=last).unwrap_or_default())
                .with("content-range", format!("bytes {first}-{last}/{}", bytes.len())),
            None => Answer::new(200, bytes.clone()),
        }
    }

    fn upload(&self, asked: &Asked, path: &str, upload: &str, query: &str) -> Answer {
        let mut uploads = self.uploads.lock().unwrap();
        if asked.method == "POST" {
            let number = uploads.len();
            uploads.insert(number, Vec::new());
            // The base of the path is the registry's own to choose.
            let place = path.trim_end_matches('/');
            return Answer::new(202, "").with("location", format!("{place}/{number}"));
        }
        let Some(bytes) = upload.parse().ok().and_then(|number| uploads.get_mut(&number)) else {
            return Answer::new(404, "");
        };
        let range = |bytes: &[u8]| format!("0-{}", bytes.len().saturating_sub(1));
        match asked.method.as_str() {
            "GET" => Answer::new(204, "")
                .with("location", path)
                .with("range", range(bytes)),
            "PATCH" => {
                let first = asked
                    .header("content-range")
                    .and_then(|range| range.split_once('-'));
                let first = first.map_or(0, |(first, _)| first.parse().unwrap_or(0));
                if first != bytes.len() {
                    return Answer::new(416, "").with("range", range(bytes));
                }
                bytes.extend_from_slice(&asked.body);
                Answer::new(202, "")
                    .with("location", path)
                    .with("range", range(bytes))
            }
            _ => {
                bytes.extend_from_slice(&asked.body);
                let wanted = query.split_once("digest=").map_or("", |(_, digest)| digest);
                let wanted = wanted.replace("%3A", ":");
                if digest(bytes) != wanted {
                    return Answer::new(400, r#"{"errors":[{"code":"DIGEST_INVALID","message":"no"}]}"#);
                }
                self.blobs.lock().unwrap().insert(wanted, bytes.clone());
                Answer::new(201, "")
            }
        }
    }
}
