//! **pack_reader** — no bytes make the readers of a pack panic, and what they accept fits its object.
//!
//! Comes from the fuzzer. Goes through the readers twice: as a whole object, and as an index behind a
//! trailer that fits it, since no fuzzer finds a digest.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::{
    cluster::Digest,
    pack::Stored,
    wire::{self, PACK_TRAILER, PackTrailer},
};

fuzz_target!(|data: &[u8]| {
    let (head, trailer) = data.split_at(data.len().saturating_sub(PACK_TRAILER));
    if let Ok(trailer) = wire::parse_pack_trailer(trailer, data.len() as u64) {
        assert_eq!(trailer.blocks_len + trailer.index_len, head.len() as u64);
        read_index(&trailer, &head[trailer.blocks_len as usize..]);
    }
    if let Some((blocks_len, index)) = data.split_first_chunk() {
        let trailer = PackTrailer {
            index_len: index.len() as u64,
            blocks_len: u64::from_le_bytes(*blocks_len),
            index_sha256: Digest::of(index),
        };
        read_index(&trailer, index);
    }
});

fn read_index(trailer: &PackTrailer, index: &[u8]) {
    let Ok(pack) = wire::parse_pack_index(trailer, index) else {
        return;
    };
    assert_eq!(pack.check(), Ok(()));
    if pack.stored == Stored::Plain {
        assert_eq!(pack.bytes(), trailer.blocks_len);
    }
    assert!(pack.segments().all(|segment| segment.in_file + segment.bytes <= pack.size));
}
