//! **certificates** — whom we believe to be etcd, and who we say we are.
//!
//! Comes in: paths, as etcdctl takes them. Goes out: what a connection needs. They are read for each
//! connection, and there is one for each question: a certificate that was rotated is used at once, and one
//! that can't be read is an error of that question and of no other.

use std::path::{Path, PathBuf};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// Where the certificates of etcd's clients lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificates {
    /// `ETCDCTL_CACERT`: who may have signed a member's certificate.
    pub ca: PathBuf,
    /// `ETCDCTL_CERT` and `ETCDCTL_KEY`: who we are, where etcd asks for that.
    pub own: Option<(PathBuf, PathBuf)>,
    /// The host in this member's client URL: the name in its certificate, where it is asked by its socket.
    pub host: String,
}

impl Certificates {
    /// `host`: the name to be found in the member's certificate; `None`: the one in the URL.
    pub(super) async fn tls(&self, host: Option<&str>) -> Result<ClientTlsConfig, String> {
        let mut tls =
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(&self.ca).await?));
        if let Some((certificate, key)) = &self.own {
            tls = tls.identity(Identity::from_pem(read(certificate).await?, read(key).await?));
        }
        Ok(match host {
            Some(host) => tls.domain_name(host),
            None => tls,
        })
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, String> {
    tokio::fs::read(path).await.map_err(|error| format!("{}: {error}", path.display()))
}
