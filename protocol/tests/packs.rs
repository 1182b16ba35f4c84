//! **packs** — chains of snapshots give back every file, and damaged ones give nothing.
//!
//! Comes from files and saves drawn by proptest, with a seed of its own, so each machine tries the
//! same. Compared with the simple way, which holds whole files. What is damaged, and whether it is
//! found by name, is drawn up by hand.

#[path = "packs/index.rs"]
mod index;

use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, RngSeed},
};
use protocol::{
    cluster::Digest,
    pack::{BLOCK, Blocks, CHAIN_MAX, Pack, Run, Runs, SIZE_MAX, Stored},
    registry::Pin,
    wire::{self, PACK_TRAILER, PackTrailer},
};
use std::collections::BTreeMap;

fn config() -> Config {
    Config {
        cases: 400,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..Config::default()
    }
}

/// A bucket, and what a saver remembers of its latest chain.
#[derive(Default)]
struct Saver {
    bucket: BTreeMap<String, Vec<u8>>,
    blocks: Blocks,
    last: Option<Pin>,
    file: Vec<u8>,
}

/// A pack whose blocks are stored as they are.
fn plain(before: Option<Pin>, size: u64, sha256: Digest, blocks: Digest, runs: Vec<Run>) -> Pack {
    let (stored_sha256, blocks_sha256) = (blocks, blocks);
    Pack { before, size, sha256, stored: Stored::Plain, stored_sha256, blocks_sha256, runs }
}

fn tail_of(pack: &Pack) -> Vec<u8> {
    wire::encode_pack_tail(pack, pack.bytes())
}

/// The runs of blocks in which `new` differs from `old`, the simple way.
fn simple_runs(old: &[u8], new: &[u8]) -> Vec<Run> {
    let old: Vec<&[u8]> = old.chunks(BLOCK).collect();
    let mut runs: Vec<Run> = Vec::new();
    for (at, block) in new.chunks(BLOCK).enumerate() {
        if old.get(at) == Some(&block) {
            continue;
        }
        let first = at as u64;
        match runs.last_mut() {
            Some(run) if run.first + run.count == first => run.count += 1,
            Some(_) | None => runs.push(Run { first, count: 1 }),
        }
    }
    runs
}

impl Saver {
    /// Saves `file` as the next of the chain, or begins one with it.
    fn save(&mut self, file: &[u8]) {
        let id = format!("{}", self.bucket.len());
        let (runs, bytes) = self.offer(file);
        let sha256 = Digest::of(file);
        let (key, object) = match self.last.take() {
            None => (wire::Keys::data(1, &id), file.to_vec()),
            Some(before) => {
                assert_eq!(runs, simple_runs(&self.file, file), "no block too many or too few");
                let size = file.len() as u64;
                let pack = plain(Some(before), size, sha256, Digest::of(&bytes), runs);
                assert_eq!(pack.check(), Ok(()));
                assert_eq!(pack.bytes(), bytes.len() as u64);
                (wire::Keys::pack(1, &id), [bytes, tail_of(&pack)].concat())
            }
        };
        self.bucket.insert(key.clone(), object);
        self.last = Some(Pin { key, sha256 });
        self.blocks.keep();
        self.file = file.to_vec();
    }

    /// A save of `file` that fails after so many blocks, with a word to the table or without one.
    fn fail(&mut self, file: &[u8], after: usize, told: bool) {
        self.offer(&file[..file.len().min(after * BLOCK)]);
        if told {
            self.blocks.forget_changes();
        }
        assert_eq!(self.blocks.known(), self.file.len() as u64);
    }

    fn offer(&mut self, file: &[u8]) -> (Vec<Run>, Vec<u8>) {
        self.blocks.begin();
        let (mut runs, mut bytes) = (Runs::new(), Vec::new());
        for (at, block) in file.chunks(BLOCK).enumerate() {
            if self.blocks.offer(block) {
                runs.add(at as u64);
                bytes.extend_from_slice(block);
            }
        }
        (runs.finish(), bytes)
    }
}

/// Reads a pack and its blocks, and checks all that can be checked before they are laid.
fn open(object: &[u8]) -> Result<(Pack, &[u8]), String> {
    let split = object.len().checked_sub(PACK_TRAILER).ok_or("no room for a trailer")?;
    let (head, trailer) = object.split_at(split);
    let trailer = wire::parse_pack_trailer(trailer, object.len() as u64)
        .map_err(|error| error.to_string())?;
    let (blocks, index) = head.split_at(usize::try_from(trailer.blocks_len).expect("it fits"));
    let pack = wire::parse_pack_index(&trailer, index).map_err(|error| error.to_string())?;
    if Digest::of(blocks) == pack.blocks_sha256 {
        Ok((pack, blocks))
    } else {
        Err("the pack's blocks are damaged".to_owned())
    }
}

