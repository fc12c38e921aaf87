use super::super::message::MessageReader;
use super::*;

const MAP: Set = Set {
    name: "ports",
    key: &[Field::Protocol, Field::Port],
    value: &[Field::Ipv4, Field::Port],
    ranges: false,
    expires: true,
};

fn element() -> Element {
    Element {
        key: vec![6, 0, 0, 0, 0x1f, 0x90, 0, 0],
        last: None,
        value: vec![172, 17, 0, 2, 0, 80, 0, 0],
        comment: "abc".into(),
    }
}

#[test]
fn elements_survive() {
    let mut transaction = Transaction::new("cais", Some(7));
    transaction.add_elements(&MAP, &[element(), element()]);
    let batch = transaction.finish();
    let messages: Vec<_> = MessageReader::new(batch.bytes()).collect();
    assert_eq!(messages.len(), 3);
    assert_eq!(messages[1].sequence, batch.sequence());
    let mut found = Vec::new();
    parse_elements(&messages[1], &mut found);
    assert_eq!(found, [element(), element()]);
}

#[test]
fn many_elements_take_several_messages() {
    let mut transaction = Transaction::new("cais", None);
    transaction.add_elements(&MAP, &vec![element(); 1000]);
    let batch = transaction.finish();
    let mut found = Vec::new();
    for message in MessageReader::new(batch.bytes()) {
        parse_elements(&message, &mut found);
    }
    assert_eq!(found.len(), 1000);
}

#[test]
fn what_expires_counts_no_more() {
    let mut transaction = Transaction::new("cais", None);
    transaction.expire_elements(&MAP, &[element()], Duration::from_millis(4));
    let batch = transaction.finish();
    let timeout = [12, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4];
    assert!(batch.bytes().windows(timeout.len()).any(|bytes| bytes == timeout));
    // So the kernel shows one: with the time that is left.
    let mut answer = Batch::default();
    answer.message(NEWSETELEM, 0, &body(INET), |attributes| {
        attributes.nest(3, |list| {
            list.nest(1, |attributes| {
                write_data(attributes, 1, &element().key);
                attributes.be64(5, 3);
            });
        });
    });
    let mut found = Vec::new();
    for message in MessageReader::new(answer.bytes()) {
        parse_elements(&message, &mut found);
    }
    assert!(found.is_empty());
}

#[test]
fn types_as_nft_shows_them() {
    assert_eq!((datatype(MAP.key), length(MAP.key)), (0x30d, 8));
    assert_eq!((datatype(MAP.value), length(MAP.value)), (0x1cd, 8));
    assert_eq!(datatype(&[Field::Ipv4, Field::Protocol, Field::Port]), 0x730d);
    assert_eq!(length(&[Field::Family]), 1);
}

#[test]
fn the_number_after() {
    assert_eq!(successor(&[1, 255, 255]), Some(vec![2, 0, 0]));
    assert_eq!(successor(&[255, 255]), None);
    assert_eq!(successor(&[]), None);
}

/// The end of a transaction is acknowledged by Linux 6.10 and later only.
#[test]
fn the_end_of_a_transaction_is_not_waited_for() {
    let mut transaction = Transaction::new("t", None);
    transaction.add_table();
    let mut batch = transaction.finish();
    let before = (batch.bytes().to_vec(), batch.sequence());
    batch.ensure_acknowledged();
    assert_eq!((batch.bytes().to_vec(), batch.sequence()), before);
}
