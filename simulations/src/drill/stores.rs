//! **stores** — S3 and DynamoDB of a drill, in the drill's own process, and the environment by
//! which agents and an operator's tools find them.
//!
//! Comes from `drill NAME`, `drill up` and `drill stores` alike. Goes to every host. Both servers
//! end when this is dropped.

use super::{
    object_files::Files,
    object_server::{Credentials, ObjectServer},
    table_server::TableServer,
    trouble::Trouble,
};
use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path};

/// The bucket, which exists from the start.
pub const BUCKET: &str = "requorum";
/// The lock table, which the first agent creates.
pub const TABLE: &str = "requorum";

/// Both stores, running.
#[derive(Debug)]
pub struct Stores {
    /// S3.
    pub objects: ObjectServer,
    /// DynamoDB.
    pub tables: TableServer,
    credentials: Credentials,
}

impl Stores {
    /// Serves on these addresses (port 0: any free one); large objects go below `dir`, and with
    /// `durable` the table too.
    ///
    /// # Errors
    /// When an address is taken or the directory can't be made.
    pub async fn start(
        s3: SocketAddr,
        dynamodb: SocketAddr,
        dir: &Path,
        durable: bool,
    ) -> Result<Self, Trouble> {
        let bodies = dir.join("objects");
        fs::create_dir_all(&bodies).map_err(|e| Trouble::of(bodies.display(), e))?;
        // Neither is a secret: both servers listen on loopback only and end with the drill.
        let credentials = Credentials { access: "drill".into(), secret: "drill-secret".into() };
        let objects = ObjectServer::start(s3, &credentials, Files::new(bodies)).await;
        let objects = objects.map_err(|e| Trouble::of(format!("S3 on {s3}"), e))?;
        objects.create_bucket(BUCKET);
        let tables = TableServer::start(dynamodb, durable.then_some(dir)).await;
        let tables = tables.map_err(|e| Trouble::of(format!("DynamoDB on {dynamodb}"), e))?;
        Ok(Self { objects, tables, credentials })
    }

    /// What the AWS SDKs and the AWS command line read.
    pub fn env(&self) -> BTreeMap<String, String> {
        let pairs = [
            ("AWS_ENDPOINT_URL_S3", self.objects.url()),
            ("AWS_ENDPOINT_URL_DYNAMODB", self.tables.url()),
            ("AWS_REGION", "eu-central-1".into()),
            ("AWS_ACCESS_KEY_ID", self.credentials.access.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.credentials.secret.clone()),
            ("AWS_EC2_METADATA_DISABLED", "true".into()),
        ];
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }
}
