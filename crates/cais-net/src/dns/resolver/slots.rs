//! A bounded number of things that are watched, each under a token that names its slot
//! and who is in it: an event for somebody who has gone finds nobody.

pub(super) use super::super::clients::SlotName as Name;

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    content: Option<T>,
}

/// The slots of one kind.
#[derive(Debug)]
pub(super) struct Slots<T> {
    kind: u8,
    most: usize,
    slots: Vec<Slot<T>>,
}

impl<T> Slots<T> {
    pub(super) fn new(kind: u8, most: usize) -> Self {
        Self {
            kind,
            most,
            slots: Vec::new(),
        }
    }

    /// Whether there is no free slot.
    pub(super) fn is_full(&self) -> bool {
        self.iter().count() >= self.most
    }

    /// Puts something into a free slot, if there is one.
    pub(super) fn insert(&mut self, content: T) -> Option<Name> {
        let free = self.slots.iter().position(|slot| slot.content.is_none());
        let index = match free {
            Some(index) => index,
            None if self.slots.len() < self.most => {
                self.slots.push(Slot {
                    generation: 0,
                    content: None,
                });
                self.slots.len() - 1
            }
            None => return None,
        };
        let slot = self.slots.get_mut(index)?;
        slot.generation = slot.generation.wrapping_add(1);
        slot.content = Some(content);
        Some(Name {
            index,
            generation: slot.generation,
        })
    }

    pub(super) fn get(&mut self, name: Name) -> Option<&mut T> {
        let slot = self.slots.get_mut(name.index)?;
        slot.content
            .as_mut()
            .filter(|_| slot.generation == name.generation)
    }

    pub(super) fn remove(&mut self, name: Name) -> Option<T> {
        self.get(name)?;
        self.slots.get_mut(name.index)?.content.take()
    }

    /// The token under which this slot's descriptors are watched.
    pub(super) fn token(&self, name: Name) -> u64 {
        let index = u64::try_from(name.index).unwrap_or(0) & 0xff_ffff;
        (u64::from(self.kind) << 56) | (index << 32) | u64::from(name.generation)
    }

    /// The slot of a token, if it is one of these.
    pub(super) fn named(&self, token: u64) -> Option<Name> {
        let [kind, a, b, c, generation @ ..] = token.to_be_bytes();
        (kind == self.kind).then(|| Name {
            index: usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c),
            generation: u32::from_be_bytes(generation),
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| slot.content.as_ref())
    }

    pub(super) fn find(&mut self, mut is_it: impl FnMut(&T) -> bool) -> Option<&mut T> {
        let contents = self.slots.iter_mut().filter_map(|slot| slot.content.as_mut());
        contents.into_iter().find(|content| is_it(content))
    }

    /// The names of all for which this holds.
    pub(super) fn names_where(&self, mut holds: impl FnMut(&T) -> bool) -> Vec<Name> {
        let named = self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let content = slot.content.as_ref()?;
            let generation = slot.generation;
            holds(content).then_some(Name { index, generation })
        });
        named.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_gone_is_not_found() {
        let mut slots = Slots::new(3, 2);
        let first = slots.insert('a').unwrap();
        let second = slots.insert('b').unwrap();
        assert!(slots.insert('c').is_none());
        assert_eq!(slots.named(slots.token(second)), Some(second));
        assert_eq!(slots.named(1), None);
        assert_eq!(slots.remove(first), Some('a'));
        let third = slots.insert('c').unwrap();
        assert_eq!(third.index, first.index);
        assert!(slots.get(first).is_none() && slots.remove(first).is_none());
        assert_eq!(slots.get(third), Some(&mut 'c'));
        assert_eq!(slots.names_where(|content| *content == 'b'), [second]);
    }
}
