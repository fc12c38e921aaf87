//! Files that look like secrets: an image is given to others.

use std::path::Path;

/// How much of a file is looked at.
pub(super) const LOOKED_AT: usize = 64 * 1024;

/// Why a file looks like a secret by its name; `None` where it does not.
#[must_use]
pub fn secret_by_name(path: &Path) -> Option<&'static str> {
    let text = path.to_string_lossy();
    let name = path.file_name()?.to_string_lossy();
    let parent = path.parent().and_then(Path::file_name).unwrap_or_default();
    match name.as_ref() {
        "shadow" | "shadow-" | "gshadow" | "gshadow-" | "opasswd" if text.starts_with("/etc/") => {
            return Some("it holds passwords");
        }
        ".netrc" | ".pgpass" | ".git-credentials" | ".my.cnf" | ".htpasswd" | ".pypirc" | ".npmrc"
        | ".dockercfg" => return Some("it holds passwords or tokens"),
        "id_rsa" | "id_dsa" | "id_ecdsa" | "id_ed25519" | "id_ecdsa_sk" | "id_ed25519_sk" => {
            return Some("it is a private key");
        }
        "krb5.keytab" => return Some("it holds keys"),
        _ => {}
    }
    let inside = |directory: &str| text.contains(&format!("/{directory}/"));
    if inside(".ssh") || inside(".gnupg") {
        return Some("it lies where private keys lie");
    }
    if text.starts_with("/etc/ssl/private/") || text.starts_with("/etc/pki/tls/private/") {
        return Some("it lies where private keys lie");
    }
    let configuration = [
        (".docker", "config.json"),
        (".aws", "credentials"),
        (".kube", "config"),
        (".config/gh", "hosts.yml"),
        ("containers", "auth.json"),
    ];
    if configuration
        .iter()
        .any(|(directory, file)| text.ends_with(&format!("/{directory}/{file}")))
    {
        return Some("it holds passwords or tokens");
    }
    let is_host_key = name.starts_with("ssh_host_") && name.ends_with("_key");
    let ends = [".key", ".p12", ".pfx", ".kdbx", ".keytab", ".jks", ".ppk"];
    if is_host_key || ends.iter().any(|end| name.ends_with(end)) {
        return Some("its name is that of a private key");
    }
    (parent == "private" && name.ends_with(".pem")).then_some("its name is that of a private key")
}

/// Why a file looks like a secret by what it begins with.
#[must_use]
pub fn secret_by_content(start: &[u8]) -> Option<&'static str> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    let mut rest = start;
    while let Some(at) = find(rest, BEGIN) {
        let starts_line = at == 0 || rest.get(at - 1) == Some(&b'\n');
        let line = rest.get(at..).unwrap_or_default();
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        if starts_line && line.len() < 80 && line.trim_ascii_end().ends_with(b"PRIVATE KEY-----") {
            return Some("it contains a private key");
        }
        rest = rest.get(at + BEGIN.len()..).unwrap_or_default();
    }
    None
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    let mut from = 0;
    loop {
        let rest = text.get(from..)?;
        let at = from + rest.iter().position(|byte| *byte == first)?;
        if text.get(at..)?.starts_with(wanted) {
            return Some(at);
        }
        from = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (path, want) in [
            ("/etc/shadow", true),
            ("/root/.ssh/known_hosts", true),
            ("/srv/tls/site.key", true),
            ("/etc/ssh/ssh_host_rsa_key", true),
            ("/home/a/.docker/config.json", true),
            ("/etc/ssl/private/x.crt", true),
            ("/usr/share/key", false),
            ("/etc/ssl/certs/ca-certificates.crt", false),
            ("/etc/ssh/ssh_host_rsa_key.pub", false),
            ("/usr/lib/python3/private/x.py", false),
        ] {
            assert_eq!(secret_by_name(Path::new(path)).is_some(), want, "{path}");
        }
    }

    #[test]
    fn contents() {
        for (text, want) in [
            ("-----BEGIN PRIVATE KEY-----\n", true),
            ("x\n-----BEGIN OPENSSH PRIVATE KEY-----\r\n", true),
            ("-----BEGIN CERTIFICATE-----\n", false),
            ("print('-----BEGIN PRIVATE KEY-----')\n", false),
            ("", false),
            ("-----BEGIN", false),
        ] {
            assert_eq!(secret_by_content(text.as_bytes()).is_some(), want, "{text}");
        }
    }
}
