"""Create, read, list, replace, patch and delete with their options, on ConfigMaps."""

import json

from kubernetes import client
from support import InNamespace, core


class Objects(InNamespace):
    def test_an_object_lives_from_create_to_delete(self):
        made = self.config_map("life", a="1")
        self.assertTrue(made.metadata.uid and made.metadata.resource_version and made.metadata.creation_timestamp)
        read = core.read_namespaced_config_map("life", self.namespace)
        self.assertEqual(read, made)

        read.data["b"] = "2"
        replaced = core.replace_namespaced_config_map("life", self.namespace, read)
        self.assertEqual(replaced.data, {"a": "1", "b": "2"})
        self.assertNotEqual(replaced.metadata.resource_version, made.metadata.resource_version)
        with self.refused(409, "Conflict", "the object has been modified; please apply your changes"):
            core.replace_namespaced_config_map("life", self.namespace, made)

        deleted = core.delete_namespaced_config_map("life", self.namespace)
        self.assertEqual((deleted["kind"], deleted["status"]), ("Status", "Success"))
        self.assertEqual(deleted["details"], {"name": "life", "kind": "configmaps", "uid": made.metadata.uid})
        with self.refused(404, "NotFound", 'configmaps "life" not found'):
            core.read_namespaced_config_map("life", self.namespace)

    def test_binary_data_and_raw_answers(self):
        made = core.create_namespaced_config_map(
            self.namespace,
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "raw"}, "binaryData": {"x": "AP8Q"}},
        )
        self.assertEqual(core.read_namespaced_config_map("raw", self.namespace).binary_data, made.binary_data)
        raw = core.read_namespaced_config_map("raw", self.namespace, _preload_content=False)
        self.assertEqual(raw.status, 200)
        self.assertTrue(raw.headers["Content-Type"].startswith("application/json"))
        self.assertEqual(json.loads(raw.data)["binaryData"], {"x": "AP8Q"})
        pretty = core.read_namespaced_config_map("raw", self.namespace, pretty="true", _preload_content=False)
        self.assertIn(b'\n  "kind": "ConfigMap"', pretty.data)
        data, status, headers = core.read_namespaced_config_map_with_http_info("raw", self.namespace)
        self.assertEqual((data.metadata.name, status), ("raw", 200))
        self.assertIn("Audit-Id", headers)

    def test_lists_are_selected_and_paged(self):
        for index in range(7):
            self.config_map(f"page-{index}", labels={"set": "pages", "odd": str(index % 2)})
        selector = {"label_selector": "set=pages"}
        names, token, pages = [], None, 0
        while token != "":
            page = core.list_namespaced_config_map(self.namespace, limit=3, _continue=token, **selector)
            names += [item.metadata.name for item in page.items]
            token, pages = page.metadata._continue or "", pages + 1
        self.assertEqual((names, pages), ([f"page-{index}" for index in range(7)], 3))

        odd = core.list_namespaced_config_map(self.namespace, label_selector="set=pages,odd in (1, 7),!absent")
        self.assertEqual([item.metadata.name for item in odd.items], ["page-1", "page-3", "page-5"])
        one = core.list_config_map_for_all_namespaces(
            field_selector=f"metadata.name=page-4,metadata.namespace={self.namespace}"
        )
        self.assertEqual([item.metadata.name for item in one.items], ["page-4"])

        whole = core.list_namespaced_config_map(self.namespace, **selector)
        core.delete_namespaced_config_map("page-6", self.namespace)
        version = whole.metadata.resource_version
        exact = core.list_namespaced_config_map(
            self.namespace, resource_version=version, resource_version_match="Exact", **selector
        )
        self.assertEqual((len(exact.items), exact.metadata.resource_version), (7, version))
        newer = core.list_namespaced_config_map(
            self.namespace, resource_version=version, resource_version_match="NotOlderThan", **selector
        )
        self.assertEqual(len(newer.items), 6)
        cached = core.list_namespaced_config_map(self.namespace, resource_version="0", **selector)
        self.assertEqual(len(cached.items), 6)

    def test_patches_of_every_kind(self):
        self.config_map("patched", labels={"a": "1"}, x="1", y="2")

        def patch(body, kind=None):
            return core.patch_namespaced_config_map("patched", self.namespace, body, _content_type=kind)

        self.assertEqual(patch({"data": {"x": None, "z": "3"}}).data, {"y": "2", "z": "3"})
        self.assertEqual(patch({"data": {"y": None}}, "application/merge-patch+json").data, {"z": "3"})
        strategic = "application/strategic-merge-patch+json"
        self.assertEqual(patch({"data": {"$patch": "replace", "w": "4"}}, strategic).data, {"w": "4"})
        steps = [{"op": "test", "path": "/data/w", "value": "4"}, {"op": "add", "path": "/data/v", "value": "5"}]
        self.assertEqual(patch(steps).data, {"w": "4", "v": "5"})
        with self.refused(422, "Invalid", "the server rejected our request due to an error in our request"):
            patch([{"op": "test", "path": "/data/w", "value": "no"}])
        self.assertEqual(patch(client.V1ConfigMap(data={"u": "6"})).data, {"w": "4", "v": "5", "u": "6"})

    def test_lists_inside_objects_are_patched_by_their_keys(self):
        account = {"metadata": {"name": "robot"}, "imagePullSecrets": [{"name": "a"}], "secrets": [{"name": "a"}]}
        core.create_namespaced_service_account(self.namespace, account)

        def patch(body, kind):
            found = core.patch_namespaced_service_account("robot", self.namespace, body, _content_type=kind)
            return [s.name for s in found.secrets or []], [s.name for s in found.image_pull_secrets or []]

        strategic, merge = "application/strategic-merge-patch+json", "application/merge-patch+json"
        both = {"secrets": [{"name": "b"}], "imagePullSecrets": [{"name": "b"}]}
        self.assertEqual(patch(both, strategic), (["b", "a"], ["b"]))
        self.assertEqual(patch({"secrets": [{"name": "a", "$patch": "delete"}]}, strategic), (["b"], ["b"]))
        self.assertEqual(patch({"secrets": [{"name": "c"}]}, merge), (["c"], ["b"]))

    def test_dry_runs_change_nothing(self):
        body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="dry"), data={"a": "1"})
        made = core.create_namespaced_config_map(self.namespace, body, dry_run="All")
        self.assertTrue(made.metadata.uid)
        with self.refused(404, "NotFound"):
            core.read_namespaced_config_map("dry", self.namespace)
        self.config_map("dry", a="1")
        core.patch_namespaced_config_map("dry", self.namespace, {"data": {"a": "2"}}, dry_run="All")
        core.delete_namespaced_config_map("dry", self.namespace, dry_run="All")
        self.assertEqual(core.read_namespaced_config_map("dry", self.namespace).data, {"a": "1"})
        with self.refused(422, "Invalid", 'dryRun: Unsupported value: []string{"Some"}: supported values: "All"'):
            core.create_namespaced_config_map(self.namespace, body, dry_run="Some")

    def test_field_managers_and_field_validation(self):
        custom = client.CustomObjectsApi()
        kind = ("apps", "v1", self.namespace, "controllerrevisions")
        body = {
            "apiVersion": "apps/v1",
            "kind": "ControllerRevision",
            "metadata": {"name": "fields"},
            "revision": 1,
            "data": {"a": 1},
            "extra": 1,
        }
        with self.refused(400, "BadRequest", 'strict decoding error: unknown field "extra"'):
            custom.create_namespaced_custom_object(*kind, body, field_validation="Strict")
        made, status, headers = custom.create_namespaced_custom_object_with_http_info(
            *kind, body, field_validation="Warn", field_manager="python"
        )
        self.assertEqual((status, "extra" in made), (201, False))
        self.assertEqual(headers["Warning"], '299 - "unknown field \\"extra\\""')
        entry = made["metadata"]["managedFields"][0]
        self.assertEqual((entry["manager"], entry["operation"]), ("python", "Update"))
        self.assertEqual(entry["fieldsV1"], {"f:data": {}, "f:revision": {}})
        custom.patch_namespaced_custom_object(*kind, "fields", body, field_validation="Ignore")

    def test_apply_through_the_typed_client(self):
        def apply(data, manager, force=None):
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": data}
            kind = "application/apply-patch+yaml"
            return core.patch_namespaced_config_map(
                "applied", self.namespace, body, field_manager=manager, force=force, _content_type=kind
            )

        self.assertEqual(apply({"a": "1", "b": "1"}, "one").data, {"a": "1", "b": "1"})
        with self.refused(409, "Conflict", 'Apply failed with 1 conflict: conflict with "one": .data.a') as status:
            apply({"a": "2"}, "two")
        self.assertEqual(status["details"]["causes"][0]["reason"], "FieldManagerConflict")
        self.assertEqual(apply({"a": "2"}, "two", force=True).data, {"a": "2", "b": "1"})
        self.assertEqual(apply({"b": "1"}, "one").data, {"a": "2", "b": "1"})
        self.assertEqual(apply({}, "one").data, {"a": "2"})

    def test_deletes_with_options(self):
        made = self.config_map("kept")
        wrong = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid="0"))
        with self.refused(409, "Conflict", "the UID in the precondition (0) does not match the UID in record"):
            core.delete_namespaced_config_map("kept", self.namespace, body=wrong)
        right = client.V1Preconditions(uid=made.metadata.uid, resource_version=made.metadata.resource_version)
        options = client.V1DeleteOptions(preconditions=right, propagation_policy="Background", grace_period_seconds=0)
        core.delete_namespaced_config_map("kept", self.namespace, body=options)

        body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="held", finalizers=["example.com/hold"]))
        core.create_namespaced_config_map(self.namespace, body)
        core.delete_namespaced_config_map("held", self.namespace)
        held = core.read_namespaced_config_map("held", self.namespace)
        self.assertIsNotNone(held.metadata.deletion_timestamp)
        core.patch_namespaced_config_map("held", self.namespace, {"metadata": {"finalizers": None}})
        with self.refused(404, "NotFound"):
            core.read_namespaced_config_map("held", self.namespace)

    def test_collections_are_deleted_by_selector(self):
        for index in range(4):
            self.config_map(f"many-{index}", labels={"many": str(index % 2)})
        done = core.delete_collection_namespaced_config_map(self.namespace, label_selector="many=1")
        self.assertEqual(done.kind, "ConfigMapList")
        left = core.list_namespaced_config_map(self.namespace, label_selector="many")
        self.assertEqual([item.metadata.name for item in left.items], ["many-0", "many-2"])
        core.delete_collection_namespaced_config_map(self.namespace, field_selector="metadata.name=many-0")
        left = core.list_namespaced_config_map(self.namespace, label_selector="many")
        self.assertEqual([item.metadata.name for item in left.items], ["many-2"])
