//! The volumes of pods: directories of their own, paths of the machine, and files that follow ConfigMaps, Secrets,
//! tokens and the pod itself.
//!
//! A pod's volumes are in `pods/UID/volumes/PLUGIN/NAME` of the data directory, as a kubelet lays them out. Setting up
//! is idempotent: it is done when a pod comes, when the agent starts, and whenever something that files follow changes.

pub mod content;
pub mod downward;
mod files;
mod host;
mod mounts;
mod subpath;
pub mod tokens;
pub mod usage;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use skiff_shared::pod::{Mount, Pod, Volume, VolumeSource};

use crate::podman::Bind;
use content::File;

/// Directories of volumes are open to everyone: who may enter them is settled above them.
const OPEN: u32 = 0o777;
/// Directories above volumes (as a kubelet makes them).
const GUARDED: u32 = 0o750;

/// Why a volume or a mount of it cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// What the pod asks for cannot be given; the words are the kubelet's.
    #[error("{0}")]
    Refused(String),
    /// The file system failed.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> VolumeError {
    let path = path.to_owned();
    move |source| VolumeError::Io { operation, path, source }
}

/// One volume as it is to be: what is needed is found out before, so that this can be carried out on another thread.
#[derive(Debug)]
pub struct Wanted {
    volume: Volume,
    /// Its files, where it has any of its own.
    files: Vec<File>,
    /// Size of its file system, where it is kept in memory, bytes.
    memory_bytes: u64,
}

impl Wanted {
    /// A volume with these files; one in memory holds `memory_bytes` at most unless it says itself.
    pub fn new(volume: &Volume, files: Vec<File>, memory_bytes: u64) -> Self {
        Self { volume: volume.clone(), files, memory_bytes }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.volume.name
    }
}

/// Where a volume is on the machine.
pub fn path(pod_dir: &Path, volume: &Volume) -> PathBuf {
    let plugin = match &volume.source {
        VolumeSource::HostPath { path, .. } => return PathBuf::from(path),
        VolumeSource::EmptyDir { .. } => "kubernetes.io~empty-dir",
        VolumeSource::Projected { .. } => "kubernetes.io~projected",
        VolumeSource::Unsupported(_) => "kubernetes.io~none",
    };
    pod_dir.join("volumes").join(plugin).join(&volume.name)
}

/// Makes a volume, or brings it up to date.
///
/// # Errors
/// [`VolumeError`].
pub fn set_up(pod_dir: &Path, wanted: &Wanted, fs_group: Option<i64>) -> Result<(), VolumeError> {
    let volume = &wanted.volume;
    let dir = path(pod_dir, volume);
    match &volume.source {
        VolumeSource::HostPath { path, kind } => host::check(Path::new(path), kind),
        VolumeSource::Unsupported(why) => Err(VolumeError::Refused(why.clone())),
        VolumeSource::EmptyDir { memory, size_limit_bytes } => {
            let fresh = make(&dir)?;
            let size = size_limit_bytes.map_or(wanted.memory_bytes, |limit| limit.min(wanted.memory_bytes));
            let mounted = *memory && mounts::tmpfs(&dir, size).map_err(io_error("mount a tmpfs on", &dir))?;
            if (fresh || mounted)
                && let Some(group) = fs_group
            {
                give_to_group(&dir, group)?;
            }
            Ok(())
        }
        VolumeSource::Projected { memory, .. } => {
            make(&dir)?;
            if *memory && let Err(error) = mounts::tmpfs(&dir, wanted.memory_bytes) {
                // A machine that does not let the agent mount keeps them on its disk, for root only.
                tracing::warn!(%error, dir = %dir.display(), "secrets are kept on disk");
            }
            files::write(&dir, &wanted.files, fs_group.and_then(|g| u32::try_from(g).ok()))
        }
    }
}

/// Makes a volume's directory; whether it was missing.
fn make(dir: &Path) -> Result<bool, VolumeError> {
    if dir.is_dir() {
        return Ok(false);
    }
    let failed = || io_error("create directory", dir);
    if let Some(above) = dir.parent() {
        fs::DirBuilder::new().recursive(true).mode(GUARDED).create(above).map_err(failed())?;
    }
    fs::create_dir(dir).map_err(failed())?;
    // The mode is set apart from making it: the agent's own mask does not count for pods.
    fs::set_permissions(dir, fs::Permissions::from_mode(OPEN)).map_err(failed())?;
    Ok(true)
}

/// Lets a group own an empty volume, and all that will be made in it.
fn give_to_group(dir: &Path, group: i64) -> Result<(), VolumeError> {
    let failed = || io_error("change the group of", dir);
    let group = u32::try_from(group).map_err(io::Error::other).map_err(failed())?;
    chown(dir, None, Some(group)).map_err(failed())?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o2000 | OPEN)).map_err(failed())
}

/// The mounts of a container, in order. `sub_paths` are those of its mounts, expanded.
///
/// # Errors
/// [`VolumeError`], when a sub-path cannot be had.
pub fn binds(pod_dir: &Path, pod: &Pod, container: &str, sub_paths: &[String]) -> Result<Vec<Bind>, VolumeError> {
    let mut binds = Vec::new();
    for (index, (mount, sub_path)) in pod.mounts(container).zip(sub_paths).enumerate() {
        let Some(volume) = pod.volumes().find(|v| v.name == mount.volume) else { continue };
        let root = path(pod_dir, volume);
        let source = if sub_path.is_empty() {
            root
        } else {
            let target = pod_dir.join("volume-subpaths").join(&volume.name).join(container).join(index.to_string());
            subpath::bind(&root, sub_path, &target).map_err(|error| {
                tracing::warn!(%error, volume = volume.name, sub_path, "cannot prepare a sub-path");
                let what =
                    format!("failed to prepare subPath for volumeMount {:?} of container {container:?}", mount.volume);
                VolumeError::Refused(what)
            })?;
            target
        };
        binds.push(bind(mount, &source));
    }
    Ok(binds)
}

fn bind(mount: &Mount, source: &Path) -> Bind {
    let propagation = match mount.propagation.as_str() {
        "HostToContainer" => "rslave",
        "Bidirectional" => "rshared",
        _ => "rprivate",
    };
    Bind {
        source: source.to_string_lossy().into_owned(),
        target: mount.path.clone(),
        read_only: mount.read_only,
        propagation,
    }
}

/// Removes everything of a pod from the machine. What is mounted there is unmounted first, and while anything is, not
/// a file is removed: it could be the machine's own.
///
/// # Errors
/// [`VolumeError::Io`].
pub fn tear_down(pod_dir: &Path) -> Result<(), VolumeError> {
    mounts::unmount_below(pod_dir).map_err(io_error("unmount what is below", pod_dir))?;
    match fs::remove_dir_all(pod_dir) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(io_error("remove", pod_dir)(source)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Removes what pods that are no longer known have left in `pods`, the directory of all pods.
pub fn sweep(pods: &Path, known: &BTreeSet<String>) {
    for entry in fs::read_dir(pods).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !known.contains(&name)
            && let Err(error) = tear_down(&entry.path())
        {
            tracing::warn!(%error, pod = name, "what a pod left behind stays for now");
        }
    }
}

#[cfg(test)]
mod tests;
