//! **doors** — a connection to a member, or why there is none.
//!
//! Comes in: a [`Door`], certificates. Goes out: a client, or [`Unanswered`], which tells a member that does not
//! let us ask from one that is not there. The difference decides whether a cluster is left alone: agents whose
//! certificates ran out, or whom nobody made a user, see nothing of a cluster that serves its clients well.

use super::{EtcdClient, at, chain, late};
use crate::ports::etcd::{Door, EtcdError};
use etcd_client::{Channel, Client};
use hyper_util::rt::TokioIo;
use std::{error::Error, future::Future, io, path::PathBuf, time::Duration};
use tokio::{net::UnixStream, time::timeout};
use tonic::{
    Code, Status,
    transport::{ClientTlsConfig, Endpoint},
};

/// How etcd refuses who names no user where it knows users ([SRC] v3rpc/rpctypes/error.go ErrGRPCUserEmpty).
const NO_USER: &str = "user name is empty";

/// Why a question has no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// The member is there and does not let us ask, or we have nothing to ask it with.
    Refused(EtcdError),
    /// It has read our question and says that we are none of its users.
    Denied(EtcdError),
    /// Nobody answered.
    Silent(EtcdError),
}

impl From<Unanswered> for EtcdError {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Refused(error) | Unanswered::Denied(error) | Unanswered::Silent(error) => {
                error
            }
        }
    }
}

impl Unanswered {
    fn of(door: &Door, what: &str, error: &(dyn Error + 'static)) -> Self {
        let told = at(door, &format!("{what} failed"), &chain(error));
        match status_in(error) {
            Some(status) if is_denied(status) => Self::Denied(told),
            Some(_) | None if is_refusal(error) => Self::Refused(told),
            Some(_) | None => Self::Silent(told),
        }
    }
}

/// Whether etcd's answer is that we may not ask. It has read the request then.
pub(super) fn is_denied(status: &Status) -> bool {
    matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated)
        || status.message().contains(NO_USER)
}

/// What etcd answered, if it did: the client's own error does not name it as its source.
fn status_in<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Status> {
    match error.downcast_ref::<etcd_client::Error>() {
        Some(etcd_client::Error::GRpcStatus(status)) => Some(status),
        _ => error.downcast_ref::<Status>(),
    }
}

/// TLS tells what is wrong with a certificate as an IO error of its own kind.
fn is_refusal(error: &(dyn Error + 'static)) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::InvalidData)
        || status_in(error).and_then(Error::source).is_some_and(is_refusal)
        || error.source().is_some_and(is_refusal)
}

impl EtcdClient {
    pub(super) async fn open(&self, door: &Door) -> Result<Client, Unanswered> {
        let connecting = async {
            let (endpoint, path) = self.endpoint(door).await?;
            let connected = match path {
                None => endpoint.connect().await,
                Some(path) => {
                    let connector = tower::service_fn(move |_| dial(path.clone()));
                    endpoint.connect_with_connector(connector).await
                }
            };
            connected.map_err(|error| Unanswered::of(door, "connect", &error))
        };
        let channel = in_time(door, "connect", self.connect, connecting).await?;
        // Without a user no call is made here, so nothing can hang.
        let client = Client::from_channel(Channel::Tonic(channel), None).await;
        client.map_err(|error| Unanswered::of(door, "connect", &error))
    }

    /// Where a door leads, and the socket if it is one.
    async fn endpoint(&self, door: &Door) -> Result<(Endpoint, Option<PathBuf>), Unanswered> {
        let refused = |why: String| Unanswered::Refused(at(door, "can't be asked by TLS", &why));
        let (endpoint, tls, path) = match (door, &self.certificates) {
            (Door::Client(url), certificates) => {
                let endpoint = Endpoint::from_shared(url.clone());
                let endpoint =
                    endpoint.map_err(|error| Unanswered::of(door, "reading its URL", &error))?;
                let tls = match certificates {
                    _ if !url.starts_with("https://") => None,
                    None => {
                        return Err(refused("no ETCDCTL_CACERT tells whom to believe".to_owned()));
                    }
                    Some(certificates) => Some(certificates.tls(None).await.map_err(refused)?),
                };
                (endpoint, tls, None)
            }
            // etcd does not look at the authority of a unix socket; tonic wants one.
            (Door::Socket(path), None) => {
                (Endpoint::from_static("http://localhost"), None, Some(path.clone()))
            }
            (Door::Socket(path), Some(certificates)) => {
                let tls = certificates.tls(Some(&certificates.host)).await.map_err(refused)?;
                (Endpoint::from_static("https://localhost"), Some(tls), Some(path.clone()))
            }
        };
        Ok((secured(endpoint, tls).map_err(refused)?, path))
    }

    /// The first question after a connection was made. A member that takes no certificate of ours, or not this
    /// one, says so after we have believed its own: often it only hangs up.
    pub(super) async fn first<T>(
        &self,
        door: &Door,
        what: &str,
        asking: impl Future<Output = Result<T, etcd_client::Error>>,
    ) -> Result<T, Unanswered> {
        let asking = async {
            asking.await.map_err(|error| match Unanswered::of(door, what, &error) {
                Unanswered::Silent(error) if self.certificates.is_some() => {
                    Unanswered::Refused(error)
                }
                unanswered @ (Unanswered::Refused(_)
                | Unanswered::Denied(_)
                | Unanswered::Silent(_)) => unanswered,
            })
        };
        in_time(door, what, self.call, asking).await
    }
}

fn secured(endpoint: Endpoint, tls: Option<ClientTlsConfig>) -> Result<Endpoint, String> {
    let Some(tls) = tls else { return Ok(endpoint) };
    endpoint.tls_config(tls).map_err(|error| chain(&error))
}

async fn in_time<T>(
    door: &Door,
    what: &str,
    limit: Duration,
    work: impl Future<Output = Result<T, Unanswered>>,
) -> Result<T, Unanswered> {
    let late = |_| Unanswered::Silent(at(door, what, &late(limit)));
    timeout(limit, work).await.map_err(late)?
}

async fn dial(path: PathBuf) -> io::Result<TokioIo<UnixStream>> {
    Ok(TokioIo::new(UnixStream::connect(path).await?))
}
