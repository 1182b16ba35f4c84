//! **readers_bent** — what the fuzz targets do, on the compiler that everything else is built with: files
//! that are almost right, by the hundred thousand.
//!
//! Comes from valid packs and manifests, bent by a seed: bytes flipped, cut, doubled, exchanged for
//! another file's, numbers made large. Goes through the readers as `protocol/fuzz` sends them there. A
//! fuzzer finds its own way in; this finds what stands near what is valid, at each run of the tests.

use protocol::{
    cluster::{ClusterId, Digest, Slot},
    manifest::{Doubt, Manifest, Reason},
    observation::Check,
    pack::{BLOCK, Pack, Run, Stored},
    registry::Pin,
    wire::{self, PACK_TRAILER, PackTrailer},
};

/// Bent files of each kind.
const TIMES: u64 = 100_000;
/// Longest bent file.
const LONGEST: usize = 4096;

/// Random numbers from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end.max(1) as u64).unwrap_or(0)
    }

    fn pick<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }
}

/// What stands in files of ours, and numbers where counts end.
const WORDS: [&[u8]; 12] = [
    b"0",
    b"-1",
    b"1e3",
    b"4294967296",
    b"9007199254740993",
    b"9223372036854775807",
    b"18446744073709551616",
    b"null",
    b"[[0,1],[1,1]]",
    b"{\"v\":1}",
    b"\\u0000",
    b"\xff\xfe",
];

/// Bends a file in one to four places.
fn bent(dice: &mut Dice, file: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = file.to_vec();
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len());
        let end = at + dice.below((bytes.len() - at).min(64) + 1);
        match dice.below(8) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << dice.below(8),
            1 => bytes.truncate(at),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let doubled = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, doubled));
            }
            4 => drop(bytes.splice(at.., other[dice.below(other.len())..].iter().copied())),
            5 => drop(bytes.splice(at..end, dice.pick(&WORDS).iter().copied())),
            6 => swap_a_number(dice, &mut bytes),
            _ => drop(bytes.splice(at..at, other.iter().copied())),
        }
        bytes.truncate(LONGEST);
    }
    bytes
}

/// Writes one of the words over a number of the text.
fn swap_a_number(dice: &mut Dice, bytes: &mut Vec<u8>) {
    let from = dice.below(bytes.len());
    let Some(start) = bytes[from..].iter().position(u8::is_ascii_digit).map(|at| from + at) else {
        return;
    };
    let length = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    drop(bytes.splice(start..start + length, dice.pick(&WORDS).iter().copied()));
}

fn pack(runs: &[(u64, u64)], size: u64) -> Pack {
    Pack {
        before: Some(Pin { key: "inc/1/data/0.db".to_owned(), sha256: Digest::of(b"before") }),
        size,
        sha256: Digest::of(b"after"),
        stored: Stored::Plain,
        stored_sha256: Digest::of(b"blocks"),
        blocks_sha256: Digest::of(b"blocks"),
        runs: runs.iter().map(|(first, count)| Run { first: *first, count: *count }).collect(),
    }
}

fn packs() -> [Pack; 3] {
    let block = BLOCK as u64;
    [pack(&[(0, 2), (5, 1), (9, 3)], 11 * block + 32), pack(&[], 3 * block), pack(&[(0, 1)], 100)]
}

/// The end of a pack's object: index and trailer.
fn index_of(tail: &[u8]) -> &[u8] {
    &tail[..tail.len() - PACK_TRAILER]
}

fn manifest(doubt: Option<Doubt>, needs: &[&str]) -> Manifest {
    Manifest {
        uid: "7c1dd8059de59227".to_owned(),
        inc: 2,
        data: "inc/2/data/a.pack".to_owned(),
        sha256: Digest::of(b"file"),
        size: 45_056,
        revision: 1_000_000_057,
        live_keys: Some(12),
        check: Some(Check { revision: 1_000_000_057, hash_kv: 7, live_keys: 12 }),
        applied: 60,
        term: 3,
        cluster_id: ClusterId(0xfeed),
        taken_by: Slot(1),
        etcd_version: "3.5.30".to_owned(),
        reason: Reason::Timer,
        needs: needs.iter().map(|need| (*need).to_owned()).collect(),
        compact: Some(9),
        doubt,
        taken: Some(1_790_000_000),
    }
}

/// As the target `pack_reader` does; whether an index was accepted.
fn read_index(trailer: &PackTrailer, index: &[u8]) -> bool {
    let Ok(pack) = wire::parse_pack_index(trailer, index) else { return false };
    assert_eq!(pack.check(), Ok(()));
    assert!(pack.stored != Stored::Plain || pack.bytes() == trailer.blocks_len);
    assert!(pack.segments().all(|segment| segment.in_file + segment.bytes <= pack.size));
    true
}

/// No bytes make the readers of a pack panic, and what they accept fits its object.
#[test]
fn bent_packs_are_refused_or_fit() {
    let mut dice = Dice(1);
    let tails = packs().map(|pack| (pack.bytes(), wire::encode_pack_tail(&pack, pack.bytes())));
    let objects = tails.clone().map(|(bytes, tail)| {
        let blocks = vec![7; usize::try_from(bytes).expect("a small pack").min(900)];
        [blocks, tail].concat()
    });
    let (mut accepted, mut trailers) = (0, 0);
    for _ in 0..TIMES {
        let (one, other) = (dice.below(tails.len()), dice.below(tails.len()));
        let object = bent(&mut dice, &objects[one], &objects[other]);
        let (head, trailer) = object.split_at(object.len().saturating_sub(PACK_TRAILER));
        if let Ok(trailer) = wire::parse_pack_trailer(trailer, object.len() as u64) {
            assert_eq!(trailer.blocks_len + trailer.index_len, head.len() as u64);
            trailers += 1;
            let from = usize::try_from(trailer.blocks_len).expect("no longer than the object");
            read_index(&trailer, &head[from..]);
        }
        // no fuzzer finds a digest: an index behind a trailer that fits it
        let index = bent(&mut dice, index_of(&tails[one].1), index_of(&tails[other].1));
        let blocks_len = [tails[one].0, tails[other].0][dice.below(2)];
        let index_sha256 = Digest::of(&index);
        let trailer = PackTrailer { index_len: index.len() as u64, blocks_len, index_sha256 };
        accepted += u64::from(read_index(&trailer, &index));
    }
    assert!(trailers > 0 && accepted > 0, "nothing was accepted: it is bent too much");
    assert!(accepted < TIMES / 2, "most was accepted: it is bent too little");
}

/// No bytes make the reader of a manifest panic, and what it accepts reads back.
#[test]
fn bent_manifests_are_refused_or_read_back() {
    let mut dice = Dice(2);
    let bare = Manifest {
        live_keys: None,
        check: None,
        compact: None,
        taken: None,
        ..manifest(None, &[])
    };
    let all = [manifest(Some(Doubt::Shrunk), &["inc/2/data/0.db"]), manifest(None, &[]), bare];
    let files = all.map(|manifest| wire::encode_manifest(&manifest));
    let mut accepted = 0;
    for _ in 0..TIMES {
        let (one, other) = (dice.below(files.len()), dice.below(files.len()));
        let file = bent(&mut dice, &files[one], &files[other]);
        if let Ok(manifest) = wire::parse_manifest(&file) {
            assert_eq!(wire::parse_manifest(&wire::encode_manifest(&manifest)), Ok(manifest));
            accepted += 1;
        }
    }
    assert!(accepted > 0, "nothing was accepted: it is bent too much");
    assert!(accepted < TIMES / 2, "most was accepted: it is bent too little");
}
