//! **tests** — what a pack holds is given back in each form, and what is damaged is named, before it fills a disk.
//!
//! Comes from files and pieces drawn by proptest, with a seed of its own, and from objects put together by
//! hand, as only damage or a forger makes them.

use super::{
    super::{laying::lay, packing::Packing, seal::tests::fresh},
    *,
};
use crate::ports::{object_store::Moved, pieces::Pieces};
use async_trait::async_trait;
use proptest::{collection::vec, prelude::*, test_runner::RngSeed};
use protocol::{
    pack::{BLOCK, Blocks, Pack, Run},
    registry::Pin,
    wire::{PACK_TRAILER, parse_pack_index, parse_pack_trailer},
};
use std::{future::Future, path::Path};
use tempfile::TempDir;

/// A file that comes in steps.
struct Steps<'a> {
    file: &'a [u8],
    at: usize,
    step: usize,
}

#[async_trait]
impl Pieces for Steps<'_> {
    async fn next(&mut self, into: &mut Vec<u8>) -> Result<bool, String> {
        let end = self.file.len().min(self.at + self.step);
        into.extend_from_slice(&self.file[self.at..end]);
        self.at = end;
        Ok(end < self.file.len())
    }

    fn moved(&self) -> Moved {
        Moved { size: self.at as u64, sha256: Digest::of(&self.file[..self.at]) }
    }
}

fn wait<T>(what: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(what)
}

/// What is stored of a file that comes in these steps, over another one or over nothing.
fn packed(file: &[u8], step: usize, before: Option<&[u8]>, seal: &Seal) -> Vec<u8> {
    let mut steps = Steps { file, at: 0, step };
    let mut blocks = Blocks::new();
    let packing = match before {
        None => Packing::whole(&mut steps, seal),
        Some(before) => {
            blocks.begin();
            before.chunks(BLOCK).for_each(|block| assert!(blocks.offer(block), "nothing is known"));
            blocks.keep();
            let pin = Pin { key: "inc/1/data/b.db".into(), sha256: Digest::of(before) };
            Packing::differences(&mut steps, pin, &mut blocks, seal)
        }
    };
    let (mut packing, mut object) = (packing.expect("it begins"), Vec::new());
    while wait(packing.next(&mut object)).expect("it goes on") {}
    let moved = packing.moved();
    assert_eq!((moved.size, moved.sha256), (object.len() as u64, Digest::of(&object)));
    object
}

/// Blocks as they are stored, and their index.
fn split(object: &[u8]) -> (Vec<u8>, Pack) {
    let (head, trailer) = object.split_at(object.len() - PACK_TRAILER);
    let trailer = parse_pack_trailer(trailer, object.len() as u64).expect("its own");
    let (blocks, index) = head.split_at(usize::try_from(trailer.blocks_len).expect("it fits"));
    (blocks.to_vec(), parse_pack_index(&trailer, index).expect("its own"))
}

/// Lays stored blocks over a file, and answers with what that became, or what is wrong with them.
fn laid(pack: &Pack, stored: &[u8], over: &[u8], seal: &Seal) -> Result<Vec<u8>, Lost> {
    let scratch = TempDir::new().expect("a scratch directory");
    laid_in(scratch.path(), pack, stored, over, seal)
}

fn laid_in(
    dir: &Path,
    pack: &Pack,
    stored: &[u8],
    over: &[u8],
    seal: &Seal,
) -> Result<Vec<u8>, Lost> {
    let (object, onto) = (dir.join("object"), dir.join("onto"));
    std::fs::write(&object, [stored, b"index and trailer"].concat()).expect("the object");
    std::fs::write(&onto, over).expect("the file before");
    let laid = lay(pack, (&object, stored.len() as u64), &onto, seal);
    let file = std::fs::read(&onto).expect("the file");
    assert!(
        file.len() as u64 <= pack.size.max(over.len() as u64),
        "no byte lands outside the file"
    );
    laid.map(|()| file)
}

/// The sentence about blocks that are damaged.
fn damage(pack: &Pack, stored: &[u8], seal: &Seal) -> String {
    match laid(pack, stored, b"", seal) {
        Err(Lost::Damaged(why)) => why,
        other => panic!("not damaged: {:?}", other.map(|file| file.len())),
    }
}

/// The same pack with its blocks stored as they are.
fn plainly(object: &[u8], seal: &Seal) -> (Vec<u8>, Pack) {
    let (stored, pack) = split(object);
    let scratch = TempDir::new().expect("a scratch directory");
    std::fs::write(scratch.path().join("o"), &stored).expect("the object");
    let file = File::open(scratch.path().join("o")).expect("the object");
    let whose = (stored.len() as u64, &pack.stored_sha256);
    let mut from = Unpacker::open(pack.stored, file, whose, seal).expect("it opens");
    let mut plain = vec![0; usize::try_from(pack.bytes()).expect("it fits")];
    from.fill(&mut plain).expect("it decodes");
    from.end().expect("that is all");
    let stored_sha256 = Digest::of(&plain);
    (plain, Pack { stored: Stored::Plain, stored_sha256, ..pack })
}

