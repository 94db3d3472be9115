"""What the client brings along: manifests from YAML, leader election, a Deployment rolled out and back."""

import os
import tempfile
import threading
import time
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
        for kind in [LeaseLock, ConfigMapLock]:
            with self.subTest(kind=kind.__name__):
                self.election(kind)

    def election(self, kind):
        """The first candidate leads; a second one takes over when the first no longer renews."""
        leaders, lock = [], f"lock-{kind.__name__.lower()}"

        def run(name, replace=None):
            candidate = kind(lock, self.namespace, f"{name}-{uuid.uuid4()}")
            if replace:
                candidate.update = replace(candidate.update)
            config = electionconfig.Config(
                candidate,
                lease_duration=2,
                renew_deadline=1,
                retry_period=0.3,
                onstarted_leading=lambda: leaders.append(name),
                onstopped_leading=lambda: None,
            )
            threading.Thread(target=leaderelection.LeaderElection(config).run, daemon=True).start()

        end = time.monotonic() + 1

        def until_then(update):
            return lambda *arguments, **named: time.monotonic() < end and update(*arguments, **named)

        run("first", until_then)
        eventually("the first leader", lambda: leaders == ["first"])
        run("second")
        eventually("the second leader", lambda: leaders == ["first", "second"], 10)
