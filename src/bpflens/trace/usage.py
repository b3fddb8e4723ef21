"""The help text of the command."""

from __future__ import annotations

__all__ = ["USAGE"]

USAGE = """\
bpftrace - trace a running Linux system with short scripts

USAGE:
    bpftrace [options] filename
    bpftrace [options] - <stdin input>
    bpftrace [options] -e 'program'
    parameters follow the program; named ones (--name=value) stand behind --

OPTIONS:
    -e 'program'   run this program
    -l, --list [pattern|filename]
                   list probes of the kernel, of a file, of a process (-p) or of a program
    -v, --verbose  tell more; with -l, show the arguments of probes
    -h, --help     show this text
    -V, --version  show the version
    --info         show what this kernel can do, and what missing probe kinds need

    -p, --pid PID  trace this process only
    -c, --cmd CMD  run CMD and trace it
    --follow       with -p or -c, trace the processes that it starts, too
    --dwarf-pid PID
                   unwind the stacks of this process by its debug information
    --usdt-file-activation
                   switch static probes on in every process that uses the file

    -o, --output FILE
                   write the output to FILE
    -f FORMAT      output format ('text', 'json')
    -B MODE        output buffering ('line', 'full', 'none')
    --sort ORDER   order of map entries ('key', 'value', '-key', '-value')
    -q, --quiet    no messages
    -k, --warnings tell when memory could not be read
    --no-warnings  no warnings

    -I DIR         look for included files in DIR, too
    --include FILE include FILE before the program
    --debuginfo DIR[:DIR]
                   look for debug information in DIR, too
    --traceable-functions FILE
                   take the list of traceable kernel functions from FILE

    --unsafe       allow functions that change the system
    --no-feature FEATURE[,FEATURE]
                   do without a feature ('kprobe_multi', 'kprobe_session', 'uprobe_multi')
    --compat VER   behave as version VER where versions differ ('0.17', '0.26')

DEVELOPER OPTIONS:
    --mode MODE    'codegen', 'compiler-bench', 'bench', 'test' or 'format'
    --test         run the test: probes
    --bench        run the bench: probes
    --probe-filter REGEX
                   run only the probes whose names match REGEX
    --fmt          print the program in standard layout

TROUBLESHOOTING OPTIONS:
    --dry-run      end as soon as everything is attached
    -d, --debug STAGE
                   show stages of the compilation ('ast', 'types', 'ir', 'asm', 'verifier', 'all')

EXAMPLES:
    bpftrace -e 'tracepoint:raw_syscalls:sys_enter { @[comm] = count(); }'
        count system calls by process name
    bpftrace -e 'tracepoint:syscalls:sys_enter_openat { printf("%s %s\\n", comm, str(args.filename)); }'
        show who opens which file
    bpftrace -e 'profile:hz:99 { @[kstack] = count(); }'
        see where the kernel spends its time
    bpftrace -l '*sleep*'
        list probes with "sleep" in their names
"""  # noqa: E501
