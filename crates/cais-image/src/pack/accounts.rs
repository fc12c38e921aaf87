//! `/etc/passwd` and `/etc/group` of the image: the system's accounts and those that something
//! belongs to, without people and without passwords.

use std::collections::BTreeSet;

/// System accounts are below (login.defs(5), `UID_MIN`).
const FIRST_PERSON: u32 = 1000;
/// nobody and nogroup.
const NOBODY: u32 = 65534;

/// Who is to be in beside the system's accounts.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Owners of files.
    pub uids: BTreeSet<u32>,
    /// Groups of files.
    pub gids: BTreeSet<u32>,
    /// The name or number of the user of the image, and of the group.
    pub names: BTreeSet<String>,
}

fn lines(bytes: &[u8]) -> Vec<Vec<String>> {
    let text = String::from_utf8_lossy(bytes);
    text.split('\n')
        .map(|line| line.trim_end_matches('\r'))
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(':').map(str::to_owned).collect())
        .collect()
}

fn is_in(id: u32, name: &str, ids: &BTreeSet<u32>, names: &BTreeSet<String>) -> bool {
    id < FIRST_PERSON
        || id == NOBODY
        || ids.contains(&id)
        || names.contains(name)
        || names.contains(&id.to_string())
}

/// The accounts of the image: passwd(5) and group(5).
#[must_use]
pub fn choose_accounts(passwd: &[u8], group: &[u8], wanted: &Wanted) -> (Vec<u8>, Vec<u8>) {
    let mut users = BTreeSet::new();
    let mut gids = wanted.gids.clone();
    let mut accounts = String::new();
    for mut line in lines(passwd) {
        let [name, password, uid, gid, ..] = &mut line[..] else {
            continue;
        };
        let Ok(uid) = uid.parse() else { continue };
        if line_is_short(name) || !is_in(uid, name, &wanted.uids, &wanted.names) {
            continue;
        }
        "x".clone_into(password);
        gids.extend(gid.parse::<u32>());
        users.insert(name.clone());
        accounts += &(line.join(":") + "\n");
    }
    let mut groups = String::new();
    for mut line in lines(group) {
        let [name, password, gid, members] = &mut line[..] else {
            continue;
        };
        let Ok(gid) = gid.parse() else { continue };
        if line_is_short(name) || !is_in(gid, name, &gids, &wanted.names) {
            continue;
        }
        "x".clone_into(password);
        let known: Vec<&str> = members.split(',').filter(|name| users.contains(*name)).collect();
        *members = known.join(",");
        groups += &(line.join(":") + "\n");
    }
    if accounts.is_empty() {
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
            .clone_into(&mut accounts);
    }
    if groups.is_empty() {
        "root:x:0:\nnogroup:x:65534:\n".clone_into(&mut groups);
    }
    (accounts.into_bytes(), groups.into_bytes())
}

/// Lines of NIS begin with a sign.
fn line_is_short(name: &str) -> bool {
    name.is_empty() || name.starts_with(['+', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_stay_out_unless_something_is_theirs() {
        let passwd = b"root:$6$hash:0:0:root:/root:/bin/bash\nann:x:1000:1000:Ann:/home/ann:/bin/sh\n\
            bob:x:1001:1001::/home/bob:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n+::::::\nbad\n";
        let group = b"root:x:0:ann,root\nann:x:1000:\nbob:!:1001:bob,ann\nusers:x:1100:\n";
        let (users, groups) = choose_accounts(passwd, group, &Wanted::default());
        assert_eq!(
            String::from_utf8(users).unwrap(),
            "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/:/bin/false\n"
        );
        assert_eq!(String::from_utf8(groups).unwrap(), "root:x:0:root\n");
        let wanted = Wanted {
            names: ["1001".to_owned()].into(),
            gids: [1100].into(),
            ..Wanted::default()
        };
        let (users, groups) = choose_accounts(passwd, group, &wanted);
        assert!(String::from_utf8(users).unwrap().contains("bob:x:1001"));
        assert_eq!(
            String::from_utf8(groups).unwrap(),
            "root:x:0:root\nbob:x:1001:bob\nusers:x:1100:\n"
        );
        // Found by fuzzing: what is written is the same when it is read again.
        let (users, _) = choose_accounts(b"a:b:8:9\r\r\n", b"", &Wanted::default());
        assert_eq!(users, b"a:x:8:9\n");
        let (users, _) = choose_accounts(b"", b"", &Wanted::default());
        assert!(users.starts_with(b"root:"));
    }
}
