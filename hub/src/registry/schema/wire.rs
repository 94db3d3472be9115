//! Reads the protobuf wire format: tags, varints and length-delimited pieces of borrowed bytes. Nothing is allocated
//! and no length is trusted.

/// Deepest nesting of messages and groups. Kubernetes' own types stay below 20.
pub(super) const MAX_DEPTH: usize = 64;

/// Why bytes are no protobuf message of the expected type, in the words of Go's decoder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A value ends beyond its message.
    #[error("unexpected EOF")]
    UnexpectedEnd,
    /// A varint of more than 64 bits.
    #[error("proto: integer overflow")]
    Overflow,
    /// Field number 0, or beyond 2^29.
    #[error("proto: illegal tag {0}")]
    IllegalTag(u64),
    /// A wire type that does not exist.
    #[error("proto: illegal wireType {0}")]
    IllegalWireType(u8),
    /// An end of a group that did not start.
    #[error("proto: unexpected end of group")]
    EndOfGroup,
    /// A known field is not of the type it should be.
    #[error("proto: wrong wireType for field {0}")]
    WrongWireType(String),
    /// A string that is not UTF-8.
    #[error("proto: field {0} contains invalid UTF-8")]
    InvalidUtf8(String),
    /// A value that its type does not allow.
    #[error("proto: field {0} has an invalid value")]
    InvalidValue(String),
    /// Nested too deeply.
    #[error("proto: exceeded max depth")]
    TooDeep,
    /// More values than any real object has.
    #[error("proto: too many values")]
    TooMany,
}

/// One value as the wire has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Raw<'a> {
    /// Integers and booleans.
    Varint(u64),
    /// Doubles.
    Fixed64(u64),
    /// Not used by Kubernetes.
    Fixed32,
    /// Strings, bytes, messages and packed lists.
    Bytes(&'a [u8]),
    /// Not used by Kubernetes.
    Group,
}

/// Fields of one message, front to back.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The next field's number and value; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Raw<'a>)>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (number, wire_type) = self.tag()?;
        let value = match wire_type {
            3 => {
                self.skip_group()?;
                Raw::Group
            }
            4 => return Err(WireError::EndOfGroup),
            other => self.value(other)?,
        };
        Ok(Some((number, value)))
    }

    /// An integer of a packed list; `None` at the end.
    pub(super) fn packed_varint(&mut self) -> Result<Option<Raw<'a>>, WireError> {
        if self.rest.is_empty() { Ok(None) } else { self.value(0).map(Some) }
    }

    fn tag(&mut self) -> Result<(u64, u8), WireError> {
        const MAX_NUMBER: u64 = (1 << 29) - 1;
        let tag = self.varint()?;
        let number = tag >> 3;
        if number == 0 || number > MAX_NUMBER {
            return Err(WireError::IllegalTag(tag));
        }
        let wire_type = u8::try_from(tag & 7).map_err(|_| WireError::IllegalTag(tag))?;
        Ok((number, wire_type))
    }

    fn value(&mut self, wire_type: u8) -> Result<Raw<'a>, WireError> {
        match wire_type {
            0 => self.varint().map(Raw::Varint),
            1 => {
                let bytes = self.take(8)?.try_into().map_err(|_| WireError::UnexpectedEnd)?;
                Ok(Raw::Fixed64(u64::from_le_bytes(bytes)))
            }
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| WireError::UnexpectedEnd)?;
                self.take(length).map(Raw::Bytes)
            }
            5 => self.take(4).map(|_| Raw::Fixed32),
            other => Err(WireError::IllegalWireType(other)),
        }
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0;
        for (index, byte) in self.rest.iter().enumerate() {
            if index == 9 && *byte > 1 {
                return Err(WireError::Overflow);
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err(WireError::UnexpectedEnd)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(WireError::UnexpectedEnd)?;
        self.rest = rest;
        Ok(head)
    }

    fn skip_group(&mut self) -> Result<(), WireError> {
        let mut depth = 1;
        while depth > 0 {
            match self.tag()?.1 {
                3 if depth == MAX_DEPTH => return Err(WireError::TooDeep),
                3 => depth += 1,
                4 => depth -= 1,
                other => {
                    self.value(other)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(bytes: &[u8]) -> Result<Option<(u64, Raw<'_>)>, WireError> {
        Fields::new(bytes).next()
    }

    #[test]
    fn fields_are_read() {
        for (bytes, expected) in [
            (&[][..], None),
            (&[0x08, 0x96, 0x01], Some((1, Raw::Varint(150)))),
            (&[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1], Some((1, Raw::Varint(u64::MAX)))),
            (&[0x12, 0x02, b'h', b'i'], Some((2, Raw::Bytes(b"hi")))),
            (&[0x19, 1, 0, 0, 0, 0, 0, 0, 0], Some((3, Raw::Fixed64(1)))),
            (&[0x1d, 1, 0, 0, 0], Some((3, Raw::Fixed32))),
            (&[0x1b, 0x23, 0x24, 0x08, 0x01, 0x1c], Some((3, Raw::Group))),
        ] {
            assert_eq!(first(bytes), Ok(expected), "{bytes:?}");
        }
    }

    #[test]
    fn broken_fields_are_refused() {
        for (bytes, expected) in [
            (&[0x08][..], WireError::UnexpectedEnd),
            (&[0x08, 0x80], WireError::UnexpectedEnd),
            (&[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2], WireError::Overflow),
            (&[0x12, 0x05, b'h', b'i'], WireError::UnexpectedEnd),
            (&[0x12, 255, 255, 255, 255, 255, 255, 255, 255, 127], WireError::UnexpectedEnd),
            (&[0x19, 1], WireError::UnexpectedEnd),
            (&[0x02, 0], WireError::IllegalTag(2)),
            (&[0x0e, 0], WireError::IllegalWireType(6)),
            (&[0x0c], WireError::EndOfGroup),
            (&[0x0b], WireError::UnexpectedEnd),
            (&[0x0b; 100], WireError::TooDeep),
        ] {
            assert_eq!(first(bytes), Err(expected), "{bytes:?}");
        }
    }
}
