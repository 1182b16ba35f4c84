//! **protobuf** — just enough of the wire format to read the handful of fields we need.
//!
//! In: the bytes of one message. Out: its fields in order, each a number or bytes. Written by hand
//! because the messages of etcd's log are few, stable since etcd 3.0, and must be read without
//! trust: no input makes this panic, allocate or loop.
//! Source of the format: protobuf.dev/programming-guides/encoding.

/// One field's value. Fixed-width values are numbers too; nothing we read has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// A varint, or a fixed 4 or 8 bytes.
    Number(u64),
    /// A length-delimited value: bytes, text or a message.
    Bytes(&'a [u8]),
}

/// The bytes are no protobuf message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a protobuf message")]
pub(super) struct Malformed;

/// The fields of one message, in the order they stand. Ends after the first malformed one.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) const fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// Bytes not yet read.
    pub(super) const fn left(&self) -> usize {
        self.rest.len()
    }

    /// The next field's number and what it holds.
    fn field(&mut self) -> Result<(u64, Value<'a>), Malformed> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => Value::Number(little_endian(self.take(8)?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Number(little_endian(self.take(4)?)),
            _ => return Err(Malformed), // groups: never written by etcd
        };
        Ok((tag >> 3, value))
    }

    /// A number of at most 64 bits, 7 bits a byte, lowest first.
    pub(super) fn varint(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first().ok_or(Malformed)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Malformed);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Malformed)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// Puts the numbers of a repeated field into `into`: one at a time or packed, both are legal.
pub(super) fn numbers(value: Value<'_>, into: &mut Vec<u64>) -> Result<(), Malformed> {
    match value {
        Value::Number(number) => into.push(number),
        Value::Bytes(packed) => {
            let mut fields = Fields::of(packed);
            while fields.left() > 0 {
                into.push(fields.varint()?);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers_bytes_and_what_it_skips() {
        let message = [0x08, 0x96, 0x01, 0x1a, 2, 7, 8, 0x25, 1, 0, 0, 0];
        let fields: Vec<_> = Fields::of(&message).collect();
        assert_eq!(
            fields,
            [
                Ok((1, Value::Number(150))),
                Ok((3, Value::Bytes(&[7, 8]))),
                Ok((4, Value::Number(1)))
            ]
        );
    }

    #[test]
    fn the_largest_number_and_no_larger() {
        let mut most = vec![0x08];
        most.extend([0xff; 9]);
        most.push(1);
        assert_eq!(Fields::of(&most).next(), Some(Ok((1, Value::Number(u64::MAX)))));
        most[10] = 2;
        assert_eq!(Fields::of(&most).next(), Some(Err(Malformed)));
    }

    #[test]
    fn every_cut_of_a_message_is_malformed_or_shorter() {
        let message = [0x08, 0x96, 0x01, 0x1a, 2, 7, 8];
        for end in 0..message.len() {
            let good = Fields::of(&message[..end]).filter(Result::is_ok).count();
            assert!(good < 2, "{end}");
        }
    }

    #[test]
    fn packed_and_single_numbers_are_the_same() {
        let (mut single, mut packed) = (Vec::new(), Vec::new());
        numbers(Value::Number(300), &mut single).expect("a number");
        numbers(Value::Bytes(&[0xac, 0x02]), &mut packed).expect("one packed number");
        assert_eq!(single, packed);
    }
}
