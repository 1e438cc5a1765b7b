"""A Hopfield memory over banks: its patterns are vectors of train studies.

Source: AM-MRG (Wang et al., IEEE TMI 2025), whose code projects the bank anew for every sample of a batch;
here it is projected once a step, and kept where weights do not change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cxreport.errors import UserError
from cxreport.memories.bank import Bank
from cxreport.memories.hopfield import HopfieldMemory, HopfieldOptions, Lookup

Projected = tuple[Tensor, Tensor]


class BankMemory(HopfieldMemory):
    """The Q patterns are the entries of `banks`, one bank after another.

    Vectors of another width than the memory's pass a linear layer of their bank, which is trained and saved
    with the generator (published for class-activation patches: random and lost). The vectors themselves are
    no weights: they are saved as banks. Weights remember the SHA-256 of the banks that they were trained with,
    and loading them beside other banks raises UserError.
    """

    sha256: Tensor

    def __init__(self, banks: Sequence[Bank], options: HopfieldOptions) -> None:
        super().__init__(None, options)
        self.banks = tuple(banks)
        self.fits = nn.ModuleList(
            nn.Identity() if bank.width == options.width else nn.Linear(bank.width, options.width)
            for bank in self.banks
        )
        for number, bank in enumerate(self.banks):
            self.register_buffer(f"vectors{number}", bank.vectors, persistent=False)
        digest = hashlib.sha256("".join(bank.sha256 for bank in self.banks).encode()).digest()
        self.register_buffer("sha256", torch.tensor(list(digest), dtype=torch.uint8))
        self.register_load_state_dict_pre_hook(_refuse_other_banks)
        self._kept: tuple[Any, Projected] | None = None

    def __len__(self) -> int:
        return sum(map(len, self.banks))

    def project(self, patterns: Tensor | None = None) -> Projected:
        """Keys (H, Q, d) and values (H, Q, P) of all entries; without gradients they are made once."""
        if patterns is not None or torch.is_grad_enabled():
            return super().project(self.entries() if patterns is None else patterns)
        state = self._state()
        if self._kept is None or self._kept[0] != state:
            self._kept = None  # the old ones make room first
            self._kept = (state, super().project(self.entries()))
        return self._kept[1]

    def entries(self) -> Tensor:
        """The patterns (Q, W): vectors of all banks in the memory's width."""
        vectors = (self.get_buffer(f"vectors{number}") for number in range(len(self.banks)))
        return torch.cat([fit(own) for fit, own in zip(self.fits, vectors, strict=True)])

    def look_up(self, states: Tensor, hidden: Tensor | None = None) -> Lookup:
        """What states (B, L, W) read; `hidden` (B, Q) as of :meth:`hidden_from`."""
        return self(states, self.project(), hidden)

    def hidden_from(self, study_ids: Sequence[str], patient_ids: Sequence[str]) -> Tensor | None:
        """Which entries (B, Q) are of a sample's own study or patient; None where no sample has any.

        Raises UserError where a sample would see no entry at all.
        """
        patients = list(patient_ids) or [""] * len(study_ids)
        hidden = torch.zeros(len(study_ids), len(self), dtype=torch.bool)
        for row, ids in enumerate(zip(study_ids, patients, strict=True)):
            before = 0
            for bank in self.banks:
                hidden[row, [before + place for place in bank.places_of(*ids)]] = True
                before += len(bank)
        if not hidden.any():
            return None
        if hidden.all(dim=1).any():
            raise UserError(
                "All entries of a memory bank are of one patient, who is not to see them; make the bank of"
                " more train studies."
            )
        return hidden.to(self.get_buffer("vectors0").device)

    def _state(self) -> Any:
        """Differs with the type of results, and whenever a weight or vector is another or was changed."""
        tensors = [*self.parameters(), *self.buffers()]
        half = torch.is_autocast_enabled(tensors[0].device.type)
        return half, tuple((id(each), each.data_ptr(), each._version) for each in tensors)


def _refuse_other_banks(memory: BankMemory, weights: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """UserError where `weights` were trained with other banks than those of `memory`."""
    found = weights.get(f"{prefix}sha256")
    if found is not None and not torch.equal(found.cpu(), memory.sha256.cpu()):
        raise UserError(
            "The memory bank is another one than the weights were trained with; name the folder of the bank that"
            " the training began with."
        )
