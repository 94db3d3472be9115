//! Who owns what after writes of several managers: tables in YAML-like JSON, and properties over random writes.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const DEPLOYMENT: &str = "io.k8s.api.apps.v1.Deployment";
const NOW: &str = "2026-01-01T00:00:00Z";
const LATER: &str = "2026-01-01T00:01:00Z";

fn manager(name: &str, applies: bool) -> Manager {
    Manager { name: name.into(), applies, api_version: "apps/v1".into(), subresource: String::new() }
}

fn subject<'a>(manager: &'a Manager, now: &'a str) -> Subject<'a> {
    Subject { definition: DEPLOYMENT, has_status: true, manager, now }
}

/// An object with its owners, as a server keeps it.
#[derive(Debug, Clone, Default, PartialEq)]
struct Server {
    object: Option<Value>,
    managers: Managers,
}

impl Server {
    fn apply(&mut self, name: &str, config: &Value, force: bool) -> Result<(), ApplyError> {
        self.apply_at(name, config, force, NOW)
    }

    fn apply_at(&mut self, name: &str, config: &Value, force: bool, now: &str) -> Result<(), ApplyError> {
        let manager = manager(name, true);
        let subject = subject(&manager, now);
        let (object, managers) = match &self.object {
            Some(live) => apply(&subject, live, config, self.managers.clone(), force)?,
            None => (config.clone(), create(&subject, config)),
        };
        *self = Self { object: Some(object), managers };
        Ok(())
    }

    fn update(&mut self, name: &str, object: Value) {
        let manager = manager(name, false);
        update(&subject(&manager, NOW), self.object.as_ref(), &object, &mut self.managers);
        self.object = Some(object);
    }

    fn object(&self) -> Value {
        self.object.clone().unwrap_or_default()
    }

    /// What a manager owns.
    fn owned(&self, name: &str) -> Vec<String> {
        let entries = self.managers.entries.iter().filter(|entry| entry.manager.name == name);
        entries.flat_map(|entry| entry.fields.paths()).collect()
    }
}

fn web(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec})
}

fn containers(list: Value) -> Value {
    web(json!({"template": {"spec": {"containers": list}}}))
}

#[test]
fn a_creator_owns_what_it_sets_and_nothing_that_the_server_sets() {
    let mut server = Server::default();
    let mut object = web(json!({
        "replicas": 1, "selector": {"matchLabels": {"app": "web"}},
        "strategy": {"rollingUpdate": {"maxSurge": 1}, "type": "RollingUpdate"},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "a", "image": "i", "ports": [{"containerPort": 80}], "args": ["x"]}]},
        },
    }));
    object["metadata"]["uid"] = "u".into();
    object["status"] = json!({"replicas": 1});
    server.update("kubectl-create", object);
    assert_eq!(
        server.managers.entries[0].fields.clone().into_fields(),
        json!({"f:spec": {
            "f:replicas": {}, "f:selector": {},
            "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}}, "f:type": {}},
            "f:template": {
                "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                "f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {
                    ".": {}, "f:args": {}, "f:image": {}, "f:name": {},
                    "f:ports": {".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
                }}},
            },
        }})
    );
}

#[test]
fn an_applier_owns_the_leaves_of_its_configuration() {
    let mut server = Server::default();
    let mut config = containers(json!([{"name": "a", "image": "i", "env": []}]));
    config["metadata"]["labels"] = json!({"app": "web"});
    server.apply("kubectl", &config, false).unwrap();
    assert_eq!(
        server.managers.write(),
        Some(json!([{
            "manager": "kubectl", "operation": "Apply", "apiVersion": "apps/v1", "time": NOW, "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": {"f:labels": {"f:app": {}}},
                "f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {
                    ".": {}, "f:env": {}, "f:image": {}, "f:name": {},
                }}}}},
            },
        }]))
    );
}

