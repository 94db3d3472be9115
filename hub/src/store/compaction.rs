//! Bounds how old the log of changes gets, as a Kubernetes API server does with etcd's history.

use std::time::Duration;

use tokio::sync::watch;

use super::Store;

/// Forgets, every `interval`, the changes that were there an interval before, until `stopped` turns true: watches and
/// pages of lists can go on from a state that is at least one interval old, and at most two. Where nothing changes,
/// nothing is done.
pub async fn compact_regularly(store: &dyn Store, interval: Duration, mut stopped: watch::Receiver<bool>) {
    let (mut compacted, mut seen) = (0, store.snapshot().revision());
    while tokio::time::timeout(interval, stopped.wait_for(|stop| *stop)).await.is_err() {
        if seen > compacted {
            match store.compact(seen).await {
                Ok(()) => compacted = seen,
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "cannot forget old changes"),
            }
        }
        seen = store.snapshot().revision();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::store::{Expected, Key, MemoryStore, Op, StoreError, Write};

    const INTERVAL: Duration = Duration::from_secs(300);

    async fn put(store: &MemoryStore, name: &str) {
        let key = Key { resource: "pods".into(), namespace: "default".into(), name: name.into() };
        let op = Op::Put(json!({"metadata": {"name": name}}));
        store.commit(vec![Write { key, expected: Expected::Absent, op }]).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn changes_are_kept_for_one_interval_at_least_and_two_at_most() {
        let store = MemoryStore::new();
        let (stop, stopped) = watch::channel(false);
        let other = Arc::clone(&store);
        let task = tokio::spawn(async move { compact_regularly(&*other, INTERVAL, stopped).await });
        tokio::time::sleep(INTERVAL / 2).await;
        put(&store, "a").await;
        put(&store, "b").await;
        for (intervals, kept) in [(1, true), (2, false)] {
            tokio::time::sleep(INTERVAL).await;
            let changes = store.changes(1, 10).map(|events| events.len());
            assert!(
                if kept { matches!(changes, Ok(1)) } else { matches!(changes, Err(StoreError::Compacted { .. })) },
                "{intervals}"
            );
        }
        put(&store, "c").await;
        assert_eq!(store.changes(2, 10).unwrap().len(), 1, "later changes stay");
        stop.send_replace(true);
        task.await.unwrap();
    }
}
