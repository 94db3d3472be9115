//! Who follows a pod's logs: a deleted pod's containers are kept for a moment, until their last lines have been read.

use std::collections::BTreeMap;
use std::time::Duration;

use skiff_shared::ids::PodUid;
use tokio::sync::watch;

/// How long the containers of a pod are kept for those who follow its logs. Podman notices the end of a container within
/// a second; who has not read the rest by then does not hold up the deletion.
const PATIENCE: Duration = Duration::from_secs(3);

/// The followers of all pods. As bounded as the streams that the hub may open.
#[derive(Debug, Default)]
pub struct Followers {
    counts: watch::Sender<BTreeMap<PodUid, usize>>,
}

/// One follower, until it is dropped.
#[derive(Debug)]
pub struct Following<'a> {
    followers: &'a Followers,
    pod: PodUid,
}

impl Followers {
    /// Somebody follows this pod's logs.
    pub fn enter(&self, pod: &PodUid) -> Following<'_> {
        self.counts.send_modify(|counts| *counts.entry(pod.clone()).or_default() += 1);
        Following { followers: self, pod: pod.clone() }
    }

    /// Waits until nobody follows this pod's logs, but only for a moment.
    pub async fn gone(&self, pod: &PodUid) {
        let mut counts = self.counts.subscribe();
        let left = counts.wait_for(|counts| !counts.contains_key(pod));
        if tokio::time::timeout(PATIENCE, left).await.is_err() {
            tracing::debug!(%pod, "its logs are still followed; it is removed all the same");
        }
    }
}

impl Drop for Following<'_> {
    fn drop(&mut self) {
        self.followers.counts.send_modify(|counts| {
            if let Some(count) = counts.get_mut(&self.pod) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(&self.pod);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn pod() -> PodUid {
        PodUid::parse("u-1").unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_not_waited_for() {
        let start = Instant::now();
        Followers::default().gone(&pod()).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_follower_is_waited_for_but_not_for_ever() {
        let followers = Followers::default();
        let (first, second) = (followers.enter(&pod()), followers.enter(&pod()));
        let start = Instant::now();
        drop(first);
        let leaving = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(second);
        };
        let uid = pod();
        tokio::join!(leaving, followers.gone(&uid));
        assert_eq!(start.elapsed(), Duration::from_secs(1));
        let _stays = followers.enter(&pod());
        followers.gone(&pod()).await;
        assert_eq!(start.elapsed(), Duration::from_secs(1) + PATIENCE);
    }
}
