//! TLS: whom to trust, and what to show.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

/// Certificates for one registry, each in PEM. They come on top of the machine's own.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Certificates {
    /// More authorities.
    pub authorities: Vec<Vec<u8>>,
    /// Our certificate chain and its private key.
    pub client: Option<(Vec<u8>, Vec<u8>)>,
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates")
            .field("authorities", &self.authorities.len())
            .field("client", &self.client.is_some())
            .finish()
    }
}

/// Where distributions keep the authorities (as in Go's crypto/x509, root_linux.go).
const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// No bundle of certificates is longer.
const BUNDLE_LIMIT: u64 = 32 << 20;

/// The machine's authorities: `SSL_CERT_FILE` and `SSL_CERT_DIR` (separated by colons) if set,
/// else the first bundle there is.
fn read_system_authorities() -> Vec<Certificate<'static>> {
    let file = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let directories = std::env::var_os("SSL_CERT_DIR");
    let mut found = Vec::new();
    for directory in directories.iter().flat_map(std::env::split_paths) {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            found.extend(read_bundle(&entry.path()).unwrap_or_default());
        }
    }
    if let Some(file) = &file {
        found.extend(read_bundle(file).unwrap_or_default());
    } else if directories.is_none() {
        found.extend(
            BUNDLES
                .iter()
                .find_map(|path| read_bundle(Path::new(path)))
                .unwrap_or_default(),
        );
    }
    found
}

fn read_bundle(path: &Path) -> Option<Vec<Certificate<'static>>> {
    let mut pem = Vec::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(BUNDLE_LIMIT).read_to_end(&mut pem).ok()?;
    Some(parse_certificates(&pem)).filter(|found| !found.is_empty())
}

fn parse_certificates(pem: &[u8]) -> Vec<Certificate<'static>> {
    let certificate = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    };
    parse_pem(pem).filter_map(certificate).collect()
}

/// The configuration of connections. Without `verify` every server is believed: only for
/// registries that are declared insecure.
///
/// # Errors
/// Says in words what is wrong with the certificates, or that the machine has none.
pub(super) fn plan_tls(certificates: &Certificates, client: bool, verify: bool) -> Result<TlsConfig, String> {
    let mut roots = if verify {
        read_system_authorities()
    } else {
        Vec::new()
    };
    for pem in &certificates.authorities {
        let more = parse_certificates(pem);
        if more.is_empty() {
            return Err("the file of an authority (certs.d, *.crt) has no certificate in PEM".to_owned());
        }
        roots.extend(more);
    }
    if verify && roots.is_empty() {
        return Err(format!(
            "this machine has no certificates of authorities ({} or SSL_CERT_FILE): install ca-certificates",
            BUNDLES[0]
        ));
    }
    let client = match &certificates.client {
        Some((chain, key)) if client => Some(check_client(chain, key)?),
        _ => None,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::from(roots))
        .client_cert(client)
        .disable_verification(!verify)
        .unversioned_rustls_crypto_provider(provider)
        .build())
}

/// Checks here what would be a panic at the first connection.
fn check_client(chain: &[u8], key: &[u8]) -> Result<ClientCert, String> {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    let certificates = parse_certificates(chain);
    if certificates.is_empty() {
        return Err("the client's certificate (certs.d, *.cert) is not in PEM".to_owned());
    }
    let wrong = |error: &dyn std::fmt::Display| format!("the client's key (certs.d, *.key): {error}");
    let der = PrivateKeyDer::from_pem_slice(key).map_err(|error| wrong(&error))?;
    let signer = rustls::crypto::ring::sign::any_supported_type(&der).map_err(|error| wrong(&error))?;
    let owned = certificates
        .iter()
        .map(|one| CertificateDer::from(one.der().to_vec()));
    rustls::sign::CertifiedKey::new(owned.collect(), signer)
        .keys_match()
        .map_err(|error| wrong(&error))?;
    let key = PrivateKey::from_pem(key).map_err(|error| wrong(&error))?;
    Ok(ClientCert::new_with_certs(&certificates, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_files_are_told() {
        let plan = |authority: &[u8], client: Option<(&[u8], &[u8])>| {
            let certificates = Certificates {
                authorities: vec![authority.to_vec()],
                client: client.map(|(chain, key)| (chain.to_vec(), key.to_vec())),
            };
            plan_tls(&certificates, true, false).unwrap_err()
        };
        assert!(plan(b"x", None).contains("no certificate in PEM"));
        let pem: &[u8] = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(plan(pem, Some((b"x", b"y"))).contains("*.cert"));
        assert!(plan(pem, Some((pem, b"y"))).contains("*.key"));
        let key: &[u8] = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert!(plan(pem, Some((pem, key))).contains("*.key"));
    }
}
