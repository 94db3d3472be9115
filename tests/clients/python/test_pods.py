"""Pods on a node: logs, exec and port-forward over the client's own WebSocket code."""

from kubernetes import client, watch
from kubernetes.stream import portforward, stream
from support import InNamespace, core, eventually, pod, running

ECHO = "echo one; echo two; echo three >&2; exec serve >/dev/null"


class Pods(InNamespace):
    """All tests share one pod, which serves HTTP on port 8080."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        core.create_namespaced_pod(cls.namespace, pod("web", "sh", "-c", ECHO))
        cls.pod = running(cls.namespace, "web")

    def exec(self, *command, **options):
        options = {"stderr": True, "stdin": False, "stdout": True, "tty": False, **options}
        connect = core.connect_get_namespaced_pod_exec
        return stream(connect, "web", self.namespace, command=list(command), **options)

    def test_the_status_fits_the_model(self):
        self.assertEqual((self.pod.status.qos_class, self.pod.spec.node_name), ("BestEffort", "node-0"))
        (state,) = self.pod.status.container_statuses
        self.assertTrue(state.ready and state.started and state.state.running.started_at and state.image_id)
        self.assertEqual({c.type: c.status for c in self.pod.status.conditions}["Ready"], "True")
        events = core.list_namespaced_event(self.namespace, field_selector="involvedObject.name=web").items
        self.assertIn("Scheduled", [event.reason for event in events])

    def test_logs(self):
        def log(**options):
            return core.read_namespaced_pod_log("web", self.namespace, **options)

        eventually("the lines", lambda: log().count("\n") == 3)
        self.assertEqual(log(tail_lines=1), "three\n")
        self.assertEqual(log(limit_bytes=5), "one\nt")
        self.assertEqual(log(container="main", since_seconds=3600).splitlines()[0], "one")
        self.assertRegex(log(timestamps=True), r"^\d{4}-\d\d-\d\dT[0-9:.]+Z one\n")
        raw = log(_preload_content=False)
        self.assertEqual(raw.headers["Content-Type"], "text/plain")
        with self.refused(400, "BadRequest", "container nowhere is not valid for pod web"):
            log(container="nowhere")
        with self.refused(400, "BadRequest", 'previous terminated container "main" in pod "web" not found'):
            log(previous=True)

    def test_logs_are_followed_by_a_watch(self):
        command = "i=0; while [ $i -lt 3 ]; do echo line-$i; i=$((i+1)); done"
        core.create_namespaced_pod(self.namespace, pod("lines", "sh", "-c", command, restart_policy="Never"))
        done = lambda: core.read_namespaced_pod("lines", self.namespace).status.phase == "Succeeded"
        eventually("the pod to end", done, 60)
        lines = watch.Watch().stream(core.read_namespaced_pod_log, "lines", self.namespace)
        self.assertEqual([line for _, line in zip(range(3), lines)], ["line-0", "line-1", "line-2"])

        watcher, seen = watch.Watch(), []
        for line in watcher.stream(core.read_namespaced_pod_log, "web", self.namespace, tail_lines=2):
            seen.append(line)
            if len(seen) == 2:
                watcher.stop()
        self.assertEqual(seen, ["two", "three"])

    def test_exec_gives_what_a_command_prints(self):
        self.assertEqual(self.exec("echo", "hello world"), "hello world\n")
        self.assertEqual(sorted(self.exec("sh", "-c", "echo out; echo err >&2").split()), ["err", "out"])
        long = self.exec("sh", "-c", "i=0; while [ $i -lt 20000 ]; do echo 0123456789abcde; i=$((i+1)); done")
        self.assertEqual(len(long), 320_000)

    def test_exec_tells_the_exit_code(self):
        for command, code in [("exit 0", 0), ("exit 3", 3)]:
            session = self.exec("sh", "-c", command, _preload_content=False)
            session.run_forever(timeout=20)
            self.assertEqual(session.returncode, code)
        session = self.exec("nothing-here", _preload_content=False)
        session.run_forever(timeout=20)
        self.assertIn("executable file not found", session.read_stderr())
        self.assertEqual(session.returncode, 127)

    def test_exec_is_refused_with_a_reason(self):
        with self.assertRaises(client.ApiException) as caught:
            stream(core.connect_get_namespaced_pod_exec, "gone", self.namespace, command=["true"])
        # The client's WebSocket library has no status of its own.
        self.assertIn("Handshake status 404 Not Found", caught.exception.reason)
        self.assertIn('pods \\"gone\\" not found', caught.exception.reason)

    def test_exec_reads_standard_input(self):
        session = self.exec("sh", stdin=True, _preload_content=False)
        session.write_stdin("echo $((40 + 2))\n")
        self.assertEqual(session.readline_stdout(timeout=10), "42")
        session.write_stdin("echo oops >&2\n")
        self.assertEqual(session.readline_stderr(timeout=10), "oops")
        session.write_stdin("exit 5\n")
        session.run_forever(timeout=10)
        self.assertFalse(session.is_open())
        self.assertEqual(session.returncode, 5)

    def test_exec_carries_bytes(self):
        everything = bytes(range(256))
        session = self.exec("head", "-c", "256", stdin=True, binary=True, _preload_content=False)
        session.write_stdin(everything)
        session.run_forever(timeout=10)
        self.assertEqual(session.read_channel(1), everything)
        session.close()

    def test_exec_with_a_terminal(self):
        session = self.exec("sh", stdin=True, tty=True, _preload_content=False)
        session.write_channel(4, '{"Width":101,"Height":33}')
        session.write_stdin("sleep 1; stty size; exit\n")
        session.run_forever(timeout=10)
        self.assertIn("33 101", session.read_stdout())

    def test_ports_are_forwarded(self):
        forward = portforward(core.connect_get_namespaced_pod_portforward, "web", self.namespace, ports="8080")
        self.assertIn(b"web", fetch(forward.socket(8080)))
        self.assertIsNone(forward.error(8080))
        forward = portforward(core.connect_get_namespaced_pod_portforward, "web", self.namespace, ports="9")
        self.assertEqual(fetch(forward.socket(9)), b"")
        self.assertIn("onnection refused", eventually("the error", lambda: forward.error(9)))

    def test_attach_sees_what_follows(self):
        core.create_namespaced_pod(self.namespace, self.asking())
        running(self.namespace, "asking")
        connect = core.connect_get_namespaced_pod_attach
        session = stream(connect, "asking", self.namespace, stdin=True, stdout=True, _preload_content=False)
        session.write_stdin("word\n")
        self.assertEqual(session.readline_stdout(timeout=10), "got word")
        session.close()

    def asking(self):
        """A pod that answers what it is told."""
        asking = pod("asking", "sh", "-c", "while read x; do echo got $x; done", restart_policy="Never")
        asking.spec.containers[0].stdin = True
        return asking


class Ends(InNamespace):
    def test_pods_end_with_grace_and_in_collections(self):
        for name in ["one", "two"]:
            core.create_namespaced_pod(self.namespace, pod(name, "sleep", "1000", labels={"end": "1"}))
            running(self.namespace, name)
        deleted = core.delete_namespaced_pod("one", self.namespace, grace_period_seconds=1)
        self.assertEqual((deleted.kind, deleted.metadata.deletion_grace_period_seconds), ("Pod", 1))
        core.delete_collection_namespaced_pod(self.namespace, label_selector="end=1", grace_period_seconds=0)
        eventually("the pods to go", lambda: not core.list_namespaced_pod(self.namespace).items, 30)


def fetch(connection):
    """The answer to `GET /`; empty where the connection breaks."""
    connection.setblocking(True)
    connection.settimeout(20)
    try:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        parts = iter(lambda: connection.recv(4096), b"")
        return b"".join(parts)
    except OSError:
        return b""
