//! The ground tests stand on: a directory, a bridge and network namespaces of their own.
//!
//! Sixteen labs fit beside each other on one machine, each with a /28 of 198.51.100.0/24. A lab is claimed with a file
//! lock; whatever a killed test left in it is removed by the next one that claims it.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::process::{output, run};

/// Where the locks and directories of all labs are.
const BASE: &str = "/var/tmp/skiff-tests";
/// Labs on one machine: as many as 198.51.100.0/24 has subnets of 16 addresses.
const LABS: u8 = 16;
/// Namespaces in a lab: addresses of a /28 without network, bridge and broadcast.
const NODES: u8 = 13;

/// A claimed lab. Dropping the last handle removes everything in it.
#[derive(Debug)]
pub struct Lab {
    slot: u8,
    dir: PathBuf,
    nodes: AtomicU8,
    _lock: File,
}

impl Lab {
    /// Claims a free lab and clears it.
    ///
    /// # Panics
    /// When all are taken, or the machine refuses.
    pub fn claim() -> Arc<Self> {
        fs::create_dir_all(BASE).expect("the labs' directory can be made");
        let (slot, lock) = (0..LABS).find_map(lock_slot).expect("a lab is free");
        let lab = Self { slot, dir: Path::new(BASE).join(slot.to_string()), nodes: AtomicU8::new(0), _lock: lock };
        lab.clear();
        fs::create_dir_all(&lab.dir).expect("the lab's directory can be made");
        ip(&format!("link add {} type bridge", lab.bridge()));
        ip(&format!("addr add {}/28 dev {}", lab.gateway(), lab.bridge()));
        ip(&format!("link set {} up", lab.bridge()));
        Arc::new(lab)
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The machine's own address in the lab, which every namespace reaches.
    pub fn gateway(&self) -> Ipv4Addr {
        self.address(1)
    }

    /// Makes the next network namespace.
    ///
    /// # Panics
    /// When the lab is full.
    pub fn netns(self: &Arc<Self>) -> Netns {
        let index = self.nodes.fetch_add(1, Ordering::Relaxed);
        assert!(index < NODES, "a lab has room for {NODES} nodes");
        let name = format!("{}n{index}", self.bridge());
        let address = self.address(index + 2);
        ip(&format!("netns add {name}"));
        ip(&format!("link add {name} type veth peer name eth0 netns {name}"));
        ip(&format!("link set {name} master {} up", self.bridge()));
        ip(&format!("-n {name} link set lo up"));
        ip(&format!("-n {name} addr add {address}/28 dev eth0"));
        ip(&format!("-n {name} link set eth0 up"));
        ip(&format!("-n {name} route add default via {}", self.gateway()));
        Netns { name, address, lab: self.clone() }
    }

    fn bridge(&self) -> String {
        format!("skt{}", self.slot)
    }

    fn address(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(198, 51, 100, self.slot * 16 + host)
    }

    /// Removes processes, mounts, namespaces and files of this lab, its own or those of a test that was killed.
    fn clear(&self) {
        kill_processes_of(&self.dir);
        unmount_below(&self.dir);
        for index in 0..NODES {
            let name = format!("{}n{index}", self.bridge());
            if Path::new("/run/netns").join(&name).exists() {
                ip(&format!("netns del {name}"));
            }
        }
        drop(output(Command::new("ip").args(["link", "del", &self.bridge()])));
        if let Err(e) = fs::remove_dir_all(&self.dir)
            && e.kind() != std::io::ErrorKind::NotFound
        {
            eprintln!("cannot remove {}: {e}", self.dir.display());
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::env::var_os("SKIFF_KEEP").is_none() {
            self.clear();
        }
    }
}

/// A network namespace: one machine of the cluster.
#[derive(Debug)]
pub struct Netns {
    name: String,
    address: Ipv4Addr,
    lab: Arc<Lab>,
}

impl Netns {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The lab it is in.
    pub fn lab(&self) -> &Arc<Lab> {
        &self.lab
    }

    /// Pulls the cable.
    pub fn cut(&self) {
        ip(&format!("link set {} down", self.name));
    }

    /// Plugs it in again.
    pub fn mend(&self) {
        ip(&format!("link set {} up", self.name));
    }
}

fn lock_slot(slot: u8) -> Option<(u8, File)> {
    let path = Path::new(BASE).join(format!("{slot}.lock"));
    let file = File::options().create(true).truncate(false).write(true).open(path).expect("a lock file can be made");
    file.try_lock().ok().map(|()| (slot, file))
}

#[track_caller]
fn ip(arguments: &str) {
    run(Command::new("ip").args(arguments.split(' ')));
}

/// Kills every process whose command line names a path below `dir`: conmon and its containers, a Podman service.
fn kill_processes_of(dir: &Path) {
    let needle = format!("{}/", dir.display());
    let processes = fs::read_dir("/proc").expect("/proc can be read").flatten();
    for pid in processes.filter_map(|p| p.file_name().to_str()?.parse::<u32>().ok()) {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if pid != std::process::id() && String::from_utf8_lossy(&line).contains(&needle) {
            children(pid).into_iter().chain([pid]).for_each(kill9);
        }
    }
}

fn children(pid: u32) -> Vec<u32> {
    let listed = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    listed.split_whitespace().filter_map(|p| p.parse().ok()).collect()
}

fn kill9(pid: u32) {
    drop(output(Command::new("kill").args(["-9", &pid.to_string()])));
}

fn unmount_below(dir: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("the mounts can be read");
    let mut targets: Vec<&str> = mounts.lines().filter_map(|l| l.split(' ').nth(1)).collect();
    targets.retain(|t| Path::new(t).starts_with(dir));
    for target in targets.iter().rev() {
        drop(output(Command::new("umount").args(["--lazy", target])));
    }
}
