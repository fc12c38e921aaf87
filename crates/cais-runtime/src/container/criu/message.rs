//! CRIU's messages: protocol buffers (protobuf.dev, "Encoding") with the numbers of
//! `images/rpc.proto` of CRIU 3.17, which later versions keep.

/// What is asked (`criu_req_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::container) enum Request {
    /// Write the processes down.
    Dump = 1,
    /// Make them again.
    Restore = 2,
    /// Write down what changed, and let them go on.
    PreDump = 4,
    /// The answer to a notification.
    Notify = 6,
}

impl Request {
    /// The name that runc's messages have.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Dump => "DUMP",
            Self::Restore => "RESTORE",
            Self::PreDump => "PRE_DUMP",
            Self::Notify => "NOTIFY",
        }
    }
}

/// The numbers of `criu_opts`.
pub(in crate::container) mod option {
    pub(in crate::container) const IMAGES_DIR_FD: u32 = 1;
    pub(in crate::container) const PID: u32 = 2;
    pub(in crate::container) const LEAVE_RUNNING: u32 = 3;
    pub(in crate::container) const EXT_UNIX_SK: u32 = 4;
    pub(in crate::container) const TCP_ESTABLISHED: u32 = 5;
    pub(in crate::container) const EVASIVE_DEVICES: u32 = 6;
    pub(in crate::container) const SHELL_JOB: u32 = 7;
    pub(in crate::container) const FILE_LOCKS: u32 = 8;
    pub(in crate::container) const LOG_LEVEL: u32 = 9;
    pub(in crate::container) const LOG_FILE: u32 = 10;
    pub(in crate::container) const PAGE_SERVER: u32 = 11;
    pub(in crate::container) const NOTIFY_SCRIPTS: u32 = 12;
    pub(in crate::container) const ROOT: u32 = 13;
    pub(in crate::container) const PARENT_IMG: u32 = 14;
    pub(in crate::container) const TRACK_MEM: u32 = 15;
    pub(in crate::container) const AUTO_DEDUP: u32 = 16;
    pub(in crate::container) const WORK_DIR_FD: u32 = 17;
    pub(in crate::container) const LINK_REMAP: u32 = 18;
    pub(in crate::container) const EXT_MNT: u32 = 23;
    pub(in crate::container) const MANAGE_CGROUPS: u32 = 24;
    pub(in crate::container) const CG_ROOT: u32 = 25;
    pub(in crate::container) const RST_SIBLING: u32 = 26;
    pub(in crate::container) const INHERIT_FD: u32 = 27;
    pub(in crate::container) const MANAGE_CGROUPS_MODE: u32 = 34;
    pub(in crate::container) const EXTERNAL: u32 = 37;
    pub(in crate::container) const EMPTY_NS: u32 = 38;
    pub(in crate::container) const FREEZE_CGROUP: u32 = 44;
    pub(in crate::container) const TCP_SKIP_IN_FLIGHT: u32 = 46;
    pub(in crate::container) const LAZY_PAGES: u32 = 48;
    pub(in crate::container) const STATUS_FD: u32 = 49;
    pub(in crate::container) const ORPHAN_PTS_MASTER: u32 = 50;
    pub(in crate::container) const TCP_CLOSE: u32 = 52;
    pub(in crate::container) const LSM_PROFILE: u32 = 53;
    pub(in crate::container) const LSM_MOUNT_CONTEXT: u32 = 63;
}

/// A message that is being written: fields in any order.
#[derive(Debug, Default, Clone)]
pub(in crate::container) struct Fields(Vec<u8>);

