//! Helm 3 and 4 as they are: a release's life on a real node, with hooks and roll-backs, and a chart of many kinds, with
//! changes by others, on a hub without nodes.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;

use skiff_tests::helm::RELEASES;
use skiff_tests::kubectl::{each_release, table};
use skiff_tests::wait::ensure;
use skiff_tests::{Cluster, Helm, Hub, Kubectl, wait_for};

/// A pod for each of Helm's hooks, of which the one named in the value `fails` fails.
const HOOKS: &str = include_str!("helm/hooks.yaml");

/// An object of nearly every kind that charts have.
const KINDS: &str = include_str!("helm/kinds.yaml");

/// What [`KINDS`] makes, by the resource that `kubectl get` names; `{release}` stands for the release.
const MADE: &[&str] = &[
    "configmap/settings",
    "secret/key",
    "serviceaccount/robot",
    "role/reader",
    "rolebinding/reader",
    "clusterrole/{release}",
    "clusterrolebinding/{release}",
    "service/web",
    "ingress/web",
    "ingressclass/{release}",
    "networkpolicy/web",
    "poddisruptionbudget/web",
    "horizontalpodautoscaler/web",
    "persistentvolumeclaim/data",
    "storageclass/{release}",
    "priorityclass/{release}",
    "resourcequota/bound",
    "limitrange/bound",
    "deployment/web",
    "statefulset/db",
    "daemonset/all",
    "cronjob/nightly",
    "job/never",
];

#[test]
fn releases_live_on_a_node() {
    let cluster = Cluster::start(1);
    each_release(&RELEASES, |version| {
        let helm = Helm::version(version, &cluster.hub.kubeconfig());
        let kubectl = Kubectl::new(&cluster.hub.kubeconfig());
        life(&Release::new(&helm, &kubectl, version));
    });
}

#[test]
fn charts_have_every_kind() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(&dir.path().join("hub"), &[]);
    each_release(&RELEASES, |version| {
        let helm = Helm::version(version, &hub.kubeconfig());
        let kubectl = Kubectl::new(&hub.kubeconfig());
        kinds(&Release::new(&helm, &kubectl, version));
    });
}

#[test]
fn the_installer_has_the_same_releases() {
    let script = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/lib.sh")).unwrap();
    assert!(script.contains(&format!("HELM_RELEASES=\"{}\"", RELEASES.join(" "))));
}

/// A release named like its namespace, with the Helm of one version.
struct Release<'a> {
    helm: &'a Helm,
    kubectl: &'a Kubectl,
    name: String,
    four: bool,
    /// Whether this Helm can let the server try an installation: since 3.13.
    tries: bool,
}

impl<'a> Release<'a> {
    fn new(helm: &'a Helm, kubectl: &'a Kubectl, version: &str) -> Self {
        let name = format!("r-{}", version.replace('.', "-"));
        Self { helm, kubectl, name, four: version.starts_with('4'), tries: version != "3.12" }
    }

    /// `helm LINE` with the release's name for `{}`, in its namespace.
    #[track_caller]
    fn ok(&self, line: &str) -> String {
        self.helm.ok(&self.line(line))
    }

    #[track_caller]
    fn fails(&self, line: &str, expected: &str) {
        let said = self.helm.fails(&self.line(line));
        assert!(said.contains(expected), "helm {line}, without {expected:?}: {said}");
    }

    #[track_caller]
    fn get(&self, object: &str, jsonpath: &str) -> String {
        self.kubectl.ok(&format!("get {object} -n {} -o 'jsonpath={jsonpath}'", self.name))
    }

    fn line(&self, line: &str) -> String {
        format!("{} -n {}", line.replace("{}", &self.name), self.name)
    }

    /// The status of every revision.
    #[track_caller]
    fn history(&self) -> Vec<String> {
        let history = self.helm.json(&self.line("history {}"));
        history.as_array().unwrap().iter().map(|r| r["status"].as_str().unwrap().to_owned()).collect()
    }

