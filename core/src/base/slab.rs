//! A slab with generational keys: a key of something that is gone names nothing, even after its place is used again.

use core::fmt;
use core::hash::{Hash, Hasher};
use core::marker::PhantomData;

/// The key of one entry in a [`Slab<T>`]; typed by what it names.
pub struct Key<T> {
    index: u32,
    generation: u32,
    of: PhantomData<fn() -> T>,
}

impl<T> Key<T> {
    /// The key as one number, for drivers that keep maps of their own.
    pub fn as_u64(self) -> u64 {
        (u64::from(self.generation) << 32) | u64::from(self.index)
    }

    /// The key that [`as_u64`](Self::as_u64) gave.
    pub fn from_u64(bits: u64) -> Self {
        Self { index: bits as u32, generation: (bits >> 32) as u32, of: PhantomData }
    }
}

impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Key<T> {}
impl<T> PartialEq for Key<T> {
    fn eq(&self, other: &Self) -> bool {
        self.as_u64() == other.as_u64()
    }
}
impl<T> Eq for Key<T> {}
impl<T> PartialOrd for Key<T> {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Key<T> {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        (self.index, self.generation).cmp(&(other.index, other.generation))
    }
}
impl<T> Hash for Key<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_u64().hash(state);
    }
}
impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

/// Entries in numbered places. Iteration is in place order, so it is deterministic.
///
/// ```
/// use gosh_dl_core::base::Slab;
/// let mut slab = Slab::new();
/// let old = slab.insert("old");
/// assert_eq!(slab.remove(old), Some("old"));
/// let new = slab.insert("new");
/// assert_eq!(slab.get(old), None);
/// assert_eq!(slab.get(new), Some(&"new"));
/// ```
pub struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

struct Place<T> {
    generation: u32,
    entry: Option<T>,
}

impl<T> Slab<T> {
    /// An empty slab.
    pub const fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }

    /// Adds `entry` and returns its key.
    pub fn insert(&mut self, entry: T) -> Key<T> {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { generation: 0, entry: None });
            u32::try_from(self.places.len() - 1).expect("fewer than 2^32 entries fit in memory")
        });
        let place = &mut self.places[index as usize];
        place.entry = Some(entry);
        Key { index, generation: place.generation, of: PhantomData }
    }

    /// The entry that `key` names, unless it is gone.
    pub fn get(&self, key: Key<T>) -> Option<&T> {
        self.places.get(key.index as usize).filter(|p| p.generation == key.generation)?.entry.as_ref()
    }

    /// The entry that `key` names, unless it is gone.
    pub fn get_mut(&mut self, key: Key<T>) -> Option<&mut T> {
        self.places.get_mut(key.index as usize).filter(|p| p.generation == key.generation)?.entry.as_mut()
    }

    /// Removes and returns the entry that `key` names.
    pub fn remove(&mut self, key: Key<T>) -> Option<T> {
        let place = self.places.get_mut(key.index as usize).filter(|p| p.generation == key.generation)?;
        let entry = place.entry.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(key.index);
        Some(entry)
    }

    /// Whether `key` names an entry.
    pub fn contains(&self, key: Key<T>) -> bool {
        self.get(key).is_some()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All entries, in place order.
    pub fn iter(&self) -> impl Iterator<Item = (Key<T>, &T)> {
        self.places.iter().enumerate().filter_map(|(index, place)| {
            let key = Key { index: index as u32, generation: place.generation, of: PhantomData };
            place.entry.as_ref().map(|entry| (key, entry))
        })
    }

    /// All entries, in place order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Key<T>, &mut T)> {
        self.places.iter_mut().enumerate().filter_map(|(index, place)| {
            let key = Key { index: index as u32, generation: place.generation, of: PhantomData };
            place.entry.as_mut().map(|entry| (key, entry))
        })
    }

    /// The keys of all entries, in place order.
    pub fn keys(&self) -> Vec<Key<T>> {
        self.iter().map(|(key, _)| key).collect()
    }
}

impl<T: fmt::Debug> fmt::Debug for Slab<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self::new()
    }
}
