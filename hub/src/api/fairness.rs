//! Fairness: how many requests are answered at one time, in all and for one user, and how long their answers may take to
//! be taken.
//!
//! Places come in three kinds, each with a bound: requests that read, requests that write, and those that stay open
//! (watches, logs, connections to pods). One user has at most half of each, so that no one can keep all others out;
//! administrators have as many places of their own, which nobody else can take.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use tokio::time::Instant;

use super::request::{RequestInfo, Verb};
use super::respond::Body;
use crate::objects::User;

/// How many requests may be answered at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InFlight {
    /// Requests that read: `--max-requests-inflight`.
    pub reading: usize,
    /// Requests that write: `--max-mutating-requests-inflight`.
    pub mutating: usize,
    /// Watches, logs and connections to pods.
    pub long_running: usize,
}

impl Default for InFlight {
    /// apiserver's defaults, and 2,048 watches for one user.
    fn default() -> Self {
        Self { reading: 400, mutating: 200, long_running: 4096 }
    }
}

/// What kind of place a request takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Reading,
    Mutating,
    LongRunning,
}

impl Class {
    pub(crate) fn of(info: &RequestInfo) -> Self {
        match info.verb {
            _ if info.is_long_running() => Self::LongRunning,
            Verb::Get | Verb::List | Verb::Watch | Verb::Unknown => Self::Reading,
            Verb::Create | Verb::Update | Verb::Patch | Verb::Delete | Verb::DeleteCollection => Self::Mutating,
        }
    }
}

/// Who a place is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    /// Administrators (`system:masters`), whose places are apart.
    Master,
    /// A user, by name.
    User(Arc<str>),
    /// Clients that are not known, by their address where that is known.
    Anonymous(Option<IpAddr>),
}

impl Holder {
    pub(crate) fn of(user: &User) -> Self {
        if user.is_master() { Self::Master } else { Self::User(user.name.as_str().into()) }
    }
}

/// Places taken, by [`Class`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Taken([usize; 3]);

/// All places.
#[derive(Debug)]
pub(crate) struct Fairness {
    bounds: InFlight,
    table: Mutex<Table>,
    sending: Mutex<Vec<Weak<Sending>>>,
}

/// Holders are in the table for as long as they hold something, so places bound it.
#[derive(Debug, Default)]
struct Table {
    /// By all but administrators.
    common: Taken,
    by_holder: HashMap<Holder, Taken>,
}

impl Fairness {
    pub(crate) fn new(bounds: InFlight) -> Arc<Self> {
        Arc::new(Self { bounds, table: Mutex::default(), sending: Mutex::default() })
    }

    fn bound(&self, class: Class) -> usize {
        match class {
            Class::Reading => self.bounds.reading,
            Class::Mutating => self.bounds.mutating,
            Class::LongRunning => self.bounds.long_running,
        }
    }

    /// Takes a place; `None` when there is none left for this holder.
    pub(crate) fn admit(self: &Arc<Self>, holder: Holder, class: Class) -> Option<Place> {
        self.drop_late(Instant::now());
        let bound = self.bound(class);
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let own = table.by_holder.get(&holder).map_or(0, |taken| taken.0[class as usize]);
        let free = match holder {
            Holder::Master => own < bound,
            // One place always, however small the bound.
            Holder::User(_) | Holder::Anonymous(_) => {
                own < (bound / 2).max(1) && table.common.0[class as usize] < bound
            }
        };
        if !free {
            return None;
        }
        if holder != Holder::Master {
            table.common.0[class as usize] += 1;
        }
        table.by_holder.entry(holder.clone()).or_default().0[class as usize] += 1;
        drop(table);
        Some(Place { fairness: self.clone(), holder, class })
    }

    fn leave(&self, holder: &Holder, class: Class) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if *holder != Holder::Master {
            table.common.0[class as usize] -= 1;
        }
        let Some(own) = table.by_holder.get_mut(holder) else { return };
        own.0[class as usize] -= 1;
        if *own == Taken::default() {
            table.by_holder.remove(holder);
        }
    }

    /// Places that are taken now.
    pub(crate) fn taken(&self, class: Class) -> usize {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let masters = table.by_holder.get(&Holder::Master).copied().unwrap_or_default();
        table.common.0[class as usize] + masters.0[class as usize]
    }

    /// A body that keeps its place until it has been taken, for which there is time until `deadline`.
    ///
    /// HTTP asks a body for more only when the client has taken what came before, so a client that stopped reading is
    /// not noticed by the body itself: its objects and its place are let go when the next request comes.
    pub(crate) fn until(&self, deadline: Instant, body: Body, place: Arc<Place>) -> Body {
        let sending = Arc::new(Sending { deadline, body: Mutex::new(Some((body, place))) });
        let mut all = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|sending| sending.strong_count() > 0);
        all.push(Arc::downgrade(&sending));
        drop(all);
        Sent(sending).boxed_unsync()
    }

    fn drop_late(&self, now: Instant) {
        let mut late = Vec::new();
        let mut all = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|sending| {
            let Some(sending) = sending.upgrade() else { return false };
            let over = now >= sending.deadline;
            if over {
                late.push(sending);
            }
            !over
        });
        drop(all);
        // Places go back outside of the lock.
        late.iter().for_each(|sending| drop(sending.take()));
    }
}

