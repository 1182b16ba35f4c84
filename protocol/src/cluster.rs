//! **cluster** — who may speak, and how many are enough.
//!
//! Comes from nothing but names. Goes to every later stage. Holds the arithmetic of quorums
//! (protocol.md 0 and 1.4): `quorum` is what etcd needs to live, `blocking` is what proves it
//! can't.

use alloc::{string::String, vec::Vec};
use core::fmt;
use sha1::Digest as _;

/// A seat in the cluster's plan of N seats; it outlives the machine on it. Counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u8);

/// A machine's identity: EC2 instance id, `--instance`, or `/etc/machine-id` (protocol.md A4).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instance(pub String);

/// Identity of one agent process; random at each start.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce(pub String);

/// etcd's id of a member of one incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

/// etcd's id of a cluster, different in every incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u64);

/// A SHA-256, of a plan's or a snapshot's bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// One of the N seats: what doesn't change when the cluster is restored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Seat {
    /// Its number.
    pub slot: Slot,
    /// `ETCD_NAME` of whoever sits on it.
    pub name: String,
    /// Where its peers reach it.
    pub peer_url: String,
    /// Where clients reach it.
    pub client_url: String,
}

/// A voter of one incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// The seat it holds.
    pub slot: Slot,
    /// Its id in etcd.
    pub id: MemberId,
}

/// The least number of `voters` that can commit: more than half.
pub const fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}

/// The least number of fenced voters that leaves no quorum without one of them (Lemma 1).
pub const fn blocking(voters: usize) -> usize {
    voters - quorum(voters) + 1
}

/// etcd's member id for one that starts with a token: the first 8 bytes of
/// sha1(peer URL + token) ([SRC] membership/member.go computeMemberID).
pub fn member_id(peer_url: &str, token: &str) -> MemberId {
    let mut sha = sha1::Sha1::new();
    sha.update(peer_url.as_bytes());
    sha.update(token.as_bytes());
    MemberId(first_eight(&sha.finalize()))
}

/// etcd's cluster id: the first 8 bytes of sha1(sorted member ids) ([SRC] membership/cluster.go genID).
pub fn cluster_id(ids: impl IntoIterator<Item = MemberId>) -> ClusterId {
    let mut sorted: Vec<MemberId> = ids.into_iter().collect();
    sorted.sort_unstable();
    let mut sha = sha1::Sha1::new();
    for id in &sorted {
        sha.update(id.0.to_be_bytes());
    }
    ClusterId(first_eight(&sha.finalize()))
}

fn first_eight(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte))
}

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// Reads 64 hexadecimal digits; anything else is no digest.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut out = [0; 32];
        for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
        }
        Some(Self(out))
    }

    /// The first 12 hexadecimal digits, as keys and directory names carry it.
    pub fn short(&self) -> String {
        self.hex().iter().take(12).map(|digit| char::from(*digit)).collect()
    }

    fn hex(&self) -> [u8; 64] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        core::array::from_fn(|at| {
            let byte = self.0[at / 2];
            DIGITS[usize::from(if at % 2 == 0 { byte >> 4 } else { byte & 0xf })]
        })
    }
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(core::str::from_utf8(&self.hex()).unwrap_or_default())
    }
}
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}
impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}
impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_protocol_md_0() {
        let blocking: Vec<usize> = (3..=9).map(blocking).collect();
        assert_eq!(blocking, [2, 2, 3, 3, 4, 4, 5]);
    }

    #[test]
    fn a_blocking_set_meets_every_quorum() {
        for voters in 1..=crate::limits::SLOTS_MAX {
            assert!(voters - blocking(voters) < quorum(voters), "{voters}");
            assert!(voters - (blocking(voters) - 1) >= quorum(voters), "{voters}: least");
        }
    }

    #[test]
    fn a_digest_reads_back() {
        let digest = Digest::of(b"etcd");
        assert_eq!(Digest::parse(&alloc::format!("{digest}")), Some(digest));
        assert_eq!(Digest::parse("00"), None);
        assert_eq!(Digest::parse(&"Z".repeat(64)), None);
    }
}
