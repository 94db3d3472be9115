//! kubectl in every release, against a hub without nodes: a tour of all commands. What needs running containers is in
//! `releases.rs` and `streams.rs`.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use skiff_tests::kubectl::RELEASES;
use skiff_tests::process::{command, run};
use skiff_tests::steps::{Step, fails, fails_since, ok, since};
use skiff_tests::{Hub, Kubectl, steps, wait_for};

const FILES: [(&str, &str); 11] = [
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
        "{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: r2, namespace: default}, rules: [{apiGroups: [''], resources: [secrets], verbs: [get]}]}",
    ),
    ("node.yaml", "{apiVersion: v1, kind: Node, metadata: {name: edge}}"),
    ("left.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: kept, labels: {set: one}}}"),
    (
        "pruned.yaml",
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: pruned, labels: {set: one}}}\n---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: kept, labels: {set: one}}}\n",
    ),
];

/// What every release must do, from the first that can.
const TOUR: &[Step] = &[
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
    fails("diff -f {dir}/changed.yaml", &["-  a: one", "+  a: two"]),
    fails_since(27, "diff --server-side -f {dir}/changed.yaml", &["-  a: one", "+  a: two"]),
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
    ok("create namespace n", &["namespace/n created"]),
    ok("create secret docker-registry sd --docker-username=u --docker-password=p", &["secret/sd created"]),
    ok("create clusterrole cr --verb=get --resource=nodes", &["clusterrole.rbac.authorization.k8s.io/cr created"]),
    ok("create clusterrolebinding cb --clusterrole=cr --user=bob", &["clusterrolebinding", "created"]),
    ok("create quota q --hard=pods=100 --scopes=BestEffort", &["resourcequota/q created"]),
    ok("create priorityclass pc --value=5", &["priorityclass.scheduling.k8s.io/pc created"]),
    since(21, "create job j2 --from=cronjob/t", &["job.batch/j2 created"]),
    ok("create service clusterip s1 --tcp=80", &["service/s1 created"]),
    ok("create service nodeport s2 --tcp=80", &["service/s2 created"]),
    ok("create service loadbalancer s3 --tcp=80", &["service/s3 created"]),
    ok("create service externalname s4 --external-name=example.com", &["service/s4 created"]),
    since(24, "create token a", &["eyJ"]),
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
    since(23, "wait --for=jsonpath='{.data.a}'=one configmap/applied --timeout=9s", &["condition met"]),
    since(27, "wait --for=delete configmap/none --timeout=9s", &[]),
    ok("taint nodes --all a=b:NoSchedule", &[]),
    ok("apply -k {dir}", &["configmap/k-applied created", "configmap/k-made-"]),
    ok("delete -k {dir}", &["deleted"]),
    ok("apply -f {dir}/pruned.yaml", &["configmap/pruned created", "configmap/kept created"]),
    ok("delete configmap -l set=one", &["\"kept\" deleted", "\"pruned\" deleted"]),
    ok("auth reconcile -f {dir}/role.yaml", &["role.rbac.authorization.k8s.io/r2 reconciled"]),
    since(28, "auth whoami", &["kubernetes-admin", "system:masters"]),
    since(26, "events", &["ScalingReplicaSet"]),
    ok("run p2 --image=x", &["pod/p2 created"]),
    ok("create -f {dir}/node.yaml", &["node/edge created"]),
    ok("label pod p2 x=y z=w", &["pod/p2 labeled"]),
    fails("label pod p2 x=other", &["--overwrite is false"]),
    ok("label pod p2 x=other --overwrite", &["pod/p2 labeled"]),
    ok("label pod p2 z-", &["pod/p2"]),
    ok("get pods -l 'x in (other),!z' -o name", &["pod/p2"]),
    ok("annotate pods --all note=all", &["pod/p2 annotate"]),
    ok("annotate pod p2 note-", &["pod/p2 annotate"]),
    ok("patch configmap c --type=merge -p '{\"data\":{\"m\":\"n\"}}'", &["configmap/c patched"]),
    since(24, "patch pod p2 --subresource=status -p '{\"status\":{\"message\":\"hm\"}}'", &["pod/p2 patched"]),
    since(24, "get pod p2 --subresource=status -o jsonpath={.status.message}", &["hm"]),
    since(24, "create token a --duration=1h --audience=x", &["eyJ"]),
    ok("replace -f {dir}/changed.yaml", &["configmap/applied replaced"]),
    fails("create -f {dir}/role.yaml --dry-run=server", &["roles.rbac.authorization.k8s.io \"r2\" already exists"]),
    ok("set env deployment/web --list", &["container x"]),
    ok("set env deployment/web --from=configmap/c", &["env updated"]),
    ok("set image deployment/web *=z --record=false", &["image updated"]),
    ok("create service clusterip headless --clusterip=None", &["service/headless created"]),
    ok("expose pod p2 --port=80 --name=p2 --type=NodePort", &["service/p2 exposed"]),
    ok(
        "autoscale deployment web --name=w2 --max=5 --cpu-percent=50",
        &["horizontalpodautoscaler.autoscaling/w2 autoscaled"],
    ),
    ok("describe hpa w2", &["50%"]),
    ok("describe service p2", &["NodePort:", "Endpoints:"]),
    ok("describe quota q", &["BestEffort"]),
    ok("describe ingress i", &["example.com", "web:80"]),
    ok("describe namespace default", &["Active"]),
    ok("explain cronjob.spec.jobTemplate.spec.template.spec.containers.env.valueFrom", &["configMapKeyRef"]),
    ok("explain deployments --api-version=apps/v1", &["Deployment enables declarative updates"]),
    fails("explain pod.spec.nothing", &["field \"nothing\" does not exist"]),
    ok("auth can-i create pods --subresource=exec", &["yes"]),
    fails("auth can-i delete nodes --as=bob", &["no"]),
    ok("auth can-i list secrets -A --as=bob --as-group=system:masters", &["yes"]),
    ok("cordon edge", &["node/edge cordoned"]),
    ok("get node edge", &["SchedulingDisabled"]),
    ok("uncordon edge", &["node/edge uncordoned"]),
    ok("taint node edge a=b:NoSchedule", &["node/edge tainted"]),
    ok("taint node edge a:NoSchedule-", &["node/edge untainted"]),
    ok("cluster-info dump", &["\"kind\": \"NodeList\""]),
    ok("config current-context", &["skiff"]),
    ok("config view --minify", &["current-context", "server: https://127.0.0.1:"]),
    ok("get pods --chunk-size=1", &["p2"]),
    ok("get configmaps,secrets -l nothing=here", &["No resources found"]),
    ok("get -f {dir}/map.yaml -o name", &["configmap/applied"]),
    ok("api-resources --api-group=apps --verbs=list --sort-by=name -o wide", &["deployments", "deploy"]),
    since(27, "version -o yaml", &["gitVersion: v1.33"]),
    ok("apply -f {dir}/pruned.yaml", &["configmap/pruned created", "configmap/kept created"]),
    since(
        27,
        "apply -f {dir}/left.yaml --prune -l set=one --prune-allowlist=core/v1/ConfigMap",
        &["configmap/kept", "configmap/pruned pruned"],
    ),
    fails_since(27, "get configmap pruned", &["not found"]),
    ok("get --raw /api/v1/namespaces/default", &["\"kind\":\"Namespace\""]),
    fails("get --raw /nothing", &["could not find the requested resource"]),
    fails("get pods,nosuch", &["the server doesn't have a resource type \"nosuch\""]),
    fails("create deployment Bad --image=x", &["metadata.name: Invalid value: \"Bad\""]),
    fails(
        "patch configmap c -p '{\"data\":{\"a\":1}}'",
        &["The request is invalid: patch: Invalid value: \"map[data:map[a:1]]\""],
    ),
    fails("top nodes", &["Metrics API not available"]),
    // Not under its Deployment: that makes the last one again, and kubectl may take the new one for what it waits for.
    ok("delete deployment web --cascade=orphan", &["deployment.apps \"web\" deleted"]),
    ok("delete rs --all --cascade=foreground", &["deleted"]),
    ok("delete all --all --wait=false", &["service \"s1\" deleted"]),
    ok("delete namespace n --timeout=30s", &["namespace \"n\" deleted"]),
];

