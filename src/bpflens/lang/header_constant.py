"""Constants that kernel headers define with ``#define``, and that BTF therefore does not know.

Only those that tracing scripts include headers for. Enumerators (``TCP_ESTABLISHED``) are in BTF
and not here. Values are those of x86-64 and arm64 alike.

Example::

    value("AF_INET6")       # 10
"""

from __future__ import annotations

from bpflens.uapi import errno

__all__ = ["value"]

# names, first value: names that count upwards; "-" leaves one out.
_RUNS = (
    (
        "AF",
        0,
        "UNSPEC UNIX INET AX25 IPX APPLETALK NETROM BRIDGE ATMPVC X25 INET6 ROSE DECnet NETBEUI"
        " SECURITY KEY NETLINK PACKET ASH ECONET ATMSVC RDS SNA IRDA PPPOX WANPIPE LLC IB MPLS CAN"
        " TIPC BLUETOOTH IUCV RXRPC ISDN PHONET IEEE802154 CAIF ALG NFC VSOCK KCM QIPCRTR SMC XDP"
        " MCTP MAX",
    ),
    ("SOCK", 1, "STREAM DGRAM RAW RDM SEQPACKET DCCP - - - PACKET"),
    (
        "SIG",
        1,
        "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT"
        " STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS",
    ),
)

_NAMED = {
    "AF_LOCAL": 1,
    "AF_ROUTE": 16,
    "SOCK_NONBLOCK": 0o4000,
    "SOCK_CLOEXEC": 0o2000000,
    "SOL_SOCKET": 1,
    "O_RDONLY": 0,
    "O_WRONLY": 1,
    "O_RDWR": 2,
    "O_ACCMODE": 3,
    "O_CREAT": 0o100,
    "O_EXCL": 0o200,
    "O_NOCTTY": 0o400,
    "O_TRUNC": 0o1000,
    "O_APPEND": 0o2000,
    "O_NONBLOCK": 0o4000,
    "O_DSYNC": 0o10000,
    "O_CLOEXEC": 0o2000000,
    "O_SYNC": 0o4010000,
    "O_PATH": 0o10000000,
    "AT_FDCWD": -100,
    "AT_REMOVEDIR": 0x200,
    "S_IFMT": 0o170000,
    "S_IFSOCK": 0o140000,
    "S_IFLNK": 0o120000,
    "S_IFREG": 0o100000,
    "S_IFBLK": 0o060000,
    "S_IFDIR": 0o040000,
    "S_IFCHR": 0o020000,
    "S_IFIFO": 0o010000,
    "S_ISUID": 0o4000,
    "S_ISGID": 0o2000,
    "S_ISVTX": 0o1000,
    "TASK_RUNNING": 0,
    "TASK_INTERRUPTIBLE": 1,
    "TASK_UNINTERRUPTIBLE": 2,
    "TASK_STOPPED": 4,
    "TASK_TRACED": 8,
    "EXIT_DEAD": 16,
    "EXIT_ZOMBIE": 32,
    "TASK_COMM_LEN": 16,
    "PF_IDLE": 0x2,
    "PF_EXITING": 0x4,
    "PF_IO_WORKER": 0x10,
    "PF_WQ_WORKER": 0x20,
    "PF_FORKNOEXEC": 0x40,
    "PF_KTHREAD": 0x200000,
    "CLONE_VM": 0x100,
    "CLONE_FS": 0x200,
    "CLONE_FILES": 0x400,
    "CLONE_SIGHAND": 0x800,
    "CLONE_VFORK": 0x4000,
    "CLONE_PARENT": 0x8000,
    "CLONE_THREAD": 0x10000,
    "CLONE_NEWNS": 0x20000,
    "CLONE_NEWCGROUP": 0x2000000,
    "CLONE_NEWUTS": 0x4000000,
    "CLONE_NEWIPC": 0x8000000,
    "CLONE_NEWUSER": 0x10000000,
    "CLONE_NEWPID": 0x20000000,
    "CLONE_NEWNET": 0x40000000,
    "PROT_READ": 1,
    "PROT_WRITE": 2,
    "PROT_EXEC": 4,
    "MAP_SHARED": 1,
    "MAP_PRIVATE": 2,
    "MAP_FIXED": 0x10,
    "MAP_ANONYMOUS": 0x20,
    "ETH_P_IP": 0x0800,
    "ETH_P_ARP": 0x0806,
    "ETH_P_8021Q": 0x8100,
    "ETH_P_IPV6": 0x86DD,
    "ETH_ALEN": 6,
    "ETH_HLEN": 14,
    "IFNAMSIZ": 16,
    "INET_ADDRSTRLEN": 16,
    "INET6_ADDRSTRLEN": 48,
    "PATH_MAX": 4096,
    "NAME_MAX": 255,
    "MINORBITS": 20,
    "MINORMASK": (1 << 20) - 1,
    "SECTOR_SHIFT": 9,
    "SECTOR_SIZE": 512,
    "NSEC_PER_USEC": 1_000,
    "NSEC_PER_MSEC": 1_000_000,
    "NSEC_PER_SEC": 1_000_000_000,
    "USEC_PER_SEC": 1_000_000,
    "MSEC_PER_SEC": 1_000,
    "INT_MAX": (1 << 31) - 1,
    "INT_MIN": -(1 << 31),
    "UINT_MAX": (1 << 32) - 1,
    "LONG_MAX": (1 << 63) - 1,
    "LONG_MIN": -(1 << 63),
    "ULONG_MAX": (1 << 64) - 1,
    "NULL": 0,
}


def value(name: str) -> int | None:
    """Return the value of a constant of the kernel's headers, or None."""
    if name in _NAMED:
        return _NAMED[name]
    for prefix, first, names in _RUNS:
        word = name.removeprefix(prefix).removeprefix("_" if prefix != "SIG" else "")
        if name != word and word in names.split():
            return first + names.split().index(word)
    # PF_INET is AF_INET by definition; the flags of tasks, which share the prefix, come first.
    if name.startswith("PF_"):
        return value("AF_" + name[3:])
    return getattr(errno, name, None) if name[:1] == "E" and name.isupper() else None
