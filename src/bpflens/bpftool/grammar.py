"""Every object and command of the bpftool door, in one table.

The table drives parsing (the first name that begins with the word wins, in this order), the help
texts and shell completion. A command names the module and the function that do the work; the
module is imported when the command is asked for, never before.

Example::

    command = OBJECT["map"].match("d")
    command.name, command.module, command.function      # ('dump', 'map_dump', 'dump')
"""

from __future__ import annotations

__all__ = ["GLOBAL", "OBJECT", "OBJECTS", "OPTIONS", "Command", "Object"]


class Command:
    """A command: its name, who does it, and the keywords that may follow."""

    __slots__ = ("function", "keywords", "module", "name")

    def __init__(self, name: str, handler: str, keywords: str = "") -> None:
        self.name = name
        self.module, _, self.function = handler.partition(":")
        self.keywords = keywords


class Object:
    """An object of the command line: its commands in order of matching, and its help.

    The first command is what the object alone does. ``usage`` holds the lines of the help after
    "bpftool OBJECT", ``legend`` what explains their words.
    """

    __slots__ = ("commands", "legend", "name", "usage")

    def __init__(
        self, name: str, commands: tuple[Command, ...], usage: tuple[str, ...], legend: str
    ) -> None:
        self.name = name
        self.commands = commands
        self.usage = usage
        self.legend = legend

    def match(self, word: str) -> Command | None:
        """Return the first command whose name begins with ``word``."""
        for command in self.commands:
            if command.name.startswith(word):
                return command
        return None


# Options of the command line: short name, long name, whether a value follows.
OPTIONS: tuple[tuple[str, str, bool], ...] = (
    ("j", "json", False),
    ("p", "pretty", False),
    ("h", "help", False),
    ("V", "version", False),
    ("f", "bpffs", False),
    ("m", "mapcompat", False),
    ("n", "nomount", False),
    ("d", "debug", False),
    ("L", "use-loader", False),
    ("S", "sign", False),
    ("k", "", True),
    ("i", "", True),
    ("B", "base-btf", True),
    ("l", "", False),
    # What the real tool does not have.
    ("", "table", False),
    ("", "sort", True),
    ("", "filter", True),
    ("", "color", True),
    ("", "once", False),
    ("", "python", False),
)

