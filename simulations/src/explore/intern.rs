//! **intern** — each different thing is kept once, and a state holds numbers.
//!
//! Comes in: minds, machines, tables, as they turn up. Goes out: a small number each. The same
//! mind in the same surroundings always does the same, so a turn of the real core is taken once
//! and looked up afterwards: that makes an exhaustive search over it affordable.

use super::engine::Mixer;
use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hash},
    sync::Arc,
};

/// A map that is only ever asked, never walked.
pub(super) type Memo<K, V> = HashMap<K, V, BuildHasherDefault<Mixer>>;

/// Things of one kind, numbered from 1; 0 stands for nothing.
#[derive(Debug)]
pub(super) struct Interned<T> {
    things: Vec<Arc<T>>,
    numbers: Memo<Arc<T>, u32>,
}

impl<T: Eq + Hash> Interned<T> {
    pub(super) fn new() -> Self {
        Self { things: Vec::new(), numbers: Memo::default() }
    }

    pub(super) fn put(&mut self, thing: T) -> u32 {
        if let Some(number) = self.numbers.get(&thing) {
            return *number;
        }
        let thing = Arc::new(thing);
        self.things.push(Arc::clone(&thing));
        let number = u32::try_from(self.things.len()).expect("fewer than 2^32 things");
        self.numbers.insert(thing, number);
        number
    }

    pub(super) fn get(&self, number: u32) -> &Arc<T> {
        &self.things[number as usize - 1]
    }
}
