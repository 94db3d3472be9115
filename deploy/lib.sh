#!/usr/bin/env bash
# What deploy/up, deploy/down and tests/run have in common. Sourced, not run.
# shellcheck disable=SC2034  # the variables are for the scripts that source this

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
SKIFF_HOME=${SKIFF_HOME:-/var/lib/skiff}
SKIFF_PORT=${SKIFF_PORT:-6443}
SKIFF_PROFILE=${SKIFF_PROFILE:-release}
SAMPLE_IMAGE=localhost/skiff-sample:1
RUN_DIR=$SKIFF_HOME/run
KUBECONFIG_FILE=$SKIFF_HOME/hub/admin.kubeconfig
# The agent puts this label on every Podman pod and container it makes.
POD_LABEL=io.skiff.pod-uid

say() { printf '%s\n' "==> $*"; }
die() { printf '%s\n' "error: $*" >&2; exit 1; }

need_root() { [ "$(id -u)" = 0 ] || die "$0 must run as root"; }

# Whether systemd manages this machine. SKIFF_SYSTEMD=no runs everything in the background instead.
has_systemd() { [ "${SKIFF_SYSTEMD:-yes}" = yes ] && [ "$(cat /proc/1/comm)" = systemd ]; }

# install_missing COMMAND=PACKAGE...: installs the packages whose command is not there.
install_missing() {
    local pair missing=()
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null || [ -x "/usr/lib/podman/${pair%%=*}" ] || missing+=("${pair##*=}")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "Installing ${missing[*]}"
    command -v apt-get >/dev/null || die "install these first (no apt-get here): ${missing[*]}"
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null \
        || die "apt-get could not install ${missing[*]}"
}

# crun refuses hybrid cgroups; runc works with every layout. Debian 12's netavark calls iptables.
install_podman() {
    install_missing podman=podman runc=runc catatonit=catatonit netavark=netavark aardvark-dns=aardvark-dns \
        iptables=iptables nft=nftables ip=iproute2
    # The plain busybox package is smaller than an image needs: only busybox-static is a static program.
    [ "$(dpkg-query -W -f '${db:Status-Status}' busybox-static 2>/dev/null)" = installed ] \
        || install_missing no-such-command=busybox-static
}

install_kubectl() { install_missing kubectl=kubernetes-client; }

need_cargo() {
    [ -x "$HOME/.cargo/bin/cargo" ] && PATH=$HOME/.cargo/bin:$PATH
    command -v cargo >/dev/null || die "cargo is not on PATH: install a Rust toolchain (1.94 or newer)"
}

# Where cargo puts the binaries of SKIFF_PROFILE.
target_dir() {
    local profile=$SKIFF_PROFILE
    [ "$profile" = dev ] && profile=debug
    printf '%s' "${CARGO_TARGET_DIR:-$REPO/target}/$profile"
}

# wait_for SECONDS WHAT COMMAND...: runs the command until it succeeds.
wait_for() {
    local seconds=$1 what=$2 end
    shift 2
    end=$((SECONDS + seconds))
    until "$@" >/dev/null 2>&1; do
        if [ $SECONDS -ge $end ]; then
            printf '%s\n' "error: waited ${seconds} s for ${what}" >&2
            return 1
        fi
        sleep 0.2
    done
}

# A containers.conf for machines on which Podman's own defaults fail: no systemd for cgroups and journal, no
# CAP_SYS_RESOURCE for the default limits. Soft and hard limits are equal because Podman 4.3 mixes them up.
write_containers_conf() {
    cat >"$1" <<'CONF'
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
CONF
}

kube() { kubectl --kubeconfig "$KUBECONFIG_FILE" "$@"; }

# running PIDFILE PROGRAM: whether the pid file names a live process of that program.
running() {
    local pid
    pid=$(cat "$1" 2>/dev/null) || return 1
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$2" ]
}

# stop PIDFILE PROGRAM: ends the process in order, by force after 10 s.
stop() {
    if running "$1" "$2"; then
        local pid
        pid=$(cat "$1")
        kill "$pid" 2>/dev/null || true
        wait_for 10 "$2 to end" eval "! kill -0 $pid" || kill -9 "$pid" 2>/dev/null || true
    fi
    rm -f "$1"
}
