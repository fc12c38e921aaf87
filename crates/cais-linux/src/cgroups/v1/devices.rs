//! Devices (admin-guide/cgroup-v1/devices.rst): a list of exceptions to "all" or to
//! "none".

use crate::cgroups::plan::Write;
use crate::cgroups::resources::{DeviceKind, DeviceRule};

pub(crate) fn plan(rules: &[DeviceRule], writes: &mut Vec<Write>) {
    for rule in rules {
        let file = if rule.allow {
            "devices.allow"
        } else {
            "devices.deny"
        };
        // Where the controller is not mounted devices are held off by other walls (the
        // user namespace, the few nodes in /dev); it is not what a user asked for.
        writes.push(Write {
            optional: true,
            ..Write::new("devices", file, render(rule))
        });
    }
}

fn render(rule: &DeviceRule) -> String {
    // `a` alone is everything; with more behind it the kernel takes it as everything too.
    if rule.is_everything() {
        return "a".to_owned();
    }
    let kind = match rule.kind {
        DeviceKind::All => 'a',
        DeviceKind::Block => 'b',
        DeviceKind::Character => 'c',
    };
    let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
    let mut access = String::new();
    for (set, letter) in [(rule.read, 'r'), (rule.write, 'w'), (rule.mknod, 'm')] {
        if set {
            access.push(letter);
        }
    }
    format!("{kind} {}:{} {access}", number(rule.major), number(rule.minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_as_the_kernel_reads_them() {
        let none = DeviceRule {
            allow: false,
            kind: DeviceKind::All,
            major: None,
            minor: None,
            read: true,
            write: true,
            mknod: true,
        };
        let null = DeviceRule {
            allow: true,
            kind: DeviceKind::Character,
            major: Some(1),
            minor: Some(3),
            ..none
        };
        let nodes = DeviceRule {
            allow: true,
            kind: DeviceKind::Block,
            read: false,
            write: false,
            ..none
        };
        assert_eq!(
            [none, null, nodes].map(|rule| render(&rule)),
            ["a", "c 1:3 rwm", "b *:* m"]
        );
    }
}
