"""Errors as the client raises them: the exception of each status code, with a Status of the right reason."""

from kubernetes import client, watch
from kubernetes.client import exceptions
from support import InNamespace, apps, as_account, core, with_token

custom = client.CustomObjectsApi()


def deployment(**spec):
    """A Deployment with parts of its spec replaced."""
    labels = {"app": "x"}
    whole = {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "x", "image": "x"}]}},
    }
    return {"metadata": {"name": "x"}, "spec": {**whole, **spec}}


class Refusals(InNamespace):
    def test_400_bad_request(self):
        with self.refused(400, "BadRequest", "unable to parse requirement"):
            core.list_namespaced_pod(self.namespace, label_selector="a in (")
        with self.refused(400, "BadRequest", "field label not supported: spec.color"):
            core.list_namespaced_pod(self.namespace, field_selector="spec.color=red")
        with self.refused(400, "BadRequest", "does not match the namespace"):
            core.create_namespaced_pod(self.namespace, {"metadata": {"name": "x", "namespace": "default"}})
        with self.refused(400, "BadRequest", "cannot unmarshal string into Go"):
            body = deployment(replicas="many")
            custom.create_namespaced_custom_object("apps", "v1", self.namespace, "deployments", body)
        with self.assertRaises(exceptions.BadRequestException):
            core.list_namespaced_pod(self.namespace, _continue="nonsense")

    def test_401_unauthorized(self):
        stranger = client.CoreV1Api(with_token("nonsense"))
        with self.refused(401, "Unauthorized", "Unauthorized"):
            stranger.list_namespace()
        with self.assertRaises(exceptions.UnauthorizedException):
            stranger.list_namespace()

    def test_403_forbidden(self):
        core.create_namespaced_service_account(self.namespace, {"metadata": {"name": "robot"}})
        robot = client.CoreV1Api(as_account(self.namespace, "robot"))
        user = f'User "system:serviceaccount:{self.namespace}:robot"'
        message = f'secrets is forbidden: {user} cannot list resource "secrets" in API group ""'
        with self.refused(403, "Forbidden", message, 'in the namespace "default"'):
            robot.list_namespaced_secret("default")
        message = f'nodes "x" is forbidden: {user} cannot delete resource "nodes" in API group "" at the cluster scope'
        with self.refused(403, "Forbidden", message):
            robot.delete_node("x")
        with self.assertRaises(exceptions.ForbiddenException):
            robot.read_namespaced_secret("x", "default")

    def test_404_not_found(self):
        with self.refused(404, "NotFound", 'deployments.apps "gone" not found') as status:
            apps.read_namespaced_deployment("gone", self.namespace)
        self.assertEqual(status["details"], {"name": "gone", "group": "apps", "kind": "deployments"})
        with self.refused(404, "NotFound", 'namespaces "gone" not found'):
            core.create_namespaced_config_map("gone", {"metadata": {"name": "x"}})
        with self.refused(404, "NotFound", "the server could not find the requested resource"):
            custom.list_cluster_custom_object("example.com", "v1", "things")
        with self.assertRaises(exceptions.NotFoundException):
            core.delete_namespaced_pod("gone", self.namespace)

    def test_405_method_not_allowed(self):
        with self.refused(405, "MethodNotAllowed", "the server does not allow this method on the requested resource"):
            custom.create_cluster_custom_object("apps", "v1", "deployments", {})

    def test_409_conflict(self):
        self.config_map("twice")
        with self.refused(409, "AlreadyExists", 'configmaps "twice" already exists') as status:
            self.config_map("twice")
        self.assertEqual(status["details"], {"name": "twice", "kind": "configmaps"})
        with self.assertRaises(exceptions.ConflictException):
            self.config_map("twice")

    def test_410_gone(self):
        self.config_map("large", text="x" * 900_000)
        self.config_map("small")
        first = core.list_namespaced_config_map(self.namespace, limit=1)

        def patch(name, index):
            core.patch_namespaced_config_map(name, self.namespace, {"data": {"index": str(index)}})

        # More bytes of changes, and more lists that may go on, than the hub keeps.
        for index in range(20):
            patch("large", index)
        for index in range(65):
            patch("small", index)
            core.list_namespaced_config_map(self.namespace, limit=1)
        with self.refused(410, "Expired", "The provided continue parameter is too old") as status:
            core.list_namespaced_config_map(self.namespace, limit=1, _continue=first.metadata._continue)
        rest = core.list_namespaced_config_map(self.namespace, _continue=status["metadata"]["continue"])
        self.assertNotIn(first.items[0].metadata.name, [item.metadata.name for item in rest.items])
        version = first.metadata.resource_version
        with self.refused(410, "Expired", "The resourceVersion for the provided list is too old"):
            core.list_namespaced_config_map(self.namespace, resource_version=version, resource_version_match="Exact")
        with self.assertRaises(client.ApiException) as caught:
            for _ in watch.Watch().stream(core.list_namespaced_config_map, self.namespace, resource_version=version):
                self.fail("nothing can be watched from there")
        self.assertEqual(caught.exception.status, 410)
        self.assertIn("too old resource version", caught.exception.reason)

    def test_422_invalid(self):
        message = "spec.replicas: Invalid value: -1: must be greater than or equal to 0"
        with self.refused(422, "Invalid", message) as found:
            apps.create_namespaced_deployment(self.namespace, deployment(replicas=-1))
        (cause,) = found["details"]["causes"]
        self.assertEqual((cause["reason"], cause["field"]), ("FieldValueInvalid", "spec.replicas"))
        with self.refused(422, "Invalid", "spec.selector: Invalid value", "empty selector is invalid for deployment"):
            apps.create_namespaced_deployment(self.namespace, deployment(selector={}))
        apps.create_namespaced_deployment(self.namespace, deployment(replicas=0))
        with self.refused(422, "Invalid", "spec.selector: Invalid value", "field is immutable"):
            labels = {"app": "y"}
            body = {"spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}}}}
            apps.patch_namespaced_deployment("x", self.namespace, body)
        with self.refused(422, "Invalid", "metadata.name: Required value: name or generateName is required"):
            core.create_namespaced_config_map(self.namespace, {"metadata": {}})
        with self.assertRaises(exceptions.UnprocessableEntityException):
            core.create_namespaced_config_map(self.namespace, {"metadata": {"name": "No Name"}})

    def test_415_unsupported_media_type(self):
        self.config_map("media")
        with self.refused(415, "UnsupportedMediaType", "415: Unsupported Media Type"):
            kind = "application/example+json"
            core.patch_namespaced_config_map("media", self.namespace, {"data": {}}, _content_type=kind)
