"""Names of Arm cores by the numbers of their implementer and part.

The numbers are those of the register MIDR_EL1, as /proc/cpuinfo shows them.
Source: https://developer.arm.com/documentation/ddi0601/latest/AArch64-Registers/MIDR-EL1--Main-ID-Register
and the technical reference manuals of the cores.
"""

from collections.abc import Iterable, Mapping

MAKERS = {
    0x41: "Arm", 0x42: "Broadcom", 0x43: "Cavium", 0x46: "Fujitsu", 0x48: "HiSilicon",
    0x4E: "NVIDIA", 0x50: "APM", 0x51: "Qualcomm", 0x53: "Samsung", 0x56: "Marvell",
    0x61: "Apple", 0x69: "Intel", 0x6D: "Microsoft", 0x70: "Phytium", 0xC0: "Ampere",
}  # fmt: skip
PARTS: Mapping[int, Mapping[int, str]] = {
    0x41: {
        0xD02: "Cortex-A34", 0xD03: "Cortex-A53", 0xD04: "Cortex-A35", 0xD05: "Cortex-A55",
        0xD06: "Cortex-A65", 0xD07: "Cortex-A57", 0xD08: "Cortex-A72", 0xD09: "Cortex-A73",
        0xD0A: "Cortex-A75", 0xD0B: "Cortex-A76", 0xD0C: "Neoverse N1", 0xD0D: "Cortex-A77",
        0xD0E: "Cortex-A76AE", 0xD40: "Neoverse V1", 0xD41: "Cortex-A78", 0xD42: "Cortex-A78AE",
        0xD43: "Cortex-A65AE", 0xD44: "Cortex-X1", 0xD46: "Cortex-A510", 0xD47: "Cortex-A710",
        0xD48: "Cortex-X2", 0xD49: "Neoverse N2", 0xD4A: "Neoverse E1", 0xD4B: "Cortex-A78C",
        0xD4C: "Cortex-X1C", 0xD4D: "Cortex-A715", 0xD4E: "Cortex-X3", 0xD4F: "Neoverse V2",
        0xD80: "Cortex-A520", 0xD81: "Cortex-A720", 0xD82: "Cortex-X4", 0xD83: "Neoverse V3AE",
        0xD84: "Neoverse V3", 0xD85: "Cortex-X925", 0xD87: "Cortex-A725", 0xD8E: "Neoverse N3",
    },
    0x43: {0x0A1: "ThunderX", 0x0AF: "ThunderX2"},
    0x46: {0x001: "A64FX"},
    0x48: {0xD01: "TaiShan v110 (Kunpeng 920)", 0xD02: "TaiShan v120"},
    0x4E: {0x003: "Denver 2", 0x004: "Carmel"},
    0x51: {
        0x001: "Oryon", 0x800: "Kryo 2xx Gold", 0x801: "Kryo 2xx Silver", 0x802: "Kryo 3xx Gold",
        0x803: "Kryo 3xx Silver", 0x804: "Kryo 4xx Gold", 0x805: "Kryo 4xx Silver", 0xC00: "Falkor",
    },
    0x61: {
        0x022: "M1 Icestorm", 0x023: "M1 Firestorm", 0x024: "M1 Pro Icestorm",
        0x025: "M1 Pro Firestorm", 0x028: "M1 Max Icestorm", 0x029: "M1 Max Firestorm",
        0x032: "M2 Blizzard", 0x033: "M2 Avalanche", 0x034: "M2 Pro Blizzard",
        0x035: "M2 Pro Avalanche", 0x038: "M2 Max Blizzard", 0x039: "M2 Max Avalanche",
    },
    0x6D: {0xD49: "Azure Cobalt 100 (Neoverse N2)"},
    0xC0: {0xAC3: "AmpereOne", 0xAC4: "Ampere-1A"},
}  # fmt: skip


def core_names(processors: Iterable[Mapping[str, str]]) -> str:
    """Return the names of a machine's cores, each once, from the fields of /proc/cpuinfo; "" if
    there are no Arm cores. An unknown core is named by its numbers, or by the kernel's "model
    name", which often states the architecture only.
    """
    kinds = dict.fromkeys(_name(each) for each in processors)
    return ", ".join(name for name in kinds if name)


def _name(fields: Mapping[str, str]) -> str:
    part = _number(fields.get("CPU part", ""))
    if part is None:
        return ""
    maker = _number(fields.get("CPU implementer", ""))
    if maker in MAKERS:
        return f"{MAKERS[maker]} {PARTS.get(maker, {}).get(part, f'part {part:#05x}')}"
    numbers = f"part {part:#05x}" if maker is None else f"implementer {maker:#04x} part {part:#05x}"
    return fields.get("model name") or numbers


def _number(text: str) -> int | None:
    try:
        return int(text, 0)
    except ValueError:
        return None
