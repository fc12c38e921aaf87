//! Archives of Docker's, made here as Docker makes them, and hostile ones.

use super::*;

struct Docker {
    layers: Vec<Vec<u8>>,
    config: Vec<u8>,
}

impl Docker {
    fn new() -> Self {
        let layers: Vec<_> = (0..2)
            .map(|number| tar_of(&[(b'0', "file", &[number])]))
            .collect();
        let config = config_of(&[&layers[0], &layers[1], &layers[0]]);
        Self { layers, config }
    }

    fn config_name(&self) -> String {
        format!("{}.json", Digest::of(&self.config).hex())
    }

    /// As Docker 20.10 saves: a directory for each layer, and a link for a layer that is
    /// there again.
    fn legacy(&self, layers: &[&[u8]]) -> Vec<u8> {
        let name = self.config_name();
        let manifest = format!(
            r#"[{{"Config":"{name}","RepoTags":["a:1","b:2"],"Layers":["aa/layer.tar","bb/layer.tar","cc/layer.tar"]}}]"#
        );
        tar_of(&[
            (b'5', "aa/", b""),
            (b'0', "aa/VERSION", b"1.0"),
            (b'0', "aa/json", b"{}"),
            (b'0', "aa/layer.tar", layers[0]),
            (b'0', "bb/layer.tar", layers[1]),
            (b'2', "cc/layer.tar", b"../aa/layer.tar"),
            (b'0', &name, &self.config),
            (b'0', "manifest.json", manifest.as_bytes()),
            (b'0', "repositories", br#"{"a":{"1":"cc"}}"#),
        ])
    }
}

#[test]
fn the_legacy_layout_is_read() {
    let scratch = Scratch::new();
    let docker = Docker::new();
    let plain: Vec<&[u8]> = docker.layers.iter().map(Vec::as_slice).collect();
    let zipped = gzip(&docker.layers[1]);
    for (archive, media_type) in [
        (docker.legacy(&plain), MediaType::DOCKER_LAYER),
        (gzip(&docker.legacy(&plain)), MediaType::DOCKER_LAYER),
        (
            docker.legacy(&[&docker.layers[0], &zipped]),
            MediaType::DOCKER_LAYER_GZIP,
        ),
    ] {
        let source = scratch.open(&archive).unwrap();
        let entries = source.manifests().unwrap();
        assert_eq!(entries[0].names, ["a:1", "b:2"]);
        let image = image_of(source.as_ref(), &entries[0].target);
        assert_eq!(image.config.digest, Digest::of(&docker.config));
        assert_eq!(image.layers[1].media_type, media_type);
        assert_eq!(image.layers[0], image.layers[2]);
        let store = ContentStore::open(&scratch.0.join(unique("store"))).unwrap();
        let lease = store.lease().unwrap();
        let mut sink = StoreSink::new(&store, &lease, None);
        copy(source.as_ref(), &mut sink, &entries[0]).unwrap();
        sink.finish().unwrap();
        assert_eq!(store.read_blob(&image.config.digest).unwrap(), docker.config);
        assert_eq!(store.resolve("b:2").unwrap().diff_ids.len(), 3);
        assert_eq!(store.check(false, &[]).unwrap(), []);
    }
    // Layers that are not what the configuration says.
    let swapped = docker.legacy(&[plain[1], plain[0]]);
    let source = scratch.open(&swapped).unwrap();
    let entries = source.manifests().unwrap();
    assert!(copy(source.as_ref(), &mut OciArchiveSink::new(Vec::new()), &entries[0]).is_err());
}

/// As Docker 25 and later save: a layout and a `manifest.json` in one; the names in full and
/// as tags, sources of layers, directories, times.
#[test]
fn the_layout_of_docker_25_is_read() {
    let scratch = Scratch::new();
    let docker = Docker::new();
    let blob = |bytes: &[u8]| format!("blobs/sha256/{}", Digest::of(bytes).hex());
    let of =
        |media_type: &str, bytes: &[u8]| Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64);
    let layers = [0, 1, 0].map(|number: usize| of(MediaType::LAYER, &docker.layers[number]));
    let manifest = cais_json::json!({"schemaVersion": 2, "mediaType": MediaType::MANIFEST,
        "config": of(MediaType::CONFIG, &docker.config), "layers": layers});
    let manifest = cais_json::to_vec(&manifest).unwrap();
    let with = |name: &str, tag: &str| {
        let mut target = of(MediaType::MANIFEST, &manifest);
        target
            .annotations
            .insert("io.containerd.image.name".to_owned(), name.to_owned());
        target
            .annotations
            .insert("org.opencontainers.image.ref.name".to_owned(), tag.to_owned());
        target
    };
    let index = cais_json::json!({"schemaVersion": 2, "mediaType": MediaType::INDEX,
        "manifests": [with("docker.io/library/a:1", "1"), with("docker.io/library/b:2", "2")]});
    let index = cais_json::to_vec(&index).unwrap();
    let names = [0, 1, 0].map(|number: usize| blob(&docker.layers[number]));
    let items = cais_json::json!([{"Config": blob(&docker.config), "RepoTags": ["a:1", "b:2"], "Layers": names,
        "LayerSources": {(Digest::of(&docker.layers[0]).as_str()): layers[0]}}]);
    let items = cais_json::to_vec(&items).unwrap();
    let bytes = tar_of(&[
        (b'5', "blobs/", b""),
        (b'5', "blobs/sha256/", b""),
        (b'0', &blob(&docker.layers[0]), &docker.layers[0]),
        (b'0', &blob(&docker.layers[1]), &docker.layers[1]),
        (b'0', &blob(&docker.config), &docker.config),
        (b'0', &blob(&manifest), &manifest),
        (b'0', "index.json", &index),
        (b'0', "manifest.json", &items),
        (b'0', "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#),
        (b'0', "repositories", br#"{"a":{"1":"00"}}"#),
    ]);
    let source = scratch.open(&bytes).unwrap();
    let entries = source.manifests().unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(
        entries[0].names,
        ["docker.io/library/a:1", "docker.io/library/b:2"]
    );
    assert_eq!(entries[0].target, of(MediaType::MANIFEST, &manifest));
    let copied = copy(source.as_ref(), &mut OciArchiveSink::new(Vec::new()), &entries[0]).unwrap();
    assert_eq!(copied.written.len(), 4);
    // What only heeds manifest.json finds the same.
    let archive = Archive::open(scratch.file(&bytes), &scratch.spool()).unwrap();
    let legacy = DockerArchive::open(archive).unwrap();
    let entries = legacy.manifests().unwrap();
    assert_eq!(
        image_of(&legacy, &entries[0].target).config.digest,
        Digest::of(&docker.config)
    );
}

#[test]
fn names_in_archives_are_no_paths() {
    let scratch = Scratch::new();
    let docker = Docker::new();
    let name = docker.config_name();
    for (config, layer, message) in [
        (
            "/etc/passwd",
            "aa/layer.tar",
            "\"/etc/passwd\" is not in the archive",
        ),
        ("../../../etc/passwd", "aa/layer.tar", "is not in the archive"),
        (
            name.as_str(),
            "/etc/hostname",
            "\"/etc/hostname\" is not in the archive",
        ),
        (&name, "loop", "\"loop\" is not in the archive"),
        (&name, "out", "\"out\" is not in the archive"),
        (&name, "aa", "\"aa\" is not in the archive"),
        (&name, "aa/layer.tar", "3 diff_ids and the manifest 1 layers"),
        ("manifest.json", "aa/layer.tar", "manifest.json"),
    ] {
        let manifest = format!(r#"[{{"Config":"{config}","RepoTags":null,"Layers":["{layer}"]}}]"#);
        let archive = tar_of(&[
            (b'5', "aa/", b""),
            (b'0', "aa/layer.tar", &docker.layers[0]),
            (b'2', "loop", b"loop"),
            (b'2', "out", b"/etc/passwd"),
            (b'0', &name, &docker.config),
            (b'0', "manifest.json", manifest.as_bytes()),
        ]);
        let error = scratch.refusal(&archive);
        assert!(error.contains(message), "{config} {layer}: {error}");
    }
}

#[test]
fn hostile_archives_are_refused() {
    let scratch = Scratch::new();
    let long = vec![b'x'; 5000];
    let layout = (
        b'0',
        "oci-layout",
        br#"{"imageLayoutVersion":"1.0.0"}"#.as_slice(),
    );
    let index = br#"{"schemaVersion":2,"manifests":[]}"#.as_slice();
    let big = vec![b' '; 9 << 20];
    let good = tar_of(&[layout, (b'0', "index.json", index)]);
    scratch.open(&good).unwrap();
    let mut bad_sum = good.clone();
    bad_sum[10] ^= 1;
    let mut huge = tar_of(&[(b'0', "x", b"")]);
    let mut header = tar::Header::from_byte_slice(&huge[..512]).clone();
    header.set_size(u64::MAX - 100);
    header.set_cksum();
    huge[..512].copy_from_slice(header.as_bytes());
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"".to_vec(), "neither"),
        (b"hello".to_vec(), "in the middle"),
        (vec![b'x'; 512], "checksum"),
        (good[..512 * 2 + 100].to_vec(), "in the middle"),
        (good[..512 * 3 + 10].to_vec(), "ends before"),
        (bad_sum, "checksum"),
        (huge, "ends before"),
        (tar_of(&[(b'L', "././@LongLink", &long)]), "too long"),
        (tar_of(&[(b'x', "pax", b"12 path=x")]), "PAX"),
        (tar_of(&[(b'x', "pax", b"99999999999999999999 path=x\n")]), "PAX"),
        (tar_of(&[(b'x', "pax", b"0 path=x\n")]), "PAX"),
        (tar_of(&[(b'x', "pax", b"13 size=-100\n"), layout]), "PAX"),
        (
            tar_of(&[(b'x', "pax", b"22 GNU.sparse.major=1\n"), layout]),
            "holes",
        ),
        (tar_of(&[(b'S', "sparse", b"")]), "holes"),
        (tar_of(&[layout, layout]), "twice"),
        (
            tar_of(&[layout, (b'0', "./index.json", index), (b'0', "index.json", index)]),
            "twice",
        ),
        (tar_of(&[layout, (b'0', "index.json", &big)]), "more than"),
        (tar_of(&[(b'0', "manifest.json", &big)]), "more than"),
        (tar_of(&[(b'0', "manifest.json", b"{}")]), "manifest.json"),
        (tar_of(&[(b'0', "repositories", b"{}")]), "before 1.10"),
        (tar_of(&[layout, (b'0', "index.json", b"[]")]), "index.json"),
        (
            tar_of(&[(b'0', "oci-layout", b"{}"), (b'0', "index.json", index)]),
            "imageLayoutVersion",
        ),
    ];
    for (number, (bytes, message)) in cases.iter().enumerate() {
        let error = scratch.refusal(bytes);
        assert!(error.contains(message), "{number}: {error}");
    }
    // A bomb.
    let mut spool = scratch.spool();
    spool.limit = 1 << 20;
    let bomb = gzip(&vec![0; 8 << 20]);
    let error = open_archive(scratch.file(&bomb), &spool).map(|_| ()).unwrap_err();
    assert!(matches!(error, FormatError::TooBig { .. }));
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 0, "nothing is left");
}

