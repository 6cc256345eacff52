"""What of a machine decides how fast models of few bits run, and right answers come."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.engine.kernels import Kernels
from service.engine.machine import BYTE_PRODUCTS, Machine


@dataclass(frozen=True, slots=True)
class Profile:
    """``byte_products``: which of the CPU's instructions for products of bytes are there, in the
    order of ``BYTE_PRODUCTS``; ``saturates``: whether ONNX Runtime's default kernels do;
    ``kernels``: those of eight bits that ran."""

    cpu: str
    architecture: str
    byte_products: tuple[str, ...]
    saturates: bool
    kernels: Kernels

    @classmethod
    def of(cls, machine: Machine, kernels: Kernels) -> "Profile":
        """That of a machine which runs a model with these kernels."""
        found = tuple(name for name in BYTE_PRODUCTS if machine.has(name))
        return cls(machine.cpu, machine.architecture, found, machine.saturates, kernels)

    def values(self) -> dict[str, Any]:
        """As in report.json."""
        return {
            "cpu": self.cpu,
            "architecture": self.architecture,
            "byte_products": list(self.byte_products),
            "saturates": self.saturates,
            "kernels": self.kernels.value,
        }

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> "Profile":
        """From what ``values`` gave.

        Raises:
            KeyError, TypeError, ValueError: it is nothing that it gives.
        """
        names = tuple(name for name in BYTE_PRODUCTS if name in list(values["byte_products"]))
        return cls(
            str(values["cpu"])[:100], str(values["architecture"])[:50], names,
            bool(values["saturates"]), Kernels(values["kernels"]),
        )  # fmt: skip

    def same_speed(self, other: "Profile") -> bool:
        """Whether a ratio to FP32 that was measured on one may be expected on the other."""
        return self._decisive == other._decisive

    @property
    def _decisive(self) -> tuple[object, ...]:
        return self.architecture, self.byte_products, self.saturates, self.kernels

    def __str__(self) -> str:
        """Such as "AMD EPYC (x86_64, avx512_vnni), default kernels"."""
        products = self.byte_products[-1] if self.byte_products else "no byte products"
        return f"{self.cpu} ({self.architecture}, {products}), {self.kernels} kernels"
