//! **database** — what the file of a simulated etcd looks like: pages of 4 KiB, each in its own place.
//!
//! Comes from a member's store. Goes out as the bytes of a snapshot, and comes back as revision and keys.
//!
//! As with bbolt a write changes a few pages and leaves the others as they are, two members' files have
//! hardly a block in common, and a defragmentation writes the file anew and makes it shorter. So chains of
//! packs are made, grow too long and begin anew, and a block laid in the wrong place or left out shows as a
//! key that is missing. Few pages: the simulated bucket has to move all of them at each save.

use super::etcd::Store;
use protocol::cluster::Digest;

/// Bytes of a page, which is a block of a pack.
const PAGE: usize = 4096;
/// Pages of a member that holds nothing yet.
pub(crate) const PAGES: u64 = 48;
/// Two pages stand before those with keys: they change with each write, as bbolt's meta pages do.
const META: u64 = 2;
/// Neighbouring writes that share a page.
const TOGETHER: usize = 16;
/// So many writes make the file longer by a page, until it is defragmented.
const WRITES_A_PAGE: usize = 64;
/// Page, revision or count before the keys of a page.
const HEAD: usize = 16;
/// An index and a key.
const ENTRY: usize = 16;
/// Bytes of the digest at the end of a file, as etcd sends it.
const TRAILER: usize = 32;

/// How a member's file lies on its disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// Pages with keys.
    pub(crate) pages: u64,
    /// How often it was defragmented, and how many writes it held when it was.
    pub(crate) defragmented: Option<(u64, usize)>,
}

/// The file of a member.
pub(crate) fn file_of(store: &Store, layout: Layout) -> Vec<u8> {
    let keys = store.keys();
    let (times, written) = layout.defragmented.unwrap_or_default();
    let salt = mix(store.id.0 ^ mix(times));
    let grown = keys.len().saturating_sub(written) / WRITES_A_PAGE;
    let spare = if layout.defragmented.is_some() { 0 } else { PAGES / 4 };
    let pages = META + layout.pages + spare + grown as u64;
    let mut file = Vec::new();
    for page in 0..pages {
        let fill = mix(salt ^ page).to_le_bytes();
        let start = file.len();
        file.extend(fill.iter().cycle().take(PAGE));
        put(&mut file[start..], 0, page);
        put(&mut file[start..], 8, 0);
    }
    for meta in 0..META {
        let older = (store.revision() + meta) % META;
        put(&mut file[usize::try_from(meta).unwrap_or(0) * PAGE..], 8, store.revision() - older);
    }
    for (index, key) in keys.iter().enumerate() {
        let page = META + mix((index / TOGETHER) as u64) % layout.pages;
        let page = &mut file[usize::try_from(page).unwrap_or(0) * PAGE..][..PAGE];
        let count = get(page, 8);
        let at = HEAD + usize::try_from(count).unwrap_or(0) * ENTRY;
        assert!(at + ENTRY <= PAGE, "a page of the simulated database is full");
        put(page, at, index as u64);
        put(page, at + 8, *key);
        put(page, 8, count + 1);
    }
    let digest = Digest::of(&file);
    file.extend_from_slice(&digest.0);
    file
}

/// Revision and keys of a file; `None`: it is damaged, or no file of ours.
pub(crate) fn read(file: &[u8]) -> Option<(u64, Vec<u64>)> {
    let (file, digest) = file.split_at_checked(file.len().checked_sub(TRAILER)?)?;
    let whole = file.len() >= 2 * PAGE && file.len().is_multiple_of(PAGE);
    if !whole || Digest::of(file).0 != *digest {
        return None;
    }
    let revision = get(file, 8).max(get(&file[PAGE..], 8));
    let mut found = Vec::new();
    for (number, page) in file.chunks_exact(PAGE).enumerate() {
        if get(page, 0) != number as u64 {
            return None;
        }
        let count = if number < 2 { 0 } else { usize::try_from(get(page, 8)).ok()? };
        let entries = page.get(HEAD..HEAD + count * ENTRY)?;
        found.extend(entries.chunks_exact(ENTRY).map(|entry| (get(entry, 0), get(entry, 8))));
    }
    found.sort_unstable();
    let none_is_missing = found.iter().enumerate().all(|(at, (index, _))| at as u64 == *index);
    none_is_missing.then(|| (revision, found.into_iter().map(|(_, key)| key).collect()))
}

fn put(bytes: &mut [u8], at: usize, number: u64) {
    bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
}

fn get(bytes: &[u8], at: usize) -> u64 {
    let number = bytes.get(at..at + 8).and_then(|number| number.try_into().ok());
    number.map_or(0, u64::from_le_bytes)
}

/// Scatters numbers (the end of splitmix64).
const fn mix(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// What is written is read, pages stay where they are, and a defragmentation shortens the file.
#[test]
fn a_write_changes_a_few_pages() {
    use super::etcd::Entry;
    let mut store = Store::founded("http://a:2380", "a=http://a:2380", "token");
    store.log.extend((1..=100).map(|number| (1, Entry::Put(number))));
    let layout = Layout { pages: PAGES, defragmented: None };
    let before = file_of(&store, layout);
    assert_eq!(read(&before), Some((store.revision(), store.keys())));
    store.log.push((1, Entry::Put(101)));
    let after = file_of(&store, layout);
    assert_eq!(read(&after), Some((store.revision(), store.keys())));
    let changed = before.chunks(PAGE).zip(after.chunks(PAGE)).filter(|(one, two)| one != two);
    assert!(changed.count() <= 5, "metas, a page of keys, and the digest");
    let anew = file_of(&store, Layout { defragmented: Some((1, 101)), ..layout });
    assert!(anew.len() < after.len());
    let kept = anew.chunks(PAGE).zip(after.chunks(PAGE)).filter(|(one, two)| one == two);
    assert_eq!(kept.count(), 0);
    assert_eq!(read(&anew), read(&after));
}
