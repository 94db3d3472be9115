//! Acting as others, reviews and tokens.

use super::*;

const JSON: (&str, &str) = ("content-type", "application/json");
const PODS: &str = "/api/v1/namespaces/a/pods";

/// The real table of kinds; bob may list pods in `a` and act as the service account `robot` and as group `dev`.
async fn api() -> Api {
    let rule = |verbs: &[&str], resources: &[&str], names: &[&str]| json!({"verbs": verbs, "apiGroups": [""], "resources": resources, "resourceNames": names});
    let role = |name: &str, rules: Value| json!({"metadata": {"name": name}, "rules": rules});
    let binding = |namespace: &str, name: &str| {
        let subjects = json!([{"kind": "User", "name": "bob"}]);
        json!({"metadata": {"namespace": namespace, "name": name}, "roleRef": {"kind": "ClusterRole", "name": name}, "subjects": subjects})
    };
    let roles = "clusterroles.rbac.authorization.k8s.io";
    let acts = json!([
        rule(&["impersonate"], &["serviceaccounts"], &["robot"]),
        rule(&["impersonate"], &["users", "groups"], &["dev"])
    ]);
    Api::over(
        Registry::builtin(),
        &[
            ("namespaces", json!({"metadata": {"name": "a"}})),
            ("serviceaccounts", json!({"metadata": {"namespace": "a", "name": "robot", "uid": "uid-robot"}})),
            (pod("a", "web").0, pod("a", "web").1),
            (roles, role("list", json!([rule(&["list"], &["pods"], &[])]))),
            (roles, role("act", acts)),
            ("rolebindings.rbac.authorization.k8s.io", binding("a", "list")),
            ("clusterrolebindings.rbac.authorization.k8s.io", binding("", "act")),
        ],
    )
    .await
}

/// A request of the administrator that acts as someone.
async fn as_user(api: &Api, method: &str, url: &str, headers: &[(&str, &str)], body: Value) -> Answer {
    let mut all = vec![JSON];
    all.extend_from_slice(headers);
    api.send(method, url, &all, body.to_string()).await
}

#[tokio::test]
async fn impersonation_gives_the_others_rights_and_no_more() {
    let api = api().await;
    let bob = ("impersonate-user", "bob");
    for (url, headers, code) in [
        (PODS, &[][..], 200),
        (PODS, &[bob][..], 200),
        ("/api/v1/namespaces/b/pods", &[bob][..], 403),
        ("/api/v1/pods?watch=1", &[bob][..], 403),
        ("/api/v1/namespaces/a/pods/web", &[bob][..], 403),
        ("/api/v1/namespaces/a/pods/web/log", &[bob][..], 403),
        ("/api/v1/nodes", &[bob, ("impersonate-group", "system:masters")][..], 200),
    ] {
        let answer = as_user(&api, "GET", url, headers, Value::Null).await;
        assert_eq!(answer.code, code, "{url} {headers:?}: {}", answer.text);
    }
}

#[tokio::test]
async fn groups_extras_and_uids_are_impersonated_of_a_user_only() {
    let api = api().await;
    for (headers, requested) in [
        (&[("impersonate-group", "dev"), ("impersonate-group", "ops")][..], "{Group  dev    } {Group  ops    }"),
        (&[("impersonate-extra-a%2fb", "c")], "{UserExtra  c  authentication.k8s.io/v1  a/b}"),
        (&[("impersonate-uid", "u")], "{UID  u  authentication.k8s.io/v1  }"),
    ] {
        let answer = as_user(&api, "GET", PODS, headers, Value::Null).await;
        let text = format!("requested [{requested}] without impersonating a user");
        let status = answer.json();
        assert_eq!((answer.code, &status["reason"]), (400, &json!("BadRequest")), "{headers:?}");
        assert_eq!(status["message"], text);
    }
}

