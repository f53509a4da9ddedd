"""What the nodes of a tree are, as integers: components, neurons, constants, the target, and what was cut.

A tree has many nodes and few kinds of them, so its arrays hold a code for each node, and this tells what it stands for.
"""

from __future__ import annotations

import re
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from recursive_dla.attribution.components import Components
from recursive_dla.attribution.node_meanings import Meaning, component_meaning, constant_meaning, root_meaning
from recursive_dla.errors import InputError
from recursive_dla.model.weights import ModelWeights


class Vocabulary:
    """Codes of one model's tree nodes.

    Components come first, by place; then the target (``root``), ``rest``, each layer's neurons, and constants in the
    order in which they are met.
    """

    KINDS: ClassVar[tuple[str, ...]] = ("root", "head", "attn", "mlp", "neuron")
    """The kinds of nodes that can be expanded."""

    def __init__(self, components: Components, weights: ModelWeights, root: str) -> None:
        self.components = components
        self.n_layers = weights.n_layers
        self.root = len(components)
        self.rest = self.root + 1
        self._first_neuron = self.root + 2
        self._root_name = root
        mlp = weights.stored_layers[0].mlp
        self._bank_sizes = [] if mlp is None else [bank.W_out.shape[0] for bank in mlp.banks]
        self._bank_starts = np.cumsum([0, *self._bank_sizes])
        self.neurons_per_layer = sum(self._bank_sizes)
        self._first_constant = self._first_neuron + self.n_layers * self.neurons_per_layer
        self._constants: dict[tuple[int, str], int] = {}
        self._constant_meanings: list[Meaning] = []
        # For each code up to the neurons: the place of its kind among KINDS, its layer, and its head.
        self._stages = np.full((self._first_neuron, 3), -1)
        self._stages[self.root] = (0, self.n_layers, 0)
        for place, component in enumerate(components.all):
            if component.kind in self.KINDS:
                self._stages[place] = (self.KINDS.index(component.kind), component.layer, max(component.head, 0))

    # --- what can be expanded, and with what ---------------------------------------------------------------------

    def expandable(self, code: np.ndarray) -> np.ndarray:
        """Which codes are no leaves."""
        of_component = self._stages[np.minimum(code, self._first_neuron - 1), 0] >= 0
        return np.where(code < self._first_neuron, of_component, code < self._first_constant)

    def stages(self, code: np.ndarray) -> np.ndarray:
        """The place of each code's kind among ``KINDS``, and its layer: ``[node 2]``."""
        found = self._stages[np.minimum(code, self._first_neuron - 1), :2]
        neurons = code >= self._first_neuron
        if neurons.any():
            found[neurons, 0] = self.KINDS.index("neuron")
            found[neurons, 1] = (code[neurons] - self._first_neuron) // self.neurons_per_layer
        return found

    def members(self, code: np.ndarray) -> np.ndarray:
        """Which head of its layer each code is, or which neuron."""
        of_component = self._stages[np.minimum(code, self._first_neuron - 1), 2]
        return np.where(
            code >= self._first_neuron, (code - self._first_neuron) % max(self.neurons_per_layer, 1), of_component
        )

    def stage(self, code: int) -> tuple[str, int]:
        """The kind and the layer of one code."""
        kind, layer = self.stages(np.array([code]))[0].tolist()
        return self.KINDS[kind], layer

    def first_neuron(self, layer: int) -> int:
        """The code of a layer's first neuron."""
        return self._first_neuron + layer * self.neurons_per_layer

    def neuron(self, code: int) -> tuple[int | None, int]:
        """The layer of a neuron, and which it is of all of that layer; no layer if the code is no neuron's."""
        if code < self._first_neuron:
            return None, -1
        return divmod(code - self._first_neuron, self.neurons_per_layer)

    def bank(self, neuron: int) -> tuple[int, int]:
        """The bank of a layer's neuron, and its place there."""
        bank = int(np.searchsorted(self._bank_starts, neuron, side="right")) - 1
        return bank, neuron - int(self._bank_starts[bank])

    def banks(self, neurons: Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`bank` of many."""
        starts = torch.as_tensor(self._bank_starts, device=neurons.device)
        bank = torch.searchsorted(starts, neurons, right=True) - 1
        return bank, neurons - starts[bank]

    # --- names ---------------------------------------------------------------------------------------------------

    def constant(self, layer: int, name: str) -> int:
        """The code of a constant: the share of a bias, or what a rule leaves over."""
        if (layer, name) not in self._constants:
            self._constants[layer, name] = self._first_constant + len(self._constants)
            self._constant_meanings.append(constant_meaning(name, layer, self.n_layers))
        return self._constants[layer, name]

    def meaning(self, code: int) -> Meaning:
        """What a code stands for."""
        if code >= self._first_constant:
            return self._constant_meanings[code - self._first_constant]
        if code == self.root:
            return root_meaning(self._root_name, self.n_layers)
        if code == self.rest:
            return Meaning("rest", "rest", "rest", -1, -1)
        layer, neuron = self.neuron(code)
        if layer is not None:
            bank, index = self.bank(neuron)
            name = f"L{layer}{f'E{bank}' if len(self._bank_sizes) > 1 else ''}N{index}"
            return Meaning(name, "neuron", name, layer, -1)
        return component_meaning(self.components.all[code])

    def code(self, name: str) -> int:
        """The code of a component or neuron by its name, as in a graph (``L0MLP``) or a cache (``0_mlp_out``).

        Raises:
            InputError: There is none, or it reads nothing.
        """
        if name == self._root_name:
            return self.root
        for place, component in enumerate(self.components.all):
            if name in (component.label, component_meaning(component).name):
                if self._stages[place, 0] < 0:
                    raise InputError(f"{name!r} reads nothing, so nothing feeds it. Start from a head or an MLP.")
                return place
        found = re.fullmatch(r"L(\d+)(?:E(\d+))?N(\d+)", name)
        if found and self.neurons_per_layer:
            layer, bank, index = (int(part or 0) for part in found.groups())
            experts = len(self._bank_sizes) > 1
            if (
                (found[2] is not None) == experts
                and layer < self.n_layers
                and bank < len(self._bank_sizes)
                and index < self._bank_sizes[bank]
            ):
                return self.first_neuron(layer) + int(self._bank_starts[bank]) + index
        expandable = [c for place, c in enumerate(self.components.all) if self._stages[place, 0] >= 0]
        examples = [component_meaning(c).name for c in expandable]
        raise InputError(f"The model has no component {name!r} here; there are {examples[0]!r} to {examples[-1]!r}.")


def parse_start(start: str) -> tuple[str, int]:
    """``"L23H3@14"`` as a name and a position, which may be negative.

    Raises:
        InputError: It does not have this form.
    """
    name, _, number = start.rpartition("@")
    try:
        pos = int(number)
    except ValueError:
        name = ""
    if not name:
        raise InputError(f"`start` must be a component and a position, such as 'L1H0@-1'. Got {start!r}.")
    return name, pos
