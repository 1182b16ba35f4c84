//! **log** — a member's raft log. Comes from whoever appends ([`raft`](crate::simulate::raft)). Goes to
//! [`Store`](super::etcd::Store), which says what follows from it.
//!
//! Each entry bears what a reader would else count from the beginning: how many writes there are up
//! to it, what they sum up to, and which configuration is the last. So a look at a log of ten thousand
//! entries costs no more than one at a log of ten.

use super::etcd::{Entry, Peer};
use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    rc::Rc,
};

/// One entry, and what holds up to it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Logged {
    term: u64,
    entry: Entry,
    /// Writes up to here.
    puts: u64,
    /// A digest of those writes, in their order.
    sum: u64,
    /// The index of the last configuration up to here; 0: there is none.
    config: usize,
}

/// Entries with their terms. Indexes count from 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log(Vec<Logged>);

impl Log {
    /// The index of the last entry; 0: there is none.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was ever appended.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn at(&self, index: usize) -> Option<&Logged> {
        self.0.get(index.checked_sub(1)?)
    }

    /// The term of the entry at `index`; 0: there is none.
    pub fn term(&self, index: usize) -> u64 {
        self.at(index).map_or(0, |logged| logged.term)
    }

    /// The entry at `index`.
    pub fn entry(&self, index: usize) -> Option<&Entry> {
        self.at(index).map(|logged| &logged.entry)
    }

    /// How many writes there are up to `index`.
    pub fn puts(&self, index: usize) -> u64 {
        self.at(index).map_or(0, |logged| logged.puts)
    }

    /// A digest of the writes up to `index`.
    pub fn sum(&self, index: usize) -> u64 {
        self.at(index).map_or(0, |logged| logged.sum)
    }

    /// The last configuration up to `index`, with its own index.
    pub fn config(&self, index: usize) -> Option<(usize, &Rc<Vec<Peer>>)> {
        let at = self.at(index)?.config;
        match self.entry(at)? {
            Entry::Members(peers) => Some((at, peers)),
            Entry::Blank | Entry::Put(_) => None,
        }
    }

    /// The configurations, the last one first.
    pub fn configs(&self) -> impl Iterator<Item = (usize, &Rc<Vec<Peer>>)> {
        std::iter::successors(self.config(self.len()), |(at, _)| self.config(at - 1))
    }

    /// The writes up to `index`, oldest first.
    pub fn writes(&self, index: usize) -> impl Iterator<Item = u64> {
        self.0.iter().take(index).filter_map(|logged| match logged.entry {
            Entry::Put(number) => Some(number),
            Entry::Blank | Entry::Members(_) => None,
        })
    }

    /// What comes after `index`.
    pub fn after(&self, index: usize) -> Vec<(u64, Entry)> {
        self.0.iter().skip(index).map(|logged| (logged.term, logged.entry.clone())).collect()
    }

    /// Appends an entry.
    pub fn push(&mut self, term: u64, entry: Entry) {
        let index = self.len() + 1;
        let (mut puts, mut sum, mut config) =
            self.0.last().map_or((0, 0, 0), |last| (last.puts, last.sum, last.config));
        match &entry {
            Entry::Put(number) => {
                puts += 1;
                let mut hasher = DefaultHasher::new();
                (sum, number).hash(&mut hasher);
                sum = hasher.finish();
            }
            Entry::Members(_) => config = index,
            Entry::Blank => {}
        }
        self.0.push(Logged { term, entry, puts, sum, config });
    }

    /// Drops what comes after `index`.
    pub fn truncate(&mut self, index: usize) {
        self.0.truncate(index);
    }
}
