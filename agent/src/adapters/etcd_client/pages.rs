//! **pages** — the revision of a snapshot, read from its bbolt pages while they stream by.
//!
//! Comes from [`super`]: the bytes of a database file, cut anywhere. Goes back: the highest revision in
//! bucket `key`, as `etcdutl snapshot status` says it. What the pages are for is known only when the tree is
//! walked, so 16 bytes are kept of each: its rightmost child, or its last key. Pages that are free hold
//! what once stood there; nothing that is reached from the root leads to them.
//!
//! The highest key is not looked for among all pages: free ones may hold a higher one that was never
//! committed, and tombstones are longer than other keys (etcd.md 8). Layout: bbolt `internal/common`,
//! page.go, meta.go, inode.go.

use std::{
    mem,
    ops::{Range, RangeInclusive},
};

/// Bytes before a page's elements: id, flags, count, overflow.
const HEADER: usize = 16;
/// Bytes of an element, of a branch as of a leaf.
const ELEMENT: usize = 16;
/// Bytes of a bucket's value before its inline page.
const BUCKET: usize = 16;
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
/// A leaf's element is a bucket.
const IS_BUCKET: u32 = 1;
const MAGIC: u32 = 0xED0C_DAED;
/// Where the first meta page says how large pages are, and what must have come before it is read.
const PAGE_SIZE_AT: usize = 24;
const META: usize = HEADER + 64;
/// What a page may measure: as much as the machine's own pages, 4 KiB mostly.
const PAGE_SIZES: RangeInclusive<usize> = 512..=65_536;
/// The bucket of revisions.
const KEY: &[u8] = b"key";
/// Bytes of a revision's main part, at the beginning of its key.
const MAIN: usize = 8;

/// What is kept of a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kept {
    /// Nothing that the walk could need.
    #[default]
    Nothing,
    /// A branch: its rightmost child.
    Rightmost(u64),
    /// A leaf: the main revision of its last key.
    Last(u64),
    /// A leaf of buckets: where bucket `key` has its root.
    Bucket(u64),
}

/// Bytes that were not all there when their page was looked at: a value may push a leaf's last key
/// pages away.
#[derive(Debug)]
struct Wanted {
    page: u64,
    what: What,
    /// Where in the file.
    at: Range<usize>,
    held: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// The last element of a leaf that ends there.
    Element {
        leaf_ends: usize,
    },
    Key,
}

/// A database file on its way.
#[derive(Debug, Default)]
pub(super) struct Pages {
    /// Bytes of a page; 0: not known yet.
    page: usize,
    /// Where the next page begins.
    at: usize,
    /// What has come of it.
    part: Vec<u8>,
    /// Transaction and root page of the newer meta page.
    meta: Option<(u64, u64)>,
    /// The root page, when it has come.
    root: Vec<u8>,
    kept: Vec<Kept>,
    wanted: Vec<Wanted>,
}

impl Pages {
    pub(super) fn take(&mut self, mut bytes: &[u8]) {
        if self.page == 0 {
            self.part.extend_from_slice(bytes);
            if self.part.len() < META {
                return;
            }
            self.page = number(&self.part, PAGE_SIZE_AT) as usize;
            if !self.page.is_power_of_two() || !PAGE_SIZES.contains(&self.page) {
                self.page = usize::MAX; // no database; `revision` says so
            }
            let held = mem::take(&mut self.part);
            return self.take_pages(&held);
        }
        if !self.part.is_empty() {
            let (missing, rest) = bytes.split_at(bytes.len().min(self.page - self.part.len()));
            self.part.extend_from_slice(missing);
            bytes = rest;
            if self.part.len() < self.page {
                return;
            }
            let whole = mem::take(&mut self.part);
            self.look(&whole);
        }
        self.take_pages(bytes);
    }

    fn take_pages(&mut self, bytes: &[u8]) {
        if self.page == usize::MAX {
            return;
        }
        let pages = bytes.chunks_exact(self.page);
        self.part = pages.remainder().to_vec();
        pages.for_each(|page| self.look(page));
    }

