//! Values one behind the other.

use bytemuck::{AnyBitPattern, NoUninit};

use crate::snapshot::Damaged;

/// Puts values together. All are of this machine's byte order: files do not travel.
#[derive(Default)]
pub(crate) struct Out(pub Vec<u8>);

impl Out {
    pub fn put<T: NoUninit>(&mut self, value: &T) {
        self.0.extend(bytemuck::bytes_of(value));
    }

    /// At most 4 G of them.
    pub fn count(&mut self, number: usize) {
        self.put(&u32::try_from(number).unwrap_or(u32::MAX));
    }

    pub fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.extend(text.bytes());
    }
}

/// Takes them apart.
pub(crate) struct In<'a>(pub &'a [u8]);

impl<'a> In<'a> {
    pub fn take<T: AnyBitPattern>(&mut self) -> Result<T, Damaged> {
        Ok(bytemuck::pod_read_unaligned(self.bytes(size_of::<T>())?))
    }

    /// A number of things of at least `least` bytes each, which must all be there.
    pub fn count(&mut self, least: usize) -> Result<usize, Damaged> {
        let number = self.take::<u32>()? as usize;
        if number.saturating_mul(least) > self.0.len() { Err(Damaged::Short) } else { Ok(number) }
    }

    pub fn text(&mut self) -> Result<String, Damaged> {
        let length = self.count(1)?;
        String::from_utf8(self.bytes(length)?.to_vec()).map_err(|_| Damaged::Text)
    }

    pub fn bytes(&mut self, number: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self.0.split_at_checked(number).ok_or(Damaged::Short)?;
        self.0 = rest;
        Ok(taken)
    }
}
