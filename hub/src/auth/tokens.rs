//! The tokens of service accounts: what they claim, and whether the claims still hold.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::User;
use super::jwt::{ISSUER, Signer};
use crate::store::{Key, Object, Snapshot};

/// Prefix of a service account's user name.
pub const ACCOUNT_PREFIX: &str = "system:serviceaccount:";
/// Issuer of tokens in Secrets, which know neither audience nor end.
const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";
/// Tokens of pods that are asked for with this life (seconds) are good for longer, so that clients that do not read
/// their file again, and sites that are offline, keep working; Kubernetes calls it extended expiration.
const EXTENDED: i64 = 3607;
/// For how long (seconds).
const EXTENSION: i64 = 365 * 24 * 60 * 60;
/// Longest life that a token is given, in seconds.
const LONGEST: i64 = 1 << 32;
/// How long a pod's token is good past the pod's deletion.
const POD_LEEWAY: i64 = 60;

/// An object by name and uid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reference {
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
}

/// What a token is for.
#[derive(Debug, Clone, Default)]
pub struct Grant {
    /// Namespace of the account.
    pub namespace: String,
    /// The account.
    pub account: Reference,
    /// Who may take the token.
    pub audiences: Vec<String>,
    /// The object whose end is the token's end: its kind (`pod`, `secret`, `node`) and the object.
    pub bound: Option<(&'static str, Reference)>,
    /// The node of a bound pod.
    pub node: Option<Reference>,
    /// Seconds until it ends.
    pub seconds: i64,
    /// Names the token in audit logs.
    pub id: String,
}

/// Who a token is of, and for whom it was made among those who were asked about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reviewed {
    /// The user.
    pub user: User,
    /// Audiences.
    pub audiences: Vec<String>,
}

/// The groups of a service account in a namespace.
pub fn groups(namespace: &str) -> Vec<String> {
    vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")]
}

/// The claims of a new token.
pub fn claims(grant: &Grant, now: Timestamp) -> Value {
    let reference = |r: &Reference| json!({"name": r.name, "uid": r.uid});
    let mut private = json!({"namespace": grant.namespace, "serviceaccount": reference(&grant.account)});
    if let Some((kind, object)) = &grant.bound {
        private[*kind] = reference(object);
    }
    if let Some(node) = &grant.node {
        private["node"] = reference(node);
    }
    let now = now.as_second();
    let mut seconds = grant.seconds;
    if seconds == EXTENDED
        && grant.bound.as_ref().is_some_and(|(kind, _)| *kind == "pod")
        && grant.audiences == [ISSUER]
    {
        private["warnafter"] = now.saturating_add(EXTENDED).into();
        seconds = EXTENSION;
    }
    json!({
        "aud": grant.audiences, "exp": now.saturating_add(seconds), "iat": now, "nbf": now, "iss": ISSUER, "jti": grant.id,
        "kubernetes.io": private, "sub": format!("{ACCOUNT_PREFIX}{}:{}", grant.namespace, grant.account.name),
    })
}

/// What a pod's node is granted for it: a token of the pod's account that ends with the pod.
///
/// # Errors
/// Why there is no such token, in Kubernetes' words.
pub fn grant_for_pod(pod: &Key, audience: &str, seconds: u64, id: String, state: &Snapshot) -> Result<Grant, String> {
    let missing = |resource: &str, name: &str| format!("{resource} {name:?} not found");
    let stored = state.get(pod).ok_or_else(|| missing("pods", &pod.name))?;
    let value: Value = stored.parse().map_err(|_| missing("pods", &pod.name))?;
    let name = value["spec"]["serviceAccountName"].as_str().unwrap_or_default();
    let account = find_name("serviceaccounts", &pod.namespace, name, state).filter(|a| !a.meta.deleting);
    let account = account.ok_or_else(|| missing("serviceaccounts", name))?;
    let node = value["spec"]["nodeName"].as_str().unwrap_or_default();
    let node =
        find_name("nodes", "", node, state).map(|n| Reference { name: node.into(), uid: n.meta.uid.to_string() });
    Ok(Grant {
        namespace: pod.namespace.to_string(),
        account: Reference { name: name.into(), uid: account.meta.uid.to_string() },
        audiences: vec![if audience.is_empty() { ISSUER.to_owned() } else { audience.to_owned() }],
        bound: Some(("pod", Reference { name: pod.name.to_string(), uid: stored.meta.uid.to_string() })),
        node,
        seconds: i64::try_from(seconds).unwrap_or(LONGEST).min(LONGEST),
        id,
    })
}

