//! Upstream servers that do not answer, or not well.

use super::*;

#[test]
fn a_server_that_is_silent_is_passed_over() {
    let (silent, good) = (Upstream::new(), Upstream::new());
    let mut world = World::with_servers("silent", &[&silent, &good]);
    let client = world.client();
    client.send(&query(1, "a.example", kind::A)).unwrap();
    good.serve(&mut world, |query| reply(query, 0x8180, 1));
    assert_eq!(addresses(&world.answer(&client), "a.example").len(), 1);
    silent.query(&mut world);
    // The next question goes to the one that answered.
    client.send(&query(1, "b.example", kind::A)).unwrap();
    let began = Instant::now();
    good.serve(&mut world, |query| reply(query, 0x8180, 1));
    assert!(began.elapsed() < Duration::from_millis(900));
    assert_eq!(addresses(&world.answer(&client), "b.example").len(), 1);
    assert!(silent.is_left_alone());
}

#[test]
fn a_server_that_is_not_there_costs_no_time() {
    let gone = Upstream::new().address;
    let good = Upstream::new();
    let mut world = World::new("gone", |config| {
        config.servers = vec![gone.to_string(), good.address.to_string()];
    });
    let began = Instant::now();
    let client = world.client();
    client.send(&query(1, "a.example", kind::A)).unwrap();
    good.serve(&mut world, |query| reply(query, 0x8180, 1));
    assert_eq!(addresses(&world.answer(&client), "a.example").len(), 1);
    assert!(began.elapsed() < Duration::from_millis(900));
}

#[test]
fn a_server_that_will_not_is_passed_over() {
    for flags in [0x8182, 0x8185, 0x8181, 0x8184] {
        let (bad, good) = (Upstream::new(), Upstream::new());
        let mut world = World::with_servers(&format!("bad{flags}"), &[&bad, &good]);
        let client = world.client();
        client.send(&query(1, "a.example", kind::A)).unwrap();
        bad.serve(&mut world, |query| reply(query, flags, 0));
        good.serve(&mut world, |query| reply(query, 0x8180, 1));
        assert_eq!(addresses(&world.answer(&client), "a.example").len(), 1);
    }
}

#[test]
fn the_servers_own_refusal_is_passed_on_where_nobody_has_better() {
    let bad = Upstream::new();
    let mut world = World::with_servers("refuses", &[&bad]);
    let client = world.client();
    client.send(&query(1, "a.example", kind::A)).unwrap();
    bad.serve(&mut world, |query| reply(query, 0x8185, 0));
    assert_eq!(read(&world.answer(&client), "a.example").rcode, 5);
    // It was not kept.
    client.send(&query(1, "a.example", kind::A)).unwrap();
    bad.serve(&mut world, |query| reply(query, 0x8180, 1));
    assert_eq!(addresses(&world.answer(&client), "a.example").len(), 1);
}

#[test]
fn where_nobody_answers_the_client_hears_of_it() {
    let silent = Upstream::new();
    let mut world = World::with_servers("nobody", &[&silent]);
    let answer = world.ask(&with_edns(query(1, "a.example", kind::A)));
    assert_eq!(read(&answer, "a.example").rcode, 2);
    assert!(answer.ends_with(b"no name server answered"));
    let mut without = World::new("none", |_| {});
    assert_eq!(
        read(&without.ask(&query(1, "a.example", kind::A)), "a.example").rcode,
        2
    );
}

#[test]
fn a_stream_that_breaks_or_lies_is_passed_over() {
    for (case, bad) in [
        ("nothing", &b""[..]),
        ("half", &[0, 50, 1, 2, 3]),
        ("other", &[0, 12, 0, 0, 0x81, 0x80, 0, 0, 0, 0, 0, 0, 0, 0]),
    ] {
        let (broken, good) = (Upstream::new(), Upstream::new());
        let mut world = World::with_servers(&format!("stream-{case}"), &[&broken, &good]);
        let client = world.client();
        client.send(&query(1, "a.example", kind::A)).unwrap();
        broken.serve(&mut world, |query| reply(query, 0x8380, 0));
        assert!(world.work_until(broken.tcp.as_fd()));
        let (mut stream, _) = broken.tcp.accept().unwrap();
        assert!(world.work_until(stream.as_fd()));
        stream.read(&mut [0u8; 512]).map(drop).unwrap();
        stream.write_all(bad).unwrap();
        drop(stream);
        good.serve(&mut world, |query| reply(query, 0x8180, 1));
        assert_eq!(addresses(&world.answer(&client), "a.example").len(), 1, "{case}");
    }
}

#[test]
fn more_questions_than_can_be_kept_are_answered_with_an_error() {
    let silent = Upstream::new();
    let mut world = World::with_servers("many", &[&silent]);
    let client = world.client();
    for number in 0..MOST_EXCHANGES + 5 {
        client
            .send(&query(1, &format!("n{number}.example"), kind::A))
            .unwrap();
    }
    let began = Instant::now();
    for _ in 0..5 {
        let answer = world.answer(&client);
        assert_eq!(answer[3] & 15, 2);
    }
    assert!(began.elapsed() < Duration::from_millis(900));
}
