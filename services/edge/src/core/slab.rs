//! A table whose places are reused; a reference carries a generation, so an old one never finds a newer tenant.

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    place: u32,
    generation: u32,
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

#[derive(Debug)]
pub struct Slab<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
    len: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Slab<T> {
        Slab { entries: Vec::new(), free: Vec::new(), len: 0 }
    }
}

impl<T> Slab<T> {
    pub fn insert(&mut self, value: T) -> Slot {
        let slot = self.reserve();
        self.put(slot, value);
        slot
    }

    /// A place whose value comes later, by [`Slab::put`].
    pub fn reserve(&mut self) -> Slot {
        self.len += 1;
        if let Some(place) = self.free.pop() {
            return Slot { place, generation: self.entries[place as usize].generation };
        }
        let place = self.entries.len() as u32;
        self.entries.push(Entry { generation: 0, value: None });
        Slot { place, generation: 0 }
    }

    pub fn get(&self, slot: Slot) -> Option<&T> {
        self.entries.get(slot.place as usize).filter(|e| e.generation == slot.generation)?.value.as_ref()
    }

    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.entries.get_mut(slot.place as usize).filter(|e| e.generation == slot.generation)?.value.as_mut()
    }

    /// Takes a value out to work on it; its place stays reserved until [`Slab::put`] or [`Slab::remove`].
    pub fn take(&mut self, slot: Slot) -> Option<T> {
        self.entries.get_mut(slot.place as usize).filter(|e| e.generation == slot.generation)?.value.take()
    }

    pub fn put(&mut self, slot: Slot, value: T) {
        if let Some(entry) = self.entries.get_mut(slot.place as usize)
            && entry.generation == slot.generation
        {
            entry.value = Some(value);
        }
    }

    /// Frees the place, whether its value is there or was taken.
    pub fn remove(&mut self, slot: Slot) -> Option<T> {
        let entry = self.entries.get_mut(slot.place as usize).filter(|e| e.generation == slot.generation)?;
        let value = entry.value.take();
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(slot.place);
        self.len -= 1;
        value
    }

    /// Every place from that one on, taken or not.
    pub fn places_from(&self, place: usize) -> impl Iterator<Item = Option<&T>> {
        self.entries.get(place..).unwrap_or_default().iter().map(|entry| entry.value.as_ref())
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        let filled = |(place, e): (usize, &Entry<T>)| {
            e.value.as_ref().map(|_| Slot { place: place as u32, generation: e.generation })
        };
        self.entries.iter().enumerate().filter_map(filled)
    }

    pub fn places(&self) -> usize {
        self.entries.len()
    }

    /// The slot at a place, when it is filled: for sweeps that go on where they stopped.
    pub fn at(&self, place: usize) -> Option<Slot> {
        let entry = self.entries.get(place)?;
        entry.value.as_ref().map(|_| Slot { place: place as u32, generation: entry.generation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_reference_never_finds_a_newer_tenant() {
        let mut slab = Slab::default();
        let a = slab.insert("a");
        assert_eq!(slab.take(a), Some("a"));
        slab.put(a, "a2");
        assert_eq!(slab.remove(a), Some("a2"));
        let b = slab.insert("b");
        assert_eq!((slab.get(a), slab.get(b), slab.len()), (None, Some(&"b"), 1));
        slab.put(a, "x");
        assert_eq!(slab.get(b), Some(&"b"));
        assert_eq!(slab.slots().collect::<Vec<_>>(), [b]);
    }
}
