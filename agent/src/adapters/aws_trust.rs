//! **aws_trust** — whose certificates a store's endpoint may show.
//!
//! Comes in: `AWS_CA_BUNDLE`, as the AWS command line reads it, or nothing. Goes out: the SDK's trust store. The
//! SDK panics on a bundle that it can't read, so it is read here first; and a machine without any certificates
//! of its own is one that can speak to `http://` endpoints only, not one that can't run.

use aws_smithy_http_client::tls::{TlsContext, TrustStore};
use rustls::RootCertStore;
use std::path::{Path, PathBuf};

/// A bundle that is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("AWS_CA_BUNDLE {} can't be used: {why}", .file.display())]
pub struct BadBundle {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

/// Those of the bundle and no others, if there is one; else the machine's own.
///
/// # Errors
/// The bundle can't be read, or holds what is no certificate.
pub(super) fn trusted(bundle: Option<&Path>) -> Result<TlsContext, BadBundle> {
    let store = match bundle {
        Some(file) => TrustStore::empty().with_pem_certificate(checked(file)?),
        None if rustls_native_certs::load_native_certs().certs.is_empty() => TrustStore::empty(),
        None => TrustStore::default(),
    };
    let file = || bundle.map(Path::to_owned).unwrap_or_default();
    let context = TlsContext::builder().with_trust_store(store).build();
    context.map_err(|why| BadBundle { file: file(), why: why.to_string() })
}

/// The bundle's bytes, once each certificate in it was understood.
fn checked(file: &Path) -> Result<Vec<u8>, BadBundle> {
    let bad = |why: String| BadBundle { file: file.to_owned(), why };
    let bytes = std::fs::read(file).map_err(|why| bad(why.to_string()))?;
    let loaded = rustls_native_certs::load_certs_from_paths(Some(file), None);
    if let Some(why) = loaded.errors.first() {
        return Err(bad(why.to_string()));
    }
    if loaded.certs.is_empty() {
        return Err(bad("it holds no certificate".into()));
    }
    let mut roots = RootCertStore::empty();
    for certificate in loaded.certs {
        roots.add(certificate).map_err(|why| bad(why.to_string()))?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_understood_or_refused_by_name() {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let file = dir.path().join("ca.pem");
        let refused = |named: &str| {
            let bad = trusted(Some(&file)).expect_err(named);
            assert!(bad.to_string().contains("AWS_CA_BUNDLE"), "{bad}");
            assert!(bad.why.contains(named), "{bad}");
        };
        refused("No such file");
        std::fs::write(&file, "no certificate").expect("written");
        refused("no certificate");
        let pem = |body: &str| {
            format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
        };
        std::fs::write(&file, pem("AAAA")).expect("written");
        assert!(trusted(Some(&file)).is_err(), "no certificate in it");
        let own = rcgen::generate_simple_self_signed(vec!["store.internal".to_owned()]);
        std::fs::write(&file, own.expect("signed").cert.pem()).expect("written");
        assert!(trusted(Some(&file)).is_ok());
        assert!(trusted(None).is_ok());
    }
}
