//! What `resourceVersion`, `resourceVersionMatch`, `limit`, `continue`, `sendInitialEvents` and field selectors mean: the
//! tables of Kubernetes' API concepts, cell by cell.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Pods a1 to a4, made at revisions 1 to 4; changes are kept from revision 2 on.
async fn four() -> Api {
    let api = Api::with(&["a1", "a2", "a3", "a4"].map(|name| pod("a", name))).await;
    api.store.compact(2).await.unwrap();
    api
}

/// `names @revision +remaining ...`, or the refusal's code and message.
fn list_of(answer: &Answer) -> String {
    let list = answer.json();
    if answer.code != 200 {
        return format!("{} {}", answer.code, list["message"].as_str().unwrap());
    }
    let remaining = list["metadata"]["remainingItemCount"].as_u64().map_or(String::new(), |n| format!(" +{n}"));
    let more = if list["metadata"]["continue"].is_string() { " ..." } else { "" };
    format!("{} @{}{remaining}{more}", names(&list).join(" "), list["metadata"]["resourceVersion"].as_str().unwrap())
}

#[tokio::test(start_paused = true)]
async fn lists_show_the_state_that_is_asked_for() {
    let api = four().await;
    const INVALID: &str = r#"422 ListOptions.meta.k8s.io "" is invalid: "#;
    let too_large = "504 Timeout: Too large resource version: 9, current: 4";
    let too_old = "410 The resourceVersion for the provided list is too old.";
    let mismatch = |detail: &str| format!("{INVALID}resourceVersionMatch: {detail}");
    let unset = mismatch("Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided");
    let exact_zero = mismatch(r#"Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0""#);
    let unknown = mismatch(r#"Unsupported value: "Newest": supported values: "Exact", "NotOlderThan", """#);
    let streamed = format!("{INVALID}sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list");
    for (query, expected) in [
        // Without a limit.
        ("", "a1 a2 a3 a4 @4"),
        ("resourceVersion=0", "a1 a2 a3 a4 @4"),
        ("resourceVersion=2", "a1 a2 a3 a4 @4"),
        ("resourceVersion=9", too_large),
        ("resourceVersionMatch=Exact", &unset),
        ("resourceVersionMatch=NotOlderThan", &unset),
        ("resourceVersion=0&resourceVersionMatch=Exact", &exact_zero),
        ("resourceVersion=0&resourceVersionMatch=NotOlderThan", "a1 a2 a3 a4 @4"),
        ("resourceVersion=3&resourceVersionMatch=Exact", "a1 a2 a3 @3"),
        ("resourceVersion=1&resourceVersionMatch=Exact", too_old),
        ("resourceVersion=9&resourceVersionMatch=Exact", too_large),
        ("resourceVersion=2&resourceVersionMatch=NotOlderThan", "a1 a2 a3 a4 @4"),
        ("resourceVersion=9&resourceVersionMatch=NotOlderThan", too_large),
        ("resourceVersion=3&resourceVersionMatch=Newest", &unknown),
        // With a limit.
        ("limit=1", "a1 @4 +3 ..."),
        ("limit=0", "a1 a2 a3 a4 @4"),
        ("limit=4", "a1 a2 a3 a4 @4"),
        ("limit=1&resourceVersion=0", "a1 a2 a3 a4 @4"),
        ("limit=1&resourceVersion=0&resourceVersionMatch=NotOlderThan", "a1 a2 a3 a4 @4"),
        ("limit=1&resourceVersion=3", "a1 @3 +2 ..."),
        ("limit=1&resourceVersion=1", too_old),
        ("limit=1&resourceVersion=3&resourceVersionMatch=Exact", "a1 @3 +2 ..."),
        ("limit=1&resourceVersion=3&resourceVersionMatch=NotOlderThan", "a1 @4 +3 ..."),
        // What a selector leaves is not counted.
        ("limit=1&labelSelector=app+in+(a2,a4)", "a2 @4 ..."),
        ("limit=2&labelSelector=app+in+(a2,a4)", "a2 a4 @4"),
        ("limit=1&fieldSelector=metadata.name!%3Da1", "a2 @4 ..."),
        ("sendInitialEvents=true", &streamed),
        ("timeoutSeconds=x", r#"400 strconv.ParseInt: parsing "x": invalid syntax"#),
    ] {
        assert_eq!(list_of(&api.get(&format!("/api/v1/pods?{query}")).await), expected, "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_goes_on_as_its_token_says() {
    let api = four().await;
    let first = api.get("/api/v1/pods?limit=1&resourceVersion=3").await.json();
    let token = first["metadata"]["continue"].as_str().unwrap();
    for (query, expected) in [
        ("", "a2 a3 @3"),
        ("&limit=1", "a2 @3 +1 ..."),
        ("&limit=1&resourceVersion=0", "a2 @3 +1 ..."),
        ("&resourceVersion=3", "400 specifying resource version is not allowed when using continue"),
        (
            "&resourceVersion=3&resourceVersionMatch=Exact",
            r#"422 ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided"#,
        ),
    ] {
        let url = format!("/api/v1/pods?continue={token}{query}");
        assert_eq!(list_of(&api.get(&url).await), expected, "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_is_as_new_as_is_asked_for() {
    let api = four().await;
    for (query, expected) in [
        ("", (200, None)),
        ("resourceVersion=0", (200, None)),
        ("resourceVersion=1", (200, None)),
        ("resourceVersion=4", (200, None)),
        ("resourceVersion=9", (504, Some("Timeout: Too large resource version: 9, current: 4"))),
    ] {
        let answer = api.get(&format!("/api/v1/namespaces/a/pods/a1?{query}")).await;
        let body = answer.json();
        assert_eq!((answer.code, body["message"].as_str()), expected, "{query}");
    }
    assert_eq!(api.get("/api/v1/namespaces/a/pods/a1?resourceVersion=x").await.code, 400);
}

/// The events that come within a second, as `TYPE name`, or the refusal.
async fn events(api: &Api, url: &str) -> String {
    let answer = api.get(&format!("{url}timeoutSeconds=1")).await;
    if answer.code != 200 {
        return format!("{} {}", answer.code, answer.json()["message"].as_str().unwrap());
    }
    let show = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap();
        let object = &event["object"];
        match event["type"].as_str().unwrap() {
            "ERROR" => format!("ERROR {}", object["code"]),
            "BOOKMARK" => {
                assert_eq!(object["metadata"]["annotations"], json!({"k8s.io/initial-events-end": "true"}));
                format!("BOOKMARK {}", object["metadata"]["resourceVersion"].as_str().unwrap())
            }
            kind => format!("{kind} {}", object["metadata"]["name"].as_str().unwrap()),
        }
    };
    answer.text.lines().map(show).collect::<Vec<_>>().join(", ")
}

#[tokio::test(start_paused = true)]
async fn watches_begin_where_they_are_told_to() {
    let api = four().await;
    let all = "ADDED a1, ADDED a2, ADDED a3, ADDED a4";
    let marked = "ADDED a1, ADDED a2, ADDED a3, ADDED a4, BOOKMARK 4";
    let initial = "resourceVersionMatch=NotOlderThan&sendInitialEvents=true";
    const INVALID: &str = r#"422 ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: "#;
    let no_match = format!("{INVALID}sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
    let no_initial =
        format!("{INVALID}resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
    for (query, expected) in [
        (String::new(), all),
        ("resourceVersion=0".into(), all),
        ("resourceVersion=1".into(), "ERROR 410"),
        ("resourceVersion=2".into(), "ADDED a3, ADDED a4"),
        ("resourceVersion=4".into(), ""),
        ("resourceVersion=9".into(), ""),
        (initial.into(), all),
        (format!("{initial}&allowWatchBookmarks=true"), marked),
        (format!("{initial}&allowWatchBookmarks=true&resourceVersion=0"), marked),
        (format!("{initial}&allowWatchBookmarks=true&resourceVersion=2"), marked),
        (
            format!("{initial}&allowWatchBookmarks=true&resourceVersion=9"),
            "504 Timeout: Too large resource version: 9, current: 4",
        ),
        ("resourceVersionMatch=NotOlderThan&sendInitialEvents=false".into(), ""),
        ("resourceVersionMatch=NotOlderThan&sendInitialEvents=false&resourceVersion=3".into(), "ADDED a4"),
        ("sendInitialEvents=true".into(), &no_match),
        ("sendInitialEvents=false&resourceVersion=3".into(), &no_match),
        ("resourceVersionMatch=NotOlderThan&resourceVersion=3".into(), &no_initial),
    ] {
        let url = format!("/api/v1/pods?watch=true&{query}&");
        assert_eq!(events(&api, &url).await, expected, "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_old_paths_of_watches_still_work() {
    let api = four().await;
    for (url, expected) in [
        ("/api/v1/watch/pods?resourceVersion=3&", "ADDED a4"),
        ("/api/v1/watch/namespaces/a/pods?resourceVersion=3&", "ADDED a4"),
        ("/api/v1/watch/namespaces/b/pods?", ""),
        ("/api/v1/watch/namespaces/a/pods/a2?", "ADDED a2"),
        ("/api/v1/pods?watch=1&fieldSelector=metadata.name%3Da2&", "ADDED a2"),
    ] {
        assert_eq!(events(&api, url).await, expected, "{url}");
    }
}

#[tokio::test]
async fn every_kind_has_its_fields_to_select_by() {
    let api = Api::over(Registry::builtin(), &[]).await;
    let common = "metadata.name metadata.namespace";
    let own = [
        (
            "/api/v1/pods",
            "spec.nodeName spec.host spec.restartPolicy spec.schedulerName spec.serviceAccountName spec.hostNetwork status.phase status.podIP status.podIPs status.nominatedNodeName metadata.namespace",
        ),
        (
            "/api/v1/events",
            "involvedObject.kind involvedObject.namespace involvedObject.name involvedObject.uid involvedObject.apiVersion involvedObject.resourceVersion involvedObject.fieldPath reason reportingComponent source type metadata.namespace",
        ),
        (
            "/apis/events.k8s.io/v1/events",
            "regarding.kind regarding.name reason reportingController type metadata.namespace",
        ),
        ("/api/v1/namespaces", "status.phase"),
        ("/api/v1/nodes", "spec.unschedulable"),
        ("/api/v1/secrets", "type metadata.namespace"),
        ("/api/v1/services", "spec.clusterIP spec.type metadata.namespace"),
        ("/api/v1/replicationcontrollers", "status.replicas metadata.namespace"),
        ("/apis/apps/v1/replicasets", "status.replicas metadata.namespace"),
        ("/apis/batch/v1/jobs", "status.successful metadata.namespace"),
        ("/apis/certificates.k8s.io/v1/certificatesigningrequests", "spec.signerName"),
        ("/api/v1/configmaps", common),
        ("/apis/apps/v1/deployments", common),
        ("/apis/rbac.authorization.k8s.io/v1/clusterroles", common),
    ];
    for (url, fields) in own {
        for field in fields.split(' ').chain(["metadata.name"]) {
            let answer = api.get(&format!("{url}?fieldSelector={field}%3Dx")).await;
            assert_eq!(answer.code, 200, "{url} {field}: {}", answer.text);
        }
    }
    let unknown = |path: &str| format!("field label not supported: {path}");
    for (url, field, message) in [
        ("/api/v1/pods", "spec.x", unknown("spec.x")),
        ("/api/v1/nodes", "metadata.namespace", unknown("metadata.namespace")),
        ("/api/v1/namespaces", "metadata.namespace", unknown("metadata.namespace")),
        ("/api/v1/secrets", "data", unknown("data")),
        ("/apis/batch/v1/jobs", "spec.x", r#"field label "spec.x" not supported for batchv1.Job"#.into()),
        (
            "/apis/apps/v1/deployments",
            "spec.x",
            r#""spec.x" is not a known field selector: only "metadata.name", "metadata.namespace""#.into(),
        ),
    ] {
        let answer = api.get(&format!("{url}?fieldSelector={field}%3Dx")).await;
        assert_eq!((answer.code, &answer.json()["message"]), (400, &json!(message)), "{url}");
    }
}

#[tokio::test]
async fn a_collection_is_deleted_as_it_is_selected() {
    let left = async |query: &str, body: &str| {
        let api = Api::over(Registry::builtin(), &["m1", "m2", "m3"].map(|name| config_map(name, ""))).await;
        let url = format!("/api/v1/namespaces/default/configmaps?{query}");
        let answer = api.send("DELETE", &url, &[("content-type", "application/json")], body.to_owned()).await;
        let list = api.get("/api/v1/configmaps").await.json();
        if answer.code == 200 {
            format!("{} | {}", names(&answer.json()).join(" "), names(&list).join(" "))
        } else {
            format!("{} | {}", answer.code, names(&list).join(" "))
        }
    };
    for (query, body, expected) in [
        ("", "", "m1 m2 m3 | "),
        ("fieldSelector=metadata.name%3Dm2", "", "m2 | m1 m3"),
        ("labelSelector=app%3Dx", "", " | m1 m2 m3"),
        ("limit=1", "", "m1 | m2 m3"),
        ("resourceVersion=2&resourceVersionMatch=Exact", "", "m1 m2 | m3"),
        ("dryRun=All", "", "m1 m2 m3 | m1 m2 m3"),
        ("", r#"{"kind":"DeleteOptions","apiVersion":"v1","dryRun":["All"]}"#, "m1 m2 m3 | m1 m2 m3"),
        ("", r#"{"kind":"DeleteOptions","apiVersion":"v1","preconditions":{"uid":"other"}}"#, "409 | m1 m2 m3"),
        ("propagationPolicy=Sideways", "", "422 | m1 m2 m3"),
        ("resourceVersionMatch=Exact", "", "422 | m1 m2 m3"),
        ("fieldSelector=data%3Dx", "", "400 | m1 m2 m3"),
    ] {
        assert_eq!(left(query, body).await, expected, "{query} {body}");
    }
}

/// Reads a list in pages of a size; between pages a pod is written or deleted. The names and the revision of each page.
async fn paged(api: &Api, limit: usize, changes: &[(u8, bool)]) -> (Vec<String>, Vec<String>) {
    let (mut all, mut revisions, mut token, mut changes) = (Vec::new(), Vec::new(), String::new(), changes.iter());
    loop {
        let page = api.get(&format!("/api/v1/pods?limit={limit}&continue={token}")).await.json();
        all.extend(names(&page).into_iter().map(str::to_owned));
        revisions.push(page["metadata"]["resourceVersion"].as_str().unwrap().to_owned());
        let Some(next) = page["metadata"]["continue"].as_str() else { return (all, revisions) };
        token = next.to_owned();
        if let Some((name, delete)) = changes.next() {
            change(api, &format!("p{name}"), *delete).await;
        }
    }
}

async fn change(api: &Api, name: &str, delete: bool) {
    let key = Key { resource: "pods".into(), namespace: "a".into(), name: name.into() };
    let found = api.store.snapshot().get(&key).map(|o| o.revision);
    match found {
        Some(revision) if delete => {
            let write = Write { key, expected: Expected::At(revision), op: Op::Delete(None) };
            api.store.commit(vec![write]).await.unwrap();
        }
        Some(_) | None => api.put("pods", pod("a", name).1).await,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn pages_together_are_the_list_of_one_revision(
        before in prop::collection::btree_set(0_u8..30, 1..25),
        changes in prop::collection::vec((0_u8..30, any::<bool>()), 0..25),
        limit in 1_usize..8,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (whole, (all, revisions)) = runtime.block_on(async {
            let pods: Vec<_> = before.iter().map(|n| pod("a", &format!("p{n}"))).collect();
            let api = Api::with(&pods).await;
            let whole = api.get("/api/v1/pods").await.json();
            (whole, paged(&api, limit, &changes).await)
        });
        prop_assert_eq!(&all, &names(&whole));
        prop_assert!(revisions.iter().all(|revision| whole["metadata"]["resourceVersion"] == **revision));
    }
}
