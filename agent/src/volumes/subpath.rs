//! `subPath`: a part of a volume, found without leaving the volume whatever links containers put into it.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat2};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, mount_bind, unmount};

/// Mounts a part of a volume on `target`; the part is made as a directory where it is missing.
pub(super) fn bind(root: &Path, sub_path: &str, target: &Path) -> io::Result<()> {
    let volume = fs::File::open(root)?;
    let part = open(&volume, Path::new(sub_path))?;
    // What an earlier attempt had may be another file by now.
    let _ = unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
    let is_dir = fs::metadata(by_descriptor(&part))?.is_dir();
    prepare(target, is_dir)?;
    // By its descriptor: nobody can put another file in its place meanwhile.
    Ok(mount_bind(by_descriptor(&part).as_str(), target)?)
}

fn by_descriptor(part: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", part.as_raw_fd())
}

/// A mount point of the right kind.
fn prepare(target: &Path, is_dir: bool) -> io::Result<()> {
    match fs::symlink_metadata(target) {
        Ok(found) if found.is_dir() == is_dir => return Ok(()),
        Ok(found) if found.is_dir() => fs::remove_dir(target)?,
        Ok(_) => fs::remove_file(target)?,
        Err(_) => {}
    }
    if is_dir {
        return fs::create_dir_all(target);
    }
    if let Some(above) = target.parent() {
        fs::create_dir_all(above)?;
    }
    fs::File::create(target).map(|_| ())
}

/// Opens a path below `volume`, step by step; links are followed as long as they stay in the volume.
fn open(volume: &fs::File, path: &Path) -> io::Result<OwnedFd> {
    let mut below = std::path::PathBuf::new();
    let mut at: OwnedFd = volume.try_clone()?.into();
    let mode = volume.metadata()?.permissions();
    for component in path.components() {
        let name = match component {
            Component::Normal(name) => name,
            Component::CurDir => continue,
            Component::RootDir | Component::ParentDir | Component::Prefix(_) => {
                return Err(io::Error::other("a sub-path must stay below its volume"));
            }
        };
        below.push(name);
        at = match look_up(volume.as_fd(), &below) {
            Err(Errno::NOENT) => {
                let made = match mkdirat(&at, name, Mode::from_raw_mode(0o700)) {
                    Ok(()) => true,
                    Err(Errno::EXIST) => false,
                    Err(error) => return Err(error.into()),
                };
                let found = look_up(volume.as_fd(), &below)?;
                if made {
                    // As open as the volume, whatever the agent's own mask says.
                    fs::set_permissions(by_descriptor(&found), mode.clone())?;
                }
                found
            }
            found => found?,
        };
    }
    Ok(at)
}

fn look_up(volume: impl AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    openat2(volume, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_part_is_found_or_made_but_never_outside() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("volume"), dir.path().join("outside"));
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(root.join("file"), "x").unwrap();
        symlink("a/b", root.join("inner")).unwrap();
        symlink(&outside, root.join("absolute")).unwrap();
        symlink("../outside", root.join("relative")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        let volume = fs::File::open(&root).unwrap();
        for (path, found) in [
            ("a/b", true),
            ("./a", true),
            ("file", true),
            ("inner", true),
            ("inner/new/deep", true),
            ("fresh", true),
            ("absolute", false),
            ("relative", false),
            ("relative/x", false),
            ("dangling", false),
            ("file/x", false),
            ("../outside", false),
            ("/etc", false),
        ] {
            assert_eq!(open(&volume, Path::new(path)).is_ok(), found, "{path}");
        }
        assert!(root.join("a/b/new/deep").is_dir() && root.join("fresh").is_dir());
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }
}
