"""List every BPF program with its maps and the links that run it.

Run as root: python3 examples/python/show_everything.py
"""

from __future__ import annotations

from bpflens import Program, links, maps, programs


def links_by_program() -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for link in links():
        fields = link.info.fields()
        about = ", ".join(
            f"{name} {value}" for name, value in fields.items() if name not in ("id", "prog_id")
        )
        found.setdefault(link.info.prog_id, []).append(f"link {link.id} {link.type_name}: {about}")
    return found


def show(program: Program, names: dict[int, str], attached: list[str]) -> None:
    info = program.info
    print(f"{program.id}: {program.type_name} {program.full_name}, tag {program.tag}")
    print(f"    {info.xlated_prog_len} bytes of BPF, {info.jited_prog_len} of machine code")
    for id in info.map_ids:
        print(f"    map {id} {names.get(id, '(gone)')}")
    for line in attached:
        print(f"    {line}")


def main() -> None:
    names = {found.id: f"{found.type_name} {found.name}" for found in maps()}
    attached = links_by_program()
    count = 0
    for program in programs():
        show(program, names, attached.get(program.id, []))
        count += 1
    print(f"{count} programs, {len(names)} maps")


if __name__ == "__main__":
    main()
