//! Whether the kernel killed a container for want of memory, from the kernel's own log.
//!
//! Podman learns it from conmon, which watches the container's cgroup; on machines that mix cgroups v1 and v2 conmon
//! looks in the wrong place and says no. The kernel names the cgroup of each process it kills, and Podman names
//! cgroups by the container's id.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;

const LOG: &str = "/dev/kmsg";
/// `O_NONBLOCK`, the same on every architecture that Rust's Linux targets have but MIPS, SPARC and Alpha.
const NONBLOCK: i32 = 0o4000;
/// The kernel gives one record a read, and none is longer.
const RECORD_MAX: usize = 8192;
/// Start of the record that tells whom the kernel chose and why.
const CHOSEN: &str = "oom-kill:";

/// Whether the kernel's log, as far back as it goes, tells that a process of this container was killed.
/// `false` where the log cannot be read. Waits for nothing: the log is memory.
pub(super) fn killed(container: &str) -> bool {
    let Ok(mut log) = File::options().read(true).custom_flags(NONBLOCK).open(LOG) else { return false };
    let mut record = [0; RECORD_MAX];
    loop {
        match log.read(&mut record) {
            Ok(0) => return false,
            Ok(length) if names(&record[..length], container) => return true,
            Ok(_) => {}
            // Records were overwritten while they were read: the next read goes on with the oldest that is left.
            Err(error) if error.kind() == ErrorKind::BrokenPipe || error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}

fn names(record: &[u8], container: &str) -> bool {
    let text = String::from_utf8_lossy(record);
    // `priority,sequence,time,flags;text`
    let text = text.split_once(';').map_or("", |(_, text)| text);
    text.strip_prefix(CHOSEN).is_some_and(|victim| !container.is_empty() && victim.contains(container))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kernels_own_record_of_the_container_counts() {
        let id = "3429605dd996";
        let path = format!("/libpod_parent/f57c/libpod-{id}");
        for (record, told) in [
            (
                format!("4,7,8,-;oom-kill:constraint=CONSTRAINT_MEMCG,oom_memcg={path},task_memcg={path},task=tail"),
                true,
            ),
            (format!("4,7,8,-;oom-kill:constraint=CONSTRAINT_NONE,global_oom,task_memcg={path},task=tail"), true),
            ("4,7,8,-;oom-kill:constraint=CONSTRAINT_MEMCG,task_memcg=/libpod-0000,task=tail".to_owned(), false),
            (format!("6,7,8,-;a process wrote oom-kill:task_memcg={path}"), false),
            (String::new(), false),
        ] {
            assert_eq!(names(record.as_bytes(), id), told, "{record}");
            assert!(!names(record.as_bytes(), ""), "no container is named so");
        }
    }
}
