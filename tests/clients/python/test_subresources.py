"""Subresources and virtual kinds: status, scale, tokens, reviews, certificates."""

import base64
import subprocess

from kubernetes import client
from support import InNamespace, apps, as_account, core, eventually, with_token
from test_kinds import LABELS, TEMPLATE

authentication = client.AuthenticationV1Api()
authorization = client.AuthorizationV1Api()


class Scales(InNamespace):
    def test_status_and_scale_of_a_deployment(self):
        spec = {"replicas": 0, "selector": {"matchLabels": LABELS}, "template": TEMPLATE}
        made = apps.create_namespaced_deployment(self.namespace, {"metadata": {"name": "x"}, "spec": spec})

        scale = apps.read_namespaced_deployment_scale("x", self.namespace)
        # Go leaves out a zero.
        self.assertEqual((scale.kind, scale.spec.replicas, scale.status.selector), ("Scale", None, "app=x"))
        scale.spec.replicas = 2
        # The controller may write a status at any time.
        scale.metadata.resource_version = None
        scaled = apps.replace_namespaced_deployment_scale("x", self.namespace, scale, dry_run="All")
        self.assertEqual(scaled.spec.replicas, 2)
        scaled = apps.patch_namespaced_deployment_scale("x", self.namespace, {"spec": {"replicas": 1}})
        self.assertEqual((scaled.spec.replicas, scaled.metadata.uid), (1, made.metadata.uid))
        self.assertEqual(apps.read_namespaced_deployment("x", self.namespace).spec.replicas, 1)
        with self.refused(422, "Invalid", "spec.replicas: Invalid value: -1"):
            apps.patch_namespaced_deployment_scale("x", self.namespace, {"spec": {"replicas": -1}})

        condition = {"type": "Tested", "status": "True", "reason": "Test", "message": "it was"}
        body = {"spec": {"replicas": 9}, "status": {"conditions": [condition]}}
        apps.patch_namespaced_deployment_status("x", self.namespace, body)
        status = apps.read_namespaced_deployment_status("x", self.namespace)
        self.assertIn("Tested", [found.type for found in status.status.conditions])
        self.assertEqual(status.spec.replicas, 1)

    def test_status_of_jobs_claims_and_services(self):
        ready = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}]}}}
        service = {"metadata": {"name": "x"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}}
        core.create_namespaced_service(self.namespace, service)
        found = core.patch_namespaced_service_status("x", self.namespace, ready)
        self.assertEqual(found.status.load_balancer.ingress[0].ip, "192.0.2.9")
        node = core.read_node_status(core.list_node().items[0].metadata.name)
        self.assertTrue(node.status.node_info.kubelet_version)


class Identities(InNamespace):
    def test_tokens_of_service_accounts(self):
        core.create_namespaced_service_account(self.namespace, {"metadata": {"name": "robot"}})
        spec = client.V1TokenRequestSpec(audiences=["example.com"], expiration_seconds=3600)
        body = client.AuthenticationV1TokenRequest(spec=spec)
        made = core.create_namespaced_service_account_token("robot", self.namespace, body)
        self.assertTrue(made.status.token and made.status.expiration_timestamp)

        def review(audiences):
            spec = client.V1TokenReviewSpec(token=made.status.token, audiences=audiences)
            return authentication.create_token_review(client.V1TokenReview(spec=spec)).status

        good = review(["example.com"])
        self.assertEqual((good.authenticated, good.audiences), (True, ["example.com"]))
        self.assertEqual(good.user.username, f"system:serviceaccount:{self.namespace}:robot")
        self.assertIn(f"system:serviceaccounts:{self.namespace}", good.user.groups)
        self.assertFalse(review(["example.org"]).authenticated)
        with self.refused(401, "Unauthorized"):
            client.CoreV1Api(with_token(made.status.token)).list_namespace()

    def test_who_am_i_and_what_may_i(self):
        core.create_namespaced_service_account(self.namespace, {"metadata": {"name": "reader"}})
        rbac = client.RbacAuthorizationV1Api()
        subject = {"kind": "ServiceAccount", "name": "reader", "namespace": self.namespace}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
        body = {"metadata": {"name": "reader"}, "roleRef": role, "subjects": [subject]}
        rbac.create_namespaced_role_binding(self.namespace, body)
        reader = as_account(self.namespace, "reader")
        user = f"system:serviceaccount:{self.namespace}:reader"

        who = client.AuthenticationV1Api(reader).create_self_subject_review(client.V1SelfSubjectReview())
        self.assertEqual(who.status.user_info.username, user)

        def may(verb, resource):
            attributes = {"verb": verb, "resource": resource, "namespace": self.namespace}
            mine = client.AuthorizationV1Api(reader).create_self_subject_access_review(
                {"spec": {"resourceAttributes": attributes}}
            )
            body = {"spec": {"resourceAttributes": attributes, "user": user}}
            everywhere = authorization.create_subject_access_review(body)
            body = {"metadata": {"namespace": self.namespace}, **body}
            local = authorization.create_namespaced_local_subject_access_review(self.namespace, body)
            self.assertEqual({mine.status.allowed, local.status.allowed}, {everywhere.status.allowed})
            return mine.status.allowed

        eventually("the binding to count", lambda: may("list", "pods"))
        self.assertFalse(may("list", "secrets"))
        self.assertFalse(may("delete", "pods"))
        rules = client.AuthorizationV1Api(reader).create_self_subject_rules_review(
            {"spec": {"namespace": self.namespace}}
        )
        self.assertIn("configmaps", [name for rule in rules.status.resource_rules for name in rule.resources or []])
        self.assertEqual(client.CoreV1Api(reader).list_namespaced_pod(self.namespace).items, [])

    def test_the_issuer_tells_its_keys(self):
        found = client.WellKnownApi().get_service_account_issuer_open_id_configuration()
        self.assertIn("issuer", found)
        self.assertIn("keys", client.OpenidApi().get_service_account_issuer_open_id_keyset())


class Certificates(InNamespace):
    def test_a_request_is_approved_and_signed(self):
        pem = certificate_request("/O=example/CN=python")
        api = client.CertificatesV1Api()
        name = self.namespace
        spec = client.V1CertificateSigningRequestSpec(
            request=base64.b64encode(pem).decode(),
            signer_name="kubernetes.io/kube-apiserver-client",
            usages=["client auth"],
            expiration_seconds=3600,
        )
        meta = client.V1ObjectMeta(name=name)
        made = api.create_certificate_signing_request(client.V1CertificateSigningRequest(metadata=meta, spec=spec))
        self.addCleanup(api.delete_certificate_signing_request, name)
        self.assertEqual(made.spec.username, "kubernetes-admin")
        approved = client.V1CertificateSigningRequestCondition(
            type="Approved", status="True", reason="Test", message="by a test"
        )
        made.status = client.V1CertificateSigningRequestStatus(conditions=[approved])
        api.replace_certificate_signing_request_approval(name, made)

        def signed():
            status = api.read_certificate_signing_request_status(name).status
            return status.certificate

        self.assertTrue(eventually("the certificate", signed))


def certificate_request(subject):
    """A certificate signing request with a new key, as PEM."""
    line = ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    line += ["-keyout", "/dev/null", "-subj", subject]
    return subprocess.run(line, check=True, capture_output=True).stdout
