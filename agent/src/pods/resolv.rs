//! The resolver's file of a pod's containers, for pods that do not look names up as their node does: pure.

use skiff_shared::pod::{Dns, Pod};

/// Where containers see it.
pub const PATH: &str = "/etc/resolv.conf";
/// The C library reads so many servers.
const MAX_NAMESERVERS: usize = 3;

/// The content for a pod with these wishes; `machine` is the machine's own file.
pub fn content(dns: &Dns, machine: &str) -> String {
    let mut merged = if dns.alone { Dns::default() } else { parse(machine) };
    add(&mut merged.nameservers, &dns.nameservers);
    add(&mut merged.searches, &dns.searches);
    for (name, value) in &dns.options {
        match merged.options.iter_mut().find(|(known, _)| known == name) {
            Some(option) => option.1.clone_from(value),
            None => merged.options.push((name.clone(), value.clone())),
        }
    }
    merged.nameservers.truncate(MAX_NAMESERVERS);
    print(&merged)
}

/// Whether a container gets the file; one that mounts something there itself does not.
pub fn wanted<'a>(pod: &'a Pod, container: &str) -> Option<&'a Dns> {
    pod.dns().filter(|_| pod.mounts(container).all(|mount| mount.path != PATH))
}

fn add(list: &mut Vec<String>, more: &[String]) {
    for entry in more {
        if !list.contains(entry) {
            list.push(entry.clone());
        }
    }
}

/// Reads a resolver's file; what it does not know it passes over.
fn parse(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text.lines() {
        let mut words = line.split_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            Some("nameserver") => dns.nameservers.extend(words.next()),
            // The last of these counts.
            Some("search" | "domain") => dns.searches = words.collect(),
            Some("options") => dns.options.extend(words.map(|word| match word.split_once(':') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (word, None),
            })),
            Some(_) | None => {}
        }
    }
    dns
}

fn print(dns: &Dns) -> String {
    let mut text = String::new();
    if !dns.searches.is_empty() {
        text.push_str(&format!("search {}\n", dns.searches.join(" ")));
    }
    dns.nameservers.iter().for_each(|server| text.push_str(&format!("nameserver {server}\n")));
    if !dns.options.is_empty() {
        let option = |(name, value): &(String, Option<String>)| match value {
            Some(value) => format!("{name}:{value}"),
            None => name.clone(),
        };
        text.push_str(&format!("options {}\n", dns.options.iter().map(option).collect::<Vec<_>>().join(" ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_added_to_what_the_machine_has_or_stand_alone() {
        let strings = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let machine =
            "# mine\ndomain old\nnameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch a b\noptions ndots:1 rotate\n";
        let mut dns = Dns {
            alone: false,
            nameservers: strings(&["192.0.2.2", "192.0.2.3", "192.0.2.4"]),
            searches: strings(&["b", "c"]),
            options: vec![("ndots".into(), Some("5".into())), ("edns0".into(), None)],
        };
        let merged = "search a b c\nnameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n\
            options ndots:5 rotate edns0\n";
        assert_eq!(content(&dns, machine), merged);
        dns.alone = true;
        let alone = "search b c\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n\
            options ndots:5 edns0\n";
        assert_eq!(content(&dns, machine), alone);
        let nothing = Dns { alone: true, nameservers: strings(&["192.0.2.9"]), ..Dns::default() };
        assert_eq!(content(&nothing, machine), "nameserver 192.0.2.9\n");
    }
}
