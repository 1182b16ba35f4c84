//! **aws** — the two SDK clients, set up once.
//!
//! Comes in: the environment as the SDK itself reads it (region, profile, credential chain,
//! `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL_DYNAMODB`), or explicit [`Settings`] where a drill
//! or a test has no environment of its own. Goes out: [`Clients`] for the adapters above this
//! file.
//!
//! TLS is rustls on ring, so that no C library is built; an `http://` endpoint is spoken to
//! in the clear. Every call is bounded, because a store that hangs must turn into "could not
//! look" while there is still time to do something else.

use super::aws_trust::{self, BadBundle};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_types::{retry::RetryConfig, timeout::TimeoutConfig};
use aws_types::{
    sdk_config::{SharedHttpClient, SharedTimeSource},
    service_config::ServiceConfigKey,
};
use std::{path::PathBuf, time::Duration};

/// Longest time a small call may take, its retries included.
pub const OPERATION: Duration = Duration::from_secs(10);
/// Longest time of one try of a small call: three of them fit into [`OPERATION`].
pub const ATTEMPT: Duration = Duration::from_secs(3);
/// Longest time a connection may take to come up.
pub const CONNECT: Duration = Duration::from_secs(2);
/// Longest time of one try to move a part of a snapshot (16 MiB at 256 KiB/s take 64 s).
pub const BULK_ATTEMPT: Duration = Duration::from_secs(120);
/// Longest time to move a part of a snapshot, retries included.
pub const BULK_OPERATION: Duration = Duration::from_secs(300);
/// Tries of one call, the first included.
pub const ATTEMPTS: u32 = 3;
/// Name of a budget of retries that is one client's own. By default the SDK keeps one a process,
/// and a process of simulated hosts has many agents in it.
const OWN: &str = "own";

/// What overrides the environment. The default overrides nothing.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The region.
    pub region: Option<String>,
    /// Where S3 is.
    pub s3_endpoint: Option<String>,
    /// Where DynamoDB is.
    pub dynamodb_endpoint: Option<String>,
    /// `AWS_CA_BUNDLE`: whose certificates endpoints may show, instead of the machine's own.
    pub ca_bundle: Option<PathBuf>,
    /// Access key and secret key.
    pub credentials: Option<(String, String)>,
    /// What requests travel by and are dated with, if not the network and the system's clock.
    pub transport: Option<Transport>,
}

/// Another way to the stores: a simulated host's.
#[derive(Clone, Debug)]
pub struct Transport {
    /// Carries requests.
    pub http: SharedHttpClient,
    /// Dates their signatures and measures how fast bodies move.
    pub time: SharedTimeSource,
}

/// Both clients. They are cheap to clone and share their connections.
#[derive(Clone, Debug)]
pub struct Clients {
    /// S3.
    pub s3: aws_sdk_s3::Client,
    /// DynamoDB.
    pub dynamodb: aws_sdk_dynamodb::Client,
}

/// What the environment lacks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoClients {
    /// It names no region.
    #[error(
        "no AWS region is configured: set AWS_REGION (any name will do for a store with an endpoint of its own)"
    )]
    NoRegion,
    /// It names certificates that are of no use.
    #[error(transparent)]
    BadBundle(#[from] BadBundle),
}

/// Sets both clients up. Reads the environment and, for the region, may ask the instance
/// metadata service; credentials are looked up by the first call, not here.
pub async fn clients(settings: &Settings) -> Result<Clients, NoClients> {
    let mut loader =
        aws_config::defaults(BehaviorVersion::latest()).timeout_config(small()).retry_config(
            RetryConfig::standard()
                .with_max_attempts(ATTEMPTS)
                .with_initial_backoff(Duration::from_millis(100))
                .with_max_backoff(Duration::from_secs(1)),
        );
    loader = match &settings.transport {
        Some(Transport { http, time }) => {
            loader.http_client(http.clone()).time_source(time.clone())
        }
        None => loader.http_client(
            aws_smithy_http_client::Builder::new()
                .tls_provider(Provider::Rustls(CryptoMode::Ring))
                .tls_context(aws_trust::trusted(settings.ca_bundle.as_deref())?)
                .build_https(),
        ),
    };
    if let Some(region) = &settings.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some((access, secret)) = &settings.credentials {
        loader =
            loader.credentials_provider(Credentials::new(access, secret, None, None, "settings"));
    }
    let sdk = loader.load().await;
    if sdk.region().is_none() {
        return Err(NoClients::NoRegion);
    }
    Ok(Clients { s3: s3(&sdk, settings), dynamodb: dynamodb(&sdk, settings) })
}

/// Bounds of a small call.
pub fn small() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_timeout(OPERATION)
        .operation_attempt_timeout(ATTEMPT)
        .build()
}

/// Bounds of a call that moves a part of a snapshot.
pub fn bulk() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_timeout(BULK_OPERATION)
        .operation_attempt_timeout(BULK_ATTEMPT)
        .build()
}

/// A store with an endpoint of its own is addressed by path: it rarely has a name per bucket.
fn s3(sdk: &SdkConfig, settings: &Settings) -> aws_sdk_s3::Client {
    let own_endpoint = settings.s3_endpoint.is_some() || has_endpoint(sdk);
    let mut config = aws_sdk_s3::config::Builder::from(sdk).force_path_style(own_endpoint);
    if let Some(url) = &settings.s3_endpoint {
        config = config.endpoint_url(url);
    }
    if settings.transport.is_some() {
        config =
            config.retry_partition(aws_sdk_s3::config::retry::RetryPartition::custom(OWN).build());
    }
    aws_sdk_s3::Client::from_conf(config.build())
}

fn dynamodb(sdk: &SdkConfig, settings: &Settings) -> aws_sdk_dynamodb::Client {
    let mut config = aws_sdk_dynamodb::config::Builder::from(sdk);
    if let Some(url) = &settings.dynamodb_endpoint {
        config = config.endpoint_url(url);
    }
    if settings.transport.is_some() {
        config = config
            .retry_partition(aws_sdk_dynamodb::config::retry::RetryPartition::custom(OWN).build());
    }
    aws_sdk_dynamodb::Client::from_conf(config.build())
}

/// Whether the environment or the profile gives S3 an endpoint, asked as the SDK's own S3 client
/// asks.
fn has_endpoint(sdk: &SdkConfig) -> bool {
    let key = ServiceConfigKey::builder()
        .service_id("S3")
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build()
        .ok();
    let for_s3 = key.and_then(|key| sdk.service_config()?.load_config(key));
    for_s3.is_some() || sdk.endpoint_url().is_some()
}
