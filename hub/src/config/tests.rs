//! Sources in, configuration or errors out.

use super::*;

fn load(flags: &[(&str, &str)], env: &[(&str, &str)], file: Option<&str>) -> Result<Config, Vec<String>> {
    use clap::Parser;
    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hub.toml");
    let mut words = vec!["serve".to_owned()];
    words.extend(flags.iter().map(|(name, value)| format!("--{name}={value}")));
    if let Some(text) = file {
        std::fs::write(&path, text).unwrap();
        words.push(format!("--config={}", path.display()));
    }
    let line = Line::try_parse_from(words).unwrap();
    let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
    let place = format!("{}/", dir.path().display());
    Config::load(&line.flags, env).map_err(|e| e.0.iter().map(|line| line.replace(&place, "")).collect())
}

#[test]
fn defaults_are_those_of_the_documentation() {
    let config = load(&[("data-dir", "/d")], &[], None).unwrap();
    let expected = Config {
        data_dir: "/d".into(),
        listen: "0.0.0.0:6443".parse().unwrap(),
        advertise_address: None,
        pod_cidr: "10.42.0.0/16".parse().unwrap(),
        service_cidr: "10.43.0.0/16".parse().unwrap(),
        cluster_dns: "10.43.0.10".parse().unwrap(),
        cluster_domain: "cluster.local".into(),
        node_grace: Duration::from_secs(40),
        compaction_interval: Duration::from_secs(300),
        log_level: Level::INFO,
        audit_log: None,
        audit_level: AuditLevel::Metadata,
        max_requests_inflight: 400,
        max_mutating_requests_inflight: 200,
        audit_rotation: AuditRotation { max_bytes: 100 << 20, max_backups: 10 },
        pod_security: PodSecurity::default(),
    };
    assert_eq!(config, expected);
}

#[test]
fn a_flag_wins_over_the_environment_over_the_file() {
    let file = "data-dir = '/file'\nlisten = '1.1.1.1:1'\ncluster-domain = 'file.example'\nnode-grace = '1m'";
    let env =
        [("SKIFF_HUB_LISTEN", "2.2.2.2:2"), ("SKIFF_HUB_CLUSTER_DOMAIN", "env.example"), ("SKIFF_HUB_NODE_GRACE", "")];
    let config = load(&[("cluster-domain", "flag.example")], &env, Some(file)).unwrap();
    assert_eq!(config.data_dir, PathBuf::from("/file"));
    assert_eq!(config.listen.to_string(), "2.2.2.2:2");
    assert_eq!(config.cluster_domain, "flag.example");
    assert_eq!(config.node_grace, Duration::from_secs(60), "an empty variable is unset");
}

#[test]
fn every_setting_is_a_flag_a_variable_and_a_key() {
    let values = [
        ("data-dir", "/x"),
        ("listen", "127.0.0.1:1"),
        ("advertise-address", "192.0.2.1"),
        ("pod-cidr", "10.1.0.0/16"),
        ("service-cidr", "10.2.0.0/16"),
        ("cluster-dns", "10.2.0.9"),
        ("cluster-domain", "x.example"),
        ("node-grace", "7s"),
        ("compaction-interval", "1m"),
        ("log-level", "trace"),
        ("audit-log", "/a.log"),
        ("audit-level", "Request"),
        ("max-requests-inflight", "10"),
        ("max-mutating-requests-inflight", "5"),
        ("audit-log-maxsize", "7"),
        ("audit-log-maxbackup", "3"),
        ("pod-security", "enforce=baseline"),
        ("pod-security-exempt", "namespace=x"),
    ];
    let names: Vec<_> = SETTINGS.iter().map(|s| s.name).filter(|name| *name != "config").collect();
    assert_eq!(names, values.map(|(name, _)| name));
    let variables = values.map(|(name, value)| (format!("SKIFF_HUB_{}", name.to_uppercase().replace('-', "_")), value));
    let env: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let file: String = values.iter().map(|(name, value)| format!("{name} = {value:?}\n")).collect();
    let by_flags = load(&values, &[], None).unwrap();
    assert_eq!(load(&[], &env, None).unwrap(), by_flags);
    assert_eq!(load(&[], &[], Some(&file)).unwrap(), by_flags);
    let base = load(&[("data-dir", "/d")], &[], None).unwrap();
    assert!(by_flags.advertise_address.is_some() && by_flags.log_level != base.log_level);
}

