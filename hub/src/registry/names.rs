//! The rules for names, keys and values of texts, with Kubernetes' wording. Each returns its complaints.

use skiff_shared::ids::{is_dns_label, is_dns_subdomain};
use skiff_shared::selector::{is_label_key, is_label_value};

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = r"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const WILDCARD: &str = r"a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
const ENV_NAME: &str =
    "a valid environment variable name must consist only of printable ASCII characters other than '='";
const PERCENT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";

const HTTP_HEADER: &str = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
const SEARCH_DOMAIN: &str = r"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')";

const LABEL_MAX: usize = 63;
const SUBDOMAIN_MAX: usize = 253;
const PORT_NAME_MAX: usize = 15;

/// A rule for a text.
pub(crate) type Rule = fn(&str) -> Vec<String>;

fn check(text: &str, max: usize, valid: bool, complaint: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if text.len() > max {
        complaints.push(too_long(max));
    }
    if !valid {
        complaints.push(complaint.to_owned());
    }
    complaints
}

fn too_long(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

/// The first `max` bytes, so that length and form are judged apart.
fn head(text: &str, max: usize) -> &str {
    if text.is_ascii() && text.len() > max { text[..max].trim_end_matches(['-', '.', '_']) } else { text }
}

/// A lower-case RFC 1123 label.
pub(crate) fn dns_label(text: &str) -> Vec<String> {
    check(text, LABEL_MAX, is_dns_label(head(text, LABEL_MAX)), LABEL)
}

/// A lower-case RFC 1123 subdomain.
pub(crate) fn dns_subdomain(text: &str) -> Vec<String> {
    check(text, SUBDOMAIN_MAX, is_dns_subdomain(head(text, SUBDOMAIN_MAX)), SUBDOMAIN)
}

/// A wildcard for the names below a subdomain: `*.example.com`.
pub(crate) fn wildcard_subdomain(text: &str) -> Vec<String> {
    let valid = text.strip_prefix("*.").is_some_and(|rest| is_dns_subdomain(head(rest, SUBDOMAIN_MAX)));
    check(text, SUBDOMAIN_MAX, valid, WILDCARD)
}

/// A domain that resolvers search, where parts may hold underscores.
pub(crate) fn search_domain(text: &str) -> Vec<String> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let part = |part: &str| {
        let part = part.strip_prefix('_').unwrap_or(part).as_bytes();
        let ends = part.first().is_some_and(|b| inner(*b)) && part.last().is_some_and(|b| inner(*b));
        ends && part.iter().all(|b| inner(*b) || matches!(b, b'-' | b'_'))
    };
    check(text, SUBDOMAIN_MAX, text.split('.').all(part), SEARCH_DOMAIN)
}

/// The name of an HTTP header.
pub(crate) fn http_header(text: &str) -> Vec<String> {
    let valid = !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
    check(text, usize::MAX, valid, HTTP_HEADER)
}

/// A lower-case RFC 1035 label: the name of a Service.
pub(crate) fn dns_1035_label(text: &str) -> Vec<String> {
    let valid = is_dns_label(head(text, LABEL_MAX)) && text.starts_with(|c: char| c.is_ascii_lowercase());
    check(text, LABEL_MAX, valid, LABEL_1035)
}

/// A name that can stand in a URL: what every name must be at least.
pub(crate) fn path_segment(text: &str) -> Vec<String> {
    if [".", ".."].contains(&text) {
        return vec![format!("may not be '{text}'")];
    }
    ["/", "%"].iter().filter(|c| text.contains(**c)).map(|c| format!("may not contain '{c}'")).collect()
}