/// The file that the object at `pin` gives: back to the base, and forward again.
fn restore(bucket: &BTreeMap<String, Vec<u8>>, pin: &Pin) -> Result<Vec<u8>, String> {
    let mut packs = Vec::new();
    let mut at = pin.clone();
    while at.key.ends_with(".pack") {
        if packs.len() == CHAIN_MAX {
            return Err("the chain has no end".to_owned());
        }
        let (pack, blocks) = open(bucket.get(&at.key).ok_or("a pack is missing")?)?;
        if pack.sha256 != at.sha256 {
            return Err("the pack before is another one".to_owned());
        }
        at = pack.before.clone().ok_or("it is laid over nothing")?;
        packs.push((pack, blocks));
    }
    let mut file = bucket.get(&at.key).ok_or("the base is missing")?.clone();
    for (pack, blocks) in packs.iter().rev() {
        file.resize(usize::try_from(pack.size).expect("it fits"), 0);
        for segment in pack.segments() {
            let [from, to, bytes] = [segment.in_pack, segment.in_file, segment.bytes]
                .map(|number| usize::try_from(number).expect("it fits"));
            file[to..to + bytes].copy_from_slice(&blocks[from..from + bytes]);
        }
    }
    if Digest::of(&file) == pin.sha256 { Ok(file) } else { Err("another file".to_owned()) }
}