/// The claims of the token in a Secret.
pub fn legacy_claims(namespace: &str, secret: &str, account: &Reference) -> Value {
    json!({
        "iss": LEGACY_ISSUER, "sub": format!("{ACCOUNT_PREFIX}{namespace}:{}", account.name),
        "kubernetes.io/serviceaccount/namespace": namespace,
        "kubernetes.io/serviceaccount/secret.name": secret,
        "kubernetes.io/serviceaccount/service-account.name": account.name,
        "kubernetes.io/serviceaccount/service-account.uid": account.uid,
    })
}

/// The service account of a token that is meant for one of `audiences` (with none: for this API).
///
/// # Errors
/// Why the token is not good, in Kubernetes' words.
pub fn review(
    signer: &Signer,
    token: &str,
    audiences: &[String],
    snapshot: &Snapshot,
    now: Timestamp,
) -> Result<Reviewed, String> {
    let claims = signer.verify(token).ok_or("invalid bearer token")?;
    let own = [ISSUER.to_owned()];
    let wanted = if audiences.is_empty() { &own } else { audiences };
    if claims["iss"] == LEGACY_ISSUER {
        let user = legacy(&claims, token, snapshot)?;
        // Such a token is for this API.
        let audiences = wanted.iter().filter(|a| *a == ISSUER).cloned().collect();
        return matched(user, audiences, &own, wanted);
    }
    if claims["iss"] != ISSUER {
        return Err("invalid bearer token".into());
    }
    in_time(&claims, now)?;
    let one = claims["aud"].as_str().map(str::to_owned).into_iter();
    let many = claims["aud"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    let meant: Vec<String> = one.chain(many).collect();
    let both = meant.iter().filter(|a| wanted.contains(a)).cloned().collect();
    matched(bound(&claims, snapshot, now)?, both, &meant, wanted)
}

fn matched(user: User, both: Vec<String>, meant: &[String], wanted: &[String]) -> Result<Reviewed, String> {
    if both.is_empty() {
        let list = super::rules::go_list;
        return Err(format!("token audiences {} is invalid for the target audiences {}", list(meant), list(wanted)));
    }
    Ok(Reviewed { user, audiences: both })
}

fn in_time(claims: &Value, now: Timestamp) -> Result<(), String> {
    let (now, time) = (now.as_second(), |claim: &str| claims[claim].as_i64());
    if time("exp").is_none_or(|end| now >= end) {
        return Err("service account token has expired".into());
    }
    // Clocks that are put back a little do no harm.
    if time("nbf").is_some_and(|start| now + POD_LEEWAY < start) {
        return Err("service account token is not valid yet".into());
    }
    Ok(())
}

fn bound(claims: &Value, snapshot: &Snapshot, now: Timestamp) -> Result<User, String> {
    let private = &claims["kubernetes.io"];
    let namespace = private["namespace"].as_str().unwrap_or_default();
    let mut user = account(namespace, &reference(&private["serviceaccount"]), snapshot)?;
    let mut extra = |field: &str, value: String| {
        if !value.is_empty() {
            user.extra.insert(format!("authentication.kubernetes.io/{field}"), vec![value]);
        }
    };
    let node = reference(&private["node"]);
    if private["pod"].is_object() {
        let pod = reference(&private["pod"]);
        let found = find("pods", namespace, &pod, snapshot).ok_or("pod has been deleted")?;
        if found.meta.deleting && gone(found, now) {
            return Err("pod has been deleted".into());
        }
        extra("pod-name", pod.name);
        extra("pod-uid", pod.uid);
    } else if private["secret"].is_object() {
        find("secrets", namespace, &reference(&private["secret"]), snapshot)
            .ok_or("service account token has been invalidated")?;
    } else if private["node"].is_object() {
        find("nodes", "", &node, snapshot).ok_or("service account token has been invalidated")?;
    }
    extra("node-name", node.name);
    extra("node-uid", node.uid);
    extra("credential-id", claims["jti"].as_str().map(|id| format!("JTI={id}")).unwrap_or_default());
    Ok(user)
}

fn legacy(claims: &Value, token: &str, snapshot: &Snapshot) -> Result<User, String> {
    let claim = |field: &str| claims[format!("kubernetes.io/serviceaccount/{field}")].as_str().unwrap_or_default();
    let (namespace, name) = (claim("namespace"), claim("secret.name"));
    let secret = find_name("secrets", namespace, name, snapshot).filter(|s| !s.meta.deleting);
    let stored: Value = secret.and_then(|s| s.parse().ok()).ok_or("service account token has been invalidated")?;
    let kept = super::decoded(&stored["data"]["token"]);
    if !bool::from(subtle::ConstantTimeEq::ct_eq(kept.as_slice(), token.as_bytes())) {
        return Err("service account token has been invalidated".into());
    }
    let wanted = Reference { name: claim("service-account.name").into(), uid: claim("service-account.uid").into() };
    account(namespace, &wanted, snapshot)
}

fn account(namespace: &str, wanted: &Reference, snapshot: &Snapshot) -> Result<User, String> {
    let found = find_name("serviceaccounts", namespace, &wanted.name, snapshot).filter(|a| !a.meta.deleting);
    let found = found.ok_or_else(|| format!("serviceaccounts {:?} not found", wanted.name))?;
    if *found.meta.uid != *wanted.uid {
        return Err(format!("service account UID ({}) does not match claim ({})", found.meta.uid, wanted.uid));
    }
    Ok(User {
        name: format!("{ACCOUNT_PREFIX}{namespace}:{}", wanted.name),
        groups: groups(namespace),
        uid: wanted.uid.clone(),
        ..User::default()
    })
}

fn reference(value: &Value) -> Reference {
    let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    Reference { name: text("name"), uid: text("uid") }
}

fn find_name<'a>(resource: &str, namespace: &str, name: &str, snapshot: &'a Snapshot) -> Option<&'a Object> {
    let key = Key { resource: resource.into(), namespace: namespace.into(), name: name.into() };
    snapshot.get(&key).map(|o| &**o)
}