#[test]
fn all_errors_are_reported_and_name_their_source_and_text() {
    let file = "node-grace = 'soon'\nlisten = 6443\npods = '10.0.0.0/8'";
    let env = [("SKIFF_HUB_LOG_LEVEL", "loud"), ("SKIFF_HUB_ADVERTISE_ADDRESS", "0.0.0.0")];
    let errors = load(&[("pod-cidr", "10.42.0.0/28"), ("cluster-domain", "-")], &env, Some(file)).unwrap_err();
    let expected = [
        "hub.toml: listen must be a string, not integer: 6443",
        "hub.toml: unknown key \"pods\"",
        "--data-dir is missing (or SKIFF_HUB_DATA_DIR or the key data-dir in a configuration file)",
        "SKIFF_HUB_ADVERTISE_ADDRESS \"0.0.0.0\" is not an address that others can reach",
        "--pod-cidr \"10.42.0.0/28\" is too small: every node gets a /24",
        "--cluster-domain \"-\" is not a DNS domain name",
        "hub.toml: node-grace \"soon\" is not a duration such as 24h, 90s or 1h30m",
        "SKIFF_HUB_LOG_LEVEL \"loud\" is not one of error, warn, info, debug, trace",
    ];
    assert_eq!(errors, expected);
}

#[test]
fn single_mistakes() {
    let cases = [
        ("listen", "localhost", "--listen \"localhost\" is not an IP address and port such as 0.0.0.0:6443"),
        ("audit-level", "All", "--audit-level \"All\" is not one of Metadata, Request, RequestResponse"),
        (
            "pod-security",
            "warn=odd",
            "--pod-security \"warn=odd\" has \"odd\", which must be one of privileged, baseline, restricted",
        ),
        ("audit-log-maxsize", "0", "--audit-log-maxsize \"0\" is not a number from 1 to 10000"),
        ("data-dir", "", "--data-dir \"\" must not be empty"),
        ("node-grace", "0s", "--node-grace \"0s\" must be longer than 0s"),
        ("service-cidr", "10.42.7.0/24", "--service-cidr \"10.42.7.0/24\" overlaps the network of pods"),
        (
            "pod-cidr",
            "10.42.1.0/16",
            "--pod-cidr \"10.42.1.0/16\" has bits set beyond its prefix; 10.42.0.0/16 is meant?",
        ),
        ("cluster-dns", "10.44.0.1", "--cluster-dns \"10.44.0.1\" is not in the network of services 10.43.0.0/16"),
        (
            "cluster-dns",
            "10.43.0.1",
            "--cluster-dns \"10.43.0.1\" is taken by the Service kubernetes or the network itself",
        ),
        ("max-requests-inflight", "0", "--max-requests-inflight \"0\" is not a number greater than 0"),
        ("advertise-address", "hub", "--advertise-address \"hub\" is not an IP address"),
    ];
    for (name, text, expected) in cases {
        let mut flags = vec![(name, text)];
        flags.extend((name != "data-dir").then_some(("data-dir", "/d")));
        let errors = load(&flags, &[], None).unwrap_err();
        assert!(errors.contains(&expected.to_owned()), "{errors:#?}");
    }
}

#[test]
fn a_file_that_is_missing_or_no_toml_is_named() {
    let errors = load(&[("data-dir", "/d"), ("config", "/nonexistent.toml")], &[], None).unwrap_err();
    assert!(errors[0].starts_with("cannot read the configuration file /nonexistent.toml: "), "{errors:?}");
    let errors = load(&[("data-dir", "/d")], &[], Some("listen = \n")).unwrap_err();
    assert!(errors[0].starts_with("hub.toml: TOML parse error at line 1"), "{errors:?}");
    let errors = load(&[("data-dir", "/d")], &[], Some("config = 'other.toml'")).unwrap_err();
    assert_eq!(errors, ["hub.toml: unknown key \"config\""]);
}
