//! Names that may go out, and those that may not.

use super::*;

#[derive(Debug, Default)]
struct Heard {
    allowed: Vec<(String, usize)>,
    refused: Vec<String>,
    fails: bool,
}

#[derive(Debug)]
struct Ear(Rc<RefCell<Heard>>);

impl AllowAddresses for Ear {
    fn allow(&mut self, name: &str, addresses: &[(IpAddr, u32)]) -> std::result::Result<(), Errno> {
        let mut heard = self.0.borrow_mut();
        heard.allowed.push((name.to_owned(), addresses.len()));
        if heard.fails { Err(Errno::NOMEM) } else { Ok(()) }
    }

    fn refuse(&mut self, name: &str) {
        self.0.borrow_mut().refused.push(name.to_owned());
    }
}

#[test]
fn a_policy_hears_of_names_before_the_client() {
    let upstream = Upstream::new();
    let mut world = World::new("policy", |config| {
        config.servers = vec![upstream.address.to_string()];
        config.allowed = ["good.example", "*.wide.example"]
            .map(|text| NamePattern::parse(text).unwrap())
            .to_vec()
            .into();
    });
    world.add("one", "web", "10.0.0.2");
    let heard = Rc::new(RefCell::new(Heard::default()));
    world.resolver.set_policy(Box::new(Ear(Rc::clone(&heard))));
    // Names of containers need no permission.
    assert_eq!(
        addresses(&world.ask(&query(1, "web", kind::A)), "web"),
        ["10.0.0.2"]
    );
    let blocked = world.ask(&with_edns(query(1, "evil.example", kind::A)));
    assert_eq!(read(&blocked, "evil.example").rcode, 3);
    assert!(blocked.ends_with(b"not allowed by the egress policy of this container"));
    assert_eq!(heard.borrow().refused, ["evil.example"]);
    let client = world.client();
    client.send(&query(1, "a.wide.example", kind::A)).unwrap();
    upstream.serve(&mut world, |query| reply(query, 0x8180, 2));
    assert_eq!(addresses(&world.answer(&client), "a.wide.example").len(), 2);
    // From the cache too: what was let through may have ended meanwhile.
    world.ask(&query(1, "a.wide.example", kind::A));
    let twice = [("a.wide.example".to_owned(), 2), ("a.wide.example".to_owned(), 2)];
    assert_eq!(heard.borrow().allowed, twice);
    // What cannot be let through is not told.
    heard.borrow_mut().fails = true;
    assert_eq!(
        read(&world.ask(&query(1, "a.wide.example", kind::A)), "a.wide.example").rcode,
        2
    );
    assert!(upstream.is_left_alone());
}
