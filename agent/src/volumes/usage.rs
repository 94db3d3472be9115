//! How much the volumes of a pod take of the machine's disk.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use skiff_shared::pod::{Volume, VolumeSource};

/// The unit of `st_blocks`, bytes.
const BLOCK: u64 = 512;

/// A volume on disk whose size is limited, with its limit, bytes. What is kept in memory cannot grow past its limit.
pub fn limited(volume: &Volume) -> Option<u64> {
    match volume.source {
        VolumeSource::EmptyDir { memory: false, size_limit_bytes } => size_limit_bytes,
        VolumeSource::EmptyDir { .. }
        | VolumeSource::HostPath { .. }
        | VolumeSource::Projected { .. }
        | VolumeSource::Unsupported(_) => None,
    }
}

/// The first of a pod's volumes that holds more than it may, and what it may hold.
pub fn exceeded<'a>(pod_dir: &Path, volumes: impl IntoIterator<Item = &'a Volume>) -> Option<(&'a str, u64)> {
    volumes.into_iter().find_map(|volume| {
        let limit = limited(volume)?;
        let mut left = limit;
        take(&super::path(pod_dir, volume), &mut left).is_none().then_some((volume.name.as_str(), limit))
    })
}

/// Takes what is below a directory from what is `left`; `None` where that does not suffice. Links are not followed, and
/// what goes away meanwhile takes nothing.
fn take(dir: &Path, left: &mut u64) -> Option<()> {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        // A file of several names is counted for each in its part.
        let names = if metadata.is_dir() { 1 } else { metadata.nlink().max(1) };
        *left = left.checked_sub(metadata.blocks() * BLOCK / names)?;
        if metadata.is_dir() {
            take(&entry.path(), left)?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_that_holds_too_much_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let volume = |name: &str, memory, size_limit_bytes| Volume {
            name: name.into(),
            source: VolumeSource::EmptyDir { memory, size_limit_bytes },
        };
        let volumes =
            [volume("free", false, None), volume("memory", true, Some(1)), volume("v", false, Some(64 << 10))];
        let below = |name: &str| super::super::path(dir.path(), volumes.iter().find(|v| v.name == name).unwrap());
        assert_eq!(exceeded(dir.path(), &volumes), None, "nothing is there yet");
        for name in ["free", "memory", "v"] {
            fs::create_dir_all(below(name).join("sub")).unwrap();
        }
        fs::write(below("free").join("x"), vec![1; 1 << 20]).unwrap();
        fs::write(below("memory").join("x"), vec![1; 1 << 10]).unwrap();
        fs::write(below("v").join("sub/x"), vec![1; 16 << 10]).unwrap();
        fs::hard_link(below("v").join("sub/x"), below("v").join("y")).unwrap();
        std::os::unix::fs::symlink(below("free"), below("v").join("link")).unwrap();
        assert_eq!(exceeded(dir.path(), &volumes), None);
        fs::write(below("v").join("z"), vec![1; 60 << 10]).unwrap();
        assert_eq!(exceeded(dir.path(), &volumes), Some(("v", 64 << 10)));
    }
}
