//! The numbers of a rollout: surge, unavailability and proportions, as Kubernetes rounds them.

use serde::Deserialize;

/// A count or a percentage (`IntOrString`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum IntOrPercent {
    /// `3`.
    Int(i64),
    /// `25%`.
    Percent(String),
}

/// How far a rolling update may stray from the wanted number of replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fenceposts {
    /// Pods beyond the wanted number.
    pub(super) surge: i64,
    /// Pods short of the wanted number.
    pub(super) unavailable: i64,
}

impl Fenceposts {
    /// Resolves percentages of `replicas`: surge is rounded up, unavailability down. Both zero could never make progress,
    /// so one pod may then be unavailable.
    pub(super) fn resolve(surge: &IntOrPercent, unavailable: &IntOrPercent, replicas: i64) -> Self {
        let surge = surge.of(replicas, true);
        let unavailable = unavailable.of(replicas, false);
        Self { surge, unavailable: if surge == 0 && unavailable == 0 { 1 } else { unavailable } }
    }

    /// The most pods that may be unavailable of so many replicas.
    pub(super) fn max_unavailable(self, replicas: i64) -> i64 {
        self.unavailable.min(replicas)
    }
}

impl IntOrPercent {
    fn of(&self, total: i64, round_up: bool) -> i64 {
        match self {
            Self::Int(n) => *n,
            Self::Percent(text) => {
                let percent = text.strip_suffix('%').and_then(|p| p.parse::<i64>().ok()).unwrap_or(0);
                let hundredths = percent.saturating_mul(total);
                if round_up { hundredths.saturating_add(99) / 100 } else { hundredths / 100 }
            }
        }
    }
}

/// Replicas for the new set: as many as fit under the surge limit beside all sets' `total`, never fewer than it has.
pub(super) fn grow_new(wanted: i64, surge: i64, total: i64, new: i64) -> i64 {
    let room = wanted + surge - total;
    new + room.min(wanted - new).max(0)
}

/// A set's share in a change of the Deployment's size while several sets are active. `max_then` is the most replicas that
/// the Deployment could have when the set was last scaled, `max_now` the most it can have now; `to_add` is the change
/// to be shared (negative to shrink), `added` what earlier sets took of it.
pub(super) fn proportion(replicas: i64, wanted: i64, max_then: i64, max_now: i64, to_add: i64, added: i64) -> i64 {
    if replicas == 0 || to_add == 0 || to_add == added {
        return 0;
    }
    let fraction = if wanted == 0 { -replicas } else { divide_rounded(replicas * max_now, max_then.max(1)) - replicas };
    let allowed = to_add - added;
    if to_add > 0 { fraction.min(allowed) } else { fraction.max(allowed) }
}

/// Division of non-negative numbers, rounded to the nearest, halves up.
fn divide_rounded(n: i64, by: i64) -> i64 {
    (2 * n + by) / (2 * by)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percent(text: &str) -> IntOrPercent {
        IntOrPercent::Percent(text.to_owned())
    }

    #[test]
    fn surge_is_rounded_up_and_unavailability_down() {
        let int = IntOrPercent::Int;
        for (surge, unavailable, replicas, expected) in [
            (percent("25%"), percent("25%"), 4, (1, 1)),
            (percent("25%"), percent("25%"), 1, (1, 0)),
            (percent("25%"), percent("25%"), 10, (3, 2)),
            (percent("0%"), percent("25%"), 2, (0, 1)),
            (int(0), int(0), 5, (0, 1)),
            (int(2), int(0), 5, (2, 0)),
            (percent("100%"), int(7), 3, (3, 7)),
        ] {
            let posts = Fenceposts::resolve(&surge, &unavailable, replicas);
            assert_eq!((posts.surge, posts.unavailable), expected, "{surge:?} {unavailable:?} of {replicas}");
        }
        assert_eq!(Fenceposts { surge: 0, unavailable: 7 }.max_unavailable(3), 3);
    }

    #[test]
    fn the_new_set_grows_into_the_room_there_is() {
        for (wanted, surge, total, new, expected) in [
            (10, 0, 10, 0, 0),
            (10, 2, 10, 0, 2),
            (10, 0, 5, 0, 5),
            (10, 5, 15, 5, 5),
            (3, 5, 1, 1, 3),
            (2, 0, 8, 0, 0),
        ] {
            assert_eq!(grow_new(wanted, surge, total, new), expected, "{wanted} {surge} {total} {new}");
        }
    }

    #[test]
    fn proportions_never_exceed_what_is_left() {
        assert_eq!(proportion(5, 20, 10, 20, 10, 0), 5);
        assert_eq!(proportion(5, 20, 10, 20, 10, 8), 2);
        assert_eq!(proportion(8, 5, 10, 5, -5, 0), -4);
        assert_eq!(proportion(8, 0, 10, 0, -8, 0), -8);
        assert_eq!(proportion(0, 5, 10, 5, -5, 0), 0);
    }
}