/// A qualified name: the key of a label, a taint, a resource.
pub(crate) fn qualified_name(text: &str) -> Vec<String> {
    let (prefix, name) = match text.split_once('/') {
        None => (None, text),
        Some((_, name)) if name.contains('/') => {
            return vec![format!(
                "a qualified name {QUALIFIED} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
        Some((prefix, name)) => (Some(prefix), name),
    };
    let mut complaints = Vec::new();
    match prefix {
        Some("") => complaints.push("prefix part must be non-empty".to_owned()),
        Some(prefix) => complaints.extend(dns_subdomain(prefix).into_iter().map(|c| format!("prefix part {c}"))),
        None => {}
    }
    if name.is_empty() {
        complaints.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_MAX {
        complaints.push(format!("name part {}", too_long(LABEL_MAX)));
    }
    if !is_label_key(head(name, LABEL_MAX)) {
        complaints.push(format!("name part {QUALIFIED}"));
    }
    complaints
}

/// The value of a label.
pub(crate) fn label_value(text: &str) -> Vec<String> {
    check(text, LABEL_MAX, is_label_value(head(text, LABEL_MAX)), LABEL_VALUE)
}

/// A key of a ConfigMap or Secret, which becomes a file name.
pub(crate) fn config_key(text: &str) -> Vec<String> {
    let valid = !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-._".contains(&c));
    let mut complaints = check(text, SUBDOMAIN_MAX, valid, CONFIG_KEY);
    match text {
        "." => complaints.push("must not be '.'".to_owned()),
        ".." => complaints.push("must not be '..'".to_owned()),
        _ if text.starts_with("..") => complaints.push("must not start with '..'".to_owned()),
        _ => {}
    }
    complaints
}

/// The name of an environment variable.
pub(crate) fn env_name(text: &str) -> Vec<String> {
    check(text, usize::MAX, text.bytes().all(|c| (c.is_ascii_graphic() || c == b' ') && c != b'='), ENV_NAME)
}

/// The name of a port (an IANA service name).
pub(crate) fn port_name(text: &str) -> Vec<String> {
    let mut complaints = check(
        text,
        PORT_NAME_MAX,
        !text.is_empty() && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-'),
        "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
    );
    let rules = [
        (text.bytes().any(|c| c.is_ascii_lowercase()), "must contain at least one letter (a-z)"),
        (!text.contains("--"), "must not contain consecutive hyphens"),
        (!text.starts_with('-') && !text.ends_with('-'), "must not begin or end with a hyphen"),
    ];
    complaints.extend(rules.iter().filter(|(valid, _)| !valid).map(|(_, complaint)| (*complaint).to_owned()));
    complaints
}

/// A port number.
pub(crate) fn port_number(number: i64) -> Option<String> {
    (!(1..=65_535).contains(&number)).then(|| "must be between 1 and 65535, inclusive".to_owned())
}

/// An IP address.
pub(crate) fn ip(text: &str) -> Vec<String> {
    check(
        text,
        usize::MAX,
        text.parse::<std::net::IpAddr>().is_ok(),
        "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
    )
}

/// A range of IP addresses.
pub(crate) fn cidr(text: &str) -> Vec<String> {
    let valid = text.split_once('/').is_some_and(|(address, width)| {
        let widest = match address.parse::<std::net::IpAddr>() {
            Ok(std::net::IpAddr::V4(_)) => 32,
            Ok(std::net::IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        let digits = !width.is_empty() && width.bytes().all(|b| b.is_ascii_digit());
        digits && width.parse::<u32>().is_ok_and(|width| width <= widest)
    });
    check(text, usize::MAX, valid, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")
}

/// A percentage such as `25%`.
pub(crate) fn percent(text: &str) -> Vec<String> {
    let valid = text.strip_suffix('%').is_some_and(|n| !n.is_empty() && n.bytes().all(|c| c.is_ascii_digit()));
    check(text, usize::MAX, valid, PERCENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn good_names_pass() {
        let table: [(Rule, &[&str]); 12] = [
            (cidr, &["10.0.0.0/8", "::/0"]),
            (search_domain, &["_tcp.example.com", "a_b", "1"]),
            (http_header, &["X-A", "1"]),
            (dns_label, &["a", "web-1", "1a"]),
            (dns_subdomain, &["a.b", "web-1.example.com", "1"]),
            (dns_1035_label, &["web", "a-1"]),
            (qualified_name, &["app", "example.com/App_1", "a.b"]),
            (label_value, &["", "v1.2_3-x"]),
            (config_key, &["a.b", "_x", "KEY", ".hidden"]),
            (env_name, &["PATH", "a.b", "1-2"]),
            (port_name, &["http", "a-1", "12345678901234a"]),
            (ip, &["10.0.0.1", "::1"]),
        ];
        for (rule, names) in table {
            for name in names {
                assert_eq!(rule(name), Vec::<String>::new(), "{name}");
            }
        }
    }

    #[test]
    fn bad_names_get_kubernetes_wording() {
        let long = "a".repeat(64);
        let table: [(Rule, &str, &[&str]); 15] = [
            (path_segment, "..", &["may not be '..'"]),
            (path_segment, "a/b%", &["may not contain '/'", "may not contain '%'"]),
            (dns_label, "Web", &[LABEL]),
            (dns_label, "", &[LABEL]),
            (dns_label, &long, &["must be no more than 63 bytes"]),
            (dns_subdomain, "a..b", &[SUBDOMAIN]),
            (dns_1035_label, "1web", &[LABEL_1035]),
            (qualified_name, "", &["name part must be non-empty", &format!("name part {QUALIFIED}")]),
            (qualified_name, "/a", &["prefix part must be non-empty"]),
            (label_value, "a b", &[LABEL_VALUE]),
            (config_key, "..", &["must not be '..'"]),
            (config_key, "a/b", &[CONFIG_KEY]),
            (env_name, "A=B", &[ENV_NAME]),
            (port_name, "80", &["must contain at least one letter (a-z)"]),
            (
                port_name,
                "-A-",
                &[
                    "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
                    "must contain at least one letter (a-z)",
                    "must not begin or end with a hyphen",
                ],
            ),
        ];
        for (rule, name, complaints) in table {
            assert_eq!(rule(name), complaints, "{name:?}");
        }
        assert_eq!(port_number(0), port_number(65_536));
        assert_eq!(port_number(65_535), None);
        assert_eq!(percent("25%"), Vec::<String>::new());
        assert_eq!(percent("%"), [PERCENT]);
    }

    proptest! {
        #[test]
        fn any_text_is_judged(text in "\\PC{0,80}") {
            for rule in [dns_label, dns_subdomain, dns_1035_label, qualified_name, label_value, config_key, env_name, port_name, ip, percent, search_domain, http_header, cidr] {
                let complaints = rule(&text);
                prop_assert!(complaints.iter().all(|c| !c.is_empty()));
            }
            prop_assert_eq!(dns_label(&text).is_empty(), is_dns_label(&text));
            prop_assert_eq!(dns_subdomain(&text).is_empty(), is_dns_subdomain(&text));
            prop_assert_eq!(qualified_name(&text).is_empty(), is_label_key(&text));
        }
    }
}
