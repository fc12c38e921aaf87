//! Sorting, compiled once.
//!
//! The sort of the standard library is made for speed and compiled anew for each type and each
//! comparison: 3 KB of code for each place where a list of names is sorted. Here it is compiled
//! once, for positions; a place adds no more than its comparison and the moves.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// Sorts slices; equal items stay in their order.
pub trait InOrder<T> {
    /// Sorts by the order of the items themselves.
    fn order(&mut self)
    where
        T: Ord;

    /// Sorts by a comparison.
    fn order_by(&mut self, compare: impl FnMut(&T, &T) -> Ordering);

    /// Sorts by a key of each item.
    fn order_by_key<K: Ord>(&mut self, key: impl FnMut(&T) -> K);
}

impl<T> InOrder<T> for [T] {
    fn order(&mut self)
    where
        T: Ord,
    {
        self.order_by(T::cmp);
    }

    fn order_by(&mut self, mut compare: impl FnMut(&T, &T) -> Ordering) {
        let places = plan_order(self.len(), &mut |one, other| {
            match (self.get(one), self.get(other)) {
                (Some(one), Some(other)) => compare(one, other),
                // Positions are always of the slice.
                _ => Ordering::Equal,
            }
        });
        apply_order(places, &mut |one, other| self.swap(one, other));
    }

    fn order_by_key<K: Ord>(&mut self, mut key: impl FnMut(&T) -> K) {
        self.order_by(|one, other| key(one).cmp(&key(other)));
    }
}

/// Where each item of a sorted list comes from.
fn plan_order(count: usize, compare: &mut dyn FnMut(usize, usize) -> Ordering) -> Vec<usize> {
    let mut places: Vec<usize> = (0..count).collect();
    places.sort_by(|one, other| compare(*one, *other));
    places
}

/// Brings each item to its place, along the cycles of the permutation.
fn apply_order(mut places: Vec<usize>, swap: &mut dyn FnMut(usize, usize)) {
    for start in 0..places.len() {
        let mut at = start;
        while let Some(from) = places.get_mut(at) {
            let from = std::mem::replace(from, at);
            if from == start {
                break;
            }
            swap(at, from);
            at = from;
        }
    }
}

/// Collects into maps and sets by inserting one after the other, where `collect` would sort
/// first.
pub trait Gather: Iterator + Sized {
    /// A map; of equal keys the last one stays.
    fn into_map<K: Ord, V>(self) -> BTreeMap<K, V>
    where
        Self: Iterator<Item = (K, V)>,
    {
        let mut map = BTreeMap::new();
        map.extend(self);
        map
    }

    /// A set.
    fn into_set(self) -> BTreeSet<Self::Item>
    where
        Self::Item: Ord,
    {
        let mut set = BTreeSet::new();
        set.extend(self);
        set
    }
}

impl<I: Iterator> Gather for I {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_standard_library() {
        // A small generator: every length, many equal keys.
        let mut state = 7_u32;
        for length in 0..200_u32 {
            let mut list: Vec<(u32, u32)> = (0..length)
                .map(|at| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    ((state >> 16) % 50, at)
                })
                .collect();
            let mut expected = list.clone();
            let mut whole = list.clone();
            expected.sort_by_key(|(key, _)| *key);
            list.order_by_key(|(key, _)| *key);
            assert_eq!(list, expected);
            expected.sort();
            whole.order();
            assert_eq!(whole, expected);
        }
    }

    #[test]
    fn maps_and_sets_keep_the_last() {
        assert_eq!(
            [(2, 'a'), (1, 'b'), (2, 'c')].into_iter().into_map(),
            BTreeMap::from([(1, 'b'), (2, 'c')])
        );
        assert_eq!([3, 1, 3].into_iter().into_set(), BTreeSet::from([1, 3]));
    }
}
