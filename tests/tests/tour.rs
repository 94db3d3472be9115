//! kubectl in every release, against a hub without nodes: a core of commands for each, and a tour of all others for the
//! newest. What needs running containers is in `kubectl.rs` and `streams.rs`.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use skiff_tests::kubectl::RELEASES;
use skiff_tests::process::{command, run, text};
use skiff_tests::{Hub, Kubectl, wait_for};

/// One command line. `{dir}` is a directory with the files below.
struct Step {
    /// The first minor release that has the command.
    since: u32,
    line: &'static str,
    /// What its two outputs must contain.
    expected: &'static [&'static str],
    fails: bool,
}

const fn ok(line: &'static str, expected: &'static [&'static str]) -> Step {
    Step { since: 20, line, expected, fails: false }
}

const fn since(since: u32, line: &'static str, expected: &'static [&'static str]) -> Step {
    Step { since, line, expected, fails: false }
}

const fn fails(line: &'static str, expected: &'static [&'static str]) -> Step {
    Step { since: 20, line, expected, fails: true }
}

const FILES: [(&str, &str); 9] = [
    ("map.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: applied}, data: {a: one}}"),
    ("changed.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: applied}, data: {a: two}}"),
    ("unknown.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: applied}, dato: {a: two}}"),
    ("owned.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: owned}, data: {a: one}}"),
    ("contested.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: owned}, data: {a: two}}"),
    ("edit", "#!/bin/sh\nsed -i 's/a: two/a: edited/' \"$1\"\n"),
    (
        "kustomization.yaml",
        "namePrefix: k-\nresources: [map.yaml]\nconfigMapGenerator: [{name: made, literals: [a=b]}]\n",
    ),
    (
        "role.yaml",
        "{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: r, namespace: default}, rules: [{apiGroups: [''], resources: [secrets], verbs: [get]}]}",
    ),
    (
        "pruned.yaml",
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: pruned, labels: {set: one}}}\n---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: kept, labels: {set: one}}}\n",
    ),
];

