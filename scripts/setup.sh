# shellcheck shell=bash
# Shared by scripts/run and scripts/test: makes .venv and installs what is missing.
# Everything said here goes to stderr, so that stdout stays free for data.

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 4; }

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11; do
    if [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 &&
      "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  die "Python 3.11 or newer is needed, and none is on PATH. On Debian or Ubuntu:" \
    "sudo apt-get install python3 python3-venv"
}

# Installs Debian packages if we may; returns 1 if not.
install_packages() {
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || [ -n "${TENWATCH_NO_APT:-}" ]; then
    return 1
  fi
  say "Installing Debian packages: $* (set TENWATCH_NO_APT=1 to leave them out)"
  if ! DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null 2>&1; then
    apt-get update -qq >/dev/null 2>&1 || true
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null
  fi
}

# make_environment REQUIREMENTS-FILE: .venv with what the file names, only when something changed.
make_environment() {
  local requirements=$1 python stamp wanted
  python=$(find_python)
  wanted=$("$python" -c 'import hashlib, sys
print(hashlib.sha256(b"".join(open(f, "rb").read() for f in sys.argv[1:])).hexdigest())' \
    requirements.txt "$requirements" pyproject.toml)
  stamp=".venv/.tenwatch-$(basename "$requirements")"
  if [ -x .venv/bin/tenwatch ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    return
  fi
  if [ ! -x .venv/bin/pip ]; then
    say "Making .venv with $("$python" --version)"
    if ! "$python" -m venv .venv 2>/dev/null; then
      rm -rf .venv
      install_packages python3-venv && "$python" -m venv .venv ||
        die "Python can't make a virtual environment. On Debian or Ubuntu:" \
          "sudo apt-get install python3-venv"
    fi
  fi
  say "Installing Python packages into .venv (about a minute the first time)"
  .venv/bin/pip install --quiet --disable-pip-version-check -r "$requirements"
  .venv/bin/pip install --quiet --disable-pip-version-check --no-deps -e .
  printf '%s\n' "$wanted" >"$stamp"
}

# eBPF's Python module belongs to the system's interpreter; PyPI's "bcc" is another library.
have_bcc() { /usr/bin/python3 -c 'import bcc' >/dev/null 2>&1; }
