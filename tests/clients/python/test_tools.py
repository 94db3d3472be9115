"""What the client brings along: manifests from YAML, leader election, a Deployment rolled out and back."""

import os
import tempfile
import threading
import uuid

from kubernetes import client, utils
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.configmaplock import ConfigMapLock
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock
from support import IMAGE, InNamespace, apps, core, eventually

MANIFESTS = f"""
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{{name: web, image: "{IMAGE}", command: [sleep, "1000"]}}]
---
apiVersion: v1
kind: List
items:
  - {{apiVersion: v1, kind: ConfigMap, metadata: {{name: one}}}}
  - {{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: two}}, spec: {{podSelector: {{}}}}}}
"""


class Manifests(InNamespace):
    def test_manifests_become_a_running_deployment(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "all.yaml")
            with open(path, "w", encoding="utf-8") as file:
                file.write(MANIFESTS)
            utils.create_from_yaml(client.ApiClient(), path, namespace=self.namespace)
            with self.assertRaises(utils.FailToCreateError) as caught:
                utils.create_from_yaml(client.ApiClient(), path, namespace=self.namespace)
            self.assertEqual({e.status for e in caught.exception.api_exceptions}, {409})
            utils.create_from_yaml(client.ApiClient(), path, namespace=self.namespace, apply=True)
        self.rolled_out(replicas=2)
        template = {"metadata": {"annotations": {"restarted": "yes"}}}
        apps.patch_namespaced_deployment("web", self.namespace, {"spec": {"template": template}})
        self.rolled_out(replicas=2)
        sets = apps.list_namespaced_replica_set(self.namespace, label_selector="app=web").items
        self.assertEqual(sorted(found.status.replicas for found in sets), [0, 2])
        body = client.V1DeleteOptions(propagation_policy="Foreground")
        apps.delete_namespaced_deployment("web", self.namespace, body=body)
        gone = lambda: not core.list_namespaced_pod(self.namespace, label_selector="app=web").items
        eventually("the pods to go", gone, 60)

    def rolled_out(self, replicas):
        def check():
            found = apps.read_namespaced_deployment("web", self.namespace)
            status = found.status
            counts = {status.replicas, status.updated_replicas, status.available_replicas}
            return status.observed_generation >= found.metadata.generation and counts == {replicas}

        eventually("the Deployment to be rolled out", check, 90)


class Elections(InNamespace):
    def test_leaders_take_turns(self):
        """The first candidate leads; a second one takes over when the first no longer renews."""
        locks = {"lease": LeaseLock, "config": ConfigMapLock}
        leaders = {name: [] for name in locks}
        healthy = threading.Event()
        healthy.set()

        def run(lock, candidate, renews):
            """A candidate in a thread of its own, which notes when it leads; it renews while `renews` is set."""
            identity = locks[lock](f"lock-{lock}", self.namespace, f"{candidate}-{uuid.uuid4()}")
            update = identity.update
            identity.update = lambda *arguments, **named: renews.is_set() and update(*arguments, **named)
            config = electionconfig.Config(
                identity,
                lease_duration=4,
                renew_deadline=3,
                retry_period=2,
                onstarted_leading=lambda: leaders[lock].append(candidate),
                onstopped_leading=lambda: None,
            )
            threading.Thread(target=leaderelection.LeaderElection(config).run, daemon=True).start()

        for lock in locks:
            run(lock, "first", healthy)
        eventually("the first leaders", lambda: all(found == ["first"] for found in leaders.values()))
        always = threading.Event()
        always.set()
        for lock in locks:
            run(lock, "second", always)
        healthy.clear()
        eventually("the second leaders", lambda: all(found == ["first", "second"] for found in leaders.values()), 30)