/// CVE-2025-62518: a PAX size is that of the entry, and not of a header between.
#[test]
fn pax_sizes_do_not_make_it_lose_its_place() {
    let scratch = Scratch::new();
    let content = vec![b'a'; 1024];
    let mut inner = tar_of(&[(b'0', "hidden", b"x")]);
    inner.truncate(1024);
    let long_name = "n".repeat(200);
    let bytes = tar_of(&[
        (b'x', "pax", b"13 size=1024\n"),
        (b'L', "././@LongLink", long_name.as_bytes()),
        (b'0', "short", &content),
        (b'x', "pax", b"13 size=1024\n"),
        (b'0', "holder", &inner),
        (b'0', "after", b"y"),
    ]);
    // The sizes in the headers of the two files say zero.
    let mut lying = bytes.clone();
    for place in [2048, 4608] {
        let mut header = tar::Header::from_byte_slice(&lying[place..place + 512]).clone();
        assert_eq!(header.entry_size().unwrap(), 1024, "{place}");
        header.set_size(0);
        header.set_cksum();
        lying[place..place + 512].copy_from_slice(header.as_bytes());
    }
    for bytes in [bytes, lying] {
        let archive = Archive::open(scratch.file(&bytes), &scratch.spool()).unwrap();
        assert_eq!(archive.size(&long_name), Some(1024));
        assert_eq!(archive.size("holder"), Some(1024));
        assert_eq!(archive.size("after"), Some(1));
        assert!(!archive.has("hidden") && !archive.has("short"));
    }
}