    /// One page, at its place in the file.
    fn look(&mut self, page: &[u8]) {
        let (at, id) = (self.at, (self.at / self.page) as u64);
        self.at += self.page;
        self.serve(at, page);
        if id < 2 {
            return self.look_at_meta(page);
        }
        self.kept.resize(id as usize + 1, Kept::Nothing);
        if long(page, 0) != id {
            return; // the rest of a large page, or never used
        }
        if self.meta.is_some_and(|(_, root)| root == id) {
            self.root = page.to_vec();
        }
        let (flags, count) = (short(page, 8), usize::from(short(page, 10)));
        let last = HEADER + ELEMENT * count.saturating_sub(1);
        let ends = at + self.page * (number(page, 12) as usize).saturating_add(1);
        if count == 0 || (flags != BRANCH && flags != LEAF) {
            return;
        }
        if flags == LEAF && number(page, HEADER) & IS_BUCKET != 0 {
            self.kept[id as usize] = bucket_in(page).unwrap_or_default();
        } else if flags == BRANCH {
            if let Some(element) = page.get(last..last + ELEMENT) {
                self.kept[id as usize] = Kept::Rightmost(long(element, 8));
            }
        } else {
            let what = What::Element { leaf_ends: ends };
            self.want(id, what, at + last..at + last + ELEMENT, at, page);
        }
    }

    fn look_at_meta(&mut self, page: &[u8]) {
        let (root, transaction) = (long(page, HEADER + 16), long(page, HEADER + 48));
        let sound = number(page, HEADER) == MAGIC;
        if sound && self.meta.is_none_or(|(newest, _)| transaction > newest) {
            self.meta = Some((transaction, root));
        }
    }

    /// Asks for bytes of the file, of which this page, which begins at `at`, may hold some or all.
    fn want(&mut self, page: u64, what: What, bytes: Range<usize>, at: usize, here: &[u8]) {
        self.wanted.push(Wanted { page, what, at: bytes, held: Vec::new() });
        self.serve(at, here);
    }

    /// Gives those who want some of this page what they want.
    fn serve(&mut self, at: usize, page: &[u8]) {
        let ends = at + page.len();
        let mut open = mem::take(&mut self.wanted);
        for wanted in &mut open {
            let from = (wanted.at.start + wanted.held.len()).max(at);
            let to = wanted.at.end.min(ends);
            if from < to {
                wanted.held.extend_from_slice(&page[from - at..to - at]);
            }
        }
        let (full, open): (Vec<_>, Vec<_>) =
            open.into_iter().partition(|wanted| wanted.held.len() == wanted.at.len());
        self.wanted.extend(open);
        for wanted in full {
            match wanted.what {
                What::Key => self.kept[wanted.page as usize] = Kept::Last(revision(&wanted.held)),
                What::Element { leaf_ends } => {
                    let begins = wanted.at.start + number(&wanted.held, 4) as usize;
                    // a key that can't be there is none: the page is not what it seems to be
                    let fits = begins >= wanted.at.end && begins + MAIN <= leaf_ends;
                    if fits && number(&wanted.held, 8) as usize >= MAIN {
                        self.want(wanted.page, What::Key, begins..begins + MAIN, at, page);
                    }
                }
            }
        }
    }

    /// The highest revision, when all has come; 0: bucket `key` is empty.
    pub(super) fn revision(&self) -> Result<u64, &'static str> {
        let (_, root) = self.meta.ok_or("it is no bbolt database")?;
        let mut at = match short(self.root.get(..HEADER).ok_or("its root page is missing")?, 8) {
            LEAF => self.kept(root),
            _ => self.kept(child_for(&self.root, KEY).ok_or("its root page is damaged")?),
        };
        // each step leads one level down; a tree of eight levels holds more than a disk does
        for _ in 0..8 {
            match at {
                Kept::Last(revision) => return Ok(revision),
                Kept::Rightmost(page) | Kept::Bucket(page) => at = self.kept(page),
                Kept::Nothing => return Err("bucket `key` can't be followed to its end"),
            }
        }
        Err("bucket `key` has too many levels")
    }

    fn kept(&self, page: u64) -> Kept {
        usize::try_from(page).ok().and_then(|page| self.kept.get(page)).copied().unwrap_or_default()
    }
}