fn find<'a>(resource: &str, namespace: &str, wanted: &Reference, snapshot: &'a Snapshot) -> Option<&'a Object> {
    find_name(resource, namespace, &wanted.name, snapshot).filter(|o| *o.meta.uid == *wanted.uid)
}

/// Whether a deleted pod's leeway is over.
fn gone(pod: &Object, now: Timestamp) -> bool {
    let value: Value = pod.parse().unwrap_or_default();
    let end: Option<Timestamp> = value["metadata"]["deletionTimestamp"].as_str().and_then(|t| t.parse().ok());
    end.is_none_or(|end| now.as_second() > end.as_second() + POD_LEEWAY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::jwt::tests::signer;
    use crate::auth::tests::snapshot;

    const NOW: i64 = 1_000_000;

    /// What it shows, the token, the objects that are there, seconds after it was made, and what comes of it.
    type Case = (&'static str, Grant, Vec<(&'static str, Value)>, i64, Result<(), &'static str>);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn object(resource: &'static str, name: &str, uid: &str) -> (&'static str, Value) {
        (
            resource,
            json!({"metadata": {"namespace": if resource == "nodes" { "" } else { "a" }, "name": name, "uid": uid}}),
        )
    }

    fn named(name: &str) -> Reference {
        Reference { name: name.into(), uid: format!("uid-{name}") }
    }

    fn grant() -> Grant {
        Grant {
            namespace: "a".into(),
            account: named("robot"),
            audiences: vec![ISSUER.into(), "vault".into()],
            seconds: 600,
            id: "id-1".into(),
            ..Grant::default()
        }
    }

    #[test]
    fn a_token_is_good_while_what_it_stands_on_is_there() {
        let account = || object("serviceaccounts", "robot", "uid-robot");
        let pod = || object("pods", "web", "uid-web");
        let bound = |kind| Grant { bound: Some((kind, named("web"))), ..grant() };
        let cases: Vec<Case> = vec![
            ("plain", grant(), vec![account()], 0, Ok(())),
            ("late", grant(), vec![account()], 600, Err("service account token has expired")),
            ("early", grant(), vec![account()], -61, Err("service account token is not valid yet")),
            ("no account", grant(), vec![], 0, Err(r#"serviceaccounts "robot" not found"#)),
            (
                "another account",
                grant(),
                vec![object("serviceaccounts", "robot", "x")],
                0,
                Err("service account UID (x) does not match claim (uid-robot)"),
            ),
            ("pod", bound("pod"), vec![account(), pod()], 0, Ok(())),
            ("no pod", bound("pod"), vec![account()], 0, Err("pod has been deleted")),
            ("another pod", bound("pod"), vec![account(), object("pods", "web", "x")], 0, Err("pod has been deleted")),
            ("secret", bound("secret"), vec![account(), object("secrets", "web", "uid-web")], 0, Ok(())),
            ("no secret", bound("secret"), vec![account()], 0, Err("service account token has been invalidated")),
            ("node", bound("node"), vec![account(), object("nodes", "web", "uid-web")], 0, Ok(())),
            ("no node", bound("node"), vec![account()], 0, Err("service account token has been invalidated")),
        ];
        let signer = signer();
        for (case, grant, objects, later, expected) in cases {
            let token = signer.sign(&claims(&grant, at(NOW))).unwrap();
            let reviewed = review(&signer, &token, &[], &snapshot(&objects), at(NOW + later));
            assert_eq!(reviewed.map(|_| ()), expected.map_err(str::to_owned), "{case}");
        }
    }

    #[test]
    fn the_tokens_of_pods_outlive_their_renewal() {
        let pod = (
            "pods",
            json!({"metadata": {"namespace": "a", "name": "web", "uid": "u"}, "spec": {"serviceAccountName": "robot", "nodeName": "edge"}}),
        );
        let world =
            snapshot(&[pod, object("serviceaccounts", "robot", "uid-robot"), object("nodes", "edge", "uid-edge")]);
        let key = Key { resource: "pods".into(), namespace: "a".into(), name: "web".into() };
        for (audience, seconds, life, warns) in [
            ("", 3607, 365 * 24 * 3600, json!(NOW + 3607)),
            ("", 3600, 3600, Value::Null),
            ("vault", 3607, 3607, Value::Null),
            ("", u64::MAX, 1 << 32, Value::Null),
        ] {
            let grant = grant_for_pod(&key, audience, seconds, "id".into(), &world).unwrap();
            let claims = claims(&grant, at(NOW));
            let private = &claims["kubernetes.io"];
            assert_eq!((&claims["exp"], &private["warnafter"]), (&json!(NOW + life), &warns), "{audience} {seconds}");
            assert_eq!(private["pod"], json!({"name": "web", "uid": "u"}));
            assert_eq!(private["node"], json!({"name": "edge", "uid": "uid-edge"}));
        }
        let lost = snapshot(&[(
            "pods",
            json!({"metadata": {"namespace": "a", "name": "web"}, "spec": {"serviceAccountName": "robot"}}),
        )]);
        let refused = grant_for_pod(&key, "", 3607, "id".into(), &lost).map(|_| ());
        assert_eq!(refused, Err(r#"serviceaccounts "robot" not found"#.to_owned()));
    }

    #[test]
    fn a_token_says_who_and_for_whom() {
        let signer = signer();
        let world = snapshot(&[object("serviceaccounts", "robot", "uid-robot"), object("pods", "web", "uid-web")]);
        let grant = Grant { bound: Some(("pod", named("web"))), node: Some(named("edge")), ..grant() };
        let token = signer.sign(&claims(&grant, at(NOW))).unwrap();
        let asked = |audiences: &[&str]| {
            let audiences: Vec<String> = audiences.iter().map(|a| (*a).to_owned()).collect();
            review(&signer, &token, &audiences, &world, at(NOW))
        };
        let reviewed = asked(&["vault", "other"]).unwrap();
        assert_eq!(reviewed.audiences, ["vault"]);
        assert_eq!(reviewed.user.name, "system:serviceaccount:a:robot");
        assert_eq!(reviewed.user.groups, ["system:serviceaccounts", "system:serviceaccounts:a"]);
        let extra: Vec<String> =
            reviewed.user.extra.iter().map(|(k, v)| format!("{}={}", k.rsplit('/').next().unwrap(), v[0])).collect();
        assert_eq!(
            extra,
            ["credential-id=JTI=id-1", "node-name=edge", "node-uid=uid-edge", "pod-name=web", "pod-uid=uid-web"]
        );
        let expected = r#"token audiences ["https://kubernetes.default.svc.cluster.local" "vault"] is invalid for the target audiences ["other"]"#;
        assert_eq!(asked(&["other"]).unwrap_err(), expected);
    }

    #[test]
    fn a_token_of_a_secret_is_good_while_the_secret_holds_it() {
        use base64::Engine;
        let signer = signer();
        let token = signer.sign(&legacy_claims("a", "key", &named("robot"))).unwrap();
        let secret = |text: &str| {
            let data = base64::engine::general_purpose::STANDARD.encode(text);
            ("secrets", json!({"metadata": {"namespace": "a", "name": "key"}, "data": {"token": data}}))
        };
        let account = object("serviceaccounts", "robot", "uid-robot");
        let name = |objects: &[_]| review(&signer, &token, &[], &snapshot(objects), at(NOW)).map(|r| r.user.name);
        assert_eq!(name(&[account.clone(), secret(&token)]).as_deref(), Ok("system:serviceaccount:a:robot"));
        for objects in [vec![account.clone()], vec![account, secret("other")], vec![secret(&token)]] {
            assert!(name(&objects).is_err(), "{objects:?}");
        }
    }
}
