//! What a service manager gives `cais run`: a socket to be told at (sd_notify(3)), and sockets
//! that it has opened (sd_listen_fds(3)).

use crate::support::{Done, TestEnv, eventually, executable};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;
use std::time::Duration;

/// Says something at the socket that the program was given.
const SAY: &str = "import os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(os.environ['NOTIFY_SOCKET'])
for message in sys.argv[1:]: s.send(message.encode().replace(b'|', b'\\n'))
";

fn manager(env: &TestEnv) -> UnixDatagram {
    let path = env.path("manager");
    std::fs::remove_file(&path).unwrap_or_default();
    let socket = UnixDatagram::bind(path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

fn hear(socket: &UnixDatagram) -> String {
    let mut buffer = [0u8; 4096];
    loop {
        match socket.recv(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            other => return String::from_utf8_lossy(&buffer[..other.unwrap()]).into_owned(),
        }
    }
}

fn told(env: &TestEnv, words: &[&str]) -> Command {
    let mut command = env.command(words);
    command.env("NOTIFY_SOCKET", env.path("manager"));
    command
}

#[test]
fn the_program_says_that_it_is_ready() {
    let env = TestEnv::new();
    let socket = manager(&env);
    let words = ["run", "--rm", "-u", "nobody", "host", "python3", "-c", SAY];
    let messages = ["STATUS=half way|MAINPID=1", "FDSTORE=1", "READY=1|STATUS=there"];
    let done = Done::of(told(&env, &[&words[..], &messages].concat()));
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert_eq!(hear(&socket), "STATUS=half way");
    assert_eq!(hear(&socket), "READY=1\nSTATUS=there");
    // Detached, the monitor is what lives on.
    let script = ["run", "-d", "--name", "web", "host", "python3", "-c"];
    let lasting = format!("{SAY}\nimport signal; signal.pause()");
    let words = [&script[..], &[&lasting, "READY=1"]].concat();
    assert!(told(&env, &words).status().unwrap().success());
    let monitor = env.field("web", "MonitorPid");
    let mut heard = [hear(&socket), hear(&socket)];
    heard.sort();
    assert_eq!(heard, [format!("MAINPID={monitor}"), "READY=1".to_owned()]);
    // By an abstract name too; and the socket of the last run is no hindrance.
    env.ok(&["stop", "web"]);
    use std::os::linux::net::SocketAddrExt;
    let name = format!("cais-test-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let abstract_one = UnixDatagram::bind_addr(&address).unwrap();
    abstract_one
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let started = env
        .command(&["start", "web"])
        .env("NOTIFY_SOCKET", format!("@{name}"))
        .status();
    assert!(started.unwrap().success());
    let mut heard = [hear(&abstract_one), hear(&abstract_one)];
    heard.sort();
    assert_eq!(heard[1], "READY=1");
    env.ok(&["rm", "-f", "web"]);
    assert_eq!(std::fs::read_dir(env.path("run/notify")).unwrap().count(), 0);
}

#[test]
fn others_say_it_or_nobody() {
    let env = TestEnv::new();
    let socket = manager(&env);
    let script = "echo ${NOTIFY_SOCKET:-none}; test -e /run/notify && echo there";
    let run = |who: &str| {
        let words = ["run", "--rm", "--sdnotify", who, "host", "sh", "-c", script];
        Done::of(told(&env, &words))
    };
    assert_eq!(run("conmon").stdout, "none\n");
    assert_eq!(hear(&socket), "READY=1");
    assert_eq!(run("ignore").stdout, "none\n");
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv(&mut [0u8; 16]).is_err());
    assert_eq!(run("container").stdout, "/run/notify/notify.sock\nthere\n");
    assert_eq!(run("somebody").code, 125);
    // The unit that starts all containers speaks for none of them.
    env.ok(&[
        "create",
        "--name",
        "policy",
        "--restart",
        "always",
        "host",
        "sleep",
        "1000",
    ]);
    env.ok(&["start", "policy"]);
    env.ok(&["kill", "policy"]);
    env.ok(&["wait", "policy"]);
    assert!(told(&env, &["system", "start-all"]).status().unwrap().success());
    assert_eq!(env.field("policy", "Status"), "running");
    assert!(socket.recv(&mut [0u8; 16]).is_err());
    // Without a manager there is nothing of all that.
    assert_eq!(env.sh(&["--sdnotify", "container"], script).stdout, "none\n");
}

#[test]
fn it_is_ready_when_it_is_well() {
    let env = TestEnv::new();
    let socket = manager(&env);
    let flags = ["--sdnotify", "healthy", "--name", "web"];
    let done = env.cais(&[&["run", "-d"][..], &flags, &["host", "sleep", "1000"]].concat());
    assert!(
        done.code == 125 && done.stderr.contains("no health check"),
        "{}",
        done.stderr
    );
    let health = ["--health-cmd", "test -e /tmp/well", "--health-interval", "50ms"];
    let words = [&["run", "-d"][..], &flags, &health, &["host", "sleep", "1000"]].concat();
    assert!(told(&env, &words).status().unwrap().success());
    assert!(hear(&socket).starts_with("MAINPID="));
    eventually("it was probed in vain", || {
        env.ok(&["inspect", "-f", "{{.State.Health.FailingStreak}}", "web"]) != "0\n"
    });
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv(&mut [0u8; 16]).is_err());
    socket.set_nonblocking(false).unwrap();
    env.ok(&["exec", "web", "touch", "/tmp/well"]);
    assert_eq!(hear(&socket), "READY=1");
    env.ok(&["rm", "-f", "web"]);
}

/// Serves one connection at descriptor 3, and says what it was told of it.
const SERVE: &str = "import os, socket
s = socket.socket(fileno=3)
mine = os.environ['LISTEN_PID'] == str(os.getpid())
told = ' '.join([os.environ['LISTEN_FDS'], os.environ.get('LISTEN_FDNAMES', ''), str(mine)])
c, _ = s.accept()
c.send(told.encode()); c.close()
";

#[test]
fn sockets_that_were_opened_before_go_to_the_program() {
    let env = TestEnv::new();
    for (number, flags) in [
        &[][..],
        &["--init"],
        &["-d"],
        &["-t"],
        &["-d", "--restart", "on-failure:1"],
    ]
    .iter()
    .enumerate()
    {
        let path = env.path(&format!("listening{number}"));
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        // It is inherited by whatever is started meanwhile, which does no harm.
        let handed = rustix::io::fcntl_dupfd_cloexec(&listener, 20).unwrap();
        rustix::io::fcntl_setfd(&handed, rustix::io::FdFlags::empty()).unwrap();
        // A shell puts the socket where it is expected; nothing else is handed on.
        let line = format!(
            "exec 3<&{0} {0}<&- 5</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web exec \"$@\"",
            handed.as_raw_fd()
        );
        let name = format!("server{number}");
        let again = format!(
            "import os\nif os.path.exists('/again'): pass\nelse: open('/again', 'w'); exit(3)\n{SERVE}"
        );
        let script = if flags.contains(&"--restart") {
            &again
        } else {
            SERVE
        };
        let words = [
            &["run", "--name", &name],
            *flags,
            &["host", "python3", "-c", script],
        ]
        .concat();
        let command = env.command(&words);
        let mut shell = Command::new("bash");
        shell
            .args(["-c", &line, "bash"])
            .arg(executable())
            .args(command.get_args());
        for (key, value) in command.get_envs() {
            shell.env(key, value.unwrap_or_default());
        }
        let mut child = shell.stdout(std::process::Stdio::null()).spawn().unwrap();
        let mut client = UnixStream::connect(&path).unwrap();
        let mut text = String::new();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "1 web True", "{flags:?}");
        assert!(child.wait().unwrap().success(), "{flags:?}");
        eventually("it ends", || env.field(&name, "Status") == "exited");
        env.ok(&["rm", &name]);
    }
    // Those of another process are none of ours.
    let mut other = env.command(&["run", "--rm", "host", "sh", "-c", "echo ${LISTEN_FDS:-none}"]);
    let done = Done::from(
        other
            .env("LISTEN_PID", "1")
            .env("LISTEN_FDS", "1")
            .output()
            .unwrap(),
    );
    assert_eq!(done.stdout, "none\n", "{}", done.stderr);
}
