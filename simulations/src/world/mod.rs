//! **world** — the parts that a simulated cluster is made of: members with logs, machines with
//! disks, a table and a bucket that obey their own rules and no clock.
//!
//! Comes from nothing but the domain types. Goes to [`simulate`](crate::simulate), which moves it.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the world does and tells what it knows of; the core names every case"
)]

pub mod etcd;
pub mod log;
pub mod machine;
pub mod stores;
