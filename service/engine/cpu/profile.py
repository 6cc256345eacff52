"""The properties of a machine that determine how its 8-bit kernels run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.engine.cpu.kernels import Kernels
from service.engine.cpu.machine import BYTE_PRODUCTS, Machine


@dataclass(frozen=True, slots=True)
class Profile:
    """A machine, with the 8-bit kernels that a model ran on.

    ``byte_products``: the CPU's instructions for 8-bit products, in the order of ``BYTE_PRODUCTS``.
    ``saturates``: whether ONNX Runtime's default kernels saturate.
    """

    cpu: str
    architecture: str
    byte_products: tuple[str, ...]
    saturates: bool
    kernels: Kernels

    @classmethod
    def of(cls, machine: Machine, kernels: Kernels) -> "Profile":
        """Return the profile of a machine, for a model that runs on these kernels."""
        found = tuple(name for name in BYTE_PRODUCTS if machine.has(name))
        return cls(machine.cpu, machine.architecture, found, machine.saturates, kernels)

    def values(self) -> dict[str, Any]:
        """Return the values of ``profile`` in report.json."""
        return {
            "cpu": self.cpu,
            "architecture": self.architecture,
            "byte_products": list(self.byte_products),
            "saturates": self.saturates,
            "kernels": self.kernels.value,
        }

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> "Profile":
        """Read a profile from the values in report.json.

        Raises:
            KeyError, TypeError, ValueError: a value is missing or wrong.
        """
        names = tuple(name for name in BYTE_PRODUCTS if name in list(values["byte_products"]))
        return cls(
            str(values["cpu"])[:100], str(values["architecture"])[:50], names,
            bool(values["saturates"]), Kernels(values["kernels"]),
        )  # fmt: skip

    def same_speed(self, other: "Profile") -> bool:
        """Return whether a speed relative to FP32, measured on one machine, can be expected on the
        other."""
        return self._decisive == other._decisive

    @property
    def _decisive(self) -> tuple[object, ...]:
        return self.architecture, self.byte_products, self.saturates, self.kernels

    def __str__(self) -> str:
        """Such as "AMD EPYC (x86_64, avx512_vnni), default kernels"."""
        products = self.byte_products[-1] if self.byte_products else "no byte products"
        return f"{self.cpu} ({self.architecture}, {products}), {self.kernels} kernels"
