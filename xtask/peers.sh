#!/usr/bin/env bash
# Installs the real peers that the tests run against, on Debian 12, as root. Running it again costs a second.
#   from Debian 12:            baresip, Chromium, ffmpeg, opus-tools (opusinfo, opusdec), sox, openssl, iproute2, rtpengine, debootstrap
#   from a newer Debian suite: Asterisk 22 (pjsip, SRTP, Opus), SIPp 3.8 with TLS and PostgreSQL 18, in a chroot below the
#                              cache folder
#   from PyPI:                 schemathesis, which tries an OpenAPI document (opt/schemathesis below the cache folder)
#   from npm:                  JsSIP, bundled into one script for a page (opt/jssip.js below the cache folder)
# Debian 12 itself has no Asterisk, and its SIPp has no TLS. The mirror is the one in the host's own apt sources.
#   SETU_PEERS  cache folder (default: ~/.cache/setu/peers)      SETU_SUITE  newer suite (default: forky)
set -euo pipefail
root=${SETU_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/setu/peers}
suite=${SETU_SUITE:-forky}
stamp=$root/.setu-peers-4
host_tools=(baresip chromium ffmpeg opusinfo opusdec sox openssl ip rtpengine debootstrap)

missing=()
for tool in "${host_tools[@]}"; do command -v "$tool" >/dev/null || missing+=("$tool"); done
if [[ ${#missing[@]} -eq 0 && -e $stamp && -x $root/usr/sbin/asterisk && -x $root/usr/bin/sipp ]]; then
  echo "peers are in $root"
  exit 0
fi
[[ $(id -u) -eq 0 ]] || { echo "installing the peers (${missing[*]} and a chroot in $root) needs root: sudo $0" >&2; exit 1; }

export DEBIAN_FRONTEND=noninteractive
mkdir -p "$root"
log=$(mktemp)
modules=$(mktemp -d)
trap 'rm -rf "$log" "$modules"' EXIT
quiet() { "$@" >"$log" 2>&1 || { echo "failed: $*" >&2; tail -n 20 "$log" >&2; exit 1; }; }

echo "installing peers into $root (about two minutes, once)"
quiet apt-get update
# rtpengine's package would start a service.
if [[ ! -e /usr/sbin/policy-rc.d ]]; then
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
  chmod 755 /usr/sbin/policy-rc.d
  trap 'rm -rf "$log" "$modules" /usr/sbin/policy-rc.d' EXIT
fi
quiet apt-get install -y --no-install-recommends baresip-core chromium ffmpeg opus-tools sox openssl iproute2 \
  rtpengine-daemon debootstrap ca-certificates
command -v npm >/dev/null || quiet apt-get install -y --no-install-recommends npm

mirror=$({ cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null || true; } |
  sed -n -E 's/^URIs: *([^ ]+).*/\1/p; s/^deb (\[[^]]*\] )?([^ ]+) .*/\2/p' | head -n 1)
[[ -n $mirror ]] || { echo "no Debian mirror found in /etc/apt" >&2; exit 1; }

# 'sid' names debootstrap's script: the debootstrap of Debian 12 does not know newer suites by name.
[[ -x $root/usr/bin/apt-get ]] || quiet debootstrap --variant=minbase "$suite" "$root" "$mirror" sid
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" # no service starts by itself
chmod 755 "$root/usr/sbin/policy-rc.d"
cp -f /etc/resolv.conf "$root/etc/resolv.conf"
cp -f /etc/apt/apt.conf.d/* "$root/etc/apt/apt.conf.d/" 2>/dev/null || true
if [[ ! -x $root/usr/sbin/asterisk || ! -x $root/usr/bin/sipp ]]; then
  quiet chroot "$root" apt-get update
  quiet chroot "$root" apt-get install -y --no-install-recommends asterisk asterisk-modules asterisk-config \
    asterisk-core-sounds-en-gsm sip-tester
fi
if ! compgen -G "$root/usr/lib/postgresql/*/bin/postgres" >/dev/null; then
  # Its dependencies want a running system, of which a test server needs nothing.
  quiet chroot "$root" dpkg-divert --quiet --local --rename --add /usr/bin/systemd-tmpfiles
  ln -sf /bin/true "$root/usr/bin/systemd-tmpfiles"
  mkdir -p "$root/etc/postgresql-common"
  echo "create_main_cluster = false" >"$root/etc/postgresql-common/createcluster.conf"
  quiet chroot "$root" apt-get update
  quiet chroot "$root" apt-get install -y --no-install-recommends postgresql
fi
# Without its own name in hosts, Asterisk stalls on DNS at every call.
grep -q "$(hostname)" "$root/etc/hosts" 2>/dev/null || echo "127.0.0.1 localhost $(hostname)" >>"$root/etc/hosts"

# JsSIP comes as modules for a bundler.
quiet npm install --prefix "$modules" --no-audit --no-fund jssip@3.13.8 esbuild@0.28.2
quiet "$modules/node_modules/.bin/esbuild" "$modules/node_modules/jssip" --bundle --minify --global-name=JsSIP \
  --log-level=warning --outfile="$root/opt/jssip.js"

# The tools of Debian's own Python come apart from it.
python3 -c 'import ensurepip, venv' 2>/dev/null || quiet apt-get install -y --no-install-recommends python3-venv
quiet python3 -m venv "$root/opt/schemathesis"
quiet "$root/opt/schemathesis/bin/pip" install schemathesis==4.32.5

chroot "$root" /usr/sbin/asterisk -V
chroot "$root" /usr/bin/sipp -v | sed -n 2p || true
chroot "$root" sh -c '/usr/lib/postgresql/*/bin/postgres --version'
touch "$stamp"
echo "peers are in $root"
