//! Starting and stopping a hub.

use skiff_shared::telemetry::Chain;

use super::*;
use crate::config::Flags;

fn config(dir: &Path) -> Config {
    let flags = Flags {
        data_dir: Some(dir.to_str().unwrap().to_owned()),
        listen: Some("127.0.0.1:0".into()),
        ..Flags::default()
    };
    Config::load(&flags, |_| None).unwrap()
}

async fn refusal(dir: &Path) -> String {
    let error = run(config(dir), std::future::pending()).await.unwrap_err();
    Chain(&error).to_string()
}

#[tokio::test]
async fn a_second_hub_on_a_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _first = Hub::open(&config(dir.path())).await.unwrap();
    let expected = format!("the data directory {} is in use by another hub", dir.path().display());
    assert_eq!(refusal(dir.path()).await, expected);
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let expected = format!("cannot make the data directory {}/data: ", file.display());
    assert!(refusal(&file.join("data")).await.starts_with(&expected));
}

#[tokio::test]
async fn a_corrupt_database_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(DATABASE), "no database at all".repeat(100)).unwrap();
    let expected = format!("the database {}/state.db is corrupt: ", dir.path().display());
    let text = refusal(dir.path()).await;
    assert!(text.starts_with(&expected), "{text}");
}

#[tokio::test]
async fn the_data_directory_and_the_database_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("data");
    let hub = Hub::open(&config(&dir)).await.unwrap();
    for (path, expected) in [(dir.clone(), 0o700), (dir.join(DATABASE), 0o600)] {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, expected, "{}", path.display());
    }
    hub.store.close().await;
}
