//! **table** — effects on the lock table: read, write, and the founding in the bucket.

use super::{
    Done, Hands, bad,
    conditions::{self, ProbeError},
    store_failed, unavailable,
};
use crate::ports::{object_store::Put, registry::ItemWrite};
use protocol::{
    effect::Founding,
    event::Outcome,
    registry::Change,
    wire::{Keys, changed, encode_cluster, parse_cluster, parse_records},
};

impl Hands {
    /// Whether both stores honour conditions; the probe's rows are this machine's own.
    pub(super) async fn prove(&self) -> Done {
        let (store, table) = (&*self.ports.store, &*self.ports.registry);
        let uid = conditions::rows_of(&self.site.instance);
        match conditions::probe(store, &self.site.prefix, table, &uid).await {
            Ok(()) => Ok(Outcome::Ok),
            Err(ProbeError::Unknown(error)) => Err(store_failed(error)),
            Err(broken @ ProbeError::Broken { .. }) => Err(bad(broken)),
        }
    }

    pub(super) async fn discover(&self) -> Done {
        let key = Keys::cluster_json(&self.site.prefix);
        match self.ports.store.get(&key).await.map_err(store_failed)? {
            None => Ok(Outcome::Discovered(None)),
            Some(object) => {
                let founding =
                    parse_cluster(&object.bytes).map_err(|error| bad(format!("{key}: {error}")))?;
                Ok(Outcome::Discovered(Some(founding.uid)))
            }
        }
    }

    pub(super) async fn found(&self, founding: &Founding) -> Done {
        let key = Keys::cluster_json(&self.site.prefix);
        let put = self
            .ports
            .store
            .put_if_absent(&key, encode_cluster(founding))
            .await
            .map_err(store_failed)?;
        match put {
            Put::Done { .. } => Ok(Outcome::Founded { uid: founding.uid.clone() }),
            Put::Conflict => {
                let object = self.ports.store.get(&key).await.map_err(store_failed)?;
                let object = object
                    .ok_or_else(|| unavailable("cluster.json was there and is not any more"))?;
                Ok(Outcome::Founded { uid: parse_cluster(&object.bytes).map_err(bad)?.uid })
            }
        }
    }

    pub(super) async fn read_registry(&self, uid: &str) -> Done {
        let items = self.ports.registry.read(uid).await.map_err(store_failed)?;
        let rows = items.iter().map(|item| (item.row.as_str(), &item.attributes));
        Ok(Outcome::Records(parse_records(rows).map_err(bad)?.into()))
    }

    pub(super) async fn write(&self, uid: &str, change: &Change) -> Done {
        let op_id = uuid::Uuid::new_v4().to_string();
        let wire = changed(change, &op_id);
        let write = ItemWrite {
            row: wire.row,
            guard: wire.guard,
            set: wire.set,
            remove: wire.remove,
            checks: wire.checks,
        };
        let written = self.ports.registry.write(uid, &write).await.map_err(store_failed)?;
        Ok(Outcome::Written(written))
    }
}
