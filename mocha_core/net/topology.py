"""The order of layers: whatever order they are listed in, each comes after what it reads."""

import difflib
from collections.abc import Iterable

from mocha_core.describe.layer import Layer
from mocha_core.errors import TopologyError


def sort(net: str, layers: Iterable[Layer]) -> list[Layer]:
    """Layers in waves: all that are ready, in the order listed, then those that became ready.

    A layer whose top is also its bottom makes a new version of that blob: such layers follow each other in
    the order listed, and all other readers come after them.

    Raises:
        TopologyError: a layer or name occurs twice, a blob has two producers or none, or there is a cycle.
    """
    if isinstance(layers, Layer) or not isinstance(layers, Iterable):
        raise TopologyError(f"Net '{net}': expected a list of layers, received {layers!r}.")
    layers = list(layers)
    _check_names(net, layers)
    producers, versions = _producers(net, layers)
    needs = {layer: _needs(net, layer, producers, versions) for layer in layers}
    done: list[Layer] = []
    waiting = layers
    while waiting:
        ready = [layer for layer in waiting if needs[layer] <= set(done)]
        if not ready:
            stuck = ", ".join(str(layer) for layer in waiting)
            raise TopologyError(
                f"Net '{net}': cycle in the layers' dependencies among {stuck}. Each of them waits for a blob "
                "that another one makes; rename a top or a bottom to break the cycle."
            )
        done += ready
        waiting = [layer for layer in waiting if layer not in ready]
    return done


def _check_names(net: str, layers: list[Layer]) -> None:
    if not layers:
        raise TopologyError(f"Net '{net}' has no layers.")
    seen: dict[str, Layer] = {}
    for layer in layers:
        if not isinstance(layer, Layer):
            raise TopologyError(f"Net '{net}': expected layers, received {layer!r}.")
        other = seen.setdefault(layer.name, layer)
        if other is layer and layers.count(layer) > 1:
            raise TopologyError(
                f"Net '{net}': {layer} is listed twice. List it once, or make a copy under another name with "
                "dataclasses.replace(layer, name=..., tops=[...])."
            )
        if other is not layer:
            raise TopologyError(
                f"Net '{net}': two layers are named '{layer.name}' ({other} and {layer}). Give each its own name."
            )


def _producers(net: str, layers: list[Layer]) -> tuple[dict[str, Layer], dict[str, list[Layer]]]:
    producers: dict[str, Layer] = {}
    versions: dict[str, list[Layer]] = {}
    for layer in layers:
        for i, top in enumerate(layer.tops):
            if top in layer.bottoms and top not in layer.tops[:i]:
                versions.setdefault(top, []).append(layer)
            elif top in producers or top in layer.tops[:i]:
                raise TopologyError(
                    f"Net '{net}': duplicated output blob name: '{top}' is a top of {producers.get(top, layer)} "
                    f"and of {layer}. Rename one of the tops."
                )
            else:
                producers[top] = layer
    return producers, versions


def _needs(net: str, layer: Layer, producers: dict[str, Layer], versions: dict[str, list[Layer]]) -> set[Layer]:
    needs: set[Layer] = set()
    for bottom in layer.bottoms:
        if bottom not in producers:
            close = difflib.get_close_matches(bottom, producers, n=1)
            hint = f"Did you mean '{close[0]}'?" if close else f"The net makes: {', '.join(producers)}."
            raise TopologyError(
                f"Net '{net}': required input blob missing: bottom '{bottom}' of {layer} is no layer's top. {hint}"
            )
        needs.add(producers[bottom])
        changers = versions.get(bottom, [])
        needs.update(changers[: changers.index(layer)] if layer in changers else changers)
    return needs