#[test]
fn kubectl_1_20() {
    walk("1.20");
}

#[test]
fn kubectl_1_27() {
    walk("1.27");
}

#[test]
fn kubectl_1_28() {
    walk("1.28");
}

#[test]
fn kubectl_1_29() {
    walk("1.29");
}

#[test]
fn kubectl_1_30() {
    walk("1.30");
}

#[test]
fn kubectl_1_31() {
    walk("1.31");
}

#[test]
fn kubectl_1_32() {
    walk("1.32");
}

#[test]
fn kubectl_1_33() {
    walk("1.33");
}

#[test]
fn the_installer_has_the_same_releases() {
    let script = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/lib.sh")).unwrap();
    assert!(script.contains(&format!("KUBECTL_RELEASES=\"{}\"", RELEASES.join(" "))));
}

/// Takes the tour with a hub of its own. The newest release describes everything besides.
fn walk(release: &str) {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(&dir.path().join("hub"), &[]);
    let kubectl = Kubectl::version(release, &hub.kubeconfig());
    let files = kubectl.file("edit", "");
    let files = std::path::Path::new(&files).parent().unwrap().to_owned();
    for (name, content) in FILES {
        // What begins with a brace would be taken for JSON.
        let marker = if content.starts_with('{') { "---\n" } else { "" };
        kubectl.file(name, &format!("{marker}{content}"));
    }
    fs::set_permissions(files.join("edit"), fs::Permissions::from_mode(0o755)).unwrap();
    let kubectl = kubectl.with_editor(&files.join("edit"));
    steps::walk(&kubectl, release, TOUR, &files.display().to_string(), "default");
    certificates(&kubectl, &files.display().to_string());
    if RELEASES.last() == Some(&release) {
        describe_everything(&kubectl);
    }
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
fn certificates(kubectl: &Kubectl, dir: &str) {
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
