//! **encryption** — how the bucket shall encrypt: `REQUORUM_S3_SSE` and `REQUORUM_S3_SSE_KMS_KEY_ID`.
//!
//! Comes from the environment. Goes to the S3 adapter. A key that would not be used is an error: who named
//! one relies on it.

use super::{Environment, wrong};
use crate::{adapters::s3_encryption::Encryption, exit::Problem};

const HOW: &str = "REQUORUM_S3_SSE";
const KEY: &str = "REQUORUM_S3_SSE_KMS_KEY_ID";

pub(super) fn encryption(env: &Environment) -> Result<Encryption, Problem> {
    let key = env.get(KEY).filter(|key| !key.is_empty()).cloned();
    let how = env.get(HOW).map_or("", String::as_str);
    let encryption = match how {
        "" => Encryption::OfBucket,
        "AES256" => Encryption::S3,
        "aws:kms" => Encryption::Kms { key: key.clone(), twice: false },
        "aws:kms:dsse" => Encryption::Kms { key: key.clone(), twice: true },
        other => return Err(wrong(HOW, other, "`AES256`, `aws:kms`, `aws:kms:dsse` or not set")),
    };
    match (&encryption, key) {
        (Encryption::OfBucket | Encryption::S3, Some(key)) => {
            let how = if how.is_empty() { "not set" } else { how };
            Err(wrong(KEY, &key, &format!("left out while {HOW} is {how}: only KMS uses a key")))
        }
        (Encryption::OfBucket | Encryption::S3, None) | (Encryption::Kms { .. }, _) => {
            Ok(encryption)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<Encryption, Problem> {
        encryption(&pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect())
    }

    #[test]
    fn what_is_said_is_done() {
        assert_eq!(of(&[]), Ok(Encryption::OfBucket));
        assert_eq!(of(&[(HOW, ""), (KEY, "")]), Ok(Encryption::OfBucket));
        assert_eq!(of(&[(HOW, "AES256")]), Ok(Encryption::S3));
        let kms = |key: Option<&str>, twice| Encryption::Kms { key: key.map(Into::into), twice };
        assert_eq!(of(&[(HOW, "aws:kms")]), Ok(kms(None, false)));
        assert_eq!(of(&[(HOW, "aws:kms"), (KEY, "alias/a")]), Ok(kms(Some("alias/a"), false)));
        assert_eq!(of(&[(HOW, "aws:kms:dsse"), (KEY, "k")]), Ok(kms(Some("k"), true)));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (pairs, named) in [
            (&[(HOW, "aes256")][..], HOW),
            (&[(KEY, "k")], KEY),
            (&[(HOW, "AES256"), (KEY, "k")], KEY),
        ] {
            let problem = of(pairs).expect_err(named);
            assert!(problem.sentence.starts_with(named), "{problem}");
        }
    }
}