/// Blocks of text, of zeros and of noise, and a last one that may be short.
fn file() -> impl Strategy<Value = Vec<u8>> {
    let block = prop_oneof![
        Just(vec![0; BLOCK]),
        (0..9_u8).prop_map(|pod| format!("{{\"kind\":\"Pod\",\"name\":\"pod-{pod}\"}}")
            .repeat(200)
            .into_bytes()),
        vec(any::<u8>(), BLOCK),
    ];
    let block = block.prop_map(|mut block| {
        block.truncate(BLOCK);
        block
    });
    (vec(block, 0..40), 0..BLOCK).prop_map(|(blocks, short)| {
        let mut file = blocks.concat();
        file.truncate(file.len().saturating_sub(short));
        file
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 100, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default()
    })]

    #[test]
    fn every_file_is_given_back_in_each_form(
        before in file(), after in file(), step in 1..300_000_usize, alone: bool,
    ) {
        for seal in [Seal::default(), fresh()] {
            let over = (!alone).then_some(before.as_slice());
            let object = packed(&after, step.max(after.len() / 50 + 1), over, &seal);
            let (stored, pack) = split(&object);
            let form = if seal.seals() { Stored::SealedZstd } else { Stored::Zstd };
            prop_assert_eq!((pack.stored, pack.before.is_none()), (form, alone));
            let over = over.unwrap_or_default();
            prop_assert!(laid(&pack, &stored, over, &seal).expect("it is whole") == after);
            let (stored, pack) = plainly(&object, &seal);
            prop_assert!(laid(&pack, &stored, over, &Seal::default()).expect("it is whole") == after);
        }
    }
}

/// A pack of a file that can be compressed in part.
fn sample(seal: &Seal) -> (Vec<u8>, Pack) {
    let noise = (0..3 * BLOCK as u64).map(|at| Digest::of(&at.to_le_bytes()).0[0]);
    let file: Vec<u8> = noise.chain(std::iter::repeat_n(7, 20 * BLOCK + 77)).collect();
    split(&packed(&file, 10_000, None, seal))
}

#[test]
fn every_flipped_byte_and_every_cut_is_found_and_named() {
    for seal in [Seal::default(), fresh()] {
        let (stored, pack) = sample(&seal);
        for at in (0..stored.len()).filter(|at| *at < 300 || at % 97 == 0) {
            let mut broken = stored.clone();
            broken[at] ^= 1 << (at % 8);
            assert!(!damage(&pack, &broken, &seal).is_empty(), "{at}");
            assert!(!damage(&pack, &stored[..at], &seal).is_empty(), "cut off at {at}");
        }
        let (plain, pack) = plainly(&packed(&[3; 5000], 1000, None, &seal), &seal);
        assert!(damage(&pack, &plain[..4999], &seal).contains("end before all came"));
        assert!(damage(&pack, &[plain, vec![3]].concat(), &seal).contains("more than its index"));
    }
}

#[test]
fn a_bomb_is_named_before_it_fills_a_disk() {
    for seal in [Seal::default(), fresh()] {
        let (stored, pack) = split(&packed(&vec![0; 64 << 20], 1 << 20, None, &seal));
        assert!(stored.len() < 64 << 10, "64 MiB in {} bytes", stored.len());
        let told = Pack { size: 4096, runs: vec![Run { first: 0, count: 1 }], ..pack };
        assert!(damage(&told, &stored, &seal).contains("more than its index tells of"));
    }
}

#[test]
fn a_frame_that_asks_for_much_memory_is_refused() {
    let (_, pack) = sample(&Seal::default());
    let mut encoder = Encoder::new(Vec::new(), LEVEL).expect("an encoder");
    encoder.window_log(25).expect("32 MiB");
    encoder.write_all(&vec![7; usize::try_from(pack.size).expect("it fits")]).expect("it encodes");
    let stored = encoder.finish().expect("it ends");
    assert!(damage(&pack, &stored, &Seal::default()).contains("can't be decoded"));
}

#[test]
fn what_follows_the_blocks_is_named() {
    let seal = fresh();
    let (stored, pack) = sample(&Seal::default());
    for garbage in
        [b"x".as_slice(), &stored, &zstd::encode_all(b"".as_slice(), 1).expect("a frame")]
    {
        let longer = [&stored, garbage].concat();
        assert!(damage(&pack, &longer, &Seal::default()).contains("no block follows"));
        let mut sealing = seal.sealing(Vec::new()).expect("a key");
        sealing.write_all(&longer).expect("it seals");
        let sealed = sealing.finish().expect("it ends");
        let told =
            Pack { stored: Stored::SealedZstd, stored_sha256: Digest::of(&sealed), ..pack.clone() };
        assert!(damage(&told, &sealed, &seal).contains("no block follows"));
        assert!(
            damage(&told, &[sealed.as_slice(), b"x"].concat(), &seal).contains("can't be decoded")
        );
    }
    assert!(
        damage(&Pack { stored: Stored::SealedZstd, ..pack }, &stored, &seal)
            .contains("sealed does")
    );
}

#[test]
fn a_key_that_is_not_here_says_nothing_of_the_blocks() {
    let (mine, other) = (fresh(), fresh());
    let (stored, pack) = sample(&other);
    for (seal, named) in [(&mine, "does not hold"), (&Seal::default(), "is not set")] {
        let lost = laid(&pack, &stored, b"", seal).expect_err("not mine");
        assert!(matches!(lost, Lost::NoKey(why) if why.contains(named)), "{named}");
        let mut broken = stored.clone();
        let share =
            stored.windows(10).position(|bytes| bytes == b"-> X25519 ").expect("a recipient");
        broken[share + 12] = if broken[share + 12] == b'A' { b'B' } else { b'A' };
        assert!(
            damage(&pack, &broken, seal).contains("digest is another"),
            "damaged, whoever reads it"
        );
        assert!(damage(&pack, &broken, &other).contains("digest is another"));
    }
}

#[test]
fn what_can_not_be_compressed_grows_by_little() {
    let noise: Vec<u8> = (0..1_u64 << 15).flat_map(|at| Digest::of(&at.to_le_bytes()).0).collect();
    for (seal, most) in [(Seal::default(), 100), (fresh(), 700)] {
        let (stored, _) = split(&packed(&noise, 1 << 20, None, &seal));
        assert!(stored.len() <= noise.len() + most, "{} of {}", stored.len(), noise.len());
    }
}
