//! The ledger survives restarts, refuses damage and keeps strangers out.

use std::fs;

use skiff_shared::pod::{Data, Resources};
use skiff_shared::report::{EventReport, Subject};

use super::events::{EventQueue, MAX_EVENTS};
use super::*;

fn config_map(namespace: &str, name: &str) -> Item {
    Item::ConfigMap(Data { namespace: namespace.into(), name: name.into(), entries: vec![("k".into(), b"v".to_vec())] })
}

fn event(message: &str, warning: bool) -> EventReport {
    EventReport {
        seq: 0,
        at_ms: 1,
        warning,
        reason: "R".into(),
        message: message.into(),
        subject: Subject::Node,
        count: 1,
    }
}

#[test]
fn what_was_applied_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, contents) = Ledger::open(dir.path()).unwrap();
    assert!(contents.items.is_empty());
    let (a, b) = (config_map("default", "a"), config_map("default", "b"));
    ledger.apply(&[a.clone(), b.clone()], &[], &[]).unwrap();
    ledger.apply(&[], &[a.key()], &[]).unwrap();
    let uid = PodUid::parse("u-1").unwrap();
    let facts = PodFacts { start_ms: 7, ..PodFacts::default() };
    ledger.put_facts(&uid, &facts).unwrap();
    let resized = PodUid::parse("u-2").unwrap();
    let given = Resources { cpu_request_milli: Some(100), ..Resources::default() };
    let allocated = [("c".to_owned(), given)].into();
    ledger.put_facts(&resized, &PodFacts { allocated, ..facts.clone() }).unwrap();
    drop(ledger);
    let (_ledger, contents) = Ledger::open(dir.path()).unwrap();
    assert_eq!(contents.items, [b]);
    assert_eq!(contents.facts.get(&uid), Some(&facts));
    assert_eq!(contents.facts[&resized].allocated["c"], given);
}

#[test]
fn a_second_agent_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _first = Ledger::open(dir.path()).unwrap();
    let error = Ledger::open(dir.path()).unwrap_err();
    assert!(matches!(error, LedgerError::InUse(_)), "{error}");
}

#[test]
fn damage_is_one_error_that_names_the_file() {
    for damage in [&b"junk"[..], b"", b"skiffld1", b"skiffld1aaaaaaaaaaaaaaaabbbb"] {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, _) = Ledger::open(dir.path()).unwrap();
        ledger.apply(&[config_map("ns", "a")], &[], &[]).unwrap();
        drop(ledger);
        let path = dir.path().join("ledger/configmaps/ns_a");
        fs::write(&path, damage).unwrap();
        let error = Ledger::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    }
}

#[test]
fn a_write_cut_off_by_a_crash_is_ignored() {
    let dir = tempfile::tempdir().unwrap();
    drop(Ledger::open(dir.path()).unwrap());
    fs::write(dir.path().join("ledger/pods/u-1.tmp"), b"half").unwrap();
    assert!(Ledger::open(dir.path()).unwrap().1.items.is_empty());
}

#[test]
fn file_names_cannot_leave_the_directory() {
    for (namespace, name, expected) in [
        ("default", "web", "default_web"),
        ("..", "../../etc/passwd", "%2e._.._.._etc_passwd"),
        ("a_b", "C", "a%5fb_%43"),
    ] {
        assert_eq!(file_name(namespace, name), expected);
    }
    let long = file_name(&"a".repeat(63), &"b".repeat(253));
    assert!(long.len() <= 200 && long != file_name(&"a".repeat(63), &"b".repeat(252)), "{long}");
}

#[test]
fn events_survive_until_the_hub_has_them_and_numbers_only_grow() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events");
    let mut queue = EventQueue::open(path.clone()).unwrap();
    for message in ["a", "b", "c"] {
        queue.push(event(message, false)).unwrap();
    }
    queue.stored(2).unwrap();
    drop(queue);
    let mut queue = EventQueue::open(path.clone()).unwrap();
    let left: Vec<_> = queue.after(0, 10).into_iter().map(|e| (e.seq, e.message)).collect();
    assert_eq!(left, [(3, "c".to_owned())]);
    queue.stored(3).unwrap();
    drop(queue);
    let mut queue = EventQueue::open(path).unwrap();
    queue.push(event("d", false)).unwrap();
    assert_eq!(queue.last_seq(), 4);
}

#[test]
fn a_torn_end_is_cut_off_but_damage_inside_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events");
    let mut queue = EventQueue::open(path.clone()).unwrap();
    queue.push(event("a", false)).unwrap();
    queue.push(event("b", false)).unwrap();
    drop(queue);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 3]).unwrap();
    assert_eq!(EventQueue::open(path.clone()).unwrap().after(0, 10).len(), 1);
    let mut damaged = whole.clone();
    damaged[30] ^= 0xff;
    fs::write(&path, &damaged).unwrap();
    assert!(matches!(EventQueue::open(path), Err(LedgerError::Corrupt { .. })));
}

#[test]
fn a_full_queue_drops_normal_events_before_warnings() {
    let dir = tempfile::tempdir().unwrap();
    let mut queue = EventQueue::open(dir.path().join("events")).unwrap();
    queue.push(event("keep", true)).unwrap();
    for i in 0..MAX_EVENTS + 5 {
        queue.push(event(&format!("n{i}"), false)).unwrap();
    }
    let kept = queue.after(0, usize::MAX);
    assert_eq!(kept.len(), MAX_EVENTS);
    assert_eq!(kept[0].message, "keep");
    queue.push(event("keep", true)).unwrap();
    let merged = queue.after(0, usize::MAX).pop().unwrap();
    assert_eq!((merged.message.as_str(), merged.count), ("keep", 2));
}
