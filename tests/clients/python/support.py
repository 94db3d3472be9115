"""What the tests share: clients from the kubeconfig, a namespace for each class, waiting, and expected refusals."""

import contextlib
import json
import time
import unittest

from kubernetes import client, config

IMAGE = "localhost/test:1"

config.load_kube_config()

core = client.CoreV1Api()
apps = client.AppsV1Api()


def eventually(what, check, seconds=30):
    """The first true value of `check`; fails the test when none comes in time."""
    end = time.monotonic() + seconds
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s for {what}")
        time.sleep(0.05)


def with_token(token):
    """An API client that has nothing but a bearer token."""
    configuration = client.Configuration.get_default_copy()
    configuration.cert_file = configuration.key_file = None
    configuration.api_key = {"BearerToken": f"Bearer {token}"}
    return client.ApiClient(configuration)


def as_account(namespace, name):
    """An API client with a token of a service account."""
    request = {"spec": {"audiences": None, "expirationSeconds": 600}}
    return with_token(core.create_namespaced_service_account_token(name, namespace, request).status.token)


class InNamespace(unittest.TestCase):
    """A test case with a namespace `self.namespace` of its own."""

    @classmethod
    def setUpClass(cls):
        meta = client.V1ObjectMeta(generate_name="python-")
        cls.namespace = core.create_namespace(client.V1Namespace(metadata=meta)).metadata.name
        cls.addClassCleanup(core.delete_namespace, cls.namespace)

    def config_map(self, name, labels=None, **data):
        """Creates a ConfigMap."""
        meta = client.V1ObjectMeta(name=name, labels=labels)
        return core.create_namespaced_config_map(self.namespace, client.V1ConfigMap(metadata=meta, data=data))

    @contextlib.contextmanager
    def refused(self, status, reason, *parts):
        """The block must raise an ApiException whose body is a Status of this code and reason, with these parts in
        its message. Gives a dict that holds the Status afterwards."""
        found = {}
        with self.assertRaises(client.ApiException) as caught:
            yield found
        self.assertEqual(caught.exception.status, status, caught.exception.body)
        found.update(json.loads(caught.exception.body))
        self.assertEqual((found["kind"], found["apiVersion"], found["status"]), ("Status", "v1", "Failure"))
        self.assertEqual((found["code"], found["reason"]), (status, reason), found)
        for part in parts:
            self.assertIn(part, found["message"])


def pod(name, *command, labels=None, **spec):
    """A pod of one container `main` that ends fast."""
    container = client.V1Container(name="main", image=IMAGE, command=list(command) or None)
    spec = client.V1PodSpec(containers=[container], termination_grace_period_seconds=1, **spec)
    return client.V1Pod(metadata=client.V1ObjectMeta(name=name, labels=labels), spec=spec)


def running(namespace, name):
    """Waits until a pod runs, and gives it."""

    def check():
        found = core.read_namespaced_pod(name, namespace)
        return found if found.status.phase == "Running" else None

    return eventually(f"{namespace}/{name} to run", check, 60)