/// What every release must do.
const CORE: &[Step] = &[
    ok("create configmap c --from-literal=a=b", &["configmap/c created"]),
    ok("create secret generic s --from-literal=a=b", &["secret/s created"]),
    ok("create serviceaccount a", &["serviceaccount/a created"]),
    ok("create role r --verb=get --resource=pods", &["role.rbac.authorization.k8s.io/r created"]),
    ok("create rolebinding b --role=r --user=bob", &["rolebinding.rbac.authorization.k8s.io/b created"]),
    ok("create deployment web --image=x --replicas=2", &["deployment.apps/web created"]),
    ok("expose deployment web --port=80", &["service/web exposed"]),
    ok("run p --image=x --labels=app=p --env=A=b", &["pod/p created"]),
    ok("create job j --image=x -- true", &["job.batch/j created"]),
    ok("create ingress i --rule=example.com/=web:80", &["ingress.networking.k8s.io/i created"]),
    since(21, "create cronjob t --image=x --schedule='*/5 * * * *' -- true", &["cronjob.batch/t created"]),
    since(
        21,
        "create poddisruptionbudget d --selector=app=web --min-available=1",
        &["poddisruptionbudget.policy/d created"],
    ),
    ok("autoscale deployment web --min=1 --max=3", &["horizontalpodautoscaler.autoscaling/web autoscaled"]),
    ok("get hpa", &["REFERENCE", "Deployment/web"]),
    ok("get all -o wide --show-labels", &["pod/p", "deployment.apps/web", "service/web", "job.batch/j", "app=web"]),
    ok("get pods --sort-by=.metadata.name -L app", &["APP", "web"]),
    ok("get pods --field-selector spec.nodeName= -o name", &["pod/p"]),
    ok("get configmap c -o jsonpath={.data.a}", &["b"]),
    ok("get configmap c -o 'go-template={{.data.a}}'", &["b"]),
    ok("get configmaps -A -o custom-columns=N:.metadata.name", &["N\n", "kube-root-ca.crt"]),
    ok("describe deployment web", &["StrategyType:", "2 desired"]),
    ok("describe pod p", &["Status:", "Pending"]),
    ok("explain deployment.spec.strategy.rollingUpdate.maxSurge", &["maximum number of pods"]),
    ok("explain pod.spec --recursive", &["initContainers"]),
    ok("api-resources --namespaced=false", &["clusterroles", "nodes"]),
    ok("api-versions", &["apps/v1", "v1"]),
    ok("version", &["v1.33"]),
    ok("cluster-info", &["running at"]),
    ok("label pod p x=y", &["pod/p labeled"]),
    ok("annotate pod p x=y", &["pod/p annotate"]),
    ok("apply -f {dir}/map.yaml", &["configmap/applied created"]),
    Step { since: 20, line: "diff -f {dir}/changed.yaml", expected: &["-  a: one", "+  a: two"], fails: true },
    ok("apply -f {dir}/changed.yaml", &["configmap/applied configured"]),
    ok("apply view-last-applied configmap/applied", &["a: two"]),
    ok("edit configmap applied", &["configmap/applied edited"]),
    ok("apply --server-side -f {dir}/owned.yaml", &["configmap/owned serverside-applied"]),
    fails(
        "apply --server-side --field-manager=other -f {dir}/contested.yaml",
        &["conflict with \"kubectl\"", ".data.a"],
    ),
    ok(
        "apply --server-side --field-manager=other --force-conflicts -f {dir}/contested.yaml",
        &["configmap/owned serverside-applied"],
    ),
    ok("apply -f {dir}/changed.yaml --dry-run=server", &["configmap/applied configured (server dry run)"]),
    fails("apply -f {dir}/unknown.yaml", &["unknown field", "dato"]),
    ok("replace --force -f {dir}/map.yaml", &["configmap/applied replaced"]),
    ok("patch configmap c -p '{\"data\":{\"b\":\"c\"}}'", &["configmap/c patched"]),
    ok("patch configmap c --type=json -p '[{\"op\":\"remove\",\"path\":\"/data/b\"}]'", &["configmap/c patched"]),
    ok("scale deployment web --replicas=1", &["deployment.apps/web scaled"]),
    ok("set image deployment/web x=y", &["deployment.apps/web image updated"]),
    ok("set env deployment/web A=b", &["deployment.apps/web env updated"]),
    ok("rollout history deployment/web", &["REVISION"]),
    ok("rollout undo deployment/web", &["deployment.apps/web rolled back"]),
    ok("auth can-i get secrets", &["yes"]),
    ok("auth can-i --list --as=bob", &["pods", "[get]"]),
    ok("get events", &["ScalingReplicaSet"]),
    fails("top pods", &["etrics"]),
    fails("get pod none", &["pods \"none\" not found"]),
    ok("delete deployment web --cascade=orphan", &["deployment.apps \"web\" deleted"]),
    ok("delete pod p --force --grace-period=0", &["pod \"p\" force deleted"]),
    ok("delete replicasets --all", &["deleted"]),
];

