//! How a step's fields stand in bytes: numbers in the byte order of the machine,
//! texts with their length before them. Every length is checked against what is
//! there (compare CVE-2021-43784, an overflow in another runtime's message).

use core::ffi::CStr;

/// A list of nul-terminated strings in one block: `a\0b\0`. May be empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StrBlock<'a>(pub &'a [u8]);

impl<'a> StrBlock<'a> {
    /// The strings, without their nul bytes' rest: each as a C string.
    pub fn iter(self) -> impl Iterator<Item = &'a CStr> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let text = CStr::from_bytes_until_nul(rest).ok()?;
            rest = rest.get(text.count_bytes() + 1..)?;
            Some(text)
        })
    }

    /// How many strings there are.
    #[must_use]
    pub fn count(self) -> usize {
        self.0.iter().filter(|byte| **byte == 0).count()
    }
}

/// Where encoded bytes go.
pub trait Sink {
    /// Appends `bytes`.
    fn put(&mut self, bytes: &[u8]);
}

/// Why a plan cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// Bytes that have not been decoded yet.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a>(pub &'a [u8]);

impl<'a> Source<'a> {
    /// Takes the next `count` bytes.
    ///
    /// # Errors
    /// [`Malformed`] where fewer are left.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }
}

/// A field of a step.
pub trait Field<'a>: Sized {
    /// Appends the field's bytes.
    fn encode(&self, sink: &mut impl Sink);
    /// Takes the field's bytes.
    ///
    /// # Errors
    /// [`Malformed`] where they are not there or not of this form.
    fn decode(source: &mut Source<'a>) -> Result<Self, Malformed>;
}

macro_rules! number_field {
    ($($number:ty),*) => {$(
        impl Field<'_> for $number {
            fn encode(&self, sink: &mut impl Sink) {
                sink.put(&self.to_ne_bytes());
            }
            fn decode(source: &mut Source<'_>) -> Result<Self, Malformed> {
                let bytes = source.take(size_of::<$number>())?;
                Ok(Self::from_ne_bytes(bytes.try_into().or(Err(Malformed))?))
            }
        }
    )*};
}
number_field!(u8, u16, u32, u64, i32);

impl Field<'_> for bool {
    fn encode(&self, sink: &mut impl Sink) {
        sink.put(&[u8::from(*self)]);
    }
    fn decode(source: &mut Source<'_>) -> Result<Self, Malformed> {
        match source.take(1)? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Malformed),
        }
    }
}

impl<'a> Field<'a> for &'a [u8] {
    fn encode(&self, sink: &mut impl Sink) {
        // A field of 4 GiB cannot come from an argument list or a profile; were
        // it so, the length would not fit and decoding would fail.
        sink.put(&u32::try_from(self.len()).unwrap_or(u32::MAX).to_ne_bytes());
        sink.put(self);
    }
    fn decode(source: &mut Source<'a>) -> Result<Self, Malformed> {
        let length = u32::decode(source)?;
        source.take(usize::try_from(length).or(Err(Malformed))?)
    }
}

impl<'a> Field<'a> for &'a CStr {
    fn encode(&self, sink: &mut impl Sink) {
        self.to_bytes_with_nul().encode(sink);
    }
    fn decode(source: &mut Source<'a>) -> Result<Self, Malformed> {
        CStr::from_bytes_with_nul(<&[u8]>::decode(source)?).or(Err(Malformed))
    }
}

impl<'a> Field<'a> for StrBlock<'a> {
    fn encode(&self, sink: &mut impl Sink) {
        self.0.encode(sink);
    }
    fn decode(source: &mut Source<'a>) -> Result<Self, Malformed> {
        let block = <&[u8]>::decode(source)?;
        if block.last().is_some_and(|last| *last != 0) {
            return Err(Malformed);
        }
        Ok(Self(block))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_iterate() {
        let block = StrBlock(b"a\0\0bc\0");
        assert_eq!(block.count(), 3);
        assert!(block.iter().eq([c"a", c"", c"bc"]));
        assert_eq!(StrBlock(b"").iter().count(), 0);
    }

    #[test]
    fn short_input_is_malformed() {
        for bytes in [&b""[..], b"\x01", b"\xff\xff\xff\xff", b"\x02\0\0\0a"] {
            assert_eq!(<&[u8]>::decode(&mut Source(bytes)), Err(Malformed));
        }
        assert_eq!(<&CStr>::decode(&mut Source(b"\x01\0\0\0a")), Err(Malformed));
        assert_eq!(StrBlock::decode(&mut Source(b"\x01\0\0\0a")), Err(Malformed));
        assert_eq!(bool::decode(&mut Source(b"\x02")), Err(Malformed));
    }
}
