//! **moto** — a second opinion on S3, as a process of its own (Python; `.ci/tools-moto` installs it).

use super::{BUCKET, loopback};
use aws_sdk_s3::{
    Client,
    types::{
        BucketVersioningStatus, DefaultRetention, ObjectLockConfiguration, ObjectLockEnabled,
        ObjectLockRetentionMode, ObjectLockRule, VersioningConfiguration,
    },
};
use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// moto's process; ends with this.
pub(crate) struct Moto(Child);

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Moto {
    /// Starts it on a free port; answers with its endpoint. `None`: this machine has no python3, as
    /// `.ci/tools-moto` found. Panics with what to do if it can't.
    pub(crate) fn start() -> Option<(Self, String)> {
        let below = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tools/moto/bin/moto_server");
        let absent = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tools/moto/absent");
        if std::path::Path::new(absent).exists() {
            return None;
        }
        let program = std::env::var_os("REQUORUM_MOTO").map_or_else(|| below.into(), PathBuf::from);
        let free = TcpListener::bind(loopback()).and_then(|it| it.local_addr()).expect("a port");
        let child = Command::new(&program)
            .args(["-H", "127.0.0.1", "-p", &free.port().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("moto at {program:?}: {e}; `.ci/tools-moto` installs it"));
        let mut moto = Self(child);
        let began = Instant::now();
        while std::net::TcpStream::connect(free).is_err() {
            let ended = moto.0.try_wait().expect("our own child");
            assert!(ended.is_none(), "moto ended at once: {ended:?}");
            assert!(began.elapsed() < Duration::from_secs(60), "moto does not listen on {free}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some((moto, format!("http://{free}")))
    }
}

/// A plain bucket, one that keeps every version, and one in which each version is locked for a day.
pub(crate) async fn buckets(s3: &Client) -> [&'static str; 3] {
    let (plain, versioned, locked) = (BUCKET, "versioned", "locked");
    for bucket in [plain, versioned] {
        s3.create_bucket().bucket(bucket).send().await.expect("a bucket");
    }
    let enabled = BucketVersioningStatus::Enabled;
    let versions = VersioningConfiguration::builder().status(enabled).build();
    let call = s3.put_bucket_versioning().bucket(versioned).versioning_configuration(versions);
    call.send().await.expect("versions");

    let call = s3.create_bucket().bucket(locked).object_lock_enabled_for_bucket(true);
    call.send().await.expect("a bucket with Object Lock");
    let mode = ObjectLockRetentionMode::Compliance;
    let retention = DefaultRetention::builder().mode(mode).days(1).build();
    let rule = ObjectLockRule::builder().default_retention(retention).build();
    let enabled = ObjectLockEnabled::Enabled;
    let lock = ObjectLockConfiguration::builder().object_lock_enabled(enabled).rule(rule).build();
    let call = s3.put_object_lock_configuration().bucket(locked).object_lock_configuration(lock);
    call.send().await.expect("a default retention");
    [plain, versioned, locked]
}
