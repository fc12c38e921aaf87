//! `cargo xtask bench images`: pulls, pushes and what else is done with images, with the
//! peers beside cais.
//!
//! Every pull goes to a place of its own and nothing is removed in between: ext4 steps over
//! the inodes of files that were removed a moment ago, which would hit whoever comes next.

mod corpus;
mod report;

use super::peers::{Daemon, output, start_docker};
use super::start::time_command;
use super::stats::Samples;
use crate::{Outcome, workspace};
use corpus::{BenchImage, Corpus};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Rounds of cais and of curl with tar.
const ROUNDS: usize = 5;
/// Rounds of the other peers, which are slow.
const PEER_ROUNDS: usize = 3;
/// Rounds of what takes milliseconds.
const SHORT_ROUNDS: usize = 20;

/// Times by what was done and who did it.
#[derive(Default)]
pub(crate) struct Figures {
    /// Milliseconds.
    pub(crate) times: BTreeMap<(String, &'static str), Samples>,
    /// The most memory of a pull, in KiB, by image.
    pub(crate) peaks: BTreeMap<String, u64>,
    /// Who could not be measured, and why.
    pub(crate) absent: BTreeMap<&'static str, String>,
}

impl Figures {
    fn add(&mut self, what: &str, who: &'static str, took: Result<f64, String>) {
        match took {
            Ok(took) => self.times.entry((what.to_owned(), who)).or_default().push(took),
            Err(reason) => {
                self.absent.entry(who).or_insert(reason);
            }
        }
    }

