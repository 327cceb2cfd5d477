"""For tests of bad input: the module itself must refuse it, also where nobody checks types."""

import contextlib
import re

import jaxtyping
import pytest


@contextlib.contextmanager
def refused(name: str, *, saying: str = ""):
    """What is called inside must raise a ValueError that starts with the argument's name; annotations are off."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(ValueError, match=rf"^{re.escape(name)}: .*{saying}"):
            yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
