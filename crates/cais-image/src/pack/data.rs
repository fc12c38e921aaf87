//! Files that libraries read without naming them anywhere that could be followed.

/// What a library reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Data {
    /// How the names of the library begin.
    pub(super) libraries: &'static [&'static str],
    /// What it reads, where it is there.
    pub(super) files: &'static [&'static str],
}

/// The certificates of authorities, where distributions keep them.
const AUTHORITIES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

/// What libraries read.
pub(super) const DATA: &[Data] = &[
    Data {
        libraries: &[
            "libssl.so",
            "libssl-",
            "libgnutls.so",
            "libssl3.so",
            "libmbedtls.so",
            "libwolfssl.so",
            "libtls.so",
        ],
        files: AUTHORITIES,
    },
    Data {
        libraries: &["libssl.so"],
        // Where OpenSSL looks by itself: links to the above.
        files: &["/usr/lib/ssl/cert.pem", "/usr/lib/ssl/certs"],
    },
    Data {
        libraries: &["libcrypto.so"],
        files: &["/usr/lib/ssl/openssl.cnf", "/etc/pki/tls/openssl.cnf"],
    },
    Data {
        libraries: &["libtinfo", "libncurses"],
        files: &[
            "/usr/share/terminfo/x/xterm",
            "/usr/share/terminfo/x/xterm-256color",
            "/usr/share/terminfo/l/linux",
            "/usr/share/terminfo/s/screen",
            "/usr/share/terminfo/s/screen-256color",
            "/usr/share/terminfo/t/tmux",
            "/usr/share/terminfo/t/tmux-256color",
            "/usr/share/terminfo/v/vt100",
            "/usr/share/terminfo/d/dumb",
            "/lib/terminfo/x/xterm",
            "/lib/terminfo/x/xterm-256color",
            "/lib/terminfo/l/linux",
            "/lib/terminfo/s/screen",
            "/lib/terminfo/s/screen-256color",
            "/lib/terminfo/t/tmux",
            "/lib/terminfo/t/tmux-256color",
            "/lib/terminfo/v/vt100",
            "/lib/terminfo/d/dumb",
        ],
    },
    Data {
        libraries: &["libmagic.so"],
        files: &["/etc/magic", "/usr/share/misc/magic.mgc"],
    },
];

/// Where OpenSSL finds the authorities by itself, and where they are otherwise.
pub(super) const OPENSSL_OWN: [&str; 2] = ["/usr/lib/ssl/cert.pem", "/etc/pki/tls/cert.pem"];

/// The bundle that `SSL_CERT_FILE` can name.
pub(super) fn bundles() -> &'static [&'static str] {
    AUTHORITIES
}
