"""Mocha's messages: the logger "mocha", shown on standard output unless the program set up logging itself."""

import logging
import sys

logger = logging.getLogger("mocha")


def show_messages() -> None:
    """Show messages from INFO on in the form of Mocha's logs, if nobody configured logging."""
    if logger.hasHandlers():
        return
    handler = logging.StreamHandler(sys.stdout)
    form = "%(asctime)s:%(levelname)s:%(name)s:%(message)s"
    handler.setFormatter(logging.Formatter(form, datefmt="%d-%b %H:%M:%S"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
