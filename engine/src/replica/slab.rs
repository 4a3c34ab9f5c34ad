//! Slots with generations: a stale id finds nothing, never a stranger.
//! Always: grows to the bound that its owner keeps, then reuses; no allocation after that.

/// Position and generation of an entry, packed: `generation << 24 | index`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash)]
pub(super) struct Key(pub u64);

const INDEX_BITS: u32 = 24;
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;
/// Generations wrap below the bits that tell kinds of operation apart (see `ids`).
const GENERATION_MASK: u64 = (1 << 32) - 1;

struct Entry<T> {
    generation: u64,
    value: Option<T>,
}

/// The slots.
pub(super) struct Slab<T> {
    entries: Vec<Entry<T>>,
    free: Vec<usize>,
    len: usize,
}

impl<T> Slab<T> {
    pub fn with_capacity(capacity: usize) -> Slab<T> {
        Slab { entries: Vec::with_capacity(capacity), free: Vec::with_capacity(capacity), len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn insert(&mut self, value: T) -> Key {
        self.len += 1;
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry { generation: 0, value: None });
            self.entries.len() - 1
        });
        assert!((index as u64) < INDEX_MASK, "slab: more entries than an id can name");
        let entry = &mut self.entries[index];
        entry.generation = (entry.generation + 1) & GENERATION_MASK;
        entry.value = Some(value);
        Key(entry.generation << INDEX_BITS | index as u64)
    }

    fn index(key: Key) -> usize {
        usize::try_from(key.0 & INDEX_MASK).unwrap_or(usize::MAX)
    }

    fn live(&self, key: Key) -> bool {
        self.entries
            .get(Self::index(key))
            .is_some_and(|entry| entry.generation == key.0 >> INDEX_BITS && entry.value.is_some())
    }

    pub fn get(&self, key: Key) -> Option<&T> {
        if self.live(key) { self.entries[Self::index(key)].value.as_ref() } else { None }
    }

    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        if self.live(key) { self.entries[Self::index(key)].value.as_mut() } else { None }
    }

    pub fn remove(&mut self, key: Key) -> Option<T> {
        if !self.live(key) {
            return None;
        }
        let index = Self::index(key);
        self.free.push(index);
        self.len -= 1;
        self.entries[index].value.take()
    }

    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.entries.iter().enumerate().filter_map(|(index, entry)| {
            let key = Key(entry.generation << INDEX_BITS | index as u64);
            entry.value.as_ref().map(|value| (key, value))
        })
    }

    /// Keys of the entries that `pick` wants, in slot order.
    pub fn keys_where(&self, pick: impl Fn(&T) -> bool) -> Vec<Key> {
        self.iter().filter(|(_, value)| pick(value)).map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut slab = Slab::with_capacity(2);
        let first = slab.insert(1);
        assert_eq!(slab.remove(first), Some(1));
        let second = slab.insert(2);
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&2));
        assert_eq!(slab.len(), 1);
    }
}
