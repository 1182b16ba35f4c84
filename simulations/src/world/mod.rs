//! **world** — the parts that a simulated cluster is made of: members with logs, machines with
//! disks, a table and a bucket that obey their own rules and no clock.
//!
//! Comes from nothing but the domain types. Goes to [`simulate`](crate::simulate), which moves it.

pub mod etcd;
pub mod machine;
pub mod stores;
