//! Files of a volume, replaced all at once: they stand in a directory of their own, to which the link `..data` points,
//! and the names that containers see are links through it. A reader sees all of the old files or all of the new.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use super::content::File;
use super::{VolumeError, io_error};

const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";

/// Writes the files of a volume, where they differ from what is there.
pub(super) fn write(dir: &Path, files: &[File], group: Option<u32>) -> Result<(), VolumeError> {
    if is_current(dir, files) {
        return links(dir, files).map_err(io_error("link files in", dir));
    }
    let old = fs::read_link(dir.join(DATA)).ok();
    let fresh = fresh_dir(dir).map_err(io_error("create a directory in", dir))?;
    let written = files.iter().try_for_each(|file| {
        let path = fresh.join(&file.path);
        file_at(&fresh, &path, file, group).map_err(io_error("write", &path))
    });
    let swapped = written.and_then(|()| swap(dir, &fresh).map_err(io_error("replace the files of", dir)));
    if let Err(error) = swapped {
        // The old files stay; what is half written goes.
        let _ = fs::remove_dir_all(&fresh);
        return Err(error);
    }
    links(dir, files).map_err(io_error("link files in", dir))?;
    match old.filter(|name| name.components().count() == 1) {
        Some(old) => fs::remove_dir_all(dir.join(old)).or_else(missing_is_fine).map_err(io_error("clean up", dir)),
        None => Ok(()),
    }
}

fn missing_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Whether the files are there as they are to be, and no others.
fn is_current(dir: &Path, files: &[File]) -> bool {
    let data = dir.join(DATA);
    let same = |file: &File| {
        let path = data.join(&file.path);
        let mode = fs::metadata(&path).map(|m| m.permissions().mode() & 0o700);
        mode.is_ok_and(|m| m == file.mode & 0o700) && fs::read(&path).is_ok_and(|bytes| bytes == file.bytes)
    };
    data.is_dir() && count(&data) == files.len() && files.iter().all(same)
}

fn count(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|e| if e.path().is_dir() { count(&e.path()) } else { 1 }).sum()
}

/// A directory named after the time, as a kubelet names it.
fn fresh_dir(dir: &Path) -> io::Result<PathBuf> {
    let now = jiff::Timestamp::now();
    let stem = now.strftime("..%Y_%m_%d_%H_%M_%S").to_string();
    for number in now.subsec_nanosecond().. {
        let path = dir.join(format!("{stem}.{number}"));
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => {
                made?;
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
                return Ok(path);
            }
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn file_at(fresh: &Path, path: &Path, file: &File, group: Option<u32>) -> io::Result<()> {
    let mut above = fresh.to_path_buf();
    for step in Path::new(&file.path).parent().into_iter().flat_map(Path::components) {
        above.push(step);
        if !above.is_dir() {
            fs::create_dir(&above)?;
            fs::set_permissions(&above, fs::Permissions::from_mode(0o755))?;
        }
    }
    let mut out = fs::File::options().write(true).create_new(true).mode(0o600).open(path)?;
    out.write_all(&file.bytes)?;
    if file.owner.is_some() || group.is_some() {
        chown(path, file.owner, group)?;
    }
    // A group that owns volumes can read their files.
    let mode = if group.is_some() { file.mode | 0o440 } else { file.mode };
    out.set_permissions(fs::Permissions::from_mode(mode))
}

fn swap(dir: &Path, fresh: &Path) -> io::Result<()> {
    let name = fresh.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let new = dir.join(NEW_DATA);
    fs::remove_file(&new).or_else(missing_is_fine)?;
    symlink(name, &new)?;
    fs::rename(new, dir.join(DATA))
}

/// Makes the links that containers see, and removes those of files that are gone.
fn links(dir: &Path, files: &[File]) -> io::Result<()> {
    let wanted: BTreeSet<&str> = files.iter().filter_map(|f| f.path.split('/').next()).collect();
    for name in &wanted {
        let link = dir.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), &link)?;
        }
    }
    for entry in fs::read_dir(dir)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let ours = fs::read_link(entry.path()).is_ok_and(|to| to.starts_with(DATA));
        if ours && !wanted.contains(name.as_str()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn file(path: &str, text: &str, mode: u32) -> File {
        File { path: path.into(), bytes: text.into(), mode, owner: None }
    }

    /// Every file that a container sees, with its content and mode.
    fn seen(dir: &Path) -> BTreeMap<String, (String, u32)> {
        fn walk(dir: &Path, prefix: &str, all: &mut BTreeMap<String, (String, u32)>) {
            for entry in fs::read_dir(dir).unwrap().flatten() {
                let name = entry.file_name().into_string().unwrap();
                if name.starts_with("..") {
                    continue;
                }
                let (path, shown) = (entry.path(), format!("{prefix}{name}"));
                if path.is_dir() {
                    walk(&path, &format!("{shown}/"), all);
                } else {
                    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
                    all.insert(shown, (fs::read_to_string(&path).unwrap(), mode));
                }
            }
        }
        let mut all = BTreeMap::new();
        walk(dir, "", &mut all);
        all
    }

    #[test]
    fn unchanged_files_are_left_alone_and_changed_ones_are_replaced_together() {
        let dir = tempfile::tempdir().unwrap();
        let first = [file("a", "1", 0o644), file("d/e/f", "2", 0o400)];
        write(dir.path(), &first, None).unwrap();
        assert_eq!(
            seen(dir.path()),
            BTreeMap::from([("a".into(), ("1".into(), 0o644)), ("d/e/f".into(), ("2".into(), 0o400))])
        );
        assert_eq!(fs::read_link(dir.path().join("a")).unwrap(), Path::new("..data/a"));
        let before = fs::read_link(dir.path().join(DATA)).unwrap();
        write(dir.path(), &first, None).unwrap();
        assert_eq!(fs::read_link(dir.path().join(DATA)).unwrap(), before);
        write(dir.path(), &[file("b", "3", 0o600)], None).unwrap();
        assert_ne!(fs::read_link(dir.path().join(DATA)).unwrap(), before);
        assert_eq!(seen(dir.path()), BTreeMap::from([("b".into(), ("3".into(), 0o600))]));
        assert!(!dir.path().join(before).exists());
    }

    proptest! {
        #[test]
        fn whatever_was_there_the_wanted_files_are_seen(rounds in prop::collection::vec(
            prop::collection::btree_map("[a-c](/[d-f]){0,2}", ("[a-z]{0,3}", prop::sample::select(vec![0o400_u32, 0o644])), 0..5), 1..4))
        {
            let dir = tempfile::tempdir().unwrap();
            for round in rounds {
                // A file and a directory of one name cannot be together.
                let clash = |path: &String| round.keys().any(|other| other.starts_with(&format!("{path}/")));
                let files: Vec<File> =
                    round.iter().filter(|(path, _)| !clash(path)).map(|(path, (text, mode))| file(path, text, *mode)).collect();
                write(dir.path(), &files, None).unwrap();
                let expected: BTreeMap<String, (String, u32)> = files
                    .iter()
                    .map(|f| (f.path.clone(), (String::from_utf8(f.bytes.clone()).unwrap(), f.mode)))
                    .collect();
                prop_assert_eq!(seen(dir.path()), expected);
                let left = fs::read_dir(dir.path()).unwrap().flatten().filter(|e| e.file_name().to_string_lossy().starts_with("..2")).count();
                prop_assert_eq!(left, 1);
            }
        }
    }
}