#[tokio::test]
async fn impersonation_is_itself_a_right() {
    let api = api().await;
    let bob = User { name: "bob".into(), ..User::default() };
    for (headers, refusal) in [
        (vec![("impersonate-user", "system:serviceaccount:a:robot")], ""),
        (vec![("impersonate-user", "dev"), ("impersonate-group", "dev")], ""),
        (
            vec![("impersonate-user", "eve")],
            r#"users "eve" is forbidden: User "bob" cannot impersonate resource "users" in API group "" at the cluster scope"#,
        ),
        (
            vec![("impersonate-user", "dev"), ("impersonate-group", "system:masters")],
            r#"groups "system:masters" is forbidden: User "bob" cannot impersonate resource "groups" in API group "" at the cluster scope"#,
        ),
        (
            vec![("impersonate-user", "dev"), ("impersonate-extra-a%2fb", "c")],
            r#"userextras.authentication.k8s.io "c" is forbidden: User "bob" cannot impersonate resource "userextras/a/b" in API group "authentication.k8s.io" at the cluster scope"#,
        ),
    ] {
        let mut map = hyper::HeaderMap::new();
        for (name, value) in headers {
            map.append(name.parse::<hyper::header::HeaderName>().unwrap(), value.parse().unwrap());
        }
        let becomes = super::super::impersonate::impersonated(bob.clone(), &map, &api.state.objects);
        assert_eq!(becomes.map_or_else(|s| s.message, |_| String::new()), refusal);
    }
}

