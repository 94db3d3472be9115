//! The tokens of pods' service accounts: asked of the hub, kept in the ledger, renewed before their end. Time is an
//! argument; what is asked for is a set that the link sends whenever it can.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use skiff_shared::ids::PodUid;
use skiff_shared::wire::{TokenAnswer, TokenRequest};
use tokio::sync::watch;

use crate::ledger::tokens::KeptToken;

/// No token is kept for longer without renewal (kubelet: 24 hours), milliseconds.
const LONGEST_MS: u64 = 24 * 3600 * 1000;
/// A renewal that was refused is tried again after this long, milliseconds.
const AGAIN_MS: i64 = 5 * 60 * 1000;

/// What is asked of the hub.
pub type Wishes = Arc<BTreeSet<TokenRequest>>;

/// What there is of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A token, and when to look again for a newer one, Unix milliseconds.
    Token(String, i64),
    /// It is asked for: the pod is told when it comes.
    Asked,
    /// The hub refused the last time; the next look asks again.
    Refused(String),
}

/// All tokens on this node.
#[derive(Debug)]
pub struct Tokens {
    state: Mutex<State>,
    wishes: watch::Sender<Wishes>,
}

#[derive(Debug, Default)]
struct State {
    kept: BTreeMap<TokenRequest, Kept>,
    refused: BTreeMap<TokenRequest, String>,
}

#[derive(Debug)]
struct Kept {
    token: String,
    renew_ms: i64,
}

impl Tokens {
    /// The tokens that the ledger has.
    pub fn new(kept: Vec<KeptToken>) -> Self {
        let entry = |k: KeptToken| (k.request, Kept { token: k.token, renew_ms: k.renew_ms });
        let state = State { kept: kept.into_iter().map(entry).collect(), refused: BTreeMap::new() };
        Self { state: Mutex::new(state), wishes: watch::Sender::default() }
    }

    /// What is asked of the hub now.
    pub fn wishes(&self) -> watch::Receiver<Wishes> {
        self.wishes.subscribe()
    }

    /// A token, as it now is. One that is missing or due is asked for; one that is due is good meanwhile.
    pub fn find(&self, request: &TokenRequest, now_ms: i64) -> Found {
        let mut state = self.state();
        let found = match state.kept.get(request) {
            Some(kept) if now_ms < kept.renew_ms => return Found::Token(kept.token.clone(), kept.renew_ms),
            // The answer tells the pod: nothing is to be looked at before.
            Some(kept) => Found::Token(kept.token.clone(), i64::MAX),
            None => match state.refused.remove(request) {
                Some(why) => return Found::Refused(why),
                None => Found::Asked,
            },
        };
        drop(state);
        self.wishes.send_if_modified(|wishes| Arc::make_mut(wishes).insert(request.clone()));
        found
    }

    /// Takes the hub's answer; gives what the ledger is to keep of that pod from now on, where that changed.
    /// `random` (0 to 1) spreads renewals.
    pub fn answered(&self, answer: TokenAnswer, now_ms: i64, random: f64) -> Option<Vec<KeptToken>> {
        let TokenAnswer { request, result } = answer;
        self.wishes.send_if_modified(|wishes| Arc::make_mut(wishes).remove(&request));
        let mut state = self.state();
        match result {
            Ok(token) => {
                let renew_ms = now_ms.saturating_add(renewal_ms(request.expiration_seconds, random));
                state.refused.remove(&request);
                state.kept.insert(request.clone(), Kept { token, renew_ms });
                Some(of_pod(&state, &request.pod))
            }
            Err(why) => {
                match state.kept.get_mut(&request) {
                    Some(kept) => {
                        tracing::warn!(pod = %request.pod, why, "a token was not renewed and stays in use");
                        kept.renew_ms = now_ms.saturating_add(AGAIN_MS);
                    }
                    None => drop(state.refused.insert(request, why)),
                }
                None
            }
        }
    }