#[test]
fn pipes_are_read() {
    let scratch = Scratch::new();
    let docker = Docker::new();
    let bytes = docker.legacy(&[&docker.layers[0], &docker.layers[1]]);
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let writing = std::thread::spawn(move || File::from(writer).write_all(&bytes));
    let source = open_archive(File::from(reader), &scratch.spool()).unwrap();
    writing.join().unwrap().unwrap();
    assert_eq!(source.manifests().unwrap().len(), 1);
}

/// Needs skopeo: `cargo test -p cais-image -- --ignored`.
#[test]
#[ignore = "needs skopeo"]
fn skopeo_reads_and_writes_the_same() {
    let scratch = Scratch::new();
    let memory = Memory::new(&["docker.io/library/a:1"]);
    let skopeo = |from: String, to: String| {
        let mut command = std::process::Command::new("skopeo");
        let output = command
            .args(["--insecure-policy", "copy", &from, &to])
            .output()
            .unwrap();
        assert!(output.status.success(), "{from} {to}: {output:?}");
    };
    let at = |name: &str| scratch.0.join(name).display().to_string();
    // Ours, read by skopeo; what skopeo makes of it, read by us.
    let mut docker = DockerArchiveSink::new(File::create(at("docker.tar")).unwrap(), scratch.spool());
    copy(&memory, &mut docker, &memory.entry).unwrap();
    docker.finish().unwrap();
    let mut oci = OciArchiveSink::new(File::create(at("oci.tar")).unwrap());
    copy(&memory, &mut oci, &memory.entry).unwrap();
    oci.finish().unwrap();
    let mut directory = OciDirectorySink::open(&scratch.0.join("oci")).unwrap();
    copy(&memory, &mut directory, &memory.entry).unwrap();
    directory.finish().unwrap();
    let from = [
        format!("docker-archive:{}", at("docker.tar")),
        format!("oci-archive:{}:docker.io/library/a:1", at("oci.tar")),
        format!("oci:{}:docker.io/library/a:1", at("oci")),
    ];
    for (number, from) in from.iter().enumerate() {
        for to in ["docker-archive", "oci-archive", "oci"] {
            if number > 0 && to == "docker-archive" {
                // skopeo cannot do that with a zstd layer.
                continue;
            }
            let path = at(&format!("{to}-{number}"));
            skopeo(from.clone(), format!("{to}:{path}:docker.io/library/a:1"));
            let source = open_path(path.as_ref(), &scratch.spool()).unwrap();
            let entries = source.manifests().unwrap();
            assert_eq!(entries[0].names, ["docker.io/library/a:1"], "{from} {to}");
            let image = image_of(source.as_ref(), &entries[0].target);
            let config = read_document(source.as_ref(), &image.config).unwrap();
            let config = crate::manifest::parse_config(&config).unwrap();
            let ours = image_of(&memory, &memory.entry.target);
            let ours = crate::manifest::parse_config(&read_document(&memory, &ours.config).unwrap()).unwrap();
            assert_eq!(config.rootfs, ours.rootfs, "{from} {to}");
            copy(source.as_ref(), &mut OciArchiveSink::new(Vec::new()), &entries[0]).unwrap();
        }
    }
}
