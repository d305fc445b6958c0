"""A frozen application may have plugins without the metadata that say so: what to do about them."""

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pkgutil import iter_modules


def without_metadata(*distributions: str) -> str:
    """What to do about plugins of this project that can be imported and were not found; empty where there are none.

    Args:
        distributions: their names; by default, those of all modules that are called like one.
    """
    modules = (info.name for info in iter_modules() if info.name.startswith("mocha_") and info.name != "mocha_core")
    names = list(filter(_lacks_metadata, distributions or (module.replace("_", "-") for module in modules)))
    if not names:
        return ""
    package = names[0].replace("-", "_")
    return (
        f"{', '.join(names)} can be imported, but the metadata with the entry point are missing, as in a frozen "
        f"application. Collect them (PyInstaller: --collect-all {package} --copy-metadata {names[0]}), or register it "
        f"first: mocha_core.api.plugin_manager().add_plugin({package}._plugin, '{names[0]}')."
    )


def _lacks_metadata(distribution: str) -> bool:
    """Whether a distribution's plugin can be imported all the same."""
    try:
        version(distribution)
    except PackageNotFoundError:
        with suppress(ImportError):
            return find_spec(f"{distribution.replace('-', '_')}._plugin") is not None
    return False
