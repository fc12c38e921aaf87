//! Messages as sd-bus (busctl 252) puts them on the wire, and bytes that are none.

use super::*;

/// `busctl call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus Hello`.
const HELLO: &str = "6c01000100000000010000006d00000001016f00150000002f6f72672f667265656465736b746f702f44427573\
     000000030173000500000048656c6c6f00000002017300140000006f72672e667265656465736b746f702e4442\
     75730000000006017300140000006f72672e667265656465736b746f702e4442757300000000";

/// `busctl call … StartTransientUnit 'ssa(sv)a(sa(sv))' cais-web.scope replace 7
/// Description s "cais container web" Slice s system.slice Delegate b true PIDs au 1 4711
/// CPUQuotaPerSecUSec t 500000 AllowedCPUs ay 2 3 1 DeviceAllow 'a(ss)' 1 /dev/char/1:3 rwm 0`
const START: &str = "6c0104013801000002000000b600000001016f00190000002f6f72672f667265656465736b746f702f73797374\
     656d643100000000000000030173001200000053746172745472616e7369656e74556e69740000000000000201\
     7300200000006f72672e667265656465736b746f702e73797374656d64312e4d616e6167657200000000000000\
     0006017300180000006f72672e667265656465736b746f702e73797374656d6431000000000000000008016700\
     10737361287376296128736128737629290000000e000000636169732d7765622e73636f706500000700000072\
     65706c616365000c010000000000000b0000004465736372697074696f6e000173000012000000636169732063\
     6f6e7461696e65722077656200000000000005000000536c696365000173000000000c00000073797374656d2e\
     736c69636500000000000000000800000044656c65676174650001620001000000000000000400000050494473\
     000261750000000004000000671200001200000043505551756f74615065725365635553656300017400000000\
     00000020a10700000000000b000000416c6c6f7765644350557300026179000200000003010000000000000b00\
     0000446576696365416c6c6f770005612873732900001c000000000000000d0000002f6465762f636861722f31\
     3a330000000300000072776d0000000000";

fn unhex(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

fn call(serial: u32, fields: [&str; 4], body: Vec<Value>) -> Message {
    let [path, member, interface, destination] = fields;
    Message {
        kind: CALL,
        flags: 0,
        serial,
        fields: vec![
            (PATH, Value::Path(path.into())),
            (MEMBER, text(member)),
            (INTERFACE, text(interface)),
            (DESTINATION, text(destination)),
        ],
        body,
    }
}

fn start() -> Message {
    let property = |name: &str, value| Value::Struct(vec![text(name), Value::Variant(Box::new(value))]);
    let device = Value::Struct(vec![text("/dev/char/1:3"), text("rwm")]);
    let properties = vec![
        property("Description", text("cais container web")),
        property("Slice", text("system.slice")),
        property("Delegate", Value::Bool(true)),
        property("PIDs", Value::Array("u".into(), vec![Value::U32(4711)])),
        property("CPUQuotaPerSecUSec", Value::U64(500_000)),
        property(
            "AllowedCPUs",
            Value::Array("y".into(), vec![Value::Byte(3), Value::Byte(1)]),
        ),
        property("DeviceAllow", Value::Array("(ss)".into(), vec![device])),
    ];
    let fields = [
        "/org/freedesktop/systemd1",
        "StartTransientUnit",
        "org.freedesktop.systemd1.Manager",
        "org.freedesktop.systemd1",
    ];
    let body = vec![
        text("cais-web.scope"),
        text("replace"),
        Value::Array("(sv)".into(), properties),
        Value::Array("(sa(sv))".into(), vec![]),
    ];
    // busctl lets polkit ask the user.
    Message {
        flags: 4,
        ..call(2, fields, body)
    }
}

#[test]
fn messages_as_sd_bus_writes_them() {
    let bus = "org.freedesktop.DBus";
    let hello = call(1, ["/org/freedesktop/DBus", "Hello", bus, bus], vec![]);
    for (message, hex) in [(hello, HELLO), (start(), START)] {
        let bytes = unhex(hex);
        assert_eq!(message.encode().unwrap(), bytes);
        assert_eq!(Message::decode(&bytes), Ok(Some((message.clone(), bytes.len()))));
        // A second message behind it changes nothing.
        let twice = [bytes.clone(), bytes.clone()].concat();
        assert_eq!(Message::decode(&twice), Ok(Some((message, bytes.len()))));
    }
}

#[test]
fn a_message_is_waited_for_to_its_end() {
    let bytes = unhex(START);
    for end in 0..bytes.len() {
        assert_eq!(Message::decode(&bytes[..end]), Ok(None), "{end}");
    }
}

#[test]
fn whatever_is_changed_there_is_no_panic() {
    let bytes = unhex(START);
    for at in 0..bytes.len() {
        for value in [0, 1, 0x28, 0x61, 0x7f, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] = value;
            Message::decode(&changed).ok();
        }
    }
}

/// The body of a message with just this.
fn marshal(value: &Value) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.value(value).unwrap();
    writer.0
}

