//! **manifest_reader** — no bytes make the reader of a manifest panic, and what it accepts reads back.
//!
//! Comes from the fuzzer. Goes through reader, writer and reader.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::wire;

fuzz_target!(|data: &[u8]| {
    if let Ok(manifest) = wire::parse_manifest(data) {
        assert_eq!(wire::parse_manifest(&wire::encode_manifest(&manifest)), Ok(manifest));
    }
});
