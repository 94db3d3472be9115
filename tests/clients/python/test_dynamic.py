"""The dynamic client: discovery with its cache, and every verb on what it found."""

import os
import tempfile

from kubernetes import client, dynamic, watch
from kubernetes.dynamic import exceptions
from kubernetes.dynamic.discovery import EagerDiscoverer, LazyDiscoverer
from support import InNamespace

LABELS = {"app": "dynamic"}


def deployment(name, **spec):
    """A Deployment as a dict."""
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "x", "image": "localhost/test:1"}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": LABELS}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


class Dynamic(InNamespace):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.dynamic = dynamic.DynamicClient(client.ApiClient())
        cls.deployments = cls.dynamic.resources.get(api_version="apps/v1", kind="Deployment")
        cls.config_maps = cls.dynamic.resources.get(api_version="v1", kind="ConfigMap")

    def test_discovery_is_cached_in_a_file(self):
        for discoverer in [LazyDiscoverer, EagerDiscoverer]:
            with tempfile.TemporaryDirectory() as directory:
                cache = os.path.join(directory, "cache.json")
                for _ in range(2):
                    found = dynamic.DynamicClient(client.ApiClient(), cache_file=cache, discoverer=discoverer)
                    pods = found.resources.get(api_version="v1", kind="Pod")
                    self.assertEqual((pods.name, pods.namespaced, pods.group_version), ("pods", True, "v1"))
                    self.assertIn("po", pods.short_names)
                    self.assertEqual(found.resources.get(group="batch", kind="Job").group_version, "batch/v1")
                self.assertTrue(os.path.getsize(cache) > 0)
        self.assertEqual(self.dynamic.version["kubernetes"]["major"], "1")
        with self.assertRaises(exceptions.ResourceNotFoundError):
            self.dynamic.resources.get(api_version="example.com/v1", kind="Thing")

    def test_an_object_lives(self):
        api, name = self.deployments, "life"
        made = api.create(body=deployment(name), namespace=self.namespace)
        self.assertEqual((made.kind, made.spec.replicas), ("Deployment", 0))
        self.assertEqual(api.get(name=name, namespace=self.namespace).metadata.uid, made.metadata.uid)
        patched = api.patch(body=deployment(name, paused=True), namespace=self.namespace)
        self.assertTrue(patched.spec.paused)
        kind = "application/merge-patch+json"
        body = {"metadata": {"labels": {"x": "1"}}}
        api.patch(body=body, name=name, namespace=self.namespace, content_type=kind)
        (listed,) = api.get(namespace=self.namespace, label_selector="x=1").items
        whole = listed.to_dict()
        whole["spec"]["paused"] = False
        whole["metadata"].pop("resourceVersion")
        self.assertFalse(api.replace(body=whole, namespace=self.namespace).spec.paused)
        self.assertEqual(api.delete(name=name, namespace=self.namespace).kind, "Status")
        with self.assertRaises(exceptions.NotFoundError):
            api.get(name=name, namespace=self.namespace)

    def test_subresources(self):
        self.deployments.create(body=deployment("sub"), namespace=self.namespace)
        scale = self.deployments.scale.get(name="sub", namespace=self.namespace)
        # Go leaves out a zero.
        self.assertEqual((scale.kind, scale.spec.replicas), ("Scale", None))
        body = {"spec": {"replicas": 1}}
        kind = "application/merge-patch+json"
        scaled = self.deployments.scale.patch(body=body, name="sub", namespace=self.namespace, content_type=kind)
        self.assertEqual(scaled.spec.replicas, 1)
        self.assertEqual(self.deployments.status.get(name="sub", namespace=self.namespace).kind, "Deployment")

    def test_configurations_are_applied(self):
        def apply(data, manager, **options):
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": data}
            return self.config_maps.server_side_apply(
                body=body, namespace=self.namespace, field_manager=manager, **options
            )

        self.assertEqual(apply({"a": "1"}, "one").data.a, "1")
        with self.assertRaises(exceptions.ConflictError):
            apply({"a": "2"}, "two")
        self.assertEqual(apply({"a": "2"}, "two", dry_run="All", force_conflicts=True).data.a, "2")
        self.assertEqual(apply({"a": "2"}, "two", force_conflicts=True).data.a, "2")

    def test_watches(self):
        for name in ["one", "two"]:
            self.config_maps.create(body={"metadata": {"name": name, "labels": {"w": "1"}}}, namespace=self.namespace)
        seen, watcher = [], watch.Watch()
        for event in self.config_maps.watch(namespace=self.namespace, label_selector="w=1", watcher=watcher):
            seen.append((event["type"], event["object"].metadata.name))
            if len(seen) == 2:
                watcher.stop()
        self.assertEqual(seen, [("ADDED", "one"), ("ADDED", "two")])
        named = self.config_maps.watch(namespace=self.namespace, name="two", timeout=1)
        self.assertEqual([event["object"].metadata.name for event in named], ["two"])

    def test_lists_of_objects_are_created_at_once(self):
        listed = self.dynamic.resources.get(api_version="v1", kind="ConfigMapList")
        items = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}} for name in ["a", "b"]]
        body = {"apiVersion": "v1", "kind": "ConfigMapList", "items": items}
        made = listed.create(body=body, namespace=self.namespace)
        self.assertEqual([item["metadata"]["name"] for item in made.items], ["a", "b"])
        self.config_maps.delete(namespace=self.namespace, field_selector="metadata.name=a")
        with self.assertRaises(exceptions.NotFoundError):
            self.config_maps.get(name="a", namespace=self.namespace)

    def test_errors_have_their_classes(self):
        with self.assertRaises(exceptions.UnprocessibleEntityError) as caught:
            self.deployments.create(body=deployment("bad", replicas=-1), namespace=self.namespace)
        self.assertIn("spec.replicas", caught.exception.summary())
        with self.assertRaises(exceptions.BadRequestError):
            self.deployments.get(namespace=self.namespace, label_selector="a in (")
        with self.assertRaises(exceptions.MethodNotAllowedError):
            self.dynamic.request("put", self.config_maps.path(namespace=self.namespace), body={})
