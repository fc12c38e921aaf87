use super::*;

/// A query for `web` of this type, with these octets behind the question.
fn query(kind: u16, additional: u8, behind: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, additional];
    bytes.extend_from_slice(b"\x03WeB\0");
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&[0, 1]);
    bytes.extend_from_slice(behind);
    bytes
}

const OPT: [u8; 11] = [0, 0, 41, 0x10, 0, 0, 0, 0x80, 0, 0, 0];

#[test]
fn a_plain_query_and_one_with_edns() {
    let plain = parse_query(&query(kind::A, 0, &[])).unwrap();
    assert_eq!((plain.id, plain.flags), (0x1234, 0x0100));
    assert_eq!(plain.question.name.text().unwrap(), "web");
    assert_eq!(plain.spelled, b"\x03WeB\0\0\x01\0\x01");
    assert_eq!(plain.udp_limit(), 512);
    let edns = parse_query(&query(kind::AAAA, 1, &OPT)).unwrap();
    assert_eq!(
        edns.edns,
        Some(Edns {
            udp_size: 4096,
            dnssec: true,
            version: 0
        })
    );
    assert_eq!(edns.udp_limit(), 1232);
}

#[test]
fn what_is_no_query() {
    let good = query(kind::A, 0, &[]);
    let with = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    let answer = |rcode| {
        move |flags| Reject::Answer {
            id: 0x1234,
            flags,
            rcode,
        }
    };
    let form = answer(Rcode::FormErr);
    for (message, want) in [
        (vec![], Reject::Drop),
        (good[..11].to_vec(), Reject::Drop),
        // A response: answering it could make two servers talk for ever.
        (with(2, 0x81), Reject::Drop),
        (with(2, 0x29), answer(Rcode::NotImp)(0x2900)),
        (with(5, 0), form(0x100)),
        (with(5, 2), form(0x100)),
        (with(7, 1), form(0x100)),
        (with(9, 1), form(0x100)),
        (with(11, 1), form(0x100)),
        (with(11, 200), form(0x100)),
        (with(12, 0xc0), form(0x100)),
        (with(12, 0x3f), form(0x100)),
        (good[..good.len() - 1].to_vec(), form(0x100)),
        // Two OPT records; one whose data goes beyond the end; one that is not the root's.
        (query(kind::A, 2, &[OPT, OPT].concat()), form(0x100)),
        (
            query(kind::A, 1, &[0, 0, 41, 2, 0, 0, 0, 0, 0, 0, 9]),
            form(0x100),
        ),
        (query(kind::A, 1, &[&[1, b'a'][..], &OPT].concat()), form(0x100)),
        (query(kind::A, 0, &[0; 2000]), form(0x100)),
    ] {
        assert_eq!(parse_query(&message), Err(want), "{message:02x?}");
    }
}

#[test]
fn an_answer_repeats_the_question_as_it_was_spelled() {
    let asked = parse_query(&query(kind::A, 0, &[])).unwrap();
    let answer = Answer {
        records: vec![Record::Address("10.0.0.2".parse().unwrap())],
        ..Answer::empty(Rcode::NoError)
    };
    let want = [
        &[0x12, 0x34, 0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0][..],
        b"\x03WeB\0\0\x01\0\x01",
        &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 10, 0, 0, 2],
    ];
    assert_eq!(answer.encode(&asked, 512), want.concat());
}

#[test]
fn what_does_not_fit_is_left_out_and_said() {
    let asked = parse_query(&query(kind::A, 1, &OPT)).unwrap();
    let records = (0..100u8).map(|last| Record::Address([10, 0, 0, last].into()));
    let answer = Answer {
        records: records.collect(),
        ..Answer::empty(Rcode::NoError)
    };
    let message = answer.encode(&asked, 512);
    assert!(message.len() <= 512);
    assert_eq!(message[2] & 2, 2);
    assert_eq!(usize::from(message[7]), (512 - 11 - 21) / 16);
    let whole = answer.encode(&asked, 65_535);
    assert_eq!((whole[2] & 2, whole[7]), (0, 100));
}

#[test]
fn errors_explain_themselves_to_those_who_can_hear_it() {
    let asked = parse_query(&query(kind::A, 1, &OPT)).unwrap();
    let answer = Answer {
        explanation: Some(Explanation { code: 15, text: "no" }),
        ..Answer::empty(Rcode::NxDomain)
    };
    let message = answer.encode(&asked, 512);
    let option = [
        0, 0, 41, 0x04, 0xd0, 0, 0, 0x80, 0, 0, 8, 0, 15, 0, 4, 0, 15, b'n', b'o',
    ];
    assert!(message.ends_with(&option), "{message:02x?}");
    assert_eq!(message[3] & 15, 3);
    let plain = parse_query(&query(kind::A, 0, &[])).unwrap();
    assert!(answer.encode(&plain, 512).ends_with(&[0, 1, 0, 1]));
}

#[test]
fn damaged_queries_do_no_harm() {
    let good = query(kind::A, 1, &OPT);
    for at in 0..good.len() {
        for value in 0..=255 {
            let mut bytes = good.clone();
            bytes[at] = value;
            drop(parse_query(&bytes));
            drop(parse_query(&bytes[..at]));
        }
    }
}
