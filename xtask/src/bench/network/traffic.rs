//! Throughput (iperf3) and latency (one octet there and back over TCP): between containers,
//! from the host through a published port, and out.

use super::super::peers::output;
use super::super::stats::Samples;
use super::site::{Site, WORLD};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// Seconds for each measurement of throughput, and how often each is done: a machine that changes
/// from second to second changes for all engines then.
const SECONDS: &str = "1";
const ROUNDS: usize = 40;
/// Octets there and back, in each round, after some that do not count.
const PINGS: usize = 500;
const FIRST_PINGS: usize = 100;

/// One figure.
pub(super) struct Figure {
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) unit: &'static str,
}

/// A server in the rest of the world, which ends with the value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().unwrap_or_default();
        self.0.wait().map(drop).unwrap_or_default();
    }
}

/// A command in an engine's client container.
type Exec<'a> = dyn Fn(&[&str]) -> Command + 'a;

/// One engine's commands.
struct Engine<'a> {
    name: &'static str,
    port: u16,
    pings: u16,
    exec: Box<Exec<'a>>,
    address: String,
}

/// Measures ours and Docker's in turns.
pub(super) fn measure(site: &Site, docker: bool) -> Result<Vec<Figure>, String> {
    let _world = Server(
        site.in_world("exec iperf3 -s")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("iperf3: {error}"))?,
    );
    let mut engines = vec![prepare_cais(site)?];
    if docker {
        engines.push(prepare_docker(site)?);
    }
    let mut rates = vec![<[Samples; 3]>::default(); engines.len()];
    let mut pings = vec![Samples::default(); engines.len()];
    for round in 0..ROUNDS {
        // Whoever comes second, comes first in the next round.
        let in_turn = |number: usize| (number + round) % engines.len();
        for kind in 0..3 {
            for number in (0..engines.len()).map(in_turn) {
                let took = rate(&output(&mut iperf(&engines[number], kind))?)?;
                let samples = rates[number].get_mut(kind);
                samples.into_iter().for_each(|samples| samples.push(took));
            }
        }
        for number in (0..engines.len()).map(in_turn) {
            ping(engines[number].pings, &mut pings[number])?;
        }
    }
    let mut figures = Vec::new();
    for (what, index) in [
        ("container to container", 0),
        ("host to published port", 1),
        ("container out", 2),
    ] {
        for (engine, rates) in engines.iter().zip(&rates) {
            figures.push(Figure {
                name: format!("{}, {what}", engine.name),
                value: rates.get(index).map_or(f64::NAN, Samples::median),
                unit: "Gbit/s",
            });
        }
    }
    for (engine, pings) in engines.iter().zip(&pings) {
        figures.push(Figure {
            name: format!("{}, host to published port and back", engine.name),
            value: pings.median(),
            unit: "µs",
        });
    }
    Ok(figures)
}

/// Between containers, from the host through a published port, or out.
fn iperf(engine: &Engine<'_>, kind: usize) -> Command {
    match kind {
        0 => (engine.exec)(&["iperf3", "-J", "-t", SECONDS, "-c", &engine.address]),
        1 => {
            let mut host = Command::new("iperf3");
            let port = engine.port.to_string();
            host.args(["-J", "-t", SECONDS, "-c", "192.0.2.1", "-p", &port]);
            host
        }
        _ => (engine.exec)(&["iperf3", "-J", "-t", SECONDS, "-c", WORLD]),
    }
}

fn rate(report: &str) -> Result<f64, String> {
    let report: serde_json::Value = serde_json::from_str(report).map_err(|error| error.to_string())?;
    report["end"]["sum_received"]["bits_per_second"]
        .as_f64()
        .map(|bits| bits / 1e9)
        .ok_or_else(|| format!("iperf3: {}", report["error"]))
}

fn prepare_cais(site: &Site) -> Result<Engine<'_>, String> {
    let script = "iperf3 -s & exec socat TCP-LISTEN:7,fork,reuseaddr,nodelay EXEC:cat";
    let start = [
        "run",
        "-d",
        "--name",
        "server",
        "--network",
        "bridge",
        "-p",
        "5301:5201",
        "-p",
        "5307:7",
    ];
    output(&mut site.cais(&[&start[..], &["host", "sh", "-c", script]].concat()))?;
    output(&mut site.cais(&[
        "run",
        "-d",
        "--name",
        "client",
        "--network",
        "bridge",
        "host",
        "sleep",
        "10000",
    ]))?;
    let text = output(&mut site.cais(&["exec", "server", "ip", "-4", "-o", "addr", "show", "dev", "eth0"]))?;
    let address = text
        .split_whitespace()
        .nth(3)
        .and_then(|word| word.split('/').next());
    let exec = |words: &[&str]| site.cais(&[&["exec", "client"], words].concat());
    Ok(Engine {
        name: "cais",
        port: 5301,
        pings: 5307,
        exec: Box::new(exec),
        address: address.unwrap_or_default().to_owned(),
    })
}

/// Docker's containers see the machine's programs read-only.
fn prepare_docker(site: &Site) -> Result<Engine<'_>, String> {
    let mounts = [
        "-v",
        "/usr:/usr:ro",
        "-v",
        "/lib:/lib:ro",
        "-v",
        "/lib64:/lib64:ro",
        "-v",
        "/etc/ld.so.cache:/etc/ld.so.cache:ro",
    ];
    let script =
        "/usr/bin/iperf3 -s & exec /usr/bin/socat TCP-LISTEN:7,fork,reuseaddr,nodelay EXEC:/usr/bin/cat";
    let server = ["run", "-d", "--name", "server", "-p", "5401:5201", "-p", "5407:7"];
    output(&mut site.docker(&[&server[..], &mounts, &["bench", "/bin/sh", "-c", script]].concat()))?;
    let client = ["run", "-d", "--name", "client"];
    output(&mut site.docker(&[&client[..], &mounts, &["bench", "/bin/sleep", "10000"]].concat()))?;
    let format = "{{.NetworkSettings.IPAddress}}";
    let address = output(&mut site.docker(&["inspect", "-f", format, "server"]))?;
    let exec = |words: &[&str]| {
        let program = format!("/usr/bin/{}", words.first().unwrap_or(&""));
        site.docker(&[&["exec", "client", &program], words.get(1..).unwrap_or_default()].concat())
    };
    Ok(Engine {
        name: "docker",
        port: 5401,
        pings: 5407,
        exec: Box::new(exec),
        address: address.trim().to_owned(),
    })
}

/// Octets there and back, in microseconds.
fn ping(port: u16, samples: &mut Samples) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(("192.0.2.1", port)).map_err(text)?;
    stream.set_nodelay(true).map_err(text)?;
    let mut octet = [0u8; 1];
    for number in 0..PINGS + FIRST_PINGS {
        let began = Instant::now();
        stream.write_all(b"x").map_err(text)?;
        stream.read_exact(&mut octet).map_err(text)?;
        if number >= FIRST_PINGS {
            samples.push(began.elapsed().as_secs_f64() * 1e6);
        }
    }
    Ok(())
}