/// What the newest release does besides.
const TOUR: &[Step] = &[
    ok("create namespace n", &["namespace/n created"]),
    ok("create secret docker-registry sd --docker-username=u --docker-password=p", &["secret/sd created"]),
    ok("create clusterrole cr --verb=get --resource=nodes", &["clusterrole.rbac.authorization.k8s.io/cr created"]),
    ok("create clusterrolebinding cb --clusterrole=cr --user=bob", &["clusterrolebinding", "created"]),
    ok("create quota q --hard=pods=100 --scopes=BestEffort", &["resourcequota/q created"]),
    ok("create priorityclass pc --value=5", &["priorityclass.scheduling.k8s.io/pc created"]),
    ok("create job j2 --from=cronjob/t", &["job.batch/j2 created"]),
    ok("create service clusterip s1 --tcp=80", &["service/s1 created"]),
    ok("create service nodeport s2 --tcp=80", &["service/s2 created"]),
    ok("create service loadbalancer s3 --tcp=80", &["service/s3 created"]),
    ok("create service externalname s4 --external-name=example.com", &["service/s4 created"]),
    ok("create token a", &["eyJ"]),
    ok("create deployment web --image=x", &["deployment.apps/web created"]),
    ok("create deployment none --image=x --dry-run=client -o name", &["deployment.apps/none"]),
    ok("create deployment none --image=x --dry-run=server -o yaml", &["uid:", "revisionHistoryLimit: 10"]),
    ok("set resources deployment/web --limits=cpu=1", &["resource requirements updated"]),
    ok("set serviceaccount deployment web a", &["serviceaccount updated"]),
    ok("set selector service s1 a=b", &["service/s1 selector updated"]),
    ok("set subject rolebinding b --user=eve", &["subjects updated"]),
    ok("rollout pause deployment web", &["paused"]),
    fails("rollout pause deployment web", &["already paused"]),
    ok("rollout resume deployment web", &["resumed"]),
    ok("rollout restart deployment web", &["restarted"]),
    fails("rollout status deployment web --timeout=1s", &["Waiting for deployment \"web\" rollout"]),
    fails("scale deployment web --current-replicas=9 --replicas=1", &["Expected replicas to be 9, was 1"]),
    ok("wait --for=jsonpath='{.data.a}'=one configmap/applied --timeout=9s", &["condition met"]),
    ok("wait --for=delete configmap/none --timeout=9s", &[]),
    ok("taint nodes --all a=b:NoSchedule", &[]),
    ok("apply -k {dir}", &["configmap/k-applied created", "configmap/k-made-"]),
    ok("delete -k {dir}", &["deleted"]),
    ok("apply -f {dir}/pruned.yaml", &["configmap/pruned created", "configmap/kept created"]),
    ok("delete configmap -l set=one", &["\"kept\" deleted", "\"pruned\" deleted"]),
    ok("auth reconcile -f {dir}/role.yaml", &["role.rbac.authorization.k8s.io/r reconciled"]),
    ok("auth whoami", &["kubernetes-admin", "system:masters"]),
    ok("events", &["ScalingReplicaSet"]),
    ok("get --raw /api/v1/namespaces/default", &["\"kind\":\"Namespace\""]),
    fails("get --raw /nothing", &["could not find the requested resource"]),
    fails("get pods,nosuch", &["the server doesn't have a resource type \"nosuch\""]),
    fails("create deployment Bad --image=x", &["metadata.name: Invalid value: \"Bad\""]),
    fails(
        "patch configmap c -p '{\"data\":{\"a\":1}}'",
        &["The request is invalid: patch: Invalid value: \"map[data:map[a:1]]\""],
    ),
    fails("top nodes", &["Metrics API not available"]),
    ok("delete rs --all --cascade=foreground", &["deleted"]),
    ok("delete all --all --wait=false", &["service \"s1\" deleted"]),
    ok("delete namespace n --timeout=30s", &["namespace \"n\" deleted"]),
];

#[test]
fn kubectl_1_20() {
    walk("1.20", &[CORE]);
}

#[test]
fn kubectl_1_27() {
    walk("1.27", &[CORE]);
}

#[test]
fn kubectl_1_28() {
    walk("1.28", &[CORE]);
}

#[test]
fn kubectl_1_29() {
    walk("1.29", &[CORE]);
}

#[test]
fn kubectl_1_30() {
    walk("1.30", &[CORE]);
}

#[test]
fn kubectl_1_31() {
    walk("1.31", &[CORE]);
}

#[test]
fn kubectl_1_32() {
    walk("1.32", &[CORE]);
}

#[test]
fn kubectl_1_33_and_the_rest_of_its_commands() {
    walk("1.33", &[CORE, TOUR]);
}

#[test]
fn the_installer_has_the_same_releases() {
    let script = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/lib.sh")).unwrap();
    assert!(script.contains(&format!("KUBECTL_RELEASES=\"{}\"", RELEASES.join(" "))));
}