impl Fields {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
            value >>= 7;
        }
        self.0.push(u8::try_from(value).unwrap_or(0));
    }

    /// A number, also of an enum. Negative ones take all of ten bytes.
    pub(in crate::container) fn number(&mut self, field: u32, value: i64) -> &mut Self {
        self.varint(u64::from(field) << 3);
        self.varint(value.cast_unsigned());
        self
    }

    /// Yes, where `value` is; no is the default, which is not sent.
    pub(in crate::container) fn flag(&mut self, field: u32, value: bool) -> &mut Self {
        if value {
            self.number(field, 1);
        }
        self
    }

    /// A text or the bytes of a message.
    pub(in crate::container) fn bytes(&mut self, field: u32, value: &[u8]) -> &mut Self {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(u64::try_from(value.len()).unwrap_or(u64::MAX));
        self.0.extend(value);
        self
    }

    /// A text.
    pub(in crate::container) fn text(&mut self, field: u32, value: &str) -> &mut Self {
        self.bytes(field, value.as_bytes())
    }

    /// A message that holds two texts: what most of the repeated options are.
    pub(in crate::container) fn pair(&mut self, field: u32, key: &str, value: &str) -> &mut Self {
        let mut pair = Self::default();
        pair.text(1, key).text(2, value);
        self.message(field, &pair)
    }

    /// A message within.
    pub(in crate::container) fn message(&mut self, field: u32, message: &Self) -> &mut Self {
        self.bytes(field, &message.0)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A whole request.
pub(super) fn request(kind: Request, options: &Fields) -> Fields {
    let mut request = Fields::default();
    request.number(1, kind as i64).message(2, options);
    request
}

/// The answer to a notification: whether it was taken well.
pub(super) fn notified(well: bool) -> Fields {
    let mut request = Fields::default();
    request
        .number(1, Request::Notify as i64)
        .number(3, i64::from(well));
    request
}

/// What CRIU answers (`criu_resp`).
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(in crate::container) struct Response {
    /// To which request.
    pub(super) kind: u64,
    /// Whether it was done.
    pub(super) success: bool,
    /// The first process, where it was made again.
    pub(in crate::container) pid: i32,
    /// The script of a notification, and the process that it is about.
    pub(super) script: String,
    pub(super) script_pid: i32,
    /// The errno of what failed, and a word about it.
    pub(super) errno: i32,
    pub(super) message: String,
}

/// The answer is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Reads an answer. Fields that are not known are left out.
pub(super) fn parse_response(bytes: &[u8]) -> Result<Response, Malformed> {
    let mut response = Response::default();
    each_field(bytes, |field, value| {
        match (field, value) {
            (1, Value::Number(number)) => response.kind = number,
            (2, Value::Number(number)) => response.success = number != 0,
            (4, Value::Bytes(bytes)) => each_field(bytes, |field, value| {
                if let (1, Value::Number(pid)) = (field, value) {
                    response.pid = int(pid);
                }
                Ok(())
            })?,
            (5, Value::Bytes(bytes)) => each_field(bytes, |field, value| {
                match (field, value) {
                    (1, Value::Bytes(script)) => {
                        response.script = String::from_utf8_lossy(script).into_owned();
                    }
                    (2, Value::Number(pid)) => response.script_pid = int(pid),
                    _ => {}
                }
                Ok(())
            })?,
            (7, Value::Number(errno)) => response.errno = int(errno),
            (9, Value::Bytes(text)) => response.message = String::from_utf8_lossy(text).into_owned(),
            _ => {}
        }
        Ok(())
    })?;
    Ok(response)
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn int(value: u64) -> i32 {
    i32::try_from(value.cast_signed()).unwrap_or(0)
}

fn each_field<'a>(
    mut bytes: &'a [u8],
    mut take: impl FnMut(u64, Value<'a>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    while !bytes.is_empty() {
        let key = take_varint(&mut bytes)?;
        let value = match key & 7 {
            0 => Value::Number(take_varint(&mut bytes)?),
            1 => Value::Bytes(take_bytes(&mut bytes, 8)?),
            2 => {
                let length = usize::try_from(take_varint(&mut bytes)?).or(Err(Malformed))?;
                Value::Bytes(take_bytes(&mut bytes, length)?)
            }
            5 => Value::Bytes(take_bytes(&mut bytes, 4)?),
            _ => return Err(Malformed),
        };
        take(key >> 3, value)?;
    }
    Ok(())
}

fn take_varint(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().ok_or(Malformed)?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed)
}

fn take_bytes<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], Malformed> {
    let (head, rest) = bytes.split_at_checked(length).ok_or(Malformed)?;
    *bytes = rest;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_as_protobuf_has_them() {
        let mut fields = Fields::default();
        fields
            .number(1, 150)
            .text(2, "testing")
            .flag(3, false)
            .flag(4, true)
            .number(5, -1);
        let mut want = vec![0x08, 0x96, 0x01, 0x12, 0x07];
        want.extend(b"testing");
        want.extend([0x20, 1, 0x28]);
        want.extend([0xff; 9]);
        want.push(1);
        assert_eq!(fields.as_bytes(), want);
    }

    #[test]
    fn answers() {
        let mut notify = Fields::default();
        notify.text(1, "post-restore").number(2, 4711);
        let mut answer = Fields::default();
        answer
            .number(1, 6)
            .number(2, 1)
            .message(5, &notify)
            .number(7, -5)
            .number(99, 1);
        let response = parse_response(answer.as_bytes()).unwrap();
        assert_eq!(
            (response.kind, response.success, response.script.as_str()),
            (6, true, "post-restore")
        );
        assert_eq!((response.script_pid, response.errno), (4711, -5));
        for damaged in [&[0x08][..], &[0x12, 0x7f, 1], &[0x0b], &[0xff; 12]] {
            assert_eq!(parse_response(damaged), Err(Malformed), "{damaged:x?}");
        }
    }
}
