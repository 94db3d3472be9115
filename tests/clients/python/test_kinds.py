"""Every kind through the typed client: each call of its API, and every answer fits the client's model."""

from datetime import datetime, timezone

from kubernetes import client
from support import IMAGE, InNamespace, eventually

LABELS = {"app": "x"}
TEMPLATE = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "x", "image": IMAGE}]}}
JOB = {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "x", "image": IMAGE}]}}, "suspend": True}
BACKEND = {"service": {"name": "x", "port": {"number": 80}}}
RULES = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
ROLE = {"apiGroup": "rbac.authorization.k8s.io", "name": "x"}
SUBJECTS = [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "jane"}]
VOLUME = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/tmp/x"}}
NOW = datetime.now(timezone.utc)

# API class, the kind's name in its methods, what makes an object besides its name.
NAMESPACED = [
    ("CoreV1Api", "config_map", {"data": {"a": "1"}}),
    ("CoreV1Api", "endpoints", {"subsets": [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 80}]}]}),
    ("CoreV1Api", "limit_range", {"spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}}]}}),
    ("CoreV1Api", "persistent_volume_claim",
     {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
    ("CoreV1Api", "pod", {"spec": {**TEMPLATE["spec"], "nodeSelector": {"no": "node"}}}),
    ("CoreV1Api", "pod_template", {"template": TEMPLATE}),
    ("CoreV1Api", "replication_controller", {"spec": {"replicas": 0, "selector": LABELS, "template": TEMPLATE}}),
    ("CoreV1Api", "resource_quota", {"spec": {"hard": {"count/jobs.batch": "100"}}}),
    ("CoreV1Api", "secret", {"stringData": {"a": "b"}}),
    ("CoreV1Api", "service", {"spec": {"selector": LABELS, "ports": [{"port": 80}]}}),
    ("CoreV1Api", "service_account", {}),
    ("AppsV1Api", "controller_revision", {"revision": 1, "data": {"a": 1}}),
    ("AppsV1Api", "daemon_set",
     {"spec": {"selector": {"matchLabels": LABELS},
               "template": {**TEMPLATE, "spec": {**TEMPLATE["spec"], "nodeSelector": {"no": "node"}}}}}),
    ("AppsV1Api", "deployment", {"spec": {"replicas": 0, "selector": {"matchLabels": LABELS}, "template": TEMPLATE}}),
    ("AppsV1Api", "replica_set", {"spec": {"replicas": 0, "selector": {"matchLabels": LABELS}, "template": TEMPLATE}}),
    ("AppsV1Api", "stateful_set",
     {"spec": {"replicas": 0, "serviceName": "x", "selector": {"matchLabels": LABELS}, "template": TEMPLATE}}),
    ("AutoscalingV1Api", "horizontal_pod_autoscaler",
     {"spec": {"maxReplicas": 2, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}}}),
    ("AutoscalingV2Api", "horizontal_pod_autoscaler",
     {"spec": {"maxReplicas": 2, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"},
               "metrics": [{"type": "Resource", "resource": {
                   "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]}}),
    ("BatchV1Api", "cron_job", {"spec": {"schedule": "0 0 1 1 *", "suspend": True, "jobTemplate": {"spec": JOB}}}),
    ("BatchV1Api", "job", {"spec": JOB}),
    ("CoordinationV1Api", "lease", {"spec": {"holderIdentity": "x", "leaseDurationSeconds": 15, "renewTime": NOW}}),
    ("DiscoveryV1Api", "endpoint_slice",
     {"addressType": "IPv4", "endpoints": [{"addresses": ["192.0.2.1"]}], "ports": [{"name": "", "port": 80}]}),
    ("EventsV1Api", "event",
     {"eventTime": NOW, "action": "Test", "reason": "Tested", "type": "Normal", "reportingController": "example.com/x",
      "reportingInstance": "x", "note": "a note", "regarding": {"kind": "Pod", "name": "x", "namespace": "NAMESPACE"}}),
    ("NetworkingV1Api", "ingress",
     {"spec": {"rules": [{"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": BACKEND}]}}]}}),
    ("NetworkingV1Api", "network_policy", {"spec": {"podSelector": {}, "ingress": [{"ports": [{"port": 80}]}]}}),
    ("PolicyV1Api", "pod_disruption_budget", {"spec": {"minAvailable": 1, "selector": {"matchLabels": LABELS}}}),
    ("RbacAuthorizationV1Api", "role", {"rules": RULES}),
    ("RbacAuthorizationV1Api", "role_binding", {"roleRef": {**ROLE, "kind": "Role"}, "subjects": SUBJECTS}),
]

CLUSTER = [
    ("CoreV1Api", "namespace", {}),
    ("CoreV1Api", "node",
     {"spec": {"unschedulable": True, "podCIDR": "10.42.200.0/24", "podCIDRs": ["10.42.200.0/24"]}}),
    ("CoreV1Api", "persistent_volume", {"spec": VOLUME}),
    ("NetworkingV1Api", "ingress_class", {"spec": {"controller": "example.com/x"}}),
    ("NodeV1Api", "runtime_class", {"handler": "runc"}),
    ("RbacAuthorizationV1Api", "cluster_role", {"rules": RULES}),
    ("RbacAuthorizationV1Api", "cluster_role_binding",
     {"roleRef": {**ROLE, "kind": "ClusterRole"}, "subjects": SUBJECTS}),
    ("SchedulingV1Api", "priority_class", {"value": 100}),
    ("StorageV1Api", "csi_driver", {"spec": {"attachRequired": False}}),
    ("StorageV1Api", "csi_node", {"spec": {"drivers": []}}),
    ("StorageV1Api", "storage_class", {"provisioner": "example.com/x"}),
    ("StorageV1Api", "volume_attachment",
     {"spec": {"attacher": "example.com", "nodeName": "x", "source": {"persistentVolumeName": "x"}}}),
]

# Kinds whose status subresource is younger than the Kubernetes that the hub is like.
YOUNG_STATUS = ["csi_node"]


# Kinds that are replaced only by who names the version that is replaced.
VERSIONED = ["csi_driver", "csi_node", "lease", "pod_disruption_budget", "runtime_class", "volume_attachment"]


def counted(budget):
    """The budget, once its pods are counted: nobody writes it then."""
    return budget if budget.status.observed_generation else None


class Kinds(InNamespace):
    """Goes through the verbs of each kind."""

    def test_kinds_in_namespaces(self):
        for group, kind, body in NAMESPACED:
            with self.subTest(group=group, kind=kind):
                if "regarding" in body:
                    body = {**body, "regarding": {**body["regarding"], "namespace": self.namespace}}
                self.walk(getattr(client, group)(), kind, [self.namespace], body)

    def test_kinds_of_the_cluster(self):
        for group, kind, body in CLUSTER:
            with self.subTest(group=group, kind=kind):
                self.walk(getattr(client, group)(), kind, [], body)

    def walk(self, api, kind, namespace, body):
        """Create, read, list, replace, patch, delete; dry runs of the writes first."""

        scoped = f"namespaced_{kind}" if namespace else kind

        def call(verb, *arguments, **options):
            return getattr(api, f"{verb}_{scoped}")(*arguments, **options)

        name = f"x-{self.namespace}"
        whole = {"metadata": {"name": name, "labels": {"walk": "1"}}, **body}
        call("create", *namespace, whole, dry_run="All")
        made = call("create", *namespace, whole)
        read = call("read", name, *namespace)
        self.assertEqual(read.metadata.uid, made.metadata.uid)
        selectors = {"label_selector": "walk=1", "field_selector": f"metadata.name={name}"}
        lists = [call("list", *namespace, **selectors)]
        if namespace:
            lists.append(getattr(api, f"list_{kind}_for_all_namespaces")(**selectors))
        for listed in lists:
            self.assertEqual([item.metadata.uid for item in listed.items], [made.metadata.uid])

        if kind == "pod_disruption_budget":
            read = eventually("a status", lambda: counted(call("read", name, *namespace)))
        read.metadata.annotations = {"example.com/replaced": "yes"}
        if kind not in VERSIONED:
            # A controller may have written a status in between.
            read.metadata.resource_version = None
        call("replace", name, *namespace, read, dry_run="All")
        replaced = call("replace", name, *namespace, read)
        self.assertEqual(replaced.metadata.annotations["example.com/replaced"], "yes")
        patched = call("patch", name, *namespace, {"metadata": {"annotations": {"example.com/replaced": None}}})
        self.assertNotIn("example.com/replaced", patched.metadata.annotations or {})
        if hasattr(api, f"read_{scoped}_status") and kind not in YOUNG_STATUS:
            status = getattr(api, f"read_{scoped}_status")(name, *namespace)
            self.assertEqual(status.metadata.uid, made.metadata.uid)
        call("delete", name, *namespace, dry_run="All")
        deleted = call("delete", name, *namespace)
        if isinstance(deleted, type(made)):
            self.assertEqual(deleted.metadata.uid, made.metadata.uid)


class KindsAsTheyAreFound(InNamespace):
    def test_what_the_cluster_has_by_itself_fits_the_models(self):
        core = client.CoreV1Api()
        rbac = client.RbacAuthorizationV1Api()
        for listed in [
            core.list_namespace(),
            core.list_node(),
            core.list_service_for_all_namespaces(),
            core.list_service_account_for_all_namespaces(),
            core.list_event_for_all_namespaces(),
            core.list_endpoints_for_all_namespaces(),
            core.list_pod_for_all_namespaces(),
            client.CoordinationV1Api().list_lease_for_all_namespaces(),
            client.SchedulingV1Api().list_priority_class(),
            rbac.list_cluster_role(),
            rbac.list_cluster_role_binding(),
            rbac.list_role_for_all_namespaces(),
            rbac.list_role_binding_for_all_namespaces(),
        ]:
            self.assertTrue(listed.metadata.resource_version, listed.kind)

    def test_discovery_fits_the_models(self):
        groups = {group.name: group for group in client.ApisApi().get_api_versions().groups}
        self.assertEqual(groups["apps"].preferred_version.group_version, "apps/v1")
        self.assertIn("v1", client.CoreApi().get_api_versions().versions)
        self.assertTrue(client.VersionApi().get_code().git_version.startswith("v1."))
        for api in [
            "AppsV1Api", "AuthenticationV1Api", "AuthorizationV1Api", "AutoscalingV1Api", "AutoscalingV2Api",
            "BatchV1Api", "CertificatesV1Api", "CoordinationV1Api", "CoreV1Api", "DiscoveryV1Api", "EventsV1Api",
            "NetworkingV1Api", "NodeV1Api", "PolicyV1Api", "RbacAuthorizationV1Api", "SchedulingV1Api", "StorageV1Api",
        ]:
            resources = getattr(client, api)().get_api_resources()
            self.assertTrue(all(resource.verbs for resource in resources.resources), api)
            if api != "CoreV1Api":
                group = getattr(client, api.replace("V1Api", "Api").replace("V2Api", "Api"))().get_api_group()
                self.assertIn(resources.group_version, [version.group_version for version in group.versions])