    /// Forgets a pod.
    pub fn forget(&self, pod: &PodUid) {
        let mut state = self.state();
        state.kept.retain(|request, _| request.pod != *pod);
        state.refused.retain(|request, _| request.pod != *pod);
        drop(state);
        self.wishes.send_if_modified(|wishes| {
            let before = wishes.len();
            if wishes.iter().any(|w| w.pod == *pod) {
                Arc::make_mut(wishes).retain(|w| w.pod != *pod);
            }
            wishes.len() != before
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn of_pod(state: &State, pod: &PodUid) -> Vec<KeptToken> {
    let ours = state.kept.iter().filter(|(request, _)| request.pod == *pod);
    let keep = |(request, kept): (&TokenRequest, &Kept)| KeptToken {
        request: request.clone(),
        token: kept.token.clone(),
        renew_ms: kept.renew_ms,
    };
    ours.map(keep).collect()
}

/// A token is renewed when four fifths of its life are over, up to a twentieth earlier.
fn renewal_ms(seconds: u64, random: f64) -> i64 {
    let life = seconds.saturating_mul(1000).min(LONGEST_MS * 5 / 4);
    let jitter = Duration::from_millis(life / 20).mul_f64(random.clamp(0.0, 1.0));
    let due = (life / 5 * 4).saturating_sub(u64::try_from(jitter.as_millis()).unwrap_or(0));
    i64::try_from(due).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(pod: &str) -> TokenRequest {
        TokenRequest { pod: PodUid::parse(pod).unwrap(), audience: String::new(), expiration_seconds: 3600 }
    }

    fn answer(pod: &str, result: Result<&str, &str>) -> TokenAnswer {
        TokenAnswer { request: request(pod), result: result.map(str::to_owned).map_err(str::to_owned) }
    }

    #[test]
    fn a_token_is_asked_for_once_kept_and_renewed_in_time() {
        let tokens = Tokens::new(vec![]);
        let wishes = tokens.wishes();
        assert_eq!(tokens.find(&request("a"), 0), Found::Asked);
        assert_eq!(**wishes.borrow(), BTreeSet::from([request("a")]));
        let kept = tokens.answered(answer("a", Ok("t1")), 0, 0.0).unwrap();
        assert_eq!(kept, [KeptToken { request: request("a"), token: "t1".into(), renew_ms: 2_880_000 }]);
        assert!(wishes.borrow().is_empty());
        assert_eq!(tokens.find(&request("a"), 2_879_999), Found::Token("t1".into(), 2_880_000));
        assert!(wishes.borrow().is_empty());
        // Due: the old one serves until the new one comes, for ever if need be.
        assert_eq!(tokens.find(&request("a"), 2_880_000), Found::Token("t1".into(), i64::MAX));
        assert_eq!(wishes.borrow().len(), 1);
        assert_eq!(tokens.answered(answer("a", Err("no")), 2_880_000, 0.0), None);
        assert_eq!(tokens.find(&request("a"), 2_880_001), Found::Token("t1".into(), 2_880_000 + AGAIN_MS));
        tokens.answered(answer("a", Ok("t2")), 4_000_000, 1.0);
        assert_eq!(tokens.find(&request("a"), 4_000_000), Found::Token("t2".into(), 4_000_000 + 2_700_000));
    }

    #[test]
    fn a_refusal_is_told_once_and_a_forgotten_pod_wants_nothing() {
        let tokens = Tokens::new(vec![]);
        assert_eq!(tokens.find(&request("a"), 0), Found::Asked);
        tokens.answered(answer("a", Err("no account")), 0, 0.0);
        assert_eq!(tokens.find(&request("a"), 1), Found::Refused("no account".into()));
        assert_eq!(tokens.find(&request("a"), 2), Found::Asked);
        tokens.forget(&request("a").pod);
        assert!(tokens.wishes().borrow().is_empty());
    }

    #[test]
    fn tokens_of_a_long_life_are_renewed_daily() {
        for (seconds, due_ms) in [(600, 480_000), (3607, 2_885_600), (1 << 32, 86_400_000)] {
            assert_eq!(renewal_ms(seconds, 0.0), due_ms, "{seconds}");
        }
    }
}