    /// What a hook's pod said.
    #[track_caller]
    fn hook(&self, hook: &str) -> String {
        self.kubectl.ok(&format!("logs hook-{hook} -n {}", self.name))
    }
}

/// The chart that `helm create` gives, from its installation to its removal.
fn life(r: &Release) {
    r.helm.ok("create web");
    // The chart's own asks a Service by its name.
    r.helm.remove("web/templates/tests/test-connection.yaml");
    r.helm.file("web/templates/hooks.yaml", HOOKS);
    install(r);
    upgrade(r);
    fail(r);
    roll_back(r);
    uninstall(r);
}

const VALUES: &str =
    "--set image.repository=localhost/test,image.tag=1,service.port=8080,podAnnotations.note=one,replicaCount=1";

fn install(r: &Release) {
    let said = r.ok(&format!("install {{}} web --create-namespace --wait --timeout 90s {VALUES}"));
    assert!(said.contains("STATUS: deployed") && said.contains("REVISION: 1"), "{said}");
    let ready = r.get("deployment -l app.kubernetes.io/managed-by=Helm", "{.items[*].status.readyReplicas}");
    assert_eq!(ready, "1", "it waited");
    assert_eq!(r.hook("pre-install"), "pre-install of revision 1\n");
    assert_eq!(r.hook("post-install"), "post-install of revision 1\n");
    let goes = r.kubectl.fails(&format!("get pod hook-that-goes -n {}", r.name), None);
    assert!(goes.contains("not found"), "{goes}");

    let list = r.helm.json(&r.line("list"));
    assert_eq!((&list[0]["name"], &list[0]["status"]), (&r.name.clone().into(), &"deployed".into()));
    assert_eq!(r.helm.json(&r.line("status {}"))["info"]["status"], "deployed");
    assert!(r.helm.json("list -A").as_array().unwrap().iter().any(|one| one["name"] == r.name));
    let all = r.ok("get all {}");
    for part in ["USER-SUPPLIED VALUES:", "repository: localhost/test", "HOOKS:", "MANIFEST:", "kind: Deployment"] {
        assert!(all.contains(part), "get all lacks {part:?}: {all}");
    }
    let resources = r.ok(if r.four { "status {}" } else { "status {} --show-resources" });
    for part in ["==> v1/Deployment", "==> v1/Pod(related)", "==> v1/Service", "CLUSTER-IP", "1/1"] {
        assert!(resources.contains(part), "the status lacks {part:?}: {resources}");
    }

    let tested = r.ok("test {} --logs");
    assert!(tested.contains("Succeeded") && tested.contains("test of revision 1"), "{tested}");
    r.fails(&format!("install {{}} web {VALUES}"), "a name that is still in use");
}

fn upgrade(r: &Release) {
    r.ok("upgrade {} web --reuse-values --set replicaCount=2 --wait --timeout 90s");
    let name = format!("{}-web", r.name);
    assert_eq!(r.get(&format!("deployment {name}"), "{.status.readyReplicas}"), "2");
    assert_eq!(r.hook("pre-upgrade"), "pre-upgrade of revision 2\n");
    assert_eq!(r.history(), ["superseded", "deployed"]);

    let releases = r.kubectl.ok(&format!("get secrets -l owner=helm -n {} --no-headers", r.name));
    let expected = |number| format!("sh.helm.release.v1.{}.v{number}", r.name);
    let rows = table(&releases);
    assert_eq!(rows[0][..3], [expected(1), "helm.sh/release.v1".into(), "1".into()]);
    assert_eq!(rows[1][..3], [expected(2), "helm.sh/release.v1".into(), "1".into()]);
}

