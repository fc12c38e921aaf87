//! The images of the bench: Debian with nginx, Python and psycopg2 by mmdebstrap, as one
//! layer and as several, in gzip and zstd, in a registry of the bench's own.

use super::super::peers::{Daemon, output, pause};
use crate::workspace;
use serde_json::{Value, json};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Numbers of layers.
pub(crate) const LAYERS: [usize; 3] = [1, 5, 30];
/// Compressions.
pub(crate) const FORMS: [&str; 2] = ["gzip", "zstd"];

/// An image in the registry.
pub(crate) struct BenchImage {
    /// `gzip, 5 layers`.
    pub(crate) label: String,
    /// Name in the registry, without the host.
    pub(crate) repository: String,
    pub(crate) form: &'static str,
    /// Digests of its layers, the lowest first.
    pub(crate) layers: Vec<String>,
    /// Bytes of all blobs of layers.
    pub(crate) compressed: u64,
}

/// What is there before the first round.
pub(crate) struct Corpus {
    pub(crate) images: Vec<BenchImage>,
    pub(crate) host: String,
    /// The tree of the image.
    pub(crate) root: PathBuf,
    /// Bytes of the archive without compression.
    pub(crate) plain: u64,
    _registry: Daemon,
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn io(error: std::io::Error) -> String {
    error.to_string()
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The archive of the tree, made once and kept below `target`: it needs Debian's mirror.
fn root_archive() -> Result<PathBuf, String> {
    let directory = workspace::root().join("target/bench-images");
    let archive = directory.join("root.tar");
    if !archive.exists() {
        fs::create_dir_all(&directory).map_err(io)?;
        let beside = directory.join("new.tar");
        let include = "--include=nginx,python3,python3-psycopg2";
        println!("+ mmdebstrap {include}");
        output(Command::new("mmdebstrap").args(["--variant=minbase", include, "bookworm", &text(&beside)]))?;
        fs::rename(&beside, &archive).map_err(io)?;
    }
    Ok(archive)
}

pub(crate) fn prepare(work: &Path) -> Result<Corpus, String> {
    let archive = root_archive()?;
    let root = work.join("root");
    fs::create_dir(&root).map_err(io)?;
    output(Command::new("tar").args(["--numeric-owner", "-C", &text(&root), "-xpf", &text(&archive)]))?;
    let (host, registry) = start_registry(work)?;
    let entries = list(&root)?;
    let mut images = Vec::new();
    for form in FORMS {
        for count in LAYERS {
            images.push(make_image(work, &root, &entries, (form, count), &host)?);
        }
    }
    Ok(Corpus {
        images,
        host,
        root,
        plain: fs::metadata(&archive).map_err(io)?.len(),
        _registry: registry,
    })
}

/// Debian's registry on a free port.
pub(crate) fn start_registry(work: &Path) -> Result<(String, Daemon), String> {
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|free| free.local_addr())
        .map_err(io)?
        .port();
    let host = format!("127.0.0.1:{port}");
    let config = work.join("registry.yml");
    let settings = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: {host}}}\n",
        work.join("registry").display()
    );
    fs::write(&config, settings).map_err(io)?;
    let process = Command::new("docker-registry")
        .arg("serve")
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("docker-registry: {error}"))?;
    let daemon = Daemon(process);
    if !(0..100).any(|_| TcpStream::connect(&host).is_ok() || pause()) {
        return Err("docker-registry did not answer within ten seconds".to_owned());
    }
    Ok((host, daemon))
}

/// All names below a tree with their sizes, in the order of directories.
fn list(root: &Path) -> Result<Vec<(String, u64)>, String> {
    let listed =
        output(
            Command::new("find")
                .arg(root)
                .args(["-mindepth", "1", "-printf", "%P\\t%y\\t%s\\n"]),
        )?;
    let mut entries: Vec<(String, u64)> = listed
        .lines()
        .filter_map(|line| {
            let mut fields = line.split('\t');
            let (name, kind, size) = (fields.next()?, fields.next()?, fields.next()?);
            let size = if kind == "f" { size.parse().ok()? } else { 0 };
            Some((name.to_owned(), size))
        })
        .collect();
    entries.sort();
    Ok(entries)
}

/// Puts a file into a layout; its descriptor.
fn add_blob(layout: &Path, file: &Path, media_type: &str) -> Result<Value, String> {
    let sum = output(Command::new("sha256sum").arg(file))?;
    let hex = sum.split_whitespace().next().unwrap_or("").to_owned();
    let size = fs::metadata(file).map_err(io)?.len();
    fs::rename(file, layout.join("blobs/sha256").join(&hex)).map_err(io)?;
    Ok(json!({ "mediaType": media_type, "digest": format!("sha256:{hex}"), "size": size }))
}

fn add_document(layout: &Path, media_type: &str, document: &Value) -> Result<Value, String> {
    let file = layout.join("document");
    fs::write(&file, document.to_string()).map_err(io)?;
    add_blob(layout, &file, media_type)
}

