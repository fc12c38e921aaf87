//! Logs that go elsewhere, logs of programs that say much, and how several are shown.

use crate::support::{TestEnv, eventually, is_soon, patience};
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

const PATIENCE: Option<Duration> = Some(Duration::from_secs(10));

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn lines_arrive_at_a_syslog() {
    let env = TestEnv::new();
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    receiver.set_read_timeout(PATIENCE).unwrap();
    let address = format!("syslog-address=udp://{}", receiver.local_addr().unwrap());
    let flags = [
        "--log-driver",
        "syslog",
        "--log-opt",
        &address,
        "--log-opt",
        "syslog-facility=local3",
        "--log-opt",
        "tag={{.Name}}",
        "--name",
        "web",
    ];
    let words = [
        &["run"][..],
        &flags,
        &["host", "sh", "-c", "echo out; echo err >&2"],
    ]
    .concat();
    assert_eq!(env.ok(&words), "out\n");
    let mut buffer = [0u8; 1024];
    let mut heard: Vec<String> = (0..2)
        .map(|_| {
            let length = receiver.recv(&mut buffer).unwrap();
            text(&buffer[..length])
        })
        .collect();
    heard.sort();
    // Facility 19 with severity 3, and with 6 (RFC 5424).
    for (line, (begins, ends)) in heard
        .iter()
        .zip([("<155>1 ", " - - err"), ("<158>1 ", " - - out")])
    {
        assert!(
            line.starts_with(begins) && line.contains(" web ") && line.ends_with(ends),
            "{line}"
        );
    }
    let socket = env.path("log");
    let receiver = UnixDatagram::bind(&socket).unwrap();
    receiver.set_read_timeout(PATIENCE).unwrap();
    let address = format!("syslog-address=unixgram://{}", socket.display());
    env.ok(&[
        "run",
        "--rm",
        "--log-driver",
        "syslog",
        "--log-opt",
        &address,
        "host",
        "echo",
        "hi",
    ]);
    let length = receiver.recv(&mut buffer).unwrap();
    let line = text(&buffer[..length]);
    assert!(line.starts_with("<30>") && line.ends_with("]: hi"), "{line}");
    let done = env.cais(&["logs", "web"]);
    assert!(
        done.code == 1 && done.stderr.contains("does not support reading"),
        "{}",
        done.stderr
    );
    env.ok(&["rm", "web"]);
}

/// Who takes the lines does not read: the program goes on, and hears no more of it.
#[test]
fn a_slow_receiver_holds_nobody_up_who_does_not_want_it() {
    let env = TestEnv::new();
    let socket = env.path("log");
    let receiver = UnixDatagram::bind(&socket).unwrap();
    receiver.set_read_timeout(PATIENCE).unwrap();
    let address = format!("syslog-address=unixgram://{}", socket.display());
    let shared = format!("{}:/shared", env.path("").display());
    let run = |name: &str, mode: &[&str]| {
        let script = format!("seq 200000; touch /shared/{name}; exec sleep 1000");
        let flags = [
            "--log-driver",
            "syslog",
            "--log-opt",
            &address,
            "-v",
            &shared,
            "--name",
            name,
        ];
        let words = [&["run", "-d"][..], &flags, mode, &["host", "sh", "-c", &script]].concat();
        env.ok(&words);
    };
    run("waits", &[]);
    run(
        "runs",
        &[
            "--log-opt",
            "mode=non-blocking",
            "--log-opt",
            "max-buffer-size=64k",
        ],
    );
    eventually("the program goes on", || env.path("runs").exists());
    assert!(!env.path("waits").exists());
    // Now somebody reads: everything comes, and what was lost is told.
    let mut buffer = [0u8; 4096];
    let mut lost = false;
    while !(lost && env.path("waits").exists()) {
        let length = receiver.recv(&mut buffer).unwrap();
        lost |= text(&buffer[..length]).contains("bytes of output were lost");
    }
    // Nobody reads any more: whoever ends them waits no longer than the program would have.
    let begun = std::time::Instant::now();
    env.ok(&["rm", "-f", "waits", "runs"]);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    drop(receiver);
}

#[test]
fn much_output_takes_no_memory() {
    let env = TestEnv::new();
    let shared = format!("{}:/shared", env.path("").display());
    // Many times what is kept and what the monitor may have, on an emulated processor too.
    let much = 300_000_000 / patience();
    for mode in ["blocking", "non-blocking"] {
        let option = format!("mode={mode}");
        let script = format!(
            "yes what it says is long enough | head -c {much}; touch /shared/{mode}; exec sleep 1000"
        );
        let words = [
            "run",
            "-d",
            "--name",
            mode,
            "--log-opt",
            &option,
            "-v",
            &shared,
            "host",
            "sh",
            "-c",
            &script,
        ];
        env.ok(&words);
        // How quickly is another matter.
        let has_said_everything = (0..6).any(|_| is_soon(|| env.path(mode).exists()));
        assert!(has_said_everything, "{mode}: after a minute");
        let status = format!("/proc/{}/status", env.field(mode, "MonitorPid"));
        let status = std::fs::read_to_string(status).unwrap();
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(peak < 16 * 1024, "{mode}: {peak} KiB");
        // Rotated by default: three files of ten megabytes.
        let log = env
            .path("data/containers")
            .join(env.ok(&["inspect", "-f", "{{.Id}}", mode]).trim())
            .join("log");
        let sizes = || -> std::io::Result<Vec<u64>> {
            std::fs::read_dir(&log)?
                .map(|entry| Ok(entry?.metadata()?.len()))
                .collect()
        };
        let mut files = Vec::new();
        // The end of what was said may still be on its way, and move a file that was just listed.
        eventually("no file moves away", || {
            sizes().map(|sizes| files = sizes).is_ok()
        });
        assert!(
            files.len() <= 3 && files.iter().all(|size| *size <= 10 << 20),
            "{files:?}"
        );
        env.ok(&["rm", "-f", mode]);
    }
}

#[test]
fn several_have_colours_on_a_terminal() {
    let env = TestEnv::new();
    for name in ["one", "two"] {
        env.ok(&["run", "--name", name, "host", "echo", "hello"]);
    }
    let command = env.command(&["logs", "one", "two"]);
    let line = format!("{} logs one two", command.get_program().to_string_lossy());
    let mut script = Command::new("script");
    script
        .args(["-qec", &line, "/dev/null"])
        .stdin(std::process::Stdio::null());
    for (name, value) in command.get_envs() {
        script.env(name, value.unwrap_or_default());
    }
    let shown = text(&script.output().unwrap().stdout);
    assert_eq!(
        shown,
        "\u{1b}[36mone | \u{1b}[0mhello\r\n\u{1b}[33mtwo | \u{1b}[0mhello\r\n"
    );
    env.ok(&["rm", "one", "two"]);
}
