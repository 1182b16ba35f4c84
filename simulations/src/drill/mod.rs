//! **drill** — real etcd, real agents, real SDK calls against stores in our own process.
//!
//! Modules in reading order: the stores; what a drill is made of; what it sees; what it concludes;
//! the stories it plays; and the same on hosts with a real systemd.

pub mod relay;
pub mod object_files;
pub mod object_store;
mod object_uploads;
pub mod object_server;
pub mod table_server;
pub mod trouble;
pub mod process;
pub mod status;
pub mod stores;
pub mod host;
pub mod writer;
pub mod timeline;
pub mod verdict;
pub mod cluster;
pub mod report;
pub mod scenarios;
pub mod rig;
pub mod hosts;
