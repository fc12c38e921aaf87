//! How long an answer to a question for a name takes, seen from inside a container: the
//! first one of a fresh container, and those that follow.

use super::super::peers::output;
use super::super::stats::Samples;
use super::site::Site;
use super::{Row, row};
use crate::Outcome;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

/// Fresh containers, and names in the network.
const CONTAINERS: usize = 75;
const NAMES: usize = 1000;

/// Runs inside a container: asks for a name and prints microseconds, first the first.
pub(super) fn probe(name: &str) -> Outcome {
    let text = |error: std::io::Error| error.to_string();
    let socket = UdpSocket::bind("127.0.0.1:0").map_err(text)?;
    socket
        .set_read_timeout(Some(Duration::from_secs(2)))
        .map_err(text)?;
    socket.connect("127.0.0.11:53").map_err(text)?;
    let mut query = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).map_err(|error| error.to_string())?);
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    let mut answer = [0u8; 512];
    walk_the_way(&query).map_err(text)?;
    let mut times = Vec::new();
    for _ in 0..51 {
        let began = Instant::now();
        socket.send(&query).map_err(text)?;
        let count = socket.recv(&mut answer).map_err(text)?;
        times.push(began.elapsed().as_secs_f64() * 1e6);
        if count < 12 || answer[7] == 0 {
            return Err(format!("no address for {name}"));
        }
    }
    let words: Vec<String> = times.iter().map(|time| format!("{time:.1}")).collect();
    println!("{}", words.join(" "));
    Ok(())
}

/// Sends and receives as the measurement does, to this process itself: the pages of this
/// program that it takes are in memory then, and not read while the clock runs.
fn walk_the_way(query: &[u8]) -> std::io::Result<()> {
    let (here, there) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    here.connect(there.local_addr()?)?;
    there.connect(here.local_addr()?)?;
    let mut answer = [0u8; 512];
    let began = Instant::now();
    here.send(query)?;
    there.recv(&mut answer)?;
    there.send(&answer)?;
    here.recv(&mut answer)?;
    std::hint::black_box(began.elapsed().as_secs_f64() * 1e6);
    Ok(())
}

/// First and later answers at a thousand names, ours and Docker's.
pub(super) fn measure(site: &Site, docker: bool) -> Result<Vec<Row>, String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let this = this.to_string_lossy().into_owned();
    let aliases: Vec<String> = (0..NAMES)
        .map(|number| format!("--network-alias=n{number}"))
        .collect();
    let aliases: Vec<&str> = aliases.iter().map(String::as_str).collect();
    let target = ["run", "-d", "--name", "target", "--network", "bench"];
    output(&mut site.cais(&["network", "create", "bench"]))?;
    output(&mut site.cais(&[&target[..], &aliases, &["host", "sleep", "10000"]].concat()))?;
    let asks = ["bench", "network", "--answer-time", "n500"];
    let mut rows = Vec::new();
    let (mut first, mut later) = (Samples::default(), Samples::default());
    for _ in 0..CONTAINERS {
        let program = [&[this.as_str()][..], &asks].concat();
        take(
            &output(&mut site.cais_run(&["--network", "bench"], &program))?,
            &mut first,
            &mut later,
        );
    }
    rows.push(row("cais, first answer", &first));
    rows.push(row("cais, later answers", &later));
    if docker {
        output(&mut site.docker(&["network", "create", "bench"]))?;
        output(&mut site.docker(&[&target[..], &aliases, &["bench", "/bin/sleep", "10000"]].concat()))?;
        let (mut first, mut later) = (Samples::default(), Samples::default());
        let mount = format!("{this}:/xtask:ro");
        for _ in 0..CONTAINERS / 15 {
            let program = [&["/xtask"][..], &asks].concat();
            let mut command = site.docker_run(&["--network", "bench", "-v", &mount], &program);
            take(&output(&mut command)?, &mut first, &mut later);
        }
        rows.push(row("docker, first answer", &first));
        rows.push(row("docker, later answers", &later));
    }
    Ok(rows)
}

/// Takes what the probe printed, in milliseconds.
fn take(text: &str, first: &mut Samples, later: &mut Samples) {
    let mut times = text
        .split_whitespace()
        .filter_map(|word| word.parse::<f64>().ok());
    if let Some(time) = times.next() {
        first.push(time / 1e3);
    }
    times.for_each(|time| later.push(time / 1e3));
}
