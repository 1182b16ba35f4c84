//! **index** — what is wrong with a pack's index is refused by name.
//!
//! Comes from indexes that are flawed on purpose, behind trailers that fit them. Goes through the reader.

use super::{forged, plain, tail_of};
use protocol::{
    cluster::Digest,
    pack::{BLOCK, Flaw, INDEX_MAX, Pack, RUNS_MAX, Run, SIZE_MAX, Stored},
    registry::Pin,
    wire::{self, PACK_TRAILER},
};

#[test]
fn each_flaw_of_an_index_is_refused_by_name() {
    let run = |first, count| Run { first, count };
    let sha256 = Digest::of(b"");
    let before = Some(Pin { key: "k".to_owned(), sha256 });
    let size = 10 * BLOCK as u64 + 1; // eleven blocks
    let good = plain(before, size, sha256, sha256, vec![run(0, 11)]);
    assert_eq!(good.check(), Ok(()));
    let many = (0..=RUNS_MAX as u64).map(|at| run(2 * at, 1)).collect();
    let cases = [
        (size, vec![run(0, 1), run(3, 0)], Flaw::Empty(1), "`runs` holds an empty run at 1"),
        (size, vec![run(3, 2), run(4, 1)], Flaw::Order(1), "`runs` holds a run at 1 that begins"),
        (size, vec![run(3, 2), run(0, 1)], Flaw::Order(1), "`runs` holds a run at 1 that begins"),
        (size, vec![run(0, 12)], Flaw::Beyond(0), "`runs` holds a run at 0 that ends behind"),
        (0, vec![run(0, 1)], Flaw::Beyond(0), "`runs` holds a run at 0 that ends behind"),
        (size, vec![run(1, SIZE_MAX)], Flaw::Beyond(0), "`runs` holds a run at 0 that ends behind"),
        (SIZE_MAX, many, Flaw::Runs, "`runs` holds more than 400000 runs"),
    ];
    for (size, runs, flaw, named) in cases {
        let bad = Pack { size, runs, ..good.clone() };
        assert_eq!(bad.check(), Err(flaw));
        let tail = tail_of(&bad);
        let index = &tail[..tail.len() - PACK_TRAILER];
        let error = wire::parse_pack_index(&forged(index, bad.bytes()), index);
        let error = error.expect_err("flawed").to_string();
        assert!(error.contains(named), "{error}");
    }
    let tail = tail_of(&good);
    let index = &tail[..tail.len() - PACK_TRAILER];
    let error = wire::parse_pack_index(&forged(index, size - 1), index);
    let error = error.expect_err("its blocks are fewer than its runs").to_string();
    assert!(
        error.ends_with("`runs` holds 40961 bytes and the pack has 40960 of blocks"),
        "{error}"
    );
    let beyond = Pack { size: SIZE_MAX + 1, ..good.clone() };
    assert_eq!(beyond.check(), Err(Flaw::Size), "no number of a record is so large");
    let overflow = Pack { runs: vec![run(u64::MAX, 2)], ..good };
    assert_eq!(overflow.check(), Err(Flaw::Beyond(0)));
}

#[test]
fn what_is_laid_over_nothing_holds_the_whole_file() {
    let run = |first, count| Run { first, count };
    let (sha256, size) = (Digest::of(b""), 10 * BLOCK as u64 + 1); // eleven blocks
    let alone = |size, runs| plain(None, size, sha256, sha256, runs);
    for (size, runs) in [(0, vec![]), (size, vec![run(0, 11)]), (size, vec![run(0, 3), run(3, 8)])]
    {
        assert_eq!(alone(size, runs).check(), Ok(()));
    }
    for runs in [vec![], vec![run(0, 10)], vec![run(1, 10)], vec![run(0, 3), run(4, 7)]] {
        let bad = alone(size, runs);
        assert_eq!(bad.check(), Err(Flaw::Before));
        let tail = tail_of(&bad);
        let index = &tail[..tail.len() - PACK_TRAILER];
        let error = wire::parse_pack_index(&forged(index, bad.bytes()), index);
        let error = error.expect_err("blocks are missing").to_string();
        assert!(error.ends_with("`before` is missing"), "{error}");
    }
}

#[test]
fn only_what_is_stored_plainly_has_as_many_bytes_as_its_blocks() {
    let (sha256, runs) = (Digest::of(b""), vec![Run { first: 0, count: 2 }]);
    let pack = plain(None, 2 * BLOCK as u64, sha256, sha256, runs);
    for stored in Stored::ALL {
        let pack = Pack { stored: *stored, ..pack.clone() };
        let tail = wire::encode_pack_tail(&pack, 77);
        let (index, trailer) = tail.split_at(tail.len() - PACK_TRAILER);
        let trailer = wire::parse_pack_trailer(trailer, 77 + tail.len() as u64).expect("its own");
        assert_eq!(trailer.blocks_len, 77);
        let read = wire::parse_pack_index(&trailer, index);
        assert_eq!(read.is_ok(), *stored != Stored::Plain, "{stored:?}");
    }
}

#[test]
fn the_largest_index_is_within_its_bound_and_a_larger_one_is_not_asked_for() {
    let last = SIZE_MAX / BLOCK as u64;
    let runs = (0..RUNS_MAX as u64).rev().map(|at| Run { first: last - 2 * at, count: 1 });
    let sha256 = Digest::of(b"");
    let before = Some(Pin { key: "\u{1}".repeat(1024), sha256 });
    let pack = plain(before, SIZE_MAX, sha256, sha256, runs.collect());
    let tail = tail_of(&pack);
    let (index, trailer) = tail.split_at(tail.len() - PACK_TRAILER);
    assert!(index.len() as u64 <= INDEX_MAX);
    let size = pack.bytes() + tail.len() as u64;
    let trailer = wire::parse_pack_trailer(trailer, size).expect("its own");
    assert!(wire::parse_pack_index(&trailer, index) == Ok(pack));
    let mut larger = tail[index.len()..].to_vec();
    larger[8..16].copy_from_slice(&(INDEX_MAX + 1).to_le_bytes());
    let error = wire::parse_pack_trailer(&larger, u64::MAX).expect_err("too large");
    assert!(error.to_string().contains("above 16777216"), "{error}");
}
