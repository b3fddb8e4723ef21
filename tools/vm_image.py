"""A Debian kernel package → what QEMU boots: an uncompressed kernel and a small initramfs.

The initramfs holds a static busybox, the modules that a root file system over 9p needs, and an
init that mounts the host's root read-only under a throw-away overlay, runs ``/command`` there and
hands back its exit status. Pure functions of files; nothing is started here.

Example::

    image = initramfs(kernel_dir, busybox="/usr/bin/busybox")
    write(path, image + archive([("command", 0o100755, b"uname -r")]))
"""

from __future__ import annotations

import glob
import gzip
import lzma
import os
import re
import struct
import subprocess
import zlib

__all__ = ["archive", "initramfs", "kernel_image", "module_tree"]

# virtio for the bus and the ports that carry output, 9p for the host's files, overlay to write.
MODULES = ("virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay")

INIT = """\
#!/busybox sh
export PATH=/
b() { /busybox "$@"; }
die() { echo "vm: $*"; b sleep 1; b reboot -f; }
b mkdir -p /proc /sys /dev /host /scratch /root
b mount -t proc none /proc
b mount -t sysfs none /sys
b mount -t devtmpfs none /dev
while read -r module; do b insmod "/modules/$module" || echo "vm: no $module"; done < /modules/order

b mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,ro,cache=loose,noatime host /host ||
  die "the host's files cannot be mounted"
b mount -t tmpfs -o size=75% none /scratch
b mkdir /scratch/upper /scratch/work
b mount -t overlay -o lowerdir=/host,upperdir=/scratch/upper,workdir=/scratch/work none /root ||
  die "no overlay"
for each in proc sys dev; do b mount --move /$each /root/$each; done
sys=/root/sys
b mkdir -p /root/dev/pts /root/dev/shm
b mount -t devpts none /root/dev/pts
b mount -t tmpfs none /root/dev/shm
b mount -t tmpfs none /root/run
# Each is there or not as the kernel was built; a command that needs one says so itself.
b mount -t tracefs none $sys/kernel/tracing
b mount -t debugfs none $sys/kernel/debug
b mount -t securityfs none $sys/kernel/security
b mount -t bpf none $sys/fs/bpf
b mount -t cgroup2 none $sys/fs/cgroup
b ip link set lo up
b hostname vm
release=$(b uname -r)
for word in $(b cat /root/proc/cmdline); do
  case $word in
    modules=*)
      b mkdir -p /root/lib/modules
      b ln -sfn "${word#modules=}" "/root/lib/modules/$release";;
  esac
done

output= status= tries=0
while [ -z "$output" ] || [ -z "$status" ]; do
  for port in $sys/class/virtio-ports/*; do
    case $(b cat "$port/name") in
      output) output=/root/dev/${port##*/};;
      status) status=/root/dev/${port##*/};;
    esac
  done
  tries=$((tries + 1))
  [ $tries -lt 100 ] || die "no port to the host"
  [ -n "$status" ] || b sleep 0.1
done

b cp /command /busybox /root/run/
ulimit -l unlimited
b chroot /root /run/busybox env -i \\
  PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \\
  HOME=/root TERM=dumb LANG=C.UTF-8 \\
  /bin/sh /run/command > "$output" 2>&1 < /root/dev/null
echo $? > "$status"
b reboot -f
"""


def module_tree(kernel: str) -> str:
    """Return the directory of modules in an unpacked kernel package."""
    trees = glob.glob(os.path.join(kernel, "lib/modules/*")) + glob.glob(
        os.path.join(kernel, "usr/lib/modules/*")
    )
    return trees[0]


def initramfs(kernel: str, busybox: str) -> bytes:
    """Return the initramfs for an unpacked kernel package, but for ``/command``."""
    with open(busybox, "rb") as file:
        shell = file.read()
    modules = list(_modules(module_tree(kernel)))
    order = "".join(f"{name}.ko\n" for name, _ in modules)
    return archive(
        [
            ("busybox", 0o100755, shell),
            ("init", 0o100755, INIT.encode()),
            ("modules", 0o040755, b""),
            ("modules/order", 0o100644, order.encode()),
            *((f"modules/{name}.ko", 0o100644, data) for name, data in modules),
        ]
    )


def archive(files: list[tuple[str, int, bytes]]) -> bytes:
    """Pack ``(name, mode, content)`` as cpio, in the form that the kernel unpacks ("newc")."""
    packed = bytearray()
    for inode, (name, mode, data) in enumerate([*files, ("TRAILER!!!", 0, b"")], 1):
        encoded = name.encode() + b"\0"
        fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
        packed += b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
        packed += bytes(-len(packed) % 4) + data
        packed += bytes(-len(packed) % 4)
    return bytes(packed)


def kernel_image(kernel: str) -> bytes:
    """Return the ELF image inside the package's vmlinuz.

    QEMU boots it as it is; unpacking inside the emulated machine takes seconds each time.
    (Documentation/arch/x86/boot.rst: setup_sects, payload_offset, payload_length.)
    """
    with open(glob.glob(os.path.join(kernel, "boot/vmlinuz-*"))[0], "rb") as file:
        data = file.read()
    start = ((data[0x1F1] or 4) + 1) * 512
    offset, length = struct.unpack_from("<II", data, 0x248)
    image = _unpack(data[start + offset : start + offset + length])
    if image[:4] != b"\x7fELF":
        raise ValueError(f"the kernel in {kernel} is packed in a way that is not known here")
    return image


def _unpack(data: bytes) -> bytes:
    if data[:6] == b"\xfd7zXZ\0":
        # The payload is followed by its length, which is no part of the stream.
        return lzma.LZMADecompressor().decompress(data)
    if data[:2] == b"\x1f\x8b":
        return zlib.decompressobj(31).decompress(data)
    if data[:4] == b"\x28\xb5\x2f\xfd":
        return subprocess.run(["zstd", "-dc"], input=data, capture_output=True, check=False).stdout
    return data


def _modules(tree: str) -> list[tuple[str, bytes]]:
    # The wanted modules and what they depend on, each after its dependencies.
    paths: dict[str, str] = {}
    for path in glob.iglob(os.path.join(tree, "kernel/**/*.ko*"), recursive=True):
        name = os.path.basename(path).partition(".ko")[0].replace("-", "_")
        paths[name] = path
    order: dict[str, bytes] = {}

    def need(name: str) -> None:
        # A module that is not there is built in (or init will say what is missing).
        if name in order or name not in paths:
            return
        data = _read_module(paths[name])
        for dependency in _dependencies(data):
            need(dependency)
        order[name] = data

    for name in MODULES:
        need(name)
    return list(order.items())


def _dependencies(module: bytes) -> list[str]:
    found = re.search(rb"\0depends=([^\0]*)\0", module)
    return found.group(1).decode().replace("-", "_").split(",") if found else []


def _read_module(path: str) -> bytes:
    with open(path, "rb") as file:
        data = file.read()
    if path.endswith(".xz"):
        return lzma.decompress(data)
    if path.endswith(".gz"):
        return gzip.decompress(data)
    return _unpack(data)