/// Runs all steps in order, and tells every one that went wrong.
fn walk(release: &str, parts: &[&[Step]]) {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(&dir.path().join("hub"), &[]);
    let kubectl = Kubectl::version(release, &hub.kubeconfig());
    let minor: u32 = release.strip_prefix("1.").unwrap().parse().unwrap();
    let files = kubectl.file("edit", "");
    let files = std::path::Path::new(&files).parent().unwrap();
    for (name, content) in FILES {
        // What begins with a brace would be taken for JSON.
        let marker = if content.starts_with('{') { "---\n" } else { "" };
        kubectl.file(name, &format!("{marker}{content}"));
    }
    fs::set_permissions(files.join("edit"), fs::Permissions::from_mode(0o755)).unwrap();
    let kubectl = kubectl.with_editor(&files.join("edit"));
    let steps = parts.iter().flat_map(|part| part.iter()).filter(|step| step.since <= minor);
    let wrong: Vec<String> = steps.filter_map(|step| complaint(&kubectl, step, &files.display().to_string())).collect();
    assert!(wrong.is_empty(), "kubectl {release}:\n{}", wrong.join("\n"));
    if parts.len() > 1 {
        describe_everything(&kubectl);
        tls_secrets(&kubectl, &files.display().to_string());
    }
}

/// What is wrong with what a step did. What a controller has yet to do is waited for.
fn complaint(kubectl: &Kubectl, step: &Step, dir: &str) -> Option<String> {
    let line = step.line.replace("{dir}", dir);
    let output = kubectl.output(&line, "");
    let said = text(&output.stdout) + &text(&output.stderr);
    let missing: Vec<_> = step.expected.iter().filter(|part| !said.contains(**part)).collect();
    (output.status.success() == step.fails || !missing.is_empty())
        .then(|| format!("kubectl {line}: {}, lacks {missing:?}:\n{said}", output.status))
}

/// `get -o wide`, `get -o yaml` and `describe` of every kind that can be listed.
fn describe_everything(kubectl: &Kubectl) {
    let kinds = kubectl.ok("api-resources --verbs=get,list -o name");
    assert!(kinds.lines().count() > 35, "{kinds}");
    for kind in kinds.lines() {
        for line in ["get -A -o wide", "get -A -o yaml", "describe -A"] {
            kubectl.ok(&line.replacen(' ', &format!(" {kind} "), 1));
        }
    }
}

/// A TLS secret, and a certificate request that is approved and one that is denied.
fn tls_secrets(kubectl: &Kubectl, dir: &str) {
    let openssl = |line: &str| run(command(None, "openssl").args(line.split(' ')).current_dir(dir));
    openssl("req -x509 -newkey rsa:2048 -nodes -keyout t.key -out t.crt -subj /CN=x -days 1");
    let created = kubectl.ok(&format!("create secret tls st --cert={dir}/t.crt --key={dir}/t.key"));
    assert_eq!(created, "secret/st created\n");
    openssl("req -new -newkey rsa:2048 -nodes -keyout c.key -out c.csr -subj /CN=jane");
    let request = openssl("base64 -A -in c.csr");
    for name in ["one", "two"] {
        let request = format!(
            "---\n{{apiVersion: certificates.k8s.io/v1, kind: CertificateSigningRequest, metadata: {{name: {name}}}, spec: {{request: {}, signerName: kubernetes.io/kube-apiserver-client, usages: [client auth]}}}}",
            request.trim()
        );
        kubectl.with_input("create -f -", &request);
    }
    assert!(
        kubectl.ok("certificate approve one").contains("csr/one approved")
            || kubectl.ok("get csr one").contains("Approved")
    );
    kubectl.ok("certificate deny two");
    wait_for(20, "the decisions", || {
        let table = kubectl.attempt(&["get", "csr"])?;
        let decided = table.contains("Approved,Issued") && table.contains("Denied");
        skiff_tests::wait::ensure(decided, || table)
    });
    let when = kubectl.ok("get csr two -o jsonpath={.status.conditions[0].lastTransitionTime}");
    assert!(when.starts_with("20"), "{when:?}");
}