/// A place among the requests that are answered, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    fairness: Arc<Fairness>,
    holder: Holder,
    class: Class,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.fairness.leave(&self.holder, self.class);
    }
}

/// A body on its way; empty once it is over.
#[derive(Debug)]
struct Sending {
    deadline: Instant,
    body: Mutex<Option<(Body, Arc<Place>)>>,
}

impl Sending {
    fn take(&self) -> Option<(Body, Arc<Place>)> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

struct Sent(Arc<Sending>);

impl hyper::body::Body for Sent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let late = || io::Error::new(io::ErrorKind::TimedOut, "the answer was not taken within the request's time");
        let sending = &self.get_mut().0;
        if Instant::now() >= sending.deadline {
            drop(sending.take());
        }
        let mut body = sending.body.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((inner, _)) = body.as_mut() else { return Poll::Ready(Some(Err(late()))) };
        Poll::Ready(ready!(Pin::new(inner).poll_frame(context)))
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.0.body.lock().unwrap_or_else(PoisonError::into_inner);
        body.as_ref().map_or_else(SizeHint::default, |(inner, _)| inner.size_hint())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::api::respond::full;

    fn fairness() -> Arc<Fairness> {
        Fairness::new(InFlight { reading: 8, mutating: 4, long_running: 100 })
    }

    fn user(name: &str) -> Holder {
        Holder::User(name.into())
    }

    /// As many places as there are, up to 1,000.
    fn all(fairness: &Arc<Fairness>, holder: &Holder, class: Class) -> Vec<Place> {
        std::iter::from_fn(|| fairness.admit(holder.clone(), class)).take(1000).collect()
    }

    #[test]
    fn one_user_has_half_and_all_have_the_whole() {
        let fairness = fairness();
        let first = all(&fairness, &user("a"), Class::Reading);
        let second = all(&fairness, &user("b"), Class::Reading);
        let third = all(&fairness, &user("c"), Class::Reading);
        assert_eq!((first.len(), second.len(), third.len()), (4, 4, 0));
        assert_eq!(all(&fairness, &user("c"), Class::Mutating).len(), 2, "another kind of place");
        drop(first);
        assert_eq!(all(&fairness, &user("c"), Class::Reading).len(), 4);
    }

    #[test]
    fn administrators_are_kept_out_by_nobody_else() {
        let fairness = fairness();
        let _others = ["a", "b", "c"].map(|name| all(&fairness, &user(name), Class::LongRunning));
        assert_eq!(fairness.taken(Class::LongRunning), 100);
        let masters = all(&fairness, &Holder::Master, Class::LongRunning);
        assert_eq!((masters.len(), fairness.taken(Class::LongRunning)), (100, 200));
        assert!(fairness.admit(user("d"), Class::Reading).is_some());
    }

    #[test]
    fn unknown_clients_are_told_apart_by_address() {
        let fairness = fairness();
        let from = |last| Holder::Anonymous(Some(IpAddr::from([192, 0, 2, last])));
        let _first = all(&fairness, &from(1), Class::Reading);
        assert_eq!(all(&fairness, &from(1), Class::Reading).len(), 0);
        assert_eq!(all(&fairness, &from(2), Class::Reading).len(), 4);
    }

    #[test]
    fn whoever_holds_nothing_is_forgotten() {
        let fairness = fairness();
        for n in 0..1000 {
            drop(fairness.admit(user(&n.to_string()), Class::Mutating).unwrap());
        }
        let held = fairness.admit(user("a"), Class::Reading);
        assert_eq!(fairness.table.lock().unwrap().by_holder.len(), 1);
        drop(held);
        assert!(fairness.table.lock().unwrap().by_holder.is_empty());
        assert_eq!(fairness.taken(Class::Reading), 0);
    }

    #[test]
    fn the_default_is_room_for_two_thousand_watches_of_one_user() {
        let fairness = Fairness::new(InFlight::default());
        let held: Vec<_> = (0..2000).map(|_| fairness.admit(user("a"), Class::LongRunning)).collect();
        assert!(held.iter().all(Option::is_some));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_nobody_takes_gives_up_its_place() {
        let fairness = fairness();
        let place = || Arc::new(fairness.admit(user("a"), Class::Reading).unwrap());
        let deadline = Instant::now() + Duration::from_secs(60);
        let stalled = fairness.until(deadline, full("never"), place());
        let taken = fairness.until(deadline, full("taken"), place());
        assert_eq!(taken.collect().await.unwrap().to_bytes(), "taken");
        assert_eq!(fairness.taken(Class::Reading), 1);
        tokio::time::advance(Duration::from_secs(61)).await;
        drop(fairness.admit(user("b"), Class::Reading));
        assert_eq!(fairness.taken(Class::Reading), 0);
        assert_eq!(stalled.collect().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
