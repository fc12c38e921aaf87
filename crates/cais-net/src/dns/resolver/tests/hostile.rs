//! Peers that mean ill.

use super::*;

#[test]
fn forged_replies_are_not_believed() {
    let upstream = Upstream::new();
    let mut world = World::with_servers("forged", &[&upstream]);
    let client = world.client();
    client.send(&query(1, "bank.example", kind::A)).unwrap();
    let (asked, from) = upstream.query(&mut world);
    // Somebody else, who even knows the number.
    let stranger = UdpSocket::bind(loopback()).unwrap();
    stranger.send_to(&reply(&asked, 0x8180, 9), from).unwrap();
    // The right sender with a wrong number, another question, a query, and noise.
    let mut wrong_id = reply(&asked, 0x8180, 9);
    wrong_id[0] ^= 1;
    let mut other = reply(&query(0, "evil.example", kind::A), 0x8180, 9);
    other[..2].copy_from_slice(&asked[..2]);
    for message in [&wrong_id[..], &other, &asked, b"x", &[0xc0; 700]] {
        upstream.udp.send_to(message, from).unwrap();
    }
    upstream.udp.send_to(&reply(&asked, 0x8180, 1), from).unwrap();
    assert_eq!(addresses(&world.answer(&client), "bank.example"), ["192.0.2.0"]);
}

#[test]
fn somebody_who_guesses_is_evaded() {
    let upstream = Upstream::new();
    let mut world = World::with_servers("guesses", &[&upstream]);
    let client = world.client();
    client.send(&query(1, "bank.example", kind::A)).unwrap();
    let (asked, from) = upstream.query(&mut world);
    for guess in 1..=20u16 {
        let mut forged = reply(&asked, 0x8180, 9);
        forged[..2].copy_from_slice(&(number16(&asked, 0).unwrap().wrapping_add(guess)).to_be_bytes());
        upstream.udp.send_to(&forged, from).unwrap_or_default();
    }
    upstream.serve_tcp(&mut world, |query| reply(query, 0x8180, 1));
    assert_eq!(addresses(&world.answer(&client), "bank.example").len(), 1);
}

#[test]
fn a_reply_full_of_pointers_is_thrown_away() {
    let upstream = Upstream::new();
    let mut world = World::with_servers("pointers", &[&upstream]);
    let client = world.client();
    client.send(&query(1, "a.example", kind::A)).unwrap();
    let (asked, from) = upstream.query(&mut world);
    // The owner of the record points at itself, and the question is compressed.
    let mut loops = reply(&asked, 0x8180, 1);
    let owner = loops.len() - 16;
    loops[owner..owner + 2].copy_from_slice(&[0xc0, u8::try_from(owner).unwrap()]);
    let mut compressed = reply(&asked, 0x8180, 0);
    compressed.truncate(12);
    compressed.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1]);
    upstream.udp.send_to(&compressed, from).unwrap();
    upstream.udp.send_to(&loops, from).unwrap();
    // A pointer is never followed, so the loop does no harm.
    assert_eq!(addresses(&world.answer(&client), "a.example").len(), 1);
}

#[test]
fn clients_that_send_nonsense_harm_nobody() {
    let mut world = World::new("nonsense", |_| {});
    world.add("one", "web", "10.0.0.2");
    let client = world.client();
    let mut seed = 0x2545_f491_4f6c_dd1du64;
    for round in 0..2000usize {
        let mut message = query(1, "web", kind::A);
        for _ in 0..round % 7 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let at = usize::try_from(seed >> 33).unwrap() % message.len();
            message[at] = u8::try_from(seed & 0xff).unwrap();
        }
        message.truncate(message.len() - round % 3);
        client.send(&message).unwrap();
        world.resolver.handle().unwrap();
    }
    assert_eq!(
        addresses(&world.ask(&query(1, "web", kind::A)), "web"),
        ["10.0.0.2"]
    );
}

#[test]
fn a_client_that_announces_too_much_is_let_go() {
    for length in [0u16, 11, 1233, 65_535] {
        let mut world = World::new(&format!("announces{length}"), |_| {});
        let mut client = world.tcp_client();
        client.write_all(&length.to_be_bytes()).unwrap();
        assert!(world.work_until(client.as_fd()));
        assert_eq!(client.read(&mut [0u8; 8]).unwrap_or(0), 0);
        assert_eq!(world.resolver.clients.iter().count(), 0);
    }
}

#[test]
fn a_client_that_does_not_read_takes_little() {
    let upstream = Upstream::new();
    let mut world = World::with_servers("unread", &[&upstream]);
    // A large reply in the cache.
    let first = world.client();
    first.send(&query(1, "large.example", kind::A)).unwrap();
    upstream.serve(&mut world, |query| reply(query, 0x8380, 0));
    upstream.serve_tcp(&mut world, |query| reply(query, 0x8180, 200));
    world.answer(&first);
    let mut client = world.tcp_client();
    client.set_nonblocking(true).unwrap();
    let message = query(8, "large.example", kind::A);
    let framed = [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], &message].concat();
    let mut sent = 0usize;
    for _ in 0..200_000 {
        match client.write(&framed[sent % framed.len()..]) {
            Ok(count) => sent += count,
            Err(_) => {
                world.resolver.handle().unwrap();
                let mut fds = [PollFd::from_borrowed_fd(
                    world.resolver.descriptor(),
                    PollFlags::IN,
                )];
                let now = Timespec {
                    tv_sec: 0,
                    tv_nsec: 0,
                };
                if poll(&mut fds, Some(&now)).unwrap() == 0 {
                    break;
                }
            }
        }
    }
    world.resolver.handle().unwrap();
    let kept = world.resolver.clients.iter().map(Client::kept).max().unwrap();
    assert!(kept < 16 * 1024, "{kept} octets for one client");
    // Another one is served meanwhile.
    let answer = world.ask(&query(1, "large.example", kind::A));
    assert!(read(&answer, "large.example").truncated);
}

#[test]
fn connections_that_do_nothing_do_not_keep_others_out() {
    let mut world = World::new("idle", |_| {});
    world.add("one", "web", "10.0.0.2");
    let mut idle = Vec::new();
    for _ in 0..MOST_CLIENTS + 4 {
        idle.push(world.tcp_client());
        world.resolver.handle().unwrap();
    }
    assert_eq!(world.resolver.clients.iter().count(), MOST_CLIENTS);
    let mut late = world.tcp_client();
    let message = query(8, "web", kind::A);
    late.write_all(&[&u16::try_from(message.len()).unwrap().to_be_bytes()[..], &message].concat())
        .unwrap();
    assert_eq!(addresses(&world.tcp_answer(&mut late), "web"), ["10.0.0.2"]);
    assert_eq!(
        addresses(&world.ask(&query(1, "web", kind::A)), "web"),
        ["10.0.0.2"]
    );
    drop(idle);
}
