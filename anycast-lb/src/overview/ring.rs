//! The last so many of something.

use std::collections::VecDeque;

/// A bounded queue: what is pushed into a full one pushes the oldest out.
#[derive(Clone, Debug)]
pub struct Ring<T> {
    entries: VecDeque<T>,
    most: usize,
}

impl<T> Ring<T> {
    /// An empty one for `most` entries.
    pub fn new(most: usize) -> Self {
        Ring { entries: VecDeque::new(), most }
    }

    /// Puts one in as the newest.
    pub fn push(&mut self, entry: T) {
        if self.most == 0 {
            return;
        }
        if self.entries.len() == self.most {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// From the oldest to the newest.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> + ExactSizeIterator {
        self.entries.iter()
    }

    /// The newest.
    pub fn last(&self) -> Option<&T> {
        self.entries.back()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_stay_in_order() {
        let mut ring = Ring::new(3);
        assert_eq!(ring.last(), None);
        (1..=5).for_each(|n| ring.push(n));
        assert_eq!(ring.iter().copied().collect::<Vec<_>>(), [3, 4, 5]);
        assert_eq!(ring.last(), Some(&5));
        let mut none = Ring::new(0);
        none.push(1);
        assert_eq!(none.iter().len(), 0);
    }
}
