//! Mounting and unmounting.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// Mounts a tmpfs of so many bytes on a directory, unless one is there; whether it did.
pub(super) fn tmpfs(dir: &Path, bytes: u64) -> io::Result<bool> {
    if is_mount_point(dir)? {
        return Ok(false);
    }
    let options = CString::new(format!("size={bytes},mode=0777"))?;
    mount("tmpfs", dir, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str())?;
    Ok(true)
}

fn is_mount_point(dir: &Path) -> io::Result<bool> {
    let above = dir.parent().unwrap_or(dir);
    Ok(fs::metadata(dir)?.dev() != fs::metadata(above)?.dev())
}

/// Unmounts whatever is mounted below a directory.
///
/// # Errors
/// When something stays mounted.
pub(super) fn unmount_below(dir: &Path) -> io::Result<()> {
    let Ok(dir) = dir.canonicalize() else { return Ok(()) };
    for target in mounted_below(&dir)?.iter().rev() {
        // Lazily: a process that still has a file of it open does not keep the pod from going.
        unmount(target.as_path(), UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?;
    }
    match mounted_below(&dir)?.first() {
        None => Ok(()),
        Some(left) => Err(io::Error::other(format!("{} is still mounted", left.display()))),
    }
}

/// Mount points below a directory, each after those it is in.
fn mounted_below(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(table.lines().filter_map(mount_point).filter(|p| p.starts_with(dir)).collect())
}

/// The mount point in a line of `mountinfo`: the fifth word, with spaces and the like written in octal.
fn mount_point(line: &str) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let word = line.split(' ').nth(4)?.as_bytes();
    let (mut bytes, mut at) = (Vec::new(), 0);
    while let Some(byte) = word.get(at) {
        let code = word.get(at + 1..at + 4).filter(|_| *byte == b'\\');
        match code.and_then(|c| u8::from_str_radix(std::str::from_utf8(c).ok()?, 8).ok()) {
            Some(decoded) => {
                bytes.push(decoded);
                at += 4;
            }
            None => {
                bytes.push(*byte);
                at += 1;
            }
        }
    }
    Some(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_with_their_spaces() {
        for (line, point) in [
            ("36 35 98:0 / /mnt/a rw,noatime - ext3 /dev/root rw", Some("/mnt/a")),
            (r"36 35 98:0 / /mnt/a\040b\134c rw - tmpfs tmpfs rw", Some(r"/mnt/a b\c")),
            ("36 35", None),
        ] {
            assert_eq!(mount_point(line), point.map(PathBuf::from), "{line}");
        }
    }
}