/// A layer of some of the entries; its descriptor and its diff_id.
fn add_layer(
    layout: &Path,
    root: &Path,
    entries: &[(String, u64)],
    form: &str,
) -> Result<(Value, String), String> {
    let (list, archive) = (layout.join("list"), layout.join("layer.tar"));
    let names: String = entries.iter().map(|(name, _)| format!("{name}\0")).collect();
    fs::write(&list, names).map_err(io)?;
    let words = [
        "--numeric-owner",
        "--no-recursion",
        "--null",
        "-C",
        &text(root),
        "-cf",
        &text(&archive),
        "-T",
        &text(&list),
    ];
    output(Command::new("tar").args(words))?;
    let sum = output(Command::new("sha256sum").arg(&archive))?;
    let diff_id = format!("sha256:{}", sum.split_whitespace().next().unwrap_or(""));
    let media_type = format!("application/vnd.oci.image.layer.v1.tar+{form}");
    let (command, ending) = match form {
        "zstd" => (["zstd", "-q", "--rm", "-3"], "zst"),
        _ => (["gzip", "-n", "-f", "-6"], "gz"),
    };
    output(Command::new(command[0]).args(&command[1..]).arg(&archive))?;
    let descriptor = add_blob(
        layout,
        &archive.with_extension(format!("tar.{ending}")),
        &media_type,
    )?;
    Ok((descriptor, diff_id))
}

fn make_image(
    work: &Path,
    root: &Path,
    entries: &[(String, u64)],
    (form, count): (&'static str, usize),
    host: &str,
) -> Result<BenchImage, String> {
    let layout = work.join(format!("layout-{form}-{count}"));
    fs::create_dir_all(layout.join("blobs/sha256")).map_err(io)?;
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).map_err(io)?;
    let total: u64 = entries.iter().map(|(_, size)| size + 512).sum();
    let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
    let (mut start, mut sum) = (0, 0);
    for index in 0..count {
        let share = total * (index as u64 + 1) / count as u64;
        let mut end = start;
        while end < entries.len() && (sum < share || index + 1 == count) {
            sum += entries.get(end).map_or(0, |(_, size)| size + 512);
            end += 1;
        }
        let (descriptor, diff_id) = add_layer(&layout, root, entries.get(start..end).unwrap_or(&[]), form)?;
        layers.push(descriptor);
        diff_ids.push(diff_id);
        start = end;
    }
    let config = json!({
        "architecture": if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" }, "os": "linux",
        "config": { "Cmd": ["/bin/true"], "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"] },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = add_document(&layout, "application/vnd.oci.image.config.v1+json", &config)?;
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers });
    let mut manifest = add_document(&layout, media_type, &manifest)?;
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "1" });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(layout.join("index.json"), index.to_string()).map_err(io)?;
    let repository = format!("bench-{form}-{count}");
    let (from, to) = (
        format!("oci:{}:1", layout.display()),
        format!("docker://{host}/{repository}:1"),
    );
    // Without --preserve-digests skopeo would mount the gzip layers, which have the same
    // content and are in the registry already, in place of those in zstd.
    output(Command::new("skopeo").args([
        "copy",
        "-q",
        "--preserve-digests",
        "--dest-tls-verify=false",
        &from,
        &to,
    ]))?;
    let plural = if count == 1 { "" } else { "s" };
    Ok(BenchImage {
        label: format!("{form}, {count} layer{plural}"),
        repository,
        form,
        compressed: layers.iter().filter_map(|layer| layer["size"].as_u64()).sum(),
        layers: layers
            .iter()
            .filter_map(|layer| layer["digest"].as_str().map(str::to_owned))
            .collect(),
    })
}

/// A layout of so many images that differ in their configuration only.
pub(crate) fn many_images(work: &Path, count: usize) -> Result<PathBuf, String> {
    let layout = work.join("layout-many");
    let root = work.join("empty");
    fs::create_dir_all(layout.join("blobs/sha256")).map_err(io)?;
    fs::create_dir_all(&root).map_err(io)?;
    fs::write(root.join("file"), "x").map_err(io)?;
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).map_err(io)?;
    let (layer, diff_id) = add_layer(&layout, &root, &[("file".to_owned(), 1)], "gzip")?;
    let mut manifests = Vec::new();
    for number in 0..count {
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": { "Labels": { "number": number.to_string() } },
            "rootfs": { "type": "layers", "diff_ids": [diff_id] },
        });
        let config = add_document(&layout, "application/vnd.oci.image.config.v1+json", &config)?;
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [layer] });
        let mut manifest = add_document(&layout, media_type, &manifest)?;
        let name = format!("bench.example/many/image{number}:1");
        manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        manifests.push(manifest);
    }
    let index = json!({ "schemaVersion": 2, "manifests": manifests });
    fs::write(layout.join("index.json"), index.to_string()).map_err(io)?;
    Ok(layout)
}