/// An image that does not exist, and then a hook that fails.
fn fail(r: &Release) {
    let undo = if r.four { "--rollback-on-failure" } else { "--atomic" };
    r.fails(
        &format!("upgrade {{}} web --reuse-values --set image.tag=none {undo} --timeout 20s"),
        &format!("has been rolled back due to {} being set", &undo[2..]),
    );
    assert_eq!(r.history(), ["superseded", "superseded", "failed", "deployed"]);
    assert_eq!(r.get(&format!("deployment {}-web", r.name), "{..image}"), "localhost/test:1");

    r.fails("upgrade {} web --reuse-values --set fails=pre-upgrade --timeout 20s", "pre-upgrade hooks failed");
    assert_eq!(r.history().last().unwrap(), "failed");
}

fn roll_back(r: &Release) {
    r.ok("rollback {} 1 --wait --timeout 90s");
    assert_eq!(r.history(), ["superseded", "superseded", "failed", "superseded", "failed", "deployed"]);
    assert_eq!(r.get(&format!("deployment {}-web", r.name), "{.spec.replicas}"), "1");
    // The hooks of a roll-back are those of the revision that it goes back to.
    assert_eq!(r.hook("post-rollback"), "post-rollback of revision 1\n");
}

fn uninstall(r: &Release) {
    r.ok("uninstall {} --wait --timeout 60s");
    assert_eq!(r.hook("pre-delete"), "pre-delete of revision 1\n");
    assert_eq!(r.hook("post-delete"), "post-delete of revision 1\n");
    r.fails("status {}", "release: not found");
    let left = format!("get deployments,services,secrets,serviceaccounts -n {} -o name", r.name);
    assert_eq!(r.kubectl.ok(&left).trim(), "serviceaccount/default");
    wait_for(30, "the pods to go", || {
        let pods = r.kubectl.attempt(&["get", "pods", "-n", &r.name, "-l", "!hook", "-o", "name"])?;
        ensure(pods.is_empty(), || pods.clone())
    });
}

/// Every kind, installed, changed by Helm and by others, and removed.
fn kinds(r: &Release) {
    r.helm.file("kinds/Chart.yaml", "{apiVersion: v2, name: kinds, version: 0.1.0}\n");
    r.helm.file("kinds/values.yaml", "{color: red, app: web}\n");
    r.helm.file("kinds/templates/all.yaml", KINDS);
    try_first(r);
    create(r);
    change(r);
    if r.four {
        others_own_fields(r);
    } else {
        others_are_overruled(r);
    }
    templates(r);
    remove(r);
}

/// A dry run asks the hub (`lookup`), and leaves nothing.
fn try_first(r: &Release) {
    if r.tries {
        let said = r.ok("install {} kinds --create-namespace --dry-run=server");
        assert!(said.contains("known: \"kube-system\"") && said.contains("kind: DaemonSet"), "{said}");
        r.kubectl.fails(&format!("get namespace {}", r.name), None);
    }
    let said = r.ok("template {} kinds");
    assert!(said.contains("known: \"nothing\""), "{said}");
}

fn create(r: &Release) {
    r.ok("install {} kinds --create-namespace");
    for object in MADE {
        let object = object.replace("{release}", &r.name);
        let managed = r.get(&object, "{.metadata.labels.app\\.kubernetes\\.io/managed-by}");
        assert_eq!(managed, "Helm", "{object}");
    }
    assert_eq!(r.get("configmap/settings", "{.data.known} {.data.capable} {.data.color}"), "kube-system true red");
    assert!(r.get("configmap/settings", "{.data.version}").starts_with("v1.33."));
    assert_eq!(r.get("secret/key", "{.data.password}"), "cmVk");
    let robot = format!("--as=system:serviceaccount:{}:robot", r.name);
    assert_eq!(r.kubectl.ok(&format!("auth can-i list pods -n {} {robot}", r.name)).trim(), "yes");
    r.kubectl.ok(&format!("create configmap foreign -n {}", r.name));
    r.helm.file("other/Chart.yaml", "{apiVersion: v2, name: other, version: 0.1.0}\n");
    r.helm.file("other/templates/map.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: foreign}}\n");
    r.fails("install other other", "invalid ownership metadata");
}