/// Where bucket `key` has its root, if this page of buckets holds it: a small bucket lies inside.
fn bucket_in(page: &[u8]) -> Option<Kept> {
    let elements = elements(page).filter(|(_, name, _)| *name == KEY);
    let (_, _, value) = elements.last()?;
    match long(value.get(..BUCKET)?, 0) {
        0 => {
            let inline = &value[BUCKET..];
            let last = self::elements(inline).last();
            Some(Kept::Last(last.map_or(0, |(_, key, _)| key.get(..MAIN).map_or(0, revision))))
        }
        root => Some(Kept::Bucket(root)),
    }
}

/// The elements of a leaf that lies in one piece: flags, key, value.
fn elements(page: &[u8]) -> impl Iterator<Item = (u32, &[u8], &[u8])> {
    let count = page.get(..HEADER).map_or(0, |header| usize::from(short(header, 10)));
    (0..count).filter_map(move |index| {
        let at = HEADER + ELEMENT * index;
        let element = page.get(at..at + ELEMENT)?;
        let key = at + number(element, 4) as usize;
        let value = key + number(element, 8) as usize;
        let ends = value + number(element, 12) as usize;
        Some((number(element, 0), page.get(key..value)?, page.get(value..ends)?))
    })
}

/// The child of a branch where `name` is, if anywhere.
fn child_for(page: &[u8], name: &[u8]) -> Option<u64> {
    let children = (0..usize::from(short(page, 10))).filter_map(|index| {
        let at = HEADER + ELEMENT * index;
        let element = page.get(at..at + ELEMENT)?;
        let key = at + number(element, 0) as usize;
        Some((page.get(key..key + number(element, 4) as usize)?, long(element, 8)))
    });
    children.take_while(|(first, _)| *first <= name).last().map(|(_, child)| child)
}

fn revision(key: &[u8]) -> u64 {
    key.iter().take(MAIN).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// Little-endian numbers, as bbolt writes them on every machine that etcd supports.
fn little(bytes: &[u8], at: usize, width: usize) -> u64 {
    bytes[at..at + width].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

fn short(bytes: &[u8], at: usize) -> u16 {
    little(bytes, at, 2) as u16
}

fn number(bytes: &[u8], at: usize) -> u32 {
    little(bytes, at, 4) as u32
}

fn long(bytes: &[u8], at: usize) -> u64 {
    little(bytes, at, 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pages that say who they are, with anything in them.
    fn noise(seed: u64) -> Vec<u8> {
        let mut state = seed;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state >> 33
        };
        let mut file: Vec<u8> = (0..64 * 512).map(|_| random() as u8).collect();
        for (id, page) in file.chunks_mut(512).enumerate() {
            page[..8].copy_from_slice(&(id as u64).to_le_bytes());
            page[8..10].copy_from_slice(&(1 + random() as u16 % 2).to_le_bytes());
            page[10..12].copy_from_slice(&(random() as u16 % 64).to_le_bytes());
            page[12..16].copy_from_slice(&(random() as u32 % 4).to_le_bytes());
        }
        for meta in file.chunks_mut(512).take(2) {
            meta[16..20].copy_from_slice(&MAGIC.to_le_bytes());
            meta[24..28].copy_from_slice(&512_u32.to_le_bytes());
            meta[32..40].copy_from_slice(&(2 + random() % 62).to_le_bytes());
        }
        file
    }

    #[test]
    fn whatever_comes_is_read_to_its_end_and_alike_however_it_is_cut() {
        for seed in 0..300 {
            let file = noise(seed);
            let read = |cut: usize| {
                let mut pages = Pages::default();
                file.chunks(cut).for_each(|piece| pages.take(piece));
                pages.revision()
            };
            let whole = read(file.len());
            for cut in [1, 79, 512, 700, 4_096] {
                assert_eq!(read(cut), whole, "seed {seed}, pieces of {cut}");
            }
        }
    }

    #[test]
    fn what_is_no_database_is_said_to_be_none() {
        for bytes in [&b""[..], &[0; 40], &[0; 70_000], &[0xFF; 70_000]] {
            let mut pages = Pages::default();
            pages.take(bytes);
            assert!(pages.revision().is_err());
        }
    }
}
