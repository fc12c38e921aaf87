//! Questions to the kernel about tables, and its answers.

use super::*;

/// Asks for the number of the rule set, which changes with every transaction.
pub fn ask_generation(batch: &mut Batch) {
    batch.message(GETGEN, 0, &body(0), |_| {});
}

/// The number in the answer to [`ask_generation`].
#[must_use]
pub fn parse_generation(message: &Message<'_>) -> Option<u32> {
    (message.kind == NEWGEN)
        .then(|| message.attributes(4).find(1))
        .flatten()?
        .be32()
}

/// Asks for a table: an error where it is not there.
pub fn ask_table(batch: &mut Batch, table: &str) {
    batch.message(GETTABLE, 0, &body(INET), |attributes| attributes.text(1, table));
}

/// Asks for a chain of a table: an error where it is not there.
pub fn ask_chain(batch: &mut Batch, table: &str, chain: &str) {
    batch.message(GETCHAIN, 0, &body(INET), |attributes| {
        attributes.text(1, table);
        attributes.text(3, chain);
    });
}

/// Asks for all chains of all tables of all families.
pub fn list_chains(batch: &mut Batch) {
    batch.message(GETCHAIN, DUMP, &body(0), |_| {});
}

/// A chain as the kernel describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    /// `NFPROTO_*` of its table.
    pub family: u8,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// The hook, where it has one.
    pub hook: Option<u32>,
    /// Whether what comes to its end is dropped.
    pub drops: bool,
    /// How many rules and jumps it has.
    pub uses: u32,
}

/// Reads an answer to [`ask_chain`] or [`list_chains`]; `None` for another message.
#[must_use]
pub fn parse_chain(message: &Message<'_>) -> Option<Chain> {
    if message.kind != NEWCHAIN {
        return None;
    }
    let mut chain = Chain {
        family: *message.body.first()?,
        ..Chain::default()
    };
    for attribute in message.attributes(4) {
        match attribute.kind {
            1 => chain.table = attribute.text().unwrap_or_default().to_owned(),
            3 => chain.name = attribute.text().unwrap_or_default().to_owned(),
            4 => chain.hook = attribute.nested().find(1).and_then(|hook| hook.be32()),
            5 => chain.drops = attribute.be32() == Some(DROP.cast_unsigned()),
            6 => chain.uses = attribute.be32().unwrap_or(0),
            _ => {}
        }
    }
    Some(chain)
}

/// Asks for all elements of a set.
pub fn list_elements(batch: &mut Batch, table: &str, set: &str) {
    batch.message(GETSETELEM, DUMP, &body(INET), |attributes| {
        attributes.text(1, table);
        attributes.text(2, set);
    });
}

/// Asks for one element of a set: an error where it is not there.
pub fn ask_element(batch: &mut Batch, table: &str, set: &Set, element: &Element) {
    batch.message(GETSETELEM, 0, &body(INET), |attributes| {
        attributes.text(1, table);
        attributes.text(2, set.name);
        attributes.nest(3, |list| write_element(list, set, element, None));
    });
}

/// Reads the elements in an answer to [`list_elements`]. The end of a range of single keys
/// is left out, and what is about to expire; comments are read.
pub fn parse_elements(message: &Message<'_>, take: &mut Vec<Element>) {
    if message.kind != NEWSETELEM {
        return;
    }
    let Some(list) = message.attributes(4).find(3) else {
        return;
    };
    for item in list.nested() {
        let attributes = item.nested();
        let data = |kind| {
            let nest = attributes.find(kind)?;
            nest.nested().find(1).map(|value| value.value.to_vec())
        };
        let is_end = attributes.find(3).and_then(|flags| flags.be32()).unwrap_or(0) & 1 != 0;
        let expires = attributes.find(5).is_some();
        let Some(key) = data(1).filter(|_| !is_end && !expires) else {
            continue;
        };
        let comment = attributes
            .find(6)
            .and_then(|userdata| {
                let (header, text) = userdata.value.split_first_chunk::<2>()?;
                (header[0] == 0).then_some(text)
            })
            .map(|text| String::from_utf8_lossy(text.strip_suffix(&[0]).unwrap_or(text)).into_owned());
        take.push(Element {
            key,
            last: data(10),
            value: data(2).unwrap_or_default(),
            comment: comment.unwrap_or_default(),
        });
    }
}

/// Reads the elements of a set that packets are counted in: keys and packets.
pub fn parse_counts(message: &Message<'_>, take: &mut Vec<(Vec<u8>, u64)>) {
    let list = message
        .attributes(4)
        .find(3)
        .filter(|_| message.kind == NEWSETELEM);
    for item in list.into_iter().flat_map(|list| list.nested()) {
        let attributes = item.nested();
        let key = attributes.find(1).and_then(|key| key.nested().find(1));
        let counter = attributes.find(7).and_then(|counter| counter.nested().find(2));
        let packets = counter.and_then(|data| data.nested().find(2));
        let number = packets.and_then(|packets| packets.value.try_into().ok());
        take.extend(key.map(|key| (key.value.to_vec(), number.map_or(0, u64::from_be_bytes))));
    }
}
