//! **seal** — for whom snapshots are sealed, and what opens them: keys of age.
//!
//! Comes in: recipients, which are public, and the text of an identity file. Goes out: a stream that seals
//! what is written to it, one that opens what was sealed, and the proof that this machine opens what it seals:
//! a snapshot that nobody can open is none.
//!
//! Sealed is what is to be sealed before it leaves this machine, for recipients that are told apart from the
//! bucket: whoever reads the bucket alone learns which blocks changed, and nothing that stands in them.

use age::{
    DecryptError, Decryptor, Encryptor,
    stream::{StreamReader, StreamWriter},
    x25519::{Identity, Recipient},
};
use std::{
    fmt,
    io::{BufRead, Read as _, Write},
    sync::Arc,
};

/// Most bytes before a sealed stream begins: a few hundred recipients. It is read into memory.
const HEADER_MAX: usize = 64 << 10;
/// What the header ends with, and its digest after it.
const HEADER_ENDS: &[u8] = b"\n---";

/// For whom snapshots are sealed, and what opens them. Without recipients nothing is sealed.
#[derive(Clone, Default)]
pub struct Seal {
    recipients: Arc<[Recipient]>,
    identities: Arc<[Identity]>,
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let recipients: Vec<String> = self.recipients.iter().map(ToString::to_string).collect();
        f.debug_struct("Seal").field("recipients", &recipients).finish_non_exhaustive()
    }
}

/// Why a sealed stream does not open.
#[derive(Debug)]
pub(super) enum Shut {
    /// It is sealed for somebody else, or its header is damaged: the two look alike.
    NoKey,
    /// It is no sealed stream, or a damaged one.
    Damaged(String),
}

impl Seal {
    /// Seals for these, and opens nothing.
    pub fn for_recipients(recipients: &[Recipient]) -> Self {
        Self { recipients: recipients.into(), identities: Arc::default() }
    }

    /// Opens with the identities in the text of an identity file as `age-keygen` writes it.
    ///
    /// # Errors
    /// One sentence, which quotes nothing of the text.
    pub fn opened_by(self, text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim).enumerate();
        let said = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let identity = |(at, line): (usize, &str)| {
            let wrong = |_| format!("its line {} is no identity (AGE-SECRET-KEY-1...)", at + 1);
            line.parse::<Identity>().map_err(wrong)
        };
        let identities: Vec<Identity> = said.map(identity).collect::<Result<_, _>>()?;
        if identities.is_empty() {
            return Err("it holds no identity (AGE-SECRET-KEY-1...)".into());
        }
        Ok(Self { identities: identities.into(), ..self })
    }

    /// Whether snapshots are sealed.
    pub(super) fn seals(&self) -> bool {
        !self.recipients.is_empty()
    }

    /// Whether anything that is sealed could be opened.
    pub(super) fn opens(&self) -> bool {
        !self.identities.is_empty()
    }

    /// Proves that what is sealed here is opened here. Where nothing is sealed there is nothing to prove.
    ///
    /// # Errors
    /// One sentence.
    pub fn prove(&self) -> Result<(), String> {
        const PROBE: &[u8] = b"a snapshot nobody can open is not a snapshot";
        if !self.seals() {
            return Ok(());
        }
        let text = |error: std::io::Error| error.to_string();
        let mut writer = self.sealing(Vec::new())?;
        writer.write_all(PROBE).map_err(text)?;
        let sealed = writer.finish().map_err(text)?;
        let mut reader = self.opening(sealed.as_slice()).map_err(|shut| match shut {
            Shut::NoKey => "none of its identities opens what is sealed for the recipients".into(),
            Shut::Damaged(why) => why,
        })?;
        let mut opened = Vec::new();
        reader.read_to_end(&mut opened).map_err(text)?;
        if opened == PROBE { Ok(()) } else { Err("what was sealed is opened as another".into()) }
    }

    /// Seals what is written, for all recipients.
    pub(super) fn sealing<W: Write>(&self, out: W) -> Result<StreamWriter<W>, String> {
        let recipients = self.recipients.iter().map(|recipient| recipient as &dyn age::Recipient);
        let encryptor =
            Encryptor::with_recipients(recipients).map_err(|error| error.to_string())?;
        encryptor.wrap_output(out).map_err(|error| error.to_string())
    }

    /// Opens what was sealed for one of the identities. The reader must give [`HEADER_MAX`] bytes at once, if
    /// it has so many.
    pub(super) fn opening<R: BufRead>(&self, mut sealed: R) -> Result<StreamReader<R>, Shut> {
        let head = sealed.fill_buf().map_err(|error| Shut::Damaged(error.to_string()))?;
        let head = &head[..head.len().min(HEADER_MAX)];
        if !head.windows(HEADER_ENDS.len()).any(|bytes| bytes == HEADER_ENDS) {
            return Err(Shut::Damaged("they don't begin as what is sealed does".into()));
        }
        let shut = |error: DecryptError| match matches!(error, DecryptError::NoMatchingKeys) {
            true => Shut::NoKey,
            false => Shut::Damaged(error.to_string()),
        };
        let identities = self.identities.iter().map(|identity| identity as &dyn age::Identity);
        Decryptor::new_buffered(sealed).map_err(shut)?.decrypt(identities).map_err(shut)
    }

    /// Bytes that a reader handed to [`Self::opening`] must be able to hold.
    pub(super) const fn header_max() -> usize {
        HEADER_MAX
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use age::secrecy::ExposeSecret as _;

    fn text_of(identity: &Identity) -> String {
        format!("# created\n{}\n\n", identity.to_string().expose_secret())
    }

    /// Seals for a fresh key, and opens with it.
    pub(crate) fn fresh() -> Seal {
        let identity = Identity::generate();
        Seal::for_recipients(&[identity.to_public()]).opened_by(&text_of(&identity)).expect("a key")
    }

    #[test]
    fn it_is_proven_that_one_of_the_identities_opens_what_all_recipients_are_sent() {
        let (mine, other) = (Identity::generate(), Identity::generate());
        assert_eq!(Seal::default().prove(), Ok(()), "nothing is sealed");
        let both = Seal::for_recipients(&[other.to_public(), mine.to_public()]);
        assert_eq!(both.clone().opened_by(&text_of(&mine)).expect("a key").prove(), Ok(()));
        let alone = Seal::for_recipients(&[other.to_public()]);
        let error =
            alone.opened_by(&text_of(&mine)).expect("a key").prove().expect_err("another's");
        assert!(error.contains("none of its identities"), "{error}");
        assert!(both.prove().is_err(), "nothing opens it");
    }

    #[test]
    fn an_identity_file_that_is_none_is_refused_and_not_quoted() {
        let identity = Identity::generate();
        let good = identity.to_string().expose_secret().to_owned();
        for (text, named) in [
            (String::new(), "holds no identity"),
            ("# only a comment\n".into(), "holds no identity"),
            (format!("{good}\n{}", &good[..40]), "line 2"),
            (identity.to_public().to_string(), "line 1"),
        ] {
            let error = Seal::default().opened_by(&text).expect_err("no identity file");
            assert!(error.contains(named) && !error.contains(&good[20..40]), "{error}");
        }
        let shown = format!("{:?}", fresh());
        assert!(shown.contains("age1") && !shown.contains("SECRET"), "{shown}");
    }
}
