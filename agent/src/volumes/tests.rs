//! Volumes on a real file system.

use std::os::unix::fs::MetadataExt;

use skiff_shared::pod::Projection;

use super::*;

fn volume(name: &str, source: VolumeSource) -> Volume {
    Volume { name: name.into(), source }
}

fn file(path: &str, text: &str) -> File {
    File { path: path.into(), bytes: text.into(), mode: 0o644, owner: None }
}

#[test]
fn an_empty_directory_is_made_once_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let empty = volume("e", VolumeSource::EmptyDir { memory: false, size_limit_bytes: None });
    let wanted = Wanted::new(&empty, vec![], 0);
    set_up(dir.path(), &wanted, None).unwrap();
    let at = path(dir.path(), &empty);
    assert_eq!(at, dir.path().join("volumes/kubernetes.io~empty-dir/e"));
    assert_eq!(fs::metadata(&at).unwrap().mode() & 0o7777, 0o777);
    fs::write(at.join("x"), "1").unwrap();
    set_up(dir.path(), &wanted, None).unwrap();
    assert!(at.join("x").exists());
}

#[test]
fn what_cannot_be_had_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let wanted = Wanted::new(&volume("u", VolumeSource::Unsupported("no driver".into())), vec![], 0);
    assert_eq!(set_up(dir.path(), &wanted, None).unwrap_err().to_string(), "no driver");
}

#[test]
fn a_pod_that_is_gone_leaves_nothing_and_known_ones_stay() {
    let dir = tempfile::tempdir().unwrap();
    let files = VolumeSource::Projected { mode: 0o644, memory: false, sources: Vec::<Projection>::new() };
    for pod in ["known", "gone"] {
        let wanted = Wanted::new(&volume("p", files.clone()), vec![file("a/b", "1")], 0);
        set_up(&dir.path().join(pod), &wanted, None).unwrap();
    }
    sweep(dir.path(), &BTreeSet::from(["known".to_owned()]));
    assert!(!dir.path().join("gone").exists());
    let kept = dir.path().join("known/volumes/kubernetes.io~projected/p/a/b");
    assert_eq!(fs::read_to_string(kept).unwrap(), "1");
}
