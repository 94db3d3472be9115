//! Watches, watchers, reflectors and waiting for conditions.

use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::core::PartialObjectMeta;
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::watcher::{self, Event, InitialListStrategy};
use kube::runtime::{WatchStreamExt, reflector, watcher as watcher_of};
use serde_json::json;
use tokio::spawn;

use super::{Server, config_map, refusal, soon, typed};

async fn maps() -> (Server, Api<ConfigMap>) {
    let server = Server::start().await;
    let maps = Api::default_namespaced(server.client.clone());
    (server, maps)
}

async fn change(maps: &Api<ConfigMap>, name: &str, value: &str) {
    let patch = Patch::Merge(json!({"data": {"k": value}}));
    maps.patch(name, &PatchParams::default(), &patch).await.unwrap();
}

fn brief<K: ResourceExt>(event: &Event<K>) -> String {
    match event {
        Event::Init => "init".into(),
        Event::InitApply(object) => format!("init {}", object.name_any()),
        Event::InitDone => "done".into(),
        Event::Apply(object) => format!("apply {}", object.name_any()),
        Event::Delete(object) => format!("delete {}", object.name_any()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_go_on_from_a_list() {
    let (_server, maps) = maps().await;
    let list = maps.list(&ListParams::default()).await.unwrap();
    let version = list.metadata.resource_version.unwrap();
    maps.create(&PostParams::default(), &config_map("a", json!({}))).await.unwrap();
    change(&maps, "a", "1").await;
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    let params = WatchParams::default().labels("app=x").timeout(5);
    let mut events = maps.watch(&params, &version).await.unwrap().boxed();
    for expected in ["added", "modified", "deleted"] {
        let found = match soon(events.try_next()).await.unwrap().unwrap() {
            WatchEvent::Added(_) => "added",
            WatchEvent::Modified(_) => "modified",
            WatchEvent::Deleted(_) => "deleted",
            WatchEvent::Bookmark(_) => "bookmark",
            WatchEvent::Error(_) => "error",
        };
        assert_eq!(found, expected);
    }
    let metadata = maps.watch_metadata(&WatchParams::default().labels("app=x").timeout(1), &version).await.unwrap();
    assert_eq!(soon(metadata.try_collect::<Vec<_>>()).await.unwrap().len(), 3);
    let nonsense = maps.watch(&WatchParams::default(), "nonsense").await.map(|_| ());
    assert_eq!(refusal(nonsense).0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_list_in_both_ways() {
    let (server, maps) = maps().await;
    let metadata_of: Api<PartialObjectMeta<ConfigMap>> = Api::default_namespaced(server.client.clone());
    for strategy in [InitialListStrategy::ListWatch, InitialListStrategy::StreamingList] {
        maps.create(&PostParams::default(), &config_map("a", json!({}))).await.unwrap();
        maps.create(&PostParams::default(), &config_map("b", json!({}))).await.unwrap();
        let config = watcher::Config { initial_list_strategy: strategy, ..watcher::Config::default().labels("app=x") };
        let mut events = watcher_of(maps.clone(), config.clone()).boxed();
        let mut metadata = watcher_of(metadata_of.clone(), config).boxed();
        for expected in ["init", "init a", "init b", "done"] {
            assert_eq!(brief(&soon(events.try_next()).await.unwrap().unwrap()), expected);
            assert_eq!(brief(&soon(metadata.try_next()).await.unwrap().unwrap()), expected);
        }
        change(&maps, "a", "1").await;
        maps.delete("a", &DeleteParams::default()).await.unwrap();
        maps.delete("b", &DeleteParams::default()).await.unwrap();
        for expected in ["apply a", "delete a", "delete b"] {
            assert_eq!(brief(&soon(events.try_next()).await.unwrap().unwrap()), expected);
            assert_eq!(brief(&soon(metadata.try_next()).await.unwrap().unwrap()), expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reflector_follows() {
    let (_server, maps) = maps().await;
    maps.create(&PostParams::default(), &config_map("a", json!({"k": "1"}))).await.unwrap();
    let (store, writer) = reflector::store::<ConfigMap>();
    let config = watcher::Config::default().labels("app=x").streaming_lists();
    let stream = reflector(writer, watcher_of(maps.clone(), config)).default_backoff().applied_objects();
    let follow = spawn(stream.for_each(|_| async {}));
    soon(store.wait_until_ready()).await.unwrap();
    let key = reflector::ObjectRef::new("a").within("default");
    assert_eq!(store.get(&key).unwrap().data.as_ref().unwrap()["k"], "1");
    change(&maps, "a", "2").await;
    let follows = async {
        while store.get(&key).is_none_or(|map| map.data.as_ref().unwrap()["k"] != "2") {
            tokio::task::yield_now().await;
        }
    };
    soon(follows).await;
    follow.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_are_waited_for() {
    let (server, maps) = maps().await;
    let waiting = spawn(await_condition(maps.clone(), "late", |map: Option<&ConfigMap>| {
        map.is_some_and(|map| map.data.as_ref().is_some_and(|data| data["k"] == "2"))
    }));
    let made = maps.create(&PostParams::default(), &config_map("late", json!({"k": "1"}))).await.unwrap();
    change(&maps, "late", "2").await;
    assert_eq!(soon(waiting).await.unwrap().unwrap().unwrap().uid(), made.uid());
    maps.delete("late", &DeleteParams::default()).await.unwrap();
    soon(await_condition(maps.clone(), "late", conditions::is_deleted(&made.uid().unwrap()))).await.unwrap();

    let namespaces: Api<Namespace> = Api::all(server.client.clone());
    let made = namespaces.create(&PostParams::default(), &typed(json!({"metadata": {"name": "n"}}))).await.unwrap();
    let marked = namespaces.delete("n", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert_eq!(marked.status.unwrap().phase.as_deref(), Some("Terminating"));
    soon(await_condition(namespaces, "n", conditions::is_deleted(&made.uid().unwrap()))).await.unwrap();
}