    pub(crate) fn median(&self, what: &str, who: &'static str) -> f64 {
        self.times
            .get(&(what.to_owned(), who))
            .map_or(f64::NAN, Samples::median)
    }
}

/// The bench's directory and what runs in it; all goes at the end.
struct Bench {
    work: PathBuf,
    cais: String,
    docker: Option<(Vec<String>, Daemon)>,
    places: usize,
}

impl Bench {
    /// A path that was never used.
    fn place(&mut self) -> String {
        self.places += 1;
        self.work
            .join("places")
            .join(self.places.to_string())
            .to_string_lossy()
            .into_owned()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.docker = None;
        for mount in fs::read_to_string("/proc/self/mounts")
            .unwrap_or_default()
            .lines()
            .rev()
        {
            let path = mount.split(' ').nth(1).unwrap_or("");
            if path.starts_with(&*self.work.to_string_lossy()) {
                rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH).unwrap_or_default();
            }
        }
        super::peers::remove_cgroups_of_peers();
        if let Err(error) = fs::remove_dir_all(&self.work) {
            eprintln!("bench: {} stays behind: {error}", self.work.display());
        }
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

pub(crate) fn run(arguments: &[&str]) -> Outcome {
    let rounds = match arguments {
        [] => ROUNDS,
        ["--rounds", count] => count
            .parse()
            .map_err(|_bad| format!("--rounds {count}: not a number"))?,
        _ => return Err("cargo xtask bench images [--rounds N]".to_owned()),
    };
    workspace::ensure_packages(&[
        "mmdebstrap",
        "docker-registry",
        "skopeo",
        "umoci",
        "docker.io",
        "podman",
        "zstd",
        "curl",
    ])?;
    // Another executable than the released one, to try the bench itself.
    let cais = match std::env::var("CAIS_BIN") {
        Ok(path) => path,
        Err(_) => {
            workspace::run("cargo", &["build", "--release", "--locked"], &[])?;
            workspace::built("release")
                .join("cais")
                .to_string_lossy()
                .into_owned()
        }
    };
    let work = PathBuf::from(format!("/var/tmp/cais-bench-{}", std::process::id()));
    fs::create_dir_all(work.join("places")).map_err(|error| error.to_string())?;
    // Each place somewhere else on the disk, for all alike.
    output(Command::new("chattr").args(["+T"]).arg(work.join("places")))
        .map(drop)
        .unwrap_or_default();
    let mut bench = Bench {
        work,
        cais,
        docker: None,
        places: 0,
    };
    let corpus = corpus::prepare(&bench.work)?;
    let mut figures = Figures::default();
    match start_docker(&bench.work) {
        Ok(docker) => bench.docker = Some(docker),
        Err(reason) => {
            figures.absent.insert("docker", reason);
        }
    }
    for round in 0..rounds {
        for image in &corpus.images {
            pull_all(&mut bench, &corpus, image, round, &mut figures);
        }
    }
    push_all(&mut bench, &corpus, &mut figures)?;
    short_ones(&mut bench, &corpus, &mut figures)?;
    report::show(&corpus, &figures)
}

/// Milliseconds of a command with a store of its own.
fn cais_in(bench: &Bench, place: &str, arguments: &[&str]) -> Vec<String> {
    let (data, run) = (format!("CAIS_DATA={place}"), format!("CAIS_RUN={place}-run"));
    let mut command = words(&["env", &data, &run, &bench.cais]);
    command.extend(words(arguments));
    command
}

/// Writes to the disk what others left, so that nobody pays for somebody else.
fn settle() {
    rustix::fs::sync();
}

fn pull_all(bench: &mut Bench, corpus: &Corpus, image: &BenchImage, round: usize, figures: &mut Figures) {
    let name = format!("{}/{}:1", corpus.host, image.repository);
    let what = image.label.as_str();
    let place = bench.place();
    settle();
    let command = cais_in(bench, &place, &["pull", "-q", &name]);
    let took = time_with_peak(&command).map(|(took, peak)| {
        let known = figures.peaks.entry(what.to_owned()).or_default();
        *known = peak.max(*known);
        took
    });
    figures.add(what, "cais", took);
    if image.form == "gzip" && image.layers.len() == 1 {
        first_starts(bench, corpus, &place, &name, figures);
    }
    settle();
    figures.add(what, "curl | tar", curl_and_tar(bench, corpus, image));
    if round >= PEER_ROUNDS {
        return;
    }
    settle();
    figures.add(what, "skopeo + umoci", skopeo_and_umoci(bench, &name));
    if let Some((docker, _)) = &bench.docker {
        let with = |arguments: &[&str]| [&docker[..], &words(arguments)].concat();
        settle();
        // Docker 20.10 does not know zstd: then it is left out for these.
        if image.form == "gzip" {
            figures.add(what, "docker", time_command(&with(&["pull", "-q", &name])));
            time_command(&with(&["rmi", "-f", &name]))
                .map(drop)
                .unwrap_or_default();
        }
    }
    settle();
    let place = bench.place();
    let (root, runroot) = (format!("{place}/root"), format!("{place}/run"));
    let base = [
        "podman",
        "--root",
        &root,
        "--runroot",
        &runroot,
        "--storage-driver",
        "overlay",
    ];
    let pull = [&base[..], &["pull", "-q", "--tls-verify=false", &name]].concat();
    figures.add(what, "podman", time_command(&words(&pull)));
}

/// `curl … | tar x` of each layer after the other, into one tree.
fn curl_and_tar(bench: &mut Bench, corpus: &Corpus, image: &BenchImage) -> Result<f64, String> {
    let place = bench.place();
    let flag = if image.form == "zstd" { "--zstd" } else { "-z" };
    let mut script = format!("set -e; mkdir {place};");
    for digest in &image.layers {
        let url = format!("http://{}/v2/{}/blobs/{digest}", corpus.host, image.repository);
        script.push_str(&format!(" curl -sf {url} | tar -x {flag} -p -C {place};"));
    }
    time_command(&words(&["sh", "-c", &script]))
}

fn skopeo_and_umoci(bench: &mut Bench, name: &str) -> Result<f64, String> {
    let place = bench.place();
    let script = format!(
        "set -e; mkdir {place}; skopeo copy -q --src-tls-verify=false docker://{name} oci:{place}/layout:1; \
         umoci unpack --image {place}/layout:1 {place}/bundle"
    );
    time_command(&words(&["sh", "-c", &script]))
}

/// Milliseconds, and the most memory in KiB (VmHWM, looked at every few milliseconds).
fn time_with_peak(command: &[String]) -> Result<(f64, u64), String> {
    let (program, arguments) = command.split_first().ok_or("no command")?;
    let began = Instant::now();
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{program}: {error}"))?;
    let status = format!("/proc/{}/status", child.id());
    let pause = rustix::time::Timespec {
        tv_sec: 0,
        tv_nsec: 4_000_000,
    };
    let pid = rustix::process::Pid::from_child(&child);
    let handle = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
        .map_err(|errno| format!("pidfd_open: {errno}"))?;
    let mut peak = 0;
    loop {
        let mut fds = [rustix::event::PollFd::new(&handle, rustix::event::PollFlags::IN)];
        let ended = rustix::event::poll(&mut fds, Some(&pause)).map_err(|errno| errno.to_string())?;
        if ended > 0 {
            break;
        }
        peak = peak.max(super::start::field(&status, "VmHWM:"));
    }
    let took = began.elapsed().as_secs_f64() * 1e3;
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok((took, peak));
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(text
        .lines()
        .last()
        .unwrap_or("it failed without a word")
        .to_owned())
}

/// The first start of a container of an image that was just pulled, and one from a
/// directory.
fn first_starts(bench: &Bench, corpus: &Corpus, place: &str, name: &str, figures: &mut Figures) {
    let root = corpus.root.to_string_lossy();
    let flags = ["run", "--rm", "--network", "none"];
    let of_root = [&flags[..], &["--rootfs", &root, "/bin/true"]].concat();
    let of_image = [&flags[..], &[name, "/bin/true"]].concat();
    // The first of all makes directories that both need.
    time_command(&cais_in(bench, place, &of_root))
        .map(drop)
        .unwrap_or_default();
    figures.add(
        "first start",
        "cais",
        time_command(&cais_in(bench, place, &of_image)),
    );
    figures.add(
        "start from --rootfs",
        "cais",
        time_command(&cais_in(bench, place, &of_root)),
    );
    for _ in 0..3 {
        figures.add(
            "further start",
            "cais",
            time_command(&cais_in(bench, place, &of_image)),
        );
        figures.add(
            "start from --rootfs",
            "cais",
            time_command(&cais_in(bench, place, &of_root)),
        );
    }
}

/// Pushes the image of five layers under names that the registry does not have, after the
/// registry has forgotten its blobs: each to a registry of its own would be the same.
fn push_all(bench: &mut Bench, corpus: &Corpus, figures: &mut Figures) -> Outcome {
    let Some(image) = corpus
        .images
        .iter()
        .find(|image| image.form == "gzip" && image.layers.len() == 5)
    else {
        return Ok(());
    };
    let name = format!("{}/{}:1", corpus.host, image.repository);
    let place = bench.place();
    time_command(&cais_in(bench, &place, &["pull", "-q", &name]))?;
    if let Some((docker, _)) = &bench.docker {
        time_command(&[&docker[..], &words(&["pull", "-q", &name])].concat())
            .map(drop)
            .unwrap_or_default();
    }
    for round in 0..PEER_ROUNDS {
        // Layers are in the registry already; another registry has none.
        let directory = bench.work.join(format!("push-{round}"));
        fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
        let (host, registry) = corpus::start_registry(&directory)?;
        for (who, flags) in [
            ("cais, zstd", &["--compression", "zstd"][..]),
            ("cais, gzip", &[]),
        ] {
            let target = format!("{host}/{}-push:1", who.replace(", ", "-"));
            time_command(&cais_in(bench, &place, &["tag", &name, &target]))?;
            settle();
            let push = [&["push", "-q"], flags, &[&target]].concat();
            figures.add("push", who, time_command(&cais_in(bench, &place, &push)));
        }
        drop(registry);
        let directory = bench.work.join(format!("push-docker-{round}"));
        fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
        let (host, _registry) = corpus::start_registry(&directory)?;
        if let Some((docker, _)) = &bench.docker {
            let with = |arguments: &[&str]| [&docker[..], &words(arguments)].concat();
            let target = format!("{host}/docker-push:1");
            time_command(&with(&["tag", &name, &target]))
                .map(drop)
                .unwrap_or_default();
            settle();
            figures.add("push", "docker", time_command(&with(&["push", "-q", &target])));
        }
    }
    Ok(())
}

/// What takes milliseconds: a pull of what is there, lists, a pack.
fn short_ones(bench: &mut Bench, corpus: &Corpus, figures: &mut Figures) -> Outcome {
    let Some(image) = corpus.images.first() else {
        return Ok(());
    };
    let name = format!("{}/{}:1", corpus.host, image.repository);
    let place = bench.place();
    time_command(&cais_in(bench, &place, &["pull", "-q", &name]))?;
    let url = format!("http://{}/v2/{}/manifests/1", corpus.host, image.repository);
    let accept = "Accept: application/vnd.oci.image.manifest.v1+json";
    let curl = words(&["curl", "-sf", "-H", accept, &url]);
    for _ in 0..SHORT_ROUNDS {
        figures.add(
            "pull again",
            "cais",
            time_command(&cais_in(bench, &place, &["pull", "-q", &name])),
        );
        figures.add("pull again", "curl", time_command(&curl));
        if let Some((docker, _)) = &bench.docker {
            let again = [&docker[..], &words(&["pull", "-q", &name])].concat();
            figures.add("pull again", "docker", time_command(&again));
        }
    }
    let nginx = Path::new("/usr/sbin/nginx");
    if nginx.exists() {
        for _ in 0..SHORT_ROUNDS / 2 {
            let pack = cais_in(bench, &place, &["pack", "-t", "web", "/usr/sbin/nginx"]);
            figures.add("pack of nginx", "cais", time_command(&pack));
        }
    }
    let layout = corpus::many_images(&bench.work, 1000)?;
    let place = bench.place();
    time_command(&cais_in(
        bench,
        &place,
        &["load", "-q", "-i", &layout.to_string_lossy()],
    ))?;
    for _ in 0..SHORT_ROUNDS {
        figures.add(
            "images, 1,000 of them",
            "cais",
            time_command(&cais_in(bench, &place, &["images"])),
        );
    }
    Ok(())
}
