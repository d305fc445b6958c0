"""The order of layers: each comes after the layers that make its bottoms, however they are listed."""

from collections.abc import Iterable

from mocha_core.checks import clipped, listed, shown
from mocha_core.describe.layer import Layer
from mocha_core.errors import TopologyError
from mocha_core.suggestions import close


def sort(net: str, layers: Iterable[Layer]) -> list[Layer]:
    """Sort layers in waves: first all that need no other layer, in the order listed, then those that they make ready.

    A layer whose top is also its bottom makes a new version of that blob: such layers follow each other in
    the order listed, and all other readers come after them.

    Raises:
        TopologyError: a layer or name occurs twice, a blob has two producers or none, or there is a cycle.
    """
    if isinstance(layers, Layer) or not isinstance(layers, Iterable):
        raise TopologyError(f"Net '{net}': expected a list of layers, received {shown(layers)}.")
    layers = list(layers)
    _check_names(net, layers)
    versions = _Versions(net, layers)
    needs = {layer: versions.needed_by(layer) for layer in layers}
    readers: dict[Layer, list[Layer]] = {layer: [] for layer in layers}
    for layer in layers:
        for need in needs[layer]:
            readers[need].append(layer)
    unmet = {layer: len(needs[layer]) for layer in layers}
    position = {layer: i for i, layer in enumerate(layers)}
    done: list[Layer] = []
    ready = [layer for layer in layers if not unmet[layer]]
    while ready:
        done += ready
        became_ready: list[Layer] = []
        for layer in ready:
            for reader in readers[layer]:
                unmet[reader] -= 1
                if not unmet[reader]:
                    became_ready.append(reader)
        ready = sorted(became_ready, key=position.__getitem__)
    if len(done) < len(layers):
        stuck = listed(str(layer) for layer in layers if unmet[layer])
        raise TopologyError(
            f"Net '{net}': cycle in the layers' dependencies among {stuck}. Each of them waits for a blob "
            "that another one makes; rename a top or a bottom to break the cycle."
        )
    return done


def _check_names(net: str, layers: list[Layer]) -> None:
    if not layers:
        raise TopologyError(f"Net '{net}' has no layers.")
    seen: dict[str, Layer] = {}
    for layer in layers:
        if not isinstance(layer, Layer):
            raise TopologyError(f"Net '{net}': expected layers, received {shown(layer)}.")
        other = seen.get(layer.name)
        seen[layer.name] = layer
        if other is layer:
            raise TopologyError(
                f"Net '{net}': {layer} is listed twice. List it once, or make a copy under another name with "
                "dataclasses.replace(layer, name=..., tops=[...])."
            )
        if other is not None:
            raise TopologyError(
                f"Net '{net}': two layers are named '{layer.name}' ({other} and {layer}). Give each its own name."
            )


class _Versions(dict[str, list[Layer]]):
    """For each blob, the layer that makes it, and those that change it in place, in the order listed."""

    def __init__(self, net: str, layers: list[Layer]) -> None:
        super().__init__()
        self.net = net
        self.previous: dict[tuple[Layer, str], Layer] = {}
        """By layer and blob: the layer that made the version of the blob that this one changes in place."""
        producers: dict[str, Layer] = {}
        changes: list[tuple[Layer, str]] = []
        for layer in layers:
            for i, top in enumerate(layer.tops):
                if top in layer.bottoms and top not in layer.tops[:i]:
                    changes.append((layer, top))
                elif top in producers or top in layer.tops[:i]:
                    raise TopologyError(
                        f"Net '{net}': duplicated output blob name: '{top}' is a top of {producers.get(top, layer)} "
                        f"and of {layer}. Rename one of the tops."
                    )
                else:
                    producers[top] = layer
        self.update((blob, [layer]) for blob, layer in producers.items())
        for layer, blob in changes:
            if blob in self:
                self.previous[layer, blob] = self[blob][-1]
                self[blob].append(layer)

    def needed_by(self, layer: Layer) -> set[Layer]:
        """The layers that made those versions of the blobs that `layer` reads."""
        for bottom in layer.bottoms:
            if bottom not in self:
                near = close(bottom, self)
                hint = f"Did you mean '{near}'?" if near else f"The net makes: {listed(self)}."
                raise TopologyError(
                    f"Net '{self.net}': required input blob missing: bottom '{clipped(bottom)}' of {layer} is no "
                    f"layer's top. {hint}"
                )
        return {self.previous.get((layer, bottom), self[bottom][-1]) for bottom in layer.bottoms}
