"""What the doctor says."""

from dataclasses import dataclass

from shop.doctor.reading import Document


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: where it is, what would happen, and what to write instead."""

    document: Document
    field: str
    consequence: str
    fix: str

    def __str__(self) -> str:
        return f"{self.document.file}: {self.document}: {self.field}\n  {self.consequence}\n  fix: {self.fix}"
