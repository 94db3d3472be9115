//! `hostPath`: what a path of the machine must be, and making it where that is asked for.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use super::{VolumeError, io_error};

/// Checks that a path is of a kind (`Directory`, `FileOrCreate`, …; empty: no check).
pub(super) fn check(path: &Path, kind: &str) -> Result<(), VolumeError> {
    let found = match fs::metadata(path) {
        Ok(found) => Some(found.file_type()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(io_error("look at", path)(error)),
    };
    if found.is_none() && matches!(kind, "" | "DirectoryOrCreate") {
        return fs::create_dir_all(path)
            .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
            .map_err(io_error("create directory", path));
    }
    if found.is_none() && kind == "FileOrCreate" {
        return fs::File::create_new(path)
            .and_then(|file| file.set_permissions(fs::Permissions::from_mode(0o644)))
            .map_err(io_error("create file", path));
    }
    let is = |good: fn(&fs::FileType) -> bool| found.as_ref().is_some_and(good);
    let (right, name) = match kind {
        "" => (true, ""),
        "Directory" | "DirectoryOrCreate" => (is(fs::FileType::is_dir), "directory"),
        "File" | "FileOrCreate" => (is(fs::FileType::is_file), "file"),
        "Socket" => (is(|t| t.is_socket()), "socket file"),
        "CharDevice" => (is(|t| t.is_char_device()), "character device"),
        "BlockDevice" => (is(|t| t.is_block_device()), "block device"),
        other => return Err(VolumeError::Refused(format!("{other} is an invalid volume type"))),
    };
    let complaint = || format!("hostPath type check failed: {} is not a {name}", path.display());
    if right { Ok(()) } else { Err(VolumeError::Refused(complaint())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_checked_and_made() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("dir")).unwrap();
        fs::write(at("file"), "").unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for (name, kind, expected) in [
            ("dir", "", Ok(())),
            ("dir", "Directory", Ok(())),
            ("dir", "DirectoryOrCreate", Ok(())),
            ("dir", "File", Err("is not a file")),
            ("file", "File", Ok(())),
            ("file", "FileOrCreate", Ok(())),
            ("file", "DirectoryOrCreate", Err("is not a directory")),
            ("socket", "Socket", Ok(())),
            ("socket", "CharDevice", Err("is not a character device")),
            ("socket", "BlockDevice", Err("is not a block device")),
            ("none", "Directory", Err("is not a directory")),
            ("none", "File", Err("is not a file")),
            ("none", "Socket", Err("is not a socket file")),
            ("a/b", "", Ok(())),
            ("a/c", "DirectoryOrCreate", Ok(())),
            ("a/d", "FileOrCreate", Ok(())),
        ] {
            let checked = check(&at(name), kind).map_err(|e| e.to_string());
            let expected = expected.map_err(|e| format!("hostPath type check failed: {} {e}", at(name).display()));
            assert_eq!(checked, expected, "{name} {kind}");
        }
        assert!(at("a/b").is_dir() && at("a/c").is_dir() && at("a/d").is_file());
        assert!(check(Path::new("/dev/null"), "CharDevice").is_ok());
        assert!(check(&at("no/such/file"), "FileOrCreate").is_err());
    }
}
