//! Being let in, and answers that do not come as they should.

use super::super::fake::Fake;
use super::*;

fn ping(connection: &mut Connection) -> Result<Message, SystemdError> {
    connection.call_bus("Ping", vec![text("x")])
}

fn greet(script: impl FnOnce(&mut Fake) + Send + 'static) -> Result<Connection, SystemdError> {
    let (stream, thread) = Fake::run(script);
    let connection = Connection::greet(stream, "fake".into(), true);
    thread.join().unwrap();
    connection
}

#[test]
fn an_old_systemd_says_ok_twice() {
    let (stream, thread) = Fake::run(|fake| {
        fake.knock();
        fake.write(b"OK 12\r\nOK 12\r\n");
        fake.expect("Ping", &[text("x")]);
        fake.reply(&[]);
    });
    let mut connection = Connection::greet(stream, "fake".into(), true).unwrap();
    assert_eq!(ping(&mut connection).unwrap().body, []);
    thread.join().unwrap();
}

#[test]
fn all_of_the_authentication_comes_in_one_piece() {
    use std::os::unix::net::UnixStream;
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let thread = std::thread::spawn(move || Connection::greet(ours, "fake".into(), true).map(|_| ()));
    let mut buffer = [0; 100];
    let count = theirs.read(&mut buffer).unwrap();
    assert_eq!(buffer[..count], *b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n");
    drop(theirs);
    let closed = SystemdError::Closed("authentication".into());
    assert_eq!(thread.join().unwrap(), Err(closed));
}

#[test]
fn who_is_not_let_in_is_told_so() {
    let uid = rustix::process::geteuid().as_raw();
    for answer in ["REJECTED EXTERNAL", "DATA\r\nREJECTED EXTERNAL"] {
        let error = greet(move |fake| {
            fake.knock();
            fake.write(format!("{answer}\r\nERROR\r\n").as_bytes());
        });
        let want = format!("D-Bus at fake refuses user {uid}: REJECTED EXTERNAL");
        assert_eq!(error.unwrap_err().to_string(), want);
    }
}

#[test]
fn a_line_without_end_is_given_up() {
    let error = greet(|fake| {
        fake.knock();
        fake.write(&[b'O'; LINE_MAX + 1]);
    });
    assert!(matches!(error, Err(SystemdError::Malformed(_))), "{error:?}");
}

#[test]
fn a_bus_is_greeted_first() {
    let (stream, thread) = Fake::run(|fake| {
        fake.accept();
        let hello = fake.expect("Hello", &[]);
        assert_eq!(hello.text(dbus::DESTINATION), "org.freedesktop.DBus");
        assert_eq!(hello.text(dbus::PATH), "/org/freedesktop/DBus");
        fake.refuse("org.freedesktop.DBus.Error.LimitsExceeded");
    });
    let error = Connection::greet(stream, "fake".into(), false).unwrap_err();
    thread.join().unwrap();
    assert_eq!(
        error.to_string(),
        "systemd refuses Hello(): No, sorry. (org.freedesktop.DBus.Error.LimitsExceeded)"
    );
}

#[test]
fn an_answer_may_come_in_pieces_and_after_others() {
    let (stream, thread) = Fake::run(|fake| {
        fake.accept();
        fake.expect("Ping", &[text("x")]);
        fake.job_removed("", "/job/1", "done");
        fake.reply(&[text("first")]);
        fake.expect("Ping", &[text("x")]);
        let answer = Message {
            kind: dbus::RETURN,
            flags: 0,
            serial: 5,
            fields: vec![(dbus::REPLY_SERIAL, Value::U32(2))],
            body: vec![text("second")],
        };
        let late = Message {
            fields: vec![(dbus::REPLY_SERIAL, Value::U32(1))],
            ..answer.clone()
        };
        fake.write(&late.encode().unwrap());
        for byte in answer.encode().unwrap() {
            fake.write(&[byte]);
        }
    });
    let mut connection = Connection::greet(stream, "fake".into(), true).unwrap();
    assert_eq!(ping(&mut connection).unwrap().body, [text("first")]);
    assert_eq!(connection.signals.len(), 1);
    assert_eq!(ping(&mut connection).unwrap().body, [text("second")]);
    thread.join().unwrap();
}

#[test]
fn silence_and_a_hang_up_are_told_apart() {
    let (stream, thread) = Fake::run(|fake| {
        fake.accept();
        fake.expect("Ping", &[text("x")]);
        // Until the other side has given up and asks again.
        fake.expect("Ping", &[text("x")]);
    });
    let mut connection = Connection::greet(stream, "fake".into(), true).unwrap();
    connection.patience = Duration::from_millis(20);
    let timeout = SystemdError::Timeout {
        call: "Ping(\"x\")".into(),
        seconds: 0,
    };
    assert_eq!(ping(&mut connection), Err(timeout));
    connection.patience = PATIENCE;
    let closed = SystemdError::Closed("Ping(\"x\")".into());
    assert_eq!(ping(&mut connection), Err(closed.clone()));
    thread.join().unwrap();
    // The socket is closed now: this is no SIGPIPE.
    assert_eq!(ping(&mut connection), Err(closed));
}

#[test]
fn what_is_no_message_is_an_error() {
    let (stream, thread) = Fake::run(|fake| {
        fake.accept();
        fake.expect("Ping", &[text("x")]);
        fake.write(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let mut connection = Connection::greet(stream, "fake".into(), true).unwrap();
    let answer = ping(&mut connection);
    assert!(matches!(answer, Err(SystemdError::Malformed(_))), "{answer:?}");
    thread.join().unwrap();
}
