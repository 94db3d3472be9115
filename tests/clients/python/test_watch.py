"""Watches: from the start, from a list, selected, resumed, timed out, stopped, and the informer on top of them."""

import logging
import time

from kubernetes import client, watch
from kubernetes.informer import SharedInformer
from support import InNamespace, core, eventually


class Watches(InNamespace):
    def list_of(self, **options):
        return core.list_namespaced_config_map(self.namespace, **options)

    def stream(self, watcher=None, **options):
        watcher = watcher or watch.Watch()
        return watcher.stream(core.list_namespaced_config_map, self.namespace, **options)

    def test_changes_come_in_order_from_a_list_on(self):
        version = self.list_of().metadata.resource_version
        self.config_map("a", labels={"w": "1"})
        core.patch_namespaced_config_map("a", self.namespace, {"data": {"x": "1"}})
        self.config_map("b", labels={"w": "1"})
        core.delete_namespaced_config_map("a", self.namespace)
        seen, watcher = [], watch.Watch()
        for event in self.stream(watcher, resource_version=version, label_selector="w=1"):
            seen.append((event["type"], event["object"].metadata.name, (event["object"].data or {}).get("x")))
            self.assertIsInstance(event["object"], client.V1ConfigMap)
            self.assertEqual(event["raw_object"]["kind"], "ConfigMap")
            if len(seen) == 4:
                watcher.stop()
        changes = [("ADDED", "a", None), ("MODIFIED", "a", "1"), ("ADDED", "b", None), ("DELETED", "a", "1")]
        self.assertEqual(seen, changes)

    def test_a_watch_resumes_where_it_stopped(self):
        version = self.list_of().metadata.resource_version
        for index in range(4):
            self.config_map(f"resume-{index}", labels={"resume": "1"})
        seen, watcher = [], watch.Watch()
        for event in self.stream(watcher, resource_version=version, label_selector="resume=1"):
            seen.append(event["object"].metadata.name)
            if len(seen) == 2:
                watcher.stop()
        for event in self.stream(watcher, resource_version=watcher.resource_version, label_selector="resume=1"):
            seen.append(event["object"].metadata.name)
            if len(seen) == 4:
                watcher.stop()
        self.assertEqual(seen, [f"resume-{index}" for index in range(4)])

    def test_what_exists_comes_first_and_time_runs_out(self):
        self.config_map("there", labels={"t": "1"})
        start = time.monotonic()
        seen = [(e["type"], e["object"].metadata.name) for e in self.stream(label_selector="t=1", timeout_seconds=1)]
        self.assertEqual(seen, [("ADDED", "there")])
        self.assertGreater(time.monotonic() - start, 0.8)

    def test_objects_enter_and_leave_a_selection(self):
        version = self.list_of().metadata.resource_version
        self.config_map("moving")
        for labels in [{"in": "yes"}, {"in": "yes", "more": "1"}, {"in": None}]:
            core.patch_namespaced_config_map("moving", self.namespace, {"metadata": {"labels": labels}})
        options = {"label_selector": "in=yes", "resource_version": version, "timeout_seconds": 1}
        self.assertEqual([e["type"] for e in self.stream(**options)], ["ADDED", "MODIFIED", "DELETED"])

    def test_initial_events_end_with_a_bookmark(self):
        self.config_map("first", labels={"s": "1"})
        options = {"label_selector": "s=1", "allow_watch_bookmarks": True, "timeout_seconds": 1}
        options |= {"send_initial_events": True, "resource_version_match": "NotOlderThan"}
        seen = list(self.stream(**options))
        self.assertEqual([e["type"] for e in seen][:2], ["ADDED", "BOOKMARK"])
        meta = seen[1]["raw_object"]["metadata"]
        self.assertEqual(meta["annotations"], {"k8s.io/initial-events-end": "true"})

    def test_events_without_models(self):
        made = self.config_map("raw", labels={"raw": "1"})
        watcher = watch.Watch()
        for event in self.stream(watcher, deserialize=False, label_selector="raw=1"):
            self.assertEqual((event["type"], event["object"]["metadata"]["uid"]), ("ADDED", made.metadata.uid))
            watcher.stop()

    def test_namespaces_are_watched_while_they_go(self):
        name = core.create_namespace({"metadata": {"generateName": "python-w-"}}).metadata.name
        core.delete_namespace(name)
        watcher = watch.Watch()
        for event in watcher.stream(core.list_namespace, field_selector=f"metadata.name={name}", timeout_seconds=20):
            if event["type"] == "DELETED":
                watcher.stop()
        listed = core.list_namespace(field_selector=f"metadata.name={name}").items
        self.assertEqual(listed, [])

    def test_an_informer_keeps_a_cache(self):
        self.config_map("cached", labels={"i": "1"}, a="1")
        informer = SharedInformer(core.list_namespaced_config_map, namespace=self.namespace, label_selector="i=1")
        events = []
        for kind in ["ADDED", "MODIFIED", "DELETED", "ERROR"]:
            informer.add_event_handler(kind, lambda found, kind=kind: events.append(kind))
        informer.start()
        eventually("the cache to fill", lambda: informer.cache.list_keys() == [f"{self.namespace}/cached"])
        core.patch_namespaced_config_map("cached", self.namespace, {"data": {"a": "2"}})
        cached = lambda: informer.cache.get_by_key(f"{self.namespace}/cached")
        eventually("the change", lambda: cached().data == {"a": "2"})
        core.delete_namespaced_config_map("cached", self.namespace)
        eventually("the deletion", lambda: cached() is None)
        # Stopping cuts the connection, which the client counts as an error of its own.
        self.assertEqual(events, ["ADDED", "MODIFIED", "DELETED"])
        logging.getLogger("kubernetes.informer.informer").disabled = True
        informer.stop()
