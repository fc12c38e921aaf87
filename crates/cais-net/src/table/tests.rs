use super::*;

fn port(host: Option<&str>) -> PortEntry {
    PortEntry {
        owner: "abc".to_owned(),
        host: host.map(|text| text.parse().unwrap()),
        host_port: 8080,
        last: None,
        protocol: Protocol::Tcp,
        ipv4: Some(Ipv4Addr::new(172, 17, 0, 2)),
        ipv6: Some("fd00::2".parse().unwrap()),
        container_port: 80,
    }
}

fn state() -> TableState {
    TableState {
        bridges: vec![BridgeEntry {
            interface: "cais0".to_owned(),
            subnets: vec!["172.17.0.0/16".parse().unwrap(), "fd00::/64".parse().unwrap()],
            internal: false,
            masquerade: true,
        }],
        ports: vec![port(None), port(Some("127.0.0.1"))],
        no_routing: [true, false],
        old_bridges: vec!["br0".to_owned(), "br0".to_owned()],
    }
}

#[test]
fn what_a_state_becomes() {
    let all = state().elements();
    let one = |set: &Set| all[set.name].first().unwrap().clone();
    assert_eq!(all[BRIDGES.name].len(), 1);
    assert!(!all.contains_key(INTERNAL.name));
    assert_eq!(one(&PORTS4).key, [6, 0, 0, 0, 0x1f, 0x90, 0, 0]);
    assert_eq!(one(&PORTS4).value, [172, 17, 0, 2, 0, 80, 0, 0]);
    assert_eq!(one(&PORTS4_AT).key, [127, 0, 0, 1, 6, 0, 0, 0, 0x1f, 0x90, 0, 0]);
    assert!(!all.contains_key(PORTS6_AT.name));
    assert_eq!(one(&PORTS6).value.len(), 20);
    assert_eq!(one(&SUBNETS4).last, Some(vec![172, 17, 255, 255]));
    assert_eq!(one(&NEAR6).key.len(), 32);
    assert_eq!(one(&NO_ROUTING).key, [2]);
    assert_eq!(all[OLD_BRIDGES.name].len(), 1);
    assert_eq!(one(&OLD_BRIDGES).key, b"br0\0\0\0\0\0\0\0\0\0\0\0\0\0");
}

#[test]
fn a_range_is_one_element() {
    let mut state = state();
    for port in &mut state.ports {
        port.last = Some(8090);
    }
    let all = state.elements();
    let element = all[RANGES4_AT.name].first().unwrap();
    assert_eq!(element.key, [127, 0, 0, 1, 6, 0, 0, 0, 0x1f, 0x90, 0, 0]);
    assert_eq!(
        element.last,
        Some(vec![127, 0, 0, 1, 6, 0, 0, 0, 0x1f, 0x9a, 0, 0])
    );
    assert_eq!(element.value, [172, 17, 0, 2]);
    assert_eq!(all[RANGES6.name].first().unwrap().value.len(), 16);
    assert!(!all.contains_key(PORTS4.name) && !all.contains_key(PORTS4_AT.name));
}

#[test]
fn an_internal_network_is_not_masqueraded() {
    let mut state = state();
    state.bridges[0].internal = true;
    let all = state.elements();
    assert!(all.contains_key(INTERNAL.name) && !all.contains_key(SUBNETS4.name));
}

#[test]
fn the_same_state_is_the_same_table() {
    let bytes = || state().plan_table("cais", Some(1)).finish().bytes().to_vec();
    assert_eq!(bytes(), bytes());
}

#[test]
fn registers_fit_the_keys() {
    // What a lookup reads begins at register 1 and is as long as its set's key.
    for chain in &CHAINS {
        for rule in chain.rules {
            for expression in *rule {
                if let Expression::Lookup { register, .. } = expression {
                    assert_eq!(*register, FIRST, "{}", chain.name);
                }
            }
        }
    }
    let uses: Vec<u32> = CHAINS.iter().map(uses_of).collect();
    assert_eq!(uses, [11, 8, 5, 2, 1, 1, 5, 5]);
}