#[test]
fn each_type_on_its_own_boundary() {
    let array = |element: &str, items| Value::Array(element.into(), items);
    let entry = |key, value| Value::Entry(Box::new(key), Box::new(value));
    let pair = |number, rest| Value::Struct(vec![Value::Byte(number), rest]);
    for (value, signature, hex) in [
        (pair(1, Value::Byte(2)), "(yy)", "0102"),
        (pair(1, Value::Bool(true)), "(yb)", "01000000 01000000"),
        (pair(1, Value::I16(-2)), "(yn)", "0100 feff"),
        (pair(1, Value::U16(0x1234)), "(yq)", "0100 3412"),
        (pair(1, Value::I32(-2)), "(yi)", "01000000 feffffff"),
        (pair(1, Value::U32(0x1234_5678)), "(yu)", "01000000 78563412"),
        (pair(1, Value::Handle(3)), "(yh)", "01000000 03000000"),
        (
            pair(1, Value::I64(-2)),
            "(yx)",
            "0100000000000000 feffffffffffffff",
        ),
        (
            pair(1, Value::U64(3)),
            "(yt)",
            "0100000000000000 0300000000000000",
        ),
        (
            pair(1, Value::F64(1.0)),
            "(yd)",
            "0100000000000000 000000000000f03f",
        ),
        (pair(1, text("hi")), "(ys)", "01000000 02000000 686900"),
        (pair(1, Value::Path("/".into())), "(yo)", "01000000 01000000 2f00"),
        (pair(1, Value::Signature("as".into())), "(yg)", "01 02 617300"),
        (
            pair(1, Value::Variant(Box::new(Value::U32(5)))),
            "(yv)",
            "01 01 7500 05000000",
        ),
        (
            pair(1, array("q", vec![Value::U16(1), Value::U16(2)])),
            "(yaq)",
            "01000000 04000000 01000200",
        ),
        // The padding before the first element does not count, and is there without any.
        (
            pair(1, array("t", vec![Value::U64(1)])),
            "(yat)",
            "01000000 08000000 0100000000000000",
        ),
        (array("t", vec![]), "at", "00000000 00000000"),
        (
            array(
                "{sv}",
                vec![entry(text("k"), Value::Variant(Box::new(Value::Byte(9))))],
            ),
            "a{sv}",
            "0a000000 00000000 01000000 6b00 01 7900 09",
        ),
    ] {
        let bytes = unhex(&hex.replace(' ', ""));
        assert_eq!(value.signature(), signature);
        assert_eq!(marshal(&value), bytes, "{signature}");
        let mut reader = Reader {
            bytes: &bytes,
            at: 0,
            big_endian: false,
        };
        assert_eq!(reader.value(signature, 0), Ok(value), "{signature}");
        assert_eq!(reader.at, bytes.len(), "{signature}");
    }
}

#[test]
fn the_other_byte_order_is_read() {
    // A return with one string.
    let bytes = unhex(
        &"42 02 01 01 00000007 00000001 0000000f 05 01 7500 00000009 08 01 6700 01 7300 00 00000002 6f6b00"
            .replace(' ', ""),
    );
    let (message, length) = Message::decode(&bytes).unwrap().unwrap();
    assert_eq!(length, bytes.len());
    assert_eq!(message.kind, RETURN);
    assert_eq!(message.field(REPLY_SERIAL), Some(&Value::U32(9)));
    assert_eq!(message.body, [text("ok")]);
}

#[test]
fn values_that_cannot_be_sent() {
    for body in [
        text("a\0b"),
        Value::Array("s".into(), vec![Value::Path("/\0".into())]),
        Value::Signature("y".repeat(256)),
    ] {
        let error = call(1, ["/", "A", "b.c", "d.e"], vec![body]).encode();
        assert!(matches!(error, Err(SystemdError::Malformed(_))), "{error:?}");
    }
}

#[test]
fn types_are_taken_apart() {
    for (signature, first, rest) in [
        ("s", "s", ""),
        ("ssa(sv)", "s", "sa(sv)"),
        ("a(sa(sv))u", "a(sa(sv))", "u"),
        ("aay", "aay", ""),
        ("a{s(iv)}b", "a{s(iv)}", "b"),
    ] {
        assert_eq!(split_type(signature), Ok((first, rest)), "{signature}");
    }
    for signature in ["", "a", "(", "()", "(s", "{s}", "{sss}", "z", "a()", "ä"] {
        assert!(split_type(signature).is_err(), "{signature}");
    }
}

#[test]
fn a_nest_of_variants_is_not_followed_for_ever() {
    let mut bytes = Vec::new();
    for _ in 0..100 {
        bytes.extend(b"\x01v\0");
    }
    let mut reader = Reader {
        bytes: &bytes,
        at: 0,
        big_endian: false,
    };
    assert_eq!(
        reader.value("v", 0),
        Err(SystemdError::Malformed("nested too deeply"))
    );
}