OBJECTS: tuple[Object, ...] = (
    Object(
        "prog",
        (
            Command("show", "prog_show:show", "id pinned tag name"),
            Command("list", "prog_show:show", "id pinned tag name"),
            Command("help", "help:of_object"),
            Command(
                "dump",
                "prog_dump:dump",
                "xlated jited id pinned tag name file opcodes linum visual",
            ),
            Command("pin", "pinning:pin_program", "id pinned tag name"),
            Command(
                "load",
                "prog_load:load",
                "type map offload_dev xdpmeta_dev pinmaps autoattach kernel_btf",
            ),
            Command(
                "loadall",
                "prog_load:loadall",
                "type map offload_dev xdpmeta_dev pinmaps autoattach kernel_btf",
            ),
            Command(
                "attach",
                "prog_attach:attach",
                "id pinned tag name sk_msg_verdict sk_skb_verdict sk_skb_stream_verdict "
                "sk_skb_stream_parser flow_dissector",
            ),
            Command(
                "detach",
                "prog_attach:detach",
                "id pinned tag name sk_msg_verdict sk_skb_verdict sk_skb_stream_verdict "
                "sk_skb_stream_parser flow_dissector",
            ),
            Command("tracelog", "tracelog:tracelog", "stdout stderr"),
            Command(
                "run",
                "prog_run:run",
                "id pinned tag name data_in data_out data_size_out ctx_in ctx_out "
                "ctx_size_out repeat",
            ),
            Command(
                "profile",
                "prog_profile:profile",
                "id pinned tag name duration cycles instructions l1d_loads llc_misses "
                "itlb_misses dtlb_misses",
            ),
            Command("top", "prog_top:top", "id pinned tag name interval"),
        ),
        (
            "{ show | list } [PROG]",
            "dump xlated PROG [{ file FILE | [opcodes] [linum] [visual] }]",
            "dump jited  PROG [{ file FILE | [opcodes] [linum] }]",
            "pin   PROG FILE",
            "{ load | loadall } OBJ  PATH \\\n"
            "                         [type TYPE] [{ offload_dev | xdpmeta_dev } NAME] \\\n"
            "                         [map { idx IDX | name NAME } MAP]\\\n"
            "                         [pinmaps MAP_DIR]\n"
            "                         [autoattach]\n"
            "                         [kernel_btf BTF_FILE]",
            "attach PROG ATTACH_TYPE [MAP]",
            "detach PROG ATTACH_TYPE [MAP]",
            "run PROG \\\n"
            "                         data_in FILE \\\n"
            "                         [data_out FILE [data_size_out L]] \\\n"
            "                         [ctx_in FILE [ctx_out FILE [ctx_size_out M]]] \\\n"
            "                         [repeat N]",
            "profile PROG [duration DURATION] METRICs",
            "tracelog",
            "tracelog { stdout | stderr } PROG",
            "show [PROG] [--table] [--sort COLUMNS] [--filter EXPR]",
            "dump xlated PROG visual [opcodes] [linum] file { OUT.svg | OUT.html }",
            "top [PROG] [interval SECONDS] [--sort KEY] [--filter EXPR] [--once]",
            "help",
        ),
        """\

       MAP := { id MAP_ID | pinned FILE | name MAP_NAME }
       PROG := { id PROG_ID | pinned FILE | tag PROG_TAG | name PROG_NAME }
       TYPE := { socket | kprobe | kretprobe | classifier | action |
                 tracepoint | raw_tracepoint | xdp | perf_event | cgroup/skb |
                 cgroup/sock | cgroup/dev | lwt_in | lwt_out | lwt_xmit |
                 lwt_seg6local | sockops | sk_skb | sk_msg | lirc_mode2 |
                 sk_reuseport | flow_dissector | cgroup/sysctl |
                 cgroup/bind4 | cgroup/bind6 | cgroup/post_bind4 |
                 cgroup/post_bind6 | cgroup/connect4 | cgroup/connect6 |
                 cgroup/connect_unix | cgroup/getpeername4 | cgroup/getpeername6 |
                 cgroup/getpeername_unix | cgroup/getsockname4 | cgroup/getsockname6 |
                 cgroup/getsockname_unix | cgroup/sendmsg4 | cgroup/sendmsg6 |
                 cgroup/sendmsg_unix | cgroup/recvmsg4 | cgroup/recvmsg6 | cgroup/recvmsg_unix |
                 cgroup/getsockopt | cgroup/setsockopt | cgroup/sock_release |
                 struct_ops | fentry | fexit | fsession | freplace | sk_lookup }
       ATTACH_TYPE := { sk_msg_verdict | sk_skb_verdict | sk_skb_stream_verdict |
                        sk_skb_stream_parser | flow_dissector }
       METRIC := { cycles | instructions | l1d_loads | llc_misses | itlb_misses | dtlb_misses }
       OPTIONS := { {-j|--json} [{-p|--pretty}] | {-d|--debug} |
                    {-f|--bpffs} | {-m|--mapcompat} | {-n|--nomount} |
                    {-L|--use-loader} | [ {-S|--sign } {-k} <private_key.pem> \
{-i} <certificate.x509> ]
""",
    ),
    Object(
        "map",
        (
            Command("show", "map_show:show", "id pinned name"),
            Command("list", "map_show:show", "id pinned name"),
            Command("help", "help:of_object"),
            Command("dump", "map_dump:dump", "id pinned name recursive"),
            Command(
                "update",
                "map_change:update",
                "id pinned name key value hex any exist noexist",
            ),
            Command("lookup", "map_lookup:lookup", "id pinned name key hex"),
            Command("getnext", "map_lookup:getnext", "id pinned name key hex"),
            Command("delete", "map_change:delete", "id pinned name key hex"),
            Command("pin", "pinning:pin_map", "id pinned name"),
            Command("event_pipe", "map_events:event_pipe", "id pinned name cpu index"),
            Command(
                "create",
                "map_create:create",
                "type key value entries name flags inner_map offload_dev",
            ),
            Command("peek", "map_lookup:lookup", "id pinned name"),
            Command("push", "map_change:update", "id pinned name key value hex any exist noexist"),
            Command(
                "enqueue",
                "map_change:update",
                "id pinned name key value hex any exist noexist",
            ),
            Command("pop", "map_lookup:pop", "id pinned name"),
            Command("dequeue", "map_lookup:pop", "id pinned name"),
            Command("freeze", "map_change:freeze", "id pinned name"),
            Command("watch", "map_watch:watch", "id pinned name interval"),
            Command("export", "map_transfer:export_map", "id pinned name"),
            Command("import", "map_transfer:import_map", "id pinned name"),
        ),
        (
            "{ show | list }   [MAP]",
            "create     FILE type TYPE key KEY_SIZE value VALUE_SIZE \\\n"
            "                                  entries MAX_ENTRIES name NAME [flags FLAGS] \\\n"
            "                                  [inner_map MAP] [offload_dev NAME]",
            "dump       MAP",
            "update     MAP [key DATA] [value VALUE] [UPDATE_FLAGS]",
            "lookup     MAP [key DATA]",
            "getnext    MAP [key DATA]",
            "delete     MAP  key DATA",
            "pin        MAP  FILE",
            "event_pipe MAP [cpu N index M]",
            "peek       MAP",
            "push       MAP value VALUE",
            "pop        MAP",
            "enqueue    MAP value VALUE",
            "dequeue    MAP",
            "freeze     MAP",
            "show [MAP] [--table] [--sort COLUMNS] [--filter EXPR]",
            "dump MAP recursive",
            "watch MAP [interval SECONDS] [--once]",
            "export MAP [FILE]",
            "import MAP [FILE]",
            "help",
        ),
        """\

       MAP := { id MAP_ID | pinned FILE | name MAP_NAME }
       DATA := { [hex] BYTES }
       PROG := { id PROG_ID | pinned FILE | tag PROG_TAG | name PROG_NAME }
       VALUE := { DATA | MAP | PROG }
       UPDATE_FLAGS := { any | exist | noexist }
       TYPE := { hash | array | prog_array | perf_event_array | percpu_hash |
                 percpu_array | stack_trace | cgroup_array | lru_hash |
                 lru_percpu_hash | lpm_trie | array_of_maps | hash_of_maps |
                 devmap | devmap_hash | sockmap | cpumap | xskmap | sockhash |
                 cgroup_storage | reuseport_sockarray | percpu_cgroup_storage |
                 queue | stack | sk_storage | struct_ops | ringbuf | inode_storage |
                 task_storage | bloom_filter | user_ringbuf | cgrp_storage | arena |
                 insn_array | rhash }
       OPTIONS := { {-j|--json} [{-p|--pretty}] | {-d|--debug} |
                    {-f|--bpffs} | {-n|--nomount} }
""",
    ),
    Object(
        "link",
        (
            Command("show", "link_show:show", "id pinned"),
            Command("list", "link_show:show", "id pinned"),
            Command("help", "help:of_object"),
            Command("pin", "pinning:pin_link", "id pinned"),
            Command("detach", "link_show:detach", "id pinned"),
        ),
        (
            "{ show | list }   [LINK]",
            "pin        LINK  FILE",
            "detach     LINK",
            "show [LINK] [--table] [--sort COLUMNS] [--filter EXPR]",
            "help",
        ),
        """\

       LINK := { id LINK_ID | pinned FILE }
       OPTIONS := { {-j|--json} [{-p|--pretty}] | {-d|--debug} |
                    {-f|--bpffs} | {-n|--nomount} }
""",
    ),
    Object(
        "cgroup",
        (
            Command("show", "cgroup:show", "effective"),
            Command("list", "cgroup:show", "effective"),
            Command("tree", "cgroup:tree", "effective"),
            Command("attach", "cgroup:attach", "multi override"),
            Command("detach", "cgroup:detach"),
            Command("help", "help:of_object"),
        ),
        (
            "{ show | list } CGROUP [**effective**]",
            "tree [CGROUP_ROOT] [**effective**]",
            "attach CGROUP ATTACH_TYPE PROG [ATTACH_FLAGS]",
            "detach CGROUP ATTACH_TYPE PROG",
            "help",
        ),
        """\

       ATTACH_TYPE := { cgroup_inet_ingress | cgroup_inet_egress |
                        cgroup_inet_sock_create | cgroup_sock_ops |
                        cgroup_device | cgroup_inet4_bind |
                        cgroup_inet6_bind | cgroup_inet4_post_bind |
                        cgroup_inet6_post_bind | cgroup_inet4_connect |
                        cgroup_inet6_connect | cgroup_unix_connect |
                        cgroup_inet4_getpeername | cgroup_inet6_getpeername |
                        cgroup_unix_getpeername | cgroup_inet4_getsockname |
                        cgroup_inet6_getsockname | cgroup_unix_getsockname |
                        cgroup_udp4_sendmsg | cgroup_udp6_sendmsg |
                        cgroup_unix_sendmsg | cgroup_udp4_recvmsg |
                        cgroup_udp6_recvmsg | cgroup_unix_recvmsg |
                        cgroup_sysctl | cgroup_getsockopt |
                        cgroup_setsockopt | cgroup_inet_sock_release }
       ATTACH_FLAGS := { multi | override }
       PROG := { id PROG_ID | pinned FILE | tag PROG_TAG | name PROG_NAME }
       OPTIONS := { {-j|--json} [{-p|--pretty}] | {-d|--debug} |
                    {-f|--bpffs} }
""",
    ),
    Object(
        "perf",
        (
            Command("show", "perf:show"),
            Command("list", "perf:show"),
            Command("help", "help:of_object"),
        ),
        (
            "{ show | list }",
            "help",
        ),
        """\

       OPTIONS := { {-j|--json} [{-p|--pretty}] | {-d|--debug} }
""",
    ),
    Object(
        "net",
        (
            Command("show", "net_show:show", "dev"),
            Command("list", "net_show:show", "dev"),
            Command(
                "attach",
                "net_attach:attach",
                "xdp xdpgeneric xdpdrv xdpoffload tcx_ingress tcx_egress id pinned tag "
                "name dev overwrite prepend",
            ),
            Command(
                "detach",
                "net_attach:detach",
                "xdp xdpgeneric xdpdrv xdpoffload tcx_ingress tcx_egress dev",
            ),
            Command("help", "help:of_object"),
        ),
        (
            "{ show | list } [dev <devname>]",
            "attach ATTACH_TYPE PROG dev <devname> [ overwrite | prepend ]",
            "detach ATTACH_TYPE dev <devname>",
            "help",
        ),
        """\

       PROG := { id PROG_ID | pinned FILE | tag PROG_TAG | name PROG_NAME }
       ATTACH_TYPE := { xdp | xdpgeneric | xdpdrv | xdpoffload | tcx_ingress
                        | tcx_egress }
       OPTIONS := { {-j|--json} [{-p|--pretty}] | {-d|--debug} }

Note: Only xdp, tcx, tc, netkit, flow_dissector and netfilter attachments
      are currently supported.
      For progs attached to cgroups, use "bpftool cgroup"
      to dump program attachments. For program types
      sk_{filter,skb,msg,reuseport} and lwt/seg6, please
      consult iproute2.
""",
    ),
    Object(
        "feature",
        (
            Command("probe", "feature:probe", "kernel dev full unprivileged macros prefix"),
            Command(
                "list_builtins",
                "feature_list:list_builtins",
                "prog_types map_types attach_types link_types helpers",
            ),
            Command("help", "help:of_object"),
            Command("explain", "feature_list:explain"),
        ),
        (
            "probe [COMPONENT] [full] [unprivileged] [macros [prefix PREFIX]]",
            "list_builtins GROUP",
            "explain NAME",
            "help",
        ),
        """\

       COMPONENT := { kernel | dev NAME }
       GROUP := { prog_types | map_types | attach_types | link_types | helpers }
       OPTIONS := { {-j|--json} [{-p|--pretty}] | {-d|--debug} }
""",
    ),
    Object(
        "btf",
        (
            Command("show", "btf_show:show", "id"),
            Command("list", "btf_show:show", "id"),
            Command("help", "help:of_object"),
            Command(
                "dump",
                "btf_dump:dump",
                "id prog map file format raw c unsorted root_id key value kv all",
            ),
        ),
        (
            "{ show | list } [id BTF_ID]",
            "dump BTF_SRC [format FORMAT] [root_id ROOT_ID]",
            "help",
        ),
        """\

       BTF_SRC := { id BTF_ID | prog PROG | map MAP [{key | value | kv | all}] |
                    file FILE [file FILE]... }
       FORMAT  := { raw | c [unsorted] }
       MAP := { id MAP_ID | pinned FILE | name MAP_NAME }
       PROG := { id PROG_ID | pinned FILE | tag PROG_TAG | name PROG_NAME }
       OPTIONS := { {-j|--json} [{-p|--pretty}] | {-d|--debug} |
                    {-B|--base-btf} }
""",
    ),
    Object(
        "gen",
        (
            Command("object", "object_join:link"),
            Command("skeleton", "gen_skeleton:skeleton", "name"),
            Command("subskeleton", "gen_skeleton:subskeleton", "name"),
            Command("min_core_btf", "gen_min_core:min_core_btf"),
            Command("help", "help:of_object"),
        ),
        (
            "object OUTPUT_FILE INPUT_FILE [INPUT_FILE...]",
            "skeleton FILE [name OBJECT_NAME]",
            "subskeleton FILE [name OBJECT_NAME]",
            "min_core_btf INPUT OUTPUT OBJECT [OBJECT...]",
            "help",
        ),
        """\

       OPTIONS := { {-j|--json} [{-p|--pretty}] | {-d|--debug} |
                    {-L|--use-loader} | [ {-S|--sign } {-k} <private_key.pem> \
{-i} <certificate.x509> ]}
""",
    ),
    Object(
        "struct_ops",
        (
            Command("show", "struct_ops:show", "id name"),
            Command("list", "struct_ops:show", "id name"),
            Command("register", "struct_ops:register"),
            Command("unregister", "struct_ops:unregister", "id name"),
            Command("dump", "struct_ops:dump", "id name"),
            Command("help", "help:of_object"),
        ),
        (
            "{ show | list } [STRUCT_OPS_MAP]",
            "dump [STRUCT_OPS_MAP]",
            "register OBJ [LINK_DIR]",
            "unregister STRUCT_OPS_MAP",
            "help",
        ),
        """\

       STRUCT_OPS_MAP := [ id STRUCT_OPS_MAP_ID | name STRUCT_OPS_MAP_NAME ]
       OPTIONS := { {-j|--json} [{-p|--pretty}] | {-d|--debug} }
""",
    ),
    Object(
        "iter",
        (
            Command("help", "help:of_object"),
            Command("pin", "iterator:pin", "map"),
        ),
        (
            "pin OBJ PATH [map MAP]",
            "help",
        ),
        """\

       MAP := { id MAP_ID | pinned FILE | name MAP_NAME }
       OPTIONS := { {-j|--json} [{-p|--pretty}] | {-d|--debug} }
""",
    ),
    Object(
        "token",
        (
            Command("show", "token:show"),
            Command("list", "token:show"),
            Command("help", "help:of_object"),
        ),
        (
            "{ show | list }",
            "help",
        ),
        """\
       OPTIONS := { {-j|--json} [{-p|--pretty}] | {-d|--debug} }
""",
    ),
)

OBJECT: dict[str, Object] = {found.name: found for found in OBJECTS}

# The words a command line may begin with, in the order in which they are matched.
GLOBAL: tuple[str, ...] = (
    "help",
    "batch",
    *OBJECT,
    "version",
    "inspect",
    "completion",
)