fn change(r: &Release) {
    r.ok("upgrade {} kinds --set color=blue");
    assert_eq!(r.get("configmap/settings", "{.data.color}"), "blue");
    assert_eq!(r.get("secret/key", "{.data.password}"), "Ymx1ZQ==");
    r.fails("upgrade {} kinds --set app=other", "field is immutable");
    assert_eq!(r.history(), ["superseded", "deployed", "failed"]);
    r.ok("rollback {} 1");
    assert_eq!(r.get("configmap/settings", "{.data.color}"), "red");
}

/// What another hand adds.
const ADDED: &str = r#"patch configmap settings -p '{"metadata":{"labels":{"mine":"yes"}},"data":{"extra":"kept"}}'"#;
/// What another hand changes.
const CHANGED: &str = r#"patch configmap settings -p '{"data":{"color":"green"}}'"#;

/// Helm 3 merges three ways: what it never had stays, what it has comes back.
fn others_are_overruled(r: &Release) {
    r.kubectl.ok(&format!("{ADDED} -n {}", r.name));
    r.kubectl.ok(&format!("{CHANGED} -n {}", r.name));
    r.kubectl.ok(&format!("scale deployment web --replicas=3 -n {}", r.name));
    r.ok("upgrade {} kinds --set color=blue");
    let found = r.get("configmap/settings", "{.data.color} {.data.extra} {.metadata.labels.mine}");
    assert_eq!(found, "blue kept yes");
    assert_eq!(r.get("deployment/web", "{.spec.replicas}"), "1");
}

/// Helm 4 applies on the server's side: who changed a field owns it, until Helm insists.
fn others_own_fields(r: &Release) {
    r.kubectl.ok(&format!("{ADDED} -n {}", r.name));
    r.ok("upgrade {} kinds --set color=blue");
    let found = r.get("configmap/settings", "{.data.color} {.data.extra} {.metadata.labels.mine}");
    assert_eq!(found, "blue kept yes");
    r.kubectl.ok(&format!("{CHANGED} -n {}", r.name));
    r.fails("upgrade {} kinds --set color=red", "conflict with \"kubectl-patch\" using v1: .data.color");
    assert_eq!(r.get("configmap/settings", "{.data.color}"), "green");
    r.ok("upgrade {} kinds --set color=red --force-conflicts");
    assert_eq!(r.get("configmap/settings", "{.data.color}"), "red");
    let managers = r.get("configmap/settings --show-managed-fields", "{.metadata.managedFields[*].manager}");
    assert_eq!(managers, "helm kubectl-patch");
    r.ok("upgrade {} kinds --set color=blue --server-side=false");
    assert_eq!(r.get("configmap/settings", "{.data.color}"), "blue");
}

/// What Helm only writes down, kubectl applies, twice.
fn templates(r: &Release) {
    let namespace = format!("{}-written", r.name);
    let written = r.helm.ok(&format!("template {namespace} kinds -n {namespace} --set color=green"));
    r.kubectl.ok(&format!("create namespace {namespace}"));
    let apply = format!("apply -n {namespace} -f -");
    let first = r.kubectl.with_input(&apply, &written);
    assert!(first.contains("deployment.apps/web created") && first.contains("job.batch/never created"), "{first}");
    let again = r.kubectl.with_input(&apply, &written);
    assert!(again.lines().all(|line| line.ends_with(" unchanged")), "{again}");
    let difference = r.kubectl.output(&format!("diff -n {namespace} -f -"), &written);
    assert!(difference.status.success(), "{difference:?}");
}

fn remove(r: &Release) {
    r.ok("uninstall {} --cascade foreground --wait --timeout 60s");
    for object in MADE {
        let object = object.replace("{release}", &r.name);
        let said = r.kubectl.fails(&format!("get {object} -n {}", r.name), None);
        assert!(said.contains("not found"), "{object}: {said}");
    }
}