#[derive(Clone, Debug)]
enum Step {
    /// The file becomes this long, in bytes; what is new is filled with a byte.
    Resize(usize, u8),
    /// One byte becomes another.
    Change(prop::sample::Index, u8),
    Save,
    /// A save fails after so many blocks.
    Fail(usize, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let length = prop_oneof![(0..12_usize).prop_map(|blocks| blocks * BLOCK), 0..12 * BLOCK];
    prop_oneof![
        (length, 0..3_u8).prop_map(|(length, byte)| Step::Resize(length, byte)),
        // few bytes, so that changes are taken back too
        (any::<prop::sample::Index>(), 0..3_u8).prop_map(|(at, byte)| Step::Change(at, byte)),
        (any::<prop::sample::Index>(), 0..3_u8).prop_map(|(at, byte)| Step::Change(at, byte)),
        Just(Step::Save),
        (0..14_usize, any::<bool>()).prop_map(|(after, told)| Step::Fail(after, told)),
    ]
}

fn any_pack() -> impl Strategy<Value = Pack> {
    let number = || prop_oneof![0..40_u64, any::<u64>(), (SIZE_MAX >> 12) - 2..=SIZE_MAX >> 12];
    let run = (number(), number()).prop_map(|(first, count)| Run { first, count });
    let size = prop_oneof![0..200_000_u64, any::<u64>(), Just(SIZE_MAX)];
    (".*", size, vec(run, 0..5)).prop_map(|(key, size, runs)| {
        let sha256 = Digest::of(key.as_bytes());
        plain(Some(Pin { key, sha256 }), size, sha256, sha256, runs)
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_file_of_a_chain_is_given_back(steps in vec(step(), 1..60)) {
        let (mut saver, mut file, mut saved) = (Saver::default(), vec![0; 3 * BLOCK + 32], vec![]);
        saver.save(&file);
        for step in steps {
            match step {
                Step::Resize(length, byte) => file.resize(length, byte),
                Step::Change(_, _) if file.is_empty() => {}
                Step::Change(at, byte) => *at.get_mut(&mut file) = byte,
                Step::Fail(after, told) => saver.fail(&file, after, told),
                Step::Save => {
                    saver.save(&file);
                    saved.push((saver.last.clone().expect("just saved"), file.clone()));
                }
            }
        }
        for (pin, file) in saved {
            prop_assert!(restore(&saver.bucket, &pin) == Ok(file), "{pin:?}");
        }
    }

    #[test]
    fn an_index_without_a_flaw_fits_its_file_and_reads_back(pack in any_pack()) {
        let segments: Vec<_> = pack.segments().collect(); // none panics, flaw or not
        prop_assert!(segments.iter().all(|segment| segment.in_file <= pack.size));
        if pack.check().is_err() {
            return Ok(());
        }
        let (mut in_pack, mut free) = (0, 0);
        for segment in segments {
            prop_assert!(segment.in_pack == in_pack && segment.in_file >= free);
            prop_assert!(segment.bytes > 0 && segment.in_file.is_multiple_of(BLOCK as u64));
            in_pack += segment.bytes;
            free = segment.in_file + segment.bytes;
            prop_assert!(free.is_multiple_of(BLOCK as u64) || free == pack.size);
        }
        prop_assert!(free <= pack.size && in_pack == pack.bytes());
        let tail = tail_of(&pack);
        let (index, trailer) = tail.split_at(tail.len() - PACK_TRAILER);
        let trailer = wire::parse_pack_trailer(trailer, pack.bytes() + tail.len() as u64);
        prop_assert_eq!(wire::parse_pack_index(&trailer.expect("its own"), index), Ok(pack));
    }

    #[test]
    fn no_bytes_make_a_reader_panic(
        mut trailer in vec(any::<u8>(), 50..60), marked: bool, size: u64, blocks_len: u64,
        index in "\\{\"v\":2,\"before\":[{}:\",0-9a-z]{0,40}|.*",
    ) {
        if marked {
            trailer[..8].copy_from_slice(b"RQPACK2\n");
        }
        let _refused_or_not = wire::parse_pack_trailer(&trailer, size);
        let index = index.as_bytes();
        prop_assert!(wire::parse_pack_index(&forged(index, blocks_len), index).is_err());
    }
}

/// A trailer that fits an index.
fn forged(index: &[u8], blocks_len: u64) -> PackTrailer {
    let index_len = index.len() as u64;
    PackTrailer { index_len, blocks_len, index_sha256: Digest::of(index) }
}

/// A base, a pack of two runs and a pack that cuts the file off.
fn chain() -> Saver {
    let mut saver = Saver::default();
    let mut file: Vec<u8> = (0..5 * BLOCK + 32).map(|at| (at % 251) as u8).collect();
    saver.save(&file);
    file[BLOCK] ^= 1;
    file[4 * BLOCK] ^= 1;
    saver.save(&file);
    file.truncate(5 * BLOCK - 100);
    file[0] ^= 1;
    saver.save(&file);
    saver
}

#[test]
fn every_flipped_byte_of_a_pack_is_found_and_named() {
    let saver = chain();
    let pin = saver.last.as_ref().expect("saved");
    let object = &saver.bucket[&pin.key];
    let (pack, blocks) = open(object).expect("it is whole");
    assert_eq!(pack.runs, [Run { first: 0, count: 1 }, Run { first: 4, count: 1 }]);
    for at in 0..object.len() {
        if at < blocks.len() && !at.is_multiple_of(37) {
            continue; // one in 37 is enough there: they all go through one digest
        }
        let mut broken = object.clone();
        broken[at] ^= 1 << (at % 8);
        let error = open(&broken).expect_err("a byte is another");
        let trailer = object.len() - PACK_TRAILER;
        let named = match at {
            at if at < blocks.len() => "blocks are damaged",
            at if at < trailer => "index is damaged",
            at if at < trailer + 24 => "the pack's trailer",
            _ => "index is damaged", // the trailer's digest of it
        };
        assert!(error.contains(named), "{at}: {error}");
    }
}

#[test]
fn a_pack_cut_off_anywhere_or_put_together_otherwise_is_refused() {
    let saver = chain();
    let object = &saver.bucket[&saver.last.as_ref().expect("saved").key];
    for length in 0..object.len() {
        let error = open(&object[..length]).expect_err("its end is missing");
        assert!(error.contains("trailer"), "{length}: {error}");
        let error = open(&object[object.len() - length..]).expect_err("its beginning is missing");
        assert!(error.contains("trailer"), "{length}: {error}");
    }
    let (_, blocks) = open(object).expect("it is whole");
    let (head, trailer) = object.split_at(object.len() - PACK_TRAILER);
    let index = &head[blocks.len()..];
    let (one, other) = blocks.split_at(BLOCK);
    let refused = |parts: &[&[u8]]| open(&parts.concat()).expect_err("out of order");
    assert!(refused(&[index, blocks, trailer]).contains("index is damaged"));
    assert!(refused(&[trailer, blocks, index]).contains("trailer doesn't begin with its mark"));
    assert!(refused(&[other, one, index, trailer]).contains("blocks are damaged"));
    assert!(refused(&[object, trailer]).contains("trailer tells of"));
    let newer = [head, b"RQPACK3\n", &trailer[8..]].concat();
    assert!(open(&newer).expect_err("not ours").contains("upgrade requorum"));
    let older = [head, b"RQPACK1\n", &trailer[8..]].concat();
    assert!(open(&older).expect_err("not ours").contains("only the requorum that wrote it"));
}

#[test]
fn packs_in_each_others_place_give_nothing() {
    let mut saver = chain();
    let last = saver.last.clone().expect("saved");
    let keys: Vec<String> = saver.bucket.keys().cloned().collect();
    let [base, first, second] = keys.as_slice() else { panic!("three objects") };
    assert_eq!(*second, last.key);
    let whole = saver.bucket.clone();
    let restored = |bucket: &BTreeMap<String, Vec<u8>>| restore(bucket, &last).map(|_| "a file");
    saver.bucket.insert(first.clone(), whole[second].clone());
    assert_eq!(restored(&saver.bucket), Err("the pack before is another one".to_owned()));
    saver.bucket = whole.clone();
    saver.bucket.entry(base.clone()).and_modify(|file| file[2 * BLOCK] ^= 1);
    assert_eq!(restored(&saver.bucket), Err("another file".to_owned()));
    saver.bucket = whole.clone();
    saver.bucket.remove(first);
    assert_eq!(restored(&saver.bucket), Err("a pack is missing".to_owned()));
    let (mut pack, blocks) = open(&whole[second]).expect("it is whole");
    pack.before = Some(last.clone());
    let circle = [blocks, &tail_of(&pack)].concat();
    saver.bucket.insert(second.clone(), circle);
    assert_eq!(restored(&saver.bucket), Err("the chain has no end".to_owned()));
    assert!(restore(&whole, &last) == Ok(saver.file));
}
