//! What a pass does to the sizes of ReplicaSets: rolling update, recreate, proportional scaling.

use std::cmp::Reverse;

use super::arithmetic::{grow_new, proportion};
use super::model::{DESIRED, MAX};
use super::pass::Pass;

impl Pass<'_> {
    /// One step of a rolling update: the new set grows into the room there is, or else the old ones shrink.
    pub(super) fn roll(&mut self) {
        self.ensure_new();
        if !self.resize_new() {
            self.shrink_old();
        }
        self.clean_up_if_complete();
    }

    /// One step of Recreate: old pods go entirely before the new set is scaled up.
    pub(super) fn recreate(&mut self) {
        self.adopt_new();
        let old: Vec<usize> = self.old().into_iter().filter(|i| self.sets[*i].is_active()).collect();
        if !old.is_empty() {
            for i in old {
                self.scale(i, 0);
            }
            return;
        }
        if self.old_pods_run() {
            return;
        }
        self.ensure_new();
        if let Some(new) = self.new {
            self.scale(new, self.deployment.replicas());
        }
        self.clean_up_if_complete();
    }

    /// Follows a change of `spec.replicas` (or holds still while paused): one active set takes all of it, several share
    /// it in proportion, so that a rollout under way keeps its mix.
    pub(super) fn rescale(&mut self) {
        self.adopt_new();
        let wanted = self.deployment.replicas();
        let active: Vec<usize> = (0..self.sets.len()).filter(|i| self.sets[*i].is_active()).collect();
        let single = match active[..] {
            [] => self.new.or_else(|| self.old().last().copied()),
            [only] => Some(only),
            [..] => None,
        };
        if let Some(only) = single {
            self.scale(only, wanted);
            self.note_size(only);
        } else if self.is_saturated() {
            for i in self.old() {
                self.scale(i, 0);
            }
        } else if !self.deployment.recreates() {
            self.share(active);
        }
        if self.deployment.spec.paused {
            self.clean_up();
        }
    }

    /// Whether an active set was scaled for another size of the Deployment.
    pub(super) fn was_resized(&self) -> bool {
        let wanted = self.deployment.replicas();
        self.sets.iter().any(|s| s.is_active() && s.number(DESIRED).is_some_and(|d| d != wanted))
    }

    /// How many pods the new set is to have when it is created now.
    pub(super) fn size_for_new(&self, current: i64) -> i64 {
        let wanted = self.deployment.replicas();
        if self.deployment.recreates() {
            return wanted;
        }
        let total = self.sets.iter().map(|s| s.replicas).sum();
        grow_new(wanted, self.deployment.fenceposts().surge, total, current)
    }

    /// Notes for which size of the Deployment a set was scaled.
    pub(super) fn note_size(&mut self, set: usize) {
        let (wanted, surge) = (self.deployment.replicas(), self.deployment.fenceposts().surge);
        self.sets[set].annotate(DESIRED, wanted.to_string());
        self.sets[set].annotate(MAX, (wanted + surge).to_string());
    }

    fn is_saturated(&self) -> bool {
        let wanted = self.deployment.replicas();
        self.new.map(|i| &self.sets[i]).is_some_and(|new| {
            new.number(DESIRED) == Some(wanted) && new.replicas == wanted && new.stored.counts().2 == wanted
        })
    }

    fn share(&mut self, mut active: Vec<usize>) {
        let (wanted, surge) = (self.deployment.replicas(), self.deployment.fenceposts().surge);
        let total: i64 = active.iter().map(|i| self.sets[*i].replicas).sum();
        let allowed = if wanted > 0 { wanted + surge } else { 0 };
        let to_add = allowed - total;
        // The largest set takes what rounding leaves over; among equals the newer grows and the older shrinks.
        active.sort_by_key(|i| Reverse(self.sets[*i].replicas));
        if to_add > 0 {
            active.sort_by_key(|i| (Reverse(self.sets[*i].replicas), Reverse(*i)));
        }
        let mut added = 0;
        let mut sizes = Vec::new();
        for i in &active {
            let set = &self.sets[*i];
            let max_then = set.number(MAX).unwrap_or(self.deployment.status.replicas);
            let share = proportion(set.replicas, wanted, max_then, wanted + surge, to_add, added);
            added += share;
            sizes.push(set.replicas + share);
        }
        if let Some(largest) = sizes.first_mut() {
            *largest = (*largest + to_add - added).max(0);
        }
        for (i, size) in active.into_iter().zip(sizes) {
            self.scale(i, size);
            self.note_size(i);
        }
    }

    /// Whether the new set changed its size.
    fn resize_new(&mut self) -> bool {
        let Some(new) = self.new else { return false };
        let (wanted, current) = (self.deployment.replicas(), self.sets[new].replicas);
        let size = if current > wanted { wanted } else { self.size_for_new(current) };
        self.scale(new, size)
    }

    /// Scales old sets down, unhealthy pods first, as far as enough pods stay available.
    fn shrink_old(&mut self) {
        let wanted = self.deployment.replicas();
        let min_available = wanted - self.deployment.fenceposts().max_unavailable(wanted);
        let total: i64 = self.sets.iter().map(|s| s.replicas).sum();
        let new_unavailable = self.new.map_or(0, |i| self.sets[i].replicas - self.sets[i].stored.counts().2);
        let most = total - min_available - new_unavailable;
        // A set that was just scaled down still reports the pods that are about to go.
        let available: i64 = self.sets.iter().map(|s| s.stored.counts().2.min(s.replicas)).sum();
        let mut sizes: Vec<(usize, i64)> = self.old().into_iter().map(|i| (i, self.sets[i].replicas)).collect();
        let unhealthy = self.take_unhealthy(&mut sizes, most);
        let mut spare = (available - min_available).min(most - unhealthy);
        for (_, size) in &mut sizes {
            let step = spare.clamp(0, *size);
            *size -= step;
            spare -= step;
        }
        for (i, size) in sizes {
            self.scale(i, size);
        }
    }

    /// Takes pods that are not available away from old sets, at most `most`: they serve no one.
    fn take_unhealthy(&self, sizes: &mut [(usize, i64)], most: i64) -> i64 {
        let mut taken = 0;
        for (i, size) in sizes {
            let unavailable = *size - self.sets[*i].stored.counts().2;
            let step = unavailable.min(most - taken).max(0);
            *size -= step;
            taken += step;
        }
        taken
    }

    fn clean_up_if_complete(&mut self) {
        if self.is_complete(&self.deployment.status) {
            self.clean_up();
        }
    }

    /// Deletes old sets beyond `revisionHistoryLimit`, oldest revisions first.
    fn clean_up(&mut self) {
        let Some(limit) = self.deployment.spec.revision_history_limit else { return };
        let deleting = |i: &usize| self.sets[*i].object.as_ref().is_some_and(|o| o.meta.deleting);
        let mut old: Vec<usize> = self.old().into_iter().filter(|i| !deleting(i)).collect();
        let surplus = old.len().saturating_sub(limit);
        old.sort_by_key(|i| self.sets[*i].revision());
        old.truncate(surplus);
        self.delete.extend(old.into_iter().filter(|i| self.sets[*i].is_spent()));
    }
}
