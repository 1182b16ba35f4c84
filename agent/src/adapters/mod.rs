//! **adapters** — the only files that name AWS, etcd or a path. Each implements one port.

pub mod boot_clock;
pub mod aws;
pub mod aws_errors;
mod retrying;
pub mod attributes;
pub mod expressions;
pub mod dynamodb;
pub mod s3_multipart;
mod s3_ranges;
pub mod s3;
pub mod etcd_client;
pub mod local_file;
mod child;
mod booted;
mod salvage;
mod rehearsal;
pub mod etcdutl;
mod protobuf;
pub mod wal;
mod wal_members;
pub mod wal_log;
mod durable;
mod memory_file;
pub mod swap;
pub mod disk;
mod process_table;
pub mod exec;
