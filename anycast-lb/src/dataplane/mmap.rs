//! A mmapable map as memory that packets read while we write.
//!
//! Every access is an atomic one of an aligned 64-bit word, the unit in which the packet path sees
//! changes. Words written by one call become visible before words written by a later call.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytemuck::Pod;

/// Bytes of a word.
const WORD: usize = size_of::<u64>();

/// The memory of a map.
#[derive(Debug)]
pub(super) struct Mapping {
    words: NonNull<AtomicU64>,
    len: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and is accessed atomically only.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `bytes` bytes (a multiple of 8) of the mmapable array behind `map`.
    pub fn new(map: impl AsFd, bytes: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let fd = map.as_fd().as_raw_fd();
        // SAFETY: a new mapping at an address the kernel chooses.
        let start = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, libc::MAP_SHARED, fd, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let words = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Mapping { words, len: bytes / WORD })
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.len, "word {index} of {}", self.len);
        // SAFETY: inside the mapping, which lives as long as `self`, is aligned to a page, and is
        // written by nobody but through atomics; the packet path reads words of it.
        unsafe { self.words.add(index).as_ref() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: our own mapping of this length, to which no reference is left.
        let result = unsafe { libc::munmap(self.words.as_ptr().cast(), self.len * WORD) };
        debug_assert_eq!(result, 0);
    }
}

/// An array of `T`, whose size is a multiple of 8, somewhere in a map.
#[derive(Debug)]
pub(super) struct MappedArray<T> {
    mapping: Arc<Mapping>,
    /// Words in front of it.
    first: usize,
    len: usize,
    element: PhantomData<fn() -> T>,
}

impl<T: Pod> MappedArray<T> {
    const WORDS: usize = {
        assert!(size_of::<T>().is_multiple_of(WORD) && size_of::<T>() != 0);
        size_of::<T>() / WORD
    };

    /// The array of `len` elements that begins `offset` bytes (a multiple of 8) into `mapping`.
    pub fn new(mapping: &Arc<Mapping>, offset: usize, len: u32) -> Self {
        let (first, len) = (offset / WORD, len as usize);
        assert!(offset.is_multiple_of(WORD) && first + len * Self::WORDS <= mapping.len);
        MappedArray { mapping: Arc::clone(mapping), first, len, element: PhantomData }
    }

    /// How many elements there are.
    pub fn len(&self) -> u32 {
        self.len as u32
    }

    /// An element. Words that are being replaced are the old or the new ones.
    pub fn load(&self, index: u32) -> T {
        let mut value = T::zeroed();
        let bytes = bytemuck::bytes_of_mut(&mut value);
        for (i, chunk) in bytes.chunks_exact_mut(WORD).enumerate() {
            chunk.copy_from_slice(&self.word(index, i).load(Ordering::Acquire).to_ne_bytes());
        }
        value
    }

    /// All elements.
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        (0..self.len()).map(|i| self.load(i))
    }

    /// Replaces an element word by word.
    pub fn store(&self, index: u32, value: &T) {
        self.store_part(index, 0, value);
    }

    /// Replaces a part of an element, `offset` bytes from its beginning; both are multiples of 8.
    pub fn store_part<P: Pod>(&self, index: u32, offset: usize, part: &P) {
        const { assert!(size_of::<P>().is_multiple_of(WORD)) };
        assert!(offset.is_multiple_of(WORD));
        for (i, chunk) in bytemuck::bytes_of(part).chunks_exact(WORD).enumerate() {
            let mut word = [0; WORD];
            word.copy_from_slice(chunk);
            self.word(index, offset / WORD + i).store(u64::from_ne_bytes(word), Ordering::Release);
        }
    }

    fn word(&self, index: u32, word: usize) -> &AtomicU64 {
        let index = index as usize;
        assert!(index < self.len && word < Self::WORDS, "element {index} of {}, word {word}", self.len);
        self.mapping.word(self.first + index * Self::WORDS + word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek};

    /// Three elements behind one word.
    fn array<T: Pod>(file: &std::fs::File) -> MappedArray<T> {
        let bytes = WORD + 3 * size_of::<T>();
        file.set_len(bytes as u64).expect("length");
        MappedArray::new(&Arc::new(Mapping::new(file, bytes).expect("mmap")), WORD, 3)
    }

    #[test]
    fn what_is_stored_lies_in_the_file_word_by_word() {
        let mut file = tempfile::tempfile().expect("file");
        let array = array::<[u64; 2]>(&file);
        array.store(1, &[1, 2]);
        array.store_part(2, 8, &3_u64);
        assert_eq!(array.iter().collect::<Vec<_>>(), [[0, 0], [1, 2], [0, 3]]);
        drop(array);
        let mut bytes = Vec::new();
        file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("read");
        let words: Vec<u64> = bytes.chunks(8).map(|w| u64::from_ne_bytes(w.try_into().expect("8"))).collect();
        assert_eq!(words, [0, 0, 0, 1, 2, 0, 3]);
    }

    #[test]
    #[should_panic(expected = "element 3 of 3")]
    fn beyond_the_end_is_a_panic_and_not_a_write() {
        array::<u64>(&tempfile::tempfile().expect("file")).store(3, &1);
    }
}
