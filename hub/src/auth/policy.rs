//! The roles and bindings of a snapshot, indexed by subject.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;

use super::rules::Rule;
use super::{Attributes, Decision, User, nullable};
use crate::store::{Key, Object, Resource, Revision, Snapshot};

/// Storage name of ClusterRoles.
const CLUSTER_ROLES: &str = "clusterroles.rbac.authorization.k8s.io";
/// Storage name of Roles.
const ROLES: &str = "roles.rbac.authorization.k8s.io";
/// Storage name of ClusterRoleBindings.
const CLUSTER_ROLE_BINDINGS: &str = "clusterrolebindings.rbac.authorization.k8s.io";
/// Storage name of RoleBindings.
const ROLE_BINDINGS: &str = "rolebindings.rbac.authorization.k8s.io";
const KINDS: [&str; 4] = [CLUSTER_ROLES, ROLES, CLUSTER_ROLE_BINDINGS, ROLE_BINDINGS];

/// Which role a binding grants.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RoleRef {
    /// `ClusterRole` or `Role`.
    #[serde(deserialize_with = "nullable")]
    pub kind: String,
    /// Name.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Role {
    #[serde(deserialize_with = "nullable")]
    rules: Vec<Rule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Binding {
    #[serde(deserialize_with = "nullable")]
    role_ref: RoleRef,
    #[serde(deserialize_with = "nullable")]
    subjects: Vec<SubjectRef>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SubjectRef {
    #[serde(deserialize_with = "nullable")]
    kind: String,
    #[serde(deserialize_with = "nullable")]
    name: String,
    #[serde(deserialize_with = "nullable")]
    namespace: String,
}

/// Whom a binding names, as users carry it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Subject {
    User(String),
    Group(String),
}

/// One subject of one binding.
#[derive(Debug, Clone)]
struct Grant {
    /// The binding: in a namespace for a RoleBinding.
    binding: Key,
    role: RoleRef,
    /// `User "x"`, for the reason.
    subject: String,
}

type Grants = HashMap<Subject, Vec<Grant>>;

/// Parsed roles and bindings of one revision.
#[derive(Debug, Default)]
pub struct Policy {
    revision: Revision,
    /// Tells whether any role or binding has changed: how many there are, and the newest revision among them.
    fingerprint: [(usize, Revision); 4],
    roles: HashMap<Key, (Revision, Arc<[Rule]>)>,
    /// Grants of ClusterRoleBindings.
    cluster: Arc<Grants>,
    /// Grants of RoleBindings by namespace.
    namespaced: Arc<HashMap<Arc<str>, Grants>>,
}

impl Policy {
    /// The revision it is of.
    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    /// The policy of a snapshot; what has not changed since `old` is not parsed again.
    pub(super) fn newer(old: &Arc<Self>, snapshot: &Snapshot) -> Arc<Self> {
        let revision = snapshot.revision();
        let fingerprint = KINDS.map(|kind| fingerprint(snapshot, kind));
        let mut policy = Self { revision, fingerprint, ..Self::default() };
        if fingerprint == old.fingerprint {
            policy.roles.clone_from(&old.roles);
            policy.cluster = Arc::clone(&old.cluster);
            policy.namespaced = Arc::clone(&old.namespaced);
            return Arc::new(policy);
        }
        for object in [CLUSTER_ROLES, ROLES].iter().flat_map(|kind| list(snapshot, kind)) {
            let kept = old.roles.get(&object.key).filter(|(revision, _)| *revision == object.revision);
            let rules = kept.map_or_else(|| parse::<Role>(object).rules.into(), |(_, rules)| Arc::clone(rules));
            policy.roles.insert(object.key.clone(), (object.revision, rules));
        }
        let mut cluster = Grants::new();
        list(snapshot, CLUSTER_ROLE_BINDINGS).for_each(|object| index(object, &mut cluster));
        let mut namespaced: HashMap<Arc<str>, Grants> = HashMap::new();
        for object in list(snapshot, ROLE_BINDINGS) {
            index(object, namespaced.entry(object.key.namespace.clone()).or_default());
        }
        (policy.cluster, policy.namespaced) = (Arc::new(cluster), Arc::new(namespaced));
        Arc::new(policy)
    }

    /// Whether roles allow a request, and which.
    pub fn authorize(&self, user: &User, wanted: &Attributes<'_>) -> Decision {
        let mut errors = Vec::new();
        for grant in self.grants(user, wanted.namespace) {
            match self.rules_of(&grant.role, &grant.binding.namespace) {
                Ok(rules) if rules.iter().any(|rule| rule.allows(wanted)) => {
                    return Decision { allowed: true, reason: format!("RBAC: allowed by {}", grant.describe()) };
                }
                Ok(_) => {}
                Err(error) => errors.push(error),
            }
        }
        let reason = if errors.is_empty() { String::new() } else { format!("RBAC: {}", aggregate(errors)) };
        Decision { allowed: false, reason }
    }

