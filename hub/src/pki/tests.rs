//! Certificates, credentials and tokens over a temporary data directory.

use std::os::unix::fs::PermissionsExt;

use rcgen::{CertificateParams, KeyPair};

use super::tokens::TokenError;
use super::*;

fn options(addresses: &[&str]) -> PkiOptions {
    PkiOptions {
        advertise: Some("192.0.2.1".parse().unwrap()),
        port: 6443,
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        hostname: "hub".into(),
        service_ip: "10.43.0.1".parse().unwrap(),
        cluster_domain: "cluster.local".into(),
    }
}

fn at(day: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + day * 86_400).unwrap()
}

fn request() -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "kubernetes-admin");
    params.serialize_request(&key).unwrap().der().to_vec()
}

#[test]
fn files_are_private_and_kept_until_they_near_their_end_or_an_address_comes() {
    let dir = tempfile::tempdir().unwrap();
    let open = |addresses: &[&str], day| Pki::open_or_create(dir.path(), &options(addresses), at(day)).unwrap();
    let read = |file: &str| std::fs::read(dir.path().join(file)).unwrap();
    open(&[], 0);
    for file in ["pki/ca.key", "pki/server.key", "pki/admin.key", "admin.kubeconfig", "admin.token"] {
        assert_eq!(std::fs::metadata(dir.path().join(file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
    let config = String::from_utf8(read("admin.kubeconfig")).unwrap();
    assert!(config.contains("server: https://192.0.2.1:6443\n"), "{config}");
    let (ca, server) = (read("pki/ca.crt"), read("pki/server.crt"));
    open(&[], 200);
    assert_eq!((read("pki/ca.crt"), read("pki/server.crt")), (ca.clone(), server.clone()));
    open(&["198.51.100.9"], 200);
    let renamed = read("pki/server.crt");
    assert_ne!(renamed, server);
    open(&["198.51.100.9"], 500);
    assert_ne!(read("pki/server.crt"), renamed);
    assert_eq!(read("pki/ca.crt"), ca);
}

#[test]
fn a_node_gets_its_own_name_whatever_its_request_says() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open_or_create(dir.path(), &options(&[]), at(0)).unwrap();
    let node = NodeName::parse("edge").unwrap();
    let user = identity(&pki.sign_node(&node, &request(), at(0)).unwrap()).unwrap().subject;
    assert_eq!((user.name.as_str(), user.groups), ("system:node:edge", vec!["system:nodes".to_owned()]));
    let mut broken = request();
    let last = broken.len() - 1;
    broken[last] ^= 1;
    assert!(matches!(pki.sign_node(&node, &broken, at(0)), Err(PkiError::Request(_))));
}

#[test]
fn half_a_ca_and_foreign_content_are_refused_by_path() {
    let dir = tempfile::tempdir().unwrap();
    Pki::open_or_create(dir.path(), &options(&[]), at(0)).unwrap();
    std::fs::write(dir.path().join("pki/ca.key"), "nonsense").unwrap();
    let error = Pki::open_or_create(dir.path(), &options(&[]), at(0)).unwrap_err().to_string();
    assert!(error.ends_with("pki/ca.key does not hold a valid private key"), "{error}");
    std::fs::remove_file(dir.path().join("pki/ca.key")).unwrap();
    let error = Pki::open_or_create(dir.path(), &options(&[]), at(0)).unwrap_err().to_string();
    assert!(error.contains("ca.key does not hold a valid key (it is missing)"), "{error}");
}

#[test]
fn the_admin_token_and_only_it_is_the_admin() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open_or_create(dir.path(), &options(&[]), at(0)).unwrap();
    let token = std::fs::read_to_string(dir.path().join("admin.token")).unwrap();
    assert_eq!(pki.bearer(token.trim()).unwrap().groups, ["system:masters"]);
    assert!(pki.bearer("").is_none() && pki.bearer("x").is_none());
}

#[test]
fn a_token_is_good_once_for_one_key_until_it_expires() {
    let dir = tempfile::tempdir().unwrap();
    let tokens = Tokens::open(dir.path(), [0; 32]).unwrap();
    let hour = std::time::Duration::from_secs(3600);
    let proof = tokens.create(hour, at(0)).unwrap().proof();
    let wrong = format!("{}x", proof);
    assert!(matches!(tokens.claim(&wrong, b"a", at(0)), Err(TokenError::Invalid)));
    assert!(matches!(tokens.claim("../../x.y", b"a", at(0)), Err(TokenError::Invalid)));
    assert!(matches!(tokens.claim(&proof, b"a", at(1)), Err(TokenError::Expired)));
    tokens.claim(&proof, b"a", at(0)).unwrap();
    tokens.claim(&proof, b"a", at(0)).unwrap();
    assert!(matches!(tokens.claim(&proof, b"b", at(0)), Err(TokenError::Used)));
    assert!(tokens.list().unwrap()[0].used);
    tokens.create(hour, at(3)).unwrap();
    assert_eq!(tokens.list().unwrap().len(), 1, "an old token is swept");
}

#[test]
fn tokens_are_listed_and_deleted_by_id() {
    let dir = tempfile::tempdir().unwrap();
    let tokens = Tokens::open(dir.path(), [0; 32]).unwrap();
    let token = tokens.create(std::time::Duration::from_secs(60), at(0)).unwrap();
    assert_eq!(tokens.list().unwrap()[0].id, token.id);
    tokens.delete(&token.id).unwrap();
    assert_eq!(tokens.delete(&token.id).unwrap_err().to_string(), format!("there is no join token {:?}", token.id));
    assert!(matches!(tokens.claim(&token.proof(), b"a", at(0)), Err(TokenError::Invalid)));
}

#[test]
fn a_client_certificate_takes_subject_and_key_of_its_request() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open_or_create(dir.path(), &options(&[]), at(0)).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "devs");
    params.distinguished_name.push(rcgen::DnType::CommonName, "alice");
    let request = params.serialize_request(&key).unwrap().pem().unwrap();
    let pem = pki.sign_client(request.as_bytes(), Duration::from_secs(3600), at(0)).unwrap();
    let (_, der) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    let certificate = der.parse_x509().unwrap();
    let who = identity(&der.contents).unwrap();
    assert_eq!(who.subject, Subject { name: "alice".into(), groups: vec!["devs".into()] });
    assert!(certificate.subject_alternative_name().unwrap().is_none());
    assert_eq!(certificate.validity().not_after.timestamp(), at(0).as_second() + 3600);
    assert!(pki.sign_client(b"nonsense", Duration::from_secs(3600), at(0)).is_err());
}

#[test]
fn a_client_is_known_by_a_certificate_of_this_ca_and_of_the_time() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [ours, theirs] = [0, 1].map(|n: usize| Pki::open_or_create(dirs[n].path(), &options(&[]), at(0)).unwrap());
    let signed = |pki: &Pki| {
        let pem = client_request();
        let certificate = pki.sign_client(&pem, Duration::from_secs(3600), at(0)).unwrap();
        CertificateDer::from(x509_parser::pem::parse_x509_pem(certificate.as_bytes()).unwrap().1.contents)
    };
    let (good, foreign) = (signed(&ours), signed(&theirs));
    for (chain, day, known) in [
        (vec![good.clone()], 0, true),
        (vec![good.clone()], 1, false),
        (vec![good.clone()], -9, false),
        (vec![foreign.clone()], 0, false),
        (vec![foreign, good], 0, false),
        (vec![], 0, false),
    ] {
        assert_eq!(ours.is_client(&chain, at(day)), known, "{} on day {day}", chain.len());
    }
}

fn client_request() -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "bob");
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap().into_bytes()
}