#[tokio::test]
async fn reviews_answer_without_storing() {
    let api = api().await;
    let revision = api.store.snapshot().revision();
    let access = |verb: &str| json!({"spec": {"user": "bob", "resourceAttributes": {"namespace": "a", "verb": verb, "resource": "pods"}}});
    let url = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let answer = api.send("POST", url, &[JSON], access("list").to_string()).await;
    let reason = r#"RBAC: allowed by RoleBinding "list/a" of ClusterRole "list" to User "bob""#;
    assert_eq!(
        (answer.code, &answer.json()["status"]),
        (201, &json!({"allowed": true, "reason": reason})),
        "{}",
        answer.text
    );
    let answer = api.send("POST", url, &[JSON], access("delete").to_string()).await;
    assert_eq!(answer.json()["status"], json!({"allowed": false}));
    assert_eq!(answer.json()["metadata"], json!({"creationTimestamp": null}));
    let answer = api.send("POST", url, &[JSON], r#"{"spec":{}}"#).await;
    assert_eq!(answer.code, 422, "{}", answer.text);
    let own = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let answer = as_user(&api, "POST", own, &[("impersonate-user", "bob")], json!({})).await;
    // Without the default roles, nobody but masters may ask even that.
    assert_eq!(answer.code, 403);
    let answer = api.send("POST", own, &[JSON], "{}").await;
    assert_eq!(answer.json()["status"]["userInfo"]["username"], "kubernetes-admin");
    assert!(answer.json()["metadata"]["creationTimestamp"].is_string(), "{}", answer.text);
    assert_eq!(api.get(own).await.code, 405);
    assert_eq!(api.store.snapshot().revision(), revision);
}

#[tokio::test]
async fn tokens_are_made_for_accounts_that_are_there() {
    let api = api().await;
    let url = "/api/v1/namespaces/a/serviceaccounts/robot/token";
    let ask = |spec: Value| {
        json!({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": spec}).to_string()
    };
    let answer = api.send("POST", url, &[JSON], ask(json!({"audiences": ["vault"], "expirationSeconds": 600}))).await;
    let token = answer.json()["status"]["token"].as_str().unwrap_or_default().to_owned();
    let claims = Tokens.signer().unwrap().verify(&token).expect(&answer.text);
    assert_eq!((&claims["aud"], &claims["sub"]), (&json!(["vault"]), &json!("system:serviceaccount:a:robot")));
    assert_eq!(claims["kubernetes.io"]["serviceaccount"], json!({"name": "robot", "uid": "uid-robot"}));
    for (url, spec, code, message) in [
        (url, json!({"expirationSeconds": 5}), 422, "may not specify a duration less than 10 minutes"),
        (
            url,
            json!({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "none"}}),
            404,
            r#"pods "none" not found"#,
        ),
        (
            url,
            json!({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "web"}}),
            400,
            "different serviceaccount name",
        ),
        (
            url,
            json!({"boundObjectRef": {"kind": "Thing", "apiVersion": "v1", "name": "web"}}),
            400,
            "cannot bind token to object of type",
        ),
        (url, json!({"boundObjectRef": {"kind": "Secret", "apiVersion": "v1"}}), 400, "Name parameter required."),
        (
            url,
            json!({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "web", "uid": "other"}}),
            409,
            r#"Operation cannot be fulfilled on Pod "web": the UID in the bound object reference (other) does not match"#,
        ),
        ("/api/v1/namespaces/a/serviceaccounts/none/token", json!({}), 404, r#"serviceaccounts "none" not found"#),
    ] {
        let answer = api.send("POST", url, &[JSON], ask(spec)).await;
        assert_eq!(answer.code, code, "{}", answer.text);
        assert!(answer.json()["message"].as_str().unwrap().contains(message), "{}", answer.text);
    }
}

#[tokio::test]
async fn nodes_ask_for_tokens_of_their_pods_alone() {
    let pod = |node: &str, uid: &str| {
        let sources = json!([{"serviceAccountToken": {"path": "token"}}]);
        let spec = json!({"nodeName": node, "serviceAccountName": "robot", "volumes": [{"name": "t", "projected": {"sources": sources}}]});
        ("pods", json!({"metadata": {"namespace": "a", "name": format!("on-{node}"), "uid": uid}, "spec": spec}))
    };
    let account = json!({"metadata": {"namespace": "a", "name": "robot", "uid": "uid-robot"}});
    let api =
        Api::over(Registry::builtin(), &[("serviceaccounts", account), pod("edge", "u1"), pod("far", "u2")]).await;
    let node = [("impersonate-user", "system:node:edge"), ("impersonate-group", "system:nodes")];
    let bound = |name: &str, uid: &str| json!({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": name, "uid": uid}});
    for (spec, code, message) in [
        (bound("on-edge", "u1"), 201, Value::Null),
        (json!({}), 403, json!("serviceaccounts \"robot\" is forbidden: node requested token not bound to a pod")),
        (
            bound("on-far", "u2"),
            403,
            json!(
                "serviceaccounts \"robot\" is forbidden: node requested token bound to a pod scheduled on a different node"
            ),
        ),
    ] {
        let body = json!({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": spec});
        let answer = as_user(&api, "POST", "/api/v1/namespaces/a/serviceaccounts/robot/token", &node, body).await;
        assert_eq!((answer.code, &answer.json()["message"]), (code, &message), "{}", answer.text);
    }
}

#[tokio::test]
async fn reviews_know_what_selectors_confine_a_node_to() {
    let api = api().await;
    let listed = |node: &str| json!({"requirements": [{"key": "spec.nodeName", "operator": "In", "values": [node]}]});
    let raw = |text: &str| json!({"rawSelector": text});
    for (selector, allowed) in [
        (Value::Null, false),
        (listed("edge"), true),
        (listed("far"), false),
        (raw("spec.nodeName=edge"), true),
        (raw("status.phase=Running,spec.nodeName==edge"), true),
        (raw("spec.nodeName!=edge"), false),
    ] {
        let resource = json!({"verb": "list", "resource": "pods", "fieldSelector": selector});
        let spec = json!({"user": "system:node:edge", "groups": ["system:nodes"], "resourceAttributes": resource});
        let url = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        let answer = api.send("POST", url, &[JSON], json!({ "spec": spec }).to_string()).await;
        assert_eq!(answer.json()["status"]["allowed"], allowed, "{selector}: {}", answer.text);
    }
}