#[test]
fn a_change_of_what_another_owns_conflicts_unless_forced() {
    let mut server = Server::default();
    server.update("kubectl-client-side-apply", web(json!({"replicas": 1, "paused": true})));
    let config = web(json!({"replicas": 3}));
    let refused = server.apply("other", &config, false).unwrap_err();
    assert_eq!(
        refused.to_string(),
        r#"Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using apps/v1: .spec.replicas"#
    );
    server.apply("other", &config, true).unwrap();
    assert_eq!(server.object()["spec"], json!({"replicas": 3, "paused": true}));
    assert_eq!(server.owned("other"), [".spec.replicas"]);
    assert_eq!(server.owned("kubectl-client-side-apply"), [".spec.paused"]);
}

#[test]
fn several_conflicts_are_told_by_manager() {
    let mut server = Server::default();
    server.apply("b", &web(json!({"replicas": 1, "paused": true})), false).unwrap();
    server.update("a", web(json!({"replicas": 1, "paused": true, "minReadySeconds": 1})));
    let config = web(json!({"replicas": 2, "paused": false, "minReadySeconds": 2}));
    assert_eq!(
        server.apply("c", &config, false).unwrap_err().to_string(),
        "Apply failed with 3 conflicts: conflicts with \"a\" using apps/v1:\n- .spec.minReadySeconds\nconflicts with \"b\":\n- .spec.paused\n- .spec.replicas"
    );
}

#[test]
fn the_same_value_is_owned_together() {
    let mut server = Server::default();
    let config = web(json!({"replicas": 1}));
    server.apply("a", &config, false).unwrap();
    server.apply("b", &config, false).unwrap();
    assert_eq!((server.owned("a"), server.owned("b")), (vec![".spec.replicas".into()], vec![".spec.replicas".into()]));
    server.apply("a", &web(json!({"paused": true})), false).unwrap();
    assert_eq!(server.object()["spec"], json!({"replicas": 1, "paused": true}));
    server.apply("b", &web(json!({})), false).unwrap();
    assert_eq!(server.object()["spec"], json!({"paused": true}));
    assert_eq!(server.owned("b"), [".spec"]);
}