    /// All rules that a user has in a namespace (or, with none, in the whole cluster), and which roles are missing.
    pub fn rules_for(&self, user: &User, namespace: &str) -> (Vec<Rule>, Vec<String>) {
        let (mut all, mut errors) = (Vec::new(), Vec::new());
        for grant in self.grants(user, namespace) {
            match self.rules_of(&grant.role, &grant.binding.namespace) {
                Ok(rules) => all.extend_from_slice(rules),
                Err(error) => errors.push(error),
            }
        }
        (all, errors)
    }

    /// The rules of a role, as a binding in a namespace names it.
    ///
    /// # Errors
    /// Kubernetes' text when there is no such role.
    pub fn rules_of(&self, role: &RoleRef, namespace: &str) -> Result<&[Rule], String> {
        let (resource, namespace, shown) = match role.kind.as_str() {
            "ClusterRole" => (CLUSTER_ROLES, "", "clusterrole"),
            "Role" => (ROLES, namespace, "role"),
            other => return Err(format!("unsupported role reference kind: {other:?}")),
        };
        let key = Key { resource: resource.into(), namespace: namespace.into(), name: role.name.as_str().into() };
        let missing = || format!("{shown}.rbac.authorization.k8s.io {:?} not found", role.name);
        self.roles.get(&key).map(|(_, rules)| &**rules).ok_or_else(missing)
    }

    fn grants<'a>(&'a self, user: &User, namespace: &str) -> impl Iterator<Item = &'a Grant> {
        let subjects: Vec<Subject> = std::iter::once(Subject::User(user.name.clone()))
            .chain(user.groups.iter().cloned().map(Subject::Group))
            .collect();
        let places = [Some(&*self.cluster), self.namespaced.get(namespace).filter(|_| !namespace.is_empty())];
        let pairs = places
            .into_iter()
            .flatten()
            .flat_map(move |grants| subjects.clone().into_iter().filter_map(move |subject| grants.get(&subject)));
        pairs.flatten()
    }
}

impl Grant {
    fn describe(&self) -> String {
        let (name, namespace) = (&self.binding.name, &self.binding.namespace);
        let binding = if namespace.is_empty() {
            format!("ClusterRoleBinding {name:?}")
        } else {
            format!("RoleBinding {:?}", format!("{name}/{namespace}"))
        };
        format!("{binding} of {} {:?} to {}", self.role.kind, self.role.name, self.subject)
    }
}

/// Several errors in one message: alone as it is, more as `[a, b]`, each once.
fn aggregate(mut errors: Vec<String>) -> String {
    let mut seen = Vec::new();
    errors.retain(|e| {
        !seen.contains(e) && {
            seen.push(e.clone());
            true
        }
    });
    if errors.len() == 1 { errors.remove(0) } else { format!("[{}]", errors.join(", ")) }
}

fn list<'a>(snapshot: &'a Snapshot, resource: &str) -> impl Iterator<Item = &'a Arc<Object>> {
    snapshot.list(&Resource::from(resource), None)
}

fn fingerprint(snapshot: &Snapshot, resource: &str) -> (usize, Revision) {
    list(snapshot, resource).fold((0, 0), |(count, newest), object| (count + 1, newest.max(object.revision)))
}

fn parse<T: serde::de::DeserializeOwned + Default>(object: &Object) -> T {
    object.parse().unwrap_or_else(|error| {
        // What cannot be read grants nothing.
        tracing::warn!(key = ?object.key, %error, "a stored role or binding does not fit its type");
        T::default()
    })
}

fn index(object: &Object, grants: &mut Grants) {
    let binding: Binding = parse(object);
    for subject in binding.subjects {
        let (name, namespace) = (&subject.name, &subject.namespace);
        let (entry, shown) = match subject.kind.as_str() {
            "User" => (Subject::User(name.clone()), format!("User {name:?}")),
            "Group" => (Subject::Group(name.clone()), format!("Group {name:?}")),
            "ServiceAccount" => {
                let home = if namespace.is_empty() { &*object.key.namespace } else { namespace.as_str() };
                let shown = format!("ServiceAccount {:?}", format!("{name}/{home}"));
                (Subject::User(format!("system:serviceaccount:{home}:{name}")), shown)
            }
            _ => continue,
        };
        let grant = Grant { binding: object.key.clone(), role: binding.role_ref.clone(), subject: shown };
        grants.entry(entry).or_default().push(grant);
    }
}
