use super::super::message::{Answer, Rcode, Record, parse_query};
use super::*;
use std::net::TcpListener;
use std::thread;

const A: [u8; 4] = [192, 0, 2, 7];

#[test]
fn hosts_files() {
    let text = "127.0.0.1 localhost\n# 10.0.0.1 far\n::1 Near near2 # far\n10.0.0.2\tnear\nbad near\n";
    let cases: [(&str, &[&str]); 5] = [
        ("localhost", &["127.0.0.1"]),
        ("near", &["10.0.0.2", "::1"]),
        ("NEAR2", &["::1"]),
        ("near.", &["10.0.0.2", "::1"]),
        ("far", &[]),
    ];
    for (host, addresses) in cases {
        let found: Vec<String> = parse_hosts(text, host).iter().map(IpAddr::to_string).collect();
        assert_eq!(found, addresses, "{host}");
    }
}

#[test]
fn the_search_list() {
    let cases: [(&str, &str, &[&str]); 6] = [
        ("a", "search x.org y.org", &["a.x.org", "a.y.org", "a"]),
        ("a.b", "search x.org", &["a.b", "a.b.x.org"]),
        ("a.b", "search x.org\noptions ndots:2", &["a.b.x.org", "a.b"]),
        ("a.b.", "search x.org", &["a.b"]),
        ("a", "", &["a"]),
        ("a", "search .", &["a"]),
    ];
    for (host, text, names) in cases {
        assert_eq!(plan_names(host, &ResolvConf::parse(text)), names, "{host} {text}");
    }
}

/// A name server that answers each datagram with what `answer` makes of it; it ends with the
/// first one that is empty.
fn serve(answer: impl Fn(&Query) -> Vec<Vec<u8>> + Send + 'static) -> (SocketAddr, thread::JoinHandle<()>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let server = thread::spawn(move || {
        let mut buffer = [0; 512];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).unwrap();
            if length == 0 {
                return;
            }
            let query = parse_query(&buffer[..length]).unwrap();
            for message in answer(&query) {
                socket.send_to(&message, from).unwrap();
            }
        }
    });
    (address, server)
}

fn stop(server: (SocketAddr, thread::JoinHandle<()>)) {
    UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .send_to(&[], server.0)
        .unwrap();
    server.1.join().unwrap();
}

fn asking(servers: &[SocketAddr]) -> Asking {
    Asking {
        servers: servers.to_vec(),
        patience: (Duration::from_secs(5), 1),
        deadline: Instant::now() + Duration::from_secs(20),
    }
}

fn with_address(query: &Query) -> Vec<u8> {
    let mut answer = Answer::empty(Rcode::NoError);
    if query.question.kind == kind::A {
        answer.records.push(Record::Address(A.into()));
    }
    answer.encode(query, 512)
}

#[test]
fn strangers_and_other_names_are_passed_over() {
    let server = serve(|query| {
        if query.question.name.text().unwrap() != "web.x.org" {
            return vec![Answer::empty(Rcode::NxDomain).encode(query, 512)];
        }
        let mut stranger = with_address(query);
        stranger[0] ^= 1;
        vec![vec![1, 2, 3], stranger, with_address(query)]
    });
    let found = asking(&[server.0]).find(&["web".to_owned(), "web.x.org".to_owned()]);
    assert_eq!(found.unwrap(), [IpAddr::from(A)]);
    let error = asking(&[server.0]).find(&["db".to_owned()]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    stop(server);
}

#[test]
fn the_next_server_is_asked_where_one_fails() {
    let bad = serve(|query| vec![Answer::empty(Rcode::ServFail).encode(query, 512)]);
    let good = serve(|query| vec![with_address(query)]);
    let found = asking(&[bad.0, good.0]).find(&["web".to_owned()]);
    assert_eq!(found.unwrap(), [IpAddr::from(A)]);
    let error = asking(&[bad.0]).find(&["web".to_owned()]).unwrap_err();
    assert!(error.to_string().contains("says error 2"), "{error}");
    stop(bad);
    stop(good);
}

#[test]
fn what_does_not_fit_comes_over_a_stream() {
    let server = serve(|query| {
        vec![
            Answer {
                records: vec![Record::Address(A.into()); 64],
                ..Answer::empty(Rcode::NoError)
            }
            .encode(query, 100),
        ]
    });
    let stream = TcpListener::bind(server.0).unwrap();
    let streams = thread::spawn(move || {
        for _ in 0..2 {
            let (mut socket, _) = stream.accept().unwrap();
            let mut head = [0; 2];
            socket.read_exact(&mut head).unwrap();
            let mut message = vec![0; usize::from(u16::from_be_bytes(head))];
            socket.read_exact(&mut message).unwrap();
            let reply = with_address(&parse_query(&message).unwrap());
            socket
                .write_all(&u16::try_from(reply.len()).unwrap().to_be_bytes())
                .unwrap();
            socket.write_all(&reply).unwrap();
        }
    });
    let found = asking(&[server.0]).find(&["web".to_owned()]);
    assert_eq!(found.unwrap(), [IpAddr::from(A)]);
    streams.join().unwrap();
    stop(server);
}