#[test]
fn items_of_lists_are_merged_and_removed_by_key() {
    let mut server = Server::default();
    server.apply("a", &containers(json!([{"name": "x", "image": "1"}, {"name": "y", "image": "1"}])), false).unwrap();
    server.apply("b", &containers(json!([{"name": "z", "image": "1"}, {"name": "x", "tty": true}])), false).unwrap();
    let names = |server: &Server| -> Vec<String> {
        let list = server.object()["spec"]["template"]["spec"]["containers"].as_array().cloned().unwrap_or_default();
        list.iter().map(|c| c["name"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(names(&server), ["z", "x", "y"]);
    server.apply("a", &containers(json!([{"name": "y", "image": "1"}])), false).unwrap();
    assert_eq!(names(&server), ["z", "x", "y"]);
    assert_eq!(server.object()["spec"]["template"]["spec"]["containers"][1], json!({"name": "x", "tty": true}));
    server.apply("b", &containers(json!([{"name": "z", "image": "1"}])), false).unwrap();
    assert_eq!(names(&server), ["z", "y"]);
}

#[test]
fn atomic_values_are_owned_and_replaced_as_a_whole() {
    let mut server = Server::default();
    server.apply("a", &web(json!({"selector": {"matchLabels": {"a": "1"}}})), false).unwrap();
    let other = web(json!({"selector": {"matchLabels": {"b": "1"}}}));
    let refused = server.apply("b", &other, false).unwrap_err();
    assert!(refused.to_string().ends_with(": .spec.selector"), "{refused}");
    server.apply("b", &other, true).unwrap();
    assert_eq!(server.object()["spec"]["selector"], json!({"matchLabels": {"b": "1"}}));
    assert_eq!(server.owned("a"), Vec::<String>::new());
}

#[test]
fn a_removed_map_entry_goes_and_its_siblings_stay() {
    let labels = |labels: Value| json!({"metadata": {"labels": labels}});
    let mut server = Server::default();
    server.apply("a", &labels(json!({"one": "1", "two": "2"})), false).unwrap();
    server.update("b", labels(json!({"one": "1", "two": "2", "three": "3"})));
    server.apply("a", &labels(json!({"one": "1"})), false).unwrap();
    assert_eq!(server.object()["metadata"]["labels"], json!({"one": "1", "three": "3"}));
    assert_eq!(server.owned("b"), [".metadata.labels.three"]);
}

#[test]
fn times_change_only_with_the_set() {
    let mut server = Server::default();
    let config = web(json!({"replicas": 1}));
    server.apply("a", &config, false).unwrap();
    let before = server.clone();
    server.apply_at("a", &config, false, LATER).unwrap();
    assert_eq!(server, before);
    server.apply_at("a", &web(json!({"replicas": 2})), false, LATER).unwrap();
    assert_eq!(server.managers.entries[0].time.as_deref(), Some(LATER));
}

#[test]
fn what_was_there_before_the_first_apply_has_an_owner() {
    let mut server = Server { object: Some(web(json!({"replicas": 1}))), managers: Managers::default() };
    server.update("edit", web(json!({"replicas": 2})));
    assert!(server.managers.is_empty(), "an object without owners stays so");
    let refused = server.apply("a", &web(json!({"replicas": 3})), false).unwrap_err();
    assert!(refused.to_string().contains(r#"conflict with "before-first-apply" using apps/v1"#), "{refused}");
}

#[test]
fn kubectl_takes_over_what_its_client_side_apply_set() {
    let applied = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 1, "paused": true}});
    let mut object = web(json!({"replicas": 1, "paused": true}));
    object["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/last-applied-configuration": applied.to_string()});
    let mut server = Server::default();
    server.update("kubectl-client-side-apply", object.clone());
    let config = web(json!({"replicas": 2}));
    assert!(server.clone().apply("helm", &config, false).is_err(), "others have no such right");
    server.apply("kubectl", &config, false).unwrap();
    assert_eq!(server.object()["spec"]["replicas"], 2);
    let annotation = &server.object()["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"];
    assert_eq!(annotation, &json!(format!("{config}\n")));
    // Somebody changed the field since: that is a conflict.
    let mut server = Server::default();
    server.update("kubectl-client-side-apply", object.clone());
    object["spec"]["replicas"] = 7.into();
    server.update("scaler", object);
    assert!(server.apply("kubectl", &config, false).is_err());
}

#[test]
fn the_fields_of_a_status_write_are_the_status_and_some_metadata() {
    let manager = Manager { subresource: "status".into(), ..manager("controller", false) };
    let (old, mut new) = (web(json!({"replicas": 1})), web(json!({"replicas": 2})));
    new["status"] = json!({"replicas": 1, "conditions": [{"type": "Available", "status": "True"}]});
    let mut managers = create(&subject(&super::tests::manager("a", true), NOW), &old);
    assert!(update(&subject(&manager, NOW), Some(&old), &new, &mut managers));
    assert_eq!(
        managers.get(&manager).map(|entry| entry.fields.paths()),
        Some(
            [
                ".status",
                ".status.conditions",
                ".status.conditions[type=\"Available\"]",
                ".status.conditions[type=\"Available\"].status",
                ".status.conditions[type=\"Available\"].type",
                ".status.replicas"
            ]
            .map(str::to_owned)
            .to_vec()
        )
    );
}

/// A small configuration of a Deployment, with maps, lists by key, scalars and atomic values.
fn configuration() -> impl Strategy<Value = Value> {
    let text = prop::sample::select(vec!["1", "2", "3"]);
    let labels = prop::collection::btree_map(prop::sample::select(vec!["a", "b", "c"]), text.clone(), 0..3);
    let env = prop::collection::btree_map(prop::sample::select(vec!["A", "B"]), text.clone(), 0..3);
    let container = (prop::option::of(text.clone()), env);
    let list = prop::collection::btree_map(prop::sample::select(vec!["x", "y", "z"]), container, 0..3);
    let scalars = (prop::option::of(1..3_i64), prop::option::of(text));
    (labels, list, scalars).prop_map(|(labels, list, (replicas, selector))| {
        let containers = list.into_iter().map(|(name, (image, env))| {
            let env: Vec<Value> = env.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
            let mut container = json!({"name": name});
            if let Some(image) = image {
                container["image"] = image.into();
            }
            if !env.is_empty() {
                container["env"] = env.into();
            }
            container
        });
        let containers: Vec<Value> = containers.collect();
        let mut spec = json!({});
        if !containers.is_empty() {
            spec["template"] = json!({"spec": {"containers": containers}});
        }
        if let Some(replicas) = replicas {
            spec["replicas"] = replicas.into();
        }
        if let Some(selector) = selector {
            spec["selector"] = json!({"matchLabels": {"s": selector}});
        }
        let mut config = web(spec);
        if !labels.is_empty() {
            config["metadata"]["labels"] = json!(labels);
        }
        config
    })
}

/// Writes of three appliers and one updater.
fn writes() -> impl Strategy<Value = Vec<(usize, bool, Value)>> {
    prop::collection::vec((0..4_usize, any::<bool>(), configuration()), 0..8)
}

const APPLIERS: [&str; 3] = ["one", "two", "three"];

fn server_after(writes: &[(usize, bool, Value)]) -> Server {
    let mut server = Server::default();
    for (who, force, config) in writes {
        match APPLIERS.get(*who) {
            // A conflict is an answer like any other here.
            Some(applier) => drop(server.apply(applier, config, *force)),
            None => server.update("editor", config.clone()),
        }
    }
    server
}

fn applied_sets(server: &Server) -> Vec<(String, FieldSet)> {
    let applied = server.managers.entries.iter().filter(|entry| entry.manager.applies);
    applied.map(|entry| (entry.manager.name.clone(), entry.fields.clone())).collect()
}

proptest! {
    #[test]
    fn applying_twice_changes_nothing(writes in writes(), config in configuration(), force in any::<bool>()) {
        let mut server = server_after(&writes);
        if server.apply("one", &config, force).is_ok() {
            let before = server.clone();
            server.apply_at("one", &config, false, LATER).expect("what one owns does not conflict");
            prop_assert_eq!(server, before);
        }
    }

    #[test]
    fn an_unforced_apply_takes_nothing_from_others(writes in writes(), config in configuration()) {
        let server = server_after(&writes);
        let mut after = server.clone();
        if after.apply("one", &config, false).is_ok() && server.object.is_some() {
            let place = subject(&manager("one", true), NOW).place();
            for (name, fields) in applied_sets(&server).into_iter().filter(|(name, _)| name != "one") {
                let still = applied_sets(&after).into_iter().find(|(other, _)| *other == name);
                prop_assert_eq!(still.map(|(_, fields)| fields), Some(fields.clone()));
                // And the object still has them, with the same values.
                let difference = place.compare(&server.object(), &after.object());
                prop_assert!(difference.modified.intersection(&fields).is_empty());
                prop_assert!(difference.removed.intersection(&fields).is_empty());
            }
        }
    }

    #[test]
    fn what_is_no_longer_applied_goes_unless_others_own_it(writes in writes(), config in configuration()) {
        let mut server = server_after(&writes);
        if server.apply("one", &config, true).is_ok() {
            let nothing = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}});
            let place = subject(&manager("one", true), NOW).place();
            let mine = server.managers.get(&manager("one", true)).map(|e| e.fields.clone()).unwrap_or_default();
            server.apply("one", &nothing, false).expect("there is nothing to conflict");
            let left = place.with_named_fields(&place.claimed(&server.object())).intersection(&mine);
            let others = place.with_named_fields(&server.managers.all_fields());
            prop_assert!(left.difference(&others).is_empty(), "{:?}", left.difference(&others).paths());
        }
    }

    #[test]
    fn an_applied_configuration_is_in_the_object(writes in writes(), config in configuration()) {
        let mut server = server_after(&writes);
        server.apply("one", &config, true).expect("force takes all");
        let place = subject(&manager("one", true), NOW).place();
        let difference = place.compare(&config, &server.object());
        prop_assert!(difference.removed.is_empty(), "{:?}", difference.removed.paths());
        let said = place.claimed(&config);
        prop_assert!(difference.modified.intersection(&said).is_empty());
    }
}
